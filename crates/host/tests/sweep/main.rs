//! The sweep, held against listeners, filters, refusals and full queues that a test makes itself.
#![cfg(target_os = "linux")]

mod local;
mod network;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::AtomicBool;

use portolan_core::probe::{PortState, Verdict};
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

fn in_state(verdicts: &BTreeMap<SocketAddr, Verdict>, state: PortState) -> Vec<SocketAddr> {
    let found = verdicts.iter().filter(|(_, verdict)| verdict.state == state);
    found.map(|(target, _)| *target).collect()
}

/// Loads rules of nftables into this thread's namespace.
#[track_caller]
fn nft(rules: &str) {
    use std::io::Write as _;
    let mut command = std::process::Command::new("nft");
    command
        .args(["-f", "-"])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .stdin(std::process::Stdio::piped());
    let mut child = command.spawn().expect("nft is installed: apt-get install nftables");
    child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{rules}");
}
