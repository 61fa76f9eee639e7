//! One bind, made and let go at once, and the thread that makes it as another user.
//!
//! Source: bind(2), ip(7), ipv6(7), credentials(7); Linux `net/ipv4/inet_connection_sock.c`. Never listens: since
//! the kernel counts a listener as a conflict at bind already, listening could tell no more (the host's test
//! `bind_trial` holds this against the kernel), and would accept the connections of others for a moment.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use portolan_core::diagnose::Reuse;
use portolan_core::snapshot::System;
use portolan_core::socket::Transport;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, netdevice, socket_with, sockopt};
use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::Error;
use crate::sys::Refusal;

/// The system whose codes a refusal carries.
pub const SYSTEM: System = System::Linux;

/// Whether a bind with SO_REUSEADDR takes a port from a socket that holds it.
pub(crate) const REUSE_TAKES_OVER: bool = false;

/// A socket that holds a port until it is dropped.
pub(crate) type BoundSocket = OwnedFd;

/// Binds and lets go; gives the address with its interface filled in.
pub(crate) fn try_bind(
    transport: Transport,
    address: SocketAddr,
    interface: Option<&str>,
    reuse: Reuse,
) -> Result<SocketAddr, Refusal> {
    bound(transport, address, interface, reuse).map(|(_, address)| address)
}

/// A socket bound to an address. `[::]` and mapped addresses are bound dual-stack, whatever `net.ipv6.bindv6only` says; any
/// other IPv6 address the kernel itself makes v6-only. A link-local address needs the name of its interface.
pub(crate) fn bound(
    transport: Transport,
    mut address: SocketAddr,
    interface: Option<&str>,
    reuse: Reuse,
) -> Result<(BoundSocket, SocketAddr), Refusal> {
    let refused = |call| {
        move |code: Errno| Refusal {
            call,
            code: code.raw_os_error(),
            no_such_family: call == "socket" && code == Errno::AFNOSUPPORT,
        }
    };
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = match transport {
        Transport::Tcp => SocketType::STREAM,
        Transport::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).map_err(refused("socket"))?;
    if let IpAddr::V6(v6) = address.ip()
        && (v6.is_unspecified() || v6.to_ipv4_mapped().is_some())
    {
        sockopt::set_ipv6_v6only(&socket, false).map_err(refused("setsockopt"))?;
    }
    if let (SocketAddr::V6(v6), Some(name)) = (&mut address, interface) {
        v6.set_scope_id(netdevice::name_to_index(&socket, name).map_err(refused("ioctl"))?);
    }
    if reuse == Reuse::ReuseAddress {
        sockopt::set_socket_reuseaddr(&socket, true).map_err(refused("setsockopt"))?;
    }
    bind(&socket, &address).map_err(refused("bind"))?;
    Ok((socket, address))
}

/// Does `work` with the rights of that user: on a thread of its own, since user ids and capabilities count for a
/// thread in Linux (the C library's setuid would change every thread). The thread ends with the work; what it
/// opened keeps that user. Only a process with CAP_SETUID and CAP_SETGID may: an error says so.
pub(crate) fn as_user<T: Send>(uid: Option<u32>, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    match uid {
        Some(uid) if uid != geteuid().as_raw() => std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                become_user(uid)?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }),
        _ => Ok(work()),
    }
}

/// Makes this thread that user for good: no supplementary groups, no capabilities. Nothing in bind(2) looks at the
/// group; the one of the user's number is taken, so that root's is given up too.
fn become_user(uid: u32) -> Result<(), Error> {
    let failed = |code: Errno| {
        let advice = if code == Errno::PERM { " (only root may: type it again after sudo)" } else { "" };
        Error::new(format!("bind as user {uid}{advice}"), code)
    };
    if uid == u32::MAX {
        return Err(failed(Errno::INVAL));
    }
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    set_thread_groups(&[]).map_err(failed)?;
    set_thread_res_gid(group, group, group).map_err(failed)?;
    set_thread_res_uid(user, user, user).map_err(failed)?;
    if uid == 0 {
        return Ok(());
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(failed)
}
