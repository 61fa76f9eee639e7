//! Echo requests to an address, which the system sends for any user.
//!
//! Source: `IcmpSendEcho2Ex`, `Icmp6SendEcho2`; the codes are those of IP_STATUS in `ipexport.h`. One
//! after the other: each waits for its answer. Left out on purpose: asynchronous requests.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::thread;
use std::time::{Duration, Instant};

use portolan_core::probe::{Icmp, IcmpVersion};
use socket2::SockAddr;
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    ICMP_ECHO_REPLY, ICMPV6_ECHO_REPLY_LH, Icmp6CreateFile, Icmp6SendEcho2, IcmpCloseHandle, IcmpCreateFile,
    IcmpSendEcho2Ex,
};

use crate::sys::{EchoPlan, Echoes};

/// What a user may do who is not let.
pub(crate) const ECHO_REMEDY: &str = "see whether a policy keeps programs from ICMP";

/// Codes of IP_STATUS.
const IP_SUCCESS: u32 = 0;
const IP_REQ_TIMED_OUT: u32 = 11010;

/// Room for a reply, an ICMP error and what the system adds, in words, so that it is aligned.
const REPLY_WORDS: usize = 128;

/// The system's handle for echoes, closed when dropped.
struct Handle(HANDLE);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and nothing uses it any more.
        unsafe { IcmpCloseHandle(self.0) };
    }
}

/// Sends echo requests to an address, and hears what comes back. Fails where the system lets none be sent.
pub(crate) fn echo(to: SocketAddr, plan: &EchoPlan) -> io::Result<Echoes> {
    let handle = if to.is_ipv4() {
        // SAFETY: the function has no conditions.
        unsafe { IcmpCreateFile() }
    } else {
        // SAFETY: the function has no conditions.
        unsafe { Icmp6CreateFile() }
    };
    if handle == INVALID_HANDLE_VALUE || handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    let handle = Handle(handle);
    let mut echoes = Echoes::default();
    while echoes.sent < plan.count {
        if echoes.sent > 0 {
            thread::sleep(plan.apart);
        }
        echoes.sent += 1;
        let since = Instant::now();
        // Four that nobody answers are not to take four times as long as elsewhere.
        let wait = plan.wait / u32::from(plan.count.max(1));
        let (status, from) = match to {
            SocketAddr::V4(v4) => one_v4(&handle, *v4.ip(), plan, wait),
            SocketAddr::V6(v6) => one_v6(&handle, v6, plan, wait),
        };
        let took = since.elapsed();
        match status {
            IP_SUCCESS => echoes.answers.push(took),
            IP_REQ_TIMED_OUT => {}
            status => match error(to.ip(), status, from) {
                Some(icmp) => echoes.errors.push(icmp),
                None => {
                    echoes.refused = Some(status.cast_signed());
                    return Ok(echoes);
                }
            },
        }
    }
    Ok(echoes)
}

/// The status of one request, and who answered.
fn one_v4(handle: &Handle, to: Ipv4Addr, plan: &EchoPlan, wait: Duration) -> (u32, Option<IpAddr>) {
    let source = if let Some(IpAddr::V4(source)) = plan.source { source } else { Ipv4Addr::UNSPECIFIED };
    let data = plan.token.to_be_bytes();
    let mut buffer = [0_u64; REPLY_WORDS];
    // SAFETY: data and buffer live through the call, which waits, and have those lengths; the rest is null.
    let replies = unsafe {
        IcmpSendEcho2Ex(
            handle.0,
            std::ptr::null_mut(),
            None,
            std::ptr::null(),
            source.to_bits().to_be(),
            to.to_bits().to_be(),
            data.as_ptr().cast(),
            data.len() as u16,
            std::ptr::null(),
            buffer.as_mut_ptr().cast(),
            size_of_val(&buffer) as u32,
            milliseconds(wait),
        )
    };
    if replies == 0 {
        return (last_status(), None);
    }
    // SAFETY: the call has written at least one reply at the buffer's start, which is aligned for it.
    let reply = unsafe { buffer.as_ptr().cast::<ICMP_ECHO_REPLY>().read() };
    (reply.Status, Some(Ipv4Addr::from_bits(u32::from_be(reply.Address)).into()))
}

fn one_v6(handle: &Handle, to: SocketAddrV6, plan: &EchoPlan, wait: Duration) -> (u32, Option<IpAddr>) {
    let source = if let Some(IpAddr::V6(source)) = plan.source { source } else { Ipv6Addr::UNSPECIFIED };
    let source = SockAddr::from(SocketAddrV6::new(source, 0, 0, to.scope_id()));
    let to = SockAddr::from(to);
    let data = plan.token.to_be_bytes();
    let mut buffer = [0_u64; REPLY_WORDS];
    let size = size_of_val(&buffer) as u32;
    // SAFETY: addresses, data and buffer live through the call, which waits, and have those lengths; the rest is null.
    let replies = unsafe {
        Icmp6SendEcho2(
            handle.0,
            std::ptr::null_mut(),
            None,
            std::ptr::null(),
            source.as_ptr().cast(),
            to.as_ptr().cast(),
            data.as_ptr().cast(),
            data.len() as u16,
            std::ptr::null(),
            buffer.as_mut_ptr().cast(),
            size,
            milliseconds(wait),
        )
    };
    if replies == 0 {
        return (last_status(), None);
    }
    // SAFETY: the buffer has room for a reply and is aligned for it; every bit pattern is one.
    let reply = unsafe { buffer.as_ptr().cast::<ICMPV6_ECHO_REPLY_LH>().read() };
    // The structure may be packed: its members are copied, and not borrowed.
    let segments = { reply.Address.sin6_addr }.map(u16::from_be);
    (reply.Status, Some(Ipv6Addr::from(segments).into()))
}

fn milliseconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// The status that stands for no reply: the thread's last error.
fn last_status() -> u32 {
    io::Error::last_os_error().raw_os_error().map_or(u32::MAX, i32::cast_unsigned)
}

/// The ICMP error that a status stands for; none where it is this system's own word.
fn error(to: IpAddr, status: u32, from: Option<IpAddr>) -> Option<Icmp> {
    let (version, (kind, code)) = if to.is_ipv4() {
        let numbers = match status {
            11002 => (3, 0),
            11003 => (3, 1),
            11004 => (3, 2),
            11005 => (3, 3),
            11013 => (11, 0),
            _ => return None,
        };
        (IcmpVersion::V4, numbers)
    } else {
        let numbers = match status {
            11002 => (1, 0),
            11003 => (1, 3),
            11004 => (1, 1),
            11005 => (1, 4),
            11013 => (3, 0),
            _ => return None,
        };
        (IcmpVersion::V6, numbers)
    };
    let from = from.filter(|from| !from.is_unspecified());
    Some(Icmp { version, kind, code, from })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_the_error_of_its_family() {
        let icmp =
            |to: &str, status| error(to.parse().unwrap(), status, None).map(|icmp| (icmp.kind, icmp.code));
        assert_eq!(icmp("192.0.2.1", 11003), Some((3, 1)));
        assert_eq!(icmp("2001:db8::1", 11003), Some((1, 3)));
        assert_eq!(icmp("192.0.2.1", 11050), None);
    }
}
