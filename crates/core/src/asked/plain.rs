//! Targets as they are typed: a port, with an address before it and a transport after it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Asked, AskedError, Target, scan, shortened};
use crate::diagnose::Question;
use crate::kernel::services::Services;
use crate::port::Port;
use crate::socket::Transport;

/// The word for whichever port the system gives, as `bind` with port 0 asks; 0 itself is more often a mistake.
const ANY: &str = "any";

/// The target in its one-word form, where the text is short enough to be one: `8080 udp` is `8080/udp`.
pub(super) fn as_typed(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().take(3).collect();
    match words.as_slice() {
        [word] if word.is_ascii() => Some((*word).to_owned()),
        [port, transport] | [transport, port] if transport.parse::<Transport>().is_ok() => {
            Some(format!("{port}/{transport}"))
        }
        _ => None,
    }
}

/// Reads one word.
pub(super) fn parse(text: &str, services: &Services) -> Result<Asked, AskedError> {
    let (endpoint, transport) = split_transport(text)?;
    let (host, port) = split_host(endpoint)?;
    let mut notes = Vec::new();
    let address = address_of(host, endpoint, &mut notes)?;
    let (port, transport) = match port {
        ANY => (None, transport.unwrap_or(Transport::Tcp)),
        _ => {
            let (port, transport) = port_of(port, transport, services, &mut notes)?;
            (Some(port), transport)
        }
    };
    let question = Question { transport, port, address, uid: None };
    Ok(Asked { target: Target::Local(question), told: None, notes })
}

/// Takes `/udp`, `udp/`, `udp:` or a URL's scheme off.
fn split_transport(text: &str) -> Result<(&str, Option<Transport>), AskedError> {
    if let Some((scheme, rest)) = text.split_once("://") {
        let endpoint = rest.split('/').next().unwrap_or_default();
        return Ok((endpoint, Some(scheme.parse().unwrap_or(Transport::Tcp))));
    }
    if let Some((scheme, endpoint)) = text.split_once([':', '/'])
        && let Ok(transport) = scheme.parse()
    {
        return Ok((endpoint, Some(transport)));
    }
    let Some((endpoint, transport)) = text.rsplit_once('/') else { return Ok((text, None)) };
    match transport.parse() {
        Ok(transport) => Ok((endpoint, Some(transport))),
        Err(_) => Err(AskedError(format!(
            "'{}' is no transport; type {endpoint}/tcp or {endpoint}/udp",
            shortened(transport),
            endpoint = shortened(endpoint),
        ))),
    }
}

/// Splits `address:port`; the host is empty where there is none.
fn split_host(endpoint: &str) -> Result<(&str, &str), AskedError> {
    if let Some(rest) = endpoint.strip_prefix('[') {
        let Some((host, port)) = rest.split_once(']') else {
            return Err(AskedError(format!("'{}' lacks its ]; type [::1]:8080", shortened(endpoint))));
        };
        return match port.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None => Err(without_port(endpoint)),
        };
    }
    let Some((host, port)) = endpoint.rsplit_once(':') else {
        let lone = scan::address(endpoint).is_some();
        return if lone { Err(without_port(endpoint)) } else { Ok(("", endpoint)) };
    };
    if host.contains(':') && host != "::" {
        return Err(match (host.parse::<Ipv6Addr>(), port.parse::<Port>()) {
            (Ok(_), Ok(_)) => AskedError(format!(
                "'{}' may be an address alone; type [{host}]:{port} for port {port}, or [{}]:PORT",
                shortened(endpoint),
                shortened(endpoint)
            )),
            _ if scan::address(endpoint).is_some() => without_port(&format!("[{}]", shortened(endpoint))),
            _ => AskedError(format!("'{}' is no address and port; type [::1]:8080", shortened(endpoint))),
        });
    }
    Ok((host, port))
}

fn without_port(address: &str) -> AskedError {
    let address = shortened(address);
    AskedError(format!("'{address}' names no port; add it, as in {address}:8080"))
}

/// The address to bind; none for every address.
fn address_of(host: &str, endpoint: &str, notes: &mut Vec<String>) -> Result<Option<IpAddr>, AskedError> {
    if matches!(host, "" | "*" | "+") {
        return Ok(None);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(Some(Ipv4Addr::LOCALHOST.into()));
    }
    if host.contains('%') {
        notes.push(format!("the zone of {} is not looked at", shortened(host)));
    }
    match scan::address(host) {
        Some(address) => Ok(Some(address)),
        None if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
            Err(AskedError(format!("'{}' is no IPv4 address; type 127.0.0.1:8080", shortened(host))))
        }
        None => Err(AskedError(format!(
            "'{}' is no address of this machine; type the port alone or address:port, as in 127.0.0.1:8080 \
             (not {})",
            shortened(host),
            shortened(endpoint)
        ))),
    }
}

/// The port by number or by service name; a name decides the transport where none was typed.
fn port_of(
    port: &str,
    transport: Option<Transport>,
    services: &Services,
    notes: &mut Vec<String>,
) -> Result<(Port, Transport), AskedError> {
    let or_tcp = transport.unwrap_or(Transport::Tcp);
    if port.bytes().all(|b| b.is_ascii_digit()) {
        let error = |error| AskedError(format!("{error}; type one, as in `portolan why 8080`"));
        return port.parse().map(|port| (port, or_tcp)).map_err(error);
    }
    if let Some((first, last)) = port.split_once('-')
        && let (Ok(first), Ok(_)) = (first.parse::<u32>(), last.parse::<u32>())
    {
        return Err(AskedError(format!(
            "'{}' is a range, and why asks about one port; type {first}",
            shortened(port)
        )));
    }
    let tried = transport.map_or(Transport::ALL.to_vec(), |transport| vec![transport]);
    let found = tried.into_iter().find_map(|t| services.port(t, port).map(|number| (number, t)));
    let Some((number, transport)) = found else {
        return Err(AskedError(format!(
            "'{}' is neither a port (1 to 65535) nor a known service; type one, as in `portolan why 8080`",
            shortened(port)
        )));
    };
    notes.push(format!("{} is {number}/{transport}", shortened(port)));
    Ok((number, transport))
}
