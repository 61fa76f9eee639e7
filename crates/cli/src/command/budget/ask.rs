//! What is asked of the room, as it was typed, and the answers: a row for each way to be given a port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use portolan_core::census;
use portolan_core::room::{self, Ask, Call};
use portolan_core::snapshot::{Gap, GapReason, LocalAddress, Snapshot, System};
use portolan_core::socket::{Family, Transport};
use portolan_host::connect;
use portolan_host::sys::SYSTEM;

use super::DESTINATIONS;
use super::rows::RoomRow;
use crate::exit::Misuse;
use crate::source::Session;

/// How long a name server is waited for.
const RESOLVE: Duration = Duration::from_secs(5);

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// Reads `db:5432`, `10.0.0.7:80`, `[::1]:80`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let example = "type it as in db.example:5432 or [::1]:80";
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| format!("'{text}' names no port; {example}"))?;
        let port: portolan_core::port::Port = port.parse().map_err(|error| format!("{error}; {example}"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_name = |host: &str| {
            !host.is_empty()
                && host.len() <= 253
                && host.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"/:[]@".contains(c))
        };
        let host = match bare {
            Some(bare) if bare.parse::<Ipv6Addr>().is_ok() => bare,
            None if is_name(host) => host,
            _ => return Err(format!("'{text}' is no HOST:PORT; {example}")),
        };
        Ok(Self { host: host.to_owned(), port: port.number() })
    }

    /// Its addresses; a file can only be asked for one that was typed.
    pub(super) fn resolve(&self, session: &Session) -> Result<Vec<SocketAddr>> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        if session.is_file() {
            let text = format!("a snapshot knows no names: give the address of '{}'", self.host);
            return Err(Misuse(text).into());
        }
        Ok(connect::resolve(session.namespace(), &self.host, self.port, RESOLVE)?)
    }
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Reads an address of --source.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "it is no address; type one as in 10.0.0.5 or 2001:db8::5".to_owned())
}

/// What is asked; empty lists ask for all.
#[derive(Debug, Default)]
pub(super) struct Question {
    pub(super) sources: Vec<IpAddr>,
    pub(super) destinations: Vec<SocketAddr>,
    pub(super) udp: bool,
    pub(super) bind: bool,
    /// Destinations that the system takes for another: as typed, and which it is.
    pub(super) taken_for: Vec<(SocketAddr, SocketAddr)>,
}

/// Refuses a source that connections cannot come from, and leaves the destinations of its family.
pub(super) fn check_source(
    session: &Session,
    source: IpAddr,
    destinations: &mut Vec<SocketAddr>,
) -> Result<()> {
    let family = Family::of(source.to_canonical());
    let other = destinations.first().copied();
    destinations.retain(|to| Family::of(to.ip().to_canonical()) == family);
    if let (Some(other), true) = (other, destinations.is_empty()) {
        let text = format!("nothing goes from {source} to {other}: give a --source of that family");
        return Err(Misuse(text).into());
    }
    if session.is_file() || connect::is_source(session.namespace(), source)? {
        return Ok(());
    }
    let of = session.namespace().typed().map_or("this machine".into(), |name| format!("namespace {name}"));
    let see = match SYSTEM {
        System::Windows => "ipconfig".to_owned(),
        System::Linux => session.in_place("ip address".to_owned()),
    };
    Err(Misuse(format!("{source} is not an address of {of}; see: {see}")).into())
}

