//! Whether listings of netsh agree: what one of them alone says may be what is left of something else.
//!
//! A number of `show dynamicport` that lost a digit, or a list of excluded ranges that lost every row, is a text that
//! netsh could have printed (`crates/core/src/kernel/netsh.rs`). Two listings of different tables or stores do not lose
//! the same, so what two of them say counts; and Windows' own dynamic range is nothing that a loss leaves behind. The
//! same table sent twice is no second listing: it may be the same text. Left out on purpose: single rows of a list,
//! since lists of two tables differ on many a machine.

use std::collections::{BTreeMap, BTreeSet};

use crate::excluded;
use crate::port::PortRange;
use crate::range::{EphemeralRange, Reservation, ReservationKind};
use crate::snapshot::{Gap, GapReason};
use crate::socket::{Family, Transport};

/// What a listing is of; a transport or family that nothing tells stands for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Table {
    /// Its transport, where it is told.
    pub(crate) transport: Option<Transport>,
    /// Its family, where it is told.
    pub(crate) family: Option<Family>,
    /// Whether it lists what is kept over restarts (`store=persistent`), and not what is in force.
    pub(crate) persistent: bool,
}

impl Table {
    fn covers(self, transport: Transport, family: Family) -> bool {
        self.transport.is_none_or(|own| own == transport) && self.family.is_none_or(|own| own == family)
    }

    /// The command that lists what is kept beside this one.
    fn other_store(self, subcommand: &str) -> String {
        let family = self.family.unwrap_or(Family::Ipv4);
        let transport = self.transport.unwrap_or(Transport::Tcp);
        format!("ask for the output of: netsh int {family} show {subcommand} {transport} store=persistent")
    }
}

/// What the listings so far say.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    ranges: BTreeMap<PortRange, BTreeSet<Table>>,
    /// Lists of excluded ranges, each with whether it has rows.
    lists: BTreeMap<Table, bool>,
    /// Excluded ranges that are kept over restarts.
    kept: BTreeSet<(Table, PortRange)>,
}

impl Agreement {
    /// A listing says that this is a dynamic range.
    pub(crate) fn range(&mut self, table: Table, range: PortRange) {
        self.ranges.entry(range).or_default().insert(table);
    }

    /// A listing says what is excluded.
    pub(crate) fn excluded(&mut self, table: Table, ranges: impl IntoIterator<Item = PortRange>) {
        let rows = self.lists.entry(table).or_default();
        for range in ranges {
            *rows = true;
            if table.persistent {
                self.kept.insert((table, range));
            }
        }
    }

    /// Marks what is kept over restarts.
    pub(crate) fn mark(&self, reservations: &mut [Reservation]) {
        let is_kept = |reservation: &Reservation| {
            self.kept.iter().any(|(table, range)| {
                *range == reservation.range
                    && table.transport == reservation.transport
                    && table.family == reservation.family
            })
        };
        let administered = |r: &&mut Reservation| r.kind == ReservationKind::Administered;
        for reservation in reservations.iter_mut().filter(administered) {
            if (reservation.range.first(), reservation.range.last()) != excluded::HNS_RANGE
                && is_kept(reservation)
            {
                reservation.by = Some(excluded::KEPT.to_owned());
            }
        }
    }

    /// What stands on one listing alone, or is contradicted by another.
    pub(crate) fn gaps(&self, ranges: &[EphemeralRange], reservations: &[Reservation]) -> Vec<Gap> {
        let mut gaps: Vec<Gap> = Vec::new();
        for (range, tables) in &self.ranges {
            let used = |table: &Table| {
                ranges.iter().any(|own| own.range == *range && table.covers(own.transport, own.family))
            };
            if let Some(table) = tables.first().filter(|table| !table.persistent && used(table))
                && excluded::stands_alone(*range, tables.iter().skip(1).map(|_| *range))
            {
                let detail = format!(
                    "the dynamic range {range}{} stands on one listing alone, and is not Windows' own: a digit may \
                     have got lost",
                    named(*table)
                );
                let remedy = table.other_store("dynamicport");
                gaps.push(Gap::new("ranges", GapReason::Absent, detail).with_remedy(remedy));
            }
        }
        let empty: Vec<Table> =
            self.lists.iter().filter(|(_, rows)| !**rows).map(|(table, _)| *table).collect();
        for table in empty.iter().filter(|table| !table.persistent) {
            let agrees = |other: &Table| {
                other != table && (!other.persistent || *other == Table { persistent: true, ..*table })
            };
            if !empty.iter().any(agrees) {
                let detail = format!(
                    "that no port is excluded{} stands on one listing alone: its rows may have got lost",
                    named(*table)
                );
                let remedy = table.other_store("excludedportrange");
                gaps.push(Gap::new("reservations", GapReason::Absent, detail).with_remedy(remedy));
            }
        }
        gaps.extend(self.lost(reservations));
        gaps
    }

    /// What is kept over restarts is in force too: a list without it was not the whole list.
    fn lost(&self, reservations: &[Reservation]) -> Option<Gap> {
        let (table, range) = self.kept.iter().find(|(table, range)| {
            let in_force = Table { persistent: false, ..*table };
            self.lists.contains_key(&in_force)
                && !reservations
                    .iter()
                    .any(|r| r.range == *range && r.transport == table.transport && r.family == table.family)
        })?;
        let detail = format!(
            "{range}{} is kept over restarts, and missing in the list of what is in force",
            named(*table)
        );
        let remedy = Table { persistent: false, ..*table }.other_store("excludedportrange");
        let remedy = remedy.replace("store=persistent", "store=active");
        Some(Gap::new("reservations", GapReason::Malformed, detail).with_remedy(remedy))
    }
}

/// ` of tcp/ipv4`, as far as it is told.
fn named(table: Table) -> String {
    match (table.transport, table.family) {
        (Some(transport), Some(family)) => format!(" of {transport}/{family}"),
        (Some(transport), None) => format!(" of {transport}"),
        (None, Some(family)) => format!(" of {family}"),
        (None, None) => String::new(),
    }
}
