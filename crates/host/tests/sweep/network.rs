//! Over links: filters and refusals with who sent them, missing ways, loss, limits of ICMP errors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use portolan_core::probe::{IcmpVersion, PortState, Reason, Verdict};
use portolan_host::sweep::Manner;
use portolan_testbed::{Impaired, Impairment, Namespace as Testbed};

use super::{in_state, listeners, nft, ports, swept};

#[track_caller]
fn ip(namespace: &Testbed, arguments: &str) {
    let arguments = arguments.split_ascii_whitespace();
    let status = namespace.run(|| Command::new("ip").args(arguments.clone()).status().unwrap());
    assert!(status.success(), "ip {arguments:?}");
}

/// Each port of a host treats what asks for it in its own way.
const RULES: &str = "table inet far {
    chain input {
        type filter hook input priority 0;
        tcp dport 7002 drop
        tcp dport 7003 reject with tcp reset
        meta nfproto ipv4 tcp dport 7004 reject with icmp port-unreachable
        meta nfproto ipv6 tcp dport 7004 reject with icmpv6 port-unreachable
        meta nfproto ipv4 tcp dport 7005 reject with icmp admin-prohibited
        meta nfproto ipv6 tcp dport 7005 reject with icmpv6 admin-prohibited
        meta nfproto ipv4 tcp dport 7006 reject with icmp host-unreachable
        meta nfproto ipv6 tcp dport 7006 reject with icmpv6 addr-unreachable
    }
}";

