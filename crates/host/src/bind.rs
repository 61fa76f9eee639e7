//! The bind trial: may this port be had, asked of the kernel itself and let go at once.
//!
//! It never disturbs a running service. A TCP trial binds and does not listen, so it takes no connection. A UDP trial
//! without options succeeds only where no other socket is in the way, so it takes nobody's datagrams; one with
//! SO_REUSEADDR could (as could `bind(0)` with it, which shares ports in silence) and is made only on a port that the
//! table shows without any holder. On Windows the same holds for TCP, where that option takes a port over, and for a
//! plain UDP trial on one address while somebody holds all of them. While it lasts, some microseconds, a service that
//! binds just then meets it.

use std::net::{IpAddr, SocketAddr};

use portolan_core::conflict;
use portolan_core::diagnose::{Outcome, Question, Reuse, Trial};
use portolan_core::kernel::error_code;
use portolan_core::snapshot::Snapshot;
use portolan_core::socket::{Socket, Transport};

use crate::sys::{self, Refusal};
use crate::{Error, Namespace};

/// Tries to bind as asked, plain and with SO_REUSEADDR, on each address of the question. `seen` is a look at the
/// sockets of that port, taken just before: where a trial would disturb a running service, the table answers.
///
/// # Errors
/// The namespace cannot be entered, or the caller may not act as the user of the question.
pub fn trial(namespace: &Namespace, question: &Question, seen: &Snapshot) -> Result<Vec<Trial>, Error> {
    sys::within(namespace, || sys::as_user(question.uid, || every_trial(question, seen)))?
}

fn every_trial(question: &Question, seen: &Snapshot) -> Vec<Trial> {
    conflict::addresses(question)
        .into_iter()
        .flat_map(|address| {
            [Reuse::Plain, Reuse::ReuseAddress].map(|reuse| one_trial(question, address, reuse, seen))
        })
        .collect()
}

fn one_trial(question: &Question, address: IpAddr, reuse: Reuse, seen: &Snapshot) -> Trial {
    let endpoint = SocketAddr::new(address, question.port.map_or(0, u16::from));
    if let Some(reason) = would_disturb(question, address, reuse, seen) {
        return Trial { address: endpoint, reuse, outcome: Outcome::NotTried { reason }, inferred: true };
    }
    let (address, outcome) =
        match sys::try_bind(question.transport, endpoint, interface_of(address, seen), reuse) {
            Ok(bound) => (bound, Outcome::Bound),
            Err(refusal) => (endpoint, meaning(question, refusal)),
        };
    Trial { address, reuse, outcome, inferred: false }
}

/// Why this trial could take something from a running service; none where it cannot.
fn would_disturb(question: &Question, address: IpAddr, reuse: Reuse, seen: &Snapshot) -> Option<String> {
    let takes_over = sys::REUSE_TAKES_OVER && reuse == Reuse::ReuseAddress;
    // Where a socket of a wildcard lets a bind to one of its addresses in, as Windows does, its datagrams go there.
    let takes_datagrams = question.transport == Transport::Udp
        && (reuse == Reuse::ReuseAddress || (sys::REUSE_TAKES_OVER && !address.is_unspecified()));
    if !takes_over && !takes_datagrams {
        return None;
    }
    let Some(port) = question.port else {
        return (reuse == Reuse::ReuseAddress).then(|| {
            format!(
                "with SO_REUSEADDR the system may give a {} port that a running service uses",
                question.transport.name().to_ascii_uppercase()
            )
        });
    };
    let of_port =
        |socket: &&Socket| socket.transport == question.transport && socket.local_port == port.number();
    let mut holders = seen.sockets.iter().filter(of_port);
    let holder = match reuse {
        Reuse::ReuseAddress => holders.next()?,
        Reuse::Plain if holders.clone().any(|socket| socket.local_address() == address) => return None,
        Reuse::Plain => holders.find(|socket| socket.is_wildcard())?,
    };
    let held = format!("{} is held, and a trial", holder.local());
    Some(match (sys::REUSE_TAKES_OVER, reuse) {
        (true, Reuse::Plain) => format!("{held} on one of its addresses would take its datagrams meanwhile"),
        (true, Reuse::ReuseAddress) => {
            format!("{held} with SO_REUSEADDR would take it over, as that option does on this system")
        }
        (false, _) => format!(
            "{held} with SO_REUSEADDR could take its datagrams; it binds only if that socket set SO_REUSEADDR too, \
             which the system does not show"
        ),
    })
}

/// The interface of a link-local IPv6 address, without which the system does not bind it.
fn interface_of(address: IpAddr, seen: &Snapshot) -> Option<&str> {
    let IpAddr::V6(v6) = address else { return None };
    let local = seen.addresses.iter().find(|local| local.address == address);
    local.filter(|_| v6.is_unicast_link_local()).map(|local| local.interface.as_str())
}

/// A refusal as an answer about the port. What fails before bind says nothing about it (too many open files; a host
/// without IPv6 where nobody asked for it by name), except that an address of a missing family cannot be had.
fn meaning(question: &Question, refusal: Refusal) -> Outcome {
    let Refusal { call, code, no_such_family } = refusal;
    let name = error_code::name_of(sys::SYSTEM, code);
    if call == "bind" || (no_such_family && question.address.is_some()) {
        return Outcome::Refused { call: call.to_owned(), name, code };
    }
    let what =
        if no_such_family { "this host has no such address family" } else { "no socket could be made" };
    Outcome::NotTried { reason: format!("{what}: {call} gives {name} ({code})") }
}
