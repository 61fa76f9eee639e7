//! /etc/services: names of ports.
//!
//! Source: services(5). Transports besides TCP and UDP are left out.

use std::collections::BTreeMap;

use crate::port::Port;
use crate::socket::Transport;

/// Names of ports, and ports of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    names: BTreeMap<(Transport, u16), String>,
    ports: BTreeMap<(Transport, String), Port>,
}

impl Services {
    /// Reads the file; a line that is no service is passed over, and the first one of a port or name counts.
    pub fn parse(text: &str) -> Self {
        let mut services = Self::default();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or("").split_whitespace();
            let (Some(name), Some(port)) = (words.next(), words.next()) else { continue };
            let Some((port, transport)) = port.split_once('/') else { continue };
            let (Ok(port), Ok(transport)) = (port.parse::<Port>(), transport.parse::<Transport>()) else {
                continue;
            };
            services.names.entry((transport, port.number())).or_insert_with(|| name.to_owned());
            for known in std::iter::once(name).chain(words) {
                services.ports.entry((transport, known.to_owned())).or_insert(port);
            }
        }
        services
    }

    /// The name of a port.
    pub fn name(&self, transport: Transport, port: u16) -> Option<&str> {
        self.names.get(&(transport, port)).map(String::as_str)
    }

    /// The port of a name or an alias.
    pub fn port(&self, transport: Transport, name: &str) -> Option<Port> {
        self.ports.get(&(transport, name.to_owned())).copied()
    }

    /// Every port with its name.
    pub fn names(&self) -> impl Iterator<Item = (Transport, u16, &str)> {
        self.names.iter().map(|((transport, port), name)| (*transport, *port, name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // From Debian's netbase 6.4, with odd lines added.
    const TEXT: &str = "# Network services\ntcpmux\t\t1/tcp\t\t\t\t# TCP port service multiplexer\n\
        http\t\t80/tcp\t\twww\t\t# WorldWideWeb HTTP\nhttps\t\t443/tcp\nhttps\t\t443/udp\t\t\t\t# HTTP/3\n\
        odd\nodd 99\nodd 0/tcp\nodd 70000/tcp\nsctp 5/sctp\nsecond 80/tcp\n";

    #[test]
    fn names_and_ports_are_found_both_ways() {
        let services = Services::parse(TEXT);
        assert_eq!(services.name(Transport::Tcp, 80), Some("http"));
        assert_eq!(services.name(Transport::Udp, 80), None);
        assert_eq!(services.port(Transport::Tcp, "www").map(Port::number), Some(80));
        assert_eq!(services.port(Transport::Udp, "https").map(Port::number), Some(443));
        assert_eq!(services.port(Transport::Tcp, "odd"), None);
        assert_eq!(services.names().count(), 4);
    }
}
