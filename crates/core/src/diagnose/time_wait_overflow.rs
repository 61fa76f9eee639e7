//! `time-wait-overflow`: the table of TIME_WAIT sockets is full.

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::{limits, remedy};

pub(super) const RULE: Rule =
    Rule { id: "time-wait-overflow", title: "the table of TIME_WAIT sockets is full", doc: DOC, check };

const DOC: &str = "\
The kernel keeps at most net.ipv4.tcp_max_tw_buckets sockets in TIME_WAIT. Past that it drops them early, with a
line in its log. Their ports are free sooner, but late segments of an old connection may then meet a new one. It is
a sign that connections are opened and closed at a great rate.

The number of drops is counted since the network namespace began: with an earlier look (--over, --since) Portolan
tells how many are new.

What to do: reuse connections; raise the number where that cannot be.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let (Some(_), Some(table)) = (case.census, limits::limit(case.snapshot, "time-wait")) else {
        return Vec::new();
    };
    let dropped = table.refused.unwrap_or(0);
    let now = case.earlier.and_then(|earlier| limits::refused_since(case.snapshot, earlier, "time-wait"));
    let severity = match (table.percent(), now) {
        (_, Some(1..)) | (Some(90..), _) => Severity::Warning,
        _ if dropped > 0 => Severity::Note,
        _ => return Vec::new(),
    };
    let summary = match (table.used, table.max) {
        (Some(used), Some(max)) => format!("{used} of {max} sockets that may be in TIME_WAIT are."),
        _ => "The table of TIME_WAIT sockets was full.".to_owned(),
    };
    let drops = (dropped > 0).then(|| format!("{dropped} dropped since the network namespace began"));
    let meanwhile = now.filter(|now| *now > 0).map(|now| format!("{now} of them since the earlier look"));
    let larger = table.max.filter(|_| severity == Severity::Warning).map(|max| {
        let value = max.saturating_mul(2).to_string();
        remedy::set(
            case.snapshot,
            "a larger table, until the next restart",
            "net.ipv4.tcp_max_tw_buckets",
            &value,
        )
    });
    vec![
        Finding::new(&RULE, severity, summary)
            .with_evidence(drops)
            .with_evidence(meanwhile)
            .with_remedies([Remedy::advice("keep connections open and reuse them")])
            .with_remedies(larger),
    ]
}
