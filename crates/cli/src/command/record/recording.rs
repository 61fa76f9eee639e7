//! The recorder's file while it is recorded into: held for one recorder, opened anew after trouble; and the looks that
//! wait for it.
//!
//! Looks that cannot be written wait in memory, the newest [`WAITING`] of them: of a disk that is full for some minutes
//! nothing is lost then. More would be memory taken from a machine in trouble; a recorder that ends while they wait
//! loses them.

use std::collections::VecDeque;
use std::path::Path;

use anyhow::Result;
use portolan_core::record::Entry;
use portolan_history::{Appended, Recorder, Store, Whose};
use portolan_host::recording::Held;
use portolan_host::{Namespace, sys};

use super::Record;
use crate::exit::Refused;
use crate::source::Session;

/// So many looks wait at most: twenty minutes of them at the usual interval, some megabytes where owners are many.
const WAITING: usize = 240;

/// How the attempt to keep a look went.
pub(super) enum Kept {
    /// It is in the file, and what waited before it.
    Kept {
        /// What each look changed, in their order.
        appended: Vec<Appended>,
        /// How many waited too long and are lost.
        lost: u64,
    },
    /// It is not; it waits with others.
    Not(portolan_history::Error),
}

/// The file while it is recorded into.
pub(super) struct Recording<'a> {
    record: &'a Record,
    file: &'a Path,
    whose: Whose,
    // Closed before the lock is let go.
    recorder: Option<Recorder>,
    held: Held,
    waiting: VecDeque<Entry>,
    /// What was written since this was told last.
    appended: Vec<Appended>,
    lost: u64,
}

impl<'a> Recording<'a> {
    pub(super) fn begin(record: &'a Record, session: &Session, file: &'a Path) -> Result<Self> {
        let whose = whose(session.namespace())?;
        let held = hold(file)?;
        let recorder = Recorder::open_of(file, record.options(), &whose)?;
        let (waiting, appended) = (VecDeque::new(), Vec::new());
        Ok(Self { record, file, whose, recorder: Some(recorder), held, waiting, appended, lost: 0 })
    }

    /// Keeps a look, after those that wait. A file that could not be written is opened anew: what was wrong with it may be
    /// over.
    pub(super) fn keep(&mut self, entry: Entry) -> Kept {
        self.waiting.push_back(entry);
        if self.waiting.len() > WAITING {
            self.waiting.pop_front();
            self.lost += 1;
        }
        match self.write() {
            Ok(()) => Kept::Kept {
                appended: std::mem::take(&mut self.appended),
                lost: std::mem::take(&mut self.lost),
            },
            Err(error) => Kept::Not(error),
        }
    }

    /// Writes what waits, the oldest first.
    fn write(&mut self) -> Result<(), portolan_history::Error> {
        let mut recorder = match self.recorder.take() {
            Some(recorder) => recorder,
            None => Recorder::open_of(self.file, self.record.options(), &self.whose)?,
        };
        while let Some(entry) = self.waiting.front() {
            self.appended.push(recorder.append(entry)?);
            self.waiting.pop_front();
        }
        self.recorder = Some(recorder);
        Ok(())
    }

    /// Whether a look would be lost if it ended now.
    pub(super) fn any_lacking(&self) -> bool {
        self.lost > 0 || !self.waiting.is_empty()
    }

    /// Whether another file lies there now, or none: then recording goes on in that one, or a new one.
    pub(super) fn follow_path(&mut self) -> Result<bool> {
        if self.held.stands() {
            return Ok(false);
        }
        self.recorder = None;
        self.held = hold(self.file)?;
        self.recorder = Some(Recorder::open_of(self.file, self.record.options(), &self.whose)?);
        Ok(true)
    }
}

/// Whose numbers are recorded.
fn whose(namespace: &Namespace) -> Result<Whose> {
    let place = sys::place(namespace)?;
    Ok(Whose {
        machine: sys::machine(),
        host: sys::host(namespace)?.name,
        boot: place.boot,
        namespace: place.namespace,
        netns: place.name,
    })
}

/// The file's lock; refuses where another recorder has it, and says which.
fn hold(file: &Path) -> Result<Held> {
    if let Some(held) = Held::new(file)? {
        return Ok(held);
    }
    let other = Store::read(file).and_then(|store| store.span()).ok().flatten();
    let who = other.map_or_else(String::new, |span| format!(" (pid {})", span.run.pid));
    Err(Refused(format!(
        "another recorder{who} has {}: end that one, or name another file with --file",
        file.display()
    ))
    .into())
}
