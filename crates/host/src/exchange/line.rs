//! A line to the other end: a datagram socket, or a stream, encrypted or not. Nothing here waits.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

use portolan_core::probe::{Icmp, Refusal, Security, Via};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::tls::Encrypted;
use crate::sys;

/// What one look at a stream takes at most.
const CHUNK: usize = 16 * 1024;
/// The largest datagram there is.
const LARGEST_DATAGRAM: usize = 65_536;

/// A refusal: its kind, its code, the ICMP error that brought it.
pub(super) type Refused = (Refusal, i32, Option<Icmp>);

/// What a look at a line has brought.
pub(super) enum Seen {
    /// A datagram.
    Datagram(SocketAddr, Vec<u8>),
    /// The stream is up.
    Up,
    /// The stream is encrypted.
    Secured(Security),
    /// Bytes of the stream.
    Bytes(Vec<u8>),
    /// The other end closed the stream.
    Closed,
    /// The first line or a datagram was refused.
    Refused(Refused),
    /// It cannot be encrypted: why, for people.
    NotSecured(String),
    /// Nothing more now.
    Nothing,
}

/// A line.
pub(super) struct Line {
    to: SocketAddr,
    kind: Kind,
}

enum Kind {
    Datagrams(UdpSocket),
    Stream { socket: TcpStream, up: bool, outgoing: Vec<u8>, encrypted: Option<Box<Encrypted>> },
}

impl Line {
    /// A line to that address; of a stream only its first packet is sent. Encryption is begun by [`Line::encrypt`].
    pub(super) fn open(via: Via, source: Option<SocketAddr>, to: SocketAddr) -> io::Result<Self> {
        let (kind, protocol) = match via {
            Via::Udp => (Type::DGRAM, Protocol::UDP),
            Via::Tcp | Via::Tls => (Type::STREAM, Protocol::TCP),
        };
        let socket = Socket::new(Domain::for_address(to), kind, Some(protocol))?;
        socket.set_nonblocking(true)?;
        // A system that has none of it tells refusals without their sender.
        sys::hear_errors(&socket, to.is_ipv6());
        let source = source.filter(|source| source.is_ipv4() == to.is_ipv4());
        if let Some(source) = source {
            socket.set_reuse_address(source.port() != 0)?;
            socket.bind(&source.into())?;
        }
        let kind = if via == Via::Udp {
            if is_group(to.ip()) {
                socket.set_broadcast(true)?;
            }
            if source.is_some_and(|source| source.port() != 0) {
                // Several sockets of one port: only a peer of its own tells whose an answer is.
                socket.connect(&to.into())?;
            } else if source.is_none() {
                socket.bind(&unspecified(to).into())?;
            }
            Kind::Datagrams(socket.into())
        } else {
            // Hanging up with a reset leaves no TIME_WAIT behind, here or there.
            socket.set_linger(Some(std::time::Duration::ZERO))?;
            match socket.connect(&to.into()) {
                Ok(()) => {}
                Err(error) if sys::is_under_way(&error) => {}
                Err(error) => return Err(error),
            }
            Kind::Stream { socket: socket.into(), up: false, outgoing: Vec::new(), encrypted: None }
        };
        Ok(Self { to, kind })
    }

    /// Whether it came about; datagrams need nothing for that.
    pub(super) fn is_up(&self) -> bool {
        !matches!(self.kind, Kind::Stream { up: false, .. })
    }

    /// What is watched, and whether for room to write as well.
    pub(super) fn socket(&self) -> (SockRef<'_>, bool) {
        match &self.kind {
            Kind::Datagrams(socket) => (socket.into(), false),
            Kind::Stream { socket, up, outgoing, .. } => (socket.into(), !up || !outgoing.is_empty()),
        }
    }

    /// Begins to encrypt a stream.
    pub(super) fn encrypt(&mut self, host: &str) -> Result<(), String> {
        match &mut self.kind {
            Kind::Stream { encrypted, .. } => {
                *encrypted = Some(Box::new(Encrypted::begin(host, self.to.ip())?))
            }
            Kind::Datagrams(_) => return Err("datagrams cannot be encrypted".to_owned()),
        }
        self.flush();
        Ok(())
    }

