//! `bound-not-listening`: a TCP socket took the port and does nothing with it yet.

use super::{Case, Finding, Rule, Severity};
use crate::cause::{Role, in_the_way};
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "bound-not-listening", title: "bound, and neither listening nor connected", doc: DOC, check };

const DOC: &str = "\
A program has bound a TCP socket to the port and then neither listened nor connected. The port is taken all the same:
a plain bind by anybody else fails. netstat, /proc/net/tcp and older versions of ss do not show such sockets, which
is why the port looks free there; Portolan asks the kernel for them (Linux 6.8 and later have the list).

Usual reasons: the program is still starting, it reserves a port for later, it forgot a socket after an error, or its
listener was closed from outside and keeps the port.

What to do: wait if it is starting, else end the program that holds it. If that program set SO_REUSEADDR and
yours does too, both can bind, but only the first of the two can listen. On kernels that do not list bound sockets
the port is reported by holder-hidden.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let sockets = in_the_way(case, &[Role::Bound]);
    let Some(first) = sockets.first() else { return Vec::new() };
    let holder = wording::holder(first, case.snapshot);
    let summary = format!("{} is bound by {holder}, which does not listen on it.", wording::target(question));
    vec![
        Finding::new(&RULE, Severity::Error, summary)
            .with_evidence(wording::sockets(&sockets, case.snapshot))
            .with_evidence(wording::trials(case.trials))
            .with_remedies(remedy::release(case.snapshot, question, &sockets)),
    ]
}
