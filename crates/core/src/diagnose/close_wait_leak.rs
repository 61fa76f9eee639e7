//! `close-wait-leak`: a program does not close connections that the other side has ended.

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::census::{Usage, User};
use crate::socket::{Socket, State};
use crate::{growth, remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "close-wait-leak", title: "a program does not close ended connections", doc: DOC, check };

const DOC: &str = "\
CLOSE_WAIT means: the other side has closed, and the program here has not. It lasts until the program closes, for
ever if it never does; no setting of the kernel ends it. A hundred of one process are a fault in it: a response that
is not read to its end, a connection that an error path forgets, a pool that does not look. Each keeps a descriptor,
and a client's keeps its port too.

With an earlier look (--over, --since) Portolan tells whether they grow and which were there already.

What to do: mend the program; until then restart it. What the other side does is of no matter.
";

/// So many of one process are a leak.
const MANY: u32 = 100;

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(census) = case.census else { return Vec::new() };
    let many = census.users.iter().filter(|usage| usage.tcp.of(State::CloseWait) >= MANY);
    let held = many.filter(|usage| matches!(usage.user, User::Process(_) | User::Unseen));
    held.take(5).map(|usage| finding(case, usage)).collect()
}

fn finding(case: &Case<'_>, usage: &Usage) -> Finding {
    let count = usage.tcp.of(State::CloseWait);
    let who = usage.user.name(case.snapshot);
    let summary =
        format!("{who} does not close {count} connections that the other side has ended (CLOSE_WAIT).");
    let sockets = || {
        let of_user = move |socket: &&Socket| {
            socket.state == State::CloseWait && User::of(case.snapshot, socket) == usage.user
        };
        case.snapshot.sockets.iter().filter(of_user)
    };
    let evidence = growth::told(case, State::CloseWait, usage.user, count);
    let few: Vec<&Socket> = sockets().take(3).collect();
    Finding::new(&RULE, Severity::Warning, summary)
        .with_evidence(evidence)
        .with_evidence(few.iter().map(|socket| wording::socket(socket, case.snapshot)))
        .with_remedies(remedies(case, usage))
}

fn remedies(case: &Case<'_>, usage: &Usage) -> Vec<Remedy> {
    let mend = Remedy::advice("mend the program: it must close what its peers have closed");
    [mend].into_iter().chain(remedy::restart(case.snapshot, usage.user)).collect()
}
