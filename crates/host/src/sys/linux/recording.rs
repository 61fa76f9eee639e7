//! Holding a recorder's file: flock(2) on the file itself, which SQLite's own locks (fcntl(2)) do not see. Whatever name
//! leads to it, by a link or another mount, it is the same lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The file, locked; none where another has it.
pub(crate) fn hold_file(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    super::change::private_file(&mut options);
    let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a path leads to that file. The path is not opened: closing it again would let go of locks.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(there)) = (file.metadata(), path.metadata()) else { return false };
    (held.dev(), held.ino()) == (there.dev(), there.ino())
}
