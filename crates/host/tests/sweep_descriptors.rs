//! The sweep with few descriptors: a limit counts for a whole process, so this is one of its own.
#![cfg(target_os = "linux")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::AtomicBool;

use portolan_core::probe::PortState;
use portolan_host::Namespace;
use portolan_host::sweep::{Found, Manner, sweep};
use rustix::process::{Resource, Rlimit, setrlimit};

#[test]
fn sixty_four_descriptors_are_enough_and_miss_nothing() {
    let (near, far) = (portolan_testbed::Namespace::new(), portolan_testbed::Namespace::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    let host = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));
    let dead = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 200));
    let _listeners: Vec<TcpListener> =
        far.run(|| (7000..7010).map(|port| TcpListener::bind((host, port)).unwrap()).collect());
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }).unwrap();
    // More that stay under way than there are descriptors, before and after the rest.
    let silent = |ports: std::ops::Range<u16>| ports.map(move |port| SocketAddr::new(dead, port));
    let targets = silent(1..31).chain((6500..7500).map(|port| SocketAddr::new(host, port)));
    let named = Namespace::Named(near.name().to_owned());
    let mut states = Vec::new();
    let mut add = |found: Found| states.push((found.target, found.verdict.state));
    let never = AtomicBool::new(false);
    let mut targets = targets.chain(silent(100..131));
    let tally = sweep(&named, &Manner::default(), &mut targets, &never, &mut add).unwrap();
    assert_eq!(tally.found, 1061);
    let count = |state| states.iter().filter(|(_, found)| *found == state).count();
    assert_eq!((count(PortState::Open), count(PortState::Closed)), (10, 990));
    assert_eq!(count(PortState::Unreachable), 61);
}
