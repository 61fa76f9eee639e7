//! What can go wrong with the store, as one line that says what to do.

use std::fmt;
use std::path::Path;

use rusqlite::ErrorCode;

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such file.
    Missing,
    /// It is the record of another network namespace, or of another machine.
    Anothers,
    /// The file is something else.
    Foreign,
    /// A later Portolan wrote it.
    Newer,
    /// No room is left on its disk.
    Full,
    /// It may not be read, or not be written.
    Denied,
    /// It is damaged.
    Damaged,
    /// Another program keeps it locked.
    Busy,
    /// The system failed to read or write.
    Failed,
}

/// Trouble with the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Which.
    pub kind: Kind,
    text: String,
}

impl Error {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// Of SQLite: what was being done, and with which file.
    pub(crate) fn of(doing: &str, path: &Path, source: &rusqlite::Error) -> Self {
        let kind = kind(source);
        let what = match kind {
            Kind::Missing => "there is no such file; record one with: portolan record",
            Kind::Foreign => "it is no history of Portolan; name another file with --file",
            Kind::Anothers => "it is another's record; name another file with --file",
            Kind::Newer => "a later Portolan wrote it; use that one",
            Kind::Full => "its disk is full; make room, or name another file with --file",
            Kind::Denied => "it may not be written; run as its owner, or name another file with --file",
            Kind::Damaged => "it is damaged; move it away, and a new one is begun",
            Kind::Busy => "another program keeps it locked; end that, or name another file with --file",
            Kind::Failed => "",
        };
        let shown = path.display();
        // SQLite's own words tell nothing more where the kind is known.
        let text = match what {
            "" => format!("cannot {doing} {shown}: {source}"),
            what => format!("cannot {doing} {shown}: {what}"),
        };
        Self { kind, text }
    }
}

fn kind(source: &rusqlite::Error) -> Kind {
    /// SQLite's extended codes for a write that the disk has no room for, and for a file that is gone.
    const IO_SHM_SIZE: i32 = 10 | (19 << 8);
    match source.sqlite_error() {
        Some(error) if error.extended_code == IO_SHM_SIZE => Kind::Full,
        Some(error) => match error.code {
            ErrorCode::DiskFull => Kind::Full,
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Kind::Denied,
            ErrorCode::CannotOpen => Kind::Denied,
            ErrorCode::DatabaseCorrupt => Kind::Damaged,
            ErrorCode::NotADatabase => Kind::Foreign,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Kind::Busy,
            _ => Kind::Failed,
        },
        None => Kind::Failed,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
