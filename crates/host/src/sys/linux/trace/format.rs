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

/// A tracepoint: group, name, where its own fields begin, and these in their order, with their lengths.
type Taken = (&'static str, &'static str, usize, &'static [(&'static str, usize)]);

/// The tracepoints that are read.
const TAKEN: &[Taken] = &[
    ("syscalls", "sys_enter_bind", 16, &[("fd", 8), ("umyaddr", 8), ("addrlen", 8)]),
    ("syscalls", "sys_enter_connect", 16, &[("fd", 8), ("uservaddr", 8), ("addrlen", 8)]),
    ("syscalls", "sys_enter_listen", 16, &[("fd", 8), ("backlog", 8)]),
    ("syscalls", "sys_exit_bind", 16, &[("ret", 8)]),
    ("syscalls", "sys_exit_connect", 16, &[("ret", 8)]),
    ("syscalls", "sys_exit_listen", 16, &[("ret", 8)]),
    (
        "sock",
        "inet_sock_set_state",
        8,
        &[
            ("skaddr", 8),
            ("oldstate", 4),
            ("newstate", 4),
            ENDS[0],
            ENDS[1],
            ENDS[2],
            ENDS[3],
            ENDS[4],
            ENDS[5],
            ENDS[6],
            ENDS[7],
        ],
    ),
    (
        "sock",
        "inet_sk_error_report",
        8,
        &[("error", 4), ENDS[0], ENDS[1], ENDS[2], ENDS[3], ENDS[4], ENDS[5], ENDS[6], ENDS[7]],
    ),
];

/// What records about sockets have in common.
const ENDS: [(&str, usize); 8] = [
    ("sport", 2),
    ("dport", 2),
    ("family", 2),
    ("protocol", 2),
    ("saddr", 4),
    ("daddr", 4),
    ("saddr_v6", 16),
    ("daddr_v6", 16),
];

/// The number of a tracepoint, once its record is found to look as it is taken to.
pub(super) fn checked(name: &str) -> io::Result<u64> {
    let taken = TAKEN.iter().find(|(_, known, ..)| *known == name);
    let (group, _, from, fields) = taken.ok_or(io::ErrorKind::NotFound)?;
    let format = read(group, name)?;
    let mut at = *from;
    for (field, length) in *fields {
        if !format.has(field, at, *length) {
            let text = format!("the records of {group}:{name} look otherwise in this kernel: {field}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        at += length;
    }
    Ok(format.id)
}

/// The format of a tracepoint.
fn read(group: &str, name: &str) -> io::Result<Format> {
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
