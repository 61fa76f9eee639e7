//! Windows' excluded port ranges: who made one, told from its numbers, and what the dynamic range has to do with it.
//!
//! Source: `netsh int ipv4 show excludedportrange` and what is known of its makers. Windows itself does not say who
//! made a range, so everything here but a name that a reader gave ([`Reservation::by`]) is a likelihood, and is worded
//! as one. Left out on purpose: reservations of single programs (`CreatePersistentTcpPortReservation`), which
//! nothing tells apart.

use crate::port::PortRange;
use crate::range::{EphemeralRange, Reservation, ReservationKind};
use crate::snapshot::{ComponentState, Snapshot};
use crate::socket::{Family, Transport};

/// Windows' dynamic range where nobody set another.
pub const WINDOWS_DEFAULT: (u16, u16) = (49152, 65535);

/// Who made an exclusion that a restart does not take away ([`Reservation::by`]).
pub const KEPT: &str = "an administrator (kept over restarts)";

/// The range that HNS sets aside for containers, where the registry names no other.
pub const HNS_RANGE: (u16, u16) = (50000, 50059);

/// How many ports WinNAT takes at a time.
const BLOCK: u32 = 100;

/// Web Services on Devices (WSDAPI), through the HTTP driver.
const WSDAPI: (u16, u16) = (5357, 5357);

/// Who made an excluded range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Maker {
    /// A reader of the range knew.
    Named(String),
    /// Most likely WinNAT: a block of 100 ports, chosen anew at each start.
    WinNat,
    /// HNS, the network service of containers: its own fixed range.
    Hns,
    /// The HTTP driver, for Web Services on Devices.
    WebServices,
    /// An administrator, or a program in an administrator's name.
    Administrator,
    /// Nothing tells.
    Unknown,
}

impl Maker {
    /// Who made it, to follow "made by".
    pub fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::WinNat => "WinNAT (Hyper-V, WSL, Docker)",
            Self::Hns => "HNS, the network service of containers",
            Self::WebServices => "the HTTP driver http.sys, for Web Services on Devices",
            Self::Administrator => "an administrator",
            Self::Unknown => "a part of the system that does not say its name",
        }
    }
}

/// Who made a range, as far as its numbers and the host tell.
pub fn maker(snapshot: &Snapshot, reservation: &Reservation) -> Maker {
    if let Some(by) = &reservation.by {
        return Maker::Named(by.clone());
    }
    let range = reservation.range;
    match reservation.kind {
        ReservationKind::Administered if Some(range) == hns_range(snapshot) => Maker::Hns,
        ReservationKind::Administered => Maker::Administrator,
        ReservationKind::System if (range.first(), range.last()) == WSDAPI => Maker::WebServices,
        ReservationKind::System if is_block(reservation) && may_run(snapshot, "winnat") => Maker::WinNat,
        ReservationKind::System => Maker::Unknown,
    }
}

/// Whether a component is there, or nobody looked.
fn may_run(snapshot: &Snapshot, component: &str) -> bool {
    snapshot.component(component) != Some(ComponentState::Absent)
}

/// Whether a range has the size of WinNAT's blocks.
fn is_block(reservation: &Reservation) -> bool {
    reservation.kind == ReservationKind::System && reservation.range.count() == BLOCK
}

/// The range that HNS keeps for itself; none where the registry turns it off.
pub fn hns_range(snapshot: &Snapshot) -> Option<PortRange> {
    if snapshot.settings.hns_excludes_range == Some(false) {
        return None;
    }
    snapshot.settings.hns_excluded_range.or_else(|| PortRange::new(HNS_RANGE.0, HNS_RANGE.1).ok())
}

/// Whether nothing confirms a dynamic range that one listing of netsh shows: it is not Windows' own, which no loss
/// of digits leaves behind, and none of the `others`, which are of other tables or of the other store, says the same.
pub fn stands_alone(range: PortRange, others: impl IntoIterator<Item = PortRange>) -> bool {
    (range.first(), range.last()) != WINDOWS_DEFAULT && others.into_iter().all(|other| other != range)
}

/// Whether the excluded ranges could not be read: then none in the list is no word for none.
pub fn unread(snapshot: &Snapshot) -> bool {
    snapshot.gaps.iter().any(|gap| gap.what == "reservations")
}

