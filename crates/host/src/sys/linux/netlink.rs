//! A conversation with the kernel over NETLINK_SOCK_DIAG: a request and its list of rows, or a socket that is closed.
//!
//! Source: sock_diag(7), netlink(7). Leaves out on purpose: notices of sockets that close.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use portolan_core::kernel::inet_diag::{self, Query, Row};
use portolan_core::socket::Connection;
use portolan_core::wire::netlink::{Content, Messages};
use portolan_core::wire::{DecodeError, Reader};
use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// The kernel fills at most 32 KiB a receive; a row of a future kernel may be larger than today's 120 bytes, a
/// datagram is not.
const BUFFER: usize = 64 * 1024;

/// How a list ended, when it came to an end.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Sockets came and went meanwhile in such a way that rows may lack or stand twice.
    pub interrupted: bool,
    /// Rows that were not understood: how many, and what was wrong with the first.
    pub malformed: Option<(u64, DecodeError)>,
}

/// Why there is no list.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The kernel's answer to the request, or to a call.
    System(Errno),
    /// What came was no netlink message.
    Malformed(DecodeError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => io::Error::from(*error).fmt(f),
            Self::Malformed(error) => error.fmt(f),
        }
    }
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

/// A socket that asks for lists of sockets, one after the other.
#[derive(Debug)]
pub(super) struct SockDiag {
    socket: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
}

impl SockDiag {
    /// Opens one in the network namespace of this thread.
    pub(super) fn open() -> Result<Self, Errno> {
        let kind = (AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC);
        let socket = rustix::net::socket_with(kind.0, kind.1, kind.2, Some(SOCK_DIAG))?;
        // Connected to the kernel (port id 0), it takes messages from nobody else.
        rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, buffer: vec![0; BUFFER], sequence: 0 })
    }

    /// Asks, and hands each row on as it comes. A query that no row can match lists nothing.
    pub(super) fn list(&mut self, query: &Query<'_>, mut each: impl FnMut(Row)) -> Result<Listed, Refusal> {
        self.sequence += 1;
        let mut listed = Listed::default();
        let Some(request) = query.encode(self.sequence) else { return Ok(listed) };
        rustix::net::send(&self.socket, &request, SendFlags::empty())?;
        loop {
            let (_, length) = rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC)?;
            // A longer datagram was cut: the decoder then finds its last message too short.
            for message in Messages::new(self.buffer.get(..length).unwrap_or(&self.buffer)) {
                let message = message.map_err(Refusal::Malformed)?;
                if message.sequence != self.sequence {
                    continue;
                }
                listed.interrupted |= message.interrupted;
                match message.content {
                    Content::Row(kind, body) if inet_diag::is_row(kind) => {
                        row(query, body, &mut listed, &mut each);
                    }
                    Content::Row(..) => {}
                    Content::Done(0) => return Ok(listed),
                    Content::Done(error) | Content::Refused(error) => {
                        return Err(Refusal::System(Errno::from_raw_os_error(error)));
                    }
                }
            }
        }
    }

    /// Closes a TCP socket, if it is still the one that is meant (else ENOENT).
    pub(super) fn destroy(&mut self, connection: &Connection) -> Result<(), Refusal> {
        self.sequence += 1;
        let request = inet_diag::destroy_request(self.sequence, connection);
        rustix::net::send(&self.socket, &request, SendFlags::empty())?;
        loop {
            let (_, length) = rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC)?;
            for message in Messages::new(self.buffer.get(..length).unwrap_or(&self.buffer)) {
                let message = message.map_err(Refusal::Malformed)?;
                match message.content {
                    _ if message.sequence != self.sequence => {}
                    Content::Refused(0) => return Ok(()),
                    Content::Refused(error) => return Err(Refusal::System(Errno::from_raw_os_error(error))),
                    Content::Row(..) | Content::Done(_) => {}
                }
            }
        }
    }
}

fn row(query: &Query<'_>, body: Reader<'_>, listed: &mut Listed, each: &mut impl FnMut(Row)) {
    match inet_diag::decode(query.table.transport(), body) {
        Ok(row) => each(row),
        Err(error) => listed.malformed.get_or_insert((0, error)).0 += 1,
    }
}

impl AsFd for SockDiag {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
