//! Many TCP connections under way at once: begun without waiting, watched by one epoll, hung up with a reset.
//!
//! Source: connect(2) (a second call tells what became of the first), epoll(7), tcp(7), socket(7) (SO_LINGER of zero: a reset
//! and no TIME_WAIT), ip(7); for what errors mean `net/ipv4/tcp_ipv4.c` and `net/ipv4/af_inet.c`. Left out on purpose:
//! raw packets, which the machine's own TCP would answer behind our back, and io_uring: what costs time is the
//! kernel's TCP, not the way into it.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use portolan_core::probe::Refusal;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, socket_with, sockopt};
use rustix::process::{Resource, getrlimit};

use super::error_queue;
use crate::Error;
use crate::sys::{Begun, Outcome};

/// Events that one look takes; more are there at the next.
const EVENTS: usize = 512;

/// Whether the system repeats a question by itself.
pub(crate) const REPEATS: bool = true;

/// Descriptors that stay free for the rest of the program.
const SPARE: usize = 16;

/// A connection under way. Dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Connecting(OwnedFd);

impl Connecting {
    /// Its own end.
    pub(crate) fn own(&self) -> Option<SocketAddr> {
        getsockname(&self.0).ok().and_then(|own| SocketAddr::try_from(own).ok())
    }

    /// How often the system has repeated the question.
    pub(crate) fn repeats(&self) -> u16 {
        let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
        let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
        // SAFETY: the descriptor is open; `info` has room for `length` bytes, and both live through the call.
        let result = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        // SAFETY: it was zeroed, which is a value of this plain data, and the kernel has written a part of it.
        let info = unsafe { info.assume_init() };
        if result == 0 { info.tcpi_total_retrans.try_into().unwrap_or(u16::MAX) } else { 0 }
    }
}

/// Begins connections and watches them.
pub(crate) struct Connector {
    epoll: OwnedFd,
    source: Option<SocketAddr>,
    /// A socket whose connection was refused, to be used again: IPv4, IPv6.
    idle: [Option<OwnedFd>; 2],
}

impl Connector {
    /// One that connects from that address, where one is given; port 0 stands for any.
    pub(crate) fn new(source: Option<SocketAddr>) -> Result<Self, Error> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|code| Error::new("watch connections (epoll)", code))?;
        let connector = Self { epoll, source, idle: [None, None] };
        if let Some(source) = source {
            // An address that is not this machine's, a port that is taken: one error, and not one for each target.
            connector.socket(source).map_err(|code| Error::new(format!("connect from {source}"), code))?;
        }
        Ok(connector)
    }

    /// Begins a connection that will be known as `key`. With `at_once` it is looked at right away: to this machine
    /// and to others of the same kernel the answer is there when the call returns.
    pub(crate) fn begin(&mut self, key: u64, to: SocketAddr, at_once: bool) -> Begun {
        let socket = match self.idle[usize::from(to.is_ipv6())].take() {
            Some(socket) => socket,
            None => match self.socket(to) {
                Ok(socket) => socket,
                Err(code) => return refused(code, None),
            },
        };
        match connect(&socket, &to) {
            Ok(()) => return Begun::Connected(Connecting(socket)),
            Err(Errno::INPROGRESS) => {}
            Err(code) => return refused(code, None),
        }
        match at_once.then(|| outcome_of(&socket, to)).flatten() {
            Some(Outcome::Connected) => return Begun::Connected(Connecting(socket)),
            Some(outcome) => {
                if self.source.is_none() {
                    self.idle[usize::from(to.is_ipv6())] = Some(socket);
                }
                return Begun::Over(outcome);
            }
            None => {}
        }
        let events = epoll::EventFlags::OUT | epoll::EventFlags::ET;
        match epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(key), events) {
            Ok(()) => Begun::UnderWay(Connecting(socket)),
            Err(code) => refused(code, None),
        }
    }

    /// What has become of a connection; none while it is under way.
    pub(crate) fn outcome(&self, connecting: &Connecting, to: SocketAddr) -> Option<Outcome> {
        outcome_of(&connecting.0, to).or_else(|| {
            // An ICMP error that found the socket busy is queued but does not end the connection.
            let error = error_queue::taken(&connecting.0)?;
            let code = Errno::from_raw_os_error(error.code);
            Some(Outcome::Refused { refusal: kind(code), code: error.code, icmp: Some(error.icmp) })
        })
    }

    /// Waits for news, at most that long, and adds the keys of the connections that have some.
    pub(crate) fn wait(&mut self, limit: Duration, keys: &mut Vec<u64>) -> Result<(), Error> {
        let limit = Timespec::try_from(limit).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS];
        match epoll::wait(&self.epoll, &mut events, Some(&limit)) {
            Ok((events, _)) => keys.extend(events.iter().map(|event| event.data.u64())),
            Err(Errno::INTR) => {}
            Err(code) => return Err(Error::new("wait for connections (epoll)", code)),
        }
        Ok(())
    }

    fn socket(&self, to: SocketAddr) -> Result<OwnedFd, Errno> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        // A kernel that has none of it tells refusals without their sender.
        let _ = error_queue::enable(&socket, to.is_ipv6());
        if let Some(source) = self.source {
            if source.port() == 0 {
                without_port(&socket)?;
            } else {
                sockopt::set_socket_reuseaddr(&socket, true)?;
            }
            bind(&socket, &source)?;
        }
        Ok(socket)
    }
}

