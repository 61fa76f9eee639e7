//! Whether what one user has of a state grows, told beside an earlier look at the same host.

use std::collections::HashSet;

use crate::census::User;
use crate::diagnose::Case;
use crate::snapshot::Snapshot;
use crate::socket::{Socket, State};
use crate::wording;

/// Lines of evidence: from how many to how many, and which of them were there already. Without an earlier look, that
/// nobody knows.
pub fn told(case: &Case<'_>, state: State, user: User, now: u32) -> Vec<String> {
    let Some(earlier) = case.earlier else {
        return vec!["one look does not tell whether they grow: portolan budget --over 10 does".to_owned()];
    };
    let Some(before) = same_user(case.snapshot, earlier, user) else {
        return vec!["the earlier look did not see who has them".to_owned()];
    };
    let then: Vec<&Socket> = of(earlier, state, before).collect();
    let known: HashSet<_> =
        then.iter().map(|socket| (socket.local(), socket.remote(), socket.inode)).collect();
    let kept = of(case.snapshot, state, user)
        .filter(|socket| known.contains(&(socket.local(), socket.remote(), socket.inode)))
        .count();
    let since = wording::duration(case.snapshot.taken_ms.saturating_sub(earlier.taken_ms));
    let change = match now.cmp(&u32::try_from(then.len()).unwrap_or(u32::MAX)) {
        std::cmp::Ordering::Greater => "growing",
        std::cmp::Ordering::Equal => "not growing",
        std::cmp::Ordering::Less => "shrinking",
    };
    vec![format!(
        "{change}: {} before, {now} after {since}; {kept} of them have been so all that time",
        then.len()
    )]
}

fn of(snapshot: &Snapshot, state: State, user: User) -> impl Iterator<Item = &Socket> {
    snapshot.sockets.iter().filter(move |socket| socket.state == state && User::of(snapshot, socket) == user)
}

/// The same user in the earlier look: a process by its pid and start. None where it was not there, or nobody looked.
fn same_user(now: &Snapshot, earlier: &Snapshot, user: User) -> Option<User> {
    let User::Process(index) = user else { return Some(user) };
    let owner = now.owners.get(index as usize)?;
    let same = |other: &crate::owner::Owner| (other.pid, other.started_ms) == (owner.pid, owner.started_ms);
    earlier.owners.iter().position(same).and_then(|place| u32::try_from(place).ok()).map(User::Process)
}
