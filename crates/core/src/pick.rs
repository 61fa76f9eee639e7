//! Which ports are worth offering: free now, and likely to stay free.
//!
//! Pure: the snapshot says what is held, reserved and given out by the system; whether a candidate truly binds is proven
//! by the host, all of them at once. Left out on purpose: what carries ports for others (firewall rules, socket units),
//! since to read it takes longer than all the rest; `why PORT` tells.

mod well_known;

use schemars::JsonSchema;
use serde::Serialize;

use crate::kernel::services::Services;
use crate::port::{PortRange, PortSet};
use crate::snapshot::Snapshot;
use crate::socket::Transport;

/// What a port is wanted for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// TCP or UDP; both when empty.
    pub transports: Vec<Transport>,
    /// Where to look.
    pub range: PortRange,
    /// As near as can be to this port; otherwise anywhere in the range.
    pub near: Option<u16>,
    /// Whether ports of the ephemeral range may be offered: any client may be given one a moment later.
    pub ephemeral: bool,
}

/// Why a port is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// In the ephemeral range: any client may be given it a moment later.
    Ephemeral,
    /// Below the unprivileged start: an ordinary program could not bind it.
    Privileged,
    /// Set aside by an administrator or the system.
    Reserved,
    /// Known for a service: it may be free today and wanted tomorrow.
    WellKnown,
    /// A socket has it, in whatever state and family.
    Held,
}

impl Reason {
    /// As part of a sentence: `3 held`.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Ephemeral => "in the ephemeral range",
            Self::Privileged => "privileged",
            Self::Reserved => "reserved",
            Self::WellKnown => "known for a service",
            Self::Held => "held",
        }
    }
}

/// Ports of the wanted range that are not offered.
#[derive(Clone, Debug)]
pub struct Taken {
    all: PortSet,
    counts: Vec<(Reason, u32)>,
}

impl Taken {
    /// Whether that port is not offered.
    pub fn contains(&self, port: u16) -> bool {
        self.all.contains(port)
    }

    /// How many for which reason; each port counts once, for the first reason in [`Reason`]'s order, and reasons
    /// without a port are left out.
    pub fn counts(&self) -> &[(Reason, u32)] {
        &self.counts
    }

    fn add(&mut self, reason: Reason, mut ports: PortSet, range: PortRange) {
        ports.intersect(&PortSet::from(range));
        ports.subtract(&self.all);
        self.all.unite(&ports);
        if !ports.is_empty() {
            self.counts.push((reason, ports.len()));
        }
    }
}

/// Ports that the system gives to clients by itself, for the transports that are wanted.
pub fn ephemeral(snapshot: &Snapshot, wanted: &Wanted) -> PortSet {
    snapshot.ranges.iter().filter(|range| wanted.concerns(range.transport)).map(|found| found.range).collect()
}

/// Ports that are not to be offered, for one reason or another.
pub fn taken(snapshot: &Snapshot, wanted: &Wanted, services: &Services) -> Taken {
    let mut taken = Taken { all: PortSet::new(), counts: Vec::new() };
    let mut add = |reason, ports| taken.add(reason, ports, wanted.range);
    if !wanted.ephemeral {
        add(Reason::Ephemeral, ephemeral(snapshot, wanted));
    }
    let start = snapshot.settings.unprivileged_port_start.unwrap_or(0).min(1 << 16);
    let last = u16::try_from(start.saturating_sub(1)).unwrap_or(u16::MAX);
    add(Reason::Privileged, PortRange::new(1, last).into_iter().collect());
    let reserved = snapshot.reservations.iter().filter(|r| r.transport.is_none_or(|t| wanted.concerns(t)));
    add(Reason::Reserved, reserved.map(|reservation| reservation.range).collect());
    add(Reason::WellKnown, well_known(services));
    let mut held = PortSet::new();
    let sockets = snapshot.sockets.iter().filter(|socket| wanted.concerns(socket.transport));
    sockets.for_each(|socket| held.insert(socket.local_port));
    add(Reason::Held, held);
    taken
}

/// Ports known for a service, of either transport: who reads "5432" thinks of PostgreSQL, over UDP too.
fn well_known(services: &Services) -> PortSet {
    let mut ports = PortSet::new();
    services.names().for_each(|(_, port, _)| ports.insert(port));
    well_known::PORTS.iter().for_each(|(port, _)| ports.insert(*port));
    ports
}

impl Wanted {
    fn concerns(&self, transport: Transport) -> bool {
        self.transports.is_empty() || self.transports.contains(&transport)
    }
}

