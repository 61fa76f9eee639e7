//! One look at one host: `Snapshot`, with `Reading` and `Gap` for what could not be seen.
//!
//! A snapshot is at once what every command works on, a fixture for tests, a bug report and an input
//! (`--from FILE`). Owners, holders and origins stand once; sockets refer to them by index.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::owner::{Holder, Origin, Owner};
use crate::port::PortRange;
use crate::range::{Carrier, EphemeralRange, FirewallRule, Reservation};
use crate::socket::{Family, Socket, Transport};

/// A value and what could not be seen of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading<T> {
    /// What was seen.
    pub value: T,
    /// What was not.
    pub gaps: Vec<Gap>,
}

impl<T> Reading<T> {
    /// A value that was seen whole.
    pub const fn whole(value: T) -> Self {
        Self { value, gaps: Vec::new() }
    }

    /// Takes the value, and leaves the gaps with those of a larger reading.
    pub fn into_value(self, gaps: &mut Vec<Gap>) -> T {
        gaps.extend(self.gaps);
        self.value
    }
}

/// Why something was not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// The system refused: more rights are needed.
    Denied,
    /// This system, or this kernel, does not have it.
    Unsupported,
    /// It changed while it was read.
    Changed,
    /// What came was not understood.
    Malformed,
    /// It was larger than what is read.
    TooLarge,
    /// Nobody sent it, as of a snapshot put together from listings; or nobody recorded it.
    Absent,
}

/// Something that could not be seen: part of every output, and never taken for "nothing there".
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// What: `owners`, `bound sockets`, `firewall` …
    pub what: String,
    /// Why.
    pub reason: GapReason,
    /// A sentence for a person, with the system's own word for it and how many are concerned.
    pub detail: String,
    /// What to type or do to see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Gap {
    /// A gap without a remedy.
    pub fn new(what: impl Into<String>, reason: GapReason, detail: impl Into<String>) -> Self {
        Self { what: what.into(), reason, detail: detail.into(), remedy: None }
    }

    /// The same gap with what to do about it.
    #[must_use]
    pub fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

/// Operating system of the host that was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// Linux.
    #[default]
    Linux,
    /// Windows.
    Windows,
}

/// The host, as far as it matters for ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Host {
    /// Host name.
    pub name: String,
    /// System.
    pub system: System,
    /// Kernel release or Windows build.
    pub release: String,
    /// Identity of this boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// Inode of the network namespace that was read (Linux).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_namespace: Option<u64>,
    /// Inode of pid 1's network namespace, where it could be seen (Linux).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_network_namespace: Option<u64>,
    /// How `--netns` takes that namespace: its name below /run/netns, or a process id; none for that of the one who
    /// looked, where commands need no such word (Linux).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// Effective user id of the one who looked (Linux).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Name of the user who looked (Windows), written as the owners' `user` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether the one who looked may see and change everything: root with its capabilities; elevated.
    pub privileged: bool,
    /// Whether the one who looked may bind below the unprivileged start (CAP_NET_BIND_SERVICE).
    pub may_bind_privileged: bool,
}

/// Settings that decide about ports, besides ranges and reservations. Absent: not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `net.ipv4.ip_unprivileged_port_start`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unprivileged_port_start: Option<u32>,
    /// `net.ipv4.tcp_tw_reuse`: 0, 1, 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_tw_reuse: Option<u8>,
    /// `net.ipv4.tcp_tw_reuse_delay`, milliseconds; kernels before 6.14 have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_tw_reuse_delay_ms: Option<u32>,
    /// `net.ipv4.tcp_max_tw_buckets`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_max_tw_buckets: Option<u64>,
    /// `net.ipv4.ip_nonlocal_bind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_nonlocal_bind: Option<bool>,
    /// `net.ipv6.ip_nonlocal_bind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_nonlocal_bind: Option<bool>,
    /// Whether the host has IPv6 at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<bool>,
    /// Windows: the registry's `Tcpip\\Parameters\\ReservedPorts`, which has no effect since Vista; empty where the
    /// value is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved_ports_value: Option<Vec<PortRange>>,
    /// Windows: the registry's `hns\\State\\EnableExcludedPortRange`: false for 0, true for anything else and where
    /// the value is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hns_excludes_range: Option<bool>,
    /// Windows: the range that HNS sets aside, where the registry names another than its own 50000-50059
    /// (`ExcludedPortRangeStartPort`, `ExcludedPortRangePortCount`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hns_excluded_range: Option<PortRange>,
    /// Windows: the registry's `Tcpip\\Parameters\\TcpTimedWaitDelay`, seconds; none where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_wait_s: Option<u32>,
    /// Windows: the range that TCP connect() without a bind draws from instead of the dynamic one, and whose ports serve
    /// one connection to each destination (`AutoReusePortRangeStartPort`); none where that is off, as it is by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_reuse_range: Option<PortRange>,
}

