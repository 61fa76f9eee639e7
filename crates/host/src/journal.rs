//! The journal on disk: a folder with one file a plan (`000001.jsonl`), a line an event, synced before it counts.
//!
//! What the lines mean stands in `portolan_core::change`. Files are never rewritten, only appended to, and stay after
//! an undo: they are the history of what was changed on this machine.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use portolan_core::change::{Entry, EntryError, Event, Plan, Record, fold};

use crate::Error;

/// A plan's file is a few kilobytes; more than this is not ours.
const LARGEST: u64 = 16 << 20;

/// A folder of journal files.
#[derive(Clone, Debug)]
pub struct Journal {
    folder: PathBuf,
}

/// Holds the journal alone until dropped: one change of this machine's settings at a time.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// A plan as found in the journal.
#[derive(Debug)]
pub struct Found {
    /// Its number, from 1.
    pub id: u64,
    /// What stands of it, or why that cannot be told.
    pub record: Result<Record, EntryError>,
}

impl Journal {
    /// The journal in `folder`, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn error(&self, doing: &str, source: io::Error) -> Error {
        let how = match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                " (PORTOLAN_STATE names another folder)"
            }
            _ => "",
        };
        Error::new(format!("{doing} the journal in {}{how}", self.folder.display()), source)
    }

    fn path(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{id:06}.jsonl"))
    }

    /// Waits until no other portolan changes anything, and keeps them out until the lock is dropped.
    pub fn lock(&self) -> Result<Lock, Error> {
        let open = || -> io::Result<File> {
            let mut builder = DirBuilder::new();
            builder.recursive(true);
            crate::sys::private_folder(&mut builder);
            let is_new = !self.folder.exists();
            builder.create(&self.folder)?;
            if let (true, Some(parent)) = (is_new, self.folder.parent()) {
                crate::sys::sync_folder(parent)?;
            }
            let mut options = OpenOptions::new();
            crate::sys::private_file(&mut options);
            let file = options.create(true).append(true).open(self.folder.join("lock"))?;
            file.lock()?;
            Ok(file)
        };
        open().map(|file| Lock { _file: file }).map_err(|source| self.error("open", source))
    }

    /// The numbers of all plans, rising.
    fn ids(&self) -> Result<Vec<u64>, Error> {
        let entries = match self.folder.read_dir() {
            Ok(entries) => entries,
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.error("read", source)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(|source| self.error("read", source))?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl")?.parse::<u64>().ok());
            ids.extend(number.filter(|id| self.path(*id).file_name() == Some(&name)));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Writes a new plan, synced with its folder, and gives its number. Nothing of the plan may be done before.
    pub fn begin(&self, _lock: &Lock, plan: &Plan) -> Result<u64, Error> {
        let full = || self.error("write", io::Error::other("its last number is taken"));
        let id = self.ids()?.last().map_or(Some(1), |last| last.checked_add(1)).ok_or_else(full)?;
        let mut options = OpenOptions::new();
        crate::sys::private_file(&mut options);
        options
            .write(true)
            .create_new(true)
            .open(self.path(id))
            .map_err(|source| self.error("write", source))?;
        let written = self.append(id, Event::planned(plan.clone())).and_then(|()| {
            crate::sys::sync_folder(&self.folder).map_err(|source| self.error("write", source))
        });
        if written.is_err() {
            // Nothing was done yet; what is left of the file would say no more than that.
            let _ = fs::remove_file(self.path(id));
        }
        written.map(|()| id)
    }

    /// Appends an event to a plan's file and syncs it.
    pub fn append(&self, id: u64, event: Event) -> Result<(), Error> {
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let entry = Entry { at_ms, uid: crate::sys::effective_uid(), event };
        let write = || -> io::Result<()> {
            let mut line = serde_json::to_vec(&entry)?;
            line.push(b'\n');
            let mut file = OpenOptions::new().read(true).append(true).open(self.path(id))?;
            Self::close_torn_line(&mut file)?;
            file.write_all(&line)?;
            file.sync_all()
        };
        write().map_err(|source| self.error("write", source))
    }

    /// A crash may have cut the last line off: what follows starts on a line of its own.
    fn close_torn_line(file: &mut File) -> io::Result<()> {
        let text = text_of(file)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < text.len() { file.set_len(whole as u64) } else { Ok(()) }
    }

    /// What stands of a plan; none where there is no such plan.
    pub fn record(&self, id: u64) -> Option<Found> {
        let path = self.path(id);
        let read = || -> io::Result<Vec<u8>> {
            if !fs::metadata(&path)?.is_file() {
                return Err(io::Error::other("it is not a plain file"));
            }
            text_of(&mut File::open(&path)?)
        };
        let record = match read() {
            Ok(text) => fold(&text),
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(EntryError::Unreadable(format!("cannot read {}: {error}", path.display()))),
        };
        Some(Found { id, record })
    }

    /// So many plans, the newest first.
    pub fn newest(&self, count: usize) -> Result<Vec<Found>, Error> {
        Ok(self.ids()?.into_iter().rev().take(count).filter_map(|id| self.record(id)).collect())
    }

    /// Whether somebody changes something now; also where that cannot be told.
    pub fn is_in_use(&self) -> bool {
        File::open(self.folder.join("lock")).and_then(|file| Ok(file.try_lock_shared()?)).is_err()
    }

    /// Every plan, the oldest first.
    pub fn records(&self) -> Result<Vec<Found>, Error> {
        Ok(self.ids()?.into_iter().filter_map(|id| self.record(id)).collect())
    }
}

fn text_of(file: &mut File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is larger than any journal"));
    }
    Ok(text)
}
