//! `portolan probe HOST` without ports: hosts that answer an echo, keep silent, or have no way to them.
#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use portolan_testbed::{Answer, Namespace, program};
use serde_json::Value;

fn ip(namespace: &Namespace, arguments: &str) {
    assert!(namespace.command("ip").args(arguments.split(' ')).status().unwrap().success(), "ip {arguments}");
}

fn nft(namespace: &Namespace, rules: &str) {
    let mut child = namespace.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{rules}");
}

/// A host, a router that knows dead ends, and a host behind it, with a silent address each.
fn behind_a_router() -> [Namespace; 3] {
    let (near, router, far) = (Namespace::new(), Namespace::new(), Namespace::new());
    near.link("10.9.0.1/24", &router, "10.9.0.2/24");
    near.link("2001:db8:9::1/64", &router, "2001:db8:9::2/64");
    router.link("10.8.0.1/24", &far, "10.8.0.2/24");
    router.link("2001:db8:8::1/64", &far, "2001:db8:8::2/64");
    router.sysctl("net.ipv4.ip_forward", "1");
    router.sysctl("net.ipv6.conf.all.forwarding", "1");
    router.sysctl("net.ipv4.icmp_ratemask", "0");
    router.sysctl("net.ipv6.icmp.ratelimit", "0");
    for network in ["10.8.0.0/24", "10.7.0.0/24"] {
        ip(&near, &format!("route add {network} via 10.9.0.2"));
    }
    for network in ["2001:db8:8::/64", "2001:db8:7::/64"] {
        ip(&near, &format!("-6 route add {network} via 2001:db8:9::2"));
    }
    ip(&far, "route add default via 10.8.0.1");
    ip(&far, "-6 route add default via 2001:db8:8::1");
    ip(&router, "route add unreachable 10.7.0.0/24");
    ip(&router, "-6 route add unreachable 2001:db8:7::/64");
    far.add_address("10.8.0.3/32");
    far.add_address("2001:db8:8::3/128");
    ip(&router, "route add 10.8.0.3/32 via 10.8.0.2");
    ip(&router, "-6 route add 2001:db8:8::3/128 via 2001:db8:8::2");
    nft(
        &far,
        "table inet t {\nchain c {\ntype filter hook input priority 0;\nip daddr 10.8.0.3 drop\n\
         ip6 daddr 2001:db8:8::3 drop\n}\n}\n",
    );
    // A new IPv6 link asks no neighbour for a second or two: until a closed port behind it refuses, it is not there yet.
    for host in ["10.8.0.2:9", "[2001:db8:8::2]:9"] {
        let refused = near.run(|| TcpStream::connect(host)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{host}: {refused}");
    }
    [near, router, far]
}

fn probe(namespace: &Namespace, host: &str, code: i32) -> Value {
    let mut command = namespace.command(program("portolan"));
    let answer = Answer::of(command.args(["probe", host, "--timeout", "0.5", "--json"])).with_code(code);
    let json = answer.json();
    assert_eq!(json["hosts"][0]["host"], host, "{json}");
    json["hosts"][0]["addresses"][0].clone()
}

#[test]
fn a_host_that_answers_is_told_with_its_way_and_its_round_trips() {
    let [near, _router, _far] = behind_a_router();
    for (host, gateway, source) in
        [("10.8.0.2", "10.9.0.2", "10.9.0.1"), ("2001:db8:8::2", "2001:db8:9::2", "2001:db8:9::1")]
    {
        let told = probe(&near, host, 0);
        let (route, echo) = (&told["route"], &told["echo"]);
        assert_eq!((&route["kind"], &route["gateway"]), (&"unicast".into(), &gateway.into()), "{told}");
        assert_eq!(route["source"], source, "{told}");
        assert!(route["interface"].as_str().unwrap().starts_with('v'), "{told}");
        assert_eq!((&echo["sent"], &echo["answers"]), (&4.into(), &4.into()), "{told}");
        let times = ["min_ms", "avg_ms", "max_ms"].map(|name| echo[name].as_f64().unwrap());
        assert!(times[0] > 0.0 && times[0] <= times[1] && times[1] <= times[2], "{told}");
    }
    let told = probe(&near, "10.9.0.1", 0);
    assert_eq!((&told["route"]["kind"], &told["route"]["gateway"]), (&"local".into(), &Value::Null));
    let told = probe(&near, "10.9.0.2", 0);
    assert_eq!((&told["route"]["kind"], &told["route"]["gateway"]), (&"unicast".into(), &Value::Null));
}

#[test]
fn a_silent_host_and_one_that_a_router_refuses_are_told_apart() {
    let [near, _router, _far] = behind_a_router();
    for host in ["10.8.0.3", "2001:db8:8::3"] {
        let told = probe(&near, host, 1);
        let echo = &told["echo"];
        assert_eq!((&echo["sent"], &echo["answers"]), (&4.into(), &0.into()), "{told}");
        assert_eq!((&echo["errors"], &echo["refused"]), (&Value::Array(Vec::new()), &Value::Null), "{told}");
    }
    for (host, router, numbers) in
        [("10.7.0.1", "10.9.0.2", (3, 1)), ("2001:db8:7::1", "2001:db8:9::2", (1, 0))]
    {
        let told = probe(&near, host, 1);
        let errors = told["echo"]["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 4, "{told}");
        for error in errors {
            assert_eq!(error["from"], router, "{told}");
            assert_eq!((&error["icmp_type"], &error["icmp_code"]), (&numbers.0.into(), &numbers.1.into()));
        }
    }
    let table = Answer::of(near.command(program("portolan")).args(["probe", "10.7.0.1"])).with_code(1);
    assert!(table.output.contains("host unreachable from 10.9.0.2"), "{table}");
}

#[test]
fn a_neighbour_that_does_not_answer_arp_is_unreachable_by_our_own_word() {
    let (near, far) = (Namespace::new(), Namespace::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    let mut command = near.command(program("portolan"));
    let told = Answer::of(command.args(["probe", "10.9.0.77", "--json"])).with_code(1).json();
    let errors = &told["hosts"][0]["addresses"][0]["echo"]["errors"];
    assert_eq!((&errors[0]["icmp_code"], &errors[0]["from"]), (&1.into(), &"10.9.0.1".into()), "{told}");
}

#[test]
fn where_no_way_leads_the_reason_is_told() {
    let namespace = Namespace::new();
    let other = Namespace::new();
    namespace.link("10.9.0.1/24", &other, "10.9.0.2/24");
    for (kind, network) in [("blackhole", 6), ("unreachable", 7), ("prohibit", 8)] {
        ip(&namespace, &format!("route add {kind} 10.{network}.0.0/24"));
        ip(&namespace, &format!("-6 route add {kind} 2001:db8:{network}::/64"));
        for host in [format!("10.{network}.0.1"), format!("2001:db8:{network}::1")] {
            let told = probe(&namespace, &host, 1);
            assert_eq!(told["route"]["kind"], kind, "{told}");
            assert!(told["echo"]["refused"].is_i64(), "{told}");
        }
    }
    for host in ["192.0.2.1", "2001:db8::1"] {
        let told = probe(&namespace, host, 1);
        assert_eq!(told["route"]["kind"], "none", "{told}");
    }
    let mut command = namespace.command(program("portolan"));
    let table = Answer::of(command.args(["probe", "10.6.0.1"])).with_code(1);
    assert!(table.output.contains("a blackhole route of this machine swallows it"), "{table}");
}

#[test]
fn a_plain_user_asks_where_the_system_lets_and_is_told_what_to_do_where_not() {
    let namespace = Namespace::new();
    let probe = |code| {
        let mut command = namespace.command_as(65_534, program("portolan"));
        Answer::of(command.args(["probe", "127.0.0.1", "::1", "--json"])).with_code(code).json()
    };
    namespace.sysctl("net.ipv4.ping_group_range", "1 0");
    let told = probe(2);
    assert_eq!((&told["gaps"][0]["what"], &told["gaps"][0]["reason"]), (&"echo".into(), &"denied".into()));
    assert!(told["gaps"][0]["remedy"].as_str().unwrap().contains("ping_group_range"), "{told}");
    assert_eq!(told["hosts"][0]["addresses"][0]["echo"], Value::Null);
    assert_eq!(told["hosts"][0]["addresses"][0]["route"]["kind"], "local");
    namespace.sysctl("net.ipv4.ping_group_range", "0 2147483647");
    let told = probe(0);
    assert_eq!(told["gaps"].as_array().unwrap().len(), 0, "{told}");
    for host in told["hosts"].as_array().unwrap() {
        assert_eq!(host["addresses"][0]["echo"]["answers"], 4, "{told}");
    }
}

#[test]
fn a_names_addresses_and_their_names_are_told() {
    let namespace = Namespace::new();
    let mut command = namespace.command(program("portolan"));
    let told = Answer::of(command.args(["probe", "localhost", "--json"])).with_code(0).json();
    let host = &told["hosts"][0];
    assert!(host["resolving_ms"].as_f64().unwrap() > 0.0, "{told}");
    let addresses = host["addresses"].as_array().unwrap();
    let loopback = addresses.iter().find(|address| address["address"] == "127.0.0.1").unwrap();
    assert_eq!(loopback["name"], "localhost", "{told}");
}
