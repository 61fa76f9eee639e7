//! What numbers are called: each name stands once, and rows have its number.

use std::collections::BTreeMap;

use portolan_core::record::{Amount, Entry, OTHERS, What};
use rusqlite::{Connection, OptionalExtension as _};

use crate::pack::Numbers;

/// More names than this are not made; a host with so many has names that do not last.
const MOST: i64 = 50_000;

/// Numbers of the names of the last look: a look has mostly those of the one before.
pub(crate) type Known = BTreeMap<(What, String), u32>;

/// The numbers of an entry under the numbers of their names, and these.
pub(crate) fn number(
    connection: &Connection,
    entry: &Entry,
    known: &Known,
) -> rusqlite::Result<(Numbers, Known)> {
    let mut now = Known::new();
    let mut numbers = Numbers::new();
    for (key, amount) in &entry.amounts {
        let found = match known.get(key) {
            Some(id) => Some(*id),
            None => find_or_make(connection, key.0, &key.1, entry.at_ms)?,
        };
        if let Some(id) = found {
            numbers.insert(id, *amount);
            now.insert(key.clone(), id);
        } else if key.0 == What::Owner {
            // Counted, though not under its name.
            if let Some(id) = make(connection, What::Owner, OTHERS, entry.at_ms)? {
                let others: &mut Amount = numbers.entry(id).or_default();
                *others = Amount {
                    min: others.min.saturating_add(amount.min),
                    max: others.max.saturating_add(amount.max),
                };
            }
        }
    }
    Ok((numbers, now))
}

fn find(connection: &Connection, what: What, text: &str) -> rusqlite::Result<Option<u32>> {
    let mut statement = connection.prepare_cached("SELECT id FROM name WHERE what = ?1 AND text = ?2")?;
    statement.query_row((what as u32, text), |row| row.get(0)).optional()
}

fn find_or_make(
    connection: &Connection,
    what: What,
    text: &str,
    at_ms: u64,
) -> rusqlite::Result<Option<u32>> {
    if let Some(id) = find(connection, what, text)? {
        return Ok(Some(id));
    }
    let count: i64 =
        connection.prepare_cached("SELECT count(*) FROM name")?.query_row([], |row| row.get(0))?;
    if count >= MOST { Ok(None) } else { make(connection, what, text, at_ms) }
}

fn make(connection: &Connection, what: What, text: &str, at_ms: u64) -> rusqlite::Result<Option<u32>> {
    let mut statement =
        connection.prepare_cached("INSERT OR IGNORE INTO name (what, text, last_ms) VALUES (?1, ?2, ?3)")?;
    statement.execute((what as u32, text, at_ms.cast_signed()))?;
    find(connection, what, text)
}

/// Says that names were in use at a time, so that they are not forgotten.
pub(crate) fn touch(
    connection: &Connection,
    names: impl Iterator<Item = u32>,
    at_ms: u64,
) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("UPDATE name SET last_ms = ?2 WHERE id = ?1 AND last_ms < ?2")?;
    for name in names {
        statement.execute((name, at_ms.cast_signed()))?;
    }
    Ok(())
}

/// The names of a kind, by their numbers.
pub(crate) fn of(connection: &Connection, what: What) -> rusqlite::Result<BTreeMap<u32, String>> {
    let mut statement = connection.prepare_cached("SELECT id, text FROM name WHERE what = ?1")?;
    let rows = statement.query_map([what as u32], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}
