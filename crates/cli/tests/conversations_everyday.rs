//! Conversations with real servers of every day: web, mail, news, files, login, databases, messages. What reference
//! clients show is what `portolan probe` shows.
#![cfg(target_os = "linux")]

use portolan_testbed::servers::{self, Server, installed};
use portolan_testbed::{Answer, Namespace, program};
use serde_json::{Value, json};

/// The answer of a port on 127.0.0.1.
#[track_caller]
fn answer(namespace: &Namespace, port: &str, arguments: &[&str]) -> Value {
    let mut command = namespace.command(program("portolan"));
    let answer = Answer::of(command.args(["probe", "127.0.0.1", "--json", "-p", port]).args(arguments));
    let json = answer.with_code(0).json();
    let result = &json["results"][0];
    assert_eq!(result["state"], "open", "{json:#}");
    assert!(result["answer"].is_object(), "{json:#}");
    result["answer"].clone()
}

/// What a reference client prints.
#[track_caller]
fn client(namespace: &Namespace, package: &str, name: &str, words: &[&str]) -> String {
    let mut command = namespace.command(installed(name, package));
    let output = command.args(words).stdin(std::process::Stdio::null()).output().expect("it is installed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\r', "");
    text(&output.stdout) + &text(&output.stderr)
}

/// What openssl shows of a server's certificate is what the answer has under `tls`.
#[track_caller]
fn same_certificate(namespace: &Namespace, server: &Server, answer: &Value) {
    let file = server.path("cert.pem").display().to_string();
    let shown = client(namespace, "openssl", "openssl", &["x509", "-noout", "-serial", "-in", &file]);
    let serial = shown.trim().trim_start_matches("serial=").to_ascii_lowercase();
    let certificate = &answer["fields"]["tls"]["certificate"];
    assert_eq!(certificate["serial_number"].as_str().unwrap().replace(':', ""), serial, "{answer:#}");
    assert_eq!(certificate["subject"], "CN=lab.test");
    assert_eq!(certificate["subject_alt_names"], json!(["lab.test", "127.0.0.1"]));
    assert_eq!(certificate["public_key"], "EC P-256");
}

#[test]
fn web_servers_and_a_proxy() {
    let namespace = Namespace::new();
    let (nginx, _proxy) = (servers::nginx(&namespace), servers::tinyproxy(&namespace));
    let page = answer(&namespace, "80", &[]);
    let head = client(&namespace, "curl", "curl", &["-sI", "http://127.0.0.1/"]);
    let server = head.lines().find_map(|line| line.strip_prefix("Server: ")).expect("a name");
    assert_eq!((&page["protocol"], &page["fields"]["status"]), (&json!("http"), &json!(200)));
    assert_eq!(
        (&page["fields"]["server"], &page["fields"]["title"]),
        (&json!(server), &json!("Harbour & chart"))
    );
    let moved = answer(&namespace, "80", &["--set", "path=/moved"]);
    assert_eq!(moved["fields"]["location"], "http://example.com/");
    let secure = answer(&namespace, "443", &[]);
    assert_eq!(
        (&secure["protocol"], &secure["fields"]["title"]),
        (&json!("https"), &json!("Harbour & chart"))
    );
    same_certificate(&namespace, &nginx, &secure);
    assert!(secure["fields"]["tls"]["problem"].is_string(), "nobody vouches for it: {secure:#}");
    let tls = answer(&namespace, "443", &["--as", "tls"]);
    assert_eq!(tls["fields"]["tls"]["version"], "TLS 1.3");
    let tunnel = answer(&namespace, "8888", &[]);
    assert_eq!((&tunnel["protocol"], &tunnel["fields"]["tunnel"]), (&json!("http-proxy"), &json!(true)));
    let refused = answer(&namespace, "8888", &["--set", "target=127.0.0.1:25"]);
    assert_eq!((&refused["fields"]["tunnel"], &refused["fields"]["status"]), (&json!(false), &json!(403)));
}

#[test]
fn a_tls_server_of_1999_and_quic() {
    let namespace = Namespace::new();
    let (old, _quic) = (servers::old_tls(&namespace), servers::ngtcp2(&namespace));
    let answered = answer(&namespace, "4443", &["--as", "tls"]);
    assert_eq!(answered["fields"]["tls"]["version"], "TLS 1.0");
    same_certificate(&namespace, &old, &answered);
    let quic = answer(&namespace, "443/udp", &[]);
    assert_eq!((&quic["protocol"], &quic["fields"]["supported_versions"][0]), (&json!("quic"), &json!("1")));
}

#[test]
fn mail_and_news() {
    let namespace = Namespace::new();
    let (smtpd, dovecot) = (servers::opensmtpd(&namespace), servers::dovecot(&namespace));
    let _leafnode = servers::leafnode(&namespace);
    let smtp = answer(&namespace, "25", &[]);
    assert_eq!(
        (&smtp["fields"]["domain"], &smtp["fields"]["starttls"]),
        (&json!("mail.lab.test"), &json!(true))
    );
    let words = ["s_client", "-starttls", "smtp", "-connect", "127.0.0.1:25"];
    let shown = client(&namespace, "openssl", "openssl", &words);
    match shown.contains("alert internal error") {
        true => assert!(
            smtp["fields"]["starttls_problem"].as_str().unwrap().contains("InternalError"),
            "{smtp:#}"
        ),
        false => same_certificate(&namespace, &smtpd, &smtp),
    }
    for (port, capability) in [("110", "STLS"), ("143", "STARTTLS")] {
        let mailbox = answer(&namespace, port, &[]);
        assert!(
            mailbox["fields"]["capabilities"].as_array().unwrap().contains(&json!(capability)),
            "{mailbox:#}"
        );
        assert!(!mailbox["fields"]["capabilities_over_tls"].as_array().unwrap().contains(&json!(capability)));
        same_certificate(&namespace, &dovecot, &mailbox);
    }
    for (port, protocol) in [("993", "imap"), ("995", "pop3")] {
        let mailbox = answer(&namespace, port, &[]);
        assert_eq!((&mailbox["protocol"], &mailbox["fields"]["starttls"]), (&json!(protocol), &Value::Null));
        same_certificate(&namespace, &dovecot, &mailbox);
    }
    let news = answer(&namespace, "119", &[]);
    assert!(news["fields"]["greeting"].as_str().unwrap().contains("Leafnode"), "{news:#}");
}

#[test]
fn login_and_files() {
    let namespace = Namespace::new();
    let _servers = [servers::sshd(&namespace), servers::telnetd(&namespace), servers::vsftpd(&namespace)];
    let ssh = answer(&namespace, "22", &[]);
    let shown = client(
        &namespace,
        "openssh-client",
        "ssh",
        &["-vv", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "127.0.0.1"],
    );
    let proposal = shown.split_once("peer server KEXINIT proposal").expect("a proposal").1;
    let line = |name: &str| {
        proposal.lines().find_map(|line| line.split_once(name)).expect("a list").1.trim().to_owned()
    };
    let list = |name: &str| {
        let names: Vec<&str> =
            ssh["fields"][name].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        names.join(",")
    };
    assert_eq!(list("kex_algorithms"), line("KEX algorithms: "));
    assert_eq!(list("encryption_algorithms"), line("ciphers ctos: "));
    assert_eq!(list("mac_algorithms"), line("MACs stoc: "));
    let telnet = answer(&namespace, "23", &[]);
    assert!(telnet["summary"].as_str().unwrap().ends_with("login:"), "{telnet:#}");
    let ftp = answer(&namespace, "21", &[]);
    assert_eq!((&ftp["fields"]["login"], &ftp["fields"]["system"]), (&json!(true), &json!("UNIX Type: L8")));
}

#[test]
fn databases_and_caches() {
    let namespace = Namespace::new();
    let _redis = [servers::redis(&namespace), servers::memcached(&namespace)];
    let (postgresql, _mariadb) = (servers::postgresql(&namespace), servers::mariadb(&namespace));
    let redis = answer(&namespace, "6379", &[]);
    let shown = client(&namespace, "redis-tools", "redis-cli", &["info", "server"]);
    let version = shown.lines().find_map(|line| line.strip_prefix("redis_version:")).expect("a version");
    assert_eq!(redis["fields"]["redis_version"], version);
    let memcached = answer(&namespace, "11211", &[]);
    assert_eq!(memcached["fields"], answer(&namespace, "11211/udp", &[])["fields"]);
    let strange = answer(&namespace, "5432", &[]);
    assert_eq!(strange["fields"]["authentication"], "scram-sha-256");
    assert_eq!(strange["fields"]["channel_binding"], true, "TLS is offered: {strange:#}");
    same_certificate(&namespace, &postgresql, &strange);
    let trusted = answer(&namespace, "5432", &["--set", "user=postgres"]);
    let shown = client(
        &namespace,
        "postgresql-client-15",
        "psql",
        &["-h", "127.0.0.1", "-U", "postgres", "-Atc", "SHOW server_version"],
    );
    assert_eq!(trusted["fields"]["server_version"], shown.trim());
    let mariadb = answer(&namespace, "3306", &[]);
    let shown = client(
        &namespace,
        "mariadb-client",
        "mariadb",
        &["--no-defaults", "-h", "127.0.0.1", "-u", "root", "-Ne", "select(version())"],
    );
    assert!(
        mariadb["fields"]["server_version"].as_str().unwrap().ends_with(shown.trim()),
        "{mariadb:#} {shown}"
    );
}

#[test]
fn messages_and_calls() {
    let namespace = Namespace::new();
    let _servers =
        [servers::mosquitto(&namespace), servers::kamailio(&namespace), servers::coturn(&namespace)];
    let mqtt = answer(&namespace, "1883", &[]);
    let shown = client(
        &namespace,
        "mosquitto-clients",
        "mosquitto_sub",
        &["-h", "127.0.0.1", "-C", "1", "-t", "$SYS/broker/version"],
    );
    assert_eq!(mqtt["fields"]["version"], shown.trim());
    for port in ["5060", "5060/udp"] {
        let sip = answer(&namespace, port, &[]);
        assert_eq!(sip["fields"]["status"], 200);
        assert!(sip["fields"]["server"].as_str().unwrap().starts_with("kamailio"), "{sip:#}");
    }
    for port in ["3478", "3478/udp"] {
        let stun = answer(&namespace, port, &["--as", "stun"]);
        assert!(stun["fields"]["mapped_address"].as_str().unwrap().starts_with("127.0.0.1:"), "{stun:#}");
        assert!(stun["fields"]["software"].as_str().unwrap().starts_with("Coturn"), "{stun:#}");
    }
}

#[test]
fn a_broker_tells_what_rabbitmqctl_shows_of_it() {
    let namespace = Namespace::new();
    let server = servers::rabbitmq(&namespace);
    let amqp = answer(&namespace, "5672", &[]);
    let mut command = servers::rabbitmqctl(&namespace, &server);
    let output = command
        .args(["eval", "rabbit_reader:server_properties(amqp_0_9_1)."])
        .output()
        .expect("it is installed");
    let shown = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    for (field, name) in [
        ("product", "product"),
        ("product_version", "version"),
        ("platform", "platform"),
        ("cluster_name", "cluster_name"),
    ] {
        let value = amqp["fields"][field].as_str().unwrap_or_else(|| panic!("{field}: {amqp:#}"));
        assert!(
            shown.contains(&format!("{{<<\"{name}\">>,longstr,<<\"{value}\">>}}")),
            "{field}: {amqp:#} {shown}"
        );
    }
    // What its setting auth_mechanisms has where nobody set it.
    let mut mechanisms: Vec<&str> =
        amqp["fields"]["mechanisms"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    mechanisms.sort_unstable();
    assert_eq!(mechanisms, ["AMQPLAIN", "PLAIN"]);
}

#[test]
fn a_upnp_device_is_found_by_a_search() {
    let namespace = Namespace::new();
    let _server = servers::minissdpd(&namespace);
    let ssdp = answer(&namespace, "1900/udp", &[]);
    assert_eq!(ssdp["summary"], "Lab/1.0 UPnP/1.1 Harbour/2.0");
    let expected = json!({
        "server": "Lab/1.0 UPnP/1.1 Harbour/2.0",
        "location": "http://127.0.0.1:5000/root.xml",
        "usn": "uuid:6f8a7c2e-0001::urn:schemas-upnp-org:device:InternetGatewayDevice:1",
        "services": ["urn:schemas-upnp-org:device:InternetGatewayDevice:1"],
    });
    assert_eq!(ssdp["fields"], expected);
}

#[test]
fn what_speaks_as_mongodb_does_is_what_its_own_client_sees() {
    let namespace = Namespace::new();
    let _server = servers::mongodb(&namespace);
    let told = answer(&namespace, "27017", &[]);
    let program = "import pymongo; c = pymongo.MongoClient('127.0.0.1'); r = c.admin.command('ismaster'); \
                   print(c.server_info()['version'], c.is_primary, r['minWireVersion'], r['maxWireVersion'])";
    let shown = client(&namespace, "python3 python3-pymongo", "/usr/bin/python3", &["-c", program]);
    assert_eq!(shown.trim(), "7.0.14 True 0 21");
    let expected = json!({
        "isWritablePrimary": true, "minWireVersion": 0, "maxWireVersion": 21, "readOnly": false, "version": "7.0.14",
    });
    assert_eq!(told["fields"], expected);
}
