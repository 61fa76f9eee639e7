//! The sweep, held against listeners, filters, refusals and full queues that a test makes itself.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::AtomicBool;

use portolan_core::probe::{PortState, Reason, Verdict};
use portolan_host::Namespace;
use portolan_host::sweep::{Found, Manner, Tally, sweep};
use portolan_testbed::Namespace as Testbed;

/// Sweeps, and gives each target's verdict.
#[track_caller]
fn swept(
    namespace: &Testbed,
    manner: &Manner,
    targets: impl IntoIterator<Item = SocketAddr, IntoIter: Send>,
) -> (BTreeMap<SocketAddr, Verdict>, Tally) {
    let named = Namespace::Named(namespace.name().to_owned());
    let mut verdicts = BTreeMap::new();
    let mut add = |found: Found| {
        assert_eq!(verdicts.insert(found.target, found.verdict), None, "{} was found twice", found.target);
    };
    let never = AtomicBool::new(false);
    let tally = sweep(&named, manner, &mut targets.into_iter(), &never, &mut add).unwrap();
    assert_eq!((tally.found, tally.cancelled), (tally.taken, false));
    assert_eq!(tally.found, verdicts.len() as u64);
    (verdicts, tally)
}

fn ports(host: &str, ports: impl IntoIterator<Item = u16>) -> Vec<SocketAddr> {
    let host: IpAddr = host.parse().unwrap();
    ports.into_iter().map(|port| SocketAddr::new(host, port)).collect()
}

fn listeners(namespace: &Testbed, at: &[SocketAddr]) -> Vec<TcpListener> {
    namespace.run(|| at.iter().map(|at| TcpListener::bind(at).unwrap()).collect())
}

fn open(verdicts: &BTreeMap<SocketAddr, Verdict>) -> Vec<SocketAddr> {
    let open = verdicts.iter().filter(|(_, verdict)| verdict.state == PortState::Open);
    open.map(|(target, _)| *target).collect()
}

#[test]
fn every_open_port_of_loopback_is_found_and_no_other() {
    let namespace = Testbed::new();
    for host in ["127.0.0.1", "::1"] {
        let expected = ports(host, (0..100).map(|n| 200 + n * 650));
        let _listeners = listeners(&namespace, &expected);
        let started = std::time::Instant::now();
        let (verdicts, tally) = swept(&namespace, &Manner::default(), ports(host, 1..=u16::MAX));
        eprintln!("{tally:?} {:?}", started.elapsed());
        assert_eq!(verdicts.len(), 65_535);
        assert_eq!(open(&verdicts), expected);
        let closed = verdicts.values().filter(|verdict| verdict.state != PortState::Open);
        for verdict in closed {
            assert_eq!(verdict.state, PortState::Closed, "{verdict:?}");
            assert!(matches!(verdict.reason, Reason::Reset | Reason::MetItself), "{verdict:?}");
        }
    }
}
