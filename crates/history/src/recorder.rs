//! The writing side: a look comes in, one transaction later it is kept.

use std::path::{Path, PathBuf};

use portolan_core::record::Entry;
use rusqlite::backup::Backup;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

use crate::error::{Error, Kind};
use crate::names::{self, Known};
use crate::notes::{self, Open, Told};
use crate::pack::{self, Numbers, Seen};
use crate::raw::WHOLE_EVERY;
use crate::retention::{self, Keep};
use crate::rollup;
use crate::schema::{self, Level, Mark};
use crate::whose::{self, Whose};

/// How a recorder records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How far looks are apart, milliseconds.
    pub interval_ms: u64,
    /// The recorder's process id, for whoever asks who records.
    pub pid: u32,
    /// What is kept how long.
    pub keep: Keep,
}

/// What a look that was kept has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// When it was taken, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// Findings that came and went.
    pub told: Told,
    /// Which ranges or reservations changed, or were written down for the first time since the machine's start.
    pub settings: Vec<&'static str>,
    /// The clock went back by so much since the last look, milliseconds.
    pub clock_back_ms: Option<u64>,
}

/// What the next look follows.
#[derive(Debug)]
struct Last {
    run: i64,
    seq: i64,
    at_ms: u64,
    boot: String,
    numbers: Numbers,
    known: Known,
    open: Open,
}

/// Writes one file. Two of them must not write the same one: whoever makes one holds a lock on it.
#[derive(Debug)]
pub struct Recorder {
    connection: Connection,
    path: PathBuf,
    options: Options,
    last: Option<Last>,
}

impl Recorder {
    /// Opens a file, or begins it. What a recorder that was killed left unfinished is gone or whole by then.
    pub fn open(path: &Path, options: Options) -> Result<Self, Error> {
        Self::begin(schema::open(path)?, path, options)
    }

    fn begin(mut connection: Connection, path: &Path, options: Options) -> Result<Self, Error> {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|transaction| notes::end_all(&transaction).and_then(|()| transaction.commit()));
        transaction.map_err(|error| Error::of("open", path, &error))?;
        Ok(Self { connection, path: path.to_owned(), options, last: None })
    }

    /// Opens a file for the numbers of one machine and network namespace, or begins it; refuses one that holds another's.
    pub fn open_of(path: &Path, options: Options, whose: &Whose) -> Result<Self, Error> {
        let connection = schema::open(path)?;
        let settled = whose::settle(&connection, whose).map_err(|error| Error::of("open", path, &error))?;
        if let Err(before) = settled {
            let text = format!(
                "{} is the record of {}; name another file with --file",
                path.display(),
                before.against(whose)
            );
            return Err(Error::new(Kind::Anothers, text));
        }
        Self::begin(connection, path, options)
    }

    /// Keeps a look. Where that fails nothing of it is kept and the file is as it was: it may be tried again.
    pub fn append(&mut self, entry: &Entry) -> Result<Appended, Error> {
        let wrong = |error| Error::of("write", &self.path, &error);
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(wrong)?;
        let (last, appended) =
            append(&transaction, entry, self.last.as_ref(), &self.options).map_err(wrong)?;
        transaction.commit().map_err(wrong)?;
        self.last = Some(last);
        // What was committed is kept, also where the log has to stay: a reader holds it, or the disk is full. The next
        // look does it as well.
        let _ = self.empty_log();
        Ok(appended)
    }

    /// Puts the log into the file, unless a reader is in the way: nobody is waited for.
    fn empty_log(&self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(std::time::Duration::ZERO)?;
        let done = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.connection.busy_timeout(schema::PATIENCE)?;
        done
    }

    /// Copies the file as it is after the last look, whole, to one that is not there yet.
    pub fn copy(&self, to: &Path) -> Result<(), Error> {
        copy(&self.connection, to)
    }
}

/// Copies what a connection reads into a new file.
pub(crate) fn copy(from: &Connection, to: &Path) -> Result<(), Error> {
    let wrong = |error: rusqlite::Error| Error::of("write", to, &error);
    let mut target = Connection::open(to).map_err(wrong)?;
    let backup = Backup::new(from, &mut target).map_err(wrong)?;
    backup.run_to_completion(4096, std::time::Duration::from_millis(10), None).map_err(wrong)
}

