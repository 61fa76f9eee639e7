//! The file: opening it, its tables, its version.
//!
//! Source: sqlite.org/pragma.html (`application_id`, `user_version`, `auto_vacuum`), sqlite.org/wal.html. Each level
//! and kind has a table of its own, since rows that are only ever added at a table's end fill its pages.

use std::path::Path;
use std::time::SystemTime;

use portolan_core::record::What;
use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, Kind};
use crate::whose;

/// Says in the file's head whose it is: "Port".
const APPLICATION: i64 = 0x506f_7274;
/// The version of the tables. Older ones are brought up to it when a recorder opens them: the first had no `whose`.
const VERSION: i64 = 2;
/// How long a reader waits for a recorder that opens or closes its file.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// How far numbers are rolled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Minutes,
    Hours,
}

impl Level {
    pub(crate) const ALL: [Self; 2] = [Self::Minutes, Self::Hours];

    /// Length of a stretch, milliseconds.
    pub(crate) const fn span_ms(self) -> u64 {
        match self {
            Self::Minutes => 60_000,
            Self::Hours => 3_600_000,
        }
    }

    /// The table of a kind.
    pub(crate) fn table(self, what: What) -> String {
        let level = match self {
            Self::Minutes => "minutes",
            Self::Hours => "hours",
        };
        let what = match what {
            What::Total => "total",
            What::State => "state",
            What::Owner => "owner",
            What::Leak => "leak",
            What::Descriptors => "descriptors",
            What::Destination => "destination",
            What::Room => "room",
            What::Limit => "limit",
        };
        format!("{level}_{what}")
    }
}

/// Numbers that the store keeps about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The last look that is in the minutes.
    Rolled,
    /// Looks before this time were removed, milliseconds.
    LooksFrom,
    /// Minutes before this time were removed.
    MinutesFrom,
    /// Hours before this time were removed.
    HoursFrom,
}

impl Mark {
    const fn name(self) -> &'static str {
        match self {
            Self::Rolled => "rolled",
            Self::LooksFrom => "looks from",
            Self::MinutesFrom => "minutes from",
            Self::HoursFrom => "hours from",
        }
    }

    pub(crate) fn value(self, connection: &Connection) -> rusqlite::Result<i64> {
        let mut statement = connection.prepare_cached("SELECT value FROM mark WHERE name = ?1")?;
        let mut rows = statement.query([self.name()])?;
        rows.next()?.map_or(Ok(0), |row| row.get(0))
    }

    pub(crate) fn set(self, connection: &Connection, value: i64) -> rusqlite::Result<()> {
        let mut statement =
            connection.prepare_cached("INSERT OR REPLACE INTO mark (name, value) VALUES (?1, ?2)")?;
        statement.execute((self.name(), value)).map(drop)
    }
}

