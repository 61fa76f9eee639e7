//! Reaching for a TCP port of any host: its name's addresses, and a connection that is given up at once.
//!
//! Nothing is sent. Left out on purpose: UDP, where silence may mean anything, and what stands behind a refusal
//! (a firewall can refuse in the closed port's name).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use portolan_core::kernel::route::RouteKind;

use crate::{Error, Namespace, sys};

/// What a try to connect came to.
#[derive(Debug)]
pub enum Attempt {
    /// Somebody listens.
    Connected,
    /// The other end says that nobody listens.
    Refused,
    /// No answer within the time.
    Silent,
    /// The system or a host on the way says that it cannot be reached.
    Failed(io::Error),
}

/// The addresses of a host's name, as the system resolves it. A name server that does not answer is waited for no
/// longer than the limit.
///
/// # Errors
/// The name has no address, or nobody answered in time.
pub fn resolve(
    namespace: &Namespace,
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<Vec<SocketAddr>, Error> {
    let doing = format!("resolve '{}'", host.escape_debug());
    let failed = |source: io::Error| {
        let text = format!("{source}; check the name, or type an address");
        Error::new(doing, io::Error::new(source.kind(), text))
    };
    let (answer, answered) = mpsc::channel();
    let (namespace, host) = (namespace.clone(), host.to_owned());
    // The C library's resolver cannot be told to stop: a thread that is left behind can.
    thread::spawn(move || {
        let addresses = || (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Nobody listens any more where the limit is over.
        let _ = answer.send(sys::within(&namespace, addresses));
    });
    match answered.recv_timeout(limit) {
        Ok(addresses) => addresses?.map_err(failed),
        Err(_) => Err(failed(io::Error::from(io::ErrorKind::TimedOut))),
    }
}

/// The name of an address, as the system knows it. A name server that does not answer is waited for no longer than the
/// limit.
///
/// # Errors
/// The address has no name, or nobody answered in time.
pub fn name_of(namespace: &Namespace, address: IpAddr, limit: Duration) -> Result<String, Error> {
    let doing = format!("find the name of {address}");
    let (answer, answered) = mpsc::channel();
    let namespace = namespace.clone();
    // As in `resolve`: what cannot be told to stop is left behind.
    thread::spawn(move || {
        // Nobody listens any more where the limit is over.
        let _ = answer.send(sys::within(&namespace, || sys::name_of(address)));
    });
    match answered.recv_timeout(limit) {
        Ok(name) => name?.map_err(|source| Error::new(doing, source)),
        Err(_) => Err(Error::new(doing, io::Error::from(io::ErrorKind::TimedOut))),
    }
}

/// Connects, and hangs up at once. The limit must not be zero.
///
/// # Errors
/// The namespace cannot be entered.
pub fn connect(namespace: &Namespace, address: SocketAddr, limit: Duration) -> Result<Attempt, Error> {
    let connected = sys::within(namespace, || TcpStream::connect_timeout(&address, limit))?;
    Ok(match connected {
        Ok(stream) if is_own_end(&stream) => Attempt::Refused,
        Ok(_) => Attempt::Connected,
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Attempt::Refused,
            io::ErrorKind::TimedOut => Attempt::Silent,
            _ => Attempt::Failed(error),
        },
    })
}

/// The address that the system would send from to that one; none where it knows no way there. Nothing is sent.
///
/// # Errors
/// The namespace cannot be entered, or no UDP port is left to ask with.
pub fn source_towards(namespace: &Namespace, to: SocketAddr) -> Result<Option<IpAddr>, Error> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A datagram socket takes the route and its source when it is connected.
    let asked: io::Result<Option<SocketAddr>> = sys::within(namespace, || {
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        Ok(socket.connect(to).and_then(|()| socket.local_addr()).ok())
    })?;
    let error = |source| Error::new(format!("ask the system for a way to {}", to.ip()), source);
    asked.map(|local| local.map(|local| local.ip())).map_err(error)
}

/// What kind of way leads to an address, by the system's routes. Nothing is sent.
///
/// # Errors
/// The namespace cannot be entered, or its routes cannot be asked for.
pub fn way_to(namespace: &Namespace, to: IpAddr) -> Result<RouteKind, Error> {
    let asked = sys::within(namespace, || sys::route(SocketAddr::new(to, 0)))?;
    asked
        .map(|(route, _)| route.kind)
        .map_err(|source| Error::new(format!("ask the system for a way to {to}"), source))
}

/// Whether connections can come from that address: it is one of the machine's, or the system lets any other be bound
/// (`ip_nonlocal_bind`).
///
/// # Errors
/// The namespace cannot be entered, or its routes cannot be asked for.
pub fn is_source(namespace: &Namespace, address: IpAddr) -> Result<bool, Error> {
    let address = address.to_canonical();
    if address.is_unspecified() {
        return Ok(true);
    }
    // Linux binds to groups, which nothing can come from.
    if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Ok(false);
    }
    match way_to(namespace, address)? {
        RouteKind::Local => Ok(true),
        RouteKind::Broadcast => Ok(false),
        _ => sys::within(namespace, || match UdpSocket::bind(SocketAddr::new(address, 0)) {
            // Linux says EINVAL of an address that is of one link alone where no link is named.
            Err(error) => {
                !matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::InvalidInput)
            }
            Ok(_) => true,
        }),
    }
}

/// A connection to a free port of the ephemeral range may be given that very port, and then meets itself.
fn is_own_end(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}
