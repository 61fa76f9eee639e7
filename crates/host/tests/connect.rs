//! Connecting, held against listeners, refusals and silence that a test makes itself.
#![cfg(target_os = "linux")]

use std::net::TcpStream;
use std::time::Duration;

use portolan_core::kernel::route::RouteKind;
use portolan_host::Namespace;
use portolan_host::connect::{Attempt, connect, is_source, resolve, source_towards, way_to};
use portolan_testbed::Held;

const LIMIT: Duration = Duration::from_secs(5);

fn attempt(namespace: &portolan_testbed::Namespace, address: &str, limit: Duration) -> Attempt {
    let named = Namespace::Named(namespace.name().to_owned());
    connect(&named, address.parse().unwrap(), limit).unwrap()
}

#[test]
fn a_listener_connects_and_a_closed_port_refuses() {
    let namespace = portolan_testbed::Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 127.0.0.1:7000 tcp-bound 127.0.0.1:7001");
    assert!(matches!(attempt(&namespace, "127.0.0.1:7000", LIMIT), Attempt::Connected));
    assert!(matches!(attempt(&namespace, "127.0.0.1:7001", LIMIT), Attempt::Refused));
    assert!(matches!(attempt(&namespace, "192.0.2.1:7000", LIMIT), Attempt::Failed(_)));
}

#[test]
fn a_connection_that_meets_itself_is_a_refusal() {
    let namespace = portolan_testbed::Namespace::new();
    // One port that may be chosen: every connection to it is given it as its own end.
    namespace.sysctl("net.ipv4.ip_local_port_range", "7000 7000");
    let own = namespace.run(|| TcpStream::connect("127.0.0.1:7000").unwrap());
    assert_eq!(own.local_addr().unwrap(), own.peer_addr().unwrap());
    drop(own);
    namespace.sysctl("net.ipv4.ip_local_port_range", "7002 7002");
    assert!(matches!(attempt(&namespace, "127.0.0.1:7002", LIMIT), Attempt::Refused));
}

#[test]
fn silence_is_no_refusal() {
    let (near, far) = (portolan_testbed::Namespace::new(), portolan_testbed::Namespace::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    far.run(|| std::process::Command::new("nft").args(["add", "table", "ip", "t"]).status().unwrap());
    let chain = "add chain ip t c { type filter hook input priority 0 ; policy drop ; }";
    far.run(|| {
        assert!(std::process::Command::new("nft").arg(chain).status().unwrap().success());
    });
    let silent = attempt(&near, "10.9.0.2:7000", Duration::from_millis(300));
    assert!(matches!(silent, Attempt::Silent), "{silent:?}");
}

#[test]
fn names_resolve_and_a_name_without_address_is_an_error() {
    let addresses = resolve(&Namespace::Own, "127.0.0.1", 80, LIMIT).unwrap();
    assert_eq!(addresses, ["127.0.0.1:80".parse().unwrap()]);
    let error = resolve(&Namespace::Own, "a..b", 80, LIMIT).unwrap_err().to_string();
    assert!(error.starts_with("cannot resolve 'a..b'"), "{error}");
}

#[test]
fn the_source_is_the_one_that_the_system_would_choose() {
    let (near, far) = (portolan_testbed::Namespace::new(), portolan_testbed::Namespace::new());
    near.link("192.0.2.1/24", &far, "192.0.2.2/24");
    let named = Namespace::Named(near.name().to_owned());
    let source = |to: &str| source_towards(&named, to.parse().unwrap()).unwrap().map(|ip| ip.to_string());
    assert_eq!(source("192.0.2.2:80").as_deref(), Some("192.0.2.1"));
    assert_eq!(source("[::1]:80").as_deref(), Some("::1"));
    assert_eq!(source("198.51.100.1:80"), None, "there is no way");
    near.sysctl("net.ipv4.ip_local_port_range", "40000 40000");
    let _held = Held::new(&near, "udp 0.0.0.0:40000");
    assert!(source_towards(&named, "192.0.2.2:80".parse().unwrap()).is_err(), "no port to ask with");
}

#[test]
fn connections_come_from_addresses_of_the_machine_alone_unless_others_may_be_bound() {
    let namespace = portolan_testbed::Namespace::new();
    namespace.add_address("10.0.0.1/24");
    namespace.add_address("2001:db8::1/64");
    let named = Namespace::Named(namespace.name().to_owned());
    let is_source = |address: &str| is_source(&named, address.parse().unwrap()).unwrap();
    // Loopback has every address of its prefix; what is sent to all of a network is nobody's.
    for own in
        ["127.0.0.1", "127.3.2.1", "10.0.0.1", "::ffff:10.0.0.1", "::1", "2001:db8::1", "0.0.0.0", "::"]
    {
        assert!(is_source(own), "{own}");
    }
    for other in ["192.0.2.1", "224.0.0.1", "255.255.255.255", "2001:db8::2", "fe80::1", "ff02::1"] {
        assert!(!is_source(other), "{other}");
    }
    namespace.sysctl("net.ipv4.ip_nonlocal_bind", "1");
    assert!(is_source("192.0.2.1") && !is_source("224.0.0.1"));
}

#[test]
fn a_route_that_leads_nowhere_is_told_by_its_kind() {
    let namespace = portolan_testbed::Namespace::new();
    for (kind, network) in
        [("blackhole", "198.51.100.0/24"), ("prohibit", "203.0.113.0/24"), ("unreachable", "2001:db8::/64")]
    {
        let mut ip = namespace.command("/usr/sbin/ip");
        assert!(ip.args(["route", "add", kind, network]).status().unwrap().success());
    }
    let named = Namespace::Named(namespace.name().to_owned());
    for (to, expected) in [
        ("127.0.0.1", RouteKind::Local),
        ("192.0.2.1", RouteKind::None),
        ("198.51.100.1", RouteKind::Blackhole),
        ("203.0.113.1", RouteKind::Prohibit),
        ("2001:db8::1", RouteKind::Unreachable),
    ] {
        assert_eq!(way_to(&named, to.parse().unwrap()).unwrap(), expected, "{to}");
    }
}
