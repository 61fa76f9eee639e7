//! What is set about ports: four dynamic ranges, four lists of excluded ranges, and the addresses of this host.
//!
//! Source: netsh's `show dynamicport` and `show excludedportrange`, which nothing documented replaces. An output that is
//! not understood, an empty one too, is a gap: Wine's netsh says nothing and ends well.

use std::thread;

use portolan_core::kernel::malformed::Malformed;
use portolan_core::kernel::netsh::{self, Excluded};
use portolan_core::range::{EphemeralRange, Reservation, ReservationKind};
use portolan_core::snapshot::{Gap, GapReason, Reading, Settings};
use portolan_core::socket::{Family, Transport};

use super::{addresses, command};
use crate::sys::HostSettings;

/// Where an exclusion is kept that a restart does not take away.
const PERSISTENT: &str = "the persistent store (netsh)";

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
    let mut value = HostSettings { settings: Settings::default(), ..HostSettings::default() };
    for part in read {
        let Part { range, reservations } = part.into_value(&mut gaps);
        value.ranges.extend(range);
        value.reservations.extend(reservations);
    }
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
    let (protocol, interface) = (format!("protocol={transport}"), ["interface", family.name(), "show"]);
    let ask = |what: &'static str, store: &str, decoded: &mut dyn FnMut(&[u8]) -> Result<(), Malformed>| {
        let words = [&interface[..], &[what, &protocol, store]].concat();
        let typed = format!("netsh {}", words.join(" "));
        match command::netsh(&words) {
            Ok(output) if output.trim_ascii().is_empty() => {
                Some((GapReason::Unsupported, format!("`{typed}` says nothing")))
            }
            Ok(output) => {
                let error = decoded(&output).err()?;
                Some((GapReason::Malformed, format!("`{typed}`: {error}")))
            }
            Err(error) => Some((GapReason::Unsupported, error.to_string())),
        }
    };
    let mut part = Part::default();
    let mut note = |what: &str, problem: Option<(GapReason, String)>| {
        gaps.extend(problem.map(|(reason, detail)| Gap::new(what, reason, detail)));
    };
    note(
        "ephemeral range",
        ask("dynamicport", "store=active", &mut |output| {
            let range = netsh::dynamic_port(output)?;
            part.range = Some(EphemeralRange { transport, family, range });
            Ok(())
        }),
    );
    let (mut active, mut kept): (Vec<Excluded>, Vec<Excluded>) = Default::default();
    for (store, list) in [("store=active", &mut active), ("store=persistent", &mut kept)] {
        note(
            "reservations",
            ask("excludedportrange", store, &mut |output| {
                *list = netsh::excluded_ranges(output)?;
                Ok(())
            }),
        );
    }
    part.reservations = active
        .into_iter()
        .map(|excluded| {
            let is_kept = kept.iter().any(|kept| kept.range == excluded.range);
            let kind = match excluded.administered {
                true => ReservationKind::Administered,
                false => ReservationKind::System,
            };
            let (transport, family) = (Some(transport), Some(family));
            let by = is_kept.then(|| PERSISTENT.to_owned());
            Reservation { range: excluded.range, transport, family, kind, by }
        })
        .collect();
    Reading { value: part, gaps }
}

/// Where netsh says nothing at all, it does so four and eight times: the first gap of each kind stands for all.
fn one_for_all(gaps: &mut Vec<Gap>) {
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
