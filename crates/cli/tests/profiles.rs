//! `portolan probe --profile` and `--baseline`, typed against real servers: what passes, what fails, who is asked.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use portolan_testbed::servers;
use portolan_testbed::{Answer, Namespace, program};
use serde_json::{Value, json};

fn probe(namespace: &Namespace, arguments: &[&str]) -> Answer {
    Answer::of(namespace.command(program("portolan")).arg("probe").args(arguments))
}

/// With variables that name hosts, and no other ones.
fn probe_with(namespace: &Namespace, variables: &[(&str, &str)], arguments: &[&str]) -> Answer {
    let mut command = namespace.command(program("portolan"));
    for name in
        ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "NNTPSERVER", "MAILHOST"]
    {
        command.env_remove(name);
    }
    Answer::of(command.arg("probe").args(arguments).envs(variables.iter().copied()))
}

/// A file of this test's own.
struct Kept(PathBuf);

impl Kept {
    fn new(namespace: &Namespace, name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{}.{name}", namespace.name()));
        fs::write(&path, text).unwrap();
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The expectation of a port.
fn expectation<'a>(json: &'a Value, transport: &str, port: u16) -> &'a Value {
    let expectations = json["profile"]["expectations"].as_array().unwrap();
    let found = expectations.iter().find(|e| e["transport"] == transport && e["port"] == port);
    found.unwrap_or_else(|| panic!("{port}/{transport}: {json:#}"))
}

