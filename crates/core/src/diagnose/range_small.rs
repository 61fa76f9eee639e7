//! `range-small`: the system has few ports to give out by itself.

use super::{Case, Finding, Rule, Severity};
use crate::port::PortSet;
use crate::remedy;
use crate::socket::{Family, Transport};

pub(super) const RULE: Rule =
    Rule { id: "range-small", title: "the ephemeral range has few ports", doc: DOC, check };

const DOC: &str = "\
The range that clients are given ports from, less what is reserved in it, has fewer than 1,024 ports. As long as few
connections go to the same destination, and few sockets ask for any port, nothing fails by that. What runs out is told
by range-exhausted and destination-exhausted.

What to do: widen it before it is needed, if nobody made it small on purpose (a firewall that lets these ports alone
through, say). portolan budget counts what is left of it, and portolan range set widens it.
";

/// Ranges with fewer ports are called small.
const SMALL: u32 = 1024;

fn check(case: &Case<'_>) -> Vec<Finding> {
    let snapshot = case.snapshot;
    if case.question.is_some() {
        return Vec::new();
    }
    let range =
        snapshot.range_of(Transport::Tcp, Family::Ipv4).or(snapshot.range_of(Transport::Tcp, Family::Ipv6));
    let Some(range) = range.map(|found| found.range) else { return Vec::new() };
    let of_tcp = snapshot.reservations.iter().filter(|r| r.transport.is_none_or(|t| t == Transport::Tcp));
    let reserved: PortSet = of_tcp.map(|reservation| reservation.range).collect();
    let given = range.count() - reserved.count_in(range);
    if given >= SMALL {
        return Vec::new();
    }
    let summary = format!("The system has only {given} ports ({range}) to give out by itself.");
    vec![Finding::new(&RULE, Severity::Note, summary).with_remedies(remedy::widen(snapshot))]
}
