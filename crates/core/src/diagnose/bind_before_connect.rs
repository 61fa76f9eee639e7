//! `bind-before-connect`: a client binds before it connects, and so burns ports for every destination.

use std::collections::BTreeMap;

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::cause;
use crate::census::User;
use crate::port::PortSet;
use crate::socket::{Socket, State, Transport};

pub(super) const RULE: Rule =
    Rule { id: "bind-before-connect", title: "a client binds before it connects", doc: DOC, check };

const DOC: &str = "\
A port that connect chooses serves every destination once. A port that was bound before, even with port 0, serves
the one connection alone: the kernel passes it over for all others. A client that binds its source address (proxies,
load balancers) so shares one range among all of its destinations. SO_REUSEADDR does not help.

Which ports those are stands in no table of the system; Portolan reads it as root, by BPF. Where it could not, this
finding stays silent.

What to do: set IP_BIND_ADDRESS_NO_PORT before the bind (nginx and HAProxy do so by themselves where the kernel has
it): the address is kept, and the port is left to connect.
";

/// From so many on it is a way of working, and no accident.
const MANY: u32 = 100;

fn check(case: &Case<'_>) -> Vec<Finding> {
    let snapshot = case.snapshot;
    let (Some(census), Some(burnt)) = (case.census, &snapshot.burnt) else { return Vec::new() };
    let burnt: PortSet = burnt.iter().copied().collect();
    let Some((_, left)) = census.elsewhere.first().filter(|_| burnt.len() >= MANY) else { return Vec::new() };
    // Ports of listeners are burnt by them, with those of the connections that they accepted.
    let has_peer = |socket: &&Socket| {
        socket.transport == Transport::Tcp
            && burnt.contains(socket.local_port)
            && socket.remote_port != 0
            && socket.state != State::SynReceived
    };
    let listening: PortSet =
        snapshot.sockets.iter().filter(|s| s.is_listening()).fold(PortSet::new(), |mut ports, socket| {
            ports.insert(socket.local_port);
            ports
        });
    let mut users: BTreeMap<User, u32> = BTreeMap::new();
    for socket in snapshot.sockets.iter().filter(has_peer).filter(|s| !listening.contains(s.local_port)) {
        *users.entry(User::of(snapshot, socket)).or_default() += 1;
    }
    let count: u32 = users.values().sum();
    if count < MANY || cause::is_windows(snapshot) {
        return Vec::new();
    }
    let mut users: Vec<(User, u32)> = users.into_iter().collect();
    users.sort_by_key(|(user, count)| (std::cmp::Reverse(*count), *user));
    let given = left.ports - left.reserved;
    // A tenth of the ports gone for everybody is worth a warning.
    let severity = if count * 10 >= given { Severity::Warning } else { Severity::Note };
    let who = users.first().map(|(user, _)| user.name(snapshot)).unwrap_or_default();
    let summary = format!("{who} binds before it connects: {count} ports are burnt for every destination.");
    let evidence = users.iter().take(5).map(|(user, count)| format!("{count} with {}", user.name(snapshot)));
    let room = format!(
        "{} to {} of {} ports are left for any other destination",
        left.room.min, left.room.max, left.ports
    );
    let no_port =
        "set IP_BIND_ADDRESS_NO_PORT before the bind: the address is kept, the port left to connect";
    vec![
        Finding::new(&RULE, severity, summary)
            .with_evidence(evidence)
            .with_evidence([room])
            .with_remedies([Remedy::advice(no_port), Remedy::advice("do not bind before connect at all")]),
    ]
}
