//! What is set about ports: four dynamic ranges, four lists of excluded ranges, the registry's say, the parts of the
//! system that set ports aside, and the addresses of this host.
//!
//! Source: netsh's `show dynamicport` and `show excludedportrange`, which nothing documented replaces; the services WinNAT,
//! HNS, IP Helper and HTTP; the registry below `Tcpip\Parameters` and `hns\State`. An output of netsh that is not
//! understood, an empty one too, is a gap: Wine's netsh says nothing and ends well.

use std::thread;

use portolan_core::change::{NetshStore, Table};
use portolan_core::excluded::{HNS_RANGE, KEPT, stands_alone};
use portolan_core::kernel::netsh::Excluded;
use portolan_core::port::PortRange;
use portolan_core::range::{EphemeralRange, Reservation, ReservationKind};
use portolan_core::snapshot::{Component, ComponentState, Gap, GapReason, Reading, Settings};
use portolan_core::socket::{Family, Transport};

use super::tables::{self, Unread};
use super::{addresses, registry, service};
use crate::sys::HostSettings;

/// What a gap is called, as on every system.
pub(super) const RANGES: &str = "ranges";
pub(super) const RESERVATIONS: &str = "reservations";
const TCPIP: &str = r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters";
const HNS: &str = r"SYSTEM\CurrentControlSet\Services\hns\State";
/// Names of components, and the service that each is known by. Hyper-V is there where its management service is.
const COMPONENTS: [(&str, &str); 5] =
    [("winnat", "winnat"), ("hns", "hns"), ("iphlpsvc", "iphlpsvc"), ("http", "http"), ("hyper-v", "vmms")];

