//! What was seen of the machine since a call failed: who has the port, how much room is left. A look is taken once for
//! many calls, and never so often that looking would be the load.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use portolan_core::kernel::error_code;
use portolan_core::port::PortSet;
use portolan_core::snapshot::{Snapshot, System};
use portolan_core::socket::Transport;
use portolan_core::trace::{Call, Kind, Likeness, Meaning, Outcome, SPAN_NS, meaning};
use portolan_host::sys::{self, host};
use portolan_host::{Look, Namespace, OwnerSearch, Sections, SocketFilter, look};

/// A look serves calls that come that long after it.
const FRESH: Duration = Duration::from_secs(2);
/// So many looks may be taken one after the other; then one each `RECOVERY`.
const BURST: u32 = 4;
/// See there.
const RECOVERY: Duration = Duration::from_millis(500);
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
}

/// Network namespace and subject.
type Key = (Option<u64>, Subject);

/// Looks, and what they told.
pub(super) struct Facts {
    /// The namespace of this process or of `--netns`, and its inode; none where no machine is looked at.
    here: Option<(Namespace, Option<u64>)>,
    seen: HashMap<Key, (Instant, Option<Arc<Snapshot>>)>,
    told: HashMap<Likeness, (u64, Option<Meaning>)>,
    /// Other namespaces that were found, by their inode.
    others: HashMap<u64, Namespace>,
    /// How many looks may be taken now, and since when that is so.
    allowed: (u32, Instant),
}

impl Facts {
    /// Looks at this machine.
    pub(super) fn of_machine(namespace: &Namespace) -> Result<Self> {
        let inode = host(namespace)?.network_namespace;
        let here = Some((namespace.clone(), inode));
        let allowed = (BURST, Instant::now());
        Ok(Self { here, allowed, ..Self::of_no_machine() })
    }

    /// Looks at no machine: what is told happened on another, or long ago.
    pub(super) fn of_no_machine() -> Self {
        let allowed = (0, Instant::now());
        Self { here: None, seen: HashMap::new(), told: HashMap::new(), others: HashMap::new(), allowed }
    }

    /// What a call means; of calls that are alike, what the first meant.
    pub(super) fn meaning(&mut self, call: &Call, system: System) -> Option<Meaning> {
        let likeness = call.likeness();
        if let Some((at, known)) = self.told.get(&likeness)
            && call.at_ns.saturating_sub(*at) < SPAN_NS
        {
            return known.clone();
        }
        let seen = subject(call, system).and_then(|subject| self.look(call, subject));
        let found = meaning(call, system, seen.as_deref());
        if self.told.len() >= KEPT {
            self.told.clear();
        }
        self.told.insert(likeness, (call.at_ns, found.clone()));
        found
    }

    fn look(&mut self, call: &Call, subject: Subject) -> Option<Arc<Snapshot>> {
        let key = (call.network_namespace, subject);
        if let Some((_, seen)) = self.seen.get(&key).filter(|(at, _)| at.elapsed() < FRESH) {
            return seen.clone();
        }
        if self.here.is_none() || !self.may_look() {
            return None;
        }
        let seen = self.see(call, &asked(subject)).map(Arc::new);
        if self.seen.len() >= KEPT {
            self.seen.clear();
        }
        self.seen.insert(key, (Instant::now(), seen.clone()));
        seen
    }

    fn may_look(&mut self) -> bool {
        let (left, since) = &mut self.allowed;
        let back = u32::try_from(since.elapsed().as_millis() / RECOVERY.as_millis()).unwrap_or(BURST);
        if back > 0 {
            *left = left.saturating_add(back).min(BURST);
            *since = Instant::now();
        }
        let may = *left > 0;
        *left = left.saturating_sub(1);
        may
    }

    /// Looks at the namespace of a call; none where it cannot be found any more.
    fn see(&mut self, call: &Call, wanted: &Look) -> Option<Snapshot> {
        let (namespace, inode) = self.here.clone()?;
        let Some(of_call) = call.network_namespace.filter(|of_call| Some(*of_call) != inode) else {
            return look(&Look { namespace, ..wanted.clone() }).ok();
        };
        let is_it = |seen: &Snapshot| seen.host.network_namespace == Some(of_call);
        if let Some(known) = self.others.get(&of_call).cloned()
            && let Some(seen) = look(&Look { namespace: known, ..wanted.clone() }).ok().filter(is_it)
        {
            return Some(seen);
        }
        let of_process = Namespace::Of(call.pid);
        if let Some(seen) = look(&Look { namespace: of_process, ..wanted.clone() }).ok().filter(is_it) {
            return Some(seen);
        }
        // The process has ended, or has moved: the namespace may have a name, or other processes.
        self.others = sys::namespaces()
            .value
            .into_iter()
            .filter_map(|(_, namespace)| Some((host(&namespace).ok()?.network_namespace?, namespace)))
            .collect();
        let found = self.others.get(&of_call).cloned()?;
        look(&Look { namespace: found, ..wanted.clone() }).ok().filter(is_it)
    }
}

/// What is to be looked at to tell more than the code does.
fn subject(call: &Call, system: System) -> Option<Subject> {
    let (Outcome::Failed(code) | Outcome::FailedLater(code)) = call.outcome else { return None };
    let name = error_code::by_code(system, code)?.name;
    match (call.kind, name.strip_prefix("WSA").unwrap_or(name)) {
        (Kind::Bind | Kind::Listen, "EADDRINUSE" | "EACCES" | "EADDRNOTAVAIL" | "EINVAL" | "ENOBUFS") => {
            let transport = call.transport?;
            match call.local?.port() {
                0 => Some(Subject::Room(transport)),
                port => Some(Subject::Port(transport, port)),
            }
        }
        (Kind::Connect, "EADDRNOTAVAIL" | "EADDRINUSE" | "ENOBUFS" | "EAGAIN") => {
            Some(Subject::Room(call.transport?))
        }
        (Kind::Connect, "ECONNREFUSED") => Some(Subject::Addresses),
        _ => None,
    }
}

fn asked(subject: Subject) -> Look {
    let settings = Sections { settings: true, ..Sections::default() };
    let of = |transport| SocketFilter { transport: Some(transport), ..SocketFilter::default() };
    match subject {
        Subject::Port(transport, port) => {
            let mut ports = PortSet::new();
            ports.insert(port);
            let sockets = Some(SocketFilter { local_ports: Some(ports), ..of(transport) });
            Look { sockets, owners: OwnerSearch::All, sections: settings, ..Look::default() }
        }
        Subject::Room(transport) => Look {
            sockets: Some(of(transport)),
            sections: Sections { buckets: true, ..settings },
            ..Look::default()
        },
        Subject::Addresses => Look { sections: settings, ..Look::default() },
    }
}
