//! What a failing call means, in one line, and what to type next.
//!
//! bind() and listen() are put to the rules behind `why`, as if the call had been its trial bind; connect() is counted
//! by [`crate::room`]. Where nobody looked at the machine the code alone speaks, and says less.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use schemars::JsonSchema;
use serde::Serialize;

use super::{Call, Kind, Outcome};
use crate::diagnose::{self, Case, Question, Reuse, Severity, Trial, diagnose};
use crate::kernel::error_code;
use crate::port::Port;
use crate::remedy;
use crate::room::{self, Ask, Left};
use crate::snapshot::{Snapshot, System};
use crate::socket::{Family, Transport};
use crate::wording;

/// What a call means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Meaning {
    /// One sentence without a full stop; what it says of processes is hostile text.
    pub text: String,
    /// What to type next.
    pub command: Option<String>,
    /// The rule that found it, as `portolan explain` knows it.
    pub rule: Option<&'static str>,
}

impl Meaning {
    fn new(text: impl Into<String>, command: Option<String>) -> Self {
        Self { text: text.into(), command, rule: None }
    }
}

/// What a call means, by its code and, where somebody has looked at its network namespace since, by what was seen
/// there. None for a call that came about.
pub fn meaning(call: &Call, system: System, seen: Option<&Snapshot>) -> Option<Meaning> {
    let code = match call.outcome {
        Outcome::Done => return None,
        Outcome::GivenUp => return Some(given_up(call)),
        Outcome::Failed(code) | Outcome::FailedLater(code) => code,
    };
    let name = error_code::name_of(system, code);
    let plain = name.strip_prefix("WSA").unwrap_or(&name);
    let found = match call.kind {
        Kind::Bind | Kind::Listen => {
            seen.and_then(|seen| by_rules(call, seen, &name, code)).or_else(|| of_bind(call, plain, system))
        }
        Kind::Connect => of_connect(call, plain, system, seen),
    };
    Some(found.unwrap_or_else(|| {
        let known = error_code::by_code(system, code).map(|known| known.meaning.to_owned());
        Meaning::new(known.unwrap_or_else(|| format!("the system says {name}")), None)
    }))
}

/// The first rule that explains it, taking the call for the trial bind of `why`.
fn by_rules(call: &Call, seen: &Snapshot, name: &str, code: i32) -> Option<Meaning> {
    let local = call.local?;
    let question = Question {
        transport: call.transport?,
        port: Port::new(local.port()),
        address: Some(local.ip()),
        uid: call.uid,
    };
    let refused = diagnose::Outcome::Refused { call: "bind".to_owned(), name: name.to_owned(), code };
    let trials = [Trial { address: local, reuse: Reuse::Plain, outcome: refused, inferred: false }];
    let findings = diagnose(&Case::asked(seen, &question, &trials));
    let found = findings.into_iter().find(|finding| finding.severity == Severity::Error)?;
    let text = found.summary.trim_end_matches('.').to_owned();
    let command = match question.port {
        Some(_) => Some(remedy::ask_again(&question)),
        None => found.remedies.iter().find_map(|remedy| remedy.command.clone()),
    };
    Some(Meaning { text, command, rule: Some(found.rule) })
}

/// bind() or listen(), by the code alone.
fn of_bind(call: &Call, name: &str, system: System) -> Option<Meaning> {
    let local = call.local;
    let port = local.map(|local| local.port()).filter(|port| *port != 0);
    let transport = call.transport.unwrap_or(Transport::Tcp);
    let address = local.map(|local| local.ip()).filter(|address| !address.is_unspecified());
    let why = port.map(|port| remedy::why(transport, port, address));
    let text = match (name, local, port) {
        ("EADDRINUSE", None, _) => "the address is in use; which one was not seen".to_owned(),
        ("EADDRINUSE", Some(_), Some(port)) => format!("{port}/{transport} is in use"),
        ("EADDRINUSE" | "ENOBUFS", Some(_), None) => {
            let text = format!("no port of the ephemeral range is left to give to {transport}");
            return Some(Meaning::new(text, Some("portolan why any".to_owned())));
        }
        ("EADDRNOTAVAIL", Some(local), _) => format!("{} is not an address of this host", local.ip()),
        ("EACCES", Some(_), Some(port)) if system == System::Windows => format!(
            "access denied: {port} lies in a range that the system set aside, is held exclusively, or is another user's"
        ),
        ("EACCES", Some(_), Some(port)) => {
            format!("permission denied: {port} is a privileged port, or a policy refuses it")
        }
        ("EPERM", ..) => "a BPF program or a security module refused it".to_owned(),
        ("EINVAL", ..) => "the socket is bound already, or the address lacks its interface".to_owned(),
        _ => return None,
    };
    Some(Meaning::new(text, why))
}

fn given_up(call: &Call) -> Meaning {
    let after = call.took_ns.map_or_else(String::new, |ns| format!(" after {}", span(ns)));
    Meaning::new(
        format!(
            "nobody answered, and the program gave up{after}: packets are dropped on the way, or the host is down"
        ),
        probe(call),
    )
}

/// `0.2 s`, `12 s`.
fn span(ns: u64) -> String {
    let tenths = ns / 100_000_000;
    match tenths {
        0..100 => format!("{}.{} s", tenths / 10, tenths % 10),
        _ => wording::duration(ns / 1_000_000),
    }
}

/// `portolan probe HOST -p PORT`.
fn probe(call: &Call) -> Option<String> {
    let remote = call.remote?;
    let udp = if call.transport == Some(Transport::Udp) { " --udp" } else { "" };
    Some(format!("portolan probe {} -p {}{udp}", remote.ip().to_canonical(), remote.port()))
}

