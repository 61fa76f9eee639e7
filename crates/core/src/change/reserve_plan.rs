//! Plans reservations: ports merged into what others reserve, never instead of it; and what ought to be reserved.
//!
//! Source: Documentation/networking/ip-sysctl.rst (`ip_local_reserved_ports`), sysctl.d(5): of several files that name
//! the list the last one wins whole, so ours repeats what the others say.

use super::range_plan::{Stores, outside_initial};
use super::{Action, Place, Plan, Step, Store, list};
use crate::port::{PortRange, PortSet};
use crate::snapshot::Snapshot;
use crate::socket::{Socket, State, Transport};

/// How reservations stand before the change.
#[derive(Clone, Debug, Default)]
pub struct ReservedNow {
    /// What the running kernel has.
    pub runtime: PortSet,
    /// What our file says.
    pub own: PortSet,
    /// Path of our file.
    pub path: String,
    /// What the files of others come to, were ours not there; with the file that says so.
    pub others: Option<(String, PortSet)>,
    /// A file read after ours that names the list, and so wins whole after a restart.
    pub later: Option<String>,
    /// Whether this is the network namespace of pid 1, where that is known.
    pub initial_namespace: Option<bool>,
}

impl ReservedNow {
    fn others(&self) -> PortSet {
        self.others.as_ref().map(|(_, ports)| ports.clone()).unwrap_or_default()
    }

    fn store(&self) -> Store {
        Store::File(self.path.clone())
    }

    fn warnings(&self, steps: &[Step]) -> Vec<String> {
        let mut warnings = Vec::new();
        if steps.iter().any(|step| !step.action.is_runtime()) {
            if let Some(later) = &self.later {
                warnings.push(format!(
                    "{later} is read after our file and names the list too: it wins after a restart"
                ));
            }
            if self.initial_namespace != Some(true) {
                warnings.push(outside_initial(&self.path));
            }
        }
        warnings
    }
}

fn minus(set: &PortSet, others: &[&PortSet]) -> PortSet {
    let mut left = set.clone();
    others.iter().for_each(|other| left.subtract(other));
    left
}

/// The plan that reserves `wanted` beside whatever is reserved already.
pub fn plan_reserve(
    now: &ReservedNow,
    wanted: &PortSet,
    stores: Stores,
    (title, note, place): (&str, Option<&str>, Place),
) -> Plan {
    let mut steps = Vec::new();
    let others = now.others();
    let in_file = minus(wanted, &[&now.own, &others]);
    if stores.persist() && !in_file.is_empty() {
        let kept = minus(&others, &[&now.own]).ranges();
        steps.push(Step::new(Action::Reserve { store: now.store(), ports: in_file.ranges(), kept }));
    }
    let in_kernel = minus(wanted, &[&now.runtime]);
    if stores.runtime() && !in_kernel.is_empty() {
        let ports = in_kernel.ranges();
        steps.push(Step::new(Action::Reserve { store: Store::Runtime, ports, kept: Vec::new() }));
    }
    let warnings = now.warnings(&steps);
    Plan { title: title.into(), note: note.map(str::to_owned), place, steps, warnings }
}

/// The plan that takes `wanted` out; an error says that none of them is reserved.
pub fn plan_unreserve(
    now: &ReservedNow,
    wanted: &PortSet,
    stores: Stores,
    (title, place): (&str, Place),
) -> Result<Plan, String> {
    let both = |set: &PortSet| {
        let mut common = set.clone();
        common.intersect(wanted);
        common
    };
    let others = now.others();
    let mut steps = Vec::new();
    let in_file = minus(&both(&now.own), &[&others]);
    if stores.persist() && !in_file.is_empty() {
        let ports = in_file.ranges();
        steps.push(Step::new(Action::Unreserve { store: now.store(), ports, kept: others.ranges() }));
    }
    let in_kernel = both(&now.runtime);
    if stores.runtime() && !in_kernel.is_empty() {
        let ports = in_kernel.ranges();
        steps.push(Step::new(Action::Unreserve { store: Store::Runtime, ports, kept: Vec::new() }));
    }
    if steps.is_empty() {
        let ports = list(&wanted.ranges());
        return Err(format!(
            "{ports}: nothing of it is reserved here; `portolan reserve list` shows what is"
        ));
    }
    let mut warnings = now.warnings(&steps);
    let theirs = both(&others);
    if let (Some((path, _)), true, false) = (&now.others, stores.persist(), theirs.is_empty()) {
        let ports = list(&theirs.ranges());
        warnings.push(format!("{path} reserves {ports}: after a restart that holds again; remove it there"));
    }
    Ok(Plan { title: title.into(), note: None, place, steps, warnings })
}

