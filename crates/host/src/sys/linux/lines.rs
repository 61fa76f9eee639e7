//! What the exchange needs of the system besides plain sockets: which of many is ready, ICMP errors with their sender,
//! and what error codes mean.
//!
//! Source: poll(2), ip(7) and ipv6(7) (IP_RECVERR), connect(2), udp(7).

use std::io;
use std::time::Duration;

use portolan_core::probe::{Icmp, Refusal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{SockRef, Socket};

use super::{connecting, error_queue};

/// Waits until one of the sockets has something to be read, an error or (where that is asked for) room to write, at most
/// that long; says of each whether it has.
pub(crate) fn ready(sockets: &[(SockRef<'_>, bool)], limit: Duration) -> io::Result<Vec<bool>> {
    let mut watched: Vec<PollFd<'_>> = sockets
        .iter()
        .map(|(socket, write)| {
            let flags = if *write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            PollFd::new(&**socket, flags)
        })
        .collect();
    let limit = Timespec::try_from(limit).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
    match poll(&mut watched, Some(&limit)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(code) => return Err(code.into()),
    }
    Ok(watched.iter().map(|socket| !socket.revents().is_empty()).collect())
}

/// Makes the kernel keep ICMP errors of a socket; one that cannot tells refusals without their sender.
pub(crate) fn hear_errors(socket: &Socket, ipv6: bool) {
    let _ = error_queue::enable(socket, ipv6);
}

/// The oldest ICMP error of a socket, with the code that it stands for.
pub(crate) fn queued_error(socket: &Socket) -> Option<(i32, Icmp)> {
    error_queue::taken(socket).map(|error| (error.code, error.icmp))
}

/// What an error code means for whoever sent something.
pub(crate) fn refusal(code: i32) -> Refusal {
    connecting::kind(Errno::from_raw_os_error(code))
}

/// Whether a connection was begun and is under way.
pub(crate) fn is_under_way(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::INPROGRESS)
}

/// Whether this system has no room for another socket now.
pub(crate) fn is_no_room(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::AGAIN | Errno::ADDRNOTAVAIL)
    )
}
