//! The addresses of this host, with prefix and interface.
//!
//! Source: `GetAdaptersAddresses`. Left out on purpose: anycast and multicast addresses, adapters without an address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan_core::snapshot::LocalAddress;
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GAA_FLAG_SKIP_ANYCAST, GAA_FLAG_SKIP_DNS_SERVER, GAA_FLAG_SKIP_MULTICAST, GetAdaptersAddresses,
    IP_ADAPTER_ADDRESSES_LH, IP_ADAPTER_UNICAST_ADDRESS_LH,
};
use windows_sys::Win32::Networking::WinSock::{
    AF_INET, AF_INET6, AF_UNSPEC, SOCKADDR_IN, SOCKADDR_IN6, SOCKET_ADDRESS,
};

use super::buffer::Buffer;
use super::wide;

/// Adapters, and addresses of one, that are looked at; a list without end is none.
const MOST: usize = 4096;

/// An adapter's name, its IPv6 index, and its addresses with their prefixes.
struct Adapter {
    name: String,
    index: u32,
    addresses: Vec<(IpAddr, u8)>,
}

/// Every IPv4 and IPv6 address.
pub(super) fn addresses() -> io::Result<Vec<LocalAddress>> {
    let of_adapter = |adapter: Adapter| {
        let Adapter { name, addresses, .. } = adapter;
        addresses.into_iter().map(move |(address, prefix)| LocalAddress {
            address,
            prefix,
            interface: name.clone(),
        })
    };
    Ok(adapters()?.into_iter().flat_map(of_adapter).collect())
}

/// The index of an interface by its name.
pub(super) fn index_of(name: &str) -> Option<u32> {
    adapters().ok()?.into_iter().find(|adapter| adapter.name == name).map(|adapter| adapter.index)
}

/// The names of interfaces by their indexes; none where they cannot be read.
pub(super) fn names() -> Vec<(u32, String)> {
    adapters().unwrap_or_default().into_iter().map(|adapter| (adapter.index, adapter.name)).collect()
}

fn adapters() -> io::Result<Vec<Adapter>> {
    let flags = GAA_FLAG_SKIP_ANYCAST | GAA_FLAG_SKIP_MULTICAST | GAA_FLAG_SKIP_DNS_SERVER;
    let buffer = Buffer::filled(|pointer, size| {
        // SAFETY: the buffer has the size that stands in `size`, where the function may write another one.
        unsafe {
            GetAdaptersAddresses(AF_UNSPEC.into(), flags, std::ptr::null(), pointer.cast(), &raw mut *size)
        }
    })?;
    let mut next: *const IP_ADAPTER_ADDRESSES_LH = match buffer.at(0) {
        Some(first) if !buffer.bytes().iter().all(|byte| *byte == 0) => first,
        _ => std::ptr::null(),
    };
    let mut adapters = Vec::new();
    // SAFETY: the list's pointers lead to entries inside of the buffer, which lives, or are null.
    while let Some(entry) = unsafe { next.as_ref() }
        && adapters.len() < MOST
    {
        next = entry.Next;
        // SAFETY: names in the list are null or end with a zero, and live as long as the buffer.
        let name = unsafe { wide::pointed(entry.FriendlyName) };
        let addresses = unicast(entry);
        adapters.push(Adapter { name, index: entry.Ipv6IfIndex, addresses });
    }
    Ok(adapters)
}

fn unicast(adapter: &IP_ADAPTER_ADDRESSES_LH) -> Vec<(IpAddr, u8)> {
    let mut next: *const IP_ADAPTER_UNICAST_ADDRESS_LH = adapter.FirstUnicastAddress;
    let mut addresses = Vec::new();
    // SAFETY: as the adapters themselves, these entries lie in the buffer, or the pointer is null.
    while let Some(entry) = unsafe { next.as_ref() }
        && addresses.len() < MOST
    {
        next = entry.Next;
        addresses.extend(ip(&entry.Address).map(|address| (address, entry.OnLinkPrefixLength)));
    }
    addresses
}

/// The IP address in a socket address; none for another family.
fn ip(address: &SOCKET_ADDRESS) -> Option<IpAddr> {
    let length = usize::try_from(address.iSockaddrLength).ok()?;
    // SAFETY: the pointer is null, or leads to a socket address that begins with its family.
    let family = unsafe { address.lpSockaddr.as_ref() }?.sa_family;
    match family {
        AF_INET if length >= size_of::<SOCKADDR_IN>() => {
            // SAFETY: an address of this family and length is a SOCKADDR_IN; alignment is not relied on.
            let v4 = unsafe { address.lpSockaddr.cast::<SOCKADDR_IN>().read_unaligned() };
            // SAFETY: every bit pattern of this union is a number.
            let bits = unsafe { v4.sin_addr.S_un.S_addr };
            Some(Ipv4Addr::from_bits(u32::from_be(bits)).into())
        }
        AF_INET6 if length >= size_of::<SOCKADDR_IN6>() => {
            // SAFETY: an address of this family and length is a SOCKADDR_IN6; alignment is not relied on.
            let v6 = unsafe { address.lpSockaddr.cast::<SOCKADDR_IN6>().read_unaligned() };
            // SAFETY: every bit pattern of this union is bytes.
            let bytes = unsafe { v6.sin6_addr.u.Byte };
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_has_its_prefix_and_an_interface() {
        let addresses = addresses().unwrap();
        let loopback = addresses.iter().find(|local| local.address.to_string() == "127.0.0.1").unwrap();
        assert_eq!(loopback.prefix, 8);
        assert!(!loopback.interface.is_empty());
        assert!(index_of(&loopback.interface).is_some());
        assert_eq!(index_of("no such interface"), None);
    }
}
