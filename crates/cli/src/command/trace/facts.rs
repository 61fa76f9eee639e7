//! What was seen of the machine since a call failed: who has the port, how much room is left. A look is taken once for
//! many calls, and never so often that looking would be the load.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use portolan_core::kernel::error_code;
use portolan_core::kernel::route::{Route, RouteKind};
use portolan_core::port::PortSet;
use portolan_core::remedy;
use portolan_core::snapshot::System;
use portolan_core::socket::{State, Transport};
use portolan_core::trace::{Call, Kind, Likeness, Meaning, Outcome, SPAN_NS, Seen, lacks_source, meaning};
use portolan_host::sys::{self, host};
use portolan_host::{Look, Namespace, OwnerSearch, Sections, SocketFilter, look, way};

/// A look serves calls that come that long after it.
const FRESH: Duration = Duration::from_secs(2);
/// So many looks at sockets may be taken one after the other; then one each such time.
const LOOKS: (u32, Duration) = (4, Duration::from_millis(500));
/// The same of questions for a way, each of which is one message.
const WAYS: (u32, Duration) = (64, Duration::from_millis(50));
/// Meanings and looks that are kept.
const KEPT: usize = 1024;

/// What a call needs to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Subject {
    /// Who has this port.
    Port(Transport, u16),
    /// How much room there is.
    Room(Transport),
    /// Which addresses the machine has.
    Addresses,
    /// The way to this address.
    Way(IpAddr),
    /// The way to this end, and who listens there, where it is this machine's.
    Answerer(SocketAddr),
}

/// Network namespace and subject.
type Key = (Option<u64>, Subject);

/// Looks, and what they told.
pub(super) struct Facts {
    /// The namespace of this process or of `--netns`, and its inode; none where no machine is looked at.
    here: Option<(Namespace, Option<u64>)>,
    seen: HashMap<Key, (Instant, Arc<Seen>)>,
    told: HashMap<Likeness, (u64, Option<Meaning>)>,
    /// Other namespaces that were found, by their inode.
    others: HashMap<u64, Namespace>,
    looks: Allowance,
    ways: Allowance,
}

/// What may be done now and then.
struct Allowance {
    most: u32,
    /// How long one takes to come back.
    recovery: Duration,
    /// How many there are, and since when.
    left: (u32, Instant),
}

impl Allowance {
    fn new((most, recovery): (u32, Duration)) -> Self {
        Self { most, recovery, left: (most, Instant::now()) }
    }

    /// Takes one, where there is one.
    fn take(&mut self) -> bool {
        let (left, since) = &mut self.left;
        let back =
            u32::try_from(since.elapsed().as_millis() / self.recovery.as_millis()).unwrap_or(self.most);
        if back > 0 {
            *left = left.saturating_add(back).min(self.most);
            *since = Instant::now();
        }
        let may = *left > 0;
        *left = left.saturating_sub(1);
        may
    }
}

impl Facts {
    /// Looks at this machine.
    pub(super) fn of_machine(namespace: &Namespace) -> Result<Self> {
        let inode = host(namespace)?.network_namespace;
        Ok(Self { here: Some((namespace.clone(), inode)), ..Self::of_no_machine() })
    }

    /// Looks at no machine: what is told happened on another, or long ago.
    pub(super) fn of_no_machine() -> Self {
        let [looks, ways] = [LOOKS, WAYS].map(Allowance::new);
        Self { here: None, seen: HashMap::new(), told: HashMap::new(), others: HashMap::new(), looks, ways }
    }

    /// What a call means; of calls that are alike, what the first meant.
    pub(super) fn meaning(&mut self, call: &Call, system: System) -> Option<Meaning> {
        if call.outcome == Outcome::Done {
            return None;
        }
        let likeness = call.likeness();
        if let Some((at, known)) = self.told.get(&likeness)
            && call.at_ns.saturating_sub(*at) < SPAN_NS
        {
            return known.clone();
        }
        let place = self.place(call);
        let seen = subject(call, system).and_then(|subject| self.look(call, place.as_ref()?, subject));
        let found = meaning(call, system, seen.as_deref().unwrap_or(&Seen::default()));
        let found = found.map(|found| match &self.here {
            // What is typed elsewhere than where the call was made says nothing of it.
            Some(_) => Meaning { command: found.command.and_then(|it| typed(place.as_ref()?, it)), ..found },
            None => found,
        });
        if self.told.len() >= KEPT {
            self.told.clear();
        }
        self.told.insert(likeness, (call.at_ns, found.clone()));
        found
    }

