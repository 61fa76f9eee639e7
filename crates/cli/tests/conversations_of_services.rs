//! What real servers say to `portolan probe`, against what the reference clients show of the same ones: snmpget,
//! chronyd, ldapsearch, curl, tsql, ike-scan. One namespace, each server on its own port.
#![cfg(target_os = "linux")]

use std::process::Command;

use portolan_testbed::servers::{
    atftpd, charon, charon_for_everybody, chronyd, freeradius, installed, krb5kdc, slapd, smbd, snmpd,
    sql_browser, xl2tpd, xrdp,
};
use portolan_testbed::{Answer, Namespace, program};
use serde_json::Value;

const HOST: &str = "127.0.0.1";

fn says(command: &mut Command) -> String {
    let output = command.output().expect("it was found");
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

fn client(namespace: &Namespace, program: &str, package: &str, arguments: &[&str]) -> String {
    says(namespace.command(installed(program, package)).args(arguments))
}

/// The fields of the answer of one port, which must be open.
#[track_caller]
fn probe(namespace: &Namespace, port: &str, more: &[&str]) -> Value {
    let mut command = namespace.command(program("portolan"));
    command.args(["probe", HOST, "--json", "-p", port]).args(more);
    let json = Answer::of(&mut command).with_code(0).json();
    assert_eq!(json["results"][0]["state"], "open", "{json:#}");
    json["results"][0]["answer"]["fields"].clone()
}

#[test]
fn an_snmp_agent_is_what_snmpget_shows_with_and_without_the_community() {
    let namespace = Namespace::new();
    let _agent = snmpd(&namespace);
    let instance = |oid: &str| {
        let said = client(&namespace, "snmpget", "snmp", &["-v2c", "-cpublic", "-Oqvn", HOST, oid]);
        // Long values are broken into lines; on a new machine the client tells of a folder that it makes.
        let value = said.lines().filter(|line| !line.starts_with("Created directory"));
        let value = value.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
        value.trim_matches('"').trim().to_owned()
    };
    let told = probe(&namespace, "161/udp", &[]);
    assert_eq!(told["version"], "2c");
    assert_eq!(told["sys_descr"], instance("1.3.6.1.2.1.1.1.0"));
    assert_eq!(format!(".{}", told["sys_object_id"].as_str().unwrap()), instance("1.3.6.1.2.1.1.2.0"));
    assert_eq!(told["sys_name"], instance("1.3.6.1.2.1.1.5.0"));
    // snmpEngineID.0, which snmpget shows as "80 00 1F …".
    let engine = told["engine_id"].as_str().unwrap().to_uppercase().replace(':', " ");
    assert_eq!(engine, instance("1.3.6.1.6.3.10.2.1.1.0"));
    let told = probe(&namespace, "161/udp", &["--set", "community=wrong", "--tries", "1"]);
    assert!(told["sys_descr"].is_null() && told["engine_id"].is_string(), "{told:#}");
}

#[test]
fn a_time_server_is_what_chronyd_measures() {
    let namespace = Namespace::new();
    let _server = chronyd(&namespace);
    let told = probe(&namespace, "123/udp", &[]);
    assert_eq!((&told["stratum"], &told["leap_indicator"]), (&5.into(), &"no warning".into()));
    let asked = ["-Q", "-t", "10", "-f", "/dev/null", "server 127.0.0.1 iburst maxsamples 1"];
    let said = client(&namespace, "chronyd", "chrony", &asked);
    let wrong = said.split("System clock wrong by ").nth(1).and_then(|rest| rest.split(' ').next());
    let seconds: f64 = wrong.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{said}"));
    let offset = told["offset_ms"].as_f64().unwrap();
    assert!((offset - seconds * 1000.0).abs() < 2_000.0, "{offset} ms, and {said}");
}

#[test]
fn a_directory_without_entries_shows_what_ldapsearch_shows() {
    let namespace = Namespace::new();
    let _server = slapd(&namespace);
    for (port, url) in [("389", "ldap://127.0.0.1"), ("636", "ldaps://127.0.0.1")] {
        let mut command = namespace.command(installed("ldapsearch", "ldap-utils"));
        command.args(["-x", "-LLL", "-o", "ldif-wrap=no", "-s", "base", "-b", "", "-H", url, "*", "+"]);
        let said = says(command.env("LDAPTLS_REQCERT", "never"));
        let mut expected: Vec<String> =
            said.lines().filter(|l| l.contains(": ")).map(str::to_owned).collect();
        expected.sort();
        let told = probe(&namespace, port, &[]);
        let attributes = told["attributes"].as_object().unwrap();
        let mut shown: Vec<String> = attributes
            .iter()
            .flat_map(|(name, values)| {
                values
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(move |value| format!("{name}: {}", value.as_str().unwrap()))
            })
            .filter(|line| !line.ends_with(": "))
            .collect();
        shown.sort();
        assert_eq!(shown, expected, "{said}");
        assert_eq!(told["tls"]["certificate"]["subject"].is_string(), port == "636", "{told:#}");
    }
}

#[test]
fn a_tftp_server_answers_from_another_port_and_has_the_file_that_curl_reads() {
    let namespace = Namespace::new();
    let _server = atftpd(&namespace);
    let told = probe(&namespace, "69/udp", &[]);
    assert_eq!((&told["opcode"], &told["error_message"]), (&"ERROR".into(), &"File not found".into()));
    assert_ne!(told["port"], 69);
    let told = probe(&namespace, "69/udp", &["--set", "path=boot.img"]);
    let read = client(&namespace, "curl", "curl", &["-s", "tftp://127.0.0.1/boot.img"]);
    assert_eq!(told["tsize"].as_u64(), Some(read.len() as u64), "{read:?}");
}

#[test]
fn sql_servers_instances_are_those_that_tsql_lists() {
    let namespace = Namespace::new();
    let _server = sql_browser(&namespace);
    let said = client(&namespace, "tsql", "freetds-bin", &["-LH", HOST]);
    let told = probe(&namespace, "1434/udp", &[]);
    let instances = told["instances"].as_array().unwrap();
    assert_eq!(instances.len(), 2);
    for instance in instances {
        for (name, value) in instance.as_object().unwrap() {
            let is_listed = said.lines().any(|line| {
                line.split_whitespace().collect::<Vec<_>>() == [name.as_str(), value.as_str().unwrap()]
            });
            assert!(is_listed, "{name} {value}: {said}");
        }
    }
    let one = probe(&namespace, "1434/udp", &["--set", "name=SQLEXPRESS"]);
    assert_eq!(one["instances"], serde_json::json!([instances[1]]));
}

#[test]
fn a_key_distribution_centre_tells_its_time_over_both_transports() {
    let namespace = Namespace::new();
    let _server = krb5kdc(&namespace);
    for port in ["88", "88/udp"] {
        let told = probe(&namespace, port, &["--set", "realm=LAB.TEST"]);
        assert_eq!(told["error_code"], "KDC_ERR_C_PRINCIPAL_UNKNOWN");
        assert_eq!(told["realm"], "LAB.TEST");
        assert!(told["offset_ms"].as_i64().is_some_and(|offset| offset.abs() < 10_000), "{told:#}");
    }
}

#[test]
fn a_key_exchange_daemon_speaks_both_versions_as_ike_scan_shows() {
    let namespace = Namespace::new();
    let _server = charon(&namespace);
    let told = probe(&namespace, "500/udp", &[]);
    for (version, option) in [("ikev1", None), ("ikev2", Some("--ikev2"))] {
        let arguments: Vec<&str> = option.into_iter().chain(["--sport=0", HOST]).collect();
        let said = client(&namespace, "ike-scan", "ike-scan", &arguments).replace('_', "-");
        let notify = told[version]["notify"].as_str().unwrap_or_else(|| panic!("{told:#}"));
        assert!(said.contains(&format!("({})", notify.replace('_', "-"))), "{notify}: {said}");
    }
}

#[test]
fn a_key_exchange_daemon_that_takes_everybody_shows_what_it_chooses() {
    let namespace = Namespace::new();
    let _server = charon_for_everybody(&namespace);
    let told = probe(&namespace, "500/udp", &[]);
    let (second, first) = (&told["ikev2"]["security_association"], &told["ikev1"]["security_association"]);
    assert_eq!(second, "AES_CBC_256, HMAC_SHA2_256_128, PRF_HMAC_SHA2_256, MODP_2048");
    assert_eq!(first, "AES_CBC_256, SHA2_256, pre-shared key, MODP_2048");
    let offer = "--trans=(1=7,14=256,2=4,3=1,4=14)";
    let said = client(&namespace, "ike-scan", "ike-scan", &["--sport=0", offer, HOST]);
    assert!(said.contains("SA=(Enc=AES KeyLength=256 Hash=SHA2-256 Group=14:modp2048 Auth=PSK"), "{said}");
    assert!(said.contains("Dead Peer Detection"), "{said}");
    assert!(told["ikev1"]["vendor_ids"].as_array().unwrap().contains(&"Dead Peer Detection".into()));
}

#[test]
fn a_tunnel_server_agrees_and_says_in_its_log_that_the_tunnel_was_closed() {
    let namespace = Namespace::new();
    let server = xl2tpd(&namespace);
    let told = probe(&namespace, "1701/udp", &[]);
    assert_eq!((&told["message_type"], &told["vendor_name"]), (&"SCCRP".into(), &"xelerance.com".into()));
    let log = std::fs::read_to_string(server.path("log")).unwrap();
    assert!(log.contains("control_finish: Connection closed"), "{log}");
}

#[test]
fn a_radius_server_refuses_and_a_wrong_secret_is_met_with_silence() {
    let namespace = Namespace::new();
    let server = freeradius(&namespace);
    let told = probe(&namespace, "1812/udp", &[]);
    let expected = serde_json::json!({ "code": "Access-Reject", "authenticated": true, "reply_message": "no such user here" });
    assert_eq!(told, expected);
    let mut command = namespace.command(program("portolan"));
    command.args(["probe", HOST, "--json", "-p", "1812/udp", "--set", "secret=wrong", "--tries", "1"]);
    let json = Answer::of(&mut command).with_code(1).json();
    assert_eq!(json["results"][0]["state"], "open|filtered", "{json:#}");
    let log = std::fs::read_to_string(server.path("log")).unwrap();
    assert!(log.contains("Shared secret is incorrect"), "{log}");
}

#[test]
fn file_servers_tell_their_newest_dialect_down_to_smb_1() {
    for (protocol, dialect) in
        [("SMB3", "3.1.1"), ("SMB3_02", "3.0.2"), ("SMB2_10", "2.1"), ("NT1", "NT LM 0.12")]
    {
        let namespace = Namespace::new();
        let _server = smbd(&namespace, protocol);
        let told = probe(&namespace, "445", &[]);
        assert_eq!(told["dialect_revision"], dialect, "{told:#}");
        assert!(told["offset_ms"].as_i64().is_some_and(|offset| offset.abs() < 10_000), "{told:#}");
    }
}

#[test]
fn a_remote_desktop_tells_its_security_and_its_certificate() {
    let namespace = Namespace::new();
    let _server = xrdp(&namespace);
    let told = probe(&namespace, "3389", &[]);
    assert_eq!(told["selected_protocol"], "PROTOCOL_SSL");
    assert_eq!(told["tls"]["certificate"]["subject_alt_names"], serde_json::json!(["lab.test", "127.0.0.1"]));
}
