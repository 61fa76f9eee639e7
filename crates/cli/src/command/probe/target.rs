//! Hosts as they are typed: a name, an address, a block of addresses, each with a port behind it where one is meant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most addresses of one block.
const MOST_ADDRESSES: u32 = 65_536;

/// What was typed for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    pub(crate) hosts: Hosts,
    /// The port behind it.
    pub(crate) ports: Option<String>,
}

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hosts {
    Name(String),
    Address(IpAddr),
    /// An IPv6 address with its interface.
    Scoped(Ipv6Addr, String),
    /// Every address of a block; without network and broadcast.
    Block(Vec<IpAddr>),
}

impl Typed {
    /// Reads `dc1`, `dc1:389`, `10.0.0.7`, `10.0.0.0/24`, `[::1]:80`, `fe80::1%eth0`, `[fe80::1%eth0]:80`. The error says what to type.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let only = |hosts| Ok(Self { hosts, ports: None });
        if let Ok(address) = text.parse::<IpAddr>() {
            return only(Hosts::Address(address));
        }
        if let Some((address, prefix)) = text.split_once('/')
            && let Ok(address) = address.parse::<IpAddr>()
        {
            return only(Hosts::Block(block(text, address, prefix)?));
        }
        if let Some((address, interface)) = text.split_once('%')
            && let Ok(address) = address.parse::<Ipv6Addr>()
            && !interface.is_empty()
        {
            return only(Hosts::Scoped(address, interface.to_owned()));
        }
        let (host, ports) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, rest)) => {
                let hosts = in_brackets(address)?;
                return match rest.strip_prefix(':') {
                    None if rest.is_empty() => only(hosts),
                    Some(ports) if !ports.is_empty() => Ok(Self { hosts, ports: Some(ports.to_owned()) }),
                    _ => Err(format!("'{text}' is no [ADDRESS]:PORT")),
                };
            }
            None => match text.split_once(':') {
                Some((host, ports)) => (host, Some(ports.to_owned())),
                None => (text, None),
            },
        };
        let hosts = match host.parse::<IpAddr>() {
            Ok(address) => Hosts::Address(address),
            Err(_) if is_name(host) => Hosts::Name(host.to_owned()),
            Err(_) => {
                return Err(format!(
                    "'{text}' is no host; type a name, an address or a block such as 10.0.0.0/24"
                ));
            }
        };
        match ports {
            Some(ports) if ports.is_empty() || ports.starts_with('/') || ports.contains(':') => Err(format!(
                "'{text}' is no HOST:PORT; an IPv6 address with a port stands in brackets: '[::1]:80'"
            )),
            ports => Ok(Self { hosts, ports }),
        }
    }
}

/// What stands in brackets: an IPv6 address, with its interface where it needs one.
fn in_brackets(text: &str) -> Result<Hosts, String> {
    let (address, interface) = text.split_once('%').map_or((text, None), |(a, b)| (a, Some(b)));
    let address: Ipv6Addr = address.parse().map_err(|_| format!("'{text}' is no IPv6 address"))?;
    match interface {
        None => Ok(Hosts::Address(address.into())),
        Some("") => Err(format!("'{text}' names no interface; type it as in [{address}%eth0]")),
        Some(interface) => Ok(Hosts::Scoped(address, interface.to_owned())),
    }
}

/// RFC 1035 has 253 characters; what no name has is more likely a slip than a host.
fn is_name(host: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let numbers_alone = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    (1..=253).contains(&host.len())
        && host.chars().all(fits)
        && !host.starts_with(['-', '.'])
        && !numbers_alone
}

fn block(text: &str, address: IpAddr, prefix: &str) -> Result<Vec<IpAddr>, String> {
    let width: u32 = if address.is_ipv4() { 32 } else { 128 };
    let length: u32 = prefix
        .parse()
        .ok()
        .filter(|length| *length <= width && prefix.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(|| format!("'{text}' is no block; its length is 0 to {width}"))?;
    let free = width - length;
    if free > MOST_ADDRESSES.ilog2() {
        let least = width - MOST_ADDRESSES.ilog2();
        return Err(format!(
            "'{text}' has more than 65,536 addresses; ask for blocks of /{least} and longer"
        ));
    }
    let count = 1_u32 << free;
    // The first names the network and the last all its hosts, but in a block of one or two.
    let (first, last) = if address.is_ipv4() && free > 1 { (1, count - 1) } else { (0, count) };
    Ok((first..last)
        .map(|index| match address {
            IpAddr::V4(v4) => {
                Ipv4Addr::from_bits((u64::from(v4.to_bits()) >> free << free) as u32 | index).into()
            }
            IpAddr::V6(v6) => {
                let network = if free == 128 { 0 } else { v6.to_bits() >> free << free };
                Ipv6Addr::from_bits(network | u128::from(index)).into()
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Hosts, Option<String>) {
        let typed = Typed::parse(text).unwrap();
        (typed.hosts, typed.ports)
    }

    #[test]
    fn hosts_are_read_as_they_are_typed() {
        let address = |text: &str| Hosts::Address(text.parse().unwrap());
        assert_eq!(read("dc1"), (Hosts::Name("dc1".into()), None));
        assert_eq!(
            read("dc1.corp.example:389,636"),
            (Hosts::Name("dc1.corp.example".into()), Some("389,636".into()))
        );
        assert_eq!(read("10.0.0.7:80-90"), (address("10.0.0.7"), Some("80-90".into())));
        assert_eq!(read("2001:db8::1"), (address("2001:db8::1"), None));
        assert_eq!(read("[2001:db8::1]:53/udp"), (address("2001:db8::1"), Some("53/udp".into())));
        assert_eq!(read("[::1]"), (address("::1"), None));
        let scoped = Hosts::Scoped("fe80::1".parse().unwrap(), "eth0".into());
        assert_eq!(read("fe80::1%eth0"), (scoped.clone(), None));
        assert_eq!(read("[fe80::1%eth0]"), (scoped.clone(), None));
        assert_eq!(read("[fe80::1%eth0]:80,443"), (scoped, Some("80,443".into())));
    }

    #[test]
    fn a_block_is_its_hosts() {
        let count = |text: &str| match read(text).0 {
            Hosts::Block(addresses) => {
                (addresses.len(), addresses[0].to_string(), addresses.last().unwrap().to_string())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(count("10.0.0.77/24"), (254, "10.0.0.1".into(), "10.0.0.254".into()));
        assert_eq!(count("10.0.0.7/32"), (1, "10.0.0.7".into(), "10.0.0.7".into()));
        assert_eq!(count("10.0.0.6/31"), (2, "10.0.0.6".into(), "10.0.0.7".into()));
        assert_eq!(count("10.0.0.0/16").0, 65_534);
        assert_eq!(count("2001:db8::/126"), (4, "2001:db8::".into(), "2001:db8::3".into()));
    }

    #[test]
    fn what_is_no_host_is_refused_with_what_to_type() {
        for (text, part) in [
            ("", "is no host"),
            ("a b", "is no host"),
            ("10.0.0", "is no host"),
            ("10.0.0.0/33", "0 to 32"),
            ("10.0.0.0/8", "ask for blocks of /16"),
            ("2001:db8::/64", "ask for blocks of /112"),
            ("http://db", "no HOST:PORT"),
            ("db:", "no HOST:PORT"),
            ("[x]:80", "no IPv6 address"),
            ("[x%eth0]:80", "no IPv6 address"),
            ("[fe80::1%]:80", "as in [fe80::1%eth0]"),
            ("-x", "is no host"),
        ] {
            let error = Typed::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
