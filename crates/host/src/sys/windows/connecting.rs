//! Many TCP connections under way at once: begun without waiting, watched by select, hung up with a reset.
//!
//! Source: Winsock's connect, select (a failed connection shows among the exceptions, which WSAPoll kept to itself before
//! Windows 10 2004; its set takes any number of sockets where the caller lays it out), SO_LINGER,
//! SIO_TCP_INITIAL_RTO (Windows asks a port that said no twice more, which costs a second, unless told not to),
//! TCP_FAIL_CONNECT_ON_ICMP_ERROR and TCP_ICMP_ERROR_INFO (Windows 10 1703). Wine has neither of the last two.
//! Not run on a real Windows yet. Left out on purpose: completion ports, whose ConnectEx wants a bound socket.

use std::ffi::c_int;
use std::net::SocketAddr;
use std::os::windows::io::{AsRawSocket as _, OwnedSocket};
use std::sync::{Arc, Weak};
use std::time::Duration;

use portolan_core::probe::{Icmp, IcmpVersion, Refusal};
use portolan_core::socket::Transport;
use windows_sys::Win32::Networking::WinSock::{
    AF_INET, AF_INET6, FIONBIO, ICMP_ERROR_INFO, IPPROTO_TCP, LINGER, SIO_TCP_INITIAL_RTO, SO_ERROR,
    SO_LINGER, SO_REUSEADDR, SOCKADDR_INET, SOCKET, SOL_SOCKET, TCP_FAIL_CONNECT_ON_ICMP_ERROR,
    TCP_ICMP_ERROR_INFO, TCP_INITIAL_RTO_PARAMETERS, TIMEVAL, WSAEACCES, WSAEADDRINUSE, WSAEADDRNOTAVAIL,
    WSAECONNABORTED, WSAECONNREFUSED, WSAECONNRESET, WSAEHOSTDOWN, WSAEHOSTUNREACH, WSAEINVAL, WSAEMFILE,
    WSAENETDOWN, WSAENETUNREACH, WSAENOBUFS, WSAETIMEDOUT, WSAEWOULDBLOCK, WSAGetLastError, WSAIoctl,
};
use windows_sys::Win32::Networking::WinSock::{
    bind as bind_to, connect, getpeername, getsockname, getsockopt, ioctlsocket, select,
};

use super::bind;
use crate::Error;
use crate::sys::{Begun, Outcome};

/// Each look goes through all of them: more would cost more than they bring.
const MOST_AT_ONCE: usize = 1024;

/// How long Windows waits for the answer to its only SYN, in milliseconds: longer than any try of ours.
const OWN_WAIT: u16 = 30_000;
/// TCP_INITIAL_RTO_NO_SYN_RETRANSMISSIONS, which mstcpip.h has as a byte.
const NO_REPEATS: u8 = 254;

/// Whether the system repeats a question by itself.
pub(crate) const REPEATS: bool = false;

/// A connection under way. Dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Connecting(Arc<OwnedSocket>);

impl Connecting {
    /// Its own end.
    pub(crate) fn own(&self) -> Option<SocketAddr> {
        let mut name = SOCKADDR_INET::default();
        let mut length = size_of::<SOCKADDR_INET>() as c_int;
        // SAFETY: as in `is_connected`.
        let result = unsafe { getsockname(raw(&self.0), (&raw mut name).cast(), &raw mut length) };
        address(&name).filter(|_| result == 0)
    }

    /// How often the system has repeated the question.
    #[expect(clippy::unused_self, reason = "another system asks the socket")]
    pub(crate) fn repeats(&self) -> u16 {
        0
    }
}

/// Begins connections and watches them.
pub(crate) struct Connector {
    source: Option<SocketAddr>,
    watched: Vec<(u64, Weak<OwnedSocket>)>,
}

/// What select takes: `FD_SET` with room for more.
#[repr(C)]
struct Set {
    count: u32,
    sockets: [SOCKET; MOST_AT_ONCE],
}

impl Connector {
    /// One that connects from that address, where one is given; port 0 stands for any.
    pub(crate) fn new(source: Option<SocketAddr>) -> Result<Self, Error> {
        let connector = Self { source, watched: Vec::new() };
        if let Some(source) = source {
            // An address that is not this machine's, a port that is taken: one error, and not one for each target.
            connector.socket(source).map_err(|code| {
                Error::new(format!("connect from {source}"), std::io::Error::from_raw_os_error(code))
            })?;
        }
        Ok(connector)
    }

