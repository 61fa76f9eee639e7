//! What lasts for a while: findings, and what could not be seen. A row from when it came to when it went.
//!
//! What goes and comes back within a minute went on: numbers that waver about a rule's bound are one finding. A note that
//! was still open when its recorder ended (killed, or the machine went down) ends with its last look.

use std::collections::BTreeMap;

use portolan_core::record::{Entry, Found};
use portolan_core::snapshot::{Gap, GapReason};
use rusqlite::Connection;

/// The kinds, as the table has them.
pub(crate) const FINDING: &str = "finding";
pub(crate) const GAP: &str = "gap";

/// For so long a note stays open that is not seen any more.
const LASTS_MS: u64 = 60_000;

/// A kind and a key.
type Key = (&'static str, String);

/// Which notes are open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open {
    notes: BTreeMap<Key, Note>,
}

#[derive(Clone, Debug)]
struct Note {
    /// The row's number.
    row: i64,
    /// A finding as it was told last.
    found: Option<Found>,
    /// When it was seen last.
    last_ms: u64,
}

/// What came and went with a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Findings that were not there before.
    pub came: Vec<Found>,
    /// Findings that are there no more, as they were told last.
    pub went: Vec<Found>,
}

/// Ends what an earlier recorder left open, at its last look.
pub(crate) fn end_all(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE note SET until_ms = max(since_ms, coalesce((SELECT at_ms FROM raw ORDER BY seq DESC LIMIT 1), \
         since_ms)) WHERE until_ms IS NULL",
        [],
    )?;
    Ok(())
}

/// Begins and ends notes as an entry has it; which are open then.
pub(crate) fn follow(connection: &Connection, entry: &Entry, open: &Open) -> rusqlite::Result<(Open, Told)> {
    let (mut now, mut told) = (open.clone(), Told::default());
    let mut note = |key: Key, value: &str, found: Option<&Found>| -> rusqlite::Result<()> {
        let last_ms = entry.at_ms;
        if let Some(note) = now.notes.get_mut(&key) {
            (note.found, note.last_ms) = (found.cloned(), last_ms);
            return Ok(());
        }
        let row = begin(connection, &key, value, last_ms)?;
        told.came.extend(found.cloned());
        now.notes.insert(key, Note { row, found: found.cloned(), last_ms });
        Ok(())
    };
    for found in &entry.findings {
        note((FINDING, found.key()), &serde_json::to_string(found).unwrap_or_default(), Some(found))?;
    }
    // A process that ended while it was looked at is nothing to note again and again.
    let matters = |gap: &&Gap| gap.what != "owners" || gap.reason != GapReason::Changed;
    for gap in entry.gaps.iter().filter(matters) {
        // The details change from look to look.
        let key = (GAP, format!("{} {:?}", gap.what, gap.reason));
        note(key, &serde_json::to_string(gap).unwrap_or_default(), None)?;
    }
    let gone = |note: &Note| entry.at_ms.abs_diff(note.last_ms) > LASTS_MS;
    for note in now.notes.values().filter(|note| gone(note)) {
        end(connection, note)?;
        told.went.extend(note.found.clone());
    }
    now.notes.retain(|_, note| !gone(note));
    Ok((now, told))
}

fn begin(connection: &Connection, (kind, key): &Key, value: &str, at_ms: u64) -> rusqlite::Result<i64> {
    let mut statement =
        connection.prepare_cached("INSERT INTO note (kind, key, value, since_ms) VALUES (?1, ?2, ?3, ?4)")?;
    statement.insert((*kind, key, value, at_ms.cast_signed()))
}

/// With the words that were told last: how many there were in the end.
fn end(connection: &Connection, note: &Note) -> rusqlite::Result<()> {
    let value = note.found.as_ref().and_then(|found| serde_json::to_string(found).ok());
    let mut statement = connection.prepare_cached(
        "UPDATE note SET until_ms = max(since_ms, ?2), value = coalesce(?3, value) WHERE id = ?1",
    )?;
    statement.execute((note.row, note.last_ms.cast_signed(), value)).map(drop)
}

/// A note as the table has it: its value, from when, to when.
pub(crate) fn between<T: serde::de::DeserializeOwned>(
    connection: &Connection,
    kind: &str,
    (since_ms, until_ms): (u64, u64),
) -> rusqlite::Result<Vec<(T, u64, Option<u64>)>> {
    let mut statement = connection.prepare_cached(
        "SELECT value, since_ms, until_ms FROM note WHERE kind = ?1 AND since_ms <= ?3 \
         AND (until_ms IS NULL OR until_ms >= ?2) ORDER BY since_ms, id",
    )?;
    let bounds =
        (kind, i64::try_from(since_ms).unwrap_or(i64::MAX), i64::try_from(until_ms).unwrap_or(i64::MAX));
    let mut rows = statement.query(bounds)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if let Ok(value) = serde_json::from_str(row.get_ref(0)?.as_str().unwrap_or_default()) {
            let (since, until): (i64, Option<i64>) = (row.get(1)?, row.get(2)?);
            found.push((value, since.cast_unsigned(), until.map(i64::cast_unsigned)));
        }
    }
    Ok(found)
}
