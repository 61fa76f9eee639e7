//! The census: who uses the room, counted once for everything that asks (the budget and its rules).
//!
//! A TIME_WAIT has no owner in any system: whose it was is told from the live sockets towards the same destination, and
//! only where those are one process'.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::room::{self, Ask, Call, Connections, Left, RoomFor, Tuple, TupleMap};
use crate::snapshot::Snapshot;
use crate::socket::{Family, OwnerState, Socket, State, Transport};
use crate::{cause, leak, wording};

/// Who uses sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum User {
    /// A process: its index among the snapshot's owners.
    Process(u32),
    /// Ended connections, which no process has.
    TimeWait,
    /// Connections that their program has let go of and the kernel finishes.
    Orphan,
    /// The kernel itself.
    Kernel,
    /// A process that was not seen, or was not looked for.
    Unseen,
    /// Connections that wait for their program to accept them.
    Unaccepted,
}

/// Places of users before those of processes.
const PROCESSES: usize = 5;

impl User {
    /// A place for each user, the processes' after the others'.
    fn place(self) -> usize {
        match self {
            Self::TimeWait => 0,
            Self::Orphan => 1,
            Self::Kernel => 2,
            Self::Unseen => 3,
            Self::Unaccepted => 4,
            Self::Process(index) => index as usize + PROCESSES,
        }
    }

    /// Whose a socket is: of several holders the first.
    pub fn of(snapshot: &Snapshot, socket: &Socket) -> Self {
        match (socket.state, socket.owner_state) {
            (State::TimeWait, _) => Self::TimeWait,
            (_, OwnerState::Seen) => {
                snapshot.holders_of(socket).first().map_or(Self::Unseen, |holder| Self::Process(holder.owner))
            }
            (_, OwnerState::Nobody) if cause::is_unaccepted(snapshot, socket) => Self::Unaccepted,
            (_, OwnerState::Nobody) => Self::Orphan,
            (_, OwnerState::Kernel) => Self::Kernel,
            (_, OwnerState::Hidden | OwnerState::NotAsked) => Self::Unseen,
        }
    }

    /// In words: `nginx (pid 812, nginx.service)`.
    pub fn name(self, snapshot: &Snapshot) -> String {
        match self {
            Self::Process(owner) => {
                snapshot.owners.get(owner as usize).map(wording::process).unwrap_or_default()
            }
            Self::TimeWait => "ended connections in TIME_WAIT".to_owned(),
            Self::Orphan => "connections that no process has any more".to_owned(),
            Self::Kernel => "the kernel itself".to_owned(),
            Self::Unseen => "sockets whose holder was not seen".to_owned(),
            Self::Unaccepted => "connections that no program has accepted yet".to_owned(),
        }
    }
}

/// How many sockets in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States([u32; State::ALL.len()]);

impl States {
    /// One more.
    pub fn add(&mut self, state: State) {
        self.add_many(state, 1);
    }

    /// So many more.
    pub fn add_many(&mut self, state: State, many: u32) {
        if let Some(count) = self.0.get_mut(state as usize) {
            *count += many;
        }
    }

    /// How many in that state.
    pub fn of(&self, state: State) -> u32 {
        self.0.get(state as usize).copied().unwrap_or(0)
    }

    /// How many in all.
    pub fn total(&self) -> u32 {
        self.0.iter().sum()
    }

    /// Those that there are, in the order of a connection's life.
    pub fn each(&self) -> impl Iterator<Item = (State, u32)> {
        State::ALL.into_iter().map(|state| (state, self.of(state))).filter(|(_, count)| *count > 0)
    }
}

/// What one user has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Who.
    pub user: User,
    /// TCP sockets.
    pub tcp: States,
    /// How many UDP sockets.
    pub udp: u32,
}

/// One destination: the room left, and who uses the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Towards {
    /// From where to where.
    pub tuple: Tuple,
    /// The room left.
    pub left: Left,
    /// Sockets with a port of the range.
    pub states: States,
    /// Whose they are, who has most first.
    pub users: Vec<(User, u32)>,
}

impl Towards {
    /// The program that the TIME_WAIT sockets towards this destination belonged to, in all likelihood, in words: the
    /// only one with live sockets there.
    pub fn likely_client(&self, snapshot: &Snapshot) -> Option<String> {
        let is_process = |user: &User| matches!(user, User::Process(_));
        let processes: Vec<User> = self.users.iter().map(|(user, _)| *user).filter(is_process).collect();
        leak::of_one_program(snapshot, &processes)
    }
}

/// What was counted.
#[derive(Debug, Default)]
pub struct Census {
    /// TCP sockets by state.
    pub tcp: States,
    /// UDP sockets.
    pub udp: u32,
    /// Who has sockets, who has most first.
    pub users: Vec<Usage>,
    /// The destinations with the least room, the worst first.
    pub towards: Vec<Towards>,
    /// How many destinations there are in all.
    pub destinations: usize,
    /// The room towards a destination that no socket is connected to, for each family that has addresses.
    pub elsewhere: Vec<(Family, Left)>,
    /// The room on the wildcard addresses, for every other call.
    pub on_wildcards: Vec<(Ask, Left)>,
}

