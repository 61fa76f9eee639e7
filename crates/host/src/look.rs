//! One look at this host: what a command wants to know, put together from the façade into a `Snapshot`.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use portolan_core::port::PortSet;
use portolan_core::snapshot::{Gap, Snapshot};
use portolan_core::socket::{Family, Socket, SocketOptions, State, Transport};

use crate::sys::{Buckets, Holdings, HostSettings, Sockets};
use crate::{Error, sys};

/// Whose sockets and settings: a network namespace (Linux).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespace {
    /// That of this process.
    #[default]
    Own,
    /// A name below /run/netns.
    Named(String),
    /// That of a process.
    Of(u32),
}

impl Namespace {
    /// The word for it that `--netns` takes; none for that of this process.
    pub fn typed(&self) -> Option<String> {
        match self {
            Self::Own => None,
            Self::Named(name) => Some(name.clone()),
            Self::Of(pid) => Some(pid.to_string()),
        }
    }
}

/// Which sockets are wanted; what the system can filter is filtered there.
#[derive(Clone, Debug, Default)]
pub struct SocketFilter {
    /// One transport; none for both.
    pub transport: Option<Transport>,
    /// One family; none for both.
    pub family: Option<Family>,
    /// States; empty for all.
    pub states: BTreeSet<State>,
    /// Local ports; none for all.
    pub local_ports: Option<PortSet>,
}

impl SocketFilter {
    /// Whether it lets that socket of a wanted transport and family through.
    pub(crate) fn accepts(&self, socket: &Socket) -> bool {
        (self.states.is_empty() || self.states.contains(&socket.state))
            && self.local_ports.as_ref().is_none_or(|ports| ports.contains(socket.local_port))
    }
}

/// Whose the sockets are: how far to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnerSearch {
    /// Not at all: `OwnerState::NotAsked`.
    #[default]
    None,
    /// Every holder of every socket of the look.
    All,
    /// Likely holders first, and stop at the first one of each socket.
    First,
    /// Every holder, as far as this process does not know it from a look within the last minute: for whoever looks again
    /// and again. Bound sockets are then not looked for in every look as long as there are none.
    Remembered,
}

/// Which parts besides sockets and owners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sections {
    /// Ranges, reservations, settings, addresses.
    pub settings: bool,
    /// Which TCP ports an explicit bind keeps from connect(), which TIME_WAIT had timestamps, and Windows' auto-reuse range:
    /// what [`portolan_core::room`] needs to be exact. It takes the settings with it.
    pub buckets: bool,
    /// What takes long on Windows, for whoever looks once: how many sockets each owner has open, bound or not. On Linux
    /// there is nothing of it.
    pub slow: bool,
    /// WinNAT's pool, among the counters, where WinNAT runs: PowerShell takes a second and more to tell it, so that whoever
    /// looks again and again asks rarely. Unasked it is a gap. On Linux there is nothing of it.
    pub winnat: bool,
    /// Counters.
    pub counters: bool,
    /// Socket units, DNAT rules, container proxies.
    pub carriers: bool,
    /// Firewall rules.
    pub firewall: bool,
}

impl Sections {
    /// All of them.
    pub const ALL: Self = Self {
        settings: true,
        buckets: true,
        slow: true,
        winnat: true,
        counters: true,
        carriers: true,
        firewall: true,
    };
}

/// What to look at.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// In which network namespace.
    pub namespace: Namespace,
    /// Which sockets; none to leave sockets out.
    pub sockets: Option<SocketFilter>,
    /// Their owners.
    pub owners: OwnerSearch,
    /// Sockets are counted and not shown: all of them, without users, cgroups, queues and options, and of timers with
    /// TIME_WAIT's alone.
    /// That takes half the time where there are many.
    pub counting: bool,
    /// What else.
    pub sections: Sections,
}

