//! Plans reservations: ports merged into what others reserve, never instead of it; and what ought to be reserved.
//!
//! Source: Documentation/networking/ip-sysctl.rst (`ip_local_reserved_ports`), sysctl.d(5): of several files that name
//! the list the last one wins whole, so ours repeats what the others say.

use super::range_plan::{Stores, file_step, files_are_known, outside_initial};
use super::{Action, Place, Plan, Step, Store, briefly};
use crate::port::{PortRange, PortSet};
use crate::range::CarrierKind;
use crate::snapshot::{Gap, Snapshot};
use crate::socket::{Family, Socket, State, Transport};

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
    /// A file read after ours that names the list, and so wins whole after a restart; with what it says.
    pub later: Option<(String, PortSet)>,
    /// Whether this is the network namespace of pid 1, where that is known.
    pub initial_namespace: Option<bool>,
    /// What of the files could not be read: then a file is not changed.
    pub gaps: Vec<Gap>,
}

impl ReservedNow {
    fn others(&self) -> PortSet {
        self.others.as_ref().map(|(_, ports)| ports.clone()).unwrap_or_default()
    }

    fn store(&self) -> Store {
        Store::File(self.path.clone())
    }

    /// The files that name a port and by which it is reserved after a restart. A later file speaks alone; ours
    /// silences those before it, which then count only for what ours repeats.
    pub fn after_restart(&self, port: u16) -> Vec<String> {
        let says = |file: &Option<(String, PortSet)>| {
            file.as_ref().filter(|(_, ports)| ports.contains(port)).map(|(path, _)| path.clone())
        };
        if self.later.is_some() {
            return says(&self.later).into_iter().collect();
        }
        match (self.own.is_empty(), self.own.contains(port)) {
            (true, _) => says(&self.others).into_iter().collect(),
            (false, true) => [Some(self.path.clone()), says(&self.others)].into_iter().flatten().collect(),
            (false, false) => Vec::new(),
        }
    }

    fn outside(&self, steps: &[Step]) -> Option<String> {
        let of_file = steps.iter().any(|step| !step.action.is_runtime());
        (of_file && self.initial_namespace != Some(true)).then(|| outside_initial(&self.path))
    }
}

fn minus(set: &PortSet, other: &PortSet) -> PortSet {
    let mut left = set.clone();
    left.subtract(other);
    left
}

fn common(set: &PortSet, other: &PortSet) -> PortSet {
    let mut both = set.clone();
    both.intersect(other);
    both
}

/// The plan that reserves `wanted` beside whatever is reserved already. An error is the reason why it is refused.
pub fn plan_reserve(
    now: &ReservedNow,
    wanted: &PortSet,
    stores: Stores,
    (title, note, place): (&str, Option<&str>, Place),
) -> Result<Plan, String> {
    files_are_known(&now.gaps, stores)?;
    let mut steps = Vec::new();
    let others = now.others();
    // Where ours says nothing yet, the others speak for themselves.
    let said = if now.own.is_empty() { &others } else { &now.own };
    let in_file = minus(wanted, said);
    if stores.persist() && !in_file.is_empty() {
        let kept = minus(&minus(&others, &now.own), &in_file).ranges();
        steps.push(file_step(Action::Reserve { store: now.store(), ports: in_file.ranges(), kept }, stores));
    }
    let in_kernel = minus(wanted, &now.runtime);
    if stores.runtime() && !in_kernel.is_empty() {
        let ports = in_kernel.ranges();
        steps.push(Step::new(Action::Reserve { store: Store::Runtime, ports, kept: Vec::new() }));
    }
    let mut warnings: Vec<String> = now.outside(&steps).into_iter().collect();
    if let (Some((path, ports)), true) = (&now.later, stores.persist()) {
        let missing = minus(wanted, ports);
        if !missing.is_empty() {
            let missing = briefly(&missing.ranges());
            warnings.push(format!(
                "{path} is read after our file and its list wins after a restart, without {missing}: add it there"
            ));
        }
    }
    Ok(Plan { title: title.into(), note: note.map(str::to_owned), place, steps, warnings })
}

