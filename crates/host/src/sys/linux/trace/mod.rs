//! Calls as they are made, by a small BPF program.
//!
//! Source: `trace.bpf.c` beside this file, which says what it notes and leaves out.

mod format;
mod object;
mod program;
mod ring;

use std::io;

use portolan_core::kernel::trace_event;
use portolan_core::snapshot::Reading;
use portolan_core::trace::{Calls, Way};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::Error;
use program::Program;

/// What the program is made from.
const OBJECT: &[u8] = include_bytes!("trace.bpf.o");

/// Sees calls as they are made, until it is dropped.
#[derive(Debug)]
pub struct Tracer {
    program: Program,
    lost: u64,
}

impl Tracer {
    /// Begins, in that way or else in the best that works; with `all`, calls that come about are seen too. The gaps tell
    /// what is not seen this way. Fails where nothing can be traced, with what to do.
    pub fn begin(all: bool, way: Option<Way>) -> Result<Reading<Self>, Error> {
        match way {
            None | Some(Way::Bpf) => Self::of(OBJECT, all).map(Reading::whole).map_err(refused),
            Some(_) => Err(refused(io::Error::other("this way is not one of this system; leave --way out"))),
        }
    }

    fn of(object: &[u8], all: bool) -> io::Result<Self> {
        Ok(Self { program: Program::load(object, all)?, lost: 0 })
    }

    /// How it sees them.
    pub const fn way(&self) -> Way {
        Way::Bpf
    }

    /// What came since the last time; it does not wait.
    pub fn read(&mut self) -> Result<Calls, Error> {
        let epoch = epoch_ns();
        let mut calls = Vec::new();
        let mut unread = 0;
        self.program.ring.take(|record| match trace_event::call(record, epoch) {
            Ok(call) => calls.push(call),
            Err(_) => unread += 1,
        });
        calls.sort_by_key(|call| call.at_ns);
        let lost = self.program.lost().map_err(|error| Error::new("read what was traced", error))?;
        let new = lost.saturating_sub(self.lost);
        self.lost = lost;
        Ok(Calls { calls, lost: new + unread })
    }
}

/// Where the monotonic clock began, nanoseconds since 1970-01-01 UTC.
fn epoch_ns() -> u64 {
    let ns = |clock| {
        let time = clock_gettime(clock);
        i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
    };
    u64::try_from(ns(ClockId::Realtime) - ns(ClockId::Monotonic)).unwrap_or(0)
}

/// Why nothing can be traced, in one line.
fn refused(error: io::Error) -> Error {
    let denied = error.kind() == io::ErrorKind::PermissionDenied
        || matches!(Errno::from_io_error(&error), Some(Errno::PERM | Errno::ACCESS));
    let remedy = match denied {
        true => "run it as root, or with CAP_BPF, CAP_PERFMON and a tracefs that you may read",
        false => "it needs Linux 5.8 or later with BPF, /sys/kernel/btf/vmlinux and tracefs",
    };
    Error::new("trace calls", io::Error::new(error.kind(), format!("{error}; {remedy}")))
}

#[cfg(test)]
mod tests;