impl Census {
    /// Counts, and keeps so many destinations.
    pub fn of(snapshot: &Snapshot, destinations: usize) -> Self {
        let mut census = Self::default();
        census.count_users(snapshot);
        // Where the destination counts there is one range, and one pass finds the tuples of both families.
        let connections = room::connections(snapshot, Family::Ipv4);
        if let Some(connections) = &connections {
            census.destinations = connections.len();
            census.towards = towards(snapshot, connections, connections.worst(destinations));
        }
        for family in families(snapshot) {
            let ask = elsewhere(family);
            let left = match &connections {
                Some(connections) => Some(connections.to(ask.source, None)),
                None => room::of(snapshot, &ask),
            };
            census.elsewhere.extend(left.map(|left| (family, left)));
            for (transport, call) in
                [(Transport::Tcp, Call::Bind), (Transport::Udp, Call::Connect), (Transport::Udp, Call::Bind)]
            {
                let ask = Ask { transport, call, ..ask };
                census.on_wildcards.extend(room::of(snapshot, &ask).map(|left| (ask, left)));
            }
        }
        census
    }

    /// Every room that was counted, and for what.
    pub fn rooms(&self) -> impl Iterator<Item = (RoomFor, &Left)> {
        let towards = self.towards.iter().map(|towards| (RoomFor::Towards(towards.tuple), &towards.left));
        let elsewhere = self.elsewhere.iter().map(|(family, left)| (RoomFor::Call(elsewhere(*family)), left));
        let others = self.on_wildcards.iter().map(|(ask, left)| (RoomFor::Call(*ask), left));
        towards.chain(elsewhere).chain(others)
    }

    fn count_users(&mut self, snapshot: &Snapshot) {
        let mut users: Vec<Option<Usage>> = vec![None; snapshot.owners.len() + PROCESSES];
        for socket in &snapshot.sockets {
            let user = User::of(snapshot, socket);
            match socket.transport {
                Transport::Tcp => self.tcp.add(socket.state),
                Transport::Udp => self.udp += 1,
            }
            let Some(usage) = users.get_mut(user.place()) else { continue };
            let usage = usage.get_or_insert(Usage { user, tcp: States::default(), udp: 0 });
            match socket.transport {
                Transport::Tcp => usage.tcp.add(socket.state),
                Transport::Udp => usage.udp += 1,
            }
        }
        self.users = users.into_iter().flatten().collect();
        self.users
            .sort_unstable_by_key(|usage| (std::cmp::Reverse(usage.tcp.total() + usage.udp), usage.user));
    }
}

/// A TCP connection to where no socket is connected.
pub const fn elsewhere(family: Family) -> Ask {
    Ask { transport: Transport::Tcp, call: Call::Connect, source: wildcard(family), destination: None }
}

/// The families that the host has, by its ranges.
fn families(snapshot: &Snapshot) -> impl Iterator<Item = Family> {
    let has = |family| snapshot.ranges.iter().any(|range| range.family == family);
    Family::ALL.into_iter().filter(move |family| has(*family))
}

/// The address that stands for all of a family.
pub const fn wildcard(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Who has the ports that a call other than a TCP connect to a known destination would be given otherwise, by state and
/// by user, each port once; who has most comes first.
pub fn holders(snapshot: &Snapshot, ask: &Ask) -> (States, Vec<(User, u32)>) {
    let (mut states, mut users) = (States::default(), HashMap::new());
    for socket in room::holders(snapshot, ask) {
        states.add(socket.state);
        *users.entry(User::of(snapshot, socket)).or_default() += 1;
    }
    (states, most_first(users))
}

fn most_first(users: HashMap<User, u32>) -> Vec<(User, u32)> {
    let mut users: Vec<(User, u32)> = users.into_iter().collect();
    users.sort_unstable_by_key(|(user, count)| (std::cmp::Reverse(*count), *user));
    users
}

/// Who uses these destinations.
pub fn towards(snapshot: &Snapshot, connections: &Connections, wanted: Vec<(Tuple, Left)>) -> Vec<Towards> {
    let places: TupleMap<usize> =
        wanted.iter().enumerate().map(|(place, (tuple, _))| (*tuple, place)).collect();
    let mut states = vec![States::default(); wanted.len()];
    let mut users: Vec<HashMap<User, u32>> = vec![HashMap::new(); wanted.len()];
    for socket in &snapshot.sockets {
        let Some(place) = connections.tuple_of(socket).and_then(|tuple| places.get(&tuple)) else { continue };
        if let (Some(states), Some(users)) = (states.get_mut(*place), users.get_mut(*place)) {
            states.add(socket.state);
            *users.entry(User::of(snapshot, socket)).or_default() += 1;
        }
    }
    wanted
        .into_iter()
        .zip(states)
        .zip(users)
        .map(|(((tuple, left), states), users)| Towards { tuple, left, states, users: most_first(users) })
        .collect()
}
