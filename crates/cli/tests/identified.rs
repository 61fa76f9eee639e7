//! `portolan probe --identify`: real servers, each on a port where nobody expects it, are told for what they are.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use portolan_testbed::servers;
use portolan_testbed::{Answer, Namespace, program};
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

/// Sends what is meant for a port of loopback to another one.
fn carry(namespace: &Namespace, carried: &BTreeMap<u16, u16>) {
    let rules: Vec<String> =
        carried.iter().map(|(from, to)| format!("tcp dport {from} redirect to :{to}")).collect();
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
fn odd_ports() -> BTreeMap<u16, u16> {
    let services = portolan_host::sys::services();
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let free = (first..).step_by(97).filter(|port| {
        services.name(portolan_core::socket::Transport::Tcp, *port).is_none()
            && !EXPECTED.iter().any(|(own, _)| own == port)
    });
    free.zip(EXPECTED.iter().map(|(own, _)| *own)).collect()
}

fn identified(namespace: &Namespace, ports: &str) -> Vec<Value> {
    let mut command = namespace.command(program("portolan"));
    let answer = Answer::of(command.args(["probe", "127.0.0.1", "--identify", "--json", "-p", ports]));
    answer.with_code(0).json()["results"].as_array().unwrap().clone()
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
    let carried = odd_ports();
    carry(&namespace, &carried);
    let typed: Vec<String> = carried.keys().map(ToString::to_string).collect();
    let started = Instant::now();
    let results = identified(&namespace, &typed.join(","));
    let took = started.elapsed();
    let found: BTreeMap<u16, &str> = results
        .iter()
        .map(|result| {
            let port = u16::try_from(result["port"].as_u64().unwrap()).unwrap();
            (carried[&port], result["answer"]["protocol"].as_str().unwrap_or("nothing"))
        })
        .collect();
    assert_eq!(found, BTreeMap::from(EXPECTED), "{results:#?}");
    assert!(took < Duration::from_secs(40), "{took:?}");
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
