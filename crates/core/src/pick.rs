//! Which ports are worth offering: free now, and likely to stay free.
//!
//! Pure: the snapshot says what is held, reserved and given out by the system; whether a candidate truly binds is proven
//! by the host, all of them at once.

use crate::port::{PortRange, PortSet};
use crate::snapshot::Snapshot;
use crate::socket::{Family, Transport};

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

/// Ports that are not to be offered, for one reason or another.
pub fn taken(snapshot: &Snapshot, wanted: &Wanted, well_known: &PortSet) -> PortSet {
    let concerns = |transport| wanted.transports.is_empty() || wanted.transports.contains(&transport);
    let mut taken = well_known.clone();
    for socket in &snapshot.sockets {
        if concerns(socket.transport) {
            taken.insert(socket.local_port);
        }
    }
    for reservation in &snapshot.reservations {
        if reservation.transport.is_none_or(concerns) {
            taken.insert_range(reservation.range);
        }
    }
    for carrier in &snapshot.carriers {
        if concerns(carrier.transport) {
            taken.insert_range(carrier.ports);
        }
    }
    if !wanted.ephemeral {
        let ranges = Transport::ALL.into_iter().flat_map(|t| Family::ALL.map(|f| snapshot.range_of(t, f)));
        ranges
            .flatten()
            .filter(|range| concerns(range.transport))
            .for_each(|found| taken.insert_range(found.range));
    }
    // Below the unprivileged start an ordinary program could not bind what it is given.
    let start = snapshot.settings.unprivileged_port_start.unwrap_or(0).min(u32::from(u16::MAX));
    if let Ok(privileged) = PortRange::new(1, (start as u16).saturating_sub(1)) {
        taken.insert_range(privileged);
    }
    taken
}

/// The ports to try, the best first: the nearest ones, or from a random place on, round the range.
/// `random` may be any number; it keeps two programs that pick at once from trying the same ports.
pub fn candidates(wanted: &Wanted, taken: &PortSet, random: u64) -> Vec<u16> {
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
    use crate::socket::{Socket, State};

    fn snapshot() -> Snapshot {
        let range = "32768-60999".parse().unwrap();
        let listener = Socket::unconnected(Transport::Tcp, State::Listen, "[::1]:8081".parse().unwrap());
        let reserved = Reservation {
            range: "8083".parse().unwrap(),
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

    fn wanted(range: &str, near: Option<u16>) -> Wanted {
        Wanted { transports: vec![Transport::Tcp], range: range.parse().unwrap(), near, ephemeral: false }
    }

    #[test]
    fn held_reserved_ephemeral_privileged_and_well_known_ports_are_not_offered() {
        let well_known = PortSet::from("8080".parse::<PortRange>().unwrap());
        let near = wanted("1-65535", Some(8080));
        let taken = taken(&snapshot(), &near, &well_known);
        assert_eq!(candidates(&near, &taken, 0)[..4], [8079, 8082, 8078, 8077]);
        for port in [80, 1023, 8080, 8081, 8083, 32768, 60999] {
            assert!(taken.contains(port), "{port}");
        }
        assert!(!taken.contains(61000));
    }

    #[test]
    fn the_random_number_chooses_where_to_begin_and_nothing_is_left_out() {
        let anywhere = wanted("9000-9004", None);
        let taken = PortSet::new();
        assert_eq!(candidates(&anywhere, &taken, 7), [9002, 9003, 9004, 9000, 9001]);
        assert_eq!(candidates(&wanted("8081-8081", None), &PortSet::from(PortRange::ALL), 7), [] as [u16; 0]);
    }
}