/// The settings of this host.
pub(crate) fn settings() -> Reading<HostSettings> {
    let parts = Transport::ALL.into_iter().flat_map(|t| Family::ALL.map(|family| (t, family)));
    // Each netsh takes a tenth of a second, most of it to start.
    let read: Vec<Reading<Part>> = thread::scope(|scope| {
        let running: Vec<_> =
            parts.map(|(transport, family)| scope.spawn(move || part(transport, family))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        running.into_iter().map(join).collect()
    });
    let mut gaps = Vec::new();
    let mut value = HostSettings::default();
    for part in read {
        let Part { range, reservations } = part.into_value(&mut gaps);
        value.ranges.extend(range);
        value.reservations.extend(reservations);
    }
    gaps.extend(unconfirmed(&value.ranges));
    value.settings = registry_settings(&mut gaps);
    value.components = components(&mut gaps);
    let hns = value.settings.hns_excluded_range.map_or(HNS_RANGE, |range| (range.first(), range.last()));
    let of_hns = |r: &&mut Reservation| (r.range.first(), r.range.last()) == hns;
    value.reservations.iter_mut().filter(of_hns).for_each(|reservation| reservation.by = None);
    value.reservations.sort_by_key(|r| (r.range.first(), r.range.last(), r.transport, r.family));
    one_for_all(&mut gaps);
    value.addresses = addresses::addresses().unwrap_or_else(|error| {
        gaps.push(Gap::new("addresses", GapReason::Unsupported, format!("GetAdaptersAddresses: {error}")));
        Vec::new()
    });
    Reading { value, gaps }
}

/// What is set for one transport and family.
#[derive(Default)]
struct Part {
    range: Option<EphemeralRange>,
    reservations: Vec<Reservation>,
}

fn part(transport: Transport, family: Family) -> Reading<Part> {
    let mut gaps = Vec::new();
    let mut part = Part::default();
    let table = |store| Table { family, transport, store };
    let mut note = |what: &str, unread: Unread| gaps.push(Gap::new(what, unread.reason, unread.detail));
    match tables::dynamic(table(NetshStore::Active)) {
        Ok(range) => part.range = Some(EphemeralRange { transport, family, range }),
        Err(unread) => note(RANGES, unread),
    }
    let mut excluded = |store| {
        tables::excluded(table(store)).map_err(|unread| note(RESERVATIONS, unread)).unwrap_or_default()
    };
    let (active, kept) = (excluded(NetshStore::Active), excluded(NetshStore::Persistent));
    let is_in_force = |kept: &Excluded| active.iter().any(|active| active.range == kept.range);
    if let (true, Some(lost)) = (active.is_empty(), kept.iter().find(|kept| !is_in_force(kept))) {
        // What is kept over restarts is in force too: an empty list beside it was not the whole list.
        let detail =
            format!("netsh shows no excluded range of {family} {transport}, but keeps {}", lost.range);
        note(RESERVATIONS, Unread { reason: GapReason::Malformed, detail });
    }
    part.reservations = active
        .iter()
        .map(|excluded| {
            let is_kept = excluded.administered && kept.iter().any(|kept| kept.range == excluded.range);
            let by = is_kept.then(|| KEPT.to_owned());
            Reservation { by, ..reservation(table(NetshStore::Active), excluded) }
        })
        .collect();
    Reading { value: part, gaps }
}

/// Dynamic ranges that one answer of netsh alone tells: a number that lost a digit is another range that netsh could have
/// printed. Those of Windows' own, and those that two tables have, are confirmed without asking for more.
fn unconfirmed(ranges: &[EphemeralRange]) -> Vec<Gap> {
    let alone = |own: &&EphemeralRange| {
        stands_alone(own.range, ranges.iter().filter(|other| *other != *own).map(|other| other.range))
    };
    let gap = |own: &EphemeralRange| {
        let EphemeralRange { transport, family, range } = *own;
        let gap = |reason, rest: String| {
            let detail = format!("netsh shows {range} as the dynamic range of {family} {transport}, {rest}");
            Gap::new(RANGES, reason, detail)
        };
        match tables::dynamic(Table { family, transport, store: NetshStore::Persistent }) {
            Ok(kept) if kept == range => None,
            Ok(kept) => {
                let rest = format!("and keeps {kept}: one is until the next restart, or misread");
                Some(gap(GapReason::Malformed, rest))
            }
            Err(Unread { reason, detail }) => Some(gap(reason, format!("which nothing confirms: {detail}"))),
        }
    };
    ranges.iter().filter(alone).filter_map(gap).collect()
}

/// An excluded range of a table.
pub(super) fn reservation(table: Table, excluded: &Excluded) -> Reservation {
    let kind = match excluded.administered {
        true => ReservationKind::Administered,
        false => ReservationKind::System,
    };
    let (transport, family) = (Some(table.transport), Some(table.family));
    Reservation { range: excluded.range, transport, family, kind, by: None }
}

/// What the registry says, besides netsh.
fn registry_settings(gaps: &mut Vec<Gap>) -> Settings {
    let mut note = |key: &str, value: &str, problem: String| {
        let detail = format!(r"HKLM\{key}\{value}: {problem}");
        gaps.push(Gap::new("registry", GapReason::Malformed, detail));
    };
    let mut number = |key: &str, value: &str| {
        registry::number(key, value).unwrap_or_else(|error| {
            note(key, value, error.to_string());
            None
        })
    };
    let excludes = number(HNS, "EnableExcludedPortRange") != Some(0);
    let hns = (number(HNS, "ExcludedPortRangeStartPort"), number(HNS, "ExcludedPortRangePortCount"));
    let time_wait_s = number(TCPIP, "TcpTimedWaitDelay");
    let range = |first: u32, count: u32| {
        let last = first.checked_add(count)?.checked_sub(1)?;
        PortRange::new(first.try_into().ok()?, last.try_into().ok()?).ok()
    };
    let reserved = || {
        let texts = registry::texts(TCPIP, "ReservedPorts").map_err(|error| error.to_string())?;
        let range = |text: &String| text.trim().parse::<PortRange>().map_err(|error| error.to_string());
        texts.unwrap_or_default().iter().map(range).collect()
    };
    let reserved: Result<Vec<PortRange>, String> = reserved();
    Settings {
        reserved_ports_value: reserved.map_err(|problem| note(TCPIP, "ReservedPorts", problem)).ok(),
        hns_excludes_range: Some(excludes),
        hns_excluded_range: hns.0.zip(hns.1).and_then(|(first, count)| range(first, count)),
        time_wait_s,
        ..Settings::default()
    }
}

/// How the parts of the system that set ports aside stand.
fn components(gaps: &mut Vec<Gap>) -> Vec<Component> {
    let mut components = Vec::new();
    for (name, service) in COMPONENTS {
        let state = match service::component(service) {
            // A feature is on where its service is installed.
            Ok(ComponentState::Stopped) if name != service => ComponentState::Running,
            Ok(state) => state,
            Err(error) => {
                let detail = format!("the service {service} cannot be asked: {error}");
                gaps.push(Gap::new("components", GapReason::Denied, detail));
                continue;
            }
        };
        components.push(Component { name: name.to_owned(), state });
    }
    components
}

/// Where netsh says nothing at all, it does so four and eight times: the first gap of each kind stands for all.
pub(super) fn one_for_all(gaps: &mut Vec<Gap>) {
    let mut kept: Vec<Gap> = Vec::new();
    for gap in gaps.drain(..) {
        match kept.iter_mut().find(|known| known.what == gap.what && known.reason == gap.reason) {
            Some(known) if !known.detail.ends_with("others too") => known.detail.push_str(", others too"),
            Some(_) => {}
            None => kept.push(gap),
        }
    }
    *gaps = kept;
}
