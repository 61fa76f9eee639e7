//! One bind, made and let go at once.
//!
//! Source: Winsock's bind, "Using SO_REUSEADDR and SO_EXCLUSIVEADDRUSE". A plain bind sets no option. One with
//! SO_REUSEADDR takes a port from whoever holds it ([`REUSE_TAKES_OVER`]), so callers do not ask for it where a holder
//! is seen. Never listens.

use std::ffi::c_int;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::windows::io::{AsRawSocket as _, FromRawSocket as _, OwnedSocket};
use std::sync::OnceLock;

use portolan_core::diagnose::Reuse;
use portolan_core::snapshot::System;
use portolan_core::socket::Transport;
use windows_sys::Win32::Networking::WinSock::{
    AF_INET, AF_INET6, IN_ADDR, IN_ADDR_0, IN6_ADDR, IN6_ADDR_0, INVALID_SOCKET, IPPROTO_IPV6, IPV6_V6ONLY,
    SO_REUSEADDR, SOCK_DGRAM, SOCK_STREAM, SOCKADDR_IN, SOCKADDR_IN6, SOCKADDR_IN6_0, SOCKADDR_INET,
    SOL_SOCKET, WSA_FLAG_NO_HANDLE_INHERIT, WSA_FLAG_OVERLAPPED, WSADATA, WSAEAFNOSUPPORT, WSASocketW,
    WSAStartup,
};
use windows_sys::Win32::Networking::WinSock::{bind as bind_to, setsockopt};

use super::addresses;
use crate::Error;
use crate::sys::Refusal;

/// The system whose codes a refusal carries.
pub const SYSTEM: System = System::Windows;

/// Whether a bind with SO_REUSEADDR takes a port from a socket that holds it.
pub(crate) const REUSE_TAKES_OVER: bool = true;

/// A socket that holds a port until it is dropped.
pub(crate) type BoundSocket = OwnedSocket;

impl Refusal {
    fn last(call: &'static str) -> Self {
        let code = io::Error::last_os_error().raw_os_error().unwrap_or_default();
        Self { call, code, no_such_family: call == "socket" && code == WSAEAFNOSUPPORT }
    }
}

/// Binds and lets go; gives the address with its interface filled in.
pub(crate) fn try_bind(
    transport: Transport,
    address: SocketAddr,
    interface: Option<&str>,
    reuse: Reuse,
) -> Result<SocketAddr, Refusal> {
    bound(transport, address, interface, reuse).map(|(_, address)| address)
}

/// A socket bound to an address. `[::]` and mapped addresses are bound dual-stack, which Windows does not do by itself. A
/// link-local address needs the name of its interface.
pub(crate) fn bound(
    transport: Transport,
    mut address: SocketAddr,
    interface: Option<&str>,
    reuse: Reuse,
) -> Result<(BoundSocket, SocketAddr), Refusal> {
    let socket = socket(transport, address)?;
    if let IpAddr::V6(v6) = address.ip()
        && (v6.is_unspecified() || v6.to_ipv4_mapped().is_some())
    {
        set(&socket, IPPROTO_IPV6, IPV6_V6ONLY, 0)?;
    }
    if let (SocketAddr::V6(v6), Some(name)) = (&mut address, interface) {
        // An interface that is gone has no index, and the bind then says that the address is gone too.
        v6.set_scope_id(addresses::index_of(name).unwrap_or_default());
    }
    if reuse == Reuse::ReuseAddress {
        set(&socket, SOL_SOCKET, SO_REUSEADDR, 1)?;
    }
    let (name, length) = socket_address(address);
    // SAFETY: the socket is open; `name` is a socket address of that family and length and lives through the call.
    if unsafe { bind_to(socket.as_raw_socket() as usize, (&raw const name).cast(), length) } != 0 {
        return Err(Refusal::last("bind"));
    }
    Ok((socket, address))
}

/// A new socket, which no child process inherits.
pub(super) fn socket(transport: Transport, address: SocketAddr) -> Result<OwnedSocket, Refusal> {
    let started = start_winsock();
    if started != 0 {
        return Err(Refusal { call: "WSAStartup", code: started, no_such_family: false });
    }
    let family = if address.is_ipv4() { AF_INET } else { AF_INET6 };
    let kind = match transport {
        Transport::Tcp => SOCK_STREAM,
        Transport::Udp => SOCK_DGRAM,
    };
    let flags = WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT;
    // SAFETY: no pointer is handed over but the null one, which stands for "any provider".
    let raw = unsafe { WSASocketW(family.into(), kind, 0, std::ptr::null(), 0, flags) };
    if raw == INVALID_SOCKET {
        return Err(Refusal::last("socket"));
    }
    // SAFETY: the call has just made this socket, and nothing else owns it.
    Ok(unsafe { OwnedSocket::from_raw_socket(raw as u64) })
}

