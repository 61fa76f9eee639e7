//! `range-starts-low`: the ephemeral range begins among the ports of services.

use super::{Case, Finding, Rule, Severity};
use crate::socket::{Family, Transport};
use crate::{cause, remedy};

pub(super) const RULE: Rule = Rule {
    id: "range-starts-low",
    title: "the ephemeral range begins among the ports of services",
    doc: DOC,
    check,
};

const DOC: &str = "\
The range that clients are given ports from begins below 10,000, where databases, web servers and the like have
theirs. Nothing fails by that, until a client is given the port of a service that is being restarted: the service
then does not start (in-ephemeral-range). Windows' case is low-dynamic-range.

A wide range is a good thing, and often set for want of ports; its lower end matters only beside services that have
fixed ports.

What to do: begin the range at 10240 or above, or reserve the ports of the services that run here.
";

/// Below this lie the ports of most services.
const LOW: u16 = 10_000;

fn check(case: &Case<'_>) -> Vec<Finding> {
    let snapshot = case.snapshot;
    if case.question.is_some() || cause::is_windows(snapshot) {
        return Vec::new();
    }
    let range =
        snapshot.range_of(Transport::Tcp, Family::Ipv4).or(snapshot.range_of(Transport::Tcp, Family::Ipv6));
    let Some(range) = range.map(|found| found.range).filter(|range| range.first() < LOW) else {
        return Vec::new();
    };
    let summary = format!("The ephemeral range {range} begins among the ports of services.");
    let last = range.last().max(10_241);
    let set =
        remedy::set_range(snapshot, "begin above them, until the next restart", &format!("10240-{last}"));
    vec![Finding::new(&RULE, Severity::Note, summary).with_remedies([set])]
}
