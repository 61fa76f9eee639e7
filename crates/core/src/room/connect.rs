//! TCP connect on Linux, and in Windows' auto-reuse range: the room left towards each destination, from one pass over the
//! sockets.
//!
//! connect() takes a port whose bind bucket no explicit bind has touched, and whose 4-tuple is unused. Which connected
//! sockets were bound explicitly stands in the bucket alone, not in sock_diag: where the snapshot has it
//! ([`Snapshot::burnt`]) the answer is exact, else every port with a connection on it is burnt perhaps.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::RandomState;

use super::time_wait::{Use, keeps};
use super::{Base, Left, Room, Unknown, auto_reuse, base, in_range};
use crate::cause::is_windows;
use crate::port::PortSet;
use crate::snapshot::Snapshot;
use crate::socket::{Family, Socket, State, Transport};

/// From where to where. A mapped address is IPv4's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// Which interface the sockets are bound to: 0 for none, else a number of this snapshot's own.
    pub interface: u32,
}

/// Every socket is looked up by its tuple, for which the standard library's hash takes most of the time. This one is
/// seeded too, since peers choose their addresses.
pub(crate) type TupleMap<T> = HashMap<Tuple, T, RandomState>;

/// How many ports towards a destination are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    certain: u32,
    perhaps: u32,
    /// The range's first and last port.
    ends: [Use; 2],
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.certain += other.certain;
        self.perhaps += other.perhaps;
        for (end, others) in self.ends.iter_mut().zip(other.ends) {
            *end = (*end).max(others);
        }
    }
}

/// Every destination that TCP sockets of the range are connected to.
#[derive(Debug)]
pub struct Connections {
    base: Base,
    interfaces: Vec<u32>,
    burnt: PortSet,
    perhaps_burnt: PortSet,
    tallies: TupleMap<Tally>,
    /// The kernel walks the range in steps of two (Linux).
    by_parity: bool,
}

/// Goes through the TCP sockets of the range that this family is given ports from; none where it was not read, and on a
/// Windows without an auto-reuse range, where the destination does not count. The tuples are those of both families,
/// where they share the range.
pub fn connections(snapshot: &Snapshot, family: Family) -> Option<Connections> {
    let base = match auto_reuse(snapshot) {
        Some(range) => Base::new(snapshot, Transport::Tcp, family, range),
        None if is_windows(snapshot) => return None,
        None => base(snapshot, Transport::Tcp, family)?,
    };
    let interfaces = interfaces(snapshot);
    let mut found = Connections {
        burnt: snapshot.burnt.iter().flatten().copied().collect(),
        perhaps_burnt: PortSet::new(),
        tallies: TupleMap::default(),
        by_parity: !is_windows(snapshot),
        base,
        interfaces,
    };
    let exact = snapshot.burnt.is_some();
    for socket in in_range(snapshot, Transport::Tcp, found.base.range) {
        match socket.state {
            State::Listen | State::Bound | State::Unconnected => found.burnt.insert(socket.local_port),
            // A request that was not accepted has no bucket, and a closed one none any more.
            State::SynReceived | State::Closed => {}
            _ if !exact => found.perhaps_burnt.insert(socket.local_port),
            _ => {}
        }
    }
    found.burnt.intersect(&found.base.range.into());
    found.burnt.subtract(&found.base.reserved);
    found.perhaps_burnt.subtract(&found.base.reserved);
    found.perhaps_burnt.subtract(&found.burnt);
    found.count(snapshot);
    Some(found)
}

/// A number for each origin's interface: 0 for none, 1 for the loopback.
fn interfaces(snapshot: &Snapshot) -> Vec<u32> {
    let mut names: HashMap<&str, u32> = HashMap::from([("lo", 1)]);
    let mut numbers = Vec::with_capacity(snapshot.origins.len());
    for origin in &snapshot.origins {
        let next = u32::try_from(names.len() + 1).unwrap_or(u32::MAX);
        numbers.push(origin.interface.as_deref().map_or(0, |name| *names.entry(name).or_insert(next)));
    }
    numbers
}

