//! A call that the system had no port, or no address, to give for.
//!
//! Source: Linux `tcp_v4_connect`, `tcp_v6_connect` (a source address is chosen before the state becomes SYN_SENT, a port
//! after it; without either the call fails with EADDRNOTAVAIL), `inet_autobind` (UDP: EAGAIN), ip(7)
//! (IP_LOCAL_PORT_RANGE). So the call itself tells what it lacked, whatever is seen afterwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Meaning, Seen, canonical};
use crate::port::PortRange;
use crate::room::{self, Ask, Left};
use crate::snapshot::Snapshot;
use crate::socket::{Family, Transport};
use crate::trace::{Call, OwnRange};

/// bind() or listen() that was to be given any port.
pub(super) fn to_give(call: &Call, seen: &Seen) -> Meaning {
    let transport = call.transport.unwrap_or(Transport::Tcp);
    let local = call.local.map(|local| local.ip());
    let on = local.filter(|ip| !ip.is_unspecified()).map_or_else(String::new, |ip| format!(" on {ip}"));
    let ask = local.map(|source| Ask { transport, call: room::Call::Bind, source, destination: None });
    let udp = if transport == Transport::Udp { " --udp" } else { "" };
    let told = text(call, seen, &format!("to give to {transport}{on}"), "in use", ask);
    Meaning { rule: Some("range-exhausted"), ..Meaning::new(told, format!("portolan budget --bind{udp}")) }
}

/// connect() that a port was to be found for.
pub(super) fn to_connect(call: &Call, seen: &Seen) -> Meaning {
    let Some(remote) = call.remote.map(canonical) else {
        return Meaning::new(text(call, seen, "for it", "in use", None), "portolan budget".to_owned());
    };
    if call.transport == Some(Transport::Udp) {
        let told = text(call, seen, "for UDP", "in use", asked(call, remote, Transport::Udp));
        let command = "portolan budget --udp".to_owned();
        return Meaning { rule: Some("range-exhausted"), ..Meaning::new(told, command) };
    }
    let command = format!("portolan budget --to {}", quoted(remote));
    if let Some(local) = call.local.filter(|local| local.port() != 0) {
        let text = format!(
            "{} is connected to {remote} already, and a connection needs two ends of its own",
            canonical(local)
        );
        return Meaning::new(text, command);
    }
    let source = call.local.map(|local| local.ip().to_canonical()).filter(|ip| !ip.is_unspecified());
    let from = source.map_or_else(String::new, |source| format!("from {source} "));
    let ask = asked(call, remote, Transport::Tcp);
    let told = text(call, seen, &format!("{from}to {remote}"), "in use to it", ask);
    Meaning { rule: Some("destination-exhausted"), ..Meaning::new(told, command) }
}

/// Whether a connect() that found no address available (Linux: EADDRNOTAVAIL) lacked one to send from: TCP is given it
/// before a port is looked for, and UDP's other error for want of a port is EAGAIN.
pub fn lacks_source(call: &Call) -> bool {
    call.transport == Some(Transport::Udp) || call.local.is_none_or(|local| local.ip().is_unspecified())
}

/// connect() that the machine had no address for to send from.
pub(super) fn no_source(call: &Call, seen: &Seen) -> Meaning {
    let Some(to) = call.remote.map(|remote| remote.ip().to_canonical()) else {
        return Meaning::new(
            "no address of this machine could be used to connect from; it is no lack of ports",
            None,
        );
    };
    let family = Family::of(to);
    let option = if family == Family::Ipv6 { "-6" } else { "-4" };
    let command = format!("ip {option} address");
    let known = seen.snapshot.as_ref().map(|seen| &seen.addresses).filter(|known| !known.is_empty());
    let of_family = known.map(|known| known.iter().filter(|own| Family::of(own.address) == family).count());
    let named = named(family);
    let text = match of_family {
        Some(0) if family == Family::Ipv6 => format!(
            "this machine has no {named} address to connect to {to} from; IPv6 may be switched off \
             (net.ipv6.conf.*.disable_ipv6)"
        ),
        Some(0) => format!("this machine has no {named} address to connect to {to} from"),
        Some(_) => format!(
            "no {named} address of this machine could be used towards {to}: those that it has are on other interfaces, \
             are still being tried out (tentative), or came since; it is no lack of ports"
        ),
        None => {
            format!("no {named} address of this machine could be used towards {to}; it is no lack of ports")
        }
    };
    Meaning::new(text, command)
}

const fn named(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    }
}

/// That no port was left, of which range, and how it stands now. `what`: for whom; `in_use`: what keeps a port from it.
fn text(call: &Call, seen: &Seen, what: &str, in_use: &str, ask: Option<Ask>) -> String {
    let snapshot = seen.snapshot.as_ref();
    let system = snapshot.zip(ask).and_then(|(seen, ask)| room::of(seen, &ask));
    if let OwnRange::Of { first, last } = call.own_range {
        const OWN: &str = "the socket's own range (IP_LOCAL_PORT_RANGE)";
        let range = system.as_ref().and_then(|system| call.own_range.within(system.range));
        let narrowed = snapshot.zip(range).map(|(seen, range)| narrowed(seen, range));
        let left = narrowed.zip(ask).and_then(|(seen, ask)| room::of(&seen, &ask));
        return match (left, system) {
            (Some(own), _) if own.room.min > 0 => format!(
                "no port of {}, {OWN}, was left {what}; since then {} of these are free again",
                own.range, own.room.min
            ),
            (Some(own), Some(system)) => format!(
                "no port of {}, {OWN}, is left {what}; the system's {} has {} left",
                own.range, system.range, system.room.min
            ),
            _ if first != 0 && last != 0 => format!("no port of {first}-{last}, {OWN}, was left {what}"),
            _ => format!("no port of {OWN} was left {what}"),
        };
    }
    match system {
        Some(left) if left.room.min > 0 && call.own_range == OwnRange::Unseen => format!(
            "no port was left {what}, of the system's range or of one of the socket's own (IP_LOCAL_PORT_RANGE); now {} \
             of {} are free",
            left.room.min, left.range
        ),
        // What was in use when the call failed may have been closed before anybody looked.
        Some(left) if left.room.min > 0 => {
            format!("no port was left {what}; since then {} of {} are free again", left.room.min, left.range)
        }
        Some(left) => format!("no port is left {what}: {}", numbers(&left, in_use)),
        None => format!("no port of the ephemeral range was left {what}"),
    }
}

fn asked(call: &Call, remote: SocketAddr, transport: Transport) -> Option<Ask> {
    // What a mapped address is connected to takes a port of IPv6's, which is the same range.
    let wildcard = match Family::of(remote.ip()) {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let source = call.local.map_or(wildcard, |local| local.ip());
    Some(Ask { transport, call: room::Call::Connect, source, destination: Some(remote) })
}

/// The same machine, where ports are given from that range alone.
fn narrowed(seen: &Snapshot, range: PortRange) -> Snapshot {
    let mut narrowed = seen.clone();
    for given in &mut narrowed.ranges {
        given.range = range;
    }
    narrowed
}

/// `100 ports of 40000-40099, 0 reserved, 3 bound explicitly, 97 in use to it`.
fn numbers(left: &Left, in_use: &str) -> String {
    format!(
        "{} ports of {}, {} reserved, {} bound explicitly, {} {in_use}",
        left.ports, left.range, left.reserved, left.burnt, left.used
    )
}

/// An IPv6 address is a pattern to a shell.
fn quoted(end: SocketAddr) -> String {
    if end.is_ipv6() { format!("\"{end}\"") } else { end.to_string() }
}
