//! Linux: looks at and carries out what a plan's steps say, for settings of the kernel and of our file.
//!
//! Source: Documentation/networking/ip-sysctl.rst (`ip_local_port_range`, `ip_local_reserved_ports`), kernel/sysctl.c
//! (`proc_do_large_bitmap`: a write at offset 0 replaces the list, one at any other offset is OR-ed into it, and each
//! takes at most a page), sysctl.d(5), socket(7) (SO_NETNS_COOKIE).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use portolan_core::change::{Action, Observed, OwnFile, Place, Store};
use portolan_core::port::{PortRange, PortSet};

use super::namespace::within;
use crate::{Error, Namespace};

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// include/uapi/asm-generic/socket.h.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The kernel takes less than a page a write; shorter pieces hold on every page size.
const PIECE: usize = 4000;

/// The longest list there is (every second port) takes 190 KiB; a second read() would give end of file.
const LONGEST_LIST: usize = 512 << 10;

/// Which boot and namespace this is.
pub fn place(namespace: &Namespace) -> Result<Place, Error> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_err(|source| Error::new("read the boot id", source))?;
    let id = within(namespace, namespace_id)?
        .map_err(|source| Error::new("tell the network namespace", source))?;
    let name = match namespace {
        Namespace::Own => None,
        Namespace::Named(name) => Some(name.clone()),
        Namespace::Of(pid) => Some(pid.to_string()),
    };
    Ok(Place { boot: boot.trim().into(), namespace: id, name })
}