/// How many connections may be under way at once, after raising the limit of descriptors as far as it goes.
pub(crate) fn connections_at_once(wanted: usize) -> usize {
    super::handover::allow_descriptors(wanted);
    let open = std::fs::read_dir("/proc/self/fd").map_or(64, Iterator::count);
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    limit.saturating_sub(open + SPARE).clamp(1, wanted)
}

/// A bind for the address alone: the port is chosen when the destination is known, and may serve several.
fn without_port(socket: &OwnedFd) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    let (level, option) = (libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT);
    // SAFETY: the descriptor is open; `on` lives through the call and has that length.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), length) };
    if result == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}

/// What a second connect(2) says of the first.
fn outcome_of(socket: &OwnedFd, to: SocketAddr) -> Option<Outcome> {
    match connect(socket, &to) {
        Ok(()) | Err(Errno::ISCONN) => Some(Outcome::Connected),
        Err(Errno::ALREADY | Errno::INPROGRESS | Errno::INTR) => None,
        // Accepted, and hung up before we looked: only a refusal of the first packet is ECONNREFUSED.
        Err(Errno::CONNRESET | Errno::PIPE) => Some(Outcome::Connected),
        Err(code) => {
            let icmp = error_queue::taken(socket).map(|error| error.icmp);
            Some(Outcome::Refused { refusal: kind(code), code: code.raw_os_error(), icmp })
        }
    }
}

fn refused(code: Errno, icmp: Option<portolan_core::probe::Icmp>) -> Begun {
    match code {
        Errno::AGAIN
        | Errno::ADDRNOTAVAIL
        | Errno::NOBUFS
        | Errno::NOMEM
        | Errno::MFILE
        | Errno::NFILE
        | Errno::NOSPC => Begun::NoRoom(code.raw_os_error()),
        _ => Begun::Over(Outcome::Refused { refusal: kind(code), code: code.raw_os_error(), icmp }),
    }
}

/// What an error code means for whoever sent something.
pub(super) fn kind(code: Errno) -> Refusal {
    match code {
        Errno::CONNREFUSED => Refusal::Refused,
        Errno::TIMEDOUT => Refusal::TimedOut,
        Errno::HOSTUNREACH
        | Errno::NETUNREACH
        | Errno::NETDOWN
        | Errno::HOSTDOWN
        | Errno::NONET
        | Errno::ACCESS
        | Errno::INVAL
        | Errno::NOPROTOOPT => Refusal::NoWay,
        _ => Refusal::Other,
    }
}