/// A port that ought to be reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The port.
    pub port: u16,
    /// Whose it is: the program or the socket unit.
    pub by: String,
}

/// Ports inside the ephemeral range that a program of this host is meant to hold and nobody reserved: TCP listeners,
/// and what socket units name. A UDP socket in that range is most often a client's, and is left out.
pub fn suggest(snapshot: &Snapshot) -> Vec<Suggestion> {
    let exposed = |transport, family, port| {
        snapshot.range_of(transport, family).is_some_and(|found| found.range.contains(port))
            && snapshot.reservations_of(transport, family, port).next().is_none()
    };
    let who = |socket: &Socket| {
        let names: Vec<&str> = snapshot.owners_of(socket).iter().map(|owner| owner.name.as_str()).collect();
        if names.is_empty() { "owner not visible".to_owned() } else { names.join(", ") }
    };
    let listeners = snapshot
        .sockets
        .iter()
        .filter(|s| s.transport == Transport::Tcp && s.state == State::Listen)
        .filter(|s| exposed(s.transport, s.family, s.local_port))
        .map(|s| Suggestion { port: s.local_port, by: who(s) });
    let units = snapshot.carriers.iter().flat_map(|carrier| {
        let ports = carrier.ports.ports().map(u16::from);
        ports
            .filter(|port| exposed(carrier.transport, crate::socket::Family::Ipv4, *port))
            .map(|port| Suggestion { port, by: carrier.name.clone() })
            .collect::<Vec<_>>()
    });
    let mut found: Vec<Suggestion> = listeners.chain(units).collect();
    found.sort_by(|a, b| a.port.cmp(&b.port).then_with(|| a.by.cmp(&b.by)));
    found.dedup_by_key(|suggestion| suggestion.port);
    found
}

/// The listeners of a host whose port a range covers.
pub fn covered(snapshot: &Snapshot, range: PortRange) -> Vec<u16> {
    let mut ports: Vec<u16> = snapshot
        .sockets
        .iter()
        .filter(|socket| socket.is_listening() && range.contains(socket.local_port))
        .map(|socket| socket.local_port)
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> PortSet {
        text.split(',')
            .filter(|part| !part.is_empty())
            .map(|part| part.parse::<PortRange>().unwrap())
            .collect()
    }

    fn now(runtime: &str, own: &str, others: &str) -> ReservedNow {
        ReservedNow {
            runtime: set(runtime),
            own: set(own),
            path: "/etc/sysctl.d/60-portolan.conf".into(),
            others: (!others.is_empty()).then(|| ("/etc/sysctl.d/50-db.conf".into(), set(others))),
            later: None,
            initial_namespace: Some(true),
        }
    }

    fn said(plan: &Plan) -> Vec<String> {
        plan.steps.iter().map(|step| step.action.to_string()).collect()
    }

    #[test]
    fn adding_names_only_what_is_new_and_repeats_what_other_files_say() {
        let plan =
            |now, wanted| plan_reserve(&now, &set(wanted), Stores::Both, ("t", None, Place::default()));
        assert_eq!(
            said(&plan(now("8080", "", "8080"), "5432,8080")),
            [
                "file /etc/sysctl.d/60-portolan.conf: reserve 5432 (and repeat 8080 of other files)",
                "kernel: reserve 5432"
            ]
        );
        assert_eq!(said(&plan(now("5432", "5432", ""), "5432")), [] as [&str; 0]);
        assert_eq!(said(&plan(now("5432", "", ""), "5432")).len(), 1, "the kernel has it, the file does not");
    }

    #[test]
    fn removing_leaves_what_others_reserve_and_says_so() {
        let remove = |now, wanted| plan_unreserve(&now, &set(wanted), Stores::Both, ("t", Place::default()));
        let plan = remove(now("5432,8080", "5432,8080", "8080"), "5432,8080").unwrap();
        assert_eq!(
            said(&plan),
            ["file /etc/sysctl.d/60-portolan.conf: stop reserving 5432", "kernel: stop reserving 5432,8080"]
        );
        assert_eq!(
            plan.warnings,
            ["/etc/sysctl.d/50-db.conf reserves 8080: after a restart that holds again; remove it there"]
        );
        assert!(
            remove(now("", "", ""), "5432").unwrap_err().starts_with("5432: nothing of it is reserved here")
        );
    }
}
