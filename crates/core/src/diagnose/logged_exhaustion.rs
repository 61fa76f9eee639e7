//! `logged-exhaustion`: Windows itself has logged, within a day, that ports ran out.

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::{cause, remedy};

pub(super) const RULE: Rule =
    Rule { id: "logged-exhaustion", title: "Windows has logged that ports ran out", doc: DOC, check };

const DOC: &str = "\
Windows writes into its System log, source Tcpip, when it has no port to give: 4231 for TCP, 4265 and 4266 for UDP;
and 4227 when a connection could not use a port again that was in TIME_WAIT towards the same peer. What ran out once
and is free again does not show in any table, so these entries are the only trace of it. Those of the last day count.

Windows does not write one for each failure, so the count is a lower bound.

What to do: see who has most sockets at the time when it happens (record it), and have the calls that fail told as
they fail. A leak is mended; connections are reused; a wider range only gives time.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    if case.census.is_none() || !cause::is_windows(case.snapshot) {
        return Vec::new();
    }
    let events = cause::logged_events(case.snapshot);
    if events.is_empty() {
        return Vec::new();
    }
    let summary = match events.iter().any(|event| event.is_exhaustion) {
        true => "Ports ran out within the last day: Windows logged it.",
        false => "Connections failed within the last day since their ports were still in TIME_WAIT.",
    };
    vec![
        Finding::new(&RULE, Severity::Warning, summary.to_owned())
            .with_evidence(events.into_iter().map(|event| event.text))
            .with_remedies([
                Remedy::command("see the calls that fail, as they fail", "portolan trace"),
                Remedy::command("see who has most sockets", "portolan list --group-by process"),
            ])
            .with_remedies(remedy::make_room(case.snapshot)),
    ]
}
