//! Holding ports: bound, not listening, until dropped. What `pick` proves its answer with, and what `hold` keeps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use portolan_core::diagnose::Reuse;
use portolan_core::kernel::error_code;
use portolan_core::socket::Transport;

use crate::{Error, Namespace, sys};

/// A port that is held.
#[derive(Debug)]
pub struct Held {
    /// TCP or UDP.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    socket: OwnedFd,
}

impl Held {
    /// The descriptor that holds it, to be handed to another program.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Binds a port plainly, without reuse options: on one address, or (with none) on every address of both families.
/// Nothing is sent and nothing is accepted; dropping the value lets the port go at once.
///
/// # Errors
/// The system's refusal, with its code.
pub fn hold(
    namespace: &Namespace,
    transport: Transport,
    address: Option<IpAddr>,
    port: u16,
) -> Result<Held, Error> {
    let held = sys::within(namespace, || match address {
        Some(address) => one(transport, SocketAddr::new(address, port)),
        None => every_address(transport, port),
    })?;
    let address = SocketAddr::new(address.unwrap_or(Ipv6Addr::UNSPECIFIED.into()), port);
    held.map(|socket| Held { transport, address, socket }).map_err(|refusal| {
        let name = error_code::name_of(sys::SYSTEM, refusal.code);
        Error::new(
            format!("{} {port}/{transport} ({name})", refusal.call),
            std::io::Error::from_raw_os_error(refusal.code),
        )
    })
}

fn one(transport: Transport, address: SocketAddr) -> Result<OwnedFd, sys::Refusal> {
    sys::bound(transport, address, None, Reuse::Plain).map(|(socket, _)| socket)
}

/// A dual-stack socket stands for both families; a host without IPv6 has one for IPv4.
fn every_address(transport: Transport, port: u16) -> Result<OwnedFd, sys::Refusal> {
    match one(transport, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
        Err(refusal) if refusal.no_such_family => {
            one(transport, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
        }
        other => other,
    }
}
