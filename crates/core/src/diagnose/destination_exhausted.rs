//! `destination-exhausted`: no port left for connections to one destination.

use super::{Case, Finding, Rule, Severity};
use crate::census::{Towards, User};
use crate::remedy;
use crate::snapshot::Snapshot;
use crate::socket::State;

pub(super) const RULE: Rule = Rule {
    id: "destination-exhausted",
    title: "no port left for connections to one destination",
    doc: DOC,
    check,
};

const DOC: &str = "\
An outgoing TCP connection gets its local port from the ephemeral range. A port may serve several connections, but
only one to each destination (address and port) from each source address. When every port is reserved, bound
explicitly, or in use to that one destination, connect fails with EADDRNOTAVAIL (\"cannot assign requested
address\"; Windows: WSAEADDRINUSE or WSAENOBUFS), while other destinations still answer. So it looks like a fault of
the other side. A socket may have a range of its own (IP_LOCAL_PORT_RANGE), and without an address to connect from the
error is the same: portolan trace tells these apart.

Portolan counts by the kernel's own rules. Room that the system does not show is told as a range, and only what is
certain is called exhausted. Less than a tenth of the ports left is a warning.

What to do, in this order: mend a leak, if one program holds connections it no longer needs; reuse connections
instead of opening new ones; spread over more source or destination addresses; widen the range, which only gives
time.
";

/// Destinations that are told.
const SHOWN: usize = 5;

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(census) = case.census else { return Vec::new() };
    let scarce = |towards: &&Towards| {
        let given = towards.left.ports - towards.left.reserved;
        towards.left.room.max * 10 <= given && towards.left.used > 0
    };
    let found = census.towards.iter().filter(scarce).take(SHOWN);
    found.map(|towards| finding(case.snapshot, towards)).collect()
}

fn finding(snapshot: &Snapshot, towards: &Towards) -> Finding {
    let (left, tuple) = (&towards.left, towards.tuple);
    let way = format!("{} to {}", tuple.source, tuple.destination);
    let (severity, summary) = match left.room.max {
        0 => (Severity::Error, format!("No port is left for TCP connections from {way}.")),
        room => (
            Severity::Warning,
            format!("Only {room} of {} ports are left for TCP connections from {way}.", left.ports),
        ),
    };
    let states: Vec<String> =
        towards.states.each().map(|(state, count)| format!("{count} {state}")).collect();
    let users = towards.users.iter().take(4).filter(|(user, _)| *user != User::TimeWait);
    let users = users.map(|(user, count)| format!("{count} held by {}", user.name(snapshot)));
    let waiting = towards.states.of(State::TimeWait);
    let likely = towards.likely_client(snapshot).filter(|_| waiting > 0).map(|client| {
        format!(
            "{waiting} in TIME_WAIT were in all likelihood those of {client}: nobody else is connected there"
        )
    });
    let numbers = format!(
        "{}: {} reserved, {} bound explicitly, {} in use to it ({})",
        left.range,
        left.reserved,
        left.burnt,
        left.used,
        states.join(", ")
    );
    Finding::new(&RULE, severity, summary)
        .with_evidence([numbers])
        .with_evidence(users)
        .with_evidence(likely)
        .with_remedies(remedy::make_room(snapshot))
}