impl Question {
    /// The question as it is meant of what was seen: connect() to no address in particular goes to this machine (Linux:
    /// `net/ipv4/route.c` takes the source, or 127.0.0.1; `net/ipv6/tcp_ipv6.c` takes ::1). A file's addresses are all
    /// that can be told of its sources.
    pub(super) fn of(mut self, snapshot: &Snapshot, is_file: bool) -> Result<Self, Misuse> {
        let unknown = |source: &&IpAddr| {
            let address = source.to_canonical();
            let own = |local: &LocalAddress| local.address.to_canonical() == address;
            !address.is_unspecified() && !address.is_loopback() && !snapshot.addresses.iter().any(own)
        };
        if is_file
            && !snapshot.addresses.is_empty()
            && let Some(source) = self.sources.iter().find(unknown)
        {
            let text =
                format!("{source} is not an address of the machine in the snapshot; leave --source out");
            return Err(Misuse(text));
        }
        let sources = self.sources.clone();
        for to in &mut self.destinations {
            let meant = match to.ip().to_canonical() {
                IpAddr::V6(address) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
                IpAddr::V4(address) if address.is_unspecified() => sources
                    .iter()
                    .map(IpAddr::to_canonical)
                    .find(|source| source.is_ipv4() && !source.is_unspecified())
                    .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                _ => continue,
            };
            if snapshot.host.system == System::Windows {
                let text =
                    format!("Windows connects to no {}; give the address that is meant: {meant}", to.ip());
                return Err(Misuse(text));
            }
            let typed = std::mem::replace(to, SocketAddr::new(meant, to.port()));
            self.taken_for.push((typed, *to));
        }
        Ok(self)
    }
}

/// A namespace that could not be entered; none where it was gone already, with its last process.
pub(super) fn not_entered(error: &anyhow::Error) -> Option<Gap> {
    let kind = error.downcast_ref::<portolan_host::Error>().map(|error| error.source.kind());
    let gap = |reason| Gap::new("network namespaces", reason, error.to_string());
    match kind {
        Some(io::ErrorKind::NotFound) => None,
        // As the error says already, with more rights.
        Some(io::ErrorKind::PermissionDenied) => Some(gap(GapReason::Denied).with_remedy("run as root")),
        _ => Some(gap(GapReason::Unsupported)),
    }
}

/// The rows, the least room first, and how many destinations there were to choose from.
pub(super) struct Answer {
    pub(super) rows: Vec<RoomRow>,
    pub(super) destinations: usize,
}

/// The addresses that the system would choose towards these destinations; empty where it was not asked.
pub(super) fn chosen_sources(session: &Session, destinations: &[SocketAddr]) -> Vec<IpAddr> {
    if session.is_file() {
        return Vec::new();
    }
    let source = |to: &SocketAddr| connect::source_towards(session.namespace(), *to).ok().flatten();
    let mut sources: Vec<IpAddr> = destinations.iter().filter_map(source).collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}

/// Answers.
pub(super) fn answer(snapshot: &Arc<Snapshot>, question: &Question) -> Answer {
    let mut answer = Answer { rows: Vec::new(), destinations: 0 };
    if !question.udp && !question.bind {
        towards(snapshot, question, &mut answer);
    }
    if question.destinations.is_empty() {
        answer.rows.extend(on_addresses(snapshot, question));
    }
    for row in &mut answer.rows {
        let meant = |(_, meant): &&(SocketAddr, SocketAddr)| row.destination == Some(*meant);
        row.asked_as = question.taken_for.iter().find(meant).map(|(typed, _)| *typed);
    }
    answer.rows.sort_by_key(|row| (row.left.room.min, row.left.room.max));
    answer
}

fn towards(snapshot: &Arc<Snapshot>, question: &Question, answer: &mut Answer) {
    let connections = room::connections(snapshot, Family::Ipv4);
    let mut missing = question.destinations.clone();
    if let Some(connections) = connections {
        let asked = !(question.sources.is_empty() && question.destinations.is_empty());
        let limit = if asked { usize::MAX } else { DESTINATIONS };
        let mut wanted = connections.worst(limit);
        wanted.retain(|(tuple, _)| {
            let canonical = |to: &SocketAddr| SocketAddr::new(to.ip().to_canonical(), to.port());
            (question.sources.is_empty() || question.sources.iter().any(|s| is_from(*s, tuple.source)))
                && (question.destinations.is_empty()
                    || question.destinations.iter().any(|to| canonical(to) == tuple.destination))
        });
        answer.destinations = if asked { wanted.len() } else { connections.len() };
        wanted.truncate(DESTINATIONS);
        missing.retain(|to| wanted.iter().all(|(tuple, _)| tuple.destination.ip() != to.ip().to_canonical()));
        let found = census::towards(snapshot, &connections, wanted);
        answer.rows.extend(found.iter().map(|towards| RoomRow::towards(snapshot, towards)));
    }
    // A destination without a socket, and whatever is nowhere.
    for to in &missing {
        let family = Family::of(to.ip().to_canonical());
        let source = question.sources.iter().copied().find(|s| Family::of(s.to_canonical()) == family);
        let ask = Ask {
            transport: Transport::Tcp,
            call: Call::Connect,
            source: source.unwrap_or(census::wildcard(family)),
            destination: Some(*to),
        };
        answer.rows.extend(room::of(snapshot, &ask).map(|left| RoomRow::asked(&ask, source, left)));
    }
    if question.destinations.is_empty() {
        answer.rows.extend(elsewhere(snapshot, question));
    }
}

