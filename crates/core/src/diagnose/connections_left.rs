//! `connections-left`: the listener is gone, its connections live on and keep the port.

use super::{Case, Finding, Rule, Severity};
use crate::cause::{Role, in_the_way};
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "connections-left", title: "connections of a listener that is gone", doc: DOC, check };

const DOC: &str = "\
Nobody listens on the port any more, but connections that its listener once accepted are still open. They keep the
local port, so a plain bind fails. This is usual when a server restarts while clients stay connected, or when a
child process goes on serving after its parent has ended.

Portolan tells it from the table: open connections on the port, no listener that could have accepted them, and no sign
that they were made from here (that would be outgoing-connection). The system does not record which of the two it
was, so the evidence shows both ends.

What to do: set SO_REUSEADDR before bind, as nearly every server does. It passes over such connections, provided that
the old listener had set it too; the trial with SO_REUSEADDR below shows whether it does here. Otherwise
close the connections (portolan close), end the process that holds them, or wait until they end.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let sockets = in_the_way(case, &[Role::LeftBehind]);
    let Some(first) = sockets.first() else { return Vec::new() };
    let many = sockets.len() > 1;
    let summary = format!(
        "{} is kept by {} of a listener that is gone, held by {}.",
        wording::target(question),
        wording::counted(sockets.len(), "connection"),
        if many { "those named below".to_owned() } else { wording::holder(first, case.snapshot) }
    );
    vec![
        Finding::new(&RULE, Severity::Error, summary)
            .with_evidence(wording::sockets(&sockets, case.snapshot))
            .with_evidence(wording::trials(case.trials))
            .with_remedies([remedy::reuse_address(case.snapshot, case.trials)])
            .with_remedies(remedy::release(case.snapshot, question, &sockets)),
    ]
}