/// The ports to try, the best first: the nearest ones, or from a random place on, round the range.
/// `random` may be any number; it keeps two programs that pick at once from trying the same ports.
pub fn candidates(wanted: &Wanted, taken: &Taken, random: u64) -> Vec<u16> {
    let mut free: Vec<u16> =
        wanted.range.ports().map(u16::from).filter(|port| !taken.contains(*port)).collect();
    match wanted.near {
        Some(near) => free.sort_by_key(|port| (port.abs_diff(near), *port < near)),
        None if free.is_empty() => {}
        None => {
            let places = free.len() as u64;
            free.rotate_left((random % places) as usize);
        }
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::{EphemeralRange, Reservation, ReservationKind};
    use crate::socket::{Family, Socket, State};

    fn snapshot() -> Snapshot {
        let range = "32768-60999".parse().unwrap();
        let listener = Socket::unconnected(Transport::Tcp, State::Listen, "[::1]:7501".parse().unwrap());
        let reserved = Reservation {
            range: "7503".parse().unwrap(),
            transport: None,
            family: None,
            kind: ReservationKind::Administered,
            by: None,
        };
        let mut snapshot =
            Snapshot { sockets: vec![listener], reservations: vec![reserved], ..Snapshot::default() };
        for transport in Transport::ALL {
            snapshot.ranges.extend(Family::ALL.map(|family| EphemeralRange { transport, family, range }));
        }
        snapshot.settings.unprivileged_port_start = Some(1024);
        snapshot
    }

    fn services() -> Services {
        Services::parse("odd 7502/udp\n")
    }

    fn wanted(range: &str, near: Option<u16>) -> Wanted {
        Wanted { transports: vec![Transport::Tcp], range: range.parse().unwrap(), near, ephemeral: false }
    }

    #[test]
    fn held_reserved_ephemeral_privileged_and_well_known_ports_are_not_offered() {
        let near = wanted("1-65535", Some(7502));
        let taken = taken(&snapshot(), &near, &services());
        assert_eq!(candidates(&near, &taken, 0)[..4], [7504, 7500, 7505, 7499]);
        for port in [80, 1023, 5432, 8080, 7501, 7502, 7503, 32768, 60999] {
            assert!(taken.contains(port), "{port}");
        }
        assert!(!taken.contains(61000));
    }

    #[test]
    fn each_port_counts_once_for_the_first_reason() {
        let wanted = wanted("1023-7504", None);
        let mut seen = snapshot();
        seen.sockets.push(Socket::unconnected(
            Transport::Tcp,
            State::Listen,
            "0.0.0.0:1023".parse().unwrap(),
        ));
        let taken = taken(&seen, &wanted, &Services::default());
        let known = well_known::PORTS.iter().filter(|(port, _)| wanted.range.contains(*port)).count() as u32;
        assert_eq!(
            taken.counts(),
            [(Reason::Privileged, 1), (Reason::Reserved, 1), (Reason::WellKnown, known), (Reason::Held, 1),]
        );
    }

    #[test]
    fn a_socket_of_the_other_transport_is_not_in_the_way_unless_both_are_wanted() {
        let of = |transports: Vec<Transport>| Wanted { transports, ..wanted("7501-7501", None) };
        let offered =
            |wanted: &Wanted| candidates(wanted, &taken(&snapshot(), wanted, &Services::default()), 0).len();
        assert_eq!(offered(&of(vec![Transport::Udp])), 1);
        assert_eq!(offered(&of(vec![Transport::Tcp])), 0);
        assert_eq!(offered(&of(Vec::new())), 0);
    }

    #[test]
    fn ephemeral_ports_are_offered_when_asked_for() {
        let ephemeral = Wanted { ephemeral: true, ..wanted("40000-40001", None) };
        assert_eq!(candidates(&ephemeral, &taken(&snapshot(), &ephemeral, &services()), 0), [40000, 40001]);
    }

    #[test]
    fn the_random_number_chooses_where_to_begin_and_nothing_is_left_out() {
        let anywhere = wanted("9500-9504", None);
        let nothing = taken(&Snapshot::default(), &anywhere, &Services::default());
        assert_eq!(candidates(&anywhere, &nothing, 7), [9502, 9503, 9504, 9500, 9501]);
        let privileged = wanted("80-80", None);
        assert_eq!(candidates(&privileged, &taken(&snapshot(), &privileged, &services()), 7), [] as [u16; 0]);
    }

    #[test]
    fn the_table_rises_and_names_no_port_twice() {
        assert!(well_known::PORTS.is_sorted_by(|(a, _), (b, _)| a < b));
    }
}
