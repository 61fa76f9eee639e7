//! `portolan probe --identify`: real servers, each on a port where nobody expects it, are told for what they are.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use portolan_core::socket::Transport;
use portolan_testbed::servers;
use portolan_testbed::{Answer, Held, Namespace, program};
use serde_json::Value;

/// Servers' own ports, and as what each is known on any other.
const EXPECTED: [(u16, &str); 22] = [
    (21, "ftp"),
    (22, "ssh"),
    (23, "telnet"),
    (25, "smtp"),
    (80, "http"),
    (110, "pop3"),
    (119, "nntp"),
    (143, "imap"),
    (389, "ldap"),
    (443, "https"),
    (445, "smb"),
    (636, "ldap"),
    (993, "imap"),
    (1883, "mqtt"),
    (3306, "mysql"),
    (3389, "rdp"),
    (4443, "tls"),
    (5060, "sip"),
    (5432, "postgresql"),
    (5672, "amqp"),
    (6379, "redis"),
    (11211, "memcached"),
];

/// The same over UDP.
const EXPECTED_OF_DATAGRAMS: [(u16, &str); 14] = [
    (53, "dns"),
    (69, "tftp"),
    (88, "kerberos"),
    (123, "ntp"),
    (161, "snmp"),
    (443, "quic"),
    (500, "ike"),
    (1434, "sql-browser"),
    (1701, "l2tp"),
    (1812, "radius"),
    (1900, "ssdp"),
    (3478, "stun"),
    (5060, "sip"),
    (11211, "memcached"),
];

/// Sends what is meant for a port of loopback to another one.
fn carry(namespace: &Namespace, transport: Transport, carried: &BTreeMap<u16, u16>) {
    let rules: Vec<String> =
        carried.iter().map(|(from, to)| format!("{transport} dport {from} redirect to :{to}")).collect();
    let text = format!(
        "table ip n {{\nchain c {{\ntype nat hook output priority -100;\n{}\n}}\n}}\n",
        rules.join("\n")
    );
    let file = std::env::temp_dir().join(format!("{}.nft", namespace.name()));
    std::fs::write(&file, text).unwrap();
    let loaded = namespace.command("nft").arg("-f").arg(&file).status().unwrap();
    let _ = std::fs::remove_file(&file);
    assert!(loaded.success(), "nft is installed: apt-get install nftables");
}

/// A port for each of them that no list has a name for, another one in each run.
fn odd_ports(transport: Transport, expected: &[(u16, &str)]) -> BTreeMap<u16, u16> {
    let services = portolan_host::sys::services();
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let free = (first..).step_by(97).filter(|port| {
        services.name(transport, *port).is_none() && !expected.iter().any(|(own, _)| own == port)
    });
    free.zip(expected.iter().map(|(own, _)| *own)).collect()
}

fn probed(namespace: &Namespace, host: &str, arguments: &[&str]) -> Answer {
    let mut command = namespace.command(program("portolan"));
    Answer::of(command.args(["probe", host, "--identify", "--json", "-p"]).args(arguments))
}

fn results(answer: &Answer) -> Vec<Value> {
    answer.json()["results"].as_array().unwrap().clone()
}

fn identified(namespace: &Namespace, ports: &str) -> Vec<Value> {
    results(&probed(namespace, "127.0.0.1", &[ports]).with_code(0))
}

/// Asks for the servers on ports that are not theirs; all must be told for what they are within that time.
fn are_identified(namespace: &Namespace, transport: Transport, expected: &[(u16, &str)], time: Duration) {
    let carried = odd_ports(transport, expected);
    carry(namespace, transport, &carried);
    let typed: Vec<String> = carried.keys().map(|port| format!("{port}/{transport}")).collect();
    let started = Instant::now();
    let results = identified(namespace, &typed.join(","));
    let took = started.elapsed();
    let found: BTreeMap<u16, &str> = results
        .iter()
        .map(|result| {
            let port = u16::try_from(result["port"].as_u64().unwrap()).unwrap();
            (carried[&port], result["answer"]["protocol"].as_str().unwrap_or("nothing"))
        })
        .collect();
    assert_eq!(found, expected.iter().copied().collect(), "{results:#?}");
    assert!(took < time, "{took:?}");
}

