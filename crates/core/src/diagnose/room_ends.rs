//! `room-ends`: at the rate that was measured, the ports for a destination run out.

use super::{Case, Finding, RoomTrend, Rule, Severity};
use crate::trend::{self, End};
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "room-ends", title: "ports run out at the present rate", doc: DOC, check };

const DOC: &str = "\
The room left towards this destination shrinks steadily. The rate is the median of all pairs of looks (Theil and
Sen), with its bounds; steps, waves and noise are no trend and raise no alarm. Only an end within the hour, or
within as long as was watched, is told: farther off nobody knows. Two looks alone (--since) give a rate without
bounds.

What to do: the same as for destination-exhausted, while there is still time: mend a leak, reuse connections, spread
over more addresses, and widen the range last.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(census) = case.census else { return Vec::new() };
    let mut found: Vec<(End, Finding)> = Vec::new();
    for trend in case.trends {
        let Some(towards) = census.towards.iter().find(|towards| towards.tuple == trend.tuple) else {
            continue;
        };
        let room = f64::from(towards.left.room.max);
        let end = trend::end(room, trend.slope).filter(|end| end.is_near(&trend.slope));
        if let Some(end) = end.filter(|_| room > 0.0) {
            found.push((end, finding(case, trend, end, room)));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.likely_s.total_cmp(&b.likely_s));
    found.into_iter().take(5).map(|(_, finding)| finding).collect()
}

fn finding(case: &Case<'_>, trend: &RoomTrend, end: End, room: f64) -> Finding {
    let span = |seconds: f64| wording::duration((seconds * 1000.0) as u64);
    let tuple = trend.tuple;
    let summary = format!(
        "At the present rate the ports from {} to {} run out in {}.",
        tuple.source,
        tuple.destination,
        span(end.likely_s)
    );
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