#[test]
fn each_way_to_refuse_is_told_with_who_sent_it() {
    let (near, far) = (Testbed::new(), Testbed::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    near.link("2001:db8::1/64", &far, "2001:db8::2/64");
    far.run(|| nft(RULES));
    for (host, version, numbers) in [
        ("10.9.0.2", IcmpVersion::V4, [(3, 3), (3, 13), (3, 1)]),
        ("2001:db8::2", IcmpVersion::V6, [(1, 4), (1, 1), (1, 3)]),
    ] {
        let at = ports(host, 7000..=7006);
        let _listeners = listeners(&far, &at[..1]);
        let (verdicts, _) = swept(&near, &Manner::default(), at.clone());
        let of = |port: u16| verdicts[&SocketAddr::new(at[0].ip(), port)];
        let (open, dropped) = (of(7000), of(7002));
        assert_eq!((open.state, open.reason, open.tries), (PortState::Open, Reason::SynAck, 1));
        assert!(open.round_trip.is_some_and(|trip| trip < Duration::from_secs(1)), "{open:?}");
        assert_eq!((of(7001).state, of(7001).reason), (PortState::Closed, Reason::Reset));
        assert_eq!((of(7003).state, of(7003).reason), (PortState::Closed, Reason::Reset));
        let states = [PortState::Filtered, PortState::Filtered, PortState::Unreachable];
        for ((port, (kind, code)), state) in (7004..).zip(numbers).zip(states) {
            let verdict = of(port);
            assert_eq!(verdict.state, state, "{port}: {verdict:?}");
            let Reason::Icmp(icmp) = verdict.reason else { panic!("{port}: {verdict:?}") };
            let told = (icmp.version, icmp.kind, icmp.code, icmp.from);
            assert_eq!(told, (version, kind, code, Some(at[0].ip())), "{port}");
        }
        // It was silent while others of its host were not: it was asked alone as well, and stayed silent.
        assert_eq!((dropped.state, dropped.reason), (PortState::Filtered, Reason::Timeout));
        assert!(dropped.tries >= 3, "{dropped:?}");
    }
}

#[test]
fn a_missing_way_is_unreachable_at_once() {
    let namespace = Testbed::new();
    for (kind, net) in [("unreachable", 1), ("prohibit", 2), ("blackhole", 3)] {
        ip(&namespace, &format!("route add {kind} 10.{net}.0.0/16"));
    }
    for host in ["10.1.0.1", "10.2.0.1", "10.3.0.1", "10.4.0.1", "2001:db8::1"] {
        let start = Instant::now();
        let (verdicts, _) = swept(&namespace, &Manner::default(), ports(host, [80, 443]));
        // Silence would take three tries, of seconds.
        assert!(start.elapsed() < Duration::from_secs(2), "{host}");
        for verdict in verdicts.values() {
            assert_eq!(verdict.state, PortState::Unreachable, "{host}: {verdict:?}");
            assert!(matches!(verdict.reason, Reason::System { .. }), "{host}: {verdict:?}");
        }
    }
}

#[test]
fn a_neighbour_that_is_not_there_is_unreachable_and_this_machine_says_so() {
    let (near, far) = (Testbed::new(), Testbed::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    let (verdicts, _) = swept(&near, &Manner::default(), ports("10.9.0.77", [80, 443]));
    for verdict in verdicts.values() {
        assert_eq!(verdict.state, PortState::Unreachable, "{verdict:?}");
        let from = verdict.reason.icmp().and_then(|icmp| icmp.from);
        assert_eq!(from, Some("10.9.0.1".parse().unwrap()), "{verdict:?}");
    }
}

/// What a host is asked for over a bad line, by port: thirds of it are open, closed, dropped.
fn thirds(verdicts: &BTreeMap<SocketAddr, Verdict>) -> [Vec<SocketAddr>; 3] {
    [PortState::Open, PortState::Closed, PortState::Filtered].map(|state| in_state(verdicts, state))
}

#[test]
fn loss_and_delay_make_no_wrong_verdict() {
    let (near, far) = (Testbed::new(), Testbed::new());
    let impairment = Impairment { delay: Duration::from_millis(25), lost_per_mille: 20, seed: 0x5eed_0005 };
    let line = Impaired::new(&near, "10.9.0.1/24", &far, "10.9.0.2/24", impairment);
    far.run(|| super::local::drop_input("tcp dport 7400-7599"));
    let at = ports("10.9.0.2", 7000..7600);
    let _listeners = listeners(&far, &at[..200]);
    let (verdicts, tally) = swept(&near, &Manner::default(), at.clone());
    assert_eq!(thirds(&verdicts), [at[..200].to_vec(), at[200..400].to_vec(), at[400..].to_vec()]);
    let (passed, lost) = line.counts();
    assert!(lost * 1000 >= passed * 8, "the line lost {lost} of {passed}");
    for verdict in verdicts.values().filter(|verdict| verdict.tries == 1 && verdict.round_trip.is_some()) {
        assert!(verdict.round_trip.unwrap() >= Duration::from_millis(50), "{verdict:?}");
    }
    assert!(tally.tries > 200 * 5 + 400, "{tally:?}");
}

#[test]
fn a_line_that_loses_every_third_packet_makes_no_wrong_verdict_either() {
    let (near, far) = (Testbed::new(), Testbed::new());
    let impairment = Impairment { delay: Duration::from_millis(1), lost_per_mille: 333, seed: 77 };
    let _line = Impaired::new(&near, "2001:db8::1/64", &far, "2001:db8::2/64", impairment);
    far.run(|| super::local::drop_input("tcp dport 7100-7149"));
    let at = ports("2001:db8::2", 7000..7150);
    let _listeners = listeners(&far, &at[..50]);
    let (verdicts, _) = swept(&near, &Manner::default(), at.clone());
    assert_eq!(thirds(&verdicts), [at[..50].to_vec(), at[50..100].to_vec(), at[100..].to_vec()]);
}

#[test]
fn silence_of_a_router_that_limits_its_errors_is_not_taken_for_a_filter() {
    let (near, router) = (Testbed::new(), Testbed::new());
    near.link("10.9.0.1/24", &router, "10.9.0.2/24");
    router.sysctl("net.ipv4.ip_forward", "1");
    ip(&near, "route add 10.1.0.0/24 via 10.9.0.2");
    ip(&router, "route add unreachable 10.1.0.0/24");
    let at: Vec<SocketAddr> =
        (1..=40).map(|host| SocketAddr::new(std::net::Ipv4Addr::new(10, 1, 0, host).into(), 80)).collect();
    let (verdicts, _) = swept(&near, &Manner::default(), at);
    let (unreachable, undecided) =
        (in_state(&verdicts, PortState::Unreachable), in_state(&verdicts, PortState::Undecided));
    assert_eq!(unreachable.len() + undecided.len(), 40, "{verdicts:?}");
    // Two at once, and those that were asked again, each in its turn.
    assert!(unreachable.len() >= 6, "{verdicts:?}");
    for verdict in verdicts.values() {
        assert_eq!(verdict.reason.icmp().unwrap().from, Some("10.9.0.2".parse().unwrap()), "{verdict:?}");
    }
}

/// What IPv4 hosts refuse with, by port.
const MIXED: &str = "table ip far {
    chain input {
        type filter hook input priority 0;
        tcp dport 7000-7035 reject with icmp admin-prohibited
        tcp dport 7036-7039 reject with icmp host-unreachable
    }
}";

#[test]
fn silence_of_a_host_that_refuses_for_several_reasons_is_never_taken_for_the_first_of_them() {
    let (near, far) = (Testbed::new(), Testbed::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    far.run(|| nft(MIXED));
    // The limit lets only errors of the first kind through before each is asked for the last time.
    let (verdicts, _) = swept(&near, &Manner::default(), ports("10.9.0.2", 7000..7040));
    let in_state = |state| in_state(&verdicts, state).iter().map(SocketAddr::port).collect::<Vec<_>>();
    let (filtered, unreachable) = (in_state(PortState::Filtered), in_state(PortState::Unreachable));
    assert!(filtered.iter().all(|port| *port < 7036), "{verdicts:?}");
    assert!(unreachable.iter().all(|port| *port >= 7036), "{verdicts:?}");
    assert!(filtered.len() >= 6 && !unreachable.is_empty(), "{verdicts:?}");
    assert_eq!(filtered.len() + unreachable.len() + in_state(PortState::Undecided).len(), 40);
}

#[test]
fn silence_of_a_host_that_refuses_for_one_reason_is_a_filter_too() {
    let (near, far) = (Testbed::new(), Testbed::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    far.run(|| nft(&MIXED.replace("host-unreachable", "admin-prohibited")));
    let start = Instant::now();
    let (verdicts, _) = swept(&near, &Manner::default(), ports("10.9.0.2", 7000..7040));
    assert_eq!(in_state(&verdicts, PortState::Filtered).len(), 40, "{verdicts:?}");
    assert!(verdicts.values().all(|verdict| verdict.reason.icmp().is_some()), "{verdicts:?}");
    assert!(verdicts.values().any(|verdict| matches!(verdict.reason, Reason::LimitedIcmp(_))));
    // Four are asked alone, a second apart.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
