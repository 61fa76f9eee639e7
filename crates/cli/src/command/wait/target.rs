//! What is waited for, as it was typed: a port of this machine, or a host with a port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use portolan_core::port::Port;
use portolan_core::socket::Transport;

/// A port of this machine or of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Its host; none for this machine, whose kernel can be asked.
    pub(super) host: Option<Host>,
    pub(super) port: Port,
    pub(super) transport: Transport,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Address(IpAddr),
    Name(String),
}

impl Target {
    /// Reads `8080`, `:8080`, `53/udp`, `db:5432`, `10.0.0.7:80`, `[::1]:80/tcp`. The error says what to type.
    pub(super) fn parse(text: &str, transport: Option<Transport>) -> Result<Self, String> {
        let (place, suffix) = match text.rsplit_once('/') {
            Some((place, suffix)) => (place, Some(suffix.parse::<Transport>()?)),
            None => (text, None),
        };
        if let (Some(suffix), Some(option)) = (suffix, transport)
            && suffix != option
        {
            return Err(format!(
                "'{text}' is of {suffix}, and --transport says {option}: leave one of them out"
            ));
        }
        let transport = suffix.or(transport).unwrap_or(Transport::Tcp);
        let (host, port) = match place.rsplit_once(':') {
            None | Some(("", _)) => (None, place.trim_start_matches(':')),
            Some((host, port)) => (Some(Self::host(text, host)?), port),
        };
        let example = "type a port as in: portolan wait 8080 --for listening";
        let port = port.parse::<Port>().map_err(|error| format!("{error}; {example}"))?;
        if host.is_some() && transport == Transport::Udp {
            return Err("a UDP port of a host does not tell whether it is open: wait for a TCP port of it, \
                        or for a UDP port of this machine, as in: portolan wait 53/udp --for listening"
                .to_owned());
        }
        Ok(Self { host, port, transport })
    }

    fn host(text: &str, host: &str) -> Result<Host, String> {
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if let Some(address) = address {
            let address = address.parse().map_err(|_| format!("'{address}' is no IPv6 address"))?;
            return Ok(Host::Address(IpAddr::V6(address)));
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return match address {
                IpAddr::V4(_) => Ok(Host::Address(address)),
                IpAddr::V6(_) => Err(format!("an IPv6 address stands in brackets, as in: '[{host}]:80'")),
            };
        }
        // RFC 1035 has 253 characters; what no name has is more likely a slip than a host.
        let fits = |c: char| !c.is_whitespace() && !c.is_control() && !"/:[]@".contains(c);
        if host.len() > 253 || !host.chars().all(fits) {
            return Err(format!("'{text}' is no HOST:PORT; type it as in: portolan wait db.example:5432"));
        }
        Ok(Host::Name(host.to_owned()))
    }

    /// Whether the kernel of this machine can be asked.
    pub(super) const fn is_local(&self) -> bool {
        self.host.is_none()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, transport } = self;
        match host {
            None => write!(f, "{port}/{transport}"),
            Some(Host::Name(name)) => write!(f, "{name}:{port}/{transport}"),
            Some(Host::Address(address)) => {
                write!(f, "{}/{transport}", SocketAddr::new(*address, port.number()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_hosts_are_read_as_they_are_typed() {
        for (text, shown) in [
            ("8080", "8080/tcp"),
            (":8080", "8080/tcp"),
            ("53/udp", "53/udp"),
            ("db.example:5432", "db.example:5432/tcp"),
            ("localhost:80/tcp", "localhost:80/tcp"),
            ("10.0.0.7:80", "10.0.0.7:80/tcp"),
            ("[::1]:80", "[::1]:80/tcp"),
        ] {
            assert_eq!(Target::parse(text, None).unwrap().to_string(), shown);
        }
        assert_eq!(Target::parse("53", Some(Transport::Udp)).unwrap().to_string(), "53/udp");
    }

    #[test]
    fn what_is_neither_is_refused_with_what_to_type() {
        for (text, transport, part) in [
            ("0", None, "port 0 names no port"),
            ("http", None, "portolan wait 8080"),
            ("db:http", None, "'http' is not a port number"),
            ("80/icmp", None, "use tcp or udp"),
            ("80/udp", Some(Transport::Tcp), "leave one of them out"),
            ("db:53/udp", None, "does not tell"),
            ("db:53", Some(Transport::Udp), "does not tell"),
            ("::1:80", None, "'[::1]:80'"),
            ("[x]:80", None, "no IPv6 address"),
            ("http://db:80", None, "no transport"),
            ("a b:80", None, "HOST:PORT"),
        ] {
            let error = Target::parse(text, transport).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
