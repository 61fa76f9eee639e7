//! `portolan who`, end to end: every holder of a port, and how far it is reachable.
#![cfg(target_os = "linux")]

use portolan_testbed::{Answer, Held, Namespace, program};
use serde_json::Value;

fn who(namespace: &Namespace, arguments: &[&str]) -> Answer {
    let mut command = namespace.command(program("portolan"));
    Answer::of(command.arg("who").args(arguments))
}

/// The answer about one port.
fn port(namespace: &Namespace, port: &str) -> Value {
    let json = who(namespace, &[port, "--json"]).with_code(0).json();
    let ports = json["ports"].as_array().unwrap_or_else(|| panic!("{json:#}"));
    assert_eq!(ports.len(), 1, "{json:#}");
    ports[0].clone()
}

#[test]
fn a_holder_is_named() {
    let namespace = Namespace::new();
    let held = Held::new(&namespace, "--name harbour tcp-listen 127.0.0.1:8080");
    let answer = who(&namespace, &["8080"]).with_code(0);
    assert!(answer.output.contains(&held.pid().to_string()) && answer.output.contains("harbour"), "{answer}");
}

#[test]
fn every_holder_is_found_wherever_the_descriptor_went() {
    let namespace = Namespace::new();
    let held = Held::new(&namespace, "--uid 64002 tcp-listen 0.0.0.0:8080 --workers 4");
    let other = Held::new(&namespace, "tcp-listen 127.0.0.1:8081");
    let text = port(&namespace, "8080").to_string();
    for pid in held.holdings[0].workers.iter().chain([&held.pid()]) {
        assert!(text.contains(&format!("\"pid\":{pid},")), "{pid}: {text}");
    }
    assert!(!text.contains(&format!("\"pid\":{},", other.pid())), "{text}");
}

#[test]
fn the_first_holder_is_enough_where_that_is_asked() {
    let namespace = Namespace::new();
    let held = Held::new(&namespace, "tcp-listen 0.0.0.0:8080 --workers 4");
    let json = who(&namespace, &["8080", "--first", "--json"]).with_code(0).json();
    let pids = json.to_string().matches("\"pid\":").count();
    assert!(pids >= 1, "{json:#}");
    drop(held);
}

#[test]
fn nobody_holds_a_free_port() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 127.0.0.1:8080");
    let answer = who(&namespace, &["8081"]).with_code(1);
    assert!(answer.output.contains("nobody"), "{answer}");
    who(&namespace, &["8080/udp"]).with_code(1);
}

#[test]
fn several_ports_are_asked_at_once() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 127.0.0.1:8080 udp 127.0.0.1:53");
    let json = who(&namespace, &["8080", "53/udp", "--json"]).with_code(0).json();
    assert_eq!(json["ports"].as_array().map(Vec::len), Some(2), "{json:#}");
}

#[test]
fn a_holder_out_of_sight_is_hidden_and_not_nobody() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 127.0.0.1:8080");
    let mut command = namespace.command_as(64_001, program("portolan"));
    let answer = Answer::of(command.args(["who", "8080", "--json"])).with_code(0);
    let json = answer.json();
    assert!(json.to_string().contains("\"hidden\""), "{json:#}");
    assert!(json["gaps"].as_array().unwrap().iter().any(|gap| gap["what"] == "owners"), "{json:#}");
}

#[test]
fn the_reach_follows_the_address() {
    let namespace = Namespace::new();
    namespace.add_address("192.0.2.1/32");
    let _held =
        Held::new(&namespace, "tcp-listen 127.0.0.1:8080 tcp-listen 192.0.2.1:8081 tcp-listen [::]:8082");
    for (asked, reach) in [("8080", "loopback"), ("8081", "address"), ("8082", "all")] {
        assert_eq!(port(&namespace, asked)["reach"], reach);
    }
}

#[test]
fn the_local_firewall_is_read() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 0.0.0.0:8080 tcp-listen 0.0.0.0:8081");
    let rules =
        "table inet filter { chain input { type filter hook input priority 0; tcp dport 8080 drop; }; }";
    Answer::of(namespace.command("nft").arg(rules)).with_code(0);
    let text = port(&namespace, "8080").to_string();
    assert!(text.contains("drop"), "{text}");
    let text = port(&namespace, "8081").to_string();
    assert!(!text.contains("\"drop\""), "{text}");
}

#[test]
fn a_port_that_a_dnat_rule_carries_names_the_rule() {
    let namespace = Namespace::new();
    let rules = "table ip nat { chain prerouting { type nat hook prerouting priority -100; \
                 tcp dport 8080 dnat to 10.0.0.7:80; }; }";
    Answer::of(namespace.command("nft").arg(rules)).with_code(0);
    let answer = who(&namespace, &["8080"]);
    assert!(answer.output.contains("10.0.0.7"), "{answer}");
}
