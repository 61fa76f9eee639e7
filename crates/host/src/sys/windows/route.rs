//! The way to an address.
//!
//! Source: `GetBestRoute2`. Routes that swallow or forbid are not known here: what has no way has no route.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use portolan_core::kernel::route::{Route, RouteKind};
use socket2::SockAddr;
use windows_sys::Win32::Foundation::{ERROR_HOST_UNREACHABLE, ERROR_NETWORK_UNREACHABLE, ERROR_NOT_FOUND};
use windows_sys::Win32::NetworkManagement::IpHelper::{GetBestRoute2, MIB_IPFORWARD_ROW2};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6, SOCKADDR_INET};

use super::addresses;

/// The way to an address, with the interface's name.
pub(crate) fn route(to: SocketAddr) -> io::Result<(Route, Option<String>)> {
    let address = SockAddr::from(to);
    let mut destination = SOCKADDR_INET::default();
    // SAFETY: a socket address of either family fits into the union, and both live through the copy.
    unsafe {
        std::ptr::copy_nonoverlapping(
            address.as_ptr().cast::<u8>(),
            (&raw mut destination).cast::<u8>(),
            (address.len() as usize).min(size_of::<SOCKADDR_INET>()),
        );
    };
    let scope = if let SocketAddr::V6(v6) = to { v6.scope_id() } else { 0 };
    let (mut row, mut source) = (MIB_IPFORWARD_ROW2::default(), SOCKADDR_INET::default());
    // SAFETY: every pointer leads to a live structure of its kind, or is null where that is allowed.
    let code = unsafe {
        GetBestRoute2(
            std::ptr::null(),
            scope,
            std::ptr::null(),
            &raw const destination,
            0,
            &raw mut row,
            &raw mut source,
        )
    };
    match code {
        0 => {}
        ERROR_NETWORK_UNREACHABLE | ERROR_HOST_UNREACHABLE | ERROR_NOT_FOUND => {
            return Ok((Route::none(RouteKind::None), None));
        }
        code => return Err(io::Error::from_raw_os_error(code.cast_signed())),
    }
    let local = to.ip().is_loopback() || addresses::addresses()?.iter().any(|local| local.address == to.ip());
    let kind = if local { RouteKind::Local } else { RouteKind::Unicast };
    let (source, gateway) = (ip(&source), ip(&row.NextHop).filter(|_| !local));
    let name = addresses::names().into_iter().find(|(index, _)| *index == row.InterfaceIndex);
    let route = Route { kind, interface: Some(row.InterfaceIndex), source, gateway };
    Ok((route, name.map(|(_, name)| name)))
}

/// The address; none for another family, and for the one that stands for none.
fn ip(address: &SOCKADDR_INET) -> Option<IpAddr> {
    // SAFETY: every member of the union begins with the family.
    let family = unsafe { address.si_family };
    let ip: IpAddr = match family {
        AF_INET => {
            // SAFETY: the family says that it is this one.
            let v4 = unsafe { address.Ipv4 };
            // SAFETY: every bit pattern of this union is a number.
            let bits = unsafe { v4.sin_addr.S_un.S_addr };
            Ipv4Addr::from_bits(u32::from_be(bits)).into()
        }
        AF_INET6 => {
            // SAFETY: the family says that it is this one.
            let v6 = unsafe { address.Ipv6 };
            // SAFETY: every bit pattern of this union is bytes.
            let bytes = unsafe { v6.sin6_addr.u.Byte };
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    (!ip.is_unspecified()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_this_machine_is_its_own() {
        match route("127.0.0.1:0".parse().unwrap()) {
            Ok((route, _)) => assert_eq!((route.kind, route.gateway), (RouteKind::Local, None)),
            // Wine 10 has the function and no answer: ERROR_NOT_SUPPORTED, which becomes a gap.
            Err(error) => assert_eq!(error.raw_os_error(), Some(50)),
        }
    }
}
