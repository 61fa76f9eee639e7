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

use portolan_core::change::{Action, FileValue, Observed, OwnFile, Place, RangeNow, ReservedNow, Store};
use portolan_core::kernel::malformed::Malformed;
use portolan_core::kernel::sysctl::{self, PORT_RANGE, RESERVED_PORTS, SysctlFile};
use portolan_core::port::{PortRange, PortSet};
use portolan_core::snapshot::Host;

use super::namespace::within;
use super::{file, host, settings};
use crate::{Error, Namespace};

/// Our file: after most of what distributions and packages bring, before what administrators number 99.
const OWN_FILE: &str = "/etc/sysctl.d/60-portolan.conf";

/// include/uapi/asm-generic/socket.h.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The kernel takes less than a page a write; shorter pieces hold on every page size.
const PIECE: usize = 4000;

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

/// How the ephemeral range stands; listeners are left to be filled in.
pub fn range_now(namespace: &Namespace) -> Result<RangeNow, Error> {
    let files = settings::files();
    let told = |found: Option<(&SysctlFile, &sysctl::Entry)>| {
        found.map(|(file, entry)| FileValue { path: file.path.clone(), value: entry.value.clone() })
    };
    let (earlier, later) = around_ours(&files);
    let (runtime, unprivileged_start, host) = within(namespace, || {
        let start = file::setting("net.ipv4.ip_unprivileged_port_start");
        (runtime_range(), start.ok().and_then(|text| text.trim().parse().ok()), host::host())
    })?;
    Ok(RangeNow {
        runtime: runtime?,
        own: own_file(OWN_FILE, OwnFile::range)?,
        path: OWN_FILE.into(),
        later: told(sysctl::effective(later, PORT_RANGE)),
        earlier: told(sysctl::effective(earlier, PORT_RANGE)),
        unprivileged_start,
        listeners: Vec::new(),
        initial_namespace: is_initial(&host),
    })
}

/// How reservations stand.
pub fn reserved_now(namespace: &Namespace) -> Result<ReservedNow, Error> {
    let files = settings::files();
    let (earlier, later) = around_ours(&files);
    let (runtime, host) = within(namespace, || (runtime_reserved(), host::host()))?;
    let named = |(file, entry): (&SysctlFile, &sysctl::Entry)| {
        let ports = sysctl::reserved_ports(&entry.value);
        let ports = ports.map_err(|e| Error::new(format!("read {}", file.path), io::Error::other(e)))?;
        Ok((file.path.clone(), ports))
    };
    Ok(ReservedNow {
        runtime: runtime?,
        own: own_file(OWN_FILE, OwnFile::reserved)?,
        path: OWN_FILE.into(),
        others: sysctl::effective(earlier, RESERVED_PORTS).map(named).transpose()?,
        later: sysctl::effective(later, RESERVED_PORTS).map(|(file, _)| file.path.clone()),
        initial_namespace: is_initial(&host),
    })
}

fn is_initial(host: &Host) -> Option<bool> {
    Some(host.network_namespace? == host.initial_network_namespace?)
}

/// The files that are read before ours and after it.
fn around_ours(files: &[SysctlFile]) -> (&[SysctlFile], &[SysctlFile]) {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let is_later = |file: &SysctlFile| file.path == sysctl::LAST_FILE || name(&file.path) > name(OWN_FILE);
    let ours = files.iter().position(|file| file.path == OWN_FILE);
    let first_later = files.iter().position(is_later).unwrap_or(files.len());
    (&files[..ours.unwrap_or(first_later)], &files[first_later..])
}

/// What the store of an action holds now.
pub(crate) fn observe(namespace: &Namespace, action: &Action) -> Result<Observed, Error> {
    match action {
        Action::SetRange { store: Store::Runtime, .. } => {
            within(namespace, runtime_range)?.map(|range| Observed::Range(Some(range)))
        }
        Action::SetRange { store: Store::File(path), .. } => {
            own_file(path, OwnFile::range).map(Observed::Range)
        }
        Action::Reserve { store: Store::Runtime, .. } | Action::Unreserve { store: Store::Runtime, .. } => {
            within(namespace, runtime_reserved)?.map(Observed::Reserved)
        }
        Action::Reserve { store: Store::File(path), .. }
        | Action::Unreserve { store: Store::File(path), .. } => {
            own_file(path, OwnFile::reserved).map(Observed::Reserved)
        }
        Action::StopProcess { process, sockets, .. } => {
            super::stop::process_now(process, sockets).map(Observed::Process)
        }
        _ => Ok(Observed::Untold),
    }
}

