//! The same on Windows: excluded port ranges, in four tables, and the ways to get ports from who has set them aside.

use anyhow::Result;
use portolan_core::change::{
    Dance, Kept, Place, explain_taken, plan_windows_reserve, plan_windows_unreserve,
};
use portolan_core::excluded;
use portolan_core::range::{Reservation, ReservationKind};
use portolan_core::snapshot::{Gap, Snapshot};
use portolan_core::socket::{Family, Transport};

use super::{Add, Listed, ListedRange, Made, Remove, made_here, seen};
use crate::cells::{Column, Table};
use crate::changing::{self, Changed};
use crate::command::Output;
use crate::exit::Refused;
use crate::report::{Block, Report};
use crate::source::Session;

const COLUMNS: [&str; 8] = ["ports", "for", "kind", "now", "after a restart", "by", "why", "listeners"];

/// Every excluded range, with its maker as far as its numbers tell.
pub(super) fn list(session: &Session, kept: &Kept) -> Result<Output> {
    let snapshot = seen(session)?;
    let mut gaps = snapshot.gaps.clone();
    gaps.extend(kept.gaps.iter().filter(|gap| !snapshot.gaps.contains(gap)).cloned());
    let made = made_here(session, &mut gaps)?;
    let is_known = !excluded::unread(&snapshot);
    let only_kept = kept.exclusions.iter().filter(|kept| {
        !snapshot
            .reservations
            .iter()
            .any(|r| (r.range, r.transport, r.family) == (kept.range, kept.transport, kept.family))
    });
    let in_force = snapshot.reservations.iter().map(|reservation| (reservation, true));
    let mut reservations: Vec<ListedRange> = in_force
        .chain(only_kept.map(|reservation| (reservation, false)))
        .map(|(reservation, runtime)| listed(reservation, runtime, (&snapshot, kept), &made))
        .collect();
    reservations.sort_by_key(|r| (r.ports.first(), r.ports.last(), r.transport, r.family));
    let columns = COLUMNS.map(|name| if name == "why" { Column::prose(name) } else { Column::words(name) });
    let table = Table::of_rows(columns, reservations.iter().map(|r| row(r, &of(r))).collect());
    let blocks = match (reservations.is_empty(), is_known) {
        (true, true) => vec![Block::Line("nothing is excluded".into())],
        (true, false) => vec![Block::Line("what is excluded could not be read".into())],
        (false, _) => vec![Block::Table(Table::of_rows(columns, together(&reservations)))],
    };
    Ok(Output::Report(Report::new(Listed { reservations, gaps: gaps.clone() }, blocks, table, gaps)))
}

fn listed(
    reservation: &Reservation,
    runtime: bool,
    (snapshot, kept): (&Snapshot, &Kept),
    made: &[Made],
) -> ListedRange {
    let ports = reservation.range;
    let ours = made.iter().find(|made| made.ports.contains(ports.first()));
    // What the system holds goes with the part of it that made it, and comes anew with the next start.
    let stays = kept.keeps(reservation) || excluded::hns_range(snapshot) == Some(ports);
    let is_read = kept.gaps.is_empty() || reservation.kind == ReservationKind::System;
    ListedRange {
        ports,
        runtime,
        files: Vec::new(),
        after_restart: is_read.then_some(stays),
        kind: reservation.kind,
        transport: reservation.transport,
        family: reservation.family,
        by: Some(match ours.filter(|_| reservation.kind == ReservationKind::Administered) {
            Some(made) => made.by.clone(),
            None => {
                let unnamed = Reservation { by: None, ..reservation.clone() };
                excluded::maker(snapshot, &unnamed).name().to_owned()
            }
        }),
        why: ours.and_then(|made| made.why.clone()),
        listeners: portolan_core::change::covered(snapshot, ports),
    }
}

/// Which table a range stands in.
fn of(range: &ListedRange) -> String {
    let family = range.family.map_or("", Family::name);
    let transport = range.transport.map_or("", Transport::name);
    format!("{family} {transport}").trim().to_owned()
}