/// Winsock wants to be started before its first socket; its error code, 0 for none.
pub(super) fn start_winsock() -> c_int {
    static STARTED: OnceLock<c_int> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let mut data = WSADATA::default();
        // SAFETY: `data` is where the function may write; 0x0202 is version 2.2.
        unsafe { WSAStartup(0x0202, &raw mut data) }
    })
}

fn set(socket: &OwnedSocket, level: i32, option: i32, value: c_int) -> Result<(), Refusal> {
    set_to(socket, level, option, &value)
}

/// Sets an option to a value of its own type, which is plain data.
pub(super) fn set_to<T: Copy>(
    socket: &OwnedSocket,
    level: i32,
    option: i32,
    value: &T,
) -> Result<(), Refusal> {
    let length = size_of::<T>() as c_int;
    // SAFETY: the socket is open; `value` lives through the call and has that length.
    let result = unsafe {
        setsockopt(socket.as_raw_socket() as usize, level, option, std::ptr::from_ref(value).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(Refusal::last("setsockopt")) }
}

/// An address as Winsock has it, and its length.
pub(super) fn socket_address(address: SocketAddr) -> (SOCKADDR_INET, c_int) {
    match address {
        SocketAddr::V4(v4) => {
            let name = SOCKADDR_IN {
                sin_family: AF_INET,
                sin_port: v4.port().to_be(),
                sin_addr: IN_ADDR { S_un: IN_ADDR_0 { S_addr: v4.ip().to_bits().to_be() } },
                sin_zero: [0; 8],
            };
            (SOCKADDR_INET { Ipv4: name }, size_of::<SOCKADDR_IN>() as c_int)
        }
        SocketAddr::V6(v6) => {
            let name = SOCKADDR_IN6 {
                sin6_family: AF_INET6,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: IN6_ADDR { u: IN6_ADDR_0 { Byte: v6.ip().octets() } },
                Anonymous: SOCKADDR_IN6_0 { sin6_scope_id: v6.scope_id() },
            };
            (SOCKADDR_INET { Ipv6: name }, size_of::<SOCKADDR_IN6>() as c_int)
        }
    }
}

/// Does `work`, which nobody can do for another user here.
pub(crate) fn as_user<T: Send>(uid: Option<u32>, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    match uid {
        None => Ok(work()),
        Some(uid) => super::user::user(&uid.to_string()).map(|_| work()),
    }
}

#[cfg(test)]
mod tests {
    use windows_sys::Win32::Networking::WinSock::SO_EXCLUSIVEADDRUSE;

    use super::*;

    const ANY: &str = "127.0.0.1:0";

    fn code(address: SocketAddr) -> i32 {
        let refusal = bound(Transport::Tcp, address, None, Reuse::Plain).unwrap_err();
        assert_eq!((refusal.call, refusal.no_such_family), ("bind", false));
        refusal.code
    }

    fn local(socket: &std::net::TcpListener) -> SocketAddr {
        socket.local_addr().unwrap()
    }

    #[test]
    fn a_held_port_is_refused_until_it_is_let_go() {
        let holder = std::net::TcpListener::bind(ANY).unwrap();
        let address = local(&holder);
        assert_eq!(code(address), 10048);
        drop(holder);
        let (_held, bound_to) = bound(Transport::Tcp, address, None, Reuse::Plain).unwrap();
        assert_eq!((bound_to, code(address)), (address, 10048));
    }

    #[test]
    fn an_exclusive_holder_refuses_even_reuse_with_access_denied() {
        let socket = socket(Transport::Tcp, ANY.parse().unwrap()).unwrap();
        set(&socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1).unwrap();
        let (name, length) = socket_address(ANY.parse().unwrap());
        // SAFETY: as in `bound`.
        let done = unsafe { bind_to(socket.as_raw_socket() as usize, (&raw const name).cast(), length) };
        assert_eq!(done, 0);
        let listener = std::net::TcpListener::from(socket);
        let refusal = bound(Transport::Tcp, local(&listener), None, Reuse::ReuseAddress).unwrap_err();
        assert_eq!((refusal.call, refusal.code), ("bind", 10013));
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        assert_eq!(code("192.0.2.1:7000".parse().unwrap()), 10049);
    }

    #[test]
    fn the_wildcard_of_ipv6_is_bound_for_both_families() {
        let (held, _) = bound(Transport::Udp, "[::]:0".parse().unwrap(), None, Reuse::Plain).unwrap();
        let port = std::net::UdpSocket::from(held.try_clone().unwrap()).local_addr().unwrap().port();
        let asked = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), port);
        let refusal = bound(Transport::Udp, asked, None, Reuse::Plain).unwrap_err();
        assert_eq!(refusal.code, 10048);
    }

    #[test]
    fn nobody_binds_for_another_user() {
        assert_eq!(as_user(None, || 7).unwrap(), 7);
        let error = as_user(Some(1000), || 7).unwrap_err().to_string();
        assert!(error.contains("leave --user out"), "{error}");
    }
}