/// Carries an action out. What the store holds has been looked at just before.
pub(crate) fn perform(namespace: &Namespace, action: &Action) -> Result<(), Error> {
    match action {
        Action::SetRange { store: Store::Runtime, to: Some(range), .. } => {
            let text = format!("{} {}\n", range.first(), range.last());
            within(namespace, || {
                write_setting(PORT_RANGE, |file| file.write_at(text.as_bytes(), 0).map(drop))
            })?
        }
        Action::SetRange { store: Store::Runtime, to: None, .. } => {
            Err(Error::new("set the ephemeral range", io::Error::other("the kernel always has one")))
        }
        Action::SetRange { store: Store::File(path), to, .. } => edit(path, |file| {
            file.set_range(*to);
            Ok(())
        }),
        Action::Reserve { store: Store::Runtime, ports, .. } => within(namespace, || add_reserved(ports))?,
        Action::Unreserve { store: Store::Runtime, ports, .. } => {
            within(namespace, || remove_reserved(ports))?
        }
        Action::Reserve { store: Store::File(path), ports, kept } => edit(path, |file| {
            let mut reserved = file.reserved()?;
            ports.iter().chain(kept).for_each(|range| reserved.insert_range(*range));
            file.set_reserved(&reserved);
            Ok(())
        }),
        Action::Unreserve { store: Store::File(path), ports, kept } => edit(path, |file| {
            let mut reserved = file.reserved()?;
            ports.iter().for_each(|range| reserved.remove_range(*range));
            // With nothing of our own left the key goes, and the files that we repeated speak for themselves again.
            let mut ours = reserved.clone();
            ours.subtract(&kept.iter().copied().collect());
            file.set_reserved(if ours.is_empty() { &ours } else { &reserved });
            Ok(())
        }),
        Action::CloseConnections { connections } => within(namespace, || super::close::close(connections))?,
        other => super::stop::perform(other),
    }
}

fn runtime<T>(key: &str, decode: fn(&str) -> Result<T, Malformed>) -> Result<T, Error> {
    let text = file::setting(key).map_err(|source| Error::new(format!("read {key}"), source))?;
    decode(&text).map_err(|error| Error::new(format!("read {key}"), io::Error::other(error)))
}

fn runtime_range() -> Result<PortRange, Error> {
    runtime(PORT_RANGE, sysctl::port_range)
}

fn runtime_reserved() -> Result<PortSet, Error> {
    runtime(RESERVED_PORTS, sysctl::reserved_ports)
}

fn is_denied(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}

fn write_setting(key: &str, write: impl FnOnce(&File) -> io::Result<()>) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).open(file::setting_path(key));
    file.and_then(|file| write(&file)).map_err(|source| {
        let how = if is_denied(&source) {
            " (needs root with CAP_NET_ADMIN, and a writable /proc/sys)"
        } else {
            ""
        };
        Error::new(format!("write {key}{how}"), source)
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
    write_setting(RESERVED_PORTS, |file| {
        pieces(ports).iter().try_for_each(|piece| file.write_at(piece.as_bytes(), 1).map(drop))
    })
}

/// Takes ports out. The kernel knows no such write: the list is read and written anew, its first piece replacing all.
fn remove_reserved(ports: &[PortRange]) -> Result<(), Error> {
    let mut left = runtime_reserved()?;
    ports.iter().for_each(|range| left.remove_range(*range));
    write_setting(RESERVED_PORTS, |file| {
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

fn own_file<T>(path: &str, part: fn(&OwnFile) -> Result<T, Malformed>) -> Result<T, Error> {
    let doing = || format!("read {path}");
    let text = own_text(Path::new(path)).map_err(|source| Error::new(doing(), source))?;
    part(&OwnFile::parse(text.as_deref())).map_err(|error| Error::new(doing(), io::Error::other(error)))
}

/// Changes our file in one step: a temporary file beside it, synced, renamed over it, the folder synced. The folder is
/// locked meanwhile, so that two programs with different journals cannot lose each other's lines.
fn edit(path: &str, change: impl FnOnce(&mut OwnFile) -> Result<(), Malformed>) -> Result<(), Error> {
    let target = Path::new(path);
    let work = || -> io::Result<()> {
        let folder = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let lock = File::open(folder)?;
        lock.lock()?;
        let before = own_text(target)?;
        let mut file = OwnFile::parse(before.as_deref());
        change(&mut file).map_err(io::Error::other)?;
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
    work().map_err(|source| {
        let how = if is_denied(&source) { " (needs root)" } else { "" };
        Error::new(format!("write {path}{how}"), source)
    })
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
pub fn effective_uid() -> Option<u32> {
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
