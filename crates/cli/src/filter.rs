//! Which sockets are wanted: what the kernel can filter is asked of it, all is checked again here, because a file or
//! a table of /proc holds every socket.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::Result;
use clap::Args;
use portolan_core::owner::{Origin, Owner};
use portolan_core::port::{Port, PortRange, PortSet};
use portolan_core::snapshot::Snapshot;
use portolan_core::socket::{Family, Socket, State, Transport};
use portolan_host::SocketFilter;

use crate::rows::has_peer;
use crate::source::Session;
use crate::text::{is_like, nearest};

/// Which sockets are wanted; several values of one option are alternatives, several options all hold.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which sockets")]
pub(crate) struct Filter {
    /// Local port or range: 80, 8000-8100, 80,443
    #[arg(long, short, value_name = "PORTS", value_delimiter = ',')]
    pub(crate) port: Vec<PortRange>,
    /// Remote port or range
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    pub(crate) remote_port: Vec<PortRange>,
    /// State: listen, established, time-wait …; ss's and netstat's names are known too
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = state)]
    pub(crate) state: Vec<State>,
    /// Only those that wait for peers: TCP listeners, UDP sockets without a peer
    #[arg(long, short)]
    pub(crate) listening: bool,
    /// tcp or udp
    #[arg(long, short, value_name = "TRANSPORT")]
    pub(crate) transport: Option<Transport>,
    /// ipv4 or ipv6
    #[arg(long, value_name = "FAMILY", value_parser = family)]
    pub(crate) family: Option<Family>,
    /// Local or remote address, or network: 10.0.0.5, 10.0.0.0/8, fd00::/8
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) address: Vec<Network>,
    // As an attribute: in a doc comment the brackets would be links.
    #[arg(
        long,
        value_name = "ADDRESS[:PORT]",
        value_delimiter = ',',
        help = "Local end: an address, a network, or an address with its port: 10.0.0.5:443, [::1]:443"
    )]
    pub(crate) local: Vec<End>,
    /// Remote end, written alike
    #[arg(long, value_name = "ADDRESS[:PORT]", value_delimiter = ',')]
    pub(crate) remote: Vec<End>,
    /// Held by this process
    #[arg(long, value_name = "PID", value_delimiter = ',', value_parser = pid)]
    pub(crate) pid: Vec<u32>,
    /// Held by a process of this name; * stands for any characters
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Vec<String>,
    /// Of this user, by name or id
    #[arg(long, value_name = "USER")]
    pub(crate) user: Vec<String>,
    /// Of this systemd unit; * stands for any characters
    #[arg(long, value_name = "UNIT")]
    pub(crate) unit: Vec<String>,
}

/// A network: an address and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        // A prefix of 0 shifts every bit out, which a plain shift cannot.
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).checked_shr(32 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim_matches(['[', ']']).parse().map_err(|_| {
            format!("'{text}' is no address; type one such as 10.0.0.5, 10.0.0.0/8 or fd00::/8")
        })?;
        let address = address.to_canonical();
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix.map(str::parse) {
            None => longest,
            Some(Ok(prefix)) if prefix <= longest => prefix,
            Some(_) => return Err(format!("the prefix of '{text}' must be 0 to {longest}")),
        };
        Ok(Self { address, prefix })
    }
}

/// One end of a connection: a network, and a port of it where one was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    network: Network,
    port: Option<Port>,
}

impl End {
    fn is(self, address: IpAddr, port: u16) -> bool {
        self.network.contains(address) && self.port.is_none_or(|wanted| wanted.number() == port)
    }
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<SocketAddr>() {
            Ok(end) => {
                let network = end.ip().to_string().parse()?;
                let port = Port::try_from(end.port()).map_err(|error| error.to_string())?;
                Ok(Self { network, port: Some(port) })
            }
            Err(_) => text
                .parse()
                .map(|network| Self { network, port: None })
                .map_err(|error: String| format!("{error}; with a port: 10.0.0.5:443 or [fd00::1]:443")),
        }
    }
}

/// A state, or the names of all with the nearest first.
fn state(text: &str) -> Result<State, String> {
    text.parse().map_err(|error: String| {
        let names: Vec<String> =
            State::ALL.iter().map(|state| state.name().to_ascii_lowercase().replace('_', "-")).collect();
        let near = nearest(&text.to_ascii_lowercase(), names.iter().map(String::as_str));
        near.map_or(error, |near| format!("'{text}' is no state; did you mean {near}?"))
    })
}

fn family(text: &str) -> Result<Family, String> {
    match text.to_ascii_lowercase().as_str() {
        "ipv4" | "4" | "inet" => Ok(Family::Ipv4),
        "ipv6" | "6" | "inet6" => Ok(Family::Ipv6),
        _ => Err(format!("'{text}' is no family; use ipv4 or ipv6")),
    }
}

fn pid(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "a process id is a number; use --name for a name".to_owned())
}

fn set(ranges: &[PortRange]) -> Option<PortSet> {
    (!ranges.is_empty()).then(|| ranges.iter().copied().collect())
}

