//! `held-by-process`: one program holds the port. Several sockets on one endpoint are `held-by-several`.

use super::{Case, Finding, Question, Remedy, Rule, Severity};
use crate::cause::{Role, in_the_way};
use crate::owner::Owner;
use crate::range::CarrierKind;
use crate::snapshot::Snapshot;
use crate::socket::{OwnerState, Socket, State};
use crate::{conflict, remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "held-by-process", title: "a program holds the port", doc: DOC, check };

const DOC: &str = "\
A running program holds the port on an address that you need. It is named with its process id, how long it has
been running, and the systemd unit or container it belongs to. Where a parent and its children share one socket,
as web servers do, the parent is named and the others are counted.

Addresses matter. A program on 0.0.0.0 stands in the way of every IPv4 address, one on [::] in the way of IPv6 and,
unless it set IPV6_V6ONLY, of IPv4 as well; one on 127.0.0.1 alone still stands in the way of 0.0.0.0. The option
SO_REUSEADDR does not help against a listener. Connections that the program has accepted use the same port: after
it stops, the last of them can keep the port from a plain bind for up to a minute.

What to do: stop the program through what started it (systemctl, docker), so that it is not started again, or end
the process. portolan free does either, and shows first whom that hits. Where it holds one address alone, another
address of this host is free for you.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let listeners = in_the_way(case, &[Role::Listener]);
    let single = |socket: &&&Socket| listeners.iter().filter(|other| same_place(other, socket)).count() == 1;
    let mut programs: Vec<(&Owner, Vec<&Socket>)> = Vec::new();
    for &socket in listeners.iter().filter(single) {
        let owners = case.snapshot.owners_of(socket);
        let Some(lead) = wording::lead(&owners) else { continue };
        if socket.owner_state != OwnerState::Seen || is_for_a_unit(case.snapshot, socket, lead) {
            continue;
        }
        match programs.iter_mut().find(|(owner, _)| owner.pid == lead.pid) {
            Some((_, sockets)) => sockets.push(socket),
            None => programs.push((lead, vec![socket])),
        }
    }
    programs.into_iter().map(|(lead, sockets)| finding(case, question, lead, &sockets)).collect()
}

fn same_place(a: &Socket, b: &Socket) -> bool {
    a.local() == b.local()
}

/// Whether pid 1 holds it for a socket unit: that is told by `socket-unit`.
fn is_for_a_unit(snapshot: &Snapshot, socket: &Socket, lead: &Owner) -> bool {
    lead.pid == 1
        && snapshot.carriers.iter().any(|carrier| {
            carrier.kind == CarrierKind::SocketUnit
                && carrier.transport == socket.transport
                && carrier.ports.contains(socket.local_port)
        })
}

fn finding(case: &Case<'_>, question: &Question, lead: &Owner, sockets: &[&Socket]) -> Finding {
    let snapshot = case.snapshot;
    let others = sockets.iter().map(|socket| snapshot.owners_of(socket).len()).max().unwrap_or(1) - 1;
    let others = match others {
        0 => String::new(),
        n => format!(" and {}", wording::counted(n, "more process")),
    };
    let summary = format!(
        "{} is held by {}{others}{}.",
        wording::target(question),
        wording::process(lead),
        wording::running(lead, snapshot)
    );
    Finding::new(&RULE, Severity::Error, summary)
        .with_evidence(wording::sockets(sockets, snapshot))
        .with_evidence(processes(snapshot, lead, sockets))
        .with_evidence(connections(case))
        .with_evidence(wording::trials(case.trials))
        .with_remedies(other_address(snapshot, question, sockets))
        .with_remedies(remedy::another_port(question))
        .with_remedies(remedy::release(snapshot, question, sockets))
}

/// The process with its user and command, and those that have the same sockets, at most twenty by name.
fn processes(snapshot: &Snapshot, lead: &Owner, sockets: &[&Socket]) -> Vec<String> {
    let mut others: Vec<&Owner> = sockets.iter().flat_map(|socket| snapshot.owners_of(socket)).collect();
    others.retain(|owner| owner.pid != lead.pid);
    others.sort_unstable_by_key(|owner| owner.pid);
    others.dedup_by_key(|owner| owner.pid);
    let mut lines: Vec<String> = wording::user_and_command(lead).into_iter().collect();
    if !others.is_empty() {
        let mut names: Vec<String> = others.iter().take(20).map(|owner| wording::process(owner)).collect();
        if others.len() > 20 {
            names.push(format!("{} more", others.len() - 20));
        }
        lines.push(format!("shared with {}", wording::listed(&names)));
    }
    lines
}

/// The connections that will outlive the listener for a while.
fn connections(case: &Case<'_>) -> Option<String> {
    let accepted = in_the_way(case, &[Role::Accepted]);
    let waiting = accepted.iter().filter(|socket| socket.state == State::TimeWait).count();
    (!accepted.is_empty()).then(|| {
        format!(
            "{} of a listener of this port, {waiting} of them in TIME_WAIT: when it stops they keep the port from a \
             plain bind until they end",
            wording::counted(accepted.len(), "connection")
        )
    })
}

/// Another address of this host, where the sockets hold one address each and nobody asked for a certain one.
fn other_address(snapshot: &Snapshot, question: &Question, sockets: &[&Socket]) -> Option<Remedy> {
    let port = question.port?;
    if question.address.is_some() || sockets.iter().any(|socket| socket.is_wildcard()) {
        return None;
    }
    let free = snapshot.addresses.iter().map(|local| local.address).find(|address| {
        let bind = conflict::Bind::new(question.transport, *address, port.number()).on(snapshot.host.system);
        let taken = |s: &Socket| bind.beside(s, super::Reuse::Plain) != conflict::Answer::Free;
        !address.is_loopback() && !snapshot.sockets.iter().any(taken)
    })?;
    let text = format!("it holds one address alone: bind {free} instead of all");
    Some(Remedy::command(text, remedy::why(question.transport, port.number(), Some(free))))
}