/// How a component stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ComponentState {
    /// It runs; of a feature: it is on.
    Running,
    /// It is installed and does not run; of a feature: it is off.
    Stopped,
    /// It changes at this moment, or with the next restart.
    Changing,
    /// It is not installed.
    Absent,
}

/// A part of the system that gives ports out or sets them aside: a service or an optional feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Its name in lower case. Windows: the services `winnat`, `hns`, `iphlpsvc`, `http`, the feature `hyper-v`.
    pub name: String,
    /// How it stands.
    pub state: ComponentState,
}

/// An address of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalAddress {
    /// The address.
    pub address: IpAddr,
    /// Length of its prefix in bits.
    pub prefix: u8,
    /// Its interface.
    pub interface: String,
}

/// One look at one host. Built by the host crate, read from a file, or made by a test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// When, milliseconds since 1970-01-01 UTC.
    pub taken_ms: u64,
    /// Whose.
    pub host: Host,
    /// Every socket that was asked for.
    pub sockets: Vec<Socket>,
    /// Who holds which socket: `sockets[i].first_holder ..+ holder_count`.
    pub holders: Vec<Holder>,
    /// Processes that hold sockets, each once.
    pub owners: Vec<Owner>,
    /// Where sockets come from; index 0 always exists once there is a socket.
    pub origins: Vec<Origin>,
    /// Ephemeral ranges, up to four.
    pub ranges: Vec<EphemeralRange>,
    /// Ports set aside, in rising order.
    pub reservations: Vec<Reservation>,
    /// TCP ports of the range whose bind buckets connect() passes over, since a socket that is connected or in
    /// TIME_WAIT was bound to them explicitly; those of listeners and bound sockets need not be among them. `None`
    /// when not read: the socket table does not tell.
    pub burnt: Option<Vec<PortRange>>,
    /// Other settings.
    pub settings: Settings,
    /// Parts of the system that set ports aside; one that was not looked at is not listed.
    pub components: Vec<Component>,
    /// This host's addresses; empty when they were not read.
    pub addresses: Vec<LocalAddress>,
    /// What carries ports for others.
    pub carriers: Vec<Carrier>,
    /// Firewall rules for traffic that comes in; `None` when not read.
    pub firewall: Option<Vec<FirewallRule>>,
    /// Counters by the kernel's names: `TCP.tw`, `TcpExt.ListenDrops`, `nf_conntrack.count` …
    pub counters: BTreeMap<String, u64>,
    /// What could not be seen.
    pub gaps: Vec<Gap>,
}

impl Snapshot {
    /// The holdings of a socket.
    pub fn holders_of(&self, socket: &Socket) -> &[Holder] {
        let first = socket.first_holder as usize;
        self.holders.get(first..first + usize::from(socket.holder_count)).unwrap_or(&[])
    }

    /// The processes that hold a socket, each once, in the order of the owner table.
    pub fn owners_of(&self, socket: &Socket) -> Vec<&Owner> {
        let mut indexes: Vec<u32> = self.holders_of(socket).iter().map(|holder| holder.owner).collect();
        indexes.sort_unstable();
        indexes.dedup();
        indexes.into_iter().filter_map(|index| self.owners.get(index as usize)).collect()
    }

    /// Where a socket comes from.
    pub fn origin_of(&self, socket: &Socket) -> Option<&Origin> {
        self.origins.get(socket.origin as usize)
    }

    /// How a component stands; none where nobody looked.
    pub fn component(&self, name: &str) -> Option<ComponentState> {
        self.components.iter().find(|component| component.name == name).map(|component| component.state)
    }

    /// The ephemeral range of a transport and family, where it was read.
    pub fn range_of(&self, transport: Transport, family: Family) -> Option<EphemeralRange> {
        self.ranges.iter().copied().find(|r| r.transport == transport && r.family == family)
    }

    /// The reservations that cover a port of a transport and family.
    pub fn reservations_of(
        &self,
        transport: Transport,
        family: Family,
        port: u16,
    ) -> impl Iterator<Item = &Reservation> {
        self.reservations.iter().filter(move |r| {
            r.range.contains(port)
                && r.transport.is_none_or(|t| t == transport)
                && r.family.is_none_or(|f| f == family)
        })
    }
}