fn of_connect(call: &Call, name: &str, system: System, seen: Option<&Snapshot>) -> Option<Meaning> {
    let windows = system == System::Windows;
    let no_port = match name {
        "EADDRNOTAVAIL" => !windows,
        "EADDRINUSE" | "ENOBUFS" => windows,
        // A UDP socket that connects is given a port first.
        "EAGAIN" => call.transport != Some(Transport::Tcp),
        _ => false,
    };
    if no_port {
        return Some(exhausted(call, seen));
    }
    let host = call.remote.map(|remote| remote.ip().to_canonical());
    let shown = host.map_or_else(|| "the other end".to_owned(), |host| host.to_string());
    let later = call.took_ns.filter(|ns| *ns >= 100_000_000);
    let after = later.map_or_else(String::new, |ns| format!(" after {}", span(ns)));
    let text = match name {
        "ECONNREFUSED" => return Some(refused(call, &shown, seen)),
        "ETIMEDOUT" => {
            format!("{shown} did not answer{after}: packets are dropped on the way, or the host is down")
        }
        "EHOSTUNREACH" => format!(
            "{shown} was not reached{after}: the host does not answer on its network, or a router or firewall \
             rejects"
        ),
        "ENETUNREACH" => {
            let command = host.map(|host| format!("portolan probe {host}"));
            return Some(Meaning::new(format!("no route leads to {shown}"), command));
        }
        "EACCES" if windows => return None,
        "EACCES" => format!("a route or a firewall prohibits {shown}, or it is a broadcast address"),
        "EPERM" => format!("this machine's own firewall or a BPF program refused to send to {shown}"),
        "EINVAL" => format!(
            "a route of this machine drops what goes to {shown} (blackhole), or the address is invalid"
        ),
        "ECONNRESET" => format!("{shown} broke the connection off before it came about"),
        _ => return None,
    };
    Some(Meaning::new(text, probe(call)))
}

/// Nobody listens there: on this machine that can be looked at.
fn refused(call: &Call, shown: &str, seen: Option<&Snapshot>) -> Meaning {
    let Some(remote) = call.remote else {
        return Meaning::new("the other end refused: nobody listens there, or a firewall rejects", None);
    };
    let ip = remote.ip().to_canonical();
    let is_own = ip.is_loopback()
        || ip.is_unspecified()
        || seen.is_some_and(|seen| seen.addresses.iter().any(|own| own.address == ip));
    if !is_own {
        return Meaning::new(
            format!("{shown} refused: nobody listens on {} there, or a firewall rejects", remote.port()),
            probe(call),
        );
    }
    let udp = if call.transport == Some(Transport::Udp) { "/udp" } else { "" };
    let command = format!("portolan who {}{udp}", remote.port());
    Meaning::new(
        format!("nobody listens on {} of this machine", SocketAddr::new(ip, remote.port())),
        Some(command),
    )
}

/// No port was left for it.
fn exhausted(call: &Call, seen: Option<&Snapshot>) -> Meaning {
    let transport = call.transport.unwrap_or(Transport::Tcp);
    if transport == Transport::Udp {
        let left = seen.and_then(|seen| room::of(seen, &asked(call, transport)?));
        let text = match left {
            Some(left) => format!("no port is left for UDP: {}", numbers(&left)),
            None => "no port of the ephemeral range is left for UDP".to_owned(),
        };
        return Meaning::new(text, Some("portolan budget --udp".to_owned()));
    }
    let to = call.remote.map_or_else(|| "there".to_owned(), |remote| canonical(remote).to_string());
    let command = call.remote.map(|remote| format!("portolan budget --to {}", quoted(canonical(remote))));
    if let Some(local) = call.local.filter(|local| local.port() != 0) {
        let text = format!(
            "{} is connected to {to} already, and a connection needs two ends of its own",
            canonical(local)
        );
        return Meaning::new(text, command);
    }
    let source = call.local.map(|local| local.ip().to_canonical()).filter(|ip| !ip.is_unspecified());
    let from = source.map_or_else(String::new, |source| format!("from {source} "));
    let left = seen.and_then(|seen| room::of(seen, &asked(call, transport)?));
    let text = match left {
        // What was in use when the call failed may have been closed before anybody looked.
        Some(left) if left.room.min > 0 => {
            format!(
                "no port was left {from}to {to}; since then {} of {} are free again",
                left.room.min, left.range
            )
        }
        Some(left) => format!("no port is left {from}to {to}: {}", numbers(&left)),
        None => format!("no port of the ephemeral range is left {from}to {to}"),
    };
    Meaning { rule: Some("destination-exhausted"), ..Meaning::new(text, command) }
}

fn asked(call: &Call, transport: Transport) -> Option<Ask> {
    let remote = call.remote.map(canonical);
    let family = remote.map(|remote| remote.ip()).or(call.local.map(|local| local.ip())).map(Family::of)?;
    let wildcard = match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let source = call.local.map_or(wildcard, |local| local.ip());
    Some(Ask { transport, call: room::Call::Connect, source, destination: remote })
}

/// `100 ports of 40000-40099, 0 reserved, 3 bound explicitly, 97 in use to it`.
fn numbers(left: &Left) -> String {
    format!(
        "{} ports of {}, {} reserved, {} bound explicitly, {} in use to it",
        left.ports, left.range, left.reserved, left.burnt, left.used
    )
}

fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

/// An IPv6 address is a pattern to a shell.
fn quoted(end: SocketAddr) -> String {
    if end.is_ipv6() { format!("\"{end}\"") } else { end.to_string() }
}