impl Filter {
    /// Whether it lets every socket through.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            port, remote_port, state, listening, transport, family, address, local, remote, pid, ..
        } = self;
        let Self { name, user, unit, .. } = self;
        port.is_empty()
            && remote_port.is_empty()
            && state.is_empty()
            && !listening
            && transport.is_none()
            && family.is_none()
            && address.is_empty()
            && local.is_empty()
            && remote.is_empty()
            && pid.is_empty()
            && [name, user, unit].iter().all(|words| words.is_empty())
    }

    /// What the kernel is asked for.
    pub(crate) fn for_kernel(&self) -> SocketFilter {
        SocketFilter {
            transport: self.transport,
            family: self.family,
            states: self.states().unwrap_or_default(),
            local_ports: set(&self.port),
        }
    }

    fn states(&self) -> Option<BTreeSet<State>> {
        let mut states: BTreeSet<State> = self.state.iter().copied().collect();
        if self.listening {
            let waiting = BTreeSet::from([State::Listen, State::Unconnected]);
            if states.is_empty() {
                states = waiting;
            } else {
                states.retain(|state| waiting.contains(state));
            }
            // Nothing can match then; the kernel, to which no state means all, is asked for the waiting ones.
        }
        (!states.is_empty()).then_some(states)
    }

    /// The ids of the users that are wanted. Names are this machine's, or with `--from` those that the file tells.
    pub(crate) fn uids(&self, session: &Session, snapshot: &Snapshot) -> Result<HashSet<u32>> {
        let mut uids = HashSet::new();
        for user in &self.user {
            let named = |owner: &&Owner| owner.user.as_ref() == Some(user);
            match user.parse().ok().or_else(|| snapshot.owners.iter().find(named)?.uid) {
                Some(uid) => drop(uids.insert(uid)),
                None if session.is_file() => {}
                None => drop(uids.insert(session.uid_of(user)?)),
            }
        }
        Ok(uids)
    }

    /// The sockets that are wanted, by their index, in the snapshot's order.
    pub(crate) fn choose(&self, snapshot: &Snapshot, uids: &HashSet<u32>) -> Vec<u32> {
        let count = u32::try_from(snapshot.sockets.len()).unwrap_or(u32::MAX);
        let chosen = Chosen::new(self, snapshot, uids);
        (0..count)
            .zip(&snapshot.sockets)
            .filter(|(_, socket)| chosen.has(socket))
            .map(|(index, _)| index)
            .collect()
    }
}

/// The filter made ready for one snapshot: names are looked up once, not once a socket.
struct Chosen<'a> {
    filter: &'a Filter,
    ports: Option<PortSet>,
    remote_ports: Option<PortSet>,
    /// Of each owner, whether it is wanted.
    owners: Option<Vec<bool>>,
    /// Of each origin, whether it is wanted by its user and unit, as far as the kernel alone says so.
    origins: Option<Vec<bool>>,
    snapshot: &'a Snapshot,
}

impl<'a> Chosen<'a> {
    fn new(filter: &'a Filter, snapshot: &'a Snapshot, uids: &HashSet<u32>) -> Self {
        let by_process = !filter.pid.is_empty() || !filter.name.is_empty();
        let by_origin = !filter.user.is_empty() || !filter.unit.is_empty();
        let owners = (by_process || by_origin).then(|| {
            let wanted = |owner: &Owner| {
                (filter.pid.is_empty() || filter.pid.contains(&owner.pid))
                    && (filter.name.is_empty() || filter.name.iter().any(|name| is_like(&owner.name, name)))
                    && (filter.user.is_empty() || owner.uid.is_some_and(|uid| uids.contains(&uid)))
                    && filter.has_unit(owner.unit.as_deref())
            };
            snapshot.owners.iter().map(wanted).collect()
        });
        let origins = (by_origin && !by_process).then(|| {
            let wanted = |origin: &Origin| {
                (filter.user.is_empty() || origin.uid.is_some_and(|uid| uids.contains(&uid)))
                    && filter.has_unit(origin.unit.as_deref())
            };
            snapshot.origins.iter().map(wanted).collect()
        });
        let (ports, remote_ports) = (set(&filter.port), set(&filter.remote_port));
        Self { filter, ports, remote_ports, owners, origins, snapshot }
    }

    fn has(&self, socket: &Socket) -> bool {
        let filter = self.filter;
        filter.transport.is_none_or(|transport| transport == socket.transport)
            && filter.family.is_none_or(|family| family == socket.family)
            && (!filter.listening || socket.is_listening())
            && (filter.state.is_empty() || filter.state.contains(&socket.state))
            && self.ports.as_ref().is_none_or(|ports| ports.contains(socket.local_port))
            && self.remote_ports.as_ref().is_none_or(|ports| ports.contains(socket.remote_port))
            && (filter.address.is_empty() || self.has_address(socket))
            && Self::has_end(&filter.local, socket.local_address(), socket.local_port)
            && Self::has_end(&filter.remote, socket.remote_address(), socket.remote_port)
            && (self.owners.is_none() || self.has_owner(socket))
    }

    fn has_address(&self, socket: &Socket) -> bool {
        self.filter.address.iter().any(|network| {
            network.contains(socket.local_address())
                || (has_peer(socket) && network.contains(socket.remote_address()))
        })
    }

    fn has_end(wanted: &[End], address: IpAddr, port: u16) -> bool {
        wanted.is_empty() || wanted.iter().any(|end| end.is(address, port))
    }

    fn has_owner(&self, socket: &Socket) -> bool {
        let of = |wanted: &Option<Vec<bool>>, index: u32| {
            wanted.as_ref().is_some_and(|wanted| wanted.get(index as usize).copied().unwrap_or(false))
        };
        self.snapshot.holders_of(socket).iter().any(|holder| of(&self.owners, holder.owner))
            || of(&self.origins, socket.origin)
    }
}

impl Filter {
    fn has_unit(&self, unit: Option<&str>) -> bool {
        let like = |unit: &str, wanted: &str| {
            is_like(unit, wanted) || unit.strip_suffix(".service").is_some_and(|plain| is_like(plain, wanted))
        };
        self.unit.is_empty() || unit.is_some_and(|unit| self.unit.iter().any(|wanted| like(unit, wanted)))
    }
}