fn append(
    connection: &Connection,
    entry: &Entry,
    last: Option<&Last>,
    options: &Options,
) -> rusqlite::Result<(Last, Appended)> {
    let clock_back_ms = last.and_then(|last| last.at_ms.checked_sub(entry.at_ms)).filter(|back| *back > 0);
    let goes_on = last.filter(|last| clock_back_ms.is_none() && last.boot == entry.boot);
    let seq = match last {
        Some(last) => last.seq + 1,
        None => next_seq(connection)?,
    };
    let run = goes_on.map_or(seq, |last| last.run);
    if run == seq {
        let mut begin = connection.prepare_cached(
            "INSERT INTO run (first, boot, interval_ms, pid, since_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let interval = options.interval_ms.cast_signed();
        begin.execute((seq, &entry.boot, interval, options.pid, entry.at_ms.cast_signed()))?;
    }
    let nothing = Known::new();
    let (numbers, known) = names::number(connection, entry, last.map_or(&nothing, |last| &last.known))?;
    let whole = (seq - run) % WHOLE_EVERY == 0;
    let before = goes_on.filter(|_| !whole).map(|last| &last.numbers);
    let data = pack::look(before, &numbers, Seen::of(&entry.seen));
    connection.prepare_cached("INSERT INTO raw (seq, at_ms, data) VALUES (?1, ?2, ?3)")?.execute((
        seq,
        entry.at_ms.cast_signed(),
        data,
    ))?;
    let settings = note_settings(connection, entry)?;
    let (open, told) = match last {
        Some(last) => notes::follow(connection, entry, &last.open)?,
        None => notes::follow(connection, entry, &Open::default())?,
    };
    let mut now = Last { run, seq, at_ms: entry.at_ms, boot: entry.boot.clone(), numbers, known, open };
    let of = |level: Level, at_ms: u64| at_ms / level.span_ms();
    let is_new = |level| last.is_none_or(|last| of(level, last.at_ms) != of(level, entry.at_ms));
    if is_new(Level::Minutes) {
        rollup::roll(connection, entry.at_ms)?;
    }
    if is_new(Level::Hours) {
        retention::prune(connection, &options.keep, entry.at_ms)?;
        // Names that nobody had for years may be gone.
        now.known.clear();
    }
    Ok((now, Appended { at_ms: entry.at_ms, told, settings, clock_back_ms }))
}

/// After every look that is or was there.
fn next_seq(connection: &Connection) -> rusqlite::Result<i64> {
    let last: Option<i64> = connection.query_row("SELECT max(seq) FROM raw", [], |row| row.get(0))?;
    let first: Option<i64> = connection.query_row("SELECT max(first) FROM run", [], |row| row.get(0))?;
    let rolled = Mark::Rolled.value(connection)?;
    Ok(last.unwrap_or(0).max(rolled).max(first.unwrap_or(0)) + 1)
}

/// Writes down ranges and reservations where they are not as they were, or the machine was started since.
fn note_settings(connection: &Connection, entry: &Entry) -> rusqlite::Result<Vec<&'static str>> {
    let mut noted = Vec::new();
    // Not read is no change.
    let unread = |what: &str| entry.gaps.iter().any(|gap| gap.what == what);
    let json = |text: serde_json::Result<String>| text.unwrap_or_default();
    let ranges = (!entry.ranges.is_empty()).then(|| json(serde_json::to_string(&entry.ranges)));
    let reservations = (ranges.is_some() && !unread("reservations"))
        .then(|| json(serde_json::to_string(&entry.reservations)));
    for (kind, value) in [("ranges", ranges), ("reservations", reservations)] {
        let Some(value) = value else { continue };
        let mut statement = connection.prepare_cached(
            "SELECT value = ?2 AND boot = ?3 FROM setting WHERE kind = ?1 ORDER BY id DESC LIMIT 1",
        )?;
        let same =
            statement.query_row((kind, &value, &entry.boot), |row| row.get::<_, bool>(0)).optional()?;
        if same != Some(true) {
            let mut insert = connection
                .prepare_cached("INSERT INTO setting (at_ms, boot, kind, value) VALUES (?1, ?2, ?3, ?4)")?;
            insert.execute((entry.at_ms.cast_signed(), &entry.boot, kind, value))?;
            noted.push(kind);
        }
    }
    Ok(noted)
}

#[cfg(test)]
pub(crate) mod tests;
