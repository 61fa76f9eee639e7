//! `conntrack-full`: the table of tracked connections is full, or nearly.

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::{limits, remedy};

pub(super) const RULE: Rule =
    Rule { id: "conntrack-full", title: "the table of tracked connections fills up", doc: DOC, check };

const DOC: &str = "\
Where a firewall or NAT tracks connections (nf_conntrack), each has an entry in a table. When that is full, packets
of new connections are dropped in silence: they time out, in and out, though ports are free. The kernel's log says
\"table full, dropping packet\". Four fifths full is a warning, 95 % an error, and so is any drop while Portolan
looked; drops since the start are told as well.

What to do: find who opens so many connections; shorten what is kept of closed ones; enlarge the table.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let (Some(_), Some(table)) = (case.census, limits::limit(case.snapshot, "conntrack")) else {
        return Vec::new();
    };
    let dropped = table.refused.unwrap_or(0);
    let now = case.earlier.and_then(|earlier| limits::refused_since(case.snapshot, earlier, "conntrack"));
    let severity = match (table.percent(), now) {
        (Some(95..), _) | (_, Some(1..)) => Severity::Error,
        (Some(80..), _) => Severity::Warning,
        // What was dropped some day, while none was while we looked, is history.
        (_, Some(0)) => return Vec::new(),
        _ if dropped > 0 => Severity::Warning,
        _ => return Vec::new(),
    };
    let summary = match (table.used, table.max) {
        (Some(used), Some(max)) => format!("{used} of {max} connections that can be tracked are."),
        _ => "The table of tracked connections dropped some.".to_owned(),
    };
    let drops = (dropped > 0).then(|| format!("{dropped} dropped since the network namespace began"));
    let meanwhile = now.filter(|now| *now > 0).map(|now| format!("{now} of them since the earlier look"));
    let larger = table.max.map(|max| {
        let value = max.saturating_mul(2).to_string();
        remedy::set(
            case.snapshot,
            "a larger table, until the next restart",
            "net.netfilter.nf_conntrack_max",
            &value,
        )
    });
    vec![
        Finding::new(&RULE, severity, summary)
            .with_evidence(drops)
            .with_evidence(meanwhile)
            .with_remedies([Remedy::command("see who has most sockets", "portolan list --group-by process")])
            .with_remedies(larger),
    ]
}
