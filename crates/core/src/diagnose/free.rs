//! `free`: the port can be bound, by the kernel's word or by the table's.

use super::{Case, Finding, Rule, Severity, verdict};
use crate::cause;
use crate::range::ReservationKind;
use crate::wording;

pub(super) const RULE: Rule = Rule { id: "free", title: "the port can be bound", doc: DOC, check };

const DOC: &str = "\
The port can be had. Portolan bound it as a server would, plainly and without any option, on every address of
the question, and let it go at once. Where no address is named it tries 0.0.0.0 and the dual-stack [::], which
is what most servers ask for; an address family that the host lacks is left out, and said so.

With a snapshot from a file nothing can be tried. Then this finding says that the socket table shows nothing in
the way, and no more than that: a privileged port, a security module, or a socket that the snapshot does not
hold could still refuse.

Free means free now. Another program may take the port a moment later; in-ephemeral-range and shadowed tell
when that is likely, or when the port would be shared without your knowing. If your program still fails with
\"address already in use\", ask again in its network namespace (--netns), as its user (--user), and on the very
address that it uses.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let target = wording::target(question);
    let summary = match verdict(case.trials) {
        Some(true) if question.port.is_some() => format!("{target} is free."),
        Some(true) => format!("{target} can be had: the system still has one to give."),
        None if case.trials.is_empty()
            && question.port.is_some()
            && cause::reservation(case.snapshot, question, ReservationKind::System).is_none()
            && cause::obstacles(case).is_empty() =>
        {
            format!("Nothing in the socket table is in the way of {target}.")
        }
        _ => return Vec::new(),
    };
    vec![Finding::new(&RULE, Severity::Note, summary).with_evidence(wording::trials(case.trials))]
}
