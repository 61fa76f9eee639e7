//! Ports as they are typed for another host: `22,80-90,http,53/udp,ldap/both`, in the order given, each once.

use std::collections::HashSet;

use portolan_core::kernel::services::Services;
use portolan_core::port::{Port, PortRange};
use portolan_core::probe;
use portolan_core::socket::Transport;

use crate::text::nearest;

/// A port with its transport.
pub(crate) type Wanted = (Transport, u16);

/// Reads a list of ports; what names no transport is of `transports`. The error says what to type.
pub(crate) fn parse(
    text: &str,
    transports: &[Transport],
    services: &Services,
) -> Result<Vec<Wanted>, String> {
    let mut wanted = Vec::new();
    for item in text.split(',').map(str::trim) {
        if item.is_empty() {
            return Err(format!("'{text}' has an empty place; type ports as in: 22,80-90,http,53/udp"));
        }
        let (item, transports) = match item.rsplit_once('/') {
            Some((item, "both")) => (item, &Transport::ALL[..]),
            Some((item, "tcp")) => (item, &[Transport::Tcp][..]),
            Some((item, "udp")) => (item, &[Transport::Udp][..]),
            Some((_, other)) => return Err(format!("'{other}' is no transport; use tcp, udp or both")),
            None => (item, transports),
        };
        one(item, transports, services, &mut wanted)?;
    }
    Ok(once(wanted))
}

/// Each port once, where it stands first.
pub(crate) fn once(wanted: Vec<Wanted>) -> Vec<Wanted> {
    let mut seen = HashSet::new();
    wanted.into_iter().filter(|port| seen.insert(*port)).collect()
}

/// A port, a range, a name, or `all`.
fn one(
    item: &str,
    transports: &[Transport],
    services: &Services,
    wanted: &mut Vec<Wanted>,
) -> Result<(), String> {
    let of_all = |ports: std::ops::RangeInclusive<u16>, wanted: &mut Vec<Wanted>| {
        wanted.extend(ports.flat_map(|port| transports.iter().map(move |transport| (*transport, port))));
    };
    if item == "all" {
        of_all(1..=u16::MAX, wanted);
        return Ok(());
    }
    if item.starts_with(|c: char| c.is_ascii_digit()) && item.contains('-') {
        let range: PortRange = item.parse().map_err(|error| format!("{error}"))?;
        let (first, last) = (range.ports().next().map(Port::number), range.ports().last().map(Port::number));
        of_all(first.unwrap_or(1)..=last.unwrap_or(1), wanted);
        return Ok(());
    }
    if item.starts_with(|c: char| c.is_ascii_digit()) {
        let port: Port = item.parse().map_err(|error| format!("{error}"))?;
        of_all(port.number()..=port.number(), wanted);
        return Ok(());
    }
    let before = wanted.len();
    for &transport in transports {
        let port = services.port(transport, item).map(Port::number);
        wanted.extend(port.or_else(|| by_protocol(transport, item)).map(|port| (transport, port)));
    }
    if wanted.len() > before {
        return Ok(());
    }
    let names = services.names().map(|(_, _, name)| name).chain(probe::PROBES.iter().map(|probe| probe.id));
    let words: Vec<&str> = transports.iter().map(|transport| transport.name()).collect();
    let other = Transport::ALL.into_iter().find(|other| {
        !transports.contains(other)
            && (services.port(*other, item).is_some() || by_protocol(*other, item).is_some())
    });
    let hint = match other {
        Some(other) => format!("; type {item}/{}", other.name()),
        None => nearest(item, names).map_or_else(String::new, |name| format!("; did you mean {name}?")),
    };
    Err(format!("'{item}' names no {} port{hint}; ports are 1 to 65535", words.join(" or ")))
}

/// Systems without a services file know the protocols that we speak.
fn by_protocol(transport: Transport, name: &str) -> Option<u16> {
    let homes = probe::PROBES.iter().flat_map(|protocol| {
        let named = protocol.id == name || protocol.aliases.contains(&name);
        protocol.homes.iter().filter(move |home| named || home.service == name)
    });
    homes.into_iter().find(|home| home.via.transport() == transport).map(|home| home.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &[Transport] = &[Transport::Tcp];

    fn read(text: &str, transports: &[Transport]) -> Result<Vec<String>, String> {
        let services = Services::parse("http 80/tcp www\nldap 389/tcp\nldap 389/udp\ntime 37/tcp");
        let wanted = parse(text, transports, &services)?;
        Ok(wanted.into_iter().map(|(transport, port)| format!("{port}/{transport}")).collect())
    }

    #[test]
    fn ports_keep_the_order_in_which_they_were_typed() {
        assert_eq!(
            read("443,22,80-82,22", TCP).unwrap(),
            ["443/tcp", "22/tcp", "80/tcp", "81/tcp", "82/tcp"]
        );
        assert_eq!(read("www,53/udp,ldap/both", TCP).unwrap(), ["80/tcp", "53/udp", "389/tcp", "389/udp"]);
        assert_eq!(read("7", &Transport::ALL).unwrap(), ["7/tcp", "7/udp"]);
        assert_eq!(read("domain", TCP).unwrap(), ["53/tcp"], "our own table knows it");
        assert_eq!(read("all", TCP).unwrap().len(), 65535);
    }

    #[test]
    fn what_is_no_port_is_refused_with_what_to_type() {
        for (text, part) in [
            ("", "empty place"),
            ("80,,90", "empty place"),
            ("0", "port 0 names no port"),
            ("70000", "too large"),
            ("90-80", "type 80-90"),
            ("htp", "did you mean http?"),
            ("80/icmp", "use tcp, udp or both"),
            ("time/udp", "names no udp port"),
        ] {
            let error = read(text, TCP).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
