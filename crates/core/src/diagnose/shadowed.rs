//! `shadowed`: another socket takes a part of the traffic, though both can be bound.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Case, Finding, Question, Remedy, Reuse, Rule, Severity};
use crate::cause::{self, Word, neighbours};
use crate::conflict::{Answer, Bind, overlap};
use crate::snapshot::Snapshot;
use crate::socket::{Family, Socket, Transport};
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "shadowed", title: "another socket takes a part of the traffic", doc: DOC, check };

const DOC: &str = "\
Two programs can have the same port without either being refused, and then one of them gets traffic that was meant for
the other. The system gives a packet to the socket that fits best: a specific address before the wildcard, one
interface before all, an IPv4 wildcard before a dual-stack [::].

Two programs on one port of different families are the other case: 0.0.0.0 and a v6-only [::], or 127.0.0.1 and
[::1]. No conflict, but the name localhost means both addresses, and most clients try ::1 first. So a browser
on this host talks to one program and curl -4 to the other.

Windows lets 127.0.0.1 be bound while another program holds 0.0.0.0, and the other way round: the
specific address wins. Only SO_EXCLUSIVEADDRUSE or another user prevents that.

For a question this rule names a listener that would take a part of your traffic although the bind succeeds; on the
chart it lists pairs of listeners of different programs of which one covers the other.

What to do: stop the other one, or give the two different ports. If both are one service, let one program bind
both families. Say 127.0.0.1 or [::1] instead of localhost.
";

/// Listeners of one port that are compared in pairs on the chart; more come only from SO_REUSEPORT groups.
const COMPARED: usize = 64;

fn check(case: &Case<'_>) -> Vec<Finding> {
    match case.question {
        Some(question) => {
            let near: Vec<&Socket> =
                neighbours(case.snapshot, question).into_iter().filter(|s| s.is_listening()).collect();
            let mut findings = other_family(case, question, &near);
            findings.extend(beside_each_other(case));
            findings.extend(covered(case.snapshot, &near));
            findings
        }
        None => whole_host(case.snapshot),
    }
}

fn whole_host(snapshot: &Snapshot) -> Vec<Finding> {
    let mut ports: HashMap<(Transport, u16), Vec<&Socket>> = HashMap::new();
    for socket in snapshot.sockets.iter().filter(|socket| socket.is_listening()) {
        ports.entry((socket.transport, socket.local_port)).or_default().push(socket);
    }
    let mut shared: Vec<_> = ports.into_iter().filter(|(_, sockets)| sockets.len() > 1).collect();
    shared.sort_unstable_by_key(|(place, _)| *place);
    shared.into_iter().flat_map(|(_, sockets)| covered(snapshot, &sockets)).collect()
}

/// Listeners of other programs that take what is meant for a less specific one.
fn covered(snapshot: &Snapshot, sockets: &[&Socket]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for wide in sockets.iter().take(COMPARED) {
        for narrow in sockets.iter().take(COMPARED) {
            let wins =
                rank(narrow, snapshot) > rank(wide, snapshot) && overlap(wide, narrow, snapshot.host.system);
            if !wins || same_program(narrow, wide, snapshot) {
                continue;
            }
            let summary = format!(
                "{} of {} takes its traffic before {} of {} sees it.",
                narrow.local(),
                wording::holder(narrow, snapshot),
                wide.local(),
                wording::holder(wide, snapshot)
            );
            if !findings.iter().any(|finding| finding.summary == summary) {
                let see = format!("portolan who {}", wide.local_port);
                findings.push(
                    Finding::new(&RULE, Severity::Warning, summary)
                        .with_evidence(wording::sockets(&[narrow, wide], snapshot))
                        .with_remedies([Remedy::command("see both", see)]),
                );
            }
        }
    }
    findings
}

/// How well a socket fits, as the kernel weighs it: interface, address, own family.
fn rank(socket: &Socket, snapshot: &Snapshot) -> u8 {
    let on_interface = snapshot.origin_of(socket).is_some_and(|origin| origin.interface.is_some());
    u8::from(on_interface) * 4 + u8::from(!socket.is_wildcard()) * 2 + u8::from(socket.family == Family::Ipv4)
}

fn same_program(a: &Socket, b: &Socket, snapshot: &Snapshot) -> bool {
    let pid = |socket| wording::lead(&snapshot.owners_of(socket)).map(|owner| owner.pid);
    let (a, b) = (pid(a), pid(b));
    a.is_some() && a == b
}

/// Windows lets the wildcard and a specific address of one port be bound by two programs: who wins.
fn beside_each_other(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let binds = cause::asked(case.snapshot, question).into_iter();
    let open = binds
        .filter(|bind| !matches!(cause::word(case.trials, bind.address, Reuse::Plain), Word::Refuses(..)));
    let mut findings: Vec<Finding> = Vec::new();
    for bind in open {
        for socket in cause::beside_each_other(case, &bind) {
            let summary = who_wins(case.snapshot, &bind, socket);
            if !findings.iter().any(|finding| finding.summary == summary) {
                findings.push(
                    Finding::new(&RULE, Severity::Warning, summary)
                        .with_evidence(wording::sockets(&[socket], case.snapshot))
                        .with_remedies(remedy::release(case.snapshot, question, &[socket])),
                );
            }
        }
    }
    findings
}

fn who_wins(snapshot: &Snapshot, bind: &Bind, socket: &Socket) -> String {
    let (theirs, holder) = (socket.local(), wording::holder(socket, snapshot));
    let ours = std::net::SocketAddr::new(bind.address, bind.port);
    if socket.is_wildcard() {
        return format!(
            "Windows lets {ours} be bound beside {theirs} of {holder}, unless that set SO_EXCLUSIVEADDRUSE: what comes \
             for {} then goes to the new program, the rest to {holder}.",
            bind.address
        );
    }
    format!(
        "Windows lets {ours} be bound beside {theirs} of {holder}: what comes for {} goes on to {holder}, the rest to \
         the new program.",
        socket.local_address()
    )
}

/// Listeners of the other family that do not hinder the bind and share the name localhost with it.
fn other_family(case: &Case<'_>, question: &Question, sockets: &[&Socket]) -> Vec<Finding> {
    let snapshot = case.snapshot;
    let binds = cause::asked(snapshot, question);
    // A dual-stack listener is two rows on Windows: who is refused by one half does not stand beside the other.
    if cause::is_windows(snapshot) && !cause::obstacles(case).is_empty() {
        return Vec::new();
    }
    let local = |address: IpAddr| address.is_unspecified() || address.is_loopback();
    if binds.is_empty() || !binds.iter().all(|bind| local(bind.address)) {
        return Vec::new();
    }
    let apart = |socket: &&&Socket| {
        local(socket.local_address())
            && binds.iter().all(|bind| {
                bind.address.is_ipv4() != socket.local_address().is_ipv4()
                    && bind.beside(socket, Reuse::Plain) == Answer::Free
            })
    };
    sockets
        .iter()
        .filter(apart)
        .map(|socket| {
            let summary = format!(
                "{} listens on {} beside {}: who connects to localhost may reach either.",
                wording::holder(socket, snapshot),
                socket.local(),
                wording::target(question)
            );
            Finding::new(&RULE, Severity::Warning, summary)
                .with_evidence(wording::sockets(&[socket], snapshot))
                .with_remedies(remedy::release(snapshot, question, &[socket]))
        })
        .collect()
}
