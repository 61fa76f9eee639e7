//! Ends, and what comes after: the signals that ask a program to end, and becoming another program with sockets in
//! hand.
//!
//! Source: sigtimedwait(2), signalfd(2), pthread_sigmask(3), execve(2), sd_listen_fds(3), dup2(2). Left out on purpose: handlers. A
//! blocked signal that is waited for needs none, and nothing of ours runs in a signal's context.

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::listen as listen_on;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Where descriptors that are passed begin (SD_LISTEN_FDS_START).
const FIRST: i32 = 3;
/// The kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// Longer than any boot.
const NO_LIMIT: Duration = Duration::from_secs(u32::MAX as u64);
/// Descriptors beside those of sockets: standard streams, files, netlink.
const SPARE_DESCRIPTORS: u64 = 64;

/// SIGINT (Ctrl+C) and SIGTERM, kept from ending this process so that it can be asked for them.
pub struct EndSignals(libc::sigset_t);

impl EndSignals {
    /// From here on this thread, and those it starts, do not end by them; nor would a program that it becomes.
    pub fn block() -> io::Result<Self> {
        block(&[libc::SIGINT, libc::SIGTERM]).map(Self)
    }

    /// Runs a program to its end, without input and with its output on standard error. These signals end it as ever.
    pub fn run(&self, program: &OsStr, arguments: &[OsString]) -> io::Result<ExitStatus> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(io::stderr());
        let set = self.0;
        let unblock = move || {
            // SAFETY: the set is live and filled; the call is one that may stand between fork and exec.
            match unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) } {
                0 => Ok(()),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        };
        // SAFETY: the closure makes one system call and allocates nothing.
        unsafe { command.pre_exec(unblock) };
        command.status()
    }

    /// Waits until one comes, at most that long; whether one came.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<bool> {
        let until = Instant::now() + limit.unwrap_or(NO_LIMIT).min(NO_LIMIT);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let time = libc::timespec {
                tv_sec: i32::try_from(left.as_secs()).unwrap_or(i32::MAX).into(),
                tv_nsec: left.subsec_nanos().into(),
            };
            // SAFETY: set and time are live and filled; what the signal carries is not asked for.
            let signal =
                unsafe { libc::sigtimedwait(&raw const self.0, std::ptr::null_mut(), &raw const time) };
            if signal > 0 {
                return Ok(true);
            }
            match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                // Stopped and continued, as by Ctrl+Z and fg.
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            }
        }
    }

    /// Waits until one comes or that descriptor can be read, at most that long; whether one came.
    pub(super) fn wait_or_readable(&self, file: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
        // SAFETY: the set is live and filled.
        let raw = unsafe { libc::signalfd(-1, &raw const self.0, libc::SFD_CLOEXEC) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just made this descriptor, and nothing else owns it.
        let signal = unsafe { OwnedFd::from_raw_fd(raw) };
        let mut files = [PollFd::new(&signal, PollFlags::IN), PollFd::from_borrowed_fd(file, PollFlags::IN)];
        let time = Timespec::try_from(limit.min(NO_LIMIT)).map_err(io::Error::other)?;
        match poll(&mut files, Some(&time)) {
            // Stopped and continued: the caller comes again.
            Ok(_) | Err(Errno::INTR) => self.wait(Some(Duration::ZERO)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Blocks signals on this thread, and those it starts.
pub(super) fn block(signals: &[i32]) -> io::Result<libc::sigset_t> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the pointer is to a live sigset_t, which the call fills.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: sigemptyset has filled it; it cannot fail on a valid pointer.
    let mut set = unsafe { set.assume_init() };
    for signal in signals {
        // SAFETY: the pointer is to a live, filled sigset_t, and the numbers are valid signals.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    // SAFETY: the set is live and filled; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(set),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Lets a bound TCP socket listen.
pub(crate) fn listen(socket: &OwnedFd) -> io::Result<()> {
    Ok(listen_on(socket, BACKLOG)?)
}

/// Raises the soft limit of open descriptors where that many sockets would not fit. Where the hard limit is too low as
/// well, making the sockets fails and says so.
pub(crate) fn allow_descriptors(sockets: usize) {
    let wanted = SPARE_DESCRIPTORS.saturating_add(sockets as u64);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let current = Some(maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
    }
}

/// Becomes a program in this process, so that its pid stays. What is passed, with its name, is open there from
/// descriptor 3 on; every other socket of ours, so also what is let go, is closed in that instant. Returns only where
/// it failed.
pub(crate) fn become_program(
    program: &OsStr,
    arguments: &[OsString],
    passed: &[(OwnedFd, String)],
    _let_go: Vec<OwnedFd>,
) -> io::Error {
    let mut command = Command::new(program);
    command.args(arguments);
    if !passed.is_empty() {
        let names: Vec<&str> = passed.iter().map(|(_, name)| name.as_str()).collect();
        command.env("LISTEN_FDS", passed.len().to_string());
        command.env("LISTEN_PID", std::process::id().to_string());
        command.env("LISTEN_FDNAMES", names.join(":"));
        // What may have been passed to us was meant for us.
        command.env_remove("LISTEN_PIDFDID");
        if let Err(error) = place(passed) {
            return error;
        }
    }
    command.exec()
}

/// Puts sockets where the program looks for them. They move out of the way first: one may lie where another goes.
fn place(passed: &[(OwnedFd, String)]) -> io::Result<()> {
    let end = i32::try_from(passed.len()).ok().and_then(|count| FIRST.checked_add(count));
    let end = end.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let moved: Vec<OwnedFd> = passed
        .iter()
        .map(|(socket, _)| rustix::io::fcntl_dupfd_cloexec(socket, end))
        .collect::<Result<_, _>>()?;
    for (socket, to) in moved.iter().zip(FIRST..) {
        // SAFETY: the call touches no memory. What was open there is closed behind its owner's back; that is sound as
        // this process becomes another program next, or ends.
        if unsafe { libc::dup2(socket.as_raw_fd(), to) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
