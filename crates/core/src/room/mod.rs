//! The room left: how many more ports the system can give by itself, by its own rules.
//!
//! Source: Linux `__inet_hash_connect`, `__inet_check_established` (`net/ipv4/inet_hashtables.c`), `tcp_twsk_unique`
//! (`net/ipv4/tcp_ipv4.c`), `inet_csk_find_open_port` (`net/ipv4/inet_connection_sock.c`), `udp_lib_get_port`
//! (`net/ipv4/udp.c`); held against a real kernel by the program's test `budget_exact`. Windows: the pages on the
//! dynamic port range and on `Set-NetTCPSetting`; there one port space serves both families of a transport, and a port
//! serves one socket. Where an auto-reuse range is set, TCP connect draws from that one instead, and a port of it serves
//! one connection to each destination, as on Linux.
//!
//! | call | a port is given where |
//! |---|---|
//! | TCP connect | no socket was bound to it explicitly, and the 4-tuple is not in use, or is a TIME_WAIT that may be reused |
//! | TCP bind(0) | no socket of an overlapping address has it |
//! | UDP connect, UDP send without a bind | no socket of that family has it, on whatever address |
//! | UDP bind(0) | no socket of an overlapping address has it |
//!
//! Where the system does not show what decides, the answer is a range with its reasons. Left out on purpose: VRFs (each
//! has buckets of its own), sockets narrowed by IP_LOCAL_PORT_RANGE, `ip_autobind_reuse` and reuse options of the
//! one who asks, and programs (BPF, security modules) that refuse a port for reasons of their own.

mod connect;
mod time_wait;

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use connect::TupleMap;
pub use connect::{Connections, Tuple, connections};

use crate::conflict::{Answer, Bind};
use crate::diagnose::Reuse;
use crate::port::{PortRange, PortSet};
use crate::snapshot::{Snapshot, System};
use crate::socket::{Family, Socket, State, Transport};

/// How a port is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Call {
    /// `connect` without a bind before it (UDP: the first `sendto` too).
    Connect,
    /// `bind` with port 0.
    Bind,
}

/// What is asked: how many more of these calls succeed?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// TCP or UDP.
    pub transport: Transport,
    /// Which call.
    pub call: Call,
    /// From which address. For UDP connect its family alone counts.
    pub source: IpAddr,
    /// To where; for TCP connect alone.
    pub destination: Option<SocketAddr>,
}

impl Ask {
    /// In words, without the addresses: `udp bind ipv6`.
    pub fn name(&self) -> String {
        let call = if self.call == Call::Bind { "bind" } else { "connect" };
        format!("{} {call} {}", self.transport, Family::of(self.source))
    }
}

/// What room is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoomFor {
    /// TCP connections to a destination that sockets are connected to.
    Towards(Tuple),
    /// Any other call.
    Call(Ask),
}

/// How many more: equal where it is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Room {
    /// At least.
    pub min: u32,
    /// At most.
    pub max: u32,
}

impl Room {
    /// Whether both are the same.
    pub const fn is_exact(self) -> bool {
        self.min == self.max
    }
}

/// Why the room is a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    /// The range has an odd number of ports: the kernel passes over its first or its last one.
    OddRange,
    /// Whether ports in use were bound before they were connected, and so serve no other destination.
    ExplicitBind,
    /// Whether TIME_WAIT sockets may be reused: `tcp_tw_reuse`, their timestamps or their age could not be read.
    TimeWaitReuse,
    /// Whether IPv6 connections take IPv4 as well (IPV6_V6ONLY).
    V6Only,
}