#[test]
fn a_domain_controller_is_asked_for_all_that_its_endpoint_mapper_names() {
    let (near, far) = (Namespace::new(), Namespace::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    let _controller = servers::domain_controller(&far, Ipv4Addr::new(10, 9, 0, 2));
    // The domain's own name server says who its controllers are.
    let arguments = ["--profile", "dc", "--domain", "lab.test", "--name-server", "10.9.0.2", "--json"];
    let json = probe(&near, &arguments).with_code(0).json();
    assert_eq!(json["profile"]["passed"], true);
    assert_eq!(
        json["profile"]["configured"],
        json!([{ "host": "dc1.lab.test", "origin": "SRV of lab.test" }])
    );
    let results = json["results"].as_array().unwrap();
    let mapper = results.iter().find(|result| result["port"] == 135).unwrap();
    let mut named: Vec<u64> = mapper["answer"]["fields"]["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|endpoint| endpoint["protocol_sequence"] == "ncacn_ip_tcp")
        .filter_map(|endpoint| endpoint["port"].as_u64())
        .collect();
    named.sort_unstable();
    named.dedup();
    assert!(named.iter().any(|port| *port > 1024), "{mapper:#}");
    for port in named {
        let expectation = expectation(&json, "tcp", u16::try_from(port).unwrap());
        assert_eq!((&expectation["met"], &expectation["state"]), (&json!(true), &json!("open")), "{port}");
    }
    assert_eq!(expectation(&json, "udp", 389)["spoke"], true);
    // A firewall that lets the dynamic ports through to nobody is what fails.
    let rules = "add table ip t; add chain ip t c { type filter hook input priority 0; }; \
                 add rule ip t c tcp dport 49152-65535 drop";
    assert!(far.command("nft").arg(rules).status().unwrap().success());
    let answer = probe(&near, &["10.9.0.2", "--profile", "dc"]).with_code(1);
    assert!(answer.output.starts_with("fail   a domain controller"), "{answer}");
    assert!(answer.output.contains("named by the endpoint mapper"), "{answer}");
}

#[test]
fn what_the_environment_names_is_asked_and_has_to_answer() {
    let namespace = Namespace::new();
    let _servers =
        (servers::tinyproxy(&namespace), servers::opensmtpd(&namespace), servers::leafnode(&namespace));
    let passes = |name, value, profile| {
        let answer = probe_with(&namespace, &[(name, value)], &["--profile", profile, "--json"]).with_code(0);
        answer.json()["profile"].clone()
    };
    let proxy = passes("http_proxy", "http://127.0.0.1:8888/", "proxy");
    assert_eq!(
        (&proxy["expectations"][0]["port"], &proxy["configured"][0]["origin"]),
        (&json!(8888), &json!("http_proxy"))
    );
    assert_eq!(passes("NNTPSERVER", "127.0.0.1", "news")["expectations"][0]["met"], true);
    assert_eq!(passes("MAILHOST", "127.0.0.1", "mail")["expectations"][0]["spoke"], true);
    // A mail server behind the proxy's port is no proxy.
    let wrong =
        probe_with(&namespace, &[("http_proxy", "127.0.0.1:25")], &["--profile", "proxy"]).with_code(1);
    assert!(wrong.output.contains("0 of 1 expectation met"), "{wrong}");
    probe_with(&namespace, &[], &["127.0.0.1", "--profile", "web"]).with_code(1);
    let nobody = probe_with(&namespace, &[], &["--profile", "mail"]).with_code(2);
    assert!(nobody.errors.contains("--domain DOMAIN"), "{nobody}");
}

#[test]
fn the_mail_hosts_of_a_domain_are_asked_in_their_order() {
    let namespace = Namespace::new();
    let _servers = (servers::dnsmasq(&namespace), servers::opensmtpd(&namespace));
    let of_domain = ["--profile", "mail", "--domain", "mail.test", "--name-server", "127.0.0.1"];
    let answer = probe(&namespace, &[&of_domain[..], &["--json"]].concat());
    let profile = answer.json()["profile"].clone();
    let host = |index: usize| profile["configured"][index].clone();
    assert_eq!(host(0), json!({ "host": "mx.mail.test", "origin": "MX of mail.test" }), "{answer}");
    assert_eq!(host(1)["host"], "gone.mail.test", "{answer}");
    let nowhere = [&of_domain[..3], &["nowhere.test"], &of_domain[4..]].concat();
    let answer = probe(&namespace, &nowhere).with_code(2);
    assert!(answer.errors.contains("knows no host of 'nowhere.test' (MX: NXDOMAIN)"), "{answer}");
    assert_eq!(answer.errors.lines().count(), 1, "{answer}");
}

#[test]
fn a_name_server_that_refuses_has_not_said_that_there_is_no_mail_host() {
    let namespace = Namespace::new();
    let server = namespace.run(|| UdpSocket::bind("127.0.0.1:5300").unwrap());
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = server.recv_from(&mut question) {
            // The same as an answer: REFUSED (RFC 1035 section 4.1.1).
            question[2] |= 0x80;
            question[3] = question[3] & 0xf0 | 5;
            server.send_to(&question[..length], from).unwrap();
        }
    });
    let of_domain = ["--profile", "mail", "--domain", "mail.test", "--name-server", "127.0.0.1:5300"];
    let answer = probe(&namespace, &of_domain).with_code(2);
    assert!(answer.errors.contains("knows no host of 'mail.test' (MX: REFUSED)"), "{answer}");
    assert_eq!((answer.errors.lines().count(), answer.output.as_str()), (1, ""), "{answer}");
}

#[test]
fn a_proxy_that_cannot_be_asked_is_told_with_the_variable_that_names_it() {
    let namespace = Namespace::new();
    for (name, value, part) in [
        (
            "http_proxy",
            "http://proxy.example:99999/",
            "http_proxy names 'proxy.example:99999': port 99999 is too large",
        ),
        ("http_proxy", "http://a b/", "http_proxy names no host"),
        (
            "ALL_PROXY",
            "socks5://127.0.0.1:1080",
            "ALL_PROXY names a SOCKS proxy, and the profile is for HTTP proxies",
        ),
    ] {
        let answer = probe_with(&namespace, &[(name, value)], &["--profile", "proxy"]).with_code(2);
        assert!(answer.errors.contains(part) && answer.errors.lines().count() == 1, "{answer}");
    }
}