/// What is known of a dynamic range that begins low.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LowRange {
    /// It was read, and begins below Windows' own default.
    Seen(EphemeralRange),
    /// It was not read. WinNAT takes its blocks from that range, so it begins, or began when they were made, no
    /// higher than this port.
    Inferred(u16),
}

impl LowRange {
    /// Its first port, at most.
    pub fn first(&self) -> u16 {
        match self {
            Self::Seen(range) => range.range.first(),
            Self::Inferred(first) => *first,
        }
    }
}

/// The dynamic range of a transport, where it begins below Windows' default or the blocks show that it does.
pub fn low_range(snapshot: &Snapshot, transport: Transport, families: &[Family]) -> Option<LowRange> {
    let read: Vec<EphemeralRange> =
        families.iter().filter_map(|family| snapshot.range_of(transport, *family)).collect();
    if read.is_empty() {
        let lowest = blocks_below_default(snapshot, transport).map(|r| r.range.first()).min();
        return lowest.map(LowRange::Inferred);
    }
    let low = read.into_iter().filter(|range| range.range.first() < WINDOWS_DEFAULT.0);
    low.min_by_key(|range| range.range.first()).map(LowRange::Seen)
}

/// WinNAT's blocks on ports below Windows' default dynamic range.
pub fn blocks_below_default(snapshot: &Snapshot, transport: Transport) -> impl Iterator<Item = &Reservation> {
    snapshot.reservations.iter().filter(move |reservation| {
        reservation.transport.is_none_or(|t| t == transport)
            && reservation.range.first() < WINDOWS_DEFAULT.0
            && maker(snapshot, reservation) == Maker::WinNat
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Component;

    fn excluded(range: &str, kind: ReservationKind) -> Reservation {
        Reservation { range: range.parse().unwrap(), transport: None, family: None, kind, by: None }
    }

    #[test]
    fn a_maker_is_told_from_the_numbers_of_its_range() {
        let host = Snapshot::default();
        for (range, kind, maker_wanted) in [
            ("1131-1230", ReservationKind::System, Maker::WinNat),
            ("5357", ReservationKind::System, Maker::WebServices),
            ("9800", ReservationKind::System, Maker::Unknown),
            ("50000-50059", ReservationKind::Administered, Maker::Hns),
            ("50000-50099", ReservationKind::Administered, Maker::Administrator),
        ] {
            assert_eq!(maker(&host, &excluded(range, kind)), maker_wanted, "{range}");
        }
        let known = Reservation { by: Some("Contoso".into()), ..excluded("9800", ReservationKind::System) };
        assert_eq!(maker(&host, &known), Maker::Named("Contoso".into()));
    }

    #[test]
    fn what_is_not_installed_or_turned_off_is_not_blamed() {
        let absent = Component { name: "winnat".into(), state: ComponentState::Absent };
        let mut host = Snapshot { components: vec![absent], ..Snapshot::default() };
        host.settings.hns_excludes_range = Some(false);
        assert_eq!(maker(&host, &excluded("1131-1230", ReservationKind::System)), Maker::Unknown);
        let hns = excluded("50000-50059", ReservationKind::Administered);
        assert_eq!(maker(&host, &hns), Maker::Administrator);
    }

    #[test]
    fn a_low_dynamic_range_is_seen_or_inferred_from_the_blocks() {
        let mut host = Snapshot::default();
        let low = |host: &Snapshot| low_range(host, Transport::Tcp, &Family::ALL).map(|low| low.first());
        host.reservations.push(excluded("55500-55599", ReservationKind::System));
        assert_eq!(low(&host), None, "a block inside the default range says nothing");
        host.reservations.push(excluded("1131-1230", ReservationKind::System));
        host.reservations.push(excluded("1031-1130", ReservationKind::System));
        assert_eq!(low(&host), Some(1031));
        let range = |text: &str| EphemeralRange {
            transport: Transport::Tcp,
            family: Family::Ipv4,
            range: text.parse().unwrap(),
        };
        host.ranges = vec![range("1024-15000")];
        assert_eq!(low(&host), Some(1024));
        host.ranges = vec![range("49152-65535")];
        assert_eq!(low(&host), None, "the blocks are left over from another range");
    }
}
