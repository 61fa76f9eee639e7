//! The shape of the file: its top object as it is written and described, and the row of one socket.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::{SCHEMA, VERSION};
use crate::owner::{Holder, Origin, Owner};
use crate::port::PortRange;
use crate::range::{Carrier, EphemeralRange, FirewallRule, Reservation};
use crate::snapshot::{Component, Gap, Host, LocalAddress, Settings, Snapshot};
use crate::socket::{Family, OwnerState, Socket, SocketOptions, State, Transport};

/// A snapshot of portolan: one look at the network ports of one host.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Snapshot")]
#[serde(deny_unknown_fields)]
pub(super) struct File<'a> {
    /// Number of this schema; always the first field.
    schema: u32,
    /// What wrote the file.
    program: &'static str,
    /// Its version.
    version: &'static str,
    /// When, milliseconds since 1970-01-01 UTC.
    taken_ms: u64,
    /// Whose.
    host: &'a Host,
    /// Settings that decide about ports.
    settings: &'a Settings,
    /// Parts of the system that set ports aside.
    components: &'a [Component],
    /// Ephemeral ranges.
    ranges: &'a [EphemeralRange],
    /// Ports set aside.
    reservations: &'a [Reservation],
    /// TCP ports that an explicit bind keeps from connect(), beside those of listeners; null when not read.
    burnt: Option<&'a [PortRange]>,
    /// The host's addresses.
    addresses: &'a [LocalAddress],
    /// What carries ports for others.
    carriers: &'a [Carrier],
    /// Firewall rules for traffic that comes in; null when not read.
    firewall: Option<&'a [FirewallRule]>,
    /// Counters by the kernel's names.
    counters: &'a BTreeMap<String, u64>,
    /// What could not be seen.
    gaps: &'a [Gap],
    /// Where sockets come from.
    origins: &'a [Origin],
    /// Processes that hold sockets.
    owners: &'a [Owner],
    /// Holdings: index of the owner, descriptor number (-1 when not known).
    #[schemars(with = "Vec<(u32, i32)>")]
    holders: &'a [Holder],
    /// Sockets.
    #[schemars(with = "Vec<Row>")]
    sockets: Rows<'a>,
}

impl<'a> File<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        Self {
            schema: SCHEMA,
            program: "portolan",
            version: VERSION,
            taken_ms: snapshot.taken_ms,
            host: &snapshot.host,
            settings: &snapshot.settings,
            components: &snapshot.components,
            ranges: &snapshot.ranges,
            reservations: &snapshot.reservations,
            burnt: snapshot.burnt.as_deref(),
            addresses: &snapshot.addresses,
            carriers: &snapshot.carriers,
            firewall: snapshot.firewall.as_deref(),
            counters: &snapshot.counters,
            gaps: &snapshot.gaps,
            origins: &snapshot.origins,
            owners: &snapshot.owners,
            holders: &snapshot.holders,
            sockets: Rows(&snapshot.sockets),
        }
    }
}

/// Sockets that become rows one at a time while they are written.
struct Rows<'a>(&'a [Socket]);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Row::of))
    }
}

/// One socket; a field that is left out is zero, unspecified or not asked.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Socket")]
#[serde(deny_unknown_fields, expecting = "a socket")]
pub(super) struct Row {
    /// TCP or UDP.
    transport: Transport,
    /// Its state.
    state: State,
    /// Local endpoint, `address:port`.
    local: SocketAddr,
    /// Remote endpoint; left out when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remote: Option<SocketAddr>,
    /// Inode in sockfs.
    #[serde(default, skip_serializing_if = "is_default")]
    inode: u32,
    /// Index into `origins`.
    #[serde(default, skip_serializing_if = "is_default")]
    origin: u32,
    /// Bytes that wait to be read; of a listener, connections that wait to be accepted.
    #[serde(default, skip_serializing_if = "is_default")]
    receive_queue: u32,
    /// Bytes not yet acknowledged; of a listener, the length of its accept queue.
    #[serde(default, skip_serializing_if = "is_default")]
    send_queue: u32,
    /// Milliseconds left of its timer.
    #[serde(default, skip_serializing_if = "is_default")]
    timer_ms: u32,
    /// Options as bits: 1 v6-only, 2 bind-address-no-port, 4 transparent, 8 freebind, 16 had timestamps,
    /// 32 timestamps were read, 128 options were read.
    #[serde(default, skip_serializing_if = "is_default")]
    options: SocketOptions,
    /// Its part of `holders`: first index and count.
    #[serde(default, skip_serializing_if = "is_default")]
    holders: (u32, u16),
    /// Whether holders were looked for and seen.
    #[serde(default, skip_serializing_if = "is_default")]
    owner_state: OwnerState,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Row {
    fn of(socket: &Socket) -> Self {
        let remote = socket.remote();
        let peerless = remote.ip().is_unspecified() && remote.port() == 0;
        Self {
            transport: socket.transport,
            state: socket.state,
            local: socket.local(),
            remote: (!peerless).then_some(remote),
            inode: socket.inode,
            origin: socket.origin,
            receive_queue: socket.receive_queue,
            send_queue: socket.send_queue,
            timer_ms: socket.timer_ms,
            options: socket.options,
            holders: (socket.first_holder, socket.holder_count),
            owner_state: socket.owner_state,
        }
    }

    /// The socket of this row; an error when its endpoints are of two families.
    pub(super) fn socket(self) -> Result<Socket, String> {
        let mut socket = match self.remote {
            None => Socket::unconnected(self.transport, self.state, self.local),
            Some(remote) if Family::of(remote.ip()) == Family::of(self.local.ip()) => {
                Socket::new(self.transport, self.state, self.local, remote)
            }
            Some(remote) => return Err(format!("{} and {remote} are of two families", self.local)),
        };
        socket.inode = self.inode;
        socket.origin = self.origin;
        socket.receive_queue = self.receive_queue;
        socket.send_queue = self.send_queue;
        socket.timer_ms = self.timer_ms;
        socket.options = self.options;
        (socket.first_holder, socket.holder_count) = self.holders;
        socket.owner_state = self.owner_state;
        Ok(socket)
    }
}
