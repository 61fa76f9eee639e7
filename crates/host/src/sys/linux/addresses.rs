//! The addresses of this thread's network namespace, with prefix and interface.
//!
//! Source: getifaddrs(3), which asks the kernel by rtnetlink. Left out on purpose: addresses of other families, and
//! peers of point-to-point links.

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan_core::snapshot::LocalAddress;

/// The list that getifaddrs made, given back when dropped.
struct List(*mut libc::ifaddrs);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: getifaddrs made the list, and nothing refers to it any more.
        unsafe { libc::freeifaddrs(self.0) }
    }
}

/// Every IPv4 and IPv6 address.
pub(super) fn addresses() -> io::Result<Vec<LocalAddress>> {
    let mut first = std::ptr::null_mut();
    // SAFETY: `first` is where the function may write one pointer.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let list = List(first);
    let mut addresses = Vec::new();
    let mut next: *const libc::ifaddrs = list.0;
    // SAFETY: the list's pointers lead to entries that live until it is freed, or are null.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        if let (Some(address), Some(mask)) = (ip(entry.ifa_addr), ip(entry.ifa_netmask)) {
            // SAFETY: the kernel's interface names end with a zero byte, and live as long as the list.
            let interface = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy().into_owned();
            let prefix = match mask {
                IpAddr::V4(mask) => mask.to_bits().count_ones(),
                IpAddr::V6(mask) => mask.to_bits().count_ones(),
            };
            addresses.push(LocalAddress { address, prefix: prefix as u8, interface });
        }
    }
    Ok(addresses)
}

/// The IP address in a socket address; none for another family, or for a null pointer.
fn ip(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: getifaddrs gives null, or a socket address that begins with its family.
    let family = i32::from(unsafe { address.as_ref() }?.sa_family);
    match family {
        libc::AF_INET => {
            // SAFETY: an address of this family is a sockaddr_in, aligned as the C library made it.
            let v4 = unsafe { &*address.cast::<libc::sockaddr_in>() };
            Some(Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: an address of this family is a sockaddr_in6, aligned as the C library made it.
            let v6 = unsafe { &*address.cast::<libc::sockaddr_in6>() };
            Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}
