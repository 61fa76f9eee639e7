//! On loopback: nothing missed at full speed, nothing found that is not there, full queues, limits, cancelling.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portolan_core::probe::{PortState, Reason};
use portolan_host::Namespace;
use portolan_host::sweep::{Manner, sweep};
use portolan_testbed::Namespace as Testbed;
use rustix::net::{AddressFamily, SocketType, bind, listen, socket};

use super::{in_state, listeners, ports, swept};

#[test]
fn every_open_port_of_loopback_is_found_and_no_other() {
    let namespace = Testbed::new();
    for host in ["127.0.0.1", "::1"] {
        let expected = ports(host, (0..100).map(|n| 200 + n * 650));
        let _listeners = listeners(&namespace, &expected);
        let (verdicts, _) = swept(&namespace, &Manner::default(), ports(host, 1..=u16::MAX));
        assert_eq!(verdicts.len(), 65_535);
        assert_eq!(in_state(&verdicts, PortState::Open), expected);
        for verdict in verdicts.values().filter(|verdict| verdict.state != PortState::Open) {
            assert_eq!(verdict.state, PortState::Closed, "{verdict:?}");
            assert!(matches!(verdict.reason, Reason::Reset | Reason::MetItself), "{verdict:?}");
        }
    }
}

#[test]
fn a_sweep_of_the_ephemeral_range_leaves_no_local_port_used() {
    let namespace = Testbed::new();
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 40099");
    let expected = ports("127.0.0.1", (40_000..40_020).chain([50_000]));
    let _listeners = listeners(&namespace, &expected);
    for _ in 0..20 {
        let (verdicts, _) = swept(&namespace, &Manner::default(), ports("127.0.0.1", 39_000..=50_100));
        assert_eq!(in_state(&verdicts, PortState::Open), expected);
        assert_eq!(in_state(&verdicts, PortState::Closed).len(), verdicts.len() - expected.len());
    }
    let text = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap());
    assert!(!text.lines().any(|line| line.split_ascii_whitespace().nth(3) == Some("06")), "{text}");
}

#[test]
fn a_connection_that_meets_itself_is_a_closed_port() {
    let namespace = Testbed::new();
    // One port that may be chosen: every connection to it is given it as its own end.
    namespace.sysctl("net.ipv4.ip_local_port_range", "7002 7002");
    for host in ["127.0.0.1", "::1"] {
        let (verdicts, _) = swept(&namespace, &Manner::default(), ports(host, [7002]));
        let verdict = verdicts.values().next().unwrap();
        assert_eq!((verdict.state, verdict.reason), (PortState::Closed, Reason::MetItself));
    }
}

#[test]
fn connections_that_meet_each_other_are_no_open_ports() {
    let namespace = Testbed::new();
    // Few ports to connect from, and the first targets stay under way on them: who asks for such a port from the one that
    // its owner asks for finds a connection there, and nobody who listens.
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 40009");
    namespace.run(|| drop_input("tcp dport 40005-40009 tcp flags & (syn | ack) == syn"));
    let manner = Manner { least_tries: 1, ..Manner::default() };
    for host in ["127.0.0.1", "::1"] {
        let repeated = |_| (40_005..=40_009).chain(40_000..=40_004);
        for targets in (0..15).map(repeated) {
            let (verdicts, _) = swept(&namespace, &manner, ports(host, targets));
            for (target, verdict) in verdicts {
                let silent = target.port() >= 40_005;
                let expected = if silent { PortState::Filtered } else { PortState::Closed };
                assert_eq!(verdict.state, expected, "{target}: {verdict:?}");
            }
        }
    }
}

#[test]
fn a_server_that_hangs_up_at_once_is_open_all_the_same() {
    let namespace = Testbed::new();
    let at = ports("127.0.0.1", [7000]);
    let listener = listeners(&namespace, &at).remove(0);
    let resets = thread::spawn(move || {
        for _ in 0..200 {
            let (stream, _) = listener.accept().unwrap();
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
    });
    for _ in 0..200 {
        let (verdicts, _) = swept(&namespace, &Manner::default(), at.clone());
        assert_eq!(in_state(&verdicts, PortState::Open), at);
    }
    resets.join().unwrap();
}

/// A listener whose queue is full: the kernel drops what asks for more. Its queue's connections too.
fn full_listener(namespace: &Testbed, at: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    namespace.run(|| {
        let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&listener, &at).unwrap();
        listen(&listener, 0).unwrap();
        let limit = Duration::from_millis(200);
        let filling = (0..8).map_while(|_| TcpStream::connect_timeout(&at, limit).ok()).collect::<Vec<_>>();
        assert!((1..8).contains(&filling.len()), "{}", filling.len());
        (listener.into(), filling)
    })
}

/// SYNs that listeners of this thread's namespace dropped because their queue was full.
fn overflows() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split(' ').zip(values.split(' '));
    pairs.find(|(name, _)| *name == "ListenOverflows").unwrap().1.parse().unwrap()
}

