//! `not-accepted`: a program listens and does not accept, and the other side has given up already.
//!
//! Source: listen(2), accept(2); Linux gives a connection to a process when that accepts it (`net/ipv4/inet_connection_sock.c`).

use std::collections::BTreeMap;

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::snapshot::Snapshot;
use crate::socket::{Socket, State, Transport};
use crate::{cause, remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "not-accepted", title: "a program does not accept its connections", doc: DOC, check };

const DOC: &str = "\
The kernel finishes a connection's handshake by itself and queues it at the listener until the program accepts it.
Until then it is no process' connection, and the usual tools show it without an owner. When a hundred of them have
been ended by the other side (CLOSE_WAIT), clients have given up waiting: the program hangs, waits for a lock, a
database or a free worker, or was stopped (SIGSTOP, a debugger). Clients see a server that takes connections and says
nothing; once the queue is full, one that does not answer at all.

What to do: look at what the program waits for (its log, gdb, perf, strace); restart it if need be. A longer queue
(the backlog of listen, net.core.somaxconn) only makes more clients wait.
";

/// So many that were given up on are no accident.
const MANY: usize = 100;
/// Listeners that are told.
const SHOWN: usize = 5;

fn check(case: &Case<'_>) -> Vec<Finding> {
    if case.census.is_none() {
        return Vec::new();
    }
    let mut waiting: BTreeMap<u16, Vec<&Socket>> = BTreeMap::new();
    for socket in case.snapshot.sockets.iter().filter(|socket| cause::is_unaccepted(case.snapshot, socket)) {
        waiting.entry(socket.local_port).or_default().push(socket);
    }
    let given_up = |sockets: &[&Socket]| sockets.iter().filter(|s| s.state == State::CloseWait).count();
    let mut stuck: Vec<(u16, usize, Vec<&Socket>)> =
        waiting.into_iter().map(|(port, sockets)| (port, given_up(&sockets), sockets)).collect();
    stuck.retain(|(_, given_up, _)| *given_up >= MANY);
    stuck.sort_by_key(|(_, given_up, _)| std::cmp::Reverse(*given_up));
    stuck
        .iter()
        .take(SHOWN)
        .map(|(port, given_up, sockets)| finding(case.snapshot, *port, *given_up, sockets))
        .collect()
}

fn finding(snapshot: &Snapshot, port: u16, given_up: usize, sockets: &[&Socket]) -> Finding {
    let listeners: Vec<&Socket> = snapshot
        .sockets
        .iter()
        .filter(|s| s.transport == Transport::Tcp && s.is_listening() && s.local_port == port)
        .collect();
    let who = match listeners[..] {
        [] => "Whoever listens there".to_owned(),
        [first, ..] => wording::holder(first, snapshot),
    };
    let summary = format!(
        "{who} does not accept its connections on port {port}: {} wait, {given_up} of them given up by the \
         other side (CLOSE_WAIT).",
        sockets.len()
    );
    let few = sockets.iter().filter(|socket| socket.state == State::CloseWait).take(3);
    let restart = listeners
        .first()
        .and_then(|socket| remedy::restart(snapshot, crate::census::User::of(snapshot, socket)));
    Finding::new(&RULE, Severity::Warning, summary)
        .with_evidence(listeners.iter().take(3).map(|socket| wording::socket(socket, snapshot)))
        .with_evidence(few.map(|socket| wording::socket(socket, snapshot)))
        .with_remedies([
            Remedy::advice("look at what the program waits for: a lock, a database, its last free worker"),
            Remedy::command("see its listener, with its queue", format!("portolan who {port}")),
        ])
        .with_remedies(restart)
}
