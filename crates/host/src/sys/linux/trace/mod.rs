//! Calls as they are made: by a small BPF program, and where that cannot be by the tracepoints alone.
//!
//! Source: `trace.bpf.c` beside this file, which says what it notes and leaves out; `samples.rs` for the fall-back.

mod format;
mod mapping;
mod object;
mod program;
mod ring;
mod samples;

use std::io;
use std::time::{Duration, Instant};

use portolan_core::kernel::trace_event;
use portolan_core::snapshot::{Gap, GapReason, Reading};
use portolan_core::trace::{Calls, Way};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::handover::EndSignals;
use crate::Error;
use program::Program;
use samples::Samples;

/// What comes within this time is told together.
const GATHER: Duration = Duration::from_millis(100);

/// What the program is made from.
const OBJECT: &[u8] = include_bytes!("trace.bpf.o");

/// Sees calls as they are made, until it is dropped.
#[derive(Debug)]
pub struct Tracer(Source);

#[derive(Debug)]
enum Source {
    /// A program, and how many calls it had lost when that was asked last.
    Program(Program, u64),
    Samples(Samples),
}

impl Tracer {
    /// Begins, in that way or else in the best that works; with `all`, calls that come about are seen too. The gaps tell
    /// what is not seen this way. Fails where nothing can be traced, with what to do.
    pub fn begin(all: bool, way: Option<Way>) -> Result<Reading<Self>, Error> {
        let with_program = || Self::of(OBJECT, all);
        let without = |why: &str| {
            let tracer = Self(Source::Samples(Samples::begin(all)?));
            io::Result::Ok(Reading { value: tracer, gaps: gaps(why) })
        };
        let begun = match way {
            Some(Way::Bpf) => with_program().map(Reading::whole),
            Some(Way::Tracepoints) => without("as was asked for"),
            Some(Way::Etw) => Err(io::Error::other("etw is a way of Windows; leave --way out")),
            None => match with_program() {
                Ok(tracer) => Ok(Reading::whole(tracer)),
                // What kept the program out is what is to be mended.
                Err(error) => without(&error.to_string()).map_err(|_| error),
            },
        };
        begun.map_err(refused)
    }

    fn of(object: &[u8], all: bool) -> io::Result<Self> {
        Ok(Self(Source::Program(Program::load(object, all)?, 0)))
    }

    /// How it sees them.
    pub const fn way(&self) -> Way {
        match self.0 {
            Source::Program(..) => Way::Bpf,
            Source::Samples(_) => Way::Tracepoints,
        }
    }

    /// Waits until a call came, at most that long, and a moment more for others; whether a signal asks to end.
    pub fn wait(&self, signals: &EndSignals, limit: Duration) -> io::Result<bool> {
        let began = Instant::now();
        let gather = match &self.0 {
            Source::Samples(_) => GATHER.min(limit),
            Source::Program(program, _) => {
                if signals.wait_or_readable(program.ring.file(), limit)? {
                    return Ok(true);
                }
                GATHER.min(limit.saturating_sub(began.elapsed()))
            }
        };
        signals.wait(Some(gather))
    }

    /// What came since the last time; it does not wait.
    pub fn read(&mut self) -> Result<Calls, Error> {
        let now = clock_ns(ClockId::Monotonic);
        let epoch = clock_ns(ClockId::Realtime).saturating_sub(now);
        match &mut self.0 {
            Source::Samples(samples) => Ok(samples.read(epoch, now)),
            Source::Program(program, known) => written(program, known, epoch),
        }
    }
}

fn written(program: &mut Program, known: &mut u64, epoch_ns: u64) -> Result<Calls, Error> {
    let mut calls = Vec::new();
    let mut unread = 0;
    program.ring.take(|record| match trace_event::call(record, epoch_ns) {
        Ok(call) => calls.push(call),
        Err(_) => unread += 1,
    });
    calls.sort_by_key(|call| call.at_ns);
    let lost = program.lost().map_err(|error| Error::new("read what was traced", error))?;
    let new = lost.saturating_sub(*known);
    *known = lost;
    Ok(Calls { calls, lost: new + unread })
}

/// What tracepoints alone do not tell.
fn gaps(why: &str) -> Vec<Gap> {
    let gap = |what: &str, detail: String| {
        Gap::new(what, GapReason::Unsupported, detail)
            .with_remedy("run as root on a kernel with BPF, without --way tracepoints")
    };
    vec![
        gap(
            "addresses of bind",
            format!(
                "without BPF ({why}) the tracepoints do not tell the address that bind() was given, nor TCP from UDP; \
                 calls on Unix sockets are among these binds"
            ),
        ),
        gap(
            "UDP's connect",
            "without BPF it has no address, and what Unix sockets fail with too (EAGAIN, EACCES) is left out".to_owned(),
        ),
        gap(
            "programs that have ended",
            "without BPF name, user and network namespace are read after the call: of a program that is gone they \
             are not known"
                .to_owned(),
        ),
    ]
}

/// What a clock shows, nanoseconds.
fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)).unwrap_or(0)
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
