//! Looks: rows that say what changed since the one before, played again from the last whole one.

use portolan_core::record::What;
use rusqlite::{Connection, OptionalExtension as _};

use crate::pack::{self, Numbers, Seen};

/// Every so many looks of a run one is whole: so far is gone back to begin anywhere.
pub(crate) const WHOLE_EVERY: i64 = 64;

/// A look, played again.
pub(crate) struct Look<'a> {
    pub(crate) at_ms: u64,
    /// For how long it stands, milliseconds.
    pub(crate) span_ms: u64,
    pub(crate) seen: Seen,
    pub(crate) numbers: &'a Numbers,
}

/// Looks that follow one another: those of one recorder, one boot, one clock that never goes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) first: i64,
    /// The first look of the next one.
    pub(crate) end: i64,
    pub(crate) interval_ms: u64,
}

/// Every run, the oldest first.
pub(crate) fn runs(connection: &Connection) -> rusqlite::Result<Vec<Stretch>> {
    let mut statement = connection.prepare_cached("SELECT first, interval_ms FROM run ORDER BY first")?;
    let rows = statement.query_map([], |row| {
        Ok(Stretch { first: row.get(0)?, end: i64::MAX, interval_ms: row.get::<_, i64>(1)?.cast_unsigned() })
    })?;
    let mut runs = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    for later in (1..runs.len()).rev() {
        runs[later - 1].end = runs[later].first;
    }
    Ok(runs)
}

fn at(connection: &Connection, seq: i64) -> rusqlite::Result<Option<u64>> {
    let mut statement = connection.prepare_cached("SELECT at_ms FROM raw WHERE seq = ?1")?;
    statement.query_row([seq], |row| row.get::<_, i64>(0)).optional().map(|at| at.map(i64::cast_unsigned))
}

/// The looks of a run that are still there: the first one, and the one after the last.
pub(crate) fn there(connection: &Connection, run: &Stretch) -> rusqlite::Result<Option<(i64, i64)>> {
    let mut first = connection.prepare_cached("SELECT min(seq) FROM raw WHERE seq >= ?1 AND seq < ?2")?;
    let first: Option<i64> = first.query_row((run.first, run.end), |row| row.get(0))?;
    let mut last = connection.prepare_cached("SELECT max(seq) FROM raw WHERE seq >= ?1 AND seq < ?2")?;
    let last: Option<i64> = last.query_row((run.first, run.end), |row| row.get(0))?;
    Ok(first.zip(last.map(|last| last + 1)))
}

/// The first look of a run at this time or later; the end where there is none.
pub(crate) fn first_from(
    connection: &Connection,
    (first, end): (i64, i64),
    since_ms: u64,
) -> rusqlite::Result<i64> {
    let (mut low, mut high) = (first, end);
    while low < high {
        let middle = low + (high - low) / 2;
        // A row that is missing between others could only come of a damaged file.
        if at(connection, middle)?.is_some_and(|at| at < since_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// The whole look at or before this one.
pub(crate) const fn whole_before(run: &Stretch, seq: i64) -> i64 {
    seq - (seq - run.first).rem_euclid(WHOLE_EVERY)
}

/// Plays the looks of a run from `from` on, to the one before `end`; their numbers of wanted names. A look that does
/// not decode is left out, with those that follow from it.
pub(crate) fn play(
    connection: &Connection,
    run: &Stretch,
    (from, end): (i64, i64),
    wanted: impl Fn(u32) -> bool,
    mut found: impl FnMut(&Look<'_>),
) -> rusqlite::Result<()> {
    let mut statement = connection
        .prepare_cached("SELECT seq, at_ms, data FROM raw WHERE seq >= ?1 AND seq < ?2 ORDER BY seq")?;
    let end = end.min(run.end);
    // One more than is asked for: it says how long the last one stands.
    let mut rows = statement.query((whole_before(run, from), end.saturating_add(1).min(run.end)))?;
    let mut numbers = Numbers::new();
    let mut before: Option<(i64, u64, Seen)> = None;
    let mut tell = |look: Option<(i64, u64, Seen)>, numbers: &Numbers, later: Option<u64>, late: u64| {
        let Some((_, at_ms, seen)) = look.filter(|(seq, ..)| *seq >= from && *seq < end) else { return };
        let until = later.map(|later| later.saturating_sub(at_ms)).filter(|span| (1..=late).contains(span));
        let span_ms = until.unwrap_or(run.interval_ms);
        found(&Look { at_ms, span_ms, seen, numbers });
    };
    while let Some(row) = rows.next()? {
        let (seq, at_ms) = (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?.cast_unsigned());
        // A look that came late was long under way; one that did not come for longer left a gap.
        tell(before, &numbers, Some(at_ms), run.interval_ms.saturating_mul(5) / 2);
        let follows = before.is_some_and(|(last, ..)| last + 1 == seq);
        let data = row.get_ref(2)?.as_blob().unwrap_or_default();
        let seen = pack::apply(data, &mut numbers, follows, &wanted).ok().flatten();
        before = seen.map(|seen| (seq, at_ms, seen));
    }
    // The last look of a run stands for an interval, unless the next run looked before that.
    tell(before, &numbers, at(connection, run.end)?, run.interval_ms);
    Ok(())
}

/// The kinds that one look saw.
pub(crate) fn kinds(seen: Seen) -> impl Iterator<Item = What> {
    What::ALL.into_iter().filter(move |what| seen.has(*what))
}