#[test]
fn a_profile_of_ones_own_says_what_has_to_be_and_what_must_not() {
    let namespace = Namespace::new();
    let _redis = servers::redis(&namespace);
    let listener = namespace.run(|| TcpListener::bind("127.0.0.1:7000").unwrap());
    let text = "title = \"the shop\"\nhosts = [\"127.0.0.1\"]\n[[port]]\nport = 6379\nexpect = \"answers\"\n\
                why = \"baskets\"\n[[port]]\nport = 7000\nexpect = \"not-open\"\nwhy = \"of old\"\n";
    let file = Kept::new(&namespace, "shop.toml", text);
    let answer = probe(&namespace, &["--profile", file.name()]).with_code(1);
    assert!(answer.output.starts_with("fail   the shop: 1 of 2 expectations met\n"), "{answer}");
    drop(listener);
    let json = probe(&namespace, &["--profile", file.name(), "--json"]).with_code(0).json();
    assert_eq!(expectation(&json, "tcp", 7000)["state"], "closed");
    for (text, part) in [("[[port]]\nport = 70000\n", "line 2"), ("\u{1b}[2J", "line 1")] {
        let broken = Kept::new(&namespace, "broken.toml", text);
        let answer = probe(&namespace, &["127.0.0.1", "--profile", broken.name()]).with_code(2);
        assert!(answer.errors.contains(part) && answer.errors.lines().count() == 1, "{answer}");
        assert!(
            answer.errors.contains("cannot read the profile") && !answer.errors.contains('\u{1b}'),
            "{answer}"
        );
    }
    let none = probe(&namespace, &["127.0.0.1", "--profile", "/nowhere/x.toml"]).with_code(2);
    assert_eq!(none.errors.lines().count(), 1, "{none}");
}

/// Says a line to whoever connects, until the test ends; the line can be changed.
fn greeter(namespace: &Namespace, port: u16, line: &Arc<Mutex<&'static str>>) {
    let listener = namespace.run(|| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let line = Arc::clone(line);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let line = *line.lock().unwrap();
            // Whoever hangs up before it has read it misses nothing.
            let _ = stream.unwrap().write_all(line.as_bytes());
        }
    });
}

#[test]
fn a_baseline_tells_what_opened_what_closed_and_who_answers_otherwise() {
    let namespace = Namespace::new();
    let line = Arc::new(Mutex::new("harbour 1.0 at 10:11:12\r\n"));
    greeter(&namespace, 7001, &line);
    let gone = namespace.run(|| TcpListener::bind("127.0.0.1:7002").unwrap());
    let ask = |more: &[&str]| {
        let arguments = ["127.0.0.1", "-p", "7001-7004", "--identify", "--timeout", "0.5"];
        probe(&namespace, &[&arguments[..], more].concat())
    };
    let file = Kept::new(&namespace, "before.json", &ask(&["--json"]).with_code(1).output);
    // Another time in a greeting is no change.
    *line.lock().unwrap() = "harbour 1.0 at 11:12:13\r\n";
    let same = ask(&["--baseline", file.name()]).with_code(0);
    assert_eq!(same.output, "no change   4 ports compared\n", "{same}");
    *line.lock().unwrap() = "harbour 2.0 at 11:12:13\r\n";
    drop(gone);
    let _new = namespace.run(|| TcpListener::bind("127.0.0.1:7003").unwrap());
    let json = ask(&["--baseline", file.name(), "--json"]).with_code(1).json();
    let changes = json["changed"]["changes"].as_array().unwrap();
    let told: Vec<_> =
        changes.iter().map(|change| (change["port"].as_u64().unwrap(), &change["kind"])).collect();
    assert_eq!(told, [(7001, &json!("answer")), (7002, &json!("closed")), (7003, &json!("opened"))]);
    assert_eq!(json["changed"]["compared"], 4);
    // A file that says nothing of what is asked now tells nothing.
    probe(&namespace, &["127.0.0.1", "-p", "9", "--baseline", file.name()]).with_code(2);
    let broken = Kept::new(&namespace, "broken.json", "{");
    for name in [broken.name(), "/nowhere/x.json"] {
        let answer = ask(&["--baseline", name]).with_code(2);
        assert!(answer.errors.contains("cannot read") && answer.errors.lines().count() == 1, "{answer}");
    }
}
