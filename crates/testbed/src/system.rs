//! The two system calls that no safe crate offers: wait4(2), which alone tells one child's peak memory, and
//! ignoring a signal with signal(2). All of this crate's `unsafe` stands here.

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// Makes this process, and those it starts, ignore SIGTERM.
pub fn ignore_sigterm() {
    // SAFETY: SIG_IGN installs no handler, so nothing of ours runs in a signal's context.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
}

/// Waits for a child of this process: its status, and its peak resident memory in KiB (ru_maxrss).
pub(crate) fn wait_with_peak(pid: u32) -> io::Result<(ExitStatus, u64)> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are to live locals of the types that wait4(2) writes.
        let answer = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
        if answer == pid {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: rusage is made of integers, for which zeroed memory is valid, and wait4 has filled it.
    let usage = unsafe { usage.assume_init() };
    Ok((ExitStatus::from_raw(status), u64::try_from(usage.ru_maxrss).unwrap_or(0)))
}
