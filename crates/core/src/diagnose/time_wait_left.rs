//! `time-wait-left`: ended connections wait out their minute on the port.

use super::{Case, Finding, Question, Remedy, Rule, Severity};
use crate::cause::{self, Role, in_the_way};
use crate::snapshot::Snapshot;
use crate::socket::{OwnerState, Socket};
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "time-wait-left", title: "ended connections wait in TIME_WAIT", doc: DOC, check };

const DOC: &str = "\
The port is kept by connections that have ended. The side that closes first keeps its end in TIME_WAIT, on Linux for
60 seconds, so that late packets do not reach a new connection. Meanwhile a plain bind to the port fails with
EADDRINUSE, typically when a server is restarted. No setting shortens that time; net.ipv4.tcp_fin_timeout does not.

A socket in TIME_WAIT has no process any more. Whose it was can only be inferred from other sockets of the same port,
and is marked so.

Windows keeps it 30 to 300 seconds (TcpTimedWaitDelay), and lets another program bind the port meanwhile, unless the
old listener had set SO_EXCLUSIVEADDRUSE. There SO_REUSEADDR is no help: it shares ports between running programs.

What to do on Linux: set SO_REUSEADDR before bind, as nearly every server does; it passes over TIME_WAIT if the old
listener had set it too. The trial with SO_REUSEADDR in the evidence shows whether it does here. Otherwise wait for the
seconds named, or drop them with portolan close, at the risk of such a late packet. Where a server is restarted often,
let the clients close first.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let sockets = in_the_way(case, &[Role::TimeWait]);
    let Some(last) = sockets.iter().map(|socket| socket.timer_ms).max() else { return Vec::new() };
    let left = u64::from(last).div_ceil(1000);
    let until = match left {
        0 => String::new(),
        seconds => format!(" for {seconds} s more"),
    };
    let ended = if sockets.len() == 1 { "it has ended" } else { "they have ended" };
    let summary = format!(
        "{} is kept{until} by {} in TIME_WAIT: {ended}, and no program holds the port.",
        wording::target(question),
        wording::counted(sockets.len(), "connection")
    );
    vec![
        Finding::new(&RULE, Severity::Error, summary)
            .with_evidence(wording::sockets(&sockets, case.snapshot))
            .with_evidence([inferred(case.snapshot, question)])
            .with_evidence(wording::trials(case.trials))
            .with_remedies([remedy::reuse_address(case.snapshot, case.trials)])
            .with_remedies(wait(case.snapshot, question, left))
            .with_remedies(drop_them(case.snapshot, question)),
    ]
}

/// Windows cannot be asked to drop them.
fn drop_them(snapshot: &Snapshot, question: &Question) -> Option<Remedy> {
    let port = question.port.filter(|_| !cause::is_windows(snapshot))?;
    Some(remedy::drop_time_wait(snapshot, port.number()))
}

/// Windows does not show how long is left.
fn wait(snapshot: &Snapshot, question: &Question, left: u64) -> Option<Remedy> {
    let seconds = (left > 0).then_some(left + 1);
    if seconds.is_none() && !cause::is_windows(snapshot) {
        return None;
    }
    remedy::wait(question, seconds)
}

/// Whose they were, as far as other sockets of the port tell.
fn inferred(snapshot: &Snapshot, question: &Question) -> String {
    let seen = |socket: &&Socket| socket.owner_state == OwnerState::Seen;
    match cause::neighbours(snapshot, question).into_iter().find(seen) {
        Some(sibling) => format!(
            "most likely of {}, which has another socket on this port: inferred, TIME_WAIT itself has no owner",
            wording::holder(sibling, snapshot)
        ),
        None => {
            "whose they were is not known: TIME_WAIT has no owner, and no other socket of this port has one"
                .to_owned()
        }
    }
}
