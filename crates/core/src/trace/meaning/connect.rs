//! connect(): what kept a connection from coming about, here or on the way.
//!
//! Source: connect(2), `net/ipv4/route.c` (`__mkroute_output`, `fib_props`), `net/ipv6/route.c` (`fib6_prop`),
//! `net/ipv4/tcp_ipv4.c` (no groups), `net/ipv4/tcp_input.c` (`tcp_conn_request`: a full accept queue drops what asks). An
//! error that this machine's own routes give is told as theirs only where the way there was looked at.

use std::net::{IpAddr, SocketAddr};

use super::{Meaning, Seen, canonical, no_port};
use crate::kernel::route::RouteKind;
use crate::snapshot::{Snapshot, System};
use crate::socket::{Socket, State, Transport};
use crate::trace::{Call, Outcome};
use crate::wording;

/// Who closes a socket sooner than that has not waited for an answer.
const PATIENCE_NS: u64 = 1_000_000_000;
/// What takes that long is told with how long it took.
const WORTH_TELLING_NS: u64 = 100_000_000;

/// A call that failed, by the plain name of its error.
pub(super) fn failed(call: &Call, name: &str, system: System, seen: &Seen) -> Option<Meaning> {
    let windows = system == System::Windows;
    match name {
        "EADDRNOTAVAIL" if !windows && no_port::lacks_source(call) => {
            return Some(no_port::no_source(call, seen));
        }
        "EADDRNOTAVAIL" if !windows => return Some(no_port::to_connect(call, seen)),
        "EADDRINUSE" | "ENOBUFS" if windows => return Some(no_port::to_connect(call, seen)),
        // A UDP socket that connects is given a port first.
        "EAGAIN" if call.transport != Some(Transport::Tcp) => return Some(no_port::to_connect(call, seen)),
        "ETIMEDOUT" => return Some(unanswered(call, seen)),
        "ECONNREFUSED" => return Some(refused(call, seen)),
        _ => {}
    }
    let host = call.remote.map(|remote| remote.ip().to_canonical());
    let shown = shown(host);
    if !windows && let Some(text) = here(call, name, seen) {
        return Some(Meaning::new(text, host.map(|host| format!("ip route get {host}"))));
    }
    let after = after(call);
    let leads_there = seen.route.is_some_and(|route| route.kind.leads_there());
    let text = match name {
        "EHOSTUNREACH" => format!(
            "{shown} was not reached{after}: the host does not answer on its network, or a router or firewall \
             rejects"
        ),
        "ENETUNREACH" if leads_there => {
            format!("a router or a firewall said{after} that no route leads to {shown}")
        }
        "ENETUNREACH" => {
            let command = host.map(|host| format!("portolan probe {host}"));
            return Some(Meaning::new(format!("no route leads to {shown}"), command));
        }
        "EACCES" if windows => return None,
        "EACCES" if leads_there => format!("a firewall or a security module prohibits {shown}"),
        "EACCES" => format!("a route or a firewall prohibits {shown}, or it is a broadcast address"),
        "EPERM" => format!("this machine's own firewall or a BPF program refused to send to {shown}"),
        "EINVAL" if windows => format!("the address {shown} is invalid for this socket"),
        // The kernel reads no address that is too short.
        "EINVAL" if host.is_none() => "the program gave an address that is too short".to_owned(),
        "EINVAL" if leads_there => {
            format!("the socket's own address does not lead to {shown}, or the socket cannot be connected so")
        }
        "EINVAL" => format!(
            "a route of this machine drops what goes to {shown} (blackhole), or the address is invalid"
        ),
        "ECONNRESET" => format!("{shown} broke the connection off before it came about"),
        _ => return None,
    };
    Some(Meaning::new(text, probe(call)))
}

/// What this machine itself refuses, before anything is sent.
fn here(call: &Call, name: &str, seen: &Seen) -> Option<String> {
    let to = call.remote?.ip().to_canonical();
    let kind = seen.route.map(|route| route.kind);
    let tcp = call.transport == Some(Transport::Tcp);
    let from = call.local.map(|local| local.ip().to_canonical());
    // What comes from elsewhere takes its time.
    let at_once =
        matches!(call.outcome, Outcome::Failed(_)) && call.took_ns.is_none_or(|took| took < WORTH_TELLING_NS);
    if !at_once {
        return None;
    }
    let of_route = |kind: RouteKind| format!("nothing was sent to {to}: {}", kind.meaning());
    Some(match (name, kind) {
        ("ENETUNREACH", _) if tcp && to.is_multicast() => {
            format!("{to} is a group, and TCP connects to single hosts alone")
        }
        ("ENETUNREACH", Some(RouteKind::Broadcast)) if tcp => {
            format!("{to} is a broadcast address, and TCP connects to single hosts alone")
        }
        ("EACCES", Some(RouteKind::Broadcast)) => {
            format!("{to} is a broadcast address, which needs SO_BROADCAST")
        }
        ("EINVAL", _) if is_link_local(to) => {
            format!("{to} is a link-local address, and the program did not say on which interface")
        }
        ("EHOSTUNREACH", Some(kind @ RouteKind::Unreachable))
        | ("EINVAL", Some(kind @ RouteKind::Blackhole))
        | ("EACCES", Some(kind @ RouteKind::Prohibit)) => of_route(kind),
        ("EINVAL", Some(RouteKind::Unicast)) if from.is_some_and(|from| from.is_loopback()) => {
            let from = from.map_or_else(String::new, |from| from.to_string());
            format!(
                "the socket is bound to {from}, and from there only this machine itself is reached, not {to}"
            )
        }
        _ => return None,
    })
}