impl Unknown {
    /// A sentence for a person.
    pub const fn text(self) -> &'static str {
        match self {
            Self::OddRange => {
                "the range has an odd number of ports: the kernel passes over its first or its last one"
            }
            Self::ExplicitBind => {
                "the system does not show which ports in use were bound before connect(), and so serve one \
                 destination alone; as root on Linux with BPF it does"
            }
            Self::TimeWaitReuse => {
                "whether connections in TIME_WAIT may be reused could not be told: their timestamps, age or \
                 tcp_tw_reuse were not read"
            }
            Self::V6Only => "the kernel does not show whether IPv6 connections keep IPv4 out (IPV6_V6ONLY)",
        }
    }
}

/// The room left, and where the rest of the range is: `ports = reserved + burnt + used + room.max`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Left {
    /// First and last port that are given.
    pub range: PortRange,
    /// How many ports that is.
    pub ports: u32,
    /// Of these, reserved.
    pub reserved: u32,
    /// Of the rest, held by an explicit bind: given to no destination.
    pub burnt: u32,
    /// Of the rest, in use for what was asked.
    pub used: u32,
    /// How many more.
    pub room: Room,
    /// Why the room is a range; empty where it is exact.
    pub unknown: Vec<Unknown>,
}

/// What stands between the range and who asks: the same for every destination.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) range: PortRange,
    pub(crate) reserved: PortSet,
}

/// The range that Windows' TCP connect() draws ports from which several destinations share, where it is set.
const fn auto_reuse(snapshot: &Snapshot) -> Option<PortRange> {
    match snapshot.host.system {
        System::Windows => snapshot.settings.auto_reuse_range,
        System::Linux => None,
    }
}

/// The range a port would be given from, and what is set aside in it; none where it was not read.
pub(crate) fn base(snapshot: &Snapshot, transport: Transport, family: Family) -> Option<Base> {
    let windows = snapshot.host.system == System::Windows;
    let of = |family| snapshot.range_of(transport, family);
    let other = if family == Family::Ipv4 { Family::Ipv6 } else { Family::Ipv4 };
    // Linux has one range for all; an imported listing may tell it of one family alone.
    let found = of(family).or_else(|| if windows { None } else { of(other) })?;
    Some(Base::new(snapshot, transport, family, found.range))
}

impl Base {
    /// A range, and what is set aside in it for a transport and family.
    fn new(snapshot: &Snapshot, transport: Transport, family: Family, range: PortRange) -> Self {
        let reserved = snapshot.reservations.iter().filter(|reservation| {
            reservation.transport.is_none_or(|t| t == transport)
                && reservation.family.is_none_or(|f| f == family)
        });
        let mut reserved: PortSet = reserved.map(|reservation| reservation.range).collect();
        reserved.intersect(&PortSet::from(range));
        Self { range, reserved }
    }
}

/// Ports in use, certainly or perhaps, for what was asked.
#[derive(Default)]
struct Taken {
    burnt: PortSet,
    used: PortSet,
    perhaps: PortSet,
    unknown: Vec<Unknown>,
}

/// The room left for one question; none where the range was not read.
pub fn of(snapshot: &Snapshot, ask: &Ask) -> Option<Left> {
    let source = ask.source.to_canonical();
    if let (Transport::Tcp, Call::Connect) = (ask.transport, ask.call)
        && let Some(connections) = connections(snapshot, Family::of(source))
    {
        return Some(connections.to(source, ask.destination));
    }
    let base = base(snapshot, ask.transport, Family::of(source))?;
    if snapshot.host.system == System::Windows {
        return Some(on_windows(snapshot, ask.transport, &base));
    }
    let mut taken = Taken::default();
    let wanted = wanted(ask);
    for socket in in_range(snapshot, ask.transport, base.range) {
        match (Bind { port: socket.local_port, ..wanted }).beside(socket, Reuse::Plain) {
            Answer::Free => {}
            Answer::Depends => taken.perhaps.insert(socket.local_port),
            Answer::Blocked => taken.used.insert(socket.local_port),
        }
    }
    if !taken.perhaps.is_empty() {
        taken.unknown.push(Unknown::V6Only);
    }
    Some(left(&base, taken, ask.transport == Transport::Tcp))
}