/// The plan that takes `wanted` out; without steps where none of it is reserved by us or the kernel. An error is the
/// reason why it is refused.
pub fn plan_unreserve(
    now: &ReservedNow,
    wanted: &PortSet,
    stores: Stores,
    (title, place): (&str, Place),
) -> Result<Plan, String> {
    files_are_known(&now.gaps, stores)?;
    let others = now.others();
    let mut steps = Vec::new();
    let in_file = minus(&common(&now.own, wanted), &others);
    if stores.persist() && !in_file.is_empty() {
        let (ports, kept) = (in_file.ranges(), others.ranges());
        steps.push(file_step(Action::Unreserve { store: now.store(), ports, kept }, stores));
    }
    let in_kernel = common(&now.runtime, wanted);
    if stores.runtime() && !in_kernel.is_empty() {
        let ports = in_kernel.ranges();
        steps.push(Step::new(Action::Unreserve { store: Store::Runtime, ports, kept: Vec::new() }));
    }
    let mut warnings: Vec<String> = now.outside(&steps).into_iter().collect();
    for (path, ports) in now.others.iter().chain(&now.later).filter(|_| stores.persist()) {
        let theirs = common(ports, wanted);
        if !theirs.is_empty() {
            let ports = briefly(&theirs.ranges());
            warnings
                .push(format!("{path} reserves {ports}: after a restart that holds again; remove it there"));
        }
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
    let units = snapshot.carriers.iter().filter(|c| c.kind == CarrierKind::SocketUnit).flat_map(|carrier| {
        let ports = carrier.ports.ports().map(u16::from);
        ports
            .filter(|port| exposed(carrier.transport, Family::Ipv4, *port))
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
    use crate::range::{Carrier, EphemeralRange, Reservation, ReservationKind};

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
            initial_namespace: Some(true),
            ..ReservedNow::default()
        }
    }

    fn said(plan: &Plan) -> Vec<String> {
        plan.steps.iter().map(|step| step.action.to_string()).collect()
    }

    fn add(now: &ReservedNow, wanted: &str) -> Plan {
        plan_reserve(now, &set(wanted), Stores::Both, ("t", None, Place::default())).unwrap()
    }

    fn remove(now: &ReservedNow, wanted: &str) -> Plan {
        plan_unreserve(now, &set(wanted), Stores::Both, ("t", Place::default())).unwrap()
    }

    #[test]
    fn adding_names_only_what_is_new_and_repeats_what_other_files_say() {
        assert_eq!(
            said(&add(&now("8080", "", "8080"), "5432,8080")),
            [
                "file /etc/sysctl.d/60-portolan.conf: reserve 5432 (and repeat 8080 of other files)",
                "kernel: reserve 5432"
            ]
        );
        assert_eq!(said(&add(&now("5432", "5432", ""), "5432")), [] as [&str; 0]);
        assert_eq!(said(&add(&now("5432", "", ""), "5432")).len(), 1, "the kernel has it, the file does not");
    }

    #[test]
    fn a_port_of_an_earlier_file_that_ours_has_silenced_is_added_to_ours() {
        let silenced = now("5432,9000", "5432", "9000");
        assert_eq!(silenced.after_restart(9000), [] as [&str; 0]);
        assert_eq!(said(&add(&silenced, "9000")), ["file /etc/sysctl.d/60-portolan.conf: reserve 9000"]);
    }

    #[test]
    fn a_later_file_speaks_alone_after_a_restart_and_is_named() {
        let later = Some(("/etc/sysctl.conf".to_owned(), set("7000")));
        let now = ReservedNow { later, ..now("", "", "8080") };
        assert_eq!(now.after_restart(7000), ["/etc/sysctl.conf"]);
        assert_eq!(now.after_restart(8080), [] as [&str; 0]);
        assert_eq!(
            add(&now, "5432,7000").warnings,
            [
                "/etc/sysctl.conf is read after our file and its list wins after a restart, without 5432: add it there"
            ]
        );
        assert_eq!(
            remove(&now, "7000").warnings,
            ["/etc/sysctl.conf reserves 7000: after a restart that holds again; remove it there"]
        );
    }

    #[test]
    fn removing_leaves_what_others_reserve_and_says_so() {
        let plan = remove(&now("5432,8080", "5432,8080", "8080"), "5432,8080");
        assert_eq!(
            said(&plan),
            ["file /etc/sysctl.d/60-portolan.conf: stop reserving 5432", "kernel: stop reserving 5432,8080"]
        );
        assert_eq!(
            plan.warnings,
            ["/etc/sysctl.d/50-db.conf reserves 8080: after a restart that holds again; remove it there"]
        );
        assert_eq!(remove(&now("", "", ""), "5432").steps, []);
    }

    fn listener(port: u16, state: State) -> Socket {
        Socket::unconnected(Transport::Tcp, state, (std::net::Ipv4Addr::UNSPECIFIED, port).into())
    }

    #[test]
    fn listeners_and_socket_units_inside_the_range_are_suggested_unless_reserved() {
        let range: PortRange = "32768-60999".parse().unwrap();
        let of = |transport| EphemeralRange { transport, family: Family::Ipv4, range };
        let carrier = |kind, transport, ports: &str, name: &str| Carrier {
            kind,
            transport,
            address: None,
            ports: ports.parse().unwrap(),
            name: name.into(),
            to: None,
        };
        let snapshot = Snapshot {
            ranges: Transport::ALL.map(of).to_vec(),
            reservations: vec![Reservation {
                range: "50051".parse().unwrap(),
                transport: None,
                family: None,
                kind: ReservationKind::Administered,
                by: None,
            }],
            sockets: vec![
                listener(40000, State::Listen),
                listener(40001, State::Established),
                listener(50051, State::Listen),
                listener(8080, State::Listen),
            ],
            carriers: vec![
                carrier(CarrierKind::SocketUnit, Transport::Udp, "50000-50001", "game.socket"),
                carrier(CarrierKind::DnatRule, Transport::Tcp, "33000-34000", "dnat"),
                carrier(CarrierKind::SocketUnit, Transport::Tcp, "22", "ssh.socket"),
            ],
            ..Snapshot::default()
        };
        let seen: Vec<_> = suggest(&snapshot).into_iter().map(|found| (found.port, found.by)).collect();
        let unit = || "game.socket".to_owned();
        assert_eq!(seen, [(40000, "owner not visible".to_owned()), (50000, unit()), (50001, unit())]);
    }
}