/// IPv6's addresses that mean nothing without an interface.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local() || (v6.is_multicast() && v6.segments()[0] & 0xf == 2),
    }
}

/// A connection that nobody answered: it ran out of time, or the program gave it up.
pub(super) fn unanswered(call: &Call, seen: &Seen) -> Meaning {
    let given_up = call.outcome == Outcome::GivenUp;
    let host = call.remote.map(|remote| remote.ip().to_canonical());
    let after = call.took_ns.map_or_else(String::new, |ns| format!(" after {}", span(ns)));
    if let Some(remote) = call.remote.map(canonical)
        && is_own(remote.ip(), seen)
        && let Some((reason, holds)) = on_this_machine(remote, seen)
    {
        // A quick program says nothing about this machine.
        if holds || !is_quick(call) {
            let end = if given_up { "the program gave up" } else { "it timed out" };
            return Meaning::new(format!("{reason}; {end}{after}"), Some(who(remote, call)));
        }
    }
    let text = if is_quick(call) {
        format!("the program closed the socket{after}, before an answer came: it did not wait for one")
    } else if given_up {
        format!(
            "nobody answered, and the program gave up{after}: packets are dropped on the way, or the host is down"
        )
    } else {
        let shown = shown(host);
        format!(
            "{shown} did not answer{}: packets are dropped on the way, or the host is down",
            self::after(call)
        )
    };
    Meaning::new(text, probe(call))
}

fn is_quick(call: &Call) -> bool {
    call.outcome == Outcome::GivenUp && call.took_ns.is_some_and(|ns| ns < PATIENCE_NS)
}

/// What stands at an end of this machine that did not answer, where its listeners were looked at; and whether that is
/// the reason for certain.
fn on_this_machine(to: SocketAddr, seen: &Seen) -> Option<(String, bool)> {
    let snapshot = seen.snapshot.as_ref()?;
    let Some(listener) = listener(snapshot, to) else {
        return Some((
            format!(
                "{to} is this machine's, and nobody listens there now; a firewall of this machine drops what asks, \
                 or else it would have been refused"
            ),
            false,
        ));
    };
    let who = wording::holder(listener, snapshot);
    let (waiting, most) = (listener.receive_queue, listener.send_queue);
    Some(match waiting > most {
        true => (
            format!(
                "{who} does not accept fast enough on {to} of this machine: {waiting} wait in its accept queue, with a \
                 backlog of {most}"
            ),
            true,
        ),
        false => (
            format!(
                "{who} listens on {to} of this machine and did not answer: its accept queue was full then ({waiting} \
                 wait now, with a backlog of {most}), or a firewall of this machine drops"
            ),
            false,
        ),
    })
}

/// Who listens at an end: on the address itself before all addresses.
fn listener(snapshot: &Snapshot, to: SocketAddr) -> Option<&Socket> {
    let listens = |socket: &&Socket| {
        let on = socket.local_address().to_canonical();
        socket.transport == Transport::Tcp
            && socket.state == State::Listen
            && socket.local_port == to.port()
            && (on == to.ip() || on.is_unspecified())
    };
    let found = snapshot.sockets.iter().filter(listens);
    found.max_by_key(|socket| (!socket.local_address().is_unspecified(), socket.receive_queue))
}

/// Nobody listens there: on this machine that can be looked at.
fn refused(call: &Call, seen: &Seen) -> Meaning {
    let Some(remote) = call.remote.map(canonical) else {
        return Meaning::new("the other end refused: nobody listens there, or a firewall rejects", None);
    };
    if !is_own(remote.ip(), seen) {
        let text = format!(
            "{} refused: nobody listens on {} there, or a firewall rejects",
            remote.ip(),
            remote.port()
        );
        return Meaning::new(text, probe(call));
    }
    Meaning::new(format!("nobody listens on {remote} of this machine"), Some(who(remote, call)))
}

fn is_own(address: IpAddr, seen: &Seen) -> bool {
    address.is_loopback()
        || address.is_unspecified()
        || seen.route.is_some_and(|route| route.kind == RouteKind::Local)
}

fn shown(host: Option<IpAddr>) -> String {
    host.map_or_else(|| "the other end".to_owned(), |host| host.to_string())
}

/// ` after 3 s`, where it took that long.
fn after(call: &Call) -> String {
    let later = call.took_ns.filter(|ns| *ns >= WORTH_TELLING_NS);
    later.map_or_else(String::new, |ns| format!(" after {}", span(ns)))
}

/// `20 ms`, `0.2 s`, `12 s`.
fn span(ns: u64) -> String {
    let tenths = ns / 100_000_000;
    match tenths {
        0 => format!("{} ms", ns / 1_000_000),
        1..100 => format!("{}.{} s", tenths / 10, tenths % 10),
        _ => wording::duration(ns / 1_000_000),
    }
}

/// `portolan who PORT`.
fn who(remote: SocketAddr, call: &Call) -> String {
    let udp = if call.transport == Some(Transport::Udp) { "/udp" } else { "" };
    format!("portolan who {}{udp}", remote.port())
}

/// `portolan probe HOST -p PORT`.
fn probe(call: &Call) -> Option<String> {
    let remote = call.remote?;
    let udp = if call.transport == Some(Transport::Udp) { " --udp" } else { "" };
    Some(format!("portolan probe {} -p {}{udp}", remote.ip().to_canonical(), remote.port()))
}