#[test]
fn servers_on_odd_ports_are_told_for_what_they_are() {
    let namespace = Namespace::new();
    let _servers = [
        servers::rabbitmq(&namespace),
        servers::vsftpd(&namespace),
        servers::sshd(&namespace),
        servers::telnetd(&namespace),
        servers::opensmtpd(&namespace),
        servers::nginx(&namespace),
        servers::dovecot(&namespace),
        servers::leafnode(&namespace),
        servers::slapd(&namespace),
        servers::smbd(&namespace, "SMB3"),
        servers::mosquitto(&namespace),
        servers::mariadb(&namespace),
        servers::xrdp(&namespace),
        servers::old_tls(&namespace),
        servers::kamailio(&namespace),
        servers::postgresql(&namespace),
        servers::redis(&namespace),
        servers::memcached(&namespace),
    ];
    are_identified(&namespace, Transport::Tcp, &EXPECTED, Duration::from_secs(40));
}

#[test]
fn servers_on_odd_udp_ports_are_told_for_what_they_are() {
    let namespace = Namespace::new();
    let _servers = [
        servers::dnsmasq(&namespace),
        servers::atftpd(&namespace),
        servers::krb5kdc(&namespace),
        servers::chronyd(&namespace),
        servers::snmpd(&namespace),
        servers::ngtcp2(&namespace),
        servers::charon(&namespace),
        servers::sql_browser(&namespace),
        servers::xl2tpd(&namespace),
        servers::freeradius(&namespace),
        servers::minissdpd(&namespace),
        servers::coturn(&namespace),
        servers::kamailio(&namespace),
        servers::memcached(&namespace),
    ];
    are_identified(&namespace, Transport::Udp, &EXPECTED_OF_DATAGRAMS, Duration::from_secs(40));
}

#[test]
fn what_is_silent_over_udp_or_says_everything_back_is_taken_for_nothing_in_bounded_time() {
    let (near, far) = (Namespace::new(), Namespace::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    let _mute = Held::new(&far, "udp 10.9.0.2:23001");
    let echo = far.run(|| UdpSocket::bind("10.9.0.2:23002").unwrap());
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = echo.recv_from(&mut buffer) {
            let _ = echo.send_to(&buffer[..length], from);
        }
    });
    // More than the kernel sends errors for at once: it says so of each, one after the other.
    let closed: Vec<String> = (23_003..23_015).map(|port| port.to_string()).collect();
    let ports = format!("23001,23002,{}", closed.join(","));
    let started = Instant::now();
    let results = results(&probed(&near, "10.9.0.2", &[&ports, "--udp"]).with_code(1));
    let took = started.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert_eq!(results.len(), 14);
    for result in &results {
        let port = result["port"].as_u64().unwrap();
        let expected = match port {
            23_001 => "open|filtered",
            23_002 => "open",
            _ => "closed",
        };
        assert_eq!((&result["state"], &result["answer"]), (&expected.into(), &Value::Null), "{result:#}");
        let failure = result["failure"]["reason"].as_str().unwrap_or_default();
        assert_eq!(
            failure.ends_with("nor were 17 other conversations understood"),
            port == 23_002,
            "{result:#}"
        );
    }
}

#[test]
fn who_says_nothing_to_anybody_costs_bounded_time_and_who_greets_late_is_heard() {
    let namespace = Namespace::new();
    let serve = |port: u16, treat: fn(TcpStream)| {
        let listener = namespace.run(|| TcpListener::bind(("127.0.0.1", port)).unwrap());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || treat(stream));
            }
        });
    };
    serve(23_001, |mut stream| drop(stream.read_to_end(&mut Vec::new())));
    // As a mail server that looks its client up first, and hangs up on whoever talks before it is greeted.
    serve(23_002, |mut stream| {
        use std::io::Write as _;
        stream.set_read_timeout(Some(Duration::from_millis(2500))).unwrap();
        if stream.read(&mut [0; 1]).is_err() {
            let _ = stream.write_all(b"RFB 003.008\n");
        }
    });
    let started = Instant::now();
    let results = identified(&namespace, "23001,23002");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(results[0]["answer"], Value::Null, "{results:#?}");
    let failure = results[0]["failure"].to_string();
    assert!(failure.contains("says nothing by itself; nor were"), "{results:#?}");
    assert_eq!(results[1]["answer"]["fields"]["banner"], "RFB 003.008", "{results:#?}");
}
