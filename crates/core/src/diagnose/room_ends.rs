//! `room-ends`: at the rate that was measured, the ports for a destination run out.

use std::collections::{HashMap, HashSet};

use super::{Case, Finding, RoomTrend, Rule, Severity};
use crate::room::{Ask, Call, Left, RoomFor};
use crate::socket::Transport;
use crate::trend::{self, End};
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "room-ends", title: "ports run out at the present rate", doc: DOC, check };

const DOC: &str = "\
The room left towards this destination, or for this call, shrinks steadily. The rate is the median of all pairs of
looks (Theil and Sen), with its bounds; steps, waves and noise are no trend and raise no alarm. Only an end within the
hour, or within as long as was watched, is told: farther off nobody knows. Two looks alone (--since) give a rate
without bounds.

What to do: the same as for destination-exhausted, while there is still time: mend a leak, reuse connections, spread
over more addresses, and widen the range last.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(census) = case.census else { return Vec::new() };
    let rooms: HashMap<RoomFor, &Left> = census.rooms().collect();
    let mut found: Vec<(End, String, Finding)> = Vec::new();
    for trend in case.trends {
        let Some(left) = rooms.get(&trend.room) else { continue };
        let room = f64::from(left.room.max);
        let end = trend::end(room, trend.slope).filter(|end| end.is_near(&trend.slope));
        if let Some(end) = end.filter(|_| room > 0.0) {
            let what = what(trend.room);
            let finding = finding(case, trend, &what, end, room);
            found.push((end, what, finding));
        }
    }
    found.sort_by(|(a, ..), (b, ..)| a.likely_s.total_cmp(&b.likely_s));
    // Of the two families the one whose room ends first.
    let mut told = HashSet::new();
    found.retain(|(_, what, _)| told.insert(what.clone()));
    found.into_iter().take(5).map(|(_, _, finding)| finding).collect()
}

/// For what, in a sentence.
fn what(room: RoomFor) -> String {
    match room {
        RoomFor::Towards(tuple) => format!("from {} to {}", tuple.source, tuple.destination),
        RoomFor::Call(Ask { transport: Transport::Tcp, call: Call::Connect, .. }) => {
            "for connections to any other destination".to_owned()
        }
        RoomFor::Call(Ask { transport, call: Call::Bind, .. }) => format!("for {transport} bind(0)"),
        RoomFor::Call(Ask { transport, call: Call::Connect, .. }) => {
            format!("for {transport} sockets that send without a bind")
        }
    }
}

fn finding(case: &Case<'_>, trend: &RoomTrend, what: &str, end: End, room: f64) -> Finding {
    let span = |seconds: f64| wording::duration((seconds * 1000.0) as u64);
    let summary = format!("At the present rate the ports {what} run out in {}.", span(end.likely_s));
    let bounds = match end.latest_s {
        Some(latest) => format!("between {} and {}", span(end.earliest_s), span(latest)),
        None => format!("not before {}", span(end.earliest_s)),
    };
    let rate = format!(
        "{room} ports left, {:.1} fewer each second over {}; {bounds}",
        -trend.slope.per_second,
        span(trend.slope.over_s)
    );
    Finding::new(&RULE, Severity::Warning, summary)
        .with_evidence([rate])
        .with_remedies(remedy::make_room(case.snapshot))
}