/// What Linux binds for a call that is no TCP connect; the port is left open.
fn wanted(ask: &Ask) -> Bind {
    let address = match (ask.call, ask.source) {
        (Call::Bind, address) => address,
        // The port is chosen before the address: on the wildcard of the socket's family.
        (Call::Connect, IpAddr::V4(_)) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        (Call::Connect, IpAddr::V6(_)) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    Bind::new(ask.transport, address, 0)
}

/// The sockets that have, certainly or perhaps, a port that this call would be given otherwise; one for each port, the
/// first in the table. Not for TCP connect where the destination counts: there [`Connections::tuple_of`] tells.
pub fn holders<'a>(snapshot: &'a Snapshot, ask: &Ask) -> Vec<&'a Socket> {
    let Some(base) = base(snapshot, ask.transport, Family::of(ask.source.to_canonical())) else {
        return Vec::new();
    };
    let wanted = wanted(ask);
    let is_in_the_way = |socket: &&Socket| {
        snapshot.host.system == System::Windows
            || (Bind { port: socket.local_port, ..wanted }).beside(socket, Reuse::Plain) != Answer::Free
    };
    let mut seen = base.reserved;
    let holders = in_range(snapshot, ask.transport, base.range).filter(is_in_the_way);
    let is_first = |socket: &&Socket| {
        let is_first = !seen.contains(socket.local_port);
        seen.insert(socket.local_port);
        is_first
    };
    holders.filter(is_first).collect()
}

/// Sockets of a transport whose local port lies in a range.
fn in_range(snapshot: &Snapshot, transport: Transport, range: PortRange) -> impl Iterator<Item = &Socket> {
    snapshot.sockets.iter().filter(move |s| s.transport == transport && range.contains(s.local_port))
}

/// Every port that a socket of the transport has, in either family, is gone for whoever asks.
fn on_windows(snapshot: &Snapshot, transport: Transport, base: &Base) -> Left {
    let mut taken = Taken::default();
    for socket in in_range(snapshot, transport, base.range) {
        let explicit = matches!(socket.state, State::Listen | State::Bound | State::Unconnected);
        if explicit { &mut taken.burnt } else { &mut taken.used }.insert(socket.local_port);
    }
    left(base, taken, false)
}

/// Counts. `by_parity`: the kernel walks the range in steps of two, and so an even number of ports.
fn left(base: &Base, taken: Taken, by_parity: bool) -> Left {
    let Base { range, reserved } = base;
    let Taken { mut burnt, mut used, mut perhaps, mut unknown } = taken;
    burnt.subtract(reserved);
    used.subtract(reserved);
    used.subtract(&burnt);
    for certain in [reserved, &burnt, &used] {
        perhaps.subtract(certain);
    }
    let free_end = |port| !(reserved.contains(port) || burnt.contains(port) || used.contains(port));
    let ends = free_end(range.first()) || free_end(range.last());
    let mut left = Left {
        range: *range,
        ports: range.count(),
        reserved: reserved.count_in(*range),
        burnt: burnt.count_in(*range),
        used: used.count_in(*range),
        room: Room::default(),
        unknown: Vec::new(),
    };
    let max = left.ports - left.reserved - left.burnt - left.used;
    let perhaps = perhaps.count_in(*range);
    if perhaps == 0 {
        unknown.clear();
    }
    left.unknown = unknown;
    left.room = Room { min: max - perhaps, max };
    if by_parity {
        left.pass_over_an_end(ends);
    }
    left
}

impl Left {
    /// Takes the odd port out, where one of the ends is free: either may be the one that is passed over.
    fn pass_over_an_end(&mut self, an_end_is_free: bool) {
        if self.ports % 2 == 1 && self.ports > 1 && an_end_is_free && self.room.max > 0 {
            self.room.min = self.room.min.saturating_sub(1);
            self.unknown.push(Unknown::OddRange);
        }
    }
}

#[cfg(test)]
mod tests;