fn row(range: &ListedRange, of: &str) -> [String; 8] {
    let listeners: Vec<String> = range.listeners.iter().map(u16::to_string).collect();
    let after = match range.after_restart {
        Some(true) => "reserved",
        Some(false) => "-",
        None => "not known",
    };
    let kind = match range.kind {
        ReservationKind::Administered => "administered",
        ReservationKind::System => "system",
    };
    [
        range.ports.to_string(),
        of.to_owned(),
        kind.to_owned(),
        if range.runtime { "reserved" } else { "-" }.to_owned(),
        after.to_owned(),
        range.by.clone().unwrap_or_default(),
        range.why.clone().unwrap_or_default(),
        listeners.join(", "),
    ]
}

/// Ranges that stand alike in several tables, on one row each.
fn together(ranges: &[ListedRange]) -> Vec<[String; 8]> {
    let mut rows: Vec<([String; 8], Vec<String>)> = Vec::new();
    for range in ranges {
        let row = row(range, "");
        match rows.iter_mut().find(|(other, _)| *other == row) {
            Some((_, tables)) => tables.push(of(range)),
            None => rows.push((row, vec![of(range)])),
        }
    }
    let of_all = |tables: &[String]| match tables.len() {
        4 => "all".to_owned(),
        _ => tables.join(", "),
    };
    let named = |(mut row, tables): ([String; 8], Vec<String>)| {
        row[1] = of_all(&tables);
        row
    };
    rows.into_iter().map(named).collect()
}

/// Excludes ports.
pub(super) fn add(
    session: &Session,
    add: &Add,
    kept: &Kept,
    said: (&str, Option<&str>, Place),
) -> Result<Output> {
    let scope = add.tables.scope(add.stores)?;
    if add.go_on && session.journal_is_given() {
        let why = "the start-up task of --go-on runs as SYSTEM and trusts no journal but the system's: \
                   unset PORTOLAN_STATE, then type it again";
        return Err(Refused(why.into()).into());
    }
    let dance = match (add.restart_winnat, add.cycle_hyperv) {
        (true, _) => Dance::RestartWinnat,
        (_, true) => Dance::CycleHyperv { by_itself: add.go_on },
        _ => Dance::None,
    };
    let before = seen(session)?;
    whole(&before, kept)?;
    let plan = plan_windows_reserve(&before, kept, &add.ports, &scope, dance, said).map_err(Refused)?;
    let report = changing::change_and(session, &add.consent, &plan, |changed| {
        if !changed.done {
            explain(session, add, &scope.transports, changed)?;
        }
        Ok(())
    })?;
    Ok(Output::Report(report))
}

/// Refuses to plan on what was not read whole.
fn whole(now: &Snapshot, kept: &Kept) -> Result<(), Refused> {
    let unread = |gap: &&Gap| gap.what == "reservations";
    match now.gaps.iter().chain(&kept.gaps).find(unread) {
        None => Ok(()),
        Some(gap) => Err(Refused(format!(
            "what is excluded already could not be read, so nothing was changed: {}",
            gap.detail
        ))),
    }
}

/// Says of a plan that failed who has the ports by now, and what works.
fn explain(session: &Session, add: &Add, transports: &[Transport], changed: &mut Changed) -> Result<()> {
    let now = seen(session)?;
    for range in &add.ports {
        let taken = transports.iter().find_map(|transport| explain_taken(&now, *transport, *range));
        changed.notes.extend(taken);
    }
    Ok(())
}

/// Deletes exclusions.
pub(super) fn remove(
    session: &Session,
    remove: &Remove,
    kept: &Kept,
    (title, place): (&str, Place),
) -> Result<Output> {
    let scope = remove.tables.scope(remove.stores)?;
    let before = seen(session)?;
    whole(&before, kept)?;
    let plan =
        plan_windows_unreserve(&before, kept, &remove.ports, &scope, (title, place)).map_err(Refused)?;
    Ok(Output::Report(changing::change(session, &remove.consent, &plan)?))
}