    /// Sends; what a stream does not take now goes later. An error of a datagram is told.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        match &mut self.kind {
            Kind::Datagrams(socket) => {
                let sent = match socket.peer_addr() {
                    Ok(_) => socket.send(bytes),
                    Err(_) => socket.send_to(bytes, self.to),
                };
                match sent {
                    Ok(_) => Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                    Err(error) => Err(refused(&SockRef::from(&*socket), &error)),
                }
            }
            Kind::Stream { outgoing, encrypted, .. } => {
                match encrypted {
                    Some(encrypted) => encrypted.write(bytes),
                    None => outgoing.extend_from_slice(bytes),
                }
                self.flush();
                Ok(())
            }
        }
    }

    /// Whether it is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.kind, Kind::Stream { encrypted: Some(_), .. })
    }

    /// Says under encryption that nothing more will be said.
    pub(super) fn farewell(&mut self) {
        if let Kind::Stream { encrypted: Some(encrypted), .. } = &mut self.kind {
            encrypted.farewell();
        }
        self.flush();
    }

    /// Hands to the system what it takes now. Whoever no longer listens shows when it is read from.
    fn flush(&mut self) {
        let Kind::Stream { socket, up: true, outgoing, encrypted } = &mut self.kind else { return };
        if let Some(encrypted) = encrypted {
            encrypted.take_outgoing(outgoing);
        }
        while !outgoing.is_empty() {
            match socket.write(outgoing) {
                Ok(written) => drop(outgoing.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// What has come: one thing; to be asked again until there is nothing.
    pub(super) fn look(&mut self) -> Seen {
        match &mut self.kind {
            Kind::Datagrams(socket) => datagram(socket),
            Kind::Stream { socket, up: up @ false, .. } => match connected(socket) {
                Ok(true) => {
                    *up = true;
                    self.flush();
                    Seen::Up
                }
                Ok(false) => Seen::Nothing,
                Err(error) => Seen::Refused(refused(&SockRef::from(&*socket), &error)),
            },
            Kind::Stream { socket, encrypted: None, .. } => {
                let mut chunk = vec![0; CHUNK];
                let seen = match read(socket, &mut chunk) {
                    Ok(None) => Seen::Nothing,
                    Ok(Some(0)) | Err(_) => Seen::Closed,
                    Ok(Some(length)) => {
                        chunk.truncate(length);
                        Seen::Bytes(chunk)
                    }
                };
                self.flush();
                seen
            }
            Kind::Stream { socket, encrypted: Some(encrypted), .. } => {
                let mut chunk = vec![0; CHUNK];
                let seen = match encrypted.ready() {
                    Seen::Nothing => match read(socket, &mut chunk) {
                        Ok(None) => Seen::Nothing,
                        Ok(Some(0)) | Err(_) => encrypted.closed(),
                        Ok(Some(length)) => encrypted.heard(chunk.get(..length).unwrap_or_default()),
                    },
                    seen => seen,
                };
                self.flush();
                seen
            }
        }
    }
}

/// Whether several hosts may answer to that address.
pub(super) fn is_group(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
}

fn unspecified(to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    }
}

/// Bytes of a stream: none where there are none now, 0 at its end.
fn read(mut socket: &TcpStream, chunk: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match socket.read(chunk) {
            Ok(length) => return Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether a connection that was begun came about.
fn connected(socket: &TcpStream) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match (socket.peer_addr(), socket.local_addr()) {
        (Ok(peer), Ok(own)) if peer == own => {
            Err(io::Error::new(io::ErrorKind::ConnectionRefused, "a connection met itself"))
        }
        (Ok(_), _) => Ok(true),
        (Err(error), _) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        (Err(error), _) => Err(error),
    }
}

fn datagram(socket: &UdpSocket) -> Seen {
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    match socket.recv_from(&mut buffer) {
        Ok((length, from)) => {
            buffer.truncate(length);
            Seen::Datagram(from, buffer)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            match sys::queued_error(&SockRef::from(socket)) {
                Some((code, icmp)) => Seen::Refused((sys::refusal(code), code, Some(icmp))),
                None => Seen::Nothing,
            }
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Seen::Nothing,
        Err(error) => Seen::Refused(refused(&SockRef::from(socket), &error)),
    }
}

/// What an error means, with the ICMP error that the system keeps of it.
fn refused(socket: &Socket, error: &io::Error) -> Refused {
    match sys::queued_error(socket) {
        Some((code, icmp)) => (sys::refusal(code), code, Some(icmp)),
        None => refusal_of(error),
    }
}

/// What an error of this system means.
pub(super) fn refusal_of(error: &io::Error) -> Refused {
    let code = error.raw_os_error().unwrap_or_default();
    let refusal = match error.kind() {
        io::ErrorKind::ConnectionRefused => Refusal::Refused,
        _ => sys::refusal(code),
    };
    (refusal, code, None)
}