const TABLES: &str = "
CREATE TABLE mark (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE name (id INTEGER PRIMARY KEY AUTOINCREMENT, what INTEGER NOT NULL, text TEXT NOT NULL,
                   last_ms INTEGER NOT NULL, UNIQUE (what, text));
CREATE TABLE run (first INTEGER PRIMARY KEY, boot TEXT NOT NULL, interval_ms INTEGER NOT NULL, pid INTEGER NOT NULL,
                  since_ms INTEGER NOT NULL);
CREATE TABLE raw (seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE setting (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, boot TEXT NOT NULL, kind TEXT NOT NULL,
                      value TEXT NOT NULL);
CREATE TABLE note (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
                   since_ms INTEGER NOT NULL, until_ms INTEGER);
CREATE INDEX note_open ON note (kind) WHERE until_ms IS NULL;
";

/// Opens a file for a recorder, and makes its tables where it is new or empty.
pub(crate) fn open(path: &Path) -> Result<Connection, Error> {
    let wrong = |error| Error::of("open", path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut connection = Connection::open_with_flags(path, flags).map_err(wrong)?;
    // Readers keep nobody waiting; what is in the way is another program's.
    connection.busy_timeout(PATIENCE).map_err(wrong)?;
    match version(&connection, path)? {
        None => make(&mut connection).map_err(wrong)?,
        Some(VERSION..) => {}
        Some(_) => bring_up(&mut connection).map_err(wrong)?,
    }
    let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -2000; \
                    PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY;";
    connection.execute_batch(settings).map_err(wrong)?;
    Ok(connection)
}

fn make(connection: &mut Connection) -> rusqlite::Result<()> {
    // Before the first table, or it has no effect. Pages that are not needed any more can then be given back.
    connection.execute_batch("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;")?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLES)?;
    transaction.execute_batch(whose::TABLE)?;
    for level in Level::ALL {
        for what in What::ALL {
            let table = level.table(what);
            transaction.execute_batch(&format!(
                "CREATE TABLE {table} (at INTEGER PRIMARY KEY, data BLOB NOT NULL);"
            ))?;
        }
    }
    transaction
        .execute_batch(&format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};"))?;
    transaction.commit()
}

/// Brings tables of the first version up to this one.
fn bring_up(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.execute_batch(whose::TABLE)?;
    transaction.execute_batch(&format!("PRAGMA user_version = {VERSION};"))?;
    transaction.commit()
}

/// A file that is read as it stands, without its log: what it looked like when it was opened. A recorder that begins
/// meanwhile writes into it, and does not know of such a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AsItStands {
    modified: Option<SystemTime>,
    size: u64,
    has_log: bool,
}

impl AsItStands {
    pub(crate) fn of(path: &Path) -> Self {
        let about = path.metadata().ok();
        Self {
            modified: about.as_ref().and_then(|about| about.modified().ok()),
            size: about.map_or(0, |about| about.len()),
            has_log: has_log(path),
        }
    }
}

/// Whether there is a log beside the file: a recorder has it open, or was killed.
fn has_log(path: &Path) -> bool {
    // It lies beside the file itself, whatever link leads to that.
    let mut beside = path.canonicalize().unwrap_or_else(|_| path.to_owned()).into_os_string();
    beside.push("-wal");
    Path::new(&beside).exists()
}

/// A file, open for reading.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) stands: Option<AsItStands>,
    /// Whether it has the table that says whose it is.
    pub(crate) tells_whose: bool,
}

/// Opens a file for reading. Without a log it is whole, and is read as it stands: SQLite would make a log and its index
/// beside it, with the file's own permissions and the reader's own name, and leave them there, where they can keep a
/// recorder out. So it is where SQLite may not make them.
pub(crate) fn open_to_read(path: &Path) -> Result<Opened, Error> {
    if !path.exists() {
        let text = format!("there is no history at {}; record one with: portolan record", path.display());
        return Err(Error::new(Kind::Missing, text));
    }
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let wrong = |error| Error::of("read", path, &error);
    let with_log = || {
        let connection = Connection::open_with_flags(path, flags).map_err(wrong)?;
        connection.busy_timeout(PATIENCE).map_err(wrong)?;
        version(&connection, path).map(|version| (connection, None, version))
    };
    let as_it_stands = || {
        let stands = AsItStands::of(path);
        let uri = uri(path);
        let connection =
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI).map_err(wrong)?;
        version(&connection, path).map(|version| (connection, Some(stands), version))
    };
    let opened = if has_log(path) { with_log() } else { as_it_stands() };
    let (connection, stands, version) = match opened {
        Err(Error { kind: Kind::Denied, .. }) => as_it_stands()?,
        other => other?,
    };
    let Some(version) = version else {
        let text = format!("nothing was recorded in {} yet", path.display());
        return Err(Error::new(Kind::Missing, text));
    };
    Ok(Opened { connection, stands, tells_whose: version >= VERSION })
}

/// The path as SQLite's URI, for a file that nobody changes.
fn uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    let text = path.to_string_lossy().replace('\\', "/");
    // A drive letter wants a slash before it.
    if text.as_bytes().get(1) == Some(&b':') {
        uri.push('/');
    }
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b':' => {
                uri.push(byte.into())
            }
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri + "?immutable=1"
}

/// The version of the tables; none where the file is new. Refuses files of others, and of later versions.
fn version(connection: &Connection, path: &Path) -> Result<Option<i64>, Error> {
    let wrong = |error| Error::of("read", path, &error);
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0)).map_err(wrong);
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    if tables == 0 {
        return Ok(None);
    }
    let shown = path.display();
    if number("PRAGMA application_id")? != APPLICATION {
        let text = format!("{shown} is no history of Portolan; name another file with --file");
        return Err(Error::new(Kind::Foreign, text));
    }
    let version = number("PRAGMA user_version")?;
    if version > VERSION {
        let text = format!(
            "{shown} was written by a later Portolan (version {version} of its tables, this one reads {VERSION}); \
             use that one"
        );
        return Err(Error::new(Kind::Newer, text));
    }
    Ok(Some(version))
}