/// Whether a source is meant; no address in particular means all of its family.
fn is_from(meant: IpAddr, source: IpAddr) -> bool {
    let meant = meant.to_canonical();
    meant == source || (meant.is_unspecified() && Family::of(meant) == Family::of(source))
}

/// The room towards any other destination.
fn elsewhere(snapshot: &Arc<Snapshot>, question: &Question) -> Vec<RoomRow> {
    rows(snapshot, question, &[(Transport::Tcp, Call::Connect)])
}

/// The room of every other call.
fn on_addresses(snapshot: &Arc<Snapshot>, question: &Question) -> Vec<RoomRow> {
    let calls = [(Transport::Tcp, Call::Bind), (Transport::Udp, Call::Connect), (Transport::Udp, Call::Bind)];
    let wanted = |(transport, call): &(Transport, Call)| {
        (!question.udp || *transport == Transport::Udp) && (!question.bind || *call == Call::Bind)
    };
    rows(snapshot, question, &calls.into_iter().filter(wanted).collect::<Vec<_>>())
}

/// A row for each call and address; one where both wildcards have the same room.
fn rows(snapshot: &Arc<Snapshot>, question: &Question, calls: &[(Transport, Call)]) -> Vec<RoomRow> {
    let mut rows: Vec<RoomRow> = Vec::new();
    for (transport, call) in calls.iter().copied() {
        for source in addresses(snapshot, question) {
            let ask = Ask { transport, call, source, destination: None };
            let Some(left) = room::of(snapshot, &ask) else { continue };
            let row = RoomRow::asked(&ask, (!source.is_unspecified()).then_some(source), left);
            let row = match shares_ports(snapshot, &ask) {
                true => row,
                false => row.with_users(snapshot, &census::holders(snapshot, &ask)),
            };
            let same = |known: &&mut RoomRow| {
                (known.transport, known.call, known.source) == (transport, call, None)
                    && known.left == row.left
            };
            match rows.iter_mut().find(same) {
                Some(same) if row.source.is_none() => same.families.extend(row.families),
                _ => rows.push(row),
            }
        }
    }
    rows
}

/// Whether a port in use may be given to this call all the same: a connection to somewhere else may have it too.
fn shares_ports(snapshot: &Snapshot, ask: &Ask) -> bool {
    (ask.transport, ask.call) == (Transport::Tcp, Call::Connect)
        && room::connections(snapshot, Family::of(ask.source)).is_some()
}

/// What the room is watched for, besides the destinations that sockets are connected to.
pub(super) fn calls(snapshot: &Snapshot, question: &Question) -> Vec<Ask> {
    let calls = [
        (Transport::Tcp, Call::Connect),
        (Transport::Tcp, Call::Bind),
        (Transport::Udp, Call::Connect),
        (Transport::Udp, Call::Bind),
    ];
    let sources = addresses(snapshot, question);
    let ask = |transport, call, source| Ask { transport, call, source, destination: None };
    calls
        .iter()
        .flat_map(|(transport, call)| sources.iter().map(move |source| ask(*transport, *call, *source)))
        .collect()
}

/// The addresses that were asked for, or the wildcard of each family that the host has.
fn addresses(snapshot: &Snapshot, question: &Question) -> Vec<IpAddr> {
    if !question.sources.is_empty() {
        return question.sources.clone();
    }
    let has = |family| snapshot.ranges.iter().any(|range| range.family == family);
    Family::ALL.into_iter().filter(|family| has(*family)).map(census::wildcard).collect()
}
