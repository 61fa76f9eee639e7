//! Running a program once and measuring it: wall-clock time, processor time and peak memory, with a limit that is part of the result.

use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::system::wait_with_usage;

/// One run of a program.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// How it ended.
    pub status: ExitStatus,
    /// From spawn to end.
    pub elapsed: Duration,
    /// Peak resident memory in KiB.
    pub peak_kib: u64,
    /// Processor time, its own and the kernel's for it.
    pub processor: Duration,
    /// Whether it was killed because the limit was over: then `elapsed` is a lower bound.
    pub cut: bool,
}

/// Runs a program to its end or to the limit, with its output to /dev/null.
///
/// # Panics
/// When it cannot be started.
#[track_caller]
#[expect(clippy::zombie_processes, reason = "wait4 reaps it, which tells what it used")]
pub fn measured(mut command: Command, limit: Duration) -> Measured {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let pid = child.id();
    let handle = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a child has a pid");
    let handle =
        pidfd_open(handle, PidfdFlags::empty()).expect("a child that was not waited for has a pidfd");
    let limit = Timespec::try_from(limit).expect("a limit of seconds");
    let ended = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit)).expect("poll on a pidfd");
    let elapsed = start.elapsed();
    if ended == 0 {
        pidfd_send_signal(&handle, Signal::KILL).expect("a child may be killed");
    }
    let (status, usage) = wait_with_usage(pid).expect("a child can be waited for");
    Measured { status, elapsed, peak_kib: usage.peak_kib, processor: usage.processor, cut: ended == 0 }
}

/// Processor time of the calling thread so far.
pub fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
