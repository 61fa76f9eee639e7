//! `close-wait-leak`: a program does not close connections that the other side has ended.

use super::{Case, Finding, Rule, Severity};
use crate::leak::{self, Leak};
use crate::socket::State;

pub(super) const RULE: Rule =
    Rule { id: "close-wait-leak", title: "a program does not close ended connections", doc: DOC, check };

const DOC: &str = "\
CLOSE_WAIT means: the other side has closed, and the program here has not. It lasts until the program closes, for
ever if it never does; no setting of the kernel ends it. A hundred of one program are a fault in it: a response that
is not read to its end, a connection that an error path forgets, a pool that does not look. Each keeps a descriptor,
and a client's keeps its port too.

With an earlier look (--over, --since) Portolan tells whether they grow and which were there already.

Connections that the program has not even accepted yet are another matter: not-accepted.

What to do: mend the program; until then restart it. What the other side does is of no matter.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(census) = case.census else { return Vec::new() };
    let leaks = leak::leaks(case.snapshot, census, State::CloseWait);
    leaks.iter().map(|leak| finding(case, leak)).collect()
}

fn finding(case: &Case<'_>, leak: &Leak) -> Finding {
    let who = leak.who(case.snapshot, "does", "do");
    let summary =
        format!("{who} not close {} connections that the other side has ended (CLOSE_WAIT).", leak.count);
    let mend = "mend the program: it must close what its peers have closed";
    Finding::new(&RULE, Severity::Warning, summary)
        .with_evidence(leak.evidence(case))
        .with_remedies(leak.remedies(case.snapshot, mend))
}
