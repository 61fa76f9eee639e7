//! Linux: looks at and carries out what a plan's steps say, for settings of the kernel; those of our file stand in
//! `own_file.rs`. The list of reserved ports is locked (flock on the setting itself, so for each namespace of its own)
//! while we work on it: one portolan never loses what another adds.
//!
//! Source: Documentation/networking/ip-sysctl.rst (`ip_local_port_range`, `ip_local_reserved_ports`), kernel/sysctl.c
//! (`proc_do_large_bitmap`: a write at offset 0 replaces the list, one at any other offset is OR-ed into it, and each
//! takes at most a page), sysctl.d(5), socket(7) (SO_NETNS_COOKIE).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use portolan_core::change::{
    Action, FileBefore, FileValue, Observed, OwnFile, Place, RangeNow, ReservedNow, SettingNow, Store,
};
use portolan_core::kernel::malformed::Malformed;
use portolan_core::kernel::sysctl::{self, PORT_RANGE, RESERVED_PORTS, SysctlFile};
use portolan_core::port::{PortRange, PortSet};
use portolan_core::snapshot::{Gap, GapReason, Host};

use super::namespace::within;
pub(crate) use super::own_file::before as file_before;
use super::settings::FILES_OF_SETTINGS;
use super::{file, host, own_file, set_up, settings};
use crate::{Error, Namespace};

/// Our file: after most of what distributions and packages bring, before what administrators number 99.
const OWN_FILE: &str = "/etc/sysctl.d/60-portolan.conf";

/// include/uapi/asm-generic/socket.h.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The kernel takes less than a page a write; shorter pieces hold on every page size.
const PIECE: usize = 4000;

/// How often a write to the list of reserved ports is tried when others write at the same moment.
const TRIES: usize = 5;

/// Which boot and namespace this is. The own namespace gets its name too where `ip netns` gave it one.
pub fn place(namespace: &Namespace) -> Result<Place, Error> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_err(|source| Error::new("read the boot id", source))?;
    let id = within(namespace, namespace_id)?
        .map_err(|source| Error::new("tell the network namespace", source))?;
    let name = match namespace {
        Namespace::Own => own_name(),
        Namespace::Named(name) => Some(name.clone()),
        Namespace::Of(pid) => Some(pid.to_string()),
    };
    Ok(Place { boot: boot.trim().into(), namespace: id, name })
}

/// The name below /run/netns of this process' network namespace.
fn own_name() -> Option<String> {
    let which = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let own = which(Path::new("/proc/self/ns/net"))?;
    let named = fs::read_dir("/run/netns").ok()?.flatten().find(|entry| which(&entry.path()) == Some(own))?;
    named.file_name().into_string().ok()
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
pub fn range_now(namespace: &Namespace) -> Result<SettingNow<RangeNow>, Error> {
    let files = settings::files();
    let mut gaps = files.gaps;
    let told = |found: Option<(&SysctlFile, &sysctl::Entry)>| {
        found.map(|(file, entry)| FileValue { path: file.path.clone(), value: entry.value.clone() })
    };
    let (earlier, later) = around_ours(&files.value);
    let (runtime, unprivileged_start, host) = within(namespace, || {
        let start = file::setting("net.ipv4.ip_unprivileged_port_start");
        (runtime_range(), start.ok().and_then(|text| text.trim().parse().ok()), host::host())
    })?;
    Ok(SettingNow::Files(RangeNow {
        runtime: runtime?,
        own: known(own_file::read(OWN_FILE, OwnFile::range), &mut gaps).flatten(),
        path: OWN_FILE.into(),
        later: told(sysctl::effective(later, PORT_RANGE)),
        earlier: told(sysctl::effective(earlier, PORT_RANGE)),
        unprivileged_start,
        listeners: Vec::new(),
        initial_namespace: is_initial(&host),
        gaps,
    }))
}

/// How reservations stand.
pub fn reserved_now(namespace: &Namespace) -> Result<SettingNow<ReservedNow>, Error> {
    let files = settings::files();
    let mut gaps = files.gaps;
    let (earlier, later) = around_ours(&files.value);
    let (runtime, host) = within(namespace, || (runtime_reserved(), host::host()))?;
    let mut named = |files| {
        let (file, entry): (&SysctlFile, &sysctl::Entry) = sysctl::effective(files, RESERVED_PORTS)?;
        let ports = sysctl::reserved_ports(&entry.value);
        let ports = ports.map_err(|e| Error::new(format!("read {}", file.path), io::Error::other(e)));
        Some((file.path.clone(), known(ports, &mut gaps)?))
    };
    let (others, later) = (named(earlier), named(later));
    Ok(SettingNow::Files(ReservedNow {
        runtime: runtime?,
        own: known(own_file::read(OWN_FILE, OwnFile::reserved), &mut gaps).unwrap_or_default(),
        path: OWN_FILE.into(),
        others,
        later,
        initial_namespace: is_initial(&host),
        gaps,
    }))
}

/// What was read of a file, or none and a gap. A file that is denied has its gap already, from the reading of all files.
fn known<T>(read: Result<T, Error>, gaps: &mut Vec<Gap>) -> Option<T> {
    read.map_err(|error| {
        let reason = match file::reason(&error.source) {
            GapReason::Unsupported => GapReason::Malformed,
            reason => reason,
        };
        if reason != GapReason::Denied || gaps.is_empty() {
            gaps.push(Gap::new(FILES_OF_SETTINGS, reason, error.to_string()));
        }
    })
    .ok()
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
            own_file::read(path, OwnFile::range).map(Observed::Range)
        }
        Action::Reserve { store: Store::Runtime, .. } | Action::Unreserve { store: Store::Runtime, .. } => {
            within(namespace, runtime_reserved)?.map(Observed::Reserved)
        }
        Action::Reserve { store: Store::File(path), .. }
        | Action::Unreserve { store: Store::File(path), .. } => {
            own_file::read(path, OwnFile::reserved).map(Observed::Reserved)
        }
        Action::StopProcess { process, sockets, .. } => {
            super::stop::process_now(process, sockets).map(Observed::Process)
        }
        Action::StopUnit { unit, .. } | Action::StartUnit { unit, .. } => {
            super::unit::now(unit).map(Observed::Unit)
        }
        Action::SetUpRecorder { .. } => set_up::recorder_now().map(Observed::SetUp),
        _ => Ok(Observed::Untold),
    }
}