    /// Begins a connection that will be known as `key`. With `at_once` it is looked at right away.
    pub(crate) fn begin(&mut self, key: u64, to: SocketAddr, at_once: bool) -> Begun {
        let socket = match self.socket(to) {
            Ok(socket) => socket,
            Err(code) => return refused(code),
        };
        let (name, length) = bind::socket_address(to);
        // SAFETY: the socket is open; `name` is a socket address of that family and length and lives through the call.
        let result = unsafe { connect(raw(&socket), (&raw const name).cast(), length) };
        if result == 0 {
            return Begun::Connected(Connecting(Arc::new(socket)));
        }
        match last_error() {
            WSAEWOULDBLOCK => {}
            code => return refused(code),
        }
        match at_once.then(|| outcome_of(&socket)).flatten() {
            Some(Outcome::Connected) => return Begun::Connected(Connecting(Arc::new(socket))),
            Some(outcome) => return Begun::Over(outcome),
            None => {}
        }
        let socket = Arc::new(socket);
        self.watched.push((key, Arc::downgrade(&socket)));
        Begun::UnderWay(Connecting(socket))
    }

    /// What has become of a connection; none while it is under way.
    pub(crate) fn outcome(&self, connecting: &Connecting, _: SocketAddr) -> Option<Outcome> {
        outcome_of(&connecting.0)
    }

    /// Waits for news, at most that long, and adds the keys of the connections that have some.
    pub(crate) fn wait(&mut self, limit: Duration, keys: &mut Vec<u64>) -> Result<(), Error> {
        self.watched.retain(|(_, socket)| socket.strong_count() > 0);
        let sockets: Vec<(u64, Arc<OwnedSocket>)> = self
            .watched
            .iter()
            .filter_map(|(key, socket)| Some((*key, socket.upgrade()?)))
            .take(MOST_AT_ONCE)
            .collect();
        if sockets.is_empty() {
            std::thread::sleep(limit);
            return Ok(());
        }
        let mut writable = Box::new(Set { count: 0, sockets: [0; MOST_AT_ONCE] });
        for ((_, socket), place) in sockets.iter().zip(&mut writable.sockets) {
            *place = raw(socket);
            writable.count += 1;
        }
        let mut failed = Box::new(Set { count: writable.count, sockets: writable.sockets });
        let time = TIMEVAL {
            tv_sec: limit.as_secs().try_into().unwrap_or(1),
            tv_usec: limit.subsec_micros().try_into().unwrap_or_default(),
        };
        // SAFETY: both sets have `count` open sockets, which `sockets` keeps open through the call, in an array
        // that is laid out as FD_SET's; Winsock reads and writes no further than `count`.
        let ready = unsafe {
            select(
                0,
                std::ptr::null_mut(),
                (&raw mut *writable).cast(),
                (&raw mut *failed).cast(),
                &raw const time,
            )
        };
        if ready < 0 {
            let code = last_error();
            return Err(Error::new("wait for connections (select)", std::io::Error::from_raw_os_error(code)));
        }
        let news = |set: &Set| set.sockets.iter().take(set.count as usize).copied().collect::<Vec<_>>();
        let mut news: Vec<SOCKET> = [news(&writable), news(&failed)].concat();
        news.sort_unstable();
        let has_news = |socket: &Arc<OwnedSocket>| news.binary_search(&raw(socket)).is_ok();
        keys.extend(sockets.iter().filter(|(_, socket)| has_news(socket)).map(|(key, _)| *key));
        // A connection is over with its first news.
        self.watched.retain(|(_, socket)| !socket.upgrade().is_some_and(|socket| has_news(&socket)));
        Ok(())
    }

    fn socket(&self, to: SocketAddr) -> Result<OwnedSocket, c_int> {
        let socket = bind::socket(Transport::Tcp, to).map_err(|refusal| refusal.code)?;
        let mut on = 1_u32;
        // SAFETY: the socket is open; `on` lives through the call.
        if unsafe { ioctlsocket(raw(&socket), FIONBIO, &raw mut on) } != 0 {
            return Err(last_error());
        }
        bind::set_to(&socket, SOL_SOCKET, SO_LINGER, &LINGER { l_onoff: 1, l_linger: 0 })
            .map_err(|refusal| refusal.code)?;
        // A Windows that has none of the two waits longer, or tells refusals without their sender.
        let _ = bind::set_to(&socket, IPPROTO_TCP, TCP_FAIL_CONNECT_ON_ICMP_ERROR, &1_u32);
        ask_once(&socket);
        if let Some(source) = self.source {
            if source.port() != 0 {
                bind::set_to(&socket, SOL_SOCKET, SO_REUSEADDR, &1_i32).map_err(|refusal| refusal.code)?;
            }
            let (name, length) = bind::socket_address(source);
            // SAFETY: as in `begin`.
            if unsafe { bind_to(raw(&socket), (&raw const name).cast(), length) } != 0 {
                return Err(last_error());
            }
        }
        Ok(socket)
    }
}

/// How many connections may be under way at once.
pub(crate) fn connections_at_once(wanted: usize) -> usize {
    wanted.clamp(1, MOST_AT_ONCE)
}