    fn look(&mut self, call: &Call, place: &Namespace, subject: Subject) -> Option<Arc<Seen>> {
        let key = (call.network_namespace, subject);
        if let Some((_, seen)) = self.seen.get(&key).filter(|(at, _)| at.elapsed() < FRESH) {
            return Some(Arc::clone(seen));
        }
        let route = match subject {
            Subject::Way(address) if self.ways.take() => way::route(place, SocketAddr::new(address, 0)).ok(),
            Subject::Answerer(end) if self.ways.take() => way::route(place, end).ok(),
            _ => None,
        };
        let wanted = asked(subject, route.as_ref()).filter(|_| self.looks.take());
        if route.is_none() && wanted.is_none() {
            return None;
        }
        let see = |wanted| {
            let mut seen = look(&Look { namespace: place.clone(), ..wanted }).ok()?;
            // Commands are typed for the call's namespace by whoever tells of it.
            seen.host.netns = None;
            Some(seen)
        };
        let seen = Arc::new(Seen { snapshot: wanted.and_then(see), route });
        if self.seen.len() >= KEPT {
            self.seen.clear();
        }
        self.seen.insert(key, (Instant::now(), Arc::clone(&seen)));
        Some(seen)
    }

    /// The network namespace of a call; none where it cannot be found any more, and where no machine is looked at. A name,
    /// or another process of it, outlives the caller, who may be gone before anything is typed.
    fn place(&mut self, call: &Call) -> Option<Namespace> {
        let (here, inode) = self.here.clone()?;
        let Some(of_call) = call.network_namespace.filter(|of_call| Some(*of_call) != inode) else {
            return Some(here);
        };
        let is_it = |namespace: &&Namespace| {
            host(namespace).is_ok_and(|host| host.network_namespace == Some(of_call))
        };
        if let Some(known) = self.others.get(&of_call).filter(is_it) {
            return Some(known.clone());
        }
        if self.looks.take() {
            let all = sys::namespaces().value.into_iter();
            let with_inode =
                |namespace: Namespace| Some((host(&namespace).ok()?.network_namespace?, namespace));
            self.others = all.filter_map(|(_, namespace)| with_inode(namespace)).collect();
            if let Some(found) = self.others.get(&of_call) {
                return Some(found.clone());
            }
        }
        Some(Namespace::Of(call.pid)).filter(|of_process| is_it(&of_process))
    }
}

/// A command as it is typed for a namespace.
fn typed(place: &Namespace, command: String) -> Option<String> {
    remedy::in_place(place.typed().as_deref(), command)
}

/// What is to be looked at to tell more than the code does.
fn subject(call: &Call, system: System) -> Option<Subject> {
    let remote = call.remote.map(|remote| SocketAddr::new(remote.ip().to_canonical(), remote.port()));
    let code = match call.outcome {
        Outcome::Done => return None,
        Outcome::GivenUp => return remote.map(Subject::Answerer),
        Outcome::Failed(code) | Outcome::FailedLater(code) => code,
    };
    let name = error_code::by_code(system, code)?.name;
    match (call.kind, name.strip_prefix("WSA").unwrap_or(name)) {
        (Kind::Bind | Kind::Listen, "EADDRINUSE" | "EACCES" | "EADDRNOTAVAIL" | "EINVAL" | "ENOBUFS") => {
            let transport = call.transport?;
            match call.local?.port() {
                0 => Some(Subject::Room(transport)),
                port => Some(Subject::Port(transport, port)),
            }
        }
        (Kind::Connect, "EADDRNOTAVAIL") if system == System::Linux && lacks_source(call) => {
            Some(Subject::Addresses)
        }
        (Kind::Connect, "EADDRNOTAVAIL" | "EADDRINUSE" | "ENOBUFS" | "EAGAIN") => {
            Some(Subject::Room(call.transport?))
        }
        (Kind::Connect, "ETIMEDOUT") => remote.map(Subject::Answerer),
        (Kind::Connect, "ECONNREFUSED" | "EHOSTUNREACH" | "ENETUNREACH" | "EINVAL" | "EACCES") => {
            Some(Subject::Way(remote?.ip()))
        }
        _ => None,
    }
}

/// The look itself; none where the way there is all that is to be known.
fn asked(subject: Subject, route: Option<&Route>) -> Option<Look> {
    let settings = Sections { settings: true, ..Sections::default() };
    let of = |transport| SocketFilter { transport: Some(transport), ..SocketFilter::default() };
    let at = |transport, port| {
        let mut ports = PortSet::new();
        ports.insert(port);
        SocketFilter { local_ports: Some(ports), ..of(transport) }
    };
    Some(match subject {
        Subject::Port(transport, port) => {
            let sockets = Some(at(transport, port));
            Look { sockets, owners: OwnerSearch::All, sections: settings, ..Look::default() }
        }
        Subject::Room(transport) => Look {
            sockets: Some(of(transport)),
            sections: Sections { buckets: true, ..settings },
            ..Look::default()
        },
        Subject::Addresses => Look { sections: settings, ..Look::default() },
        Subject::Answerer(end) if route.is_some_and(|route| route.kind == RouteKind::Local) => {
            let states = BTreeSet::from([State::Listen]);
            let sockets = Some(SocketFilter { states, ..at(Transport::Tcp, end.port()) });
            Look { sockets, owners: OwnerSearch::First, ..Look::default() }
        }
        Subject::Answerer(_) | Subject::Way(_) => return None,
    })
}
