//! `range-exhausted`: no port left that the system may give by itself.

use std::net::IpAddr;

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::cause;
use crate::port::PortRange;
use crate::room::{self, Ask, Call, Left};
use crate::snapshot::Snapshot;
use crate::socket::{Family, Transport};
use crate::{census, remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "range-exhausted", title: "no port left to give out", doc: DOC, check };

const DOC: &str = "\
A program that asks for any port (bind with port 0) gets one from the ephemeral range, less the reserved ports and
those that a socket already has on an address in question. When none is left, bind fails with EADDRINUSE although no
certain port was asked for (Windows: WSAEADDRINUSE or WSAENOBUFS); a UDP socket that sends without a bind gets EAGAIN.
Outgoing TCP connections fare better: a port can serve several of them, one to each destination. A program may narrow
the range for a socket of its own (IP_LOCAL_PORT_RANGE, since Linux 6.3), which then runs out alone; portolan trace
tells it.

Portolan counts what is left and who has the rest, each port once, for the socket that comes first in the table. A
range that is nine tenths used is reported on the chart before it runs out.

What to do: look at the one with most ports first. Thousands of sockets of one program are a leak, or connections that
are opened and closed instead of being reused. A wider range (net.ipv4.ip_local_port_range) gives time and cures
nothing.
";

/// How a range is used.
struct Usage {
    range: PortRange,
    reserved: u32,
    left: u32,
    /// Who has how many ports, most first.
    users: Vec<(String, u32)>,
}

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else {
        return Transport::ALL.into_iter().filter_map(|t| on_the_chart(case.snapshot, t)).collect();
    };
    if question.port.is_some() {
        return Vec::new();
    }
    let refused = matches!(
        cause::refused(case.trials),
        Some((_, "bind", "EADDRINUSE" | "WSAEADDRINUSE" | "WSAENOBUFS", _))
    );
    let Some(usage) = usage(case.snapshot, question.transport, question.address) else {
        return if refused { vec![uncounted(case)] } else { Vec::new() };
    };
    let by_the_table = case.trials.is_empty() && usage.left == 0;
    if !(refused || by_the_table) {
        return Vec::new();
    }
    let summary = format!("No port of {} is left for {}.", usage.range, question.transport);
    let mut finding = Finding::new(&RULE, Severity::Error, summary)
        .with_evidence(lines(&usage))
        .with_evidence(wording::trials(case.trials))
        .with_evidence(logged(case.snapshot, question.transport))
        .with_remedies(ways_out(case.snapshot));
    if usage.left > 0 {
        let text = "more look free: sockets that could not be seen hold them, or they became free since";
        finding.evidence.push(format!("{} {text}", usage.left));
    }
    vec![finding]
}

fn uncounted(case: &Case<'_>) -> Finding {
    Finding::new(&RULE, Severity::Error, "The system has no port left to give.".to_owned())
        .with_evidence(wording::trials(case.trials))
        .with_evidence(["the ephemeral range could not be read, so nothing was counted".to_owned()])
        .with_remedies(ways_out(case.snapshot))
}

fn on_the_chart(snapshot: &Snapshot, transport: Transport) -> Option<Finding> {
    let usage = usage(snapshot, transport, None)?;
    let given = usage.range.count().saturating_sub(usage.reserved);
    let (severity, summary) = if usage.left == 0 {
        let summary = format!("No {transport} port of {} is left to give out by itself.", usage.range);
        (Severity::Error, summary)
    } else if u64::from(usage.left) * 10 <= u64::from(given) {
        let summary =
            format!("Only {} of {given} {transport} ports of {} are left.", usage.left, usage.range);
        (Severity::Warning, summary)
    } else {
        return None;
    };
    Some(
        Finding::new(&RULE, severity, summary)
            .with_evidence(lines(&usage))
            .with_evidence(logged(snapshot, transport))
            .with_remedies(ways_out(snapshot)),
    )
}

/// What Windows itself logged about it.
fn logged(snapshot: &Snapshot, transport: Transport) -> Vec<String> {
    let events = cause::logged_events(snapshot);
    events
        .into_iter()
        .filter(|event| event.is_exhaustion && event.transport == transport)
        .map(|event| event.text)
        .collect()
}

/// Counts, each port once; none where the range was not read.
fn usage(snapshot: &Snapshot, transport: Transport, address: Option<IpAddr>) -> Option<Usage> {
    // Dual-stack `[::]`, unless a range is known of IPv4 alone.
    let families = [Family::Ipv6, Family::Ipv4];
    let known = families.into_iter().find(|family| snapshot.range_of(transport, *family).is_some())?;
    let source = address.unwrap_or(census::wildcard(known));
    let ask = Ask { transport, call: Call::Bind, source, destination: None };
    let Left { range, reserved, room, .. } = room::of(snapshot, &ask)?;
    let (_, users) = census::holders(snapshot, &ask);
    let users = users.into_iter().map(|(user, count)| (user.name(snapshot), count)).collect();
    Some(Usage { range, reserved, left: room.max, users })
}

fn lines(usage: &Usage) -> Vec<String> {
    let mut lines = vec![format!(
        "{} has {} ports, {} of them reserved, {} left",
        usage.range,
        usage.range.count(),
        usage.reserved,
        usage.left
    )];
    lines.extend(usage.users.iter().take(5).map(|(who, count)| format!("{count} with {who}")));
    if usage.users.len() > 5 {
        let rest: u32 = usage.users.iter().skip(5).map(|(_, count)| count).sum();
        lines.push(format!("{rest} with {} others", usage.users.len() - 5));
    }
    lines
}

fn ways_out(snapshot: &Snapshot) -> Vec<Remedy> {
    let count = Remedy::command("see who has most sockets", "portolan list --group-by process");
    [count].into_iter().chain(remedy::widen(snapshot)).collect()
}