fn raw(socket: &OwnedSocket) -> SOCKET {
    socket.as_raw_socket() as SOCKET
}

fn last_error() -> c_int {
    // SAFETY: the call reads a number of this thread.
    unsafe { WSAGetLastError() }
}

/// One SYN for each connection: a port that said no is asked again otherwise, which takes a second.
fn ask_once(socket: &OwnedSocket) {
    let parameters = TCP_INITIAL_RTO_PARAMETERS { Rtt: OWN_WAIT, MaxSynRetransmissions: NO_REPEATS };
    let mut returned = 0;
    // SAFETY: the socket is open; the parameters, of that length, and the count live through the call, which is
    // no overlapped one.
    unsafe {
        WSAIoctl(
            raw(socket),
            SIO_TCP_INITIAL_RTO,
            (&raw const parameters).cast(),
            size_of::<TCP_INITIAL_RTO_PARAMETERS>() as u32,
            std::ptr::null_mut(),
            0,
            &raw mut returned,
            std::ptr::null_mut(),
            None,
        )
    };
}

fn outcome_of(socket: &OwnedSocket) -> Option<Outcome> {
    let code: c_int = option(socket, SOL_SOCKET, SO_ERROR)?;
    match code {
        0 => is_connected(socket).then_some(Outcome::Connected),
        // Accepted, and hung up before we looked.
        WSAECONNRESET | WSAECONNABORTED => Some(Outcome::Connected),
        code => Some(Outcome::Refused { refusal: kind(code), code, icmp: icmp(socket) }),
    }
}

fn is_connected(socket: &OwnedSocket) -> bool {
    let mut name = SOCKADDR_INET::default();
    let mut length = size_of::<SOCKADDR_INET>() as c_int;
    // SAFETY: the socket is open; `name` has room for `length` bytes, and both live through the call.
    unsafe { getpeername(raw(socket), (&raw mut name).cast(), &raw mut length) == 0 }
}

fn icmp(socket: &OwnedSocket) -> Option<Icmp> {
    let info: ICMP_ERROR_INFO = option(socket, IPPROTO_TCP, TCP_ICMP_ERROR_INFO)?;
    let from = address(&info.srcaddress)?.ip();
    let version = if from.is_ipv4() { IcmpVersion::V4 } else { IcmpVersion::V6 };
    Some(Icmp { version, kind: info.r#type, code: info.code, from: Some(from) })
}

/// The value of a socket's option; none where the system does not have it.
fn option<T: Default>(socket: &OwnedSocket, level: c_int, option: c_int) -> Option<T> {
    let mut value = T::default();
    let mut length = size_of::<T>() as c_int;
    // SAFETY: the socket is open; `value` is plain data of that length, and both live through the call.
    let result = unsafe { getsockopt(raw(socket), level, option, (&raw mut value).cast(), &raw mut length) };
    (result == 0 && length as usize == size_of::<T>()).then_some(value)
}

fn address(name: &SOCKADDR_INET) -> Option<SocketAddr> {
    // SAFETY: each member of the union starts with the family.
    let family = unsafe { name.si_family };
    match family {
        AF_INET => {
            // SAFETY: the family says that this member was written.
            let v4 = unsafe { name.Ipv4 };
            // SAFETY: an address is four bytes, however they are looked at.
            let ip = unsafe { v4.sin_addr.S_un.S_addr };
            let ip = std::net::Ipv4Addr::from(ip.to_ne_bytes());
            Some(SocketAddr::new(ip.into(), u16::from_be(v4.sin_port)))
        }
        AF_INET6 => {
            // SAFETY: the family says that this member was written.
            let v6 = unsafe { name.Ipv6 };
            // SAFETY: an address is sixteen bytes, however they are looked at.
            let ip = unsafe { v6.sin6_addr.u.Byte };
            Some(SocketAddr::new(std::net::Ipv6Addr::from(ip).into(), u16::from_be(v6.sin6_port)))
        }
        _ => None,
    }
}

fn refused(code: c_int) -> Begun {
    match code {
        WSAENOBUFS | WSAEMFILE | WSAEADDRNOTAVAIL | WSAEADDRINUSE => Begun::NoRoom(code),
        code => Begun::Over(Outcome::Refused { refusal: kind(code), code, icmp: None }),
    }
}

/// What an error code means for whoever sent something.
pub(super) const fn kind(code: c_int) -> Refusal {
    match code {
        WSAECONNREFUSED => Refusal::Refused,
        WSAETIMEDOUT => Refusal::TimedOut,
        WSAEHOSTUNREACH | WSAENETUNREACH | WSAENETDOWN | WSAEHOSTDOWN | WSAEACCES | WSAEINVAL => {
            Refusal::NoWay
        }
        _ => Refusal::Other,
    }
}
