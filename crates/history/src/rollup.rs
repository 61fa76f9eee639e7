//! Roll-ups: looks to minutes, minutes to hours. Doing it again changes nothing.
//!
//! A look is counted once: the mark of the last one that was stands in the same transaction as the minutes it went
//! into. Minutes are added to where they are there already (another recorder's, or a clock that went back); an hour is
//! made anew from its minutes, so often as one of them changes.

use std::collections::{BTreeMap, BTreeSet};

use portolan_core::record::What;
use rusqlite::{Connection, OptionalExtension as _};

use crate::names;
use crate::pack::{Rolled, Stretch};
use crate::raw;
use crate::schema::{Level, Mark};

/// Rolls up every look but those at the end that are of the minute of `now_ms`.
pub(crate) fn roll(connection: &Connection, now_ms: u64) -> rusqlite::Result<()> {
    let from = Mark::Rolled.value(connection)? + 1;
    let end = first_of_minute(connection, from, now_ms)?;
    let mut minutes: BTreeMap<(What, u64), Rolled> = BTreeMap::new();
    for run in raw::runs(connection)? {
        let part = (from.max(run.first), end.min(run.end));
        if part.0 >= part.1 {
            continue;
        }
        let mut whats: BTreeMap<u32, What> = BTreeMap::new();
        for what in What::ALL {
            whats.extend(names::of(connection, what)?.into_keys().map(|name| (name, what)));
        }
        raw::play(
            connection,
            &run,
            part,
            |_| true,
            |look| {
                let minute = look.at_ms - look.at_ms % Level::Minutes.span_ms();
                for what in raw::kinds(look.seen) {
                    minutes.entry((what, minute)).or_default().looks += 1;
                }
                for (name, amount) in look.numbers {
                    if let Some(what) = whats.get(name)
                        && let Some(rolled) = minutes.get_mut(&(*what, minute))
                    {
                        rolled.add(*name, Stretch::from(*amount));
                    }
                }
            },
        )?;
    }
    let mut hours = BTreeSet::new();
    for ((what, at), mut rolled) in minutes {
        if let Some(before) = read(connection, Level::Minutes, what, at)? {
            rolled.merge(&before);
        }
        write(connection, Level::Minutes, what, at, &rolled)?;
        hours.insert((what, at - at % Level::Hours.span_ms()));
    }
    let now = now_ms - now_ms % Level::Hours.span_ms();
    for (what, at) in hours.into_iter().filter(|(_, at)| *at != now) {
        roll_hour(connection, what, at)?;
    }
    if end > from {
        Mark::Rolled.set(connection, end - 1)?;
    }
    Ok(())
}

/// The first of the looks at the end that are all of one minute.
fn first_of_minute(connection: &Connection, from: i64, now_ms: u64) -> rusqlite::Result<i64> {
    let begin = now_ms - now_ms % Level::Minutes.span_ms();
    let end = begin + Level::Minutes.span_ms();
    let mut statement = connection
        .prepare_cached("SELECT max(seq) FROM raw WHERE seq >= ?1 AND (at_ms < ?2 OR at_ms >= ?3)")?;
    let last: Option<i64> =
        statement.query_row((from, begin.cast_signed(), end.cast_signed()), |row| row.get(0))?;
    Ok(last.map_or(from, |last| last + 1))
}

fn roll_hour(connection: &Connection, what: What, at: u64) -> rusqlite::Result<()> {
    let mut hour = Rolled::default();
    let table = Level::Minutes.table(what);
    let mut statement =
        connection.prepare_cached(&format!("SELECT data FROM {table} WHERE at >= ?1 AND at < ?2"))?;
    let end = at + Level::Hours.span_ms();
    let mut rows = statement.query((at.cast_signed(), end.cast_signed()))?;
    while let Some(row) = rows.next()? {
        if let Ok(minute) = Rolled::unpack(row.get_ref(0)?.as_blob().unwrap_or_default()) {
            hour.merge(&minute);
        }
    }
    write(connection, Level::Hours, what, at, &hour)?;
    names::touch(connection, hour.of.into_keys(), at)
}

fn read(connection: &Connection, level: Level, what: What, at: u64) -> rusqlite::Result<Option<Rolled>> {
    let table = level.table(what);
    let mut statement = connection.prepare_cached(&format!("SELECT data FROM {table} WHERE at = ?1"))?;
    let data: Option<Vec<u8>> = statement.query_row([at.cast_signed()], |row| row.get(0)).optional()?;
    Ok(data.and_then(|data| Rolled::unpack(&data).ok()))
}

fn write(
    connection: &Connection,
    level: Level,
    what: What,
    at: u64,
    rolled: &Rolled,
) -> rusqlite::Result<()> {
    let table = level.table(what);
    let mut statement =
        connection.prepare_cached(&format!("INSERT OR REPLACE INTO {table} (at, data) VALUES (?1, ?2)"))?;
    statement.execute((at.cast_signed(), rolled.pack())).map(drop)
}
