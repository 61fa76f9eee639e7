//! tracefs: the numbers of tracepoints, and whether their records look as they are taken to.
//!
//! Source: Documentation/trace/events.rst, fsopen(2). Where tracefs is not mounted an instance of our own is taken, which
//! nobody else sees and which is gone with its descriptor.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use portolan_core::kernel::trace_format::Format;
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// Where it is mounted, or was before Linux 4.1.
const PLACES: [&str; 2] = ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"];
/// Longer than any format.
const LONGEST: u64 = 1 << 16;

/// The number of a system call's tracepoint (`sys_enter_bind`), once its record is found to look as the program takes it.
pub(super) fn checked(name: &str) -> io::Result<u64> {
    let format = read("syscalls", name)?;
    let arguments: &[&str] = match name {
        "sys_enter_bind" => &["fd", "umyaddr", "addrlen"],
        "sys_enter_connect" => &["fd", "uservaddr", "addrlen"],
        "sys_enter_listen" => &["fd", "backlog"],
        _ => &[],
    };
    let as_taken = match arguments {
        [] => format.has("ret", 16, 8),
        names => (16..).step_by(8).zip(names).all(|(at, name)| format.has(name, at, 8)),
    };
    if !as_taken {
        let text = format!("the records of syscalls:{name} look otherwise in this kernel");
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(format.id)
}

/// The format of a tracepoint.
pub(super) fn read(group: &str, name: &str) -> io::Result<Format> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("tracefs: {group}/{name}: {error}"));
    let mut text = String::new();
    open(&format!("{group}/{name}/format"))
        .and_then(|file| file.take(LONGEST).read_to_string(&mut text))
        .map_err(named)?;
    Format::parse(&text).ok_or_else(|| named(io::ErrorKind::InvalidData.into()))
}

/// Opens a file below `events`.
fn open(path: &str) -> io::Result<File> {
    let mut first = None;
    for place in PLACES {
        match File::open(format!("{place}/{path}")) {
            Ok(file) => return Ok(file),
            Err(error) => first = first.or(Some(error)),
        }
    }
    match (own(), first) {
        (Ok(own), _) => {
            let file =
                openat(own, format!("events/{path}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            Ok(File::from(file))
        }
        // A tracefs that may not be read says more than that another may not be made.
        (Err(_), Some(error)) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        (Err(error), _) => Err(error.into()),
    }
}

/// A tracefs that is mounted nowhere.
fn own() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}
