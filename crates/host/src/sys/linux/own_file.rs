//! Linux: files of ours, below /etc/sysctl.d and that of the recorder's unit, read and changed in one step, and brought
//! back exactly.
//!
//! Source: sysctl.d(5), rename(2), flock(2). A change is a temporary file beside it, synced, renamed over it, the folder
//! synced; permissions and owner stay. A symbolic link is refused and not followed. The folder is locked meanwhile, so
//! that two programs with different journals cannot lose each other's lines. Left out on purpose: extended attributes,
//! which the system's own policy sets anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portolan_core::change::{Action, FileBefore, OwnFile, Store};
use portolan_core::kernel::malformed::Malformed;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::file;
use crate::Error;

/// How long another program may keep a lock that anybody could take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Permissions of a file that is new.
const MODE: u32 = 0o644;

/// The file that an action is about.
fn path_of(action: &Action) -> Option<&Path> {
    match action {
        Action::SetRange { store: Store::File(path), .. }
        | Action::Reserve { store: Store::File(path), .. }
        | Action::Unreserve { store: Store::File(path), .. }
        | Action::SetUpRecorder { place: path, .. } => Some(Path::new(path)),
        _ => None,
    }
}

/// Locks a file, or fails where another program keeps it too long.
pub(super) fn lock(file: &File) -> io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(20);
    let mut left = PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::Error(error)) => return Err(error),
            Err(fs::TryLockError::WouldBlock) if left.is_zero() => {
                let held = "another program has locked it for 10 s (`lslocks` names it); try again";
                return Err(io::Error::other(held));
            }
            Err(fs::TryLockError::WouldBlock) => {
                std::thread::sleep(PAUSE);
                left = left.saturating_sub(PAUSE);
            }
        }
    }
}

/// Whether an error is a refusal for want of rights.
pub(super) fn is_denied(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}

fn error(path: &Path, source: io::Error) -> Error {
    let how = if is_denied(&source) { " (needs root)" } else { "" };
    Error::new(format!("write {}{how}", path.display()), source)
}

/// The file as it is.
fn look(path: &Path) -> io::Result<FileBefore> {
    let not_plain = || io::Error::other("it is not a plain file, and is not followed; remove it first");
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FileBefore::Missing),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(not_plain()),
        other => other?,
    };
    let about = opened.metadata()?;
    if !about.is_file() {
        return Err(not_plain());
    }
    let mut text = String::new();
    opened.take(file::LONG + 1).read_to_string(&mut text)?;
    if text.len() as u64 > file::LONG {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(FileBefore::There { text, mode: about.mode() & 0o7777, uid: about.uid(), gid: about.gid() })
}

/// The text of a file; none where it is not there.
pub(super) fn text(path: &str) -> Result<Option<String>, Error> {
    let before = look(Path::new(path)).map_err(|source| Error::new(format!("read {path}"), source))?;
    Ok(before.text().map(str::to_owned))
}

/// What the file says.
pub(super) fn read<T>(path: &str, part: fn(&OwnFile) -> Result<T, Malformed>) -> Result<T, Error> {
    let read = || part(&OwnFile::parse(look(Path::new(path))?.text())).map_err(io::Error::other);
    read().map_err(|source| Error::new(format!("read {path}"), source))
}

/// The file that an action is about as it is, before the action changes it; none where it is about no file.
pub(crate) fn before(action: &Action) -> Result<Option<FileBefore>, Error> {
    let before = |path: &Path| look(path).map_err(|source| error(path, source));
    path_of(action).map(before).transpose()
}

/// Whether the file of an action could be written; an error says why not.
pub(super) fn permitted(path: &str) -> Result<(), Error> {
    let path = Path::new(path);
    let folder = path.parent().unwrap_or(Path::new("/"));
    let access = accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    access.map_err(|errno| {
        let source = io::Error::from(errno);
        if source.kind() == io::ErrorKind::NotFound {
            let folder = folder.display();
            let how = format!("there is no {folder}; make it first (mkdir {folder}), or use --runtime");
            return error(path, io::Error::new(io::ErrorKind::NotFound, how));
        }
        error(path, source)
    })
}

/// Works on a file while its folder is locked, and makes what was done durable.
fn locked<T>(path: &Path, work: impl FnOnce() -> io::Result<T>) -> Result<T, Error> {
    let attempt = || {
        let folder = File::open(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        lock(&folder)?;
        let done = work()?;
        folder.sync_all()?;
        Ok(done)
    };
    attempt().map_err(|source| error(path, source))
}

/// What an action makes of a text.
fn changed(text: Option<&str>, action: &Action) -> io::Result<Option<String>> {
    if let Action::SetUpRecorder { to, .. } = action {
        return Ok(to.as_ref().map(|to| to.text.clone()));
    }
    let mut file = OwnFile::parse(text);
    file.change(action).map_err(io::Error::other)?;
    Ok(file.text())
}

/// Does to the file what an action says.
pub(super) fn change(path: &str, action: &Action) -> Result<(), Error> {
    let path = Path::new(path);
    locked(path, || {
        let now = look(path)?;
        write(path, changed(now.text(), action)?.as_deref(), &now)
    })
}

/// Puts a text in the place of the file's, or removes the file.
pub(super) fn replace(path: &str, text: Option<&str>) -> Result<(), Error> {
    let path = Path::new(path);
    locked(path, || {
        let now = look(path)?;
        if now.text() == text { Ok(()) } else { write(path, text, &now) }
    })
}

/// Brings the file back as it was before an action, byte for byte, where it still is as the action left it. Otherwise,
/// and for an action on no file, nothing is done and the answer is false: the inverse knows what is to be done then.
pub(crate) fn restore(action: &Action, before: &FileBefore) -> Result<bool, Error> {
    let Some(path) = path_of(action) else { return Ok(false) };
    if path.parent().is_some_and(|folder| !folder.exists()) {
        return Ok(*before == FileBefore::Missing);
    }
    locked(path, || {
        remove_if_there(&temporary(path))?;
        let now = look(path)?;
        if now.text() != changed(before.text(), action)?.as_deref() {
            return Ok(false);
        }
        write(path, before.text(), if now == FileBefore::Missing { before } else { &now })?;
        Ok(true)
    })
}

/// Puts a text in the file's place, with the permissions and owner of `like`.
fn write(path: &Path, text: Option<&str>, like: &FileBefore) -> io::Result<()> {
    let temporary = temporary(path);
    remove_if_there(&temporary)?;
    let Some(text) = text else { return remove_if_there(path) };
    let written = write_new(&temporary, text, like).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        remove_if_there(&temporary)?;
    }
    written
}

fn write_new(path: &Path, text: &str, like: &FileBefore) -> io::Result<()> {
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mode = match like {
        FileBefore::Missing => MODE,
        FileBefore::There { mode, uid, gid, .. } => {
            fchown(&new, Some(*uid), Some(*gid))?;
            *mode
        }
    };
    new.set_permissions(fs::Permissions::from_mode(mode))?;
    new.write_all(text.as_bytes())?;
    new.sync_all()
}

/// Where the new text is written first: not `*.conf`, so nothing reads it after a crash, and always the same name, so the
/// next change removes it.
fn temporary(target: &Path) -> PathBuf {
    target.with_extension("conf.portolan-new")
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
