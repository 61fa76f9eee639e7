//! One look as the recorder keeps it: numbers with names, findings, what was not seen, and what is set about ports.
//!
//! Names survive restarts: a process stands under its program and its unit or container, never under its pid. Left out
//! on purpose: single sockets, command lines and users; who wants them takes a snapshot. So that names stay few on a
//! machine that talks to all the world, destinations with hardly any connections are left out, and of owners those
//! with the fewest sockets are counted together.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::census::{self, Census, States, Towards, Usage, User};
use crate::diagnose::{Finding, Severity};
use crate::limits::limits;
use crate::owner::Owner;
use crate::range::{EphemeralRange, Reservation};
use crate::room::Room;
use crate::snapshot::{Gap, Snapshot};
use crate::socket::{OwnerState, State};

/// So many owners are kept by name.
pub const OWNERS: usize = 500;
/// So many destinations are kept.
pub const DESTINATIONS: usize = 64;
/// A destination with fewer connections than this is left out.
const FEWEST_CONNECTIONS: u32 = 16;
/// Longer names are cut.
const LONGEST_NAME: usize = 160;
/// Where owners beyond [`OWNERS`] stand.
pub const OTHERS: &str = "others";

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Sockets of a transport: `tcp`, `udp`.
    Total,
    /// TCP sockets in a state, by its name: `ESTABLISHED`.
    State,
    /// Sockets of an owner: `nginx (nginx.service)`.
    Owner,
    /// An owner's sockets in a state that lasts when a program forgets them: `nginx (nginx.service) CLOSE_WAIT`.
    Leak,
    /// Descriptors or handles of an owner; of several processes of one name, those of the one with most.
    Descriptors,
    /// The room left towards a destination: `10.0.0.5 to 10.0.0.9:5432`.
    Destination,
    /// The room left otherwise: `tcp connect ipv4` (to where nothing is connected yet), `udp bind ipv6`.
    Room,
    /// What else runs out: `conntrack`; beside it, `conntrack max` and `conntrack refused` (since the start).
    Limit,
}

impl What {
    /// Every one; a store knows them by their place here.
    pub const ALL: [Self; 8] = [
        Self::Total,
        Self::State,
        Self::Owner,
        Self::Leak,
        Self::Descriptors,
        Self::Destination,
        Self::Room,
        Self::Limit,
    ];

    /// Whether a name that is missing where one looked means that there were none. Otherwise it is not known.
    pub const fn is_counted_whole(self) -> bool {
        matches!(self, Self::Total | Self::State | Self::Owner | Self::Leak)
    }

    /// Whether the least matters, and not the most.
    pub const fn is_room(self) -> bool {
        matches!(self, Self::Destination | Self::Room)
    }
}

/// How much: equal where it is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Amount {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

impl Amount {
    /// So much exactly.
    pub const fn exact(value: u64) -> Self {
        Self { min: value, max: value }
    }
}

impl From<Room> for Amount {
    fn from(room: Room) -> Self {
        Self { min: room.min.into(), max: room.max.into() }
    }
}

/// A finding without its evidence and remedies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// The rule's id.
    pub rule: String,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence.
    pub summary: String,
}

impl Found {
    /// What stays the same of it while its numbers change: two findings with the same key are one that goes on.
    /// Addresses and ports of destinations stay, counts and pids do not.
    pub fn key(&self) -> String {
        let word = |word: &str| {
            let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
            let is_number = bare.starts_with(|c: char| c.is_ascii_digit())
                && bare.chars().all(|c| c.is_ascii_digit() || ".,%".contains(c))
                && bare.matches('.').count() < 2;
            if is_number { word.replace(bare, "#") } else { word.to_owned() }
        };
        let words: Vec<String> = self.summary.split_whitespace().map(word).collect();
        format!("{}: {}", self.rule, words.join(" "))
    }
}

impl From<&Finding> for Found {
    fn from(finding: &Finding) -> Self {
        Self { rule: finding.rule.to_owned(), severity: finding.severity, summary: finding.summary.clone() }
    }
}

/// One look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// When, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// Which boot of the machine; empty where the system does not say.
    pub boot: String,
    /// What was looked at: of these, a name that is missing may mean none ([`What::is_counted_whole`]).
    pub seen: Vec<What>,
    /// The numbers.
    pub amounts: BTreeMap<(What, String), Amount>,
    /// What was found.
    pub findings: Vec<Found>,
    /// What was not seen.
    pub gaps: Vec<Gap>,
    /// Ephemeral ranges.
    pub ranges: Vec<EphemeralRange>,
    /// Reservations.
    pub reservations: Vec<Reservation>,
}