/// Looks. Fails only where there is nothing to show at all (no such namespace); what could not be seen is a gap.
pub fn look(look: &Look) -> Result<Snapshot, Error> {
    let mut snapshot = Snapshot { taken_ms: now_ms(), ..Snapshot::default() };
    let mut gaps = Vec::new();
    let mut read_along = None;
    if let Some(filter) = &look.sockets {
        let read = match look.counting {
            true => sys::counted(&look.namespace, look.owners),
            false => sys::sockets(&look.namespace, filter, look.owners),
        };
        let Sockets { sockets, origins, burnt, holdings: Holdings { holders, owners } } =
            read?.into_value(&mut gaps);
        snapshot = Snapshot { sockets, origins, holders, owners, ..snapshot };
        read_along = burnt;
    }
    snapshot.host = sys::host(&look.namespace)?;
    let Sections { settings, buckets, slow, winnat, counters, carriers, firewall } = look.sections;
    if slow {
        gaps.extend(sys::count_socket_handles(&mut snapshot.owners));
    }
    if settings || buckets {
        let HostSettings { ranges, reservations, settings, components, addresses } =
            sys::settings(&look.namespace)?.into_value(&mut gaps);
        snapshot = Snapshot { ranges, reservations, settings, components, addresses, ..snapshot };
    }
    if buckets {
        snapshot.settings.auto_reuse_range = sys::auto_reuse(&look.namespace)?.into_value(&mut gaps);
        add_buckets(look, read_along, &mut snapshot, &mut gaps)?;
    }
    if counters {
        snapshot.counters = sys::counters(&look.namespace)?.into_value(&mut gaps);
        snapshot.counters.extend(sys::winnat(winnat).into_value(&mut gaps));
    }
    if carriers && firewall {
        let (carriers, firewall) = sys::carriers_and_firewall(&look.namespace)?;
        snapshot.carriers = carriers.into_value(&mut gaps);
        snapshot.firewall = firewall.into_value(&mut gaps);
    } else if carriers {
        snapshot.carriers = sys::carriers(&look.namespace)?.into_value(&mut gaps);
    } else if firewall {
        snapshot.firewall = sys::firewall(&look.namespace)?.into_value(&mut gaps);
    }
    snapshot.gaps = gaps;
    Ok(snapshot)
}

/// What the bind buckets of the ephemeral range know, where a TCP socket in it has a peer; `read_along` is that of all
/// ports, with what TIME_WAIT had already in the sockets.
fn add_buckets(
    look: &Look,
    read_along: Option<PortSet>,
    snapshot: &mut Snapshot,
    gaps: &mut Vec<Gap>,
) -> Result<(), Error> {
    let Some(range) = snapshot.range_of(Transport::Tcp, Family::Ipv4).map(|found| found.range) else {
        return Ok(());
    };
    if let Some(mut burnt) = read_along {
        burnt.intersect(&[range].into_iter().collect());
        snapshot.burnt = Some(burnt.ranges());
        return Ok(());
    }
    let has_peer = |s: &&Socket| s.transport == Transport::Tcp && s.remote_port != 0;
    if !snapshot.sockets.iter().filter(has_peer).any(|socket| range.contains(socket.local_port)) {
        // Nothing there that the socket table does not tell.
        snapshot.burnt = Some(Vec::new());
        return Ok(());
    }
    let buckets = sys::bind_buckets(&look.namespace, range)?.into_value(gaps);
    let Some(Buckets { burnt, unstamped }) = buckets else { return Ok(()) };
    for socket in snapshot.sockets.iter_mut().filter(|s| s.state == State::TimeWait) {
        let stamped = !unstamped.contains(&(socket.local(), socket.remote()));
        let bit = if stamped { SocketOptions::TIMESTAMPS } else { 0 };
        socket.options.0 |= SocketOptions::TIMESTAMPS_READ | bit;
    }
    snapshot.burnt = Some(burnt.ranges());
    Ok(())
}

/// Milliseconds since 1970-01-01 UTC.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
