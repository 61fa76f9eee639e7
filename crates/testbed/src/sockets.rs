//! Sockets as `testbed hold` makes them: one call each for a bound socket, a listener, a connection.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context;
use portolan_testbed::leave_port_to_connect;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, bind, connect, getsockname, listen, socket_with,
    sockopt,
};

use crate::words::Word;

/// A socket of a word's options, bound to an address.
pub(crate) fn bound(word: &Word, kind: SocketType, at: SocketAddr) -> anyhow::Result<OwnedFd> {
    let socket = unbound(kind, at)?;
    sockopt::set_socket_reuseaddr(&socket, word.reuse_address)?;
    sockopt::set_socket_reuseport(&socket, word.reuse_port)?;
    if let (true, Some(only)) = (at.is_ipv6(), word.v6_only) {
        sockopt::set_ipv6_v6only(&socket, only)?;
    }
    if word.no_port {
        leave_port_to_connect(&socket)?;
    }
    if word.freebind {
        sockopt::set_ip_freebind(&socket, true)?;
    }
    bind(&socket, &at).with_context(|| format!("cannot bind {at}"))?;
    Ok(socket)
}

/// A socket of an address' family without a port.
pub(crate) fn unbound(kind: SocketType, at: SocketAddr) -> anyhow::Result<OwnedFd> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    socket_with(family, kind, SocketFlags::CLOEXEC, None).context("cannot make a socket")
}

/// A listener.
pub(crate) fn listener(word: &Word, at: SocketAddr) -> anyhow::Result<OwnedFd> {
    let socket = bound(word, SocketType::STREAM, at)?;
    listen(&socket, word.backlog).with_context(|| format!("cannot listen on {at}"))?;
    Ok(socket)
}

/// The client's end of a connection; `from` is bound before.
pub(crate) fn client(word: &Word, from: Option<SocketAddr>, to: SocketAddr) -> anyhow::Result<OwnedFd> {
    let socket = match from {
        Some(from) => bound(word, SocketType::STREAM, from)?,
        None => unbound(SocketType::STREAM, to)?,
    };
    connect(&socket, &reachable(to)).with_context(|| format!("cannot connect to {to}"))?;
    Ok(socket)
}

/// The server's end of the next connection.
pub(crate) fn accepted(listener: &OwnedFd) -> anyhow::Result<OwnedFd> {
    accept_with(listener, SocketFlags::CLOEXEC).context("cannot accept")
}

/// A socket's own address.
pub(crate) fn local(socket: impl AsFd) -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::try_from(getsockname(socket)?)?)
}

/// Reads until the peer has closed.
pub(crate) fn await_end(socket: OwnedFd) -> anyhow::Result<OwnedFd> {
    let mut stream = TcpStream::from(socket);
    stream.read_to_end(&mut Vec::new()).context("cannot wait for the peer's end")?;
    Ok(stream.into())
}

/// Where to connect to reach a listener: the wildcard is reached over loopback.
pub(crate) fn reachable(at: SocketAddr) -> SocketAddr {
    let address = match at.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return at,
    };
    SocketAddr::new(address, at.port())
}
