//! `syn-sent-pile-up`: connections wait for an answer that does not come: no exhaustion.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::census::User;
use crate::socket::State;

pub(super) const RULE: Rule =
    Rule { id: "syn-sent-pile-up", title: "the other side does not answer", doc: DOC, check };

const DOC: &str = "\
SYN_SENT means: a connection was asked for, and nobody has answered, neither yes nor no. Many to one destination are
no sign that ports run out here: the other side is down, too slow to take connections (its accept queue is full), or
a firewall on the way drops them. Each keeps its port until it gives up, after about two minutes.

portolan budget --try tells silence from a refusal.

What to do: look at the other side and the way there; let the program give up sooner.
";

/// So many to one destination are no accident.
const MANY: u32 = 50;

fn check(case: &Case<'_>) -> Vec<Finding> {
    let snapshot = case.snapshot;
    // One pass more, only where there is something to find.
    if case.census.is_none_or(|census| census.tcp.of(State::SynSent) < MANY) {
        return Vec::new();
    }
    let mut waiting: HashMap<SocketAddr, (u32, User)> = HashMap::new();
    for socket in snapshot.sockets.iter().filter(|socket| socket.state == State::SynSent) {
        waiting.entry(socket.remote()).or_insert((0, User::of(snapshot, socket))).0 += 1;
    }
    let mut waiting: Vec<_> = waiting.into_iter().filter(|(_, (count, _))| *count >= MANY).collect();
    waiting.sort_by_key(|(to, (count, _))| (std::cmp::Reverse(*count), *to));
    let finding = |(to, (count, user)): (SocketAddr, (u32, User))| {
        let summary = format!(
            "{to} does not answer: {count} connections wait for it (SYN_SENT). Ports are not the cause."
        );
        Finding::new(&RULE, Severity::Warning, summary)
            .with_evidence([format!("the first is of {}", user.name(snapshot))])
            .with_remedies([
                Remedy::command("make one connection, as evidence", format!("portolan budget --try {to}")),
                Remedy::advice("look at the other side and the firewalls on the way there"),
            ])
    };
    waiting.into_iter().take(5).map(finding).collect()
}
