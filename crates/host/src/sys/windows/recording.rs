//! Holding a recorder's file: by another beside it, that nobody else may open and that goes with its last handle.
//!
//! Source: Microsoft's page on `CreateFileW` (share modes, `FILE_FLAG_DELETE_ON_CLOSE`). A lock on the file itself
//! would keep SQLite out too: locks of Windows bind every other handle.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::Path;

use windows_sys::Win32::Foundation::ERROR_SHARING_VIOLATION;
use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_DELETE_ON_CLOSE;

/// The file beside, open; none where another has it.
pub(crate) fn hold_file(path: &Path) -> io::Result<Option<File>> {
    let mut beside = path.as_os_str().to_owned();
    beside.push("-recorder");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).share_mode(0);
    match options.custom_flags(FILE_FLAG_DELETE_ON_CLOSE).open(beside) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error() == Some(ERROR_SHARING_VIOLATION.cast_signed()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether it is still there. A file that is open can be neither removed nor replaced here.
pub(crate) fn is_at(_held: &File, path: &Path) -> bool {
    path.exists()
}
