//! `bound-leak`: a program binds sockets and neither listens nor connects.

use super::{Case, Finding, Rule, Severity};
use crate::leak::{self, Leak};
use crate::socket::State;

pub(super) const RULE: Rule =
    Rule { id: "bound-leak", title: "a program keeps bound sockets that it does not use", doc: DOC, check };

const DOC: &str = "\
These sockets are bound to a port, and neither listen nor are connected (BOUND). Each burns its port for everybody:
no outgoing connection to whatever destination is given it. The usual tools do not show them (Linux: ss -B of kernel
6.8, Windows: netstat -q), so the ports seem to vanish. Programs leave them behind that bind before they connect and
forget the socket when connect fails.

What to do: mend the program, which must close a socket whose connect failed; until then restart it.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(census) = case.census else { return Vec::new() };
    let leaks = leak::leaks(case.snapshot, census, State::Bound);
    leaks.iter().map(|leak| finding(case, leak)).collect()
}

fn finding(case: &Case<'_>, leak: &Leak) -> Finding {
    let who = leak.who(case.snapshot, "keeps", "keep");
    let summary =
        format!("{who} {} sockets that are bound and neither listen nor are connected.", leak.count);
    let mend = "mend the program: it must close a socket whose connect failed";
    Finding::new(&RULE, Severity::Warning, summary)
        .with_evidence(leak.evidence(case))
        .with_remedies(leak.remedies(case.snapshot, mend))
}
