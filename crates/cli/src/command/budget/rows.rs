//! The rows of the budget as data: the room left for one way to be given a port, and what one user has.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use portolan_core::census::{States, Towards, Usage, User};
use portolan_core::diagnose::RoomTrend;
use portolan_core::room::{Ask, Call, Left, RoomFor};
use portolan_core::snapshot::Snapshot;
use portolan_core::socket::{Family, State, Transport};
use portolan_core::trend::{self, End, Slope};
use schemars::JsonSchema;
use serde::Serialize;

use crate::rows::{OwnerRef, OwnerRow};

/// Users of a destination that are told.
const USERS: usize = 10;

/// The room left for one way to be given a port.
#[derive(Serialize, JsonSchema)]
pub(super) struct RoomRow {
    /// TCP or UDP.
    pub(super) transport: Transport,
    /// Which call would be made.
    pub(super) call: Call,
    /// From which address; null for any.
    pub(super) source: Option<IpAddr>,
    /// To where; null for any that nothing is connected to, and for calls that have none.
    pub(super) destination: Option<SocketAddr>,
    /// The destination as it was typed, where the system takes it for this one.
    pub(super) asked_as: Option<SocketAddr>,
    /// The families it holds for.
    pub(super) families: Vec<Family>,
    /// The numbers.
    #[serde(flatten)]
    pub(super) left: Left,
    /// Sockets in the range that are in the way of this call, towards this destination where it has one, by state.
    pub(super) states: BTreeMap<State, u32>,
    /// Whose they are, who has most first. Of a destination without the sockets that burn their ports for others.
    pub(super) users: Vec<Share>,
    /// How many ports a second the room changes, where that was watched and is steady.
    pub(super) trend: Option<Slope>,
    /// When the room ends at that rate.
    pub(super) ends: Option<End>,
    #[serde(skip)]
    room: RoomFor,
}

/// What one user has of the sockets in the way of a call.
#[derive(Serialize, JsonSchema)]
pub(super) struct Share {
    /// In words.
    pub(super) who: String,
    /// The process; null where it is none, or was not seen.
    #[schemars(with = "Option<OwnerRow<'static>>")]
    owner: Option<OwnerRef>,
    /// How many sockets.
    pub(super) sockets: u32,
}

/// What one user has in all.
#[derive(Serialize, JsonSchema)]
pub(super) struct UserRow {
    /// In words.
    pub(super) who: String,
    /// The process; null where it is none, or was not seen.
    #[schemars(with = "Option<OwnerRow<'static>>")]
    owner: Option<OwnerRef>,
    /// TCP sockets by state.
    pub(super) tcp: BTreeMap<State, u32>,
    /// UDP sockets.
    pub(super) udp: u32,
    /// Open descriptors (Linux) or handles (Windows); null where they were not read.
    pub(super) handles: Option<u32>,
    /// How many of the handles are sockets, bound or not (Windows); null where they were not read.
    pub(super) socket_handles: Option<u32>,
    /// How many it may have open.
    pub(super) handle_limit: Option<u64>,
}

fn owner_of(snapshot: &Arc<Snapshot>, user: User) -> Option<OwnerRef> {
    match user {
        User::Process(index) => OwnerRef::new(snapshot, index),
        _ => None,
    }
}

fn shares(snapshot: &Arc<Snapshot>, users: &[(User, u32)]) -> Vec<Share> {
    let share = |(user, sockets): &(User, u32)| Share {
        who: user.name(snapshot),
        owner: owner_of(snapshot, *user),
        sockets: *sockets,
    };
    users.iter().take(USERS).map(share).collect()
}

fn by_state(states: &States) -> BTreeMap<State, u32> {
    states.each().collect()
}

impl RoomRow {
    /// The room towards a destination that sockets are connected to.
    pub(super) fn towards(snapshot: &Arc<Snapshot>, towards: &Towards) -> Self {
        Self {
            transport: Transport::Tcp,
            call: Call::Connect,
            source: Some(towards.tuple.source),
            destination: Some(towards.tuple.destination),
            asked_as: None,
            families: vec![Family::of(towards.tuple.source)],
            left: towards.left.clone(),
            states: by_state(&towards.states),
            users: shares(snapshot, &towards.users),
            trend: None,
            ends: None,
            room: RoomFor::Towards(towards.tuple),
        }
    }

    /// The answer to a question.
    pub(super) fn asked(ask: &Ask, source: Option<IpAddr>, left: Left) -> Self {
        Self {
            transport: ask.transport,
            call: ask.call,
            source,
            destination: ask.destination,
            asked_as: None,
            families: vec![Family::of(ask.source)],
            left,
            states: BTreeMap::new(),
            users: Vec::new(),
            trend: None,
            ends: None,
            room: RoomFor::Call(*ask),
        }
    }

    /// The row with who has the rest.
    pub(super) fn with_users(
        self,
        snapshot: &Arc<Snapshot>,
        (states, users): &(States, Vec<(User, u32)>),
    ) -> Self {
        Self { states: by_state(states), users: shares(snapshot, users), ..self }
    }

    /// The row with what was watched of it.
    pub(super) fn with_trend(mut self, trends: &[RoomTrend]) -> Self {
        if let Some(known) = trends.iter().find(|trend| trend.room == self.room) {
            self.trend = Some(known.slope);
            self.ends = trend::end(f64::from(self.left.room.max), known.slope);
        }
        self
    }
}

impl UserRow {
    /// What one user has.
    pub(super) fn new(snapshot: &Arc<Snapshot>, usage: &Usage) -> Self {
        let owner = owner_of(snapshot, usage.user);
        Self {
            who: usage.user.name(snapshot),
            tcp: by_state(&usage.tcp),
            udp: usage.udp,
            handles: owner.as_ref().and_then(|owner| owner.handles),
            socket_handles: owner.as_ref().and_then(|owner| owner.socket_handles),
            handle_limit: owner.as_ref().and_then(|owner| owner.handle_limit),
            owner,
        }
    }

    /// How many sockets of both transports.
    pub(super) fn sockets(&self) -> u32 {
        self.tcp.values().sum::<u32>() + self.udp
    }
}
