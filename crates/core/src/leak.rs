//! Leaks: who has many sockets in a state that lasts until the program ends it, and whether they grow.
//!
//! A program is counted as a whole too: of a server that forks its workers beforehand no process alone may have many.
//! Processes are one program where they have the same name in the same unit or container.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::census::{Census, User};
use crate::diagnose::{Case, Remedy};
use crate::snapshot::Snapshot;
use crate::socket::{Socket, State};
use crate::{record, remedy, wording};

/// So many of one program are a leak.
pub const MANY: u32 = 100;
/// Leaks that are told.
const SHOWN: usize = 5;

/// Many sockets of one process, or of several of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// Whose, who has most first.
    users: Vec<User>,
    /// In which state they are.
    state: State,
    /// How many sockets.
    pub count: u32,
}

/// Who has [`MANY`] TCP sockets in that state, who has most first.
pub fn leaks(snapshot: &Snapshot, census: &Census, state: State) -> Vec<Leak> {
    let mut programs: BTreeMap<String, Vec<(User, u32)>> = BTreeMap::new();
    for usage in &census.users {
        let name = match usage.user {
            User::Process(owner) => snapshot.owners.get(owner as usize).map(record::name),
            User::Unseen => Some(usage.user.name(snapshot)),
            _ => None,
        };
        let count = usage.tcp.of(state);
        if let Some(name) = name.filter(|_| count > 0) {
            programs.entry(name).or_default().push((usage.user, count));
        }
    }
    let mut leaks: Vec<Leak> = programs.into_values().flat_map(|users| of_program(users, state)).collect();
    leaks.sort_by_key(|leak| std::cmp::Reverse(leak.count));
    leaks.truncate(SHOWN);
    leaks
}

/// The one process of a program that has many alone, and the others, or all of them together.
fn of_program(mut users: Vec<(User, u32)>, state: State) -> Vec<Leak> {
    users.sort_by_key(|(user, count)| (std::cmp::Reverse(*count), *user));
    let leak = |users: &[(User, u32)]| Leak {
        users: users.iter().map(|(user, _)| *user).collect(),
        state,
        count: users.iter().map(|(_, count)| count).sum(),
    };
    let alone = users.iter().filter(|(_, count)| *count >= MANY).count();
    let parts = users.split_at(if alone == 1 { 1 } else { 0 });
    [parts.0, parts.1].into_iter().map(leak).filter(|leak| leak.count >= MANY).collect()
}

impl Leak {
    /// Whose, with the verb of one or of several: `nginx (pid 812) keeps`, `12 processes of php-fpm (php.service) keep`.
    pub fn who(&self, snapshot: &Snapshot, singular: &str, plural: &str) -> String {
        match self.users[..] {
            [one] => format!("{} {singular}", one.name(snapshot)),
            _ => format!("{} {plural}", many(snapshot, &self.users)),
        }
    }

    /// Whether they grow, who has most where they are several's, and a few of the sockets.
    pub fn evidence(&self, case: &Case<'_>) -> Vec<String> {
        let users: HashSet<User> = self.users.iter().copied().collect();
        let sockets: Vec<&Socket> = of(case.snapshot, self.state, &users).collect();
        let mut told = self.growth(case, &sockets);
        if let [first, _, ..] = self.users[..] {
            let most = sockets.iter().filter(|socket| User::of(case.snapshot, socket) == first).count();
            told.push(format!("most with {}: {most}", first.name(case.snapshot)));
        }
        told.extend(sockets.iter().take(3).map(|socket| wording::socket(socket, case.snapshot)));
        told
    }

    /// From how many to how many, and which of them were there already. Without an earlier look, that nobody knows.
    fn growth(&self, case: &Case<'_>, now: &[&Socket]) -> Vec<String> {
        let Some(earlier) = case.earlier else {
            return vec![
                "one look does not tell whether they grow: portolan budget --over 10 does".to_owned(),
            ];
        };
        let before = self.in_earlier(case.snapshot, earlier);
        if before.is_empty() {
            return vec!["the earlier look did not see who has them".to_owned()];
        }
        let known: HashSet<_> = of(earlier, self.state, &before)
            .map(|socket| (socket.local(), socket.remote(), socket.inode))
            .collect();
        let is_kept = |socket: &&&Socket| known.contains(&(socket.local(), socket.remote(), socket.inode));
        let kept = now.iter().filter(is_kept).count();
        let since = wording::duration(case.snapshot.taken_ms.saturating_sub(earlier.taken_ms));
        let change = match now.len().cmp(&known.len()) {
            std::cmp::Ordering::Greater => "growing",
            std::cmp::Ordering::Equal => "not growing",
            std::cmp::Ordering::Less => "shrinking",
        };
        vec![format!(
            "{change}: {} before, {} after {since}; {kept} of them have been so all that time",
            known.len(),
            now.len()
        )]
    }

    /// The same users in the earlier look: a process by its pid and start, a program's processes by its name, since
    /// they come and go.
    fn in_earlier(&self, now: &Snapshot, earlier: &Snapshot) -> HashSet<User> {
        let [User::Process(_), ..] = self.users[..] else { return self.users.iter().copied().collect() };
        let owners = || self.users.iter().filter_map(|user| owner(now, *user));
        let names: BTreeSet<String> = owners().map(record::name).collect();
        let starts: HashSet<_> = owners().map(|owner| (owner.pid, owner.started_ms)).collect();
        let is_same = |other: &crate::owner::Owner| match self.users.len() {
            1 => starts.contains(&(other.pid, other.started_ms)),
            _ => names.contains(&record::name(other)),
        };
        let places = earlier.owners.iter().enumerate().filter(|(_, other)| is_same(other));
        places.filter_map(|(place, _)| u32::try_from(place).ok()).map(User::Process).collect()
    }

    /// Mend it, as that says; until then a restart.
    pub fn remedies(&self, snapshot: &Snapshot, mend: &str) -> Vec<Remedy> {
        let restart = self.users.first().and_then(|user| remedy::restart(snapshot, *user));
        [Remedy::advice(mend)].into_iter().chain(restart).collect()
    }
}

fn owner(snapshot: &Snapshot, user: User) -> Option<&crate::owner::Owner> {
    match user {
        User::Process(index) => snapshot.owners.get(index as usize),
        _ => None,
    }
}

/// `12 processes of php-fpm (php.service)`, of users of one program.
fn many(snapshot: &Snapshot, users: &[User]) -> String {
    let name = users.first().and_then(|user| owner(snapshot, *user)).map(record::name);
    format!("{} processes of {}", users.len(), name.unwrap_or_default())
}

/// In words whose something is, where it is one process' or one program's: none where it is several programs'.
pub fn of_one_program(snapshot: &Snapshot, users: &[User]) -> Option<String> {
    let names: BTreeSet<String> =
        users.iter().filter_map(|user| owner(snapshot, *user)).map(record::name).collect();
    match users {
        [one] => Some(one.name(snapshot)),
        _ if names.len() == 1 => Some(many(snapshot, users)),
        _ => None,
    }
}

fn of<'a>(
    snapshot: &'a Snapshot,
    state: State,
    users: &'a HashSet<User>,
) -> impl Iterator<Item = &'a Socket> {
    snapshot
        .sockets
        .iter()
        .filter(move |socket| socket.state == state && users.contains(&User::of(snapshot, socket)))
}