/// The cookie of the calling thread's network namespace; its inode before kernel 5.14.
fn namespace_id() -> io::Result<u64> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the descriptor is open; `cookie` and `length` live through the call and `length` is the size of `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Ok(fs::metadata("/proc/thread-self/ns/net")?.ino()) }
}

/// What the store of an action holds now.
pub(crate) fn observe(namespace: &Namespace, action: &Action) -> Result<Observed, Error> {
    match action {
        Action::SetRange { store: Store::Runtime, .. } => {
            within(namespace, runtime_range)?.map(|range| Observed::Range(Some(range)))
        }
        Action::SetRange { store: Store::File(path), .. } => Ok(Observed::Range(own_file(path)?.range())),
        Action::Reserve { store: Store::Runtime, .. } | Action::Unreserve { store: Store::Runtime, .. } => {
            within(namespace, runtime_reserved)?.map(Observed::Reserved)
        }
        Action::Reserve { store: Store::File(path), .. }
        | Action::Unreserve { store: Store::File(path), .. } => {
            Ok(Observed::Reserved(own_file(path)?.reserved()))
        }
        _ => Ok(Observed::Untold),
    }
}

/// Carries an action out. What the store holds has been looked at just before.
pub(crate) fn perform(namespace: &Namespace, action: &Action) -> Result<(), Error> {
    match action {
        Action::SetRange { store: Store::Runtime, to: Some(range), .. } => {
            let text = format!("{} {}\n", range.first(), range.last());
            within(namespace, || write_setting(RANGE, |file| file.write_at(text.as_bytes(), 0).map(drop)))?
        }
        Action::SetRange { store: Store::Runtime, to: None, .. } => {
            Err(Error::new("set the ephemeral range", io::Error::other("the kernel always has one")))
        }
        Action::SetRange { store: Store::File(path), to, .. } => edit(path, |file| file.set_range(*to)),
        Action::Reserve { store: Store::Runtime, ports, .. } => within(namespace, || add_reserved(ports))?,
        Action::Unreserve { store: Store::Runtime, ports, .. } => {
            within(namespace, || remove_reserved(ports))?
        }
        Action::Reserve { store: Store::File(path), ports, kept } => edit(path, |file| {
            let mut reserved = file.reserved();
            ports.iter().chain(kept).for_each(|range| reserved.insert_range(*range));
            file.set_reserved(&reserved);
        }),
        Action::Unreserve { store: Store::File(path), ports, kept } => edit(path, |file| {
            let mut reserved = file.reserved();
            ports.iter().for_each(|range| reserved.remove_range(*range));
            // With nothing of our own left the key goes, and the files that we repeated speak for themselves again.
            let mut ours = reserved.clone();
            ours.subtract(&kept.iter().copied().collect());
            file.set_reserved(if ours.is_empty() { &ours } else { &reserved });
        }),
        other => super::stop::perform(other),
    }
}

fn read_setting(path: &str) -> Result<String, Error> {
    let read = || -> io::Result<String> {
        let mut buffer = vec![0; LONGEST_LIST];
        let length = File::open(path)?.read_at(&mut buffer, 0)?;
        buffer.truncate(length);
        String::from_utf8(buffer).map_err(io::Error::other)
    };
    read().map_err(|source| Error::new(format!("read {path}"), source))
}

fn runtime_range() -> Result<PortRange, Error> {
    let text = read_setting(RANGE)?;
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) => {
            PortRange::new(first, last).map_err(|e| Error::new(format!("read {RANGE}"), io::Error::other(e)))
        }
        _ => Err(Error::new(format!("read {RANGE}"), io::Error::other(format!("it says {:?}", text.trim())))),
    }
}

fn runtime_reserved() -> Result<PortSet, Error> {
    let text = read_setting(RESERVED)?;
    let ranges = text.trim().split(',').filter(|part| !part.is_empty()).map(str::parse::<PortRange>);
    ranges
        .collect::<Result<PortSet, _>>()
        .map_err(|e| Error::new(format!("read {RESERVED}"), io::Error::other(e)))
}

fn write_setting(path: &str, write: impl FnOnce(&File) -> io::Result<()>) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|file| write(&file)).map_err(|source| {
        let denied = matches!(source.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS));
        let how = if denied { " (needs root with CAP_NET_ADMIN, and a writable /proc/sys)" } else { "" };
        Error::new(format!("write {path}{how}"), source)
    })
}

/// A list in pieces that the kernel takes whole.
fn pieces(ports: &[PortRange]) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for range in ports {
        let text = range.to_string();
        if pieces.last().is_some_and(|piece| piece.len() + text.len() >= PIECE) {
            pieces.push(String::new());
        }
        if let Some(piece) = pieces.last_mut() {
            if !piece.is_empty() {
                piece.push(',');
            }
            piece.push_str(&text);
        }
    }
    pieces
}

/// Adds to the list without reading it first: each write at an offset is OR-ed in by the kernel at once, so nothing that
/// somebody else adds at the same moment is lost.
fn add_reserved(ports: &[PortRange]) -> Result<(), Error> {
    write_setting(RESERVED, |file| {
        pieces(ports).iter().try_for_each(|piece| file.write_at(piece.as_bytes(), 1).map(drop))
    })
}

/// Takes ports out. The kernel knows no such write: the list is read and written anew, its first piece replacing all.
fn remove_reserved(ports: &[PortRange]) -> Result<(), Error> {
    let mut left = runtime_reserved()?;
    ports.iter().for_each(|range| left.remove_range(*range));
    write_setting(RESERVED, |file| {
        pieces(&left.ranges()).iter().enumerate().try_for_each(|(index, piece)| {
            let text = if piece.is_empty() { "\n" } else { piece };
            file.write_at(text.as_bytes(), u64::from(index > 0)).map(drop)
        })
    })
}

/// The text of our file; none where there is no file. A symbolic link or anything but a file is refused.
fn own_text(path: &Path) -> io::Result<Option<String>> {
    match fs::symlink_metadata(path) {
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(found) if !found.is_file() => Err(io::Error::other("it is not a plain file; remove it first")),
        Ok(_) => fs::read_to_string(path).map(Some),
    }
}

fn own_file(path: &str) -> Result<OwnFile, Error> {
    let text = own_text(Path::new(path)).map_err(|source| Error::new(format!("read {path}"), source))?;
    Ok(OwnFile::parse(text.as_deref()))
}

/// Changes our file in one step: a temporary file beside it, synced, renamed over it, the folder synced. The folder is
/// locked meanwhile, so that two programs with different journals cannot lose each other's lines.
fn edit(path: &str, change: impl FnOnce(&mut OwnFile)) -> Result<(), Error> {
    let target = Path::new(path);
    let work = || -> io::Result<()> {
        let folder = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let lock = File::open(folder)?;
        lock.lock()?;
        let before = own_text(target)?;
        let mut file = OwnFile::parse(before.as_deref());
        change(&mut file);
        let temporary = temporary(target);
        remove_if_there(&temporary)?;
        match file.text() {
            None => remove_if_there(target)?,
            Some(text) => {
                let mode = if before.is_some() { fs::metadata(target)?.permissions().mode() } else { 0o644 };
                let mut new = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
                new.set_permissions(fs::Permissions::from_mode(mode))?;
                new.write_all(text.as_bytes())?;
                new.sync_all()?;
                fs::rename(&temporary, target)?;
            }
        }
        lock.sync_all()
    };
    work().map_err(|source| Error::new(format!("write {path}"), source))
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

/// Removes what a change of this action, cut off by a crash, may have left beside our file.
pub(crate) fn sweep(action: &Action) -> Result<(), Error> {
    let (Action::SetRange { store: Store::File(path), .. }
    | Action::Reserve { store: Store::File(path), .. }
    | Action::Unreserve { store: Store::File(path), .. }) = action
    else {
        return Ok(());
    };
    remove_if_there(&temporary(Path::new(path)))
        .map_err(|source| Error::new(format!("tidy up beside {path}"), source))
}

/// Folders that are made are for their owner alone: the journal tells what runs here.
pub(crate) fn private_folder(builder: &mut fs::DirBuilder) {
    builder.mode(0o700);
}

/// Makes the entries of a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Who changes something.
pub(crate) fn effective_uid() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use portolan_core::change::list;

    use super::*;

    #[test]
    fn pieces_are_short_and_lose_nothing() {
        let ports: Vec<PortRange> = (1..=5000).map(|n| format!("{}", n * 2).parse().unwrap()).collect();
        let pieces = pieces(&ports);
        assert!(pieces.len() > 5 && pieces.iter().all(|piece| piece.len() < PIECE));
        assert_eq!(pieces.join(","), list(&ports));
    }
}
