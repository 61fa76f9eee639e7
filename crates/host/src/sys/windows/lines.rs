//! What the exchange needs of the system besides plain sockets: which of many is ready, and what error codes mean.
//!
//! Source: Winsock's WSAPoll and its error codes. Left out on purpose: ICMP errors with their sender, which Winsock tells
//! nobody without a raw socket; a port-unreachable comes as WSAECONNRESET of a datagram socket.

use std::io;
use std::os::windows::io::AsRawSocket as _;
use std::time::Duration;

use portolan_core::probe::{Icmp, Refusal};
use socket2::{SockRef, Socket};
use windows_sys::Win32::Networking::WinSock::{
    POLLRDNORM, POLLWRNORM, SOCKET_ERROR, WSAEADDRNOTAVAIL, WSAECONNRESET, WSAEMFILE, WSAENOBUFS,
    WSAEWOULDBLOCK, WSAPOLLFD, WSAPoll,
};

use super::connecting;

/// Waits until one of the sockets has something to be read, an error or (where that is asked for) room to write, at most
/// that long; says of each whether it has.
pub(crate) fn ready(sockets: &[(SockRef<'_>, bool)], limit: Duration) -> io::Result<Vec<bool>> {
    let mut watched: Vec<WSAPOLLFD> = sockets
        .iter()
        .map(|(socket, write)| WSAPOLLFD {
            fd: socket.as_raw_socket() as usize,
            events: if *write { POLLRDNORM | POLLWRNORM } else { POLLRDNORM },
            revents: 0,
        })
        .collect();
    let count = u32::try_from(watched.len()).unwrap_or(u32::MAX);
    // Rounded up: a wait of zero would be asked for over and over until a fraction of a millisecond is over.
    let limit = i32::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(1000);
    // SAFETY: the pointer and the count are of one live vector, whose sockets are open.
    if unsafe { WSAPoll(watched.as_mut_ptr(), count, limit) } == SOCKET_ERROR {
        return Err(io::Error::last_os_error());
    }
    Ok(watched.iter().map(|socket| socket.revents != 0).collect())
}

/// Nothing: Winsock keeps no ICMP errors.
pub(crate) fn hear_errors(_: &Socket, _ipv6: bool) {}

/// None: Winsock keeps no ICMP errors.
pub(crate) fn queued_error(_: &Socket) -> Option<(i32, Icmp)> {
    None
}

/// What an error code means for whoever sent something.
pub(crate) fn refusal(code: i32) -> Refusal {
    // A datagram socket tells a port-unreachable as a reset.
    if code == WSAECONNRESET { Refusal::Refused } else { connecting::kind(code) }
}

/// Whether a connection was begun and is under way.
pub(crate) fn is_under_way(error: &io::Error) -> bool {
    error.raw_os_error() == Some(WSAEWOULDBLOCK)
}

/// Whether this system has no room for another socket now.
pub(crate) fn is_no_room(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(WSAEMFILE | WSAENOBUFS | WSAEADDRNOTAVAIL))
}
