//! The bind trial and core's conflict rule against the real kernel, in network namespaces made by the tests: each way
//! to hold a port beside each way to ask for it; and that a trial disturbs nobody.
#![cfg(target_os = "linux")]

mod matrix;
mod trials;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use portolan_core::diagnose::{Outcome, Question, Trial};
use portolan_core::port::Port;
use portolan_core::socket::{Socket, SocketOptions, State, Transport};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

/// Keeps the tests of this program from running at once: starting `ip` for one namespace forks this process, and the
/// child holds a copy of every socket of every test for the moment until it becomes `ip`.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a socket is made.
#[derive(Clone, Copy, Debug)]
struct Make {
    address: IpAddr,
    v6_only: bool,
    reuse: bool,
}

fn open(transport: Transport, make: Make) -> OwnedFd {
    let family = if make.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if transport == Transport::Tcp { SocketType::STREAM } else { SocketType::DGRAM };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    if make.address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, make.v6_only).unwrap();
    }
    sockopt::set_socket_reuseaddr(&socket, make.reuse).unwrap();
    socket
}

fn bound(transport: Transport, make: Make, port: u16) -> OwnedFd {
    let socket = open(transport, make);
    bind(&socket, &SocketAddr::new(make.address, port)).unwrap();
    socket
}

fn row(state: State, transport: Transport, make: Make, port: u16) -> Socket {
    let mut row = Socket::unconnected(transport, state, SocketAddr::new(make.address, port));
    let specific =
        matches!(make.address, IpAddr::V6(a) if !a.is_unspecified() && a.to_ipv4_mapped().is_none());
    let v6_only = if make.v6_only || specific { SocketOptions::V6_ONLY } else { 0 };
    row.options = SocketOptions(SocketOptions::KNOWN | v6_only);
    row
}

fn question(transport: Transport, port: u16, address: Option<IpAddr>) -> Question {
    Question { transport, port: Port::new(port), address, uid: None }
}

fn outcomes(trials: &[Trial]) -> Vec<String> {
    let word = |trial: &Trial| match &trial.outcome {
        Outcome::Bound => format!("{} bound", trial.address),
        Outcome::Refused { call, name, .. } => format!("{} {call} {name}", trial.address),
        Outcome::NotTried { .. } => format!("{} not tried", trial.address),
    };
    trials.iter().map(word).collect()
}
