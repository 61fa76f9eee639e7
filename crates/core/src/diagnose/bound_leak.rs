//! `bound-leak`: a program binds sockets and neither listens nor connects.

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::census::{Usage, User};
use crate::socket::{Socket, State};
use crate::{growth, remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "bound-leak", title: "a program keeps bound sockets that it does not use", doc: DOC, check };

const DOC: &str = "\
These sockets are bound to a port, and neither listen nor are connected (BOUND). Each burns its port for everybody:
no outgoing connection to whatever destination is given it. The usual tools do not show them (Linux: ss -B of kernel
6.8, Windows: netstat -q), so the ports seem to vanish. Programs leave them behind that bind before they connect and
forget the socket when connect fails.

What to do: mend the program, which must close a socket whose connect failed; until then restart it.
";

/// So many of one process are a leak.
const MANY: u32 = 100;

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(census) = case.census else { return Vec::new() };
    let many = census.users.iter().filter(|usage| usage.tcp.of(State::Bound) >= MANY);
    let held = many.filter(|usage| matches!(usage.user, User::Process(_) | User::Unseen));
    held.take(5).map(|usage| finding(case, usage)).collect()
}

fn finding(case: &Case<'_>, usage: &Usage) -> Finding {
    let count = usage.tcp.of(State::Bound);
    let who = usage.user.name(case.snapshot);
    let summary = format!("{who} keeps {count} sockets that are bound and neither listen nor are connected.");
    let sockets = || {
        let of_user = move |socket: &&Socket| {
            socket.state == State::Bound && User::of(case.snapshot, socket) == usage.user
        };
        case.snapshot.sockets.iter().filter(of_user)
    };
    let evidence = growth::told(case, State::Bound, usage.user, count);
    let few: Vec<&Socket> = sockets().take(3).collect();
    Finding::new(&RULE, Severity::Warning, summary)
        .with_evidence(evidence)
        .with_evidence(few.iter().map(|socket| wording::socket(socket, case.snapshot)))
        .with_remedies(remedies(case, usage))
}

fn remedies(case: &Case<'_>, usage: &Usage) -> Vec<Remedy> {
    let mend = Remedy::advice("mend the program: it must close a socket whose connect failed");
    [mend].into_iter().chain(remedy::restart(case.snapshot, usage.user)).collect()
}
