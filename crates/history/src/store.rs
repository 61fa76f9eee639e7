//! The reading side, also while a recorder writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use portolan_core::range::{EphemeralRange, Reservation};
use portolan_core::record::{Amount, Found, What};
use portolan_core::series::Series;
use portolan_core::snapshot::Gap;
use rusqlite::Connection;
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::{Error, Kind};
use crate::query::{self, Query};
use crate::schema::{self, AsItStands, Level, Opened};
use crate::whose::{self, Whose};
use crate::{notes, recorder};

/// From when to when there is something, and who recorded last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Span {
    /// The first stretch begins, milliseconds since 1970-01-01 UTC.
    pub since_ms: u64,
    /// The last look.
    pub until_ms: u64,
    /// The last run of a recorder.
    pub run: Run,
}

/// Looks that follow one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Run {
    /// Which boot of the machine; empty where the system does not say.
    pub boot: String,
    /// How far looks are apart, milliseconds.
    pub interval_ms: u64,
    /// The recorder's process id.
    pub pid: u32,
    /// Its first look.
    pub since_ms: u64,
}

/// What is set about ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// The ephemeral ranges.
    Ranges(Vec<EphemeralRange>),
    /// The reservations.
    Reservations(Vec<Reservation>),
}

/// A page of the diary: what was set from then on. There is one for every change, and one after each start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Change {
    /// When it was seen first, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// In which boot.
    pub boot: String,
    /// What was set.
    pub set: Setting,
}

/// Something that lasted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Noted<T> {
    /// What; of a finding, as it was told last.
    #[serde(flatten)]
    pub what: T,
    /// When it was seen first, milliseconds since 1970-01-01 UTC.
    pub since_ms: u64,
    /// When it was seen last; null where it was there at the last look.
    pub until_ms: Option<u64>,
}

/// A recorder's file, open for reading.
#[derive(Debug)]
pub struct Store {
    opened: Opened,
    path: PathBuf,
}

impl Store {
    /// Opens a file. It may be written meanwhile. Nothing is made beside it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Ok(Self { opened: schema::open_to_read(path)?, path: path.to_owned() })
    }

    fn asked<T>(&self, answer: rusqlite::Result<T>) -> Result<T, Error> {
        self.unless_written(answer.map_err(|error| Error::of("read", &self.path, &error)))
    }

    /// The answer, unless the file that was read as it stands has been written since: then it means nothing.
    fn unless_written<T>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        match self.opened.stands {
            Some(stands) if stands != AsItStands::of(&self.path) => {
                let text = format!("a recorder has just begun with {}; type it again", self.path.display());
                Err(Error::new(Kind::Busy, text))
            }
            _ => answer,
        }
    }

    /// Whose numbers they are; none where the file is older than that it was written down.
    pub fn whose(&self) -> Result<Option<Whose>, Error> {
        match self.opened.tells_whose {
            true => self.asked(whose::read(&self.opened.connection)),
            false => Ok(None),
        }
    }

    /// From when to when; none where nothing was recorded yet.
    pub fn span(&self) -> Result<Option<Span>, Error> {
        self.asked(span(&self.opened.connection))
    }

    /// The series of a kind, as the query wants them: what matters most first.
    pub fn series(&self, query: &Query) -> Result<Vec<Series>, Error> {
        self.asked(query::series(&self.opened.connection, query))
    }

    /// What the newest looks of a kind saw of these names from a time on, before another; none where no look is kept of
    /// then. Of a kind that is counted whole who is missing had none.
    pub fn last(
        &self,
        what: What,
        wanted: &BTreeSet<&str>,
        (since_ms, until_ms): (u64, u64),
    ) -> Result<Option<BTreeMap<String, Amount>>, Error> {
        self.asked(query::last(&self.opened.connection, what, wanted, (since_ms, until_ms)))
    }

    /// The diary of ranges and reservations, the oldest page first.
    pub fn changes(&self) -> Result<Vec<Change>, Error> {
        self.asked(changes(&self.opened.connection))
    }

    /// Findings that there were between two times, the oldest first.
    pub fn findings(&self, since_ms: u64, until_ms: u64) -> Result<Vec<Noted<Found>>, Error> {
        self.noted(notes::FINDING, since_ms, until_ms)
    }

    /// What could not be seen between two times, the oldest first.
    pub fn gaps(&self, since_ms: u64, until_ms: u64) -> Result<Vec<Noted<Gap>>, Error> {
        self.noted(notes::GAP, since_ms, until_ms)
    }

    fn noted<T: serde::de::DeserializeOwned>(
        &self,
        kind: &str,
        since_ms: u64,
        until_ms: u64,
    ) -> Result<Vec<Noted<T>>, Error> {
        let found = self.asked(notes::between(&self.opened.connection, kind, (since_ms, until_ms)))?;
        let noted = |(what, since_ms, until_ms)| Noted { what, since_ms, until_ms };
        Ok(found.into_iter().map(noted).collect())
    }

    /// Copies the file as it is at one moment, whole, to one that is not there yet; also while a recorder writes.
    pub fn copy(&self, to: &Path) -> Result<(), Error> {
        self.unless_written(recorder::copy(&self.opened.connection, to))
    }

    /// Whether the file is whole, by SQLite's own check; what is wrong with it otherwise, a line each.
    pub fn check(&self) -> Result<Vec<String>, Error> {
        self.asked(check(&self.opened.connection))
    }
}

fn check(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let lines: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

fn span(connection: &Connection) -> rusqlite::Result<Option<Span>> {
    let last = "SELECT boot, interval_ms, pid, since_ms FROM run ORDER BY first DESC LIMIT 1";
    let mut statement = connection.prepare(last)?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let run = Run {
        boot: row.get(0)?,
        interval_ms: row.get::<_, i64>(1)?.cast_unsigned(),
        pid: row.get(2)?,
        since_ms: row.get::<_, i64>(3)?.cast_unsigned(),
    };
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
    let until = number("SELECT at_ms FROM raw ORDER BY seq DESC LIMIT 1")?;
    let mut since = vec![number("SELECT min(at_ms) FROM raw")?];
    for level in Level::ALL {
        let table = level.table(What::Total);
        since.push(number(&format!("SELECT min(at) FROM {table}"))?);
    }
    let since_ms = since.into_iter().flatten().min().unwrap_or_default().cast_unsigned();
    Ok(until.map(|until| Span { since_ms, until_ms: until.cast_unsigned(), run }))
}

fn changes(connection: &Connection) -> rusqlite::Result<Vec<Change>> {
    let mut statement = connection.prepare("SELECT at_ms, boot, kind, value FROM setting ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        let (kind, value) = (row.get_ref(2)?.as_str()?, row.get_ref(3)?.as_str()?);
        let set = match kind {
            "ranges" => serde_json::from_str(value).map(Setting::Ranges),
            _ => serde_json::from_str(value).map(Setting::Reservations),
        };
        if let Ok(set) = set {
            changes.push(Change { at_ms: row.get::<_, i64>(0)?.cast_unsigned(), boot: row.get(1)?, set });
        }
    }
    Ok(changes)
}
