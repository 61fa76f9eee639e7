//! `holder-hidden`: the port is held and the holder was not seen. Never taken for "nobody".

use super::{Case, Finding, Question, Remedy, Reuse, Rule, Severity};
use crate::cause::{self, Role, in_the_way};
use crate::conflict::{Answer, Bind};
use crate::snapshot::Snapshot;
use crate::socket::{OwnerState, Socket, State};
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "holder-hidden", title: "somebody holds the port and could not be seen", doc: DOC, check };

const DOC: &str = "\
The port is taken, and who has it could not be seen. That is not the same as nobody. There are three reasons.

The holder belongs to another user: without root, Linux does not let you look into another user's processes. Look
again with sudo (Windows: from an administrator's prompt). The holder runs in another pid namespace, as in a container
while you look from inside one: look from the host itself. Or the kernel refuses the port although no socket in the
table explains it: kernels before 6.8 do not list sockets that are bound and neither listen nor connect, a system
without NETLINK_SOCK_DIAG shows less still, and a socket may have gone between the bind and the look.

What the kernel tells without the process is given: the user id, the unit or container in whose cgroup the socket was
made. The gaps below the answer say what was refused to Portolan. On the chart this rule counts the sockets whose
holder was not seen.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    match case.question {
        Some(question) => {
            unseen_holder(case, question).into_iter().chain(unexplained(case, question)).collect()
        }
        None => whole_host(case.snapshot),
    }
}

fn is_hidden(socket: &Socket) -> bool {
    matches!(socket.owner_state, OwnerState::Hidden | OwnerState::NotAsked)
}

fn unseen_holder(case: &Case<'_>, question: &Question) -> Option<Finding> {
    let listeners = in_the_way(case, &[Role::Listener]);
    // Several sockets in one place are told by `held-by-several`, seen or not.
    let alone = |socket: &Socket| listeners.iter().filter(|s| s.local() == socket.local()).count() == 1;
    let sockets: Vec<&Socket> = listeners.iter().copied().filter(|s| is_hidden(s) && alone(s)).collect();
    let first = sockets.first()?;
    let holder = wording::holder(first, case.snapshot);
    let summary = format!("{} is held by {holder}.", wording::target(question));
    let unit = case.snapshot.origin_of(first).and_then(|origin| origin.unit.clone());
    let stop =
        unit.filter(|unit| unit.ends_with(".service")).map(|unit| remedy::stop_unit(case.snapshot, &unit));
    Some(
        Finding::new(&RULE, Severity::Error, summary)
            .with_evidence(wording::sockets(&sockets, case.snapshot))
            .with_evidence(wording::trials(case.trials))
            .with_remedies(remedy::another_port(question))
            .with_remedies([remedy::see(case.snapshot, question)])
            .with_remedies(stop),
    )
}

/// The kernel says "in use" of an address, and no socket of the table can be why.
fn unexplained(case: &Case<'_>, question: &Question) -> Option<Finding> {
    let neighbours = cause::neighbours(case.snapshot, question);
    let bare = |bind: &Bind| {
        cause::word(case.trials, bind.address, Reuse::Plain).is_in_use()
            && neighbours.iter().all(|socket| bind.beside(socket, Reuse::Plain) == Answer::Free)
    };
    let bind = cause::unbound(case, question).into_iter().find(bare)?;
    let summary = format!(
        "{} is in use on {}, by a socket that could not be seen.",
        wording::target(question),
        bind.address
    );
    let remedy = if case.snapshot.host.privileged {
        Remedy::command("ask again: it may have gone meanwhile", remedy::ask_again(question))
    } else {
        remedy::see(case.snapshot, question)
    };
    let about = |gap: &&crate::snapshot::Gap| gap.what.contains("socket") || gap.what.contains("owner");
    let gaps = case.snapshot.gaps.iter().filter(about).map(|gap| format!("not seen: {}", gap.detail));
    Some(
        Finding::new(&RULE, Severity::Error, summary)
            .with_evidence(wording::trials(case.trials))
            .with_evidence(gaps)
            .with_remedies([remedy]),
    )
}

fn whole_host(snapshot: &Snapshot) -> Vec<Finding> {
    let hidden = |s: &&Socket| s.owner_state == OwnerState::Hidden && s.state != State::TimeWait;
    let count = snapshot.sockets.iter().filter(hidden).count();
    if count == 0 {
        return Vec::new();
    }
    let listening: Vec<&Socket> =
        snapshot.sockets.iter().filter(hidden).filter(|s| s.is_listening()).collect();
    let summary = format!(
        "The holder of {} could not be seen, {} of them listening.",
        wording::counted(count, "socket"),
        listening.len()
    );
    let remedy = if cause::is_windows(snapshot) {
        Remedy::command("see them, from an administrator's prompt", "portolan")
    } else if snapshot.host.privileged {
        Remedy::advice("look from the host's own pid namespace, outside of any container")
    } else {
        Remedy::command("see them", "sudo portolan")
    };
    vec![
        Finding::new(&RULE, Severity::Note, summary)
            .with_evidence(wording::sockets(&listening, snapshot))
            .with_remedies([remedy]),
    ]
}