impl Entry {
    /// Of a look, who uses the room in it ([`DESTINATIONS`] suffice), and what was found.
    pub fn new(snapshot: &Snapshot, census: &Census, findings: &[Finding]) -> Self {
        let mut entry = Self {
            at_ms: snapshot.taken_ms,
            boot: snapshot.host.boot_id.clone().unwrap_or_default(),
            findings: findings.iter().map(Found::from).collect(),
            gaps: snapshot.gaps.clone(),
            ranges: snapshot.ranges.clone(),
            reservations: snapshot.reservations.clone(),
            ..Self::default()
        };
        entry.add_states(census);
        if snapshot.sockets.iter().all(|socket| socket.owner_state != OwnerState::NotAsked) {
            entry.add_owners(snapshot, &census.users);
        }
        census.towards.iter().for_each(|towards| entry.add_destination(towards));
        for (family, left) in &census.elsewhere {
            entry.amounts.insert((What::Room, census::elsewhere(*family).name()), left.room.into());
        }
        for (ask, left) in &census.on_wildcards {
            entry.amounts.insert((What::Room, ask.name()), left.room.into());
        }
        entry.add_limits(snapshot);
        entry.seen.extend([What::Destination, What::Room, What::Limit]);
        entry
    }

    fn set(&mut self, what: What, name: impl Into<String>, value: u64) {
        self.amounts.insert((what, name.into()), Amount::exact(value));
    }

    fn add(&mut self, what: What, name: String, value: u64) {
        let amount = self.amounts.entry((what, name)).or_default();
        *amount = Amount::exact(amount.max.saturating_add(value));
    }

    fn add_states(&mut self, census: &Census) {
        self.set(What::Total, "tcp", census.tcp.total().into());
        self.set(What::Total, "udp", census.udp.into());
        for (state, count) in census.tcp.each() {
            self.set(What::State, state.name(), count.into());
        }
        self.seen.extend([What::Total, What::State]);
    }

    fn add_owners(&mut self, snapshot: &Snapshot, users: &[Usage]) {
        let mut named: BTreeMap<String, (u32, States, u32)> = BTreeMap::new();
        for Usage { user, tcp, udp } in users {
            let owner = match user {
                User::Process(index) => snapshot.owners.get(*index as usize),
                _ => None,
            };
            let name = owner.map_or_else(|| user.name(snapshot), name);
            let (sockets, states, handles) = named.entry(name).or_default();
            *sockets += tcp.total() + udp;
            for state in LASTING {
                states.add_many(state, tcp.of(state));
            }
            *handles = (*handles).max(owner.and_then(|owner| owner.handles).unwrap_or(0));
        }
        let mut named: Vec<_> = named.into_iter().collect();
        // Whoever has most comes first, and of equals whoever stands first by name.
        named.sort_by_key(|(_, (sockets, ..))| std::cmp::Reverse(*sockets));
        for (place, (name, (sockets, states, handles))) in named.into_iter().enumerate() {
            let name = if place < OWNERS { name } else { OTHERS.to_owned() };
            for (state, count) in states.each() {
                self.add(What::Leak, format!("{name} {state}"), count.into());
            }
            if handles > 0 && place < OWNERS {
                self.set(What::Descriptors, name.clone(), handles.into());
            }
            self.add(What::Owner, name, sockets.into());
        }
        self.seen.extend([What::Owner, What::Leak, What::Descriptors]);
    }

    fn add_destination(&mut self, towards: &Towards) {
        if towards.states.total() < FEWEST_CONNECTIONS {
            return;
        }
        let tuple = towards.tuple;
        let name = match tuple.interface {
            0 => format!("{} to {}", tuple.source, tuple.destination),
            // The number is of one look alone; two interfaces with the same ends are rare enough.
            _ => format!("{} to {} by its interface", tuple.source, tuple.destination),
        };
        let amount = self.amounts.entry((What::Destination, name)).or_insert(towards.left.room.into());
        // The worse one of two.
        if u64::from(towards.left.room.max) < amount.max {
            *amount = towards.left.room.into();
        }
    }

    fn add_limits(&mut self, snapshot: &Snapshot) {
        for limit in limits(snapshot) {
            for (suffix, value) in [("", limit.used), (" max", limit.max), (" refused", limit.refused)] {
                if let Some(value) = value {
                    self.set(What::Limit, format!("{}{suffix}", limit.what), value);
                }
            }
        }
    }
}

/// States that last when a program forgets its sockets, or when nobody answers.
const LASTING: [State; 4] = [State::CloseWait, State::Bound, State::SynSent, State::FinWait2];

/// A name that outlives the process: `nginx (nginx.service)`, `node (docker container 0123456789ab)`.
pub fn name(owner: &Owner) -> String {
    let program = if owner.name.is_empty() { "a process" } else { &owner.name };
    let inside = match (&owner.container, &owner.unit) {
        (Some(container), _) => {
            let id: String = container.id.chars().take(12).collect();
            Some(format!("{} container {id}", container.runtime))
        }
        (None, unit) => unit.clone(),
    };
    let full = inside.map_or_else(|| program.to_owned(), |inside| format!("{program} ({inside})"));
    match full.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => full[..end].to_owned(),
        None => full,
    }
}

#[cfg(test)]
mod tests;
