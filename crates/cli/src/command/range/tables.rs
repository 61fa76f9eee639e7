//! The same on Windows, which has four ranges, each in force and kept over a restart.

use std::sync::Arc;

use anyhow::Result;
use portolan_core::change::{self, Kept};
use portolan_core::snapshot::{Gap, Snapshot};
use portolan_core::socket::{Family, Transport};
use portolan_host::{Look, OwnerSearch, Sections, SocketFilter, sys};

use super::{Shown, ShownRange, Wish, rows};
use crate::changing;
use crate::command::Output;
use crate::exit::Refused;
use crate::report::{Block, Line, Report};
use crate::source::Session;

fn seen(session: &Session, sockets: bool) -> Result<Arc<Snapshot>> {
    session.see(Look {
        sockets: sockets.then(SocketFilter::default),
        owners: if sockets { OwnerSearch::All } else { OwnerSearch::None },
        sections: Sections { settings: true, ..Sections::default() },
        ..Look::default()
    })
}

/// Shows the four ranges.
pub(super) fn show(session: &Session, kept: &Kept) -> Result<Output> {
    let now = seen(session, false)?;
    let mut gaps: Vec<Gap> = now.gaps.clone();
    gaps.extend(kept.gaps.iter().filter(|gap| gap.what == "ranges" && !now.gaps.contains(gap)).cloned());
    let shown = |range: &portolan_core::range::EphemeralRange| ShownRange {
        transport: range.transport,
        family: range.family,
        runtime: range.range,
        count: range.range.count(),
        persistent: kept.range_of(range.transport, range.family).map(|range| range.to_string()),
        file: None,
    };
    let ranges: Vec<ShownRange> = now.ranges.iter().map(shown).collect();
    let mut blocks: Vec<Block> = ranges.iter().enumerate().map(block).collect();
    if ranges.is_empty() {
        blocks.push(Block::entry("now", "not known: see what was not seen"));
    }
    let table = rows(&ranges);
    Ok(Output::Report(Report::new(Shown { ranges, gaps: gaps.clone() }, blocks, table, gaps)))
}

fn block((index, range): (usize, &ShownRange)) -> Block {
    let after = match &range.persistent {
        Some(kept) if *kept == range.runtime.to_string() => "the same after a restart".to_owned(),
        Some(kept) => format!("{kept} after a restart"),
        None => "after a restart not known".to_owned(),
    };
    let text = Line::new()
        .plain(format!("{} {}   ", range.family, range.transport))
        .strong(range.runtime.to_string())
        .plain(format!("   {} ports, {after}", range.count));
    Block::entry(if index == 0 { "now" } else { "" }, text)
}

/// Sets ranges, or sets them back.
pub(super) fn change(session: &Session, wish: &Wish, kept: &Kept) -> Result<Output> {
    let scope = wish.tables.scope(wish.stores)?;
    let before = seen(session, true)?;
    let place = sys::place(session.namespace())?;
    let title = wish.title();
    let plan =
        change::plan_windows_range(&before, kept, wish.wanted, &scope, (&title, place)).map_err(Refused)?;
    let report = changing::change_and(session, wish.consent, &plan, |changed| {
        let after = seen(session, false)?;
        let asked =
            |transport, family| scope.transports.contains(&transport) && scope.families.contains(&family);
        for (transport, family) in Transport::ALL.into_iter().flat_map(|t| Family::ALL.map(|f| (t, f))) {
            let range = |seen: &Snapshot| seen.range_of(transport, family).map(|found| found.range);
            match (range(&before), range(&after)) {
                (Some(was), Some(is)) if was != is && !asked(transport, family) => changed.notes.push(
                    format!("{family} {transport} changed along, from {was} to {is}; undo puts it back too"),
                ),
                (_, None) => {
                    changed
                        .notes
                        .push(format!("the range of {family} {transport} could not be read afterwards"));
                }
                _ => {}
            }
        }
        Ok(())
    })?;
    Ok(Output::Report(report))
}
