//! Ways out where room runs out, in the order that experts give: mend, reuse, spread, and only then widen.

use super::{as_root, name_quoted, quoted, set_range};
use crate::cause;
use crate::census::User;
use crate::diagnose::Remedy;
use crate::owner::Owner;
use crate::snapshot::Snapshot;

/// Room for a destination.
pub fn make_room(snapshot: &Snapshot) -> Vec<Remedy> {
    let mut ways = vec![
        Remedy::command("find a leak first: who has most sockets", "portolan list --group-by process"),
        Remedy::advice("keep connections open and reuse them (keep-alive, a pool)"),
        Remedy::advice("spread over more source or destination addresses"),
    ];
    ways.extend(widen(snapshot));
    ways.push(Remedy::command("see which calls fail, and whose", as_root(snapshot, "portolan trace")));
    ways
}

/// A wider range, where there is a wider one to be had: a stopgap.
pub fn widen(snapshot: &Snapshot) -> Option<Remedy> {
    let range = snapshot.ranges.first()?.range;
    if cause::is_windows(snapshot) {
        // Lower still, WinNAT's blocks would fall on ports that programs use.
        let text = "a stopgap: widen the range";
        return (range.count() < 32_768).then(|| Remedy::command(text, "portolan range set 32768-65535"));
    }
    let text = "a stopgap: widen the range, until the next restart";
    (range.count() < 50_760).then(|| set_range(snapshot, text, "10240-60999"))
}

/// Starts a program anew, where it is a unit's.
pub fn restart(snapshot: &Snapshot, user: User) -> Option<Remedy> {
    let User::Process(owner) = user else { return None };
    let owner = snapshot.owners.get(owner as usize)?;
    if cause::is_windows(snapshot) || owner.container.is_some() {
        return Some(Remedy::advice("until then, restart it"));
    }
    let unit =
        owner.unit.as_ref().filter(|unit| unit.ends_with(".service")).and_then(|unit| name_quoted(unit));
    Some(match unit {
        Some(unit) => {
            Remedy::command("until then, restart it", as_root(snapshot, format!("systemctl restart {unit}")))
        }
        None => Remedy::advice("until then, restart it"),
    })
}

/// More descriptors for a process: at once where prlimit may, and for its unit.
pub fn raise_descriptors(snapshot: &Snapshot, owner: &Owner) -> Option<Remedy> {
    let limit = owner.handle_limit?.saturating_mul(2);
    let limit = quoted(&format!("--nofile={limit}:"));
    let command = as_root(snapshot, format!("prlimit --pid {} {limit}", owner.pid));
    Some(Remedy::command(
        "a stopgap: a higher limit for this process, as far as its hard limit goes",
        command,
    ))
}
