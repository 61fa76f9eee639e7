//! What is kept how long, and how large the file may become.
//!
//! Age is told by the newest look's time, so a clock that is wrong for a moment could make all seem old: age counts only
//! where an earlier hour of the last days was recorded too.

use portolan_core::record::What;
use rusqlite::Connection;

use crate::raw;
use crate::schema::{Level, Mark};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// What is kept how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Single looks, milliseconds.
    pub looks_ms: u64,
    /// Minutes.
    pub minutes_ms: u64,
    /// Hours, and what else is told of so long ago: findings, gaps, ranges.
    pub hours_ms: u64,
    /// How large the file may become, in bytes: then the oldest looks go first, then minutes, then hours.
    pub bytes: u64,
}

impl Default for Keep {
    /// Two days of looks, a month of minutes, two years of hours; a quarter of a gigabyte.
    fn default() -> Self {
        Self { looks_ms: 2 * DAY, minutes_ms: 31 * DAY, hours_ms: 731 * DAY, bytes: 256 << 20 }
    }
}

/// Removes what is too old or too much, as of `now_ms`.
pub(crate) fn prune(connection: &Connection, keep: &Keep, now_ms: u64) -> rusqlite::Result<()> {
    if is_trusted(connection, now_ms)? {
        // An hour is made from its minutes, and they from looks: what is not rolled up yet stays.
        let before = |age: u64| now_ms.saturating_sub(age.max(2 * HOUR)) / HOUR * HOUR;
        cut_looks(connection, before(keep.looks_ms))?;
        cut(connection, Level::Minutes, before(keep.minutes_ms))?;
        cut(connection, Level::Hours, before(keep.hours_ms))?;
    }
    shrink(connection, keep.bytes, now_ms)
}

/// Whether an hour of the last days, and not this one, was recorded: then the clock is not wrong for a moment alone.
fn is_trusted(connection: &Connection, now_ms: u64) -> rusqlite::Result<bool> {
    let table = Level::Hours.table(What::Total);
    let mut statement = connection
        .prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE at >= ?1 AND at <= ?2)"))?;
    let from = now_ms.saturating_sub(8 * DAY);
    statement.query_row((from.cast_signed(), now_ms.saturating_sub(HOUR).cast_signed()), |row| row.get(0))
}

/// Removes looks before a time, of each run from its beginning, up to a whole one.
fn cut_looks(connection: &Connection, before_ms: u64) -> rusqlite::Result<()> {
    let rolled = Mark::Rolled.value(connection)?;
    for run in raw::runs(connection)? {
        let Some(there) = raw::there(connection, &run)? else {
            // Runs without looks say nothing; the last one may still get some.
            if run.end != i64::MAX {
                connection.execute("DELETE FROM run WHERE first = ?1", [run.first])?;
            }
            continue;
        };
        let kept = raw::first_from(connection, there, before_ms)?;
        let kept = if kept == there.1 { kept } else { raw::whole_before(&run, kept) }.min(rolled + 1);
        let mut delete = connection.prepare_cached("DELETE FROM raw WHERE seq >= ?1 AND seq < ?2")?;
        delete.execute((there.0, kept))?;
    }
    raise(connection, Mark::LooksFrom, before_ms)
}

fn cut(connection: &Connection, level: Level, before_ms: u64) -> rusqlite::Result<()> {
    for what in What::ALL {
        let table = level.table(what);
        let mut delete = connection.prepare_cached(&format!("DELETE FROM {table} WHERE at < ?1"))?;
        delete.execute([before_ms.cast_signed()])?;
    }
    match level {
        Level::Minutes => raise(connection, Mark::MinutesFrom, before_ms),
        Level::Hours => {
            let old = [before_ms.cast_signed()];
            connection.execute("DELETE FROM note WHERE until_ms < ?1", old)?;
            connection.execute("DELETE FROM name WHERE last_ms < ?1", old)?;
            // The last of each kind holds until now, however old it is.
            connection.execute(
                "DELETE FROM setting WHERE at_ms < ?1 AND id NOT IN (SELECT max(id) FROM setting GROUP BY kind)",
                old,
            )?;
            raise(connection, Mark::HoursFrom, before_ms)
        }
    }
}

fn raise(connection: &Connection, mark: Mark, to_ms: u64) -> rusqlite::Result<()> {
    let to = to_ms.cast_signed();
    if mark.value(connection)? < to { mark.set(connection, to) } else { Ok(()) }
}

/// How many bytes are in use.
fn used(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
    Ok((pages * number("PRAGMA page_size")?).cast_unsigned())
}

/// Removes the oldest until the file is small enough: of looks all but two hours, then of minutes all but two days.
fn shrink(connection: &Connection, bytes: u64, now_ms: u64) -> rusqlite::Result<()> {
    /// What removes everything before a time.
    type Cut = fn(&Connection, u64) -> rusqlite::Result<()>;
    let steps: [(u64, Cut, u64); 3] = [
        (2 * HOUR, cut_looks, HOUR),
        (2 * DAY, |connection, before| cut(connection, Level::Minutes, before), 6 * HOUR),
        (7 * DAY, |connection, before| cut(connection, Level::Hours, before), 7 * DAY),
    ];
    for (least, cut, step) in steps {
        let latest = now_ms.saturating_sub(least) / HOUR * HOUR;
        let mut before = oldest(connection, least)?.unwrap_or(latest);
        while used(connection)? > bytes && before < latest {
            before = (before + step).min(latest);
            cut(connection, before)?;
        }
    }
    let spare: i64 = connection.query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
    if used(connection)? + (spare * 4096).cast_unsigned() > bytes {
        // Each row that it returns is a page that was given back.
        let mut statement = connection.prepare("PRAGMA incremental_vacuum")?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
    }
    Ok(())
}

/// The oldest row of the level that keeps at least this much.
fn oldest(connection: &Connection, least: u64) -> rusqlite::Result<Option<u64>> {
    let sql = match least {
        0..=DAY => "SELECT min(at_ms) FROM raw".to_owned(),
        _ if least <= 2 * DAY => format!("SELECT min(at) FROM {}", Level::Minutes.table(What::Total)),
        _ => format!("SELECT min(at) FROM {}", Level::Hours.table(What::Total)),
    };
    let oldest: Option<i64> = connection.query_row(&sql, [], |row| row.get(0))?;
    Ok(oldest.map(|at| at.cast_unsigned() / HOUR * HOUR))
}
