//! `outgoing-connection`: a client of this host got the port as the near end of its connection.

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::cause::{self, Role, in_the_way};
use crate::port::{PortRange, PortSet};
use crate::range::ReservationKind;
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "outgoing-connection", title: "a connection that goes out uses the port", doc: DOC, check };

const DOC: &str = "\
A program of this host has connected to somewhere else, and the system gave that connection this port as its local
end. Nobody serves the port, but a server cannot bind it until the connection has ended. SO_REUSEADDR does not
help, since a client seldom sets it.

It happens only to ports inside the ephemeral range (see in-ephemeral-range), and by chance: the server starts a
hundred times and fails once. Portolan takes a connection for an outgoing one when its local port lies in that range
and the other end's does not, or while it is still being made. The other end's port is not what is held.

What to do now: wait until the connection ends, close it (portolan close), or end the program. For good: reserve the
port, so that the system never gives it away by itself; a server may still bind a reserved port. Or move the server
below the range. The connection occupies its own local address alone, so a bind to another address works.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let sockets = in_the_way(case, &[Role::Outgoing]);
    let (Some(first), Some(port)) = (sockets.first(), question.port) else { return Vec::new() };
    let who = wording::holder(first, case.snapshot);
    let more = match sockets.len() {
        1 => String::new(),
        n => format!(", and so do {}", wording::counted(n - 1, "more connection")),
    };
    let summary = format!(
        "An outgoing connection of {who} uses {port}/{} as its local port{more}.",
        question.transport
    );
    let kind = ReservationKind::Administered;
    let reserved =
        cause::is_reserved(case.snapshot, question.transport, &[first.family], port.number(), kind);
    let set = PortSet::from(PortRange::single(port));
    let reserve =
        (!reserved && !case.snapshot.ranges.is_empty()).then(|| remedy::reserve(case.snapshot, &set));
    vec![
        Finding::new(&RULE, Severity::Error, summary)
            .with_evidence(wording::sockets(&sockets, case.snapshot))
            .with_evidence(wording::trials(case.trials))
            .with_remedies([Remedy::command(
                "wait until it ends, then ask again",
                remedy::ask_again(question),
            )])
            .with_remedies(remedy::release(case.snapshot, question, &sockets))
            .with_remedies(reserve),
    ]
}
