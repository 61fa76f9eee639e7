//! Endpoints as listings write them: `0.0.0.0:80`, `[::]:80`, `:::80`, `[fe80::1%12]:80`, `127.0.0.53%lo:53`, `*:*`.
//!
//! Source: outputs of Windows' netstat, net-tools 2.10, iproute2 6.1, lsof 4.95.
//! Left out on purpose: names in the place of numbers (listings made without `-n`), which another machine may not know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An endpoint of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written<'a> {
    /// The address; none for `*`.
    pub(crate) address: Option<IpAddr>,
    /// The port; 0 for `*`.
    pub(crate) port: u16,
    /// The interface or zone behind `%`.
    pub(crate) zone: Option<&'a str>,
}

impl Written<'_> {
    /// The endpoint, with this address in the place of `*`.
    pub(crate) fn or(&self, any: IpAddr) -> SocketAddr {
        SocketAddr::new(self.address.unwrap_or(any), self.port)
    }
}

/// The unspecified address of an address' family.
pub(crate) const fn any_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Reads an endpoint; none where it is not one in numbers.
pub(crate) fn endpoint(text: &str) -> Option<Written<'_>> {
    let (host, port) = text.rsplit_once(':')?;
    let port = if port == "*" { 0 } else { decimal(port)? };
    if host == "*" {
        return Some(Written { address: None, port, zone: None });
    }
    let (host, zone) = zone_of(host)?;
    let (host, zone) = match host.strip_prefix('[') {
        Some(inside) => {
            let (inside, inner) = zone_of(inside.strip_suffix(']')?)?;
            (inside, zone.or(inner))
        }
        None => (host, zone),
    };
    let address = if host == "*" { None } else { Some(host.parse().ok()?) };
    Some(Written { address, port, zone })
}

/// An address with the zone behind its `%`, if it has one: `fe80::1%12`.
pub(crate) fn zone_of(host: &str) -> Option<(&str, Option<&str>)> {
    // `[fe80::1%12]` keeps its zone inside of the brackets.
    match host.rsplit_once('%') {
        Some((_, zone)) if zone.ends_with(']') => Some((host, None)),
        Some((host, zone)) => (!zone.is_empty() && zone.len() <= 64).then_some((host, Some(zone))),
        None => Some((host, None)),
    }
}

/// A number without sign or blanks.
pub(crate) fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_is_read() {
        for (text, address, port, zone) in [
            ("0.0.0.0:80", Some("0.0.0.0"), 80, None),
            ("[::]:445", Some("::"), 445, None),
            (":::22", Some("::"), 22, None),
            ("::1:631", Some("::1"), 631, None),
            ("[fe80::1%12]:546", Some("fe80::1"), 546, Some("12")),
            ("[fe80::1]%eth0:546", Some("fe80::1"), 546, Some("eth0")),
            ("127.0.0.53%lo:53", Some("127.0.0.53"), 53, Some("lo")),
            ("::ffff:10.0.0.1:443", Some("::ffff:10.0.0.1"), 443, None),
            ("*:8080", None, 8080, None),
            ("*%eth0:68", None, 68, Some("eth0")),
            ("*:*", None, 0, None),
            ("0.0.0.0:*", Some("0.0.0.0"), 0, None),
        ] {
            let read = endpoint(text).unwrap_or_else(|| panic!("{text}"));
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(read, Written { address, port, zone }, "{text}");
        }
    }

    #[test]
    fn what_is_no_endpoint_in_numbers_is_none() {
        for text in [
            "",
            ":",
            "localhost:http",
            "1.2.3:80",
            "0.0.0.0:65536",
            "0.0.0.0:+80",
            "[::1:80",
            "x%:80",
            "12:34:56",
        ] {
            assert_eq!(endpoint(text), None, "{text}");
        }
    }
}