/// Whether this process may carry out what an action says; an error says what is missing. Nothing is touched.
pub(crate) fn permitted(namespace: &Namespace, action: &Action) -> Result<(), Error> {
    let writable = |key| within(namespace, || open_setting(key).map(drop))?;
    match action {
        Action::SetRange { store: Store::Runtime, .. } => writable(PORT_RANGE),
        Action::Reserve { store: Store::Runtime, .. } | Action::Unreserve { store: Store::Runtime, .. } => {
            writable(RESERVED_PORTS)
        }
        Action::SetRange { store: Store::File(path), .. }
        | Action::Reserve { store: Store::File(path), .. }
        | Action::Unreserve { store: Store::File(path), .. }
        | Action::SetUpRecorder { place: path, .. } => own_file::permitted(path),
        _ => Ok(()),
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
        Action::Reserve { store: Store::Runtime, ports, .. } => within(namespace, || add_reserved(ports))?,
        Action::Unreserve { store: Store::Runtime, ports, .. } => {
            within(namespace, || remove_reserved(ports))?
        }
        Action::SetRange { store: Store::File(path), .. }
        | Action::Reserve { store: Store::File(path), .. }
        | Action::Unreserve { store: Store::File(path), .. } => own_file::change(path, action),
        Action::SetUpRecorder { to, .. } => set_up::set_up(to.as_ref()),
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

fn setting_error(key: &str, source: io::Error) -> Error {
    let denied = own_file::is_denied(&source);
    let how = if denied { " (needs root with CAP_NET_ADMIN, and a writable /proc/sys)" } else { "" };
    Error::new(format!("write {key}{how}"), source)
}

fn open_setting(key: &str) -> Result<File, Error> {
    let file = OpenOptions::new().write(true).open(file::setting_path(key));
    file.map_err(|source| setting_error(key, source))
}

fn write_setting(key: &str, write: impl FnOnce(&File) -> io::Result<()>) -> Result<(), Error> {
    let file = open_setting(key)?;
    write(&file).map_err(|source| setting_error(key, source))
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

/// Works on the list of reserved ports while no other portolan does.
fn on_list(work: impl FnOnce(&File) -> io::Result<()>) -> Result<(), Error> {
    write_setting(RESERVED_PORTS, |file| {
        own_file::lock(file)?;
        work(file)
    })
}

/// Adds to the list: each write at an offset is OR-ed in by the kernel at once, so nothing that somebody else adds at the
/// same moment is lost. Somebody who rewrites the list at that moment may lose ours: then it is written again.
fn add_reserved(ports: &[PortRange]) -> Result<(), Error> {
    on_list(|file| {
        for _ in 0..TRIES {
            for piece in pieces(ports) {
                file.write_at(piece.as_bytes(), 1)?;
            }
            let now = runtime_reserved().map_err(io::Error::other)?;
            if ports.iter().all(|range| now.count_in(*range) == range.count()) {
                break;
            }
        }
        Ok(())
    })
}

/// Takes ports out. The kernel knows no such write: the list is read and written anew, its first piece replacing all.
/// What a program other than portolan adds in the moment between is lost; nothing that the kernel offers prevents it.
fn remove_reserved(ports: &[PortRange]) -> Result<(), Error> {
    on_list(|file| {
        let mut left = runtime_reserved().map_err(io::Error::other)?;
        ports.iter().for_each(|range| left.remove_range(*range));
        for (index, piece) in pieces(&left.ranges()).iter().enumerate() {
            let text = if piece.is_empty() { "\n" } else { piece };
            file.write_at(text.as_bytes(), u64::from(index > 0))?;
        }
        Ok(())
    })
}

/// Brings the file that an action is about back as it was, where it is as the action left it; true where that was all that
/// was to be done.
pub(crate) fn restore_file(action: &Action, before: &FileBefore) -> Result<bool, Error> {
    if let Action::SetUpRecorder { .. } = action {
        return set_up::restore(action, before);
    }
    own_file::restore(action, before)
}

/// Optional features beside the one that an action turns on or off: Linux has none.
pub(crate) fn features_before(_action: &Action) -> Result<Vec<(String, bool)>, Error> {
    Ok(Vec::new())
}

/// Brings them back: there is nothing to do.
pub(crate) fn restore_features(_features: &[(String, bool)]) -> Result<(), Error> {
    Ok(())
}

/// Folders that are made are for their owner alone: the journal tells what runs here.
pub(crate) fn private_folder(builder: &mut fs::DirBuilder) {
    builder.mode(0o700);
}

/// Files that are made are for their owner alone, in whatever folder.
pub(crate) fn private_file(options: &mut OpenOptions) {
    options.mode(0o600);
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
