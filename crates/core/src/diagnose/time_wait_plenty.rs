//! `time-wait-plenty`: many TIME_WAIT, and plenty of room: no problem.

use super::{Case, Finding, Rule, Severity};
use crate::limits;
use crate::socket::State;
use crate::wording;

pub(super) const RULE: Rule =
    Rule { id: "time-wait-plenty", title: "many TIME_WAIT sockets are no problem here", doc: DOC, check };

const DOC: &str = "\
Thousands of sockets in TIME_WAIT look alarming and are the normal sign of a busy client or server: each lasts 60 s,
costs some 200 bytes and no process' descriptor. They matter only where they use up the ports towards one
destination (no-connection-reuse says so) or fill the kernel's table (time-wait-overflow). Here they do neither.

Portolan says so only where it could count the room that is left, towards every destination, and where the table has
room.

What to do: nothing. A shorter tcp_fin_timeout would not change their number, and the setting tcp_tw_recycle, which
old guides name, is gone since Linux 4.12.
";

/// Fewer are not worth a word.
const MANY: u32 = 1000;

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(census) = case.census else { return Vec::new() };
    let waiting = census.tcp.of(State::TimeWait);
    let table = limits::limit(case.snapshot, "time-wait").and_then(|limit| limit.percent());
    let room = census.towards.iter().map(|towards| (towards.left.room.min, towards.left.ports)).min();
    let plenty = room.is_none_or(|(room, ports)| room * 2 >= ports);
    // Where the range was not read, nobody knows whether there is room.
    let counted = !census.elsewhere.is_empty();
    if waiting < MANY || !plenty || !counted || table.is_some_and(|percent| percent >= 80) {
        return Vec::new();
    }
    let summary =
        format!("{} in TIME_WAIT are no problem here.", wording::counted(waiting as usize, "socket"));
    let evidence =
        room.map(|(room, ports)| format!("at least {room} of {ports} ports are left for every destination"));
    vec![Finding::new(&RULE, Severity::Note, summary).with_evidence(evidence)]
}