impl Connections {
    fn count(&mut self, snapshot: &Snapshot) {
        let Base { range, reserved } = &self.base;
        let windows = is_windows(snapshot);
        for socket in in_range(snapshot, Transport::Tcp, *range) {
            let port = socket.local_port;
            let Some(tuple) = tuple(socket, &self.interfaces) else { continue };
            let tally = self.tallies.entry(tuple).or_default();
            if reserved.contains(port) || self.burnt.contains(port) {
                continue;
            }
            let in_use = match socket.state {
                State::TimeWait if !windows => keeps(socket, tuple.interface == 1, &snapshot.settings),
                _ => Use::Certain,
            };
            match in_use {
                Use::Free => continue,
                Use::Perhaps => tally.perhaps += 1,
                Use::Certain => tally.certain += 1,
            }
            for (end, at) in tally.ends.iter_mut().zip([range.first(), range.last()]) {
                if port == at {
                    *end = (*end).max(in_use);
                }
            }
        }
        // A socket of no interface stands in the way on each.
        let bound: Vec<Tuple> = self.tallies.keys().filter(|tuple| tuple.interface != 0).copied().collect();
        for tuple in bound {
            let everywhere = self.tallies.get(&Tuple { interface: 0, ..tuple }).copied();
            if let (Some(tally), Some(everywhere)) = (self.tallies.get_mut(&tuple), everywhere) {
                tally.add(everywhere);
            }
        }
    }

    /// How many destinations sockets are connected to.
    pub fn len(&self) -> usize {
        self.tallies.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tallies.is_empty()
    }

    /// The destinations with the least room left, the worst first, at most so many.
    pub fn worst(&self, limit: usize) -> Vec<(Tuple, Left)> {
        // What is free for none of them is the same for all.
        let key = |(tuple, tally): &(&Tuple, &Tally)| {
            (Reverse(tally.certain + tally.perhaps), Reverse(tally.certain), **tuple)
        };
        let mut found: Vec<(&Tuple, &Tally)> = self.tallies.iter().collect();
        if found.len() > limit && limit > 0 {
            found.select_nth_unstable_by_key(limit - 1, key);
        }
        found.truncate(limit);
        found.sort_unstable_by_key(key);
        found.into_iter().map(|(tuple, tally)| (*tuple, self.left(*tally))).collect()
    }

    /// Which destination a socket counts for; none where it counts for none.
    pub fn tuple_of(&self, socket: &Socket) -> Option<Tuple> {
        let counts = socket.transport == Transport::Tcp && self.base.range.contains(socket.local_port);
        if counts { tuple(socket, &self.interfaces) } else { None }
    }

    /// The room left from an address to a destination; without one, to any that no socket is connected to.
    pub fn to(&self, source: IpAddr, destination: Option<SocketAddr>) -> Left {
        let tally = destination.and_then(|destination| {
            let destination = SocketAddr::new(destination.ip().to_canonical(), destination.port());
            self.tallies.get(&Tuple { source: source.to_canonical(), destination, interface: 0 }).copied()
        });
        self.left(tally.unwrap_or_default())
    }

    fn left(&self, tally: Tally) -> Left {
        let Base { range, reserved } = &self.base;
        let mut left = Left {
            range: *range,
            ports: range.count(),
            reserved: reserved.len(),
            burnt: self.burnt.len(),
            used: tally.certain,
            room: Room::default(),
            unknown: Vec::new(),
        };
        let max = left.ports.saturating_sub(left.reserved + left.burnt + left.used);
        // Each port that is used here is burnt perhaps, so that these are not taken away twice.
        let elsewhere = self.perhaps_burnt.len().saturating_sub(tally.certain + tally.perhaps);
        let min = max.saturating_sub(tally.perhaps + elsewhere);
        if self.perhaps_burnt.len() > tally.certain {
            left.unknown.push(Unknown::ExplicitBind);
        }
        if tally.perhaps > 0 {
            left.unknown.push(Unknown::TimeWaitReuse);
        }
        left.room = Room { min, max };
        let gone = |port| reserved.contains(port) || self.burnt.contains(port);
        let ends = [range.first(), range.last()].into_iter().zip(tally.ends);
        if self.by_parity {
            left.pass_over_an_end(ends.into_iter().any(|(port, used)| !gone(port) && used != Use::Certain));
        }
        left
    }
}

/// The tuple of a socket that has a peer and a port of its own.
fn tuple(socket: &Socket, interfaces: &[u32]) -> Option<Tuple> {
    let peerless = matches!(
        socket.state,
        State::Listen | State::Bound | State::Unconnected | State::SynReceived | State::Closed
    );
    if peerless {
        return None;
    }
    Some(Tuple {
        source: socket.local_address().to_canonical(),
        destination: SocketAddr::new(socket.remote_address().to_canonical(), socket.remote_port),
        interface: interfaces.get(socket.origin as usize).copied().unwrap_or(0),
    })
}