#[test]
fn a_listener_whose_queue_is_full_is_asked_again_until_it_has_room() {
    let namespace = Testbed::new();
    let at = ports("127.0.0.1", [7000, 7001]);
    let (busy, _filling) = full_listener(&namespace, at[0]);
    let (_stuck, _filled) = full_listener(&namespace, at[1]);
    let before = namespace.run(overflows);
    let accepts = || {
        namespace.run(|| {
            // Both first tries of the sweep have fallen into full queues.
            while overflows() < before + 2 {
                thread::sleep(Duration::from_millis(1));
            }
            busy.accept().unwrap();
        });
    };
    let (verdicts, _) = thread::scope(|scope| {
        let accepting = scope.spawn(accepts);
        let swept = swept(&namespace, &Manner::default(), at.clone());
        accepting.join().unwrap();
        swept
    });
    assert_eq!(in_state(&verdicts, PortState::Open), at[..1], "{verdicts:?}");
    assert!(verdicts[&at[0]].tries > 1, "{verdicts:?}");
    let stuck = verdicts[&at[1]];
    assert_eq!((stuck.state, stuck.reason), (PortState::Filtered, Reason::Timeout));
    assert!(stuck.tries >= 3, "{stuck:?}");
}

#[test]
fn a_rate_is_kept() {
    let namespace = Testbed::new();
    let manner = Manner { rate: NonZeroU32::new(1000), ..Manner::default() };
    let start = Instant::now();
    let (_, tally) = swept(&namespace, &manner, ports("127.0.0.1", 1..=500));
    // 1,000 a second, with one burst of a hundredth of that.
    assert!(start.elapsed() >= Duration::from_millis(480), "{:?}", start.elapsed());
    assert_eq!(tally.tries, 500);
}

#[test]
fn cancelling_keeps_what_was_found() {
    let namespace = Testbed::new();
    namespace.run(|| drop_input("tcp dport 20000-30000"));
    let named = Namespace::Named(namespace.name().to_owned());
    let (cancel, mut found) = (AtomicBool::new(false), 0);
    let mut targets = ports("127.0.0.1", (10_001..=10_500).chain(20_000..=30_000)).into_iter();
    let start = Instant::now();
    let mut count = |_| {
        found += 1;
        if found == 500 {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    // To its end it would take forty seconds.
    let manner = Manner { rate: NonZeroU32::new(1000), ..Manner::default() };
    let tally = sweep(&named, &manner, &mut targets, &cancel, &mut count).unwrap();
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    assert!(tally.cancelled && tally.found == 500, "{tally:?}");
    assert_eq!(found, 500);
}

#[test]
fn targets_are_taken_as_they_are_needed() {
    let namespace = Testbed::new();
    let named = Namespace::Named(namespace.name().to_owned());
    let taken = AtomicU64::new(0);
    let addresses = (0..200_000_u32).map(|number| {
        taken.fetch_add(1, Ordering::Relaxed);
        SocketAddr::new(std::net::Ipv4Addr::from_bits(0x7f00_0001 + number).into(), 9)
    });
    let (mut found, mut most_ahead) = (0, 0);
    let mut count = |_| {
        found += 1;
        most_ahead = most_ahead.max(taken.load(Ordering::Relaxed) - found);
    };
    let never = AtomicBool::new(false);
    let mut addresses = addresses;
    sweep(&named, &Manner::default(), &mut addresses, &never, &mut count).unwrap();
    assert_eq!(found, 200_000);
    assert!(most_ahead < 4_000, "{most_ahead}");
}

#[test]
fn a_source_that_is_not_this_machines_is_one_error() {
    let namespace = Testbed::new();
    let named = Namespace::Named(namespace.name().to_owned());
    let manner = Manner { source: Some("192.0.2.1:0".parse().unwrap()), ..Manner::default() };
    let never = AtomicBool::new(false);
    let mut targets = ports("127.0.0.1", [1]).into_iter();
    let error = sweep(&named, &manner, &mut targets, &never, &mut |_| ()).unwrap_err().to_string();
    assert!(error.starts_with("cannot connect from 192.0.2.1:0: "), "{error}");
}

#[test]
fn a_source_is_kept_to() {
    let namespace = Testbed::new();
    namespace.add_address("192.0.2.1/32");
    let at = ports("127.0.0.1", [7000]);
    let listener = listeners(&namespace, &at).remove(0);
    for source in ["127.0.0.9:0", "127.0.0.9:6000"] {
        let source: SocketAddr = source.parse().unwrap();
        let manner = Manner { source: Some(source), ..Manner::default() };
        let (verdicts, _) = swept(&namespace, &manner, at.clone());
        assert_eq!(in_state(&verdicts, PortState::Open), at);
        let (_, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), source.ip());
        assert!(source.port() == 0 || from.port() == source.port());
    }
}

/// Drops what matches, on this thread's namespace.
pub(super) fn drop_input(what: &str) {
    super::nft(&format!(
        "table inet local {{\n chain input {{\n type filter hook input priority 0\n {what} drop\n }}\n }}"
    ));
}
