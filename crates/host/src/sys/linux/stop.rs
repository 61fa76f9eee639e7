//! Linux: stops and starts units and containers, and sends signals to exactly the process that was meant.
//!
//! Source: systemctl(1), docker-stop(1), pidfd_open(2), pidfd_send_signal(2), proc_pid_stat(5) (field 22).
//! Programs are called by absolute path, without a shell; names come after `--`, so none can be taken for an option.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portolan_core::change::{Action, ProcessEntry, ProcessKey};
use portolan_core::kernel::procfs;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::file;
use crate::Error;

/// Where programs of the system are looked for; PATH is not asked.
const FOLDERS: [&str; 6] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// How long a killed process may take to end.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// Carries out what stops or starts something.
pub(crate) fn perform(action: &Action) -> Result<(), Error> {
    match action {
        Action::StopUnit { unit } => run("systemctl", &["stop", "--", unit]),
        Action::StartUnit { unit } => run("systemctl", &["start", "--", unit]),
        Action::StopContainer { runtime, id } => run(known_runtime(runtime)?, &["stop", "--", id]),
        Action::StartContainer { runtime, id } => run(known_runtime(runtime)?, &["start", "--", id]),
        Action::StopProcess { process, signal, timeout_ms, force } => {
            stop_process(process, signal, Duration::from_millis(*timeout_ms), *force)
        }
        Action::CloseConnection { .. } => {
            Err(Error::new("close", io::Error::from(io::ErrorKind::Unsupported)))
        }
        Action::SetRange { .. } | Action::Reserve { .. } | Action::Unreserve { .. } => {
            Err(Error::new("carry this step out", io::Error::from(io::ErrorKind::Unsupported)))
        }
    }
}

/// The journal is a file: a runtime that it names is checked before it is called.
fn known_runtime(runtime: &str) -> Result<&str, Error> {
    if matches!(runtime, "docker" | "podman") {
        Ok(runtime)
    } else {
        let why = format!("portolan knows docker and podman; stop it with {runtime}'s own command");
        Err(Error::new(format!("stop a container of {runtime}"), io::Error::other(why)))
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), Error> {
    let doing = || format!("run {program} {}", arguments.join(" "));
    let path = FOLDERS
        .iter()
        .map(|folder| format!("{folder}/{program}"))
        .find(|path| fs::metadata(path).is_ok_and(|found| found.is_file()))
        .ok_or_else(|| Error::new(doing(), io::Error::new(io::ErrorKind::NotFound, "it is not installed")))?;
    let output = Command::new(path)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::new(doing(), source))?;
    if output.status.success() {
        return Ok(());
    }
    let said: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(400).collect();
    Err(Error::new(doing(), io::Error::other(format!("{} ({})", said, output.status))))
}

/// The start time of a process in clock ticks since boot; with its pid it names the process for good.
fn start_ticks(pid: u32) -> io::Result<u64> {
    let stat = file::text(format!("/proc/{pid}/stat"), file::SHORT)?;
    procfs::stat(&stat).map(|stat| stat.start_ticks).map_err(io::Error::other)
}

/// Every process that can be seen.
pub fn processes() -> Result<Vec<ProcessEntry>, Error> {
    let folder = fs::read_dir("/proc").map_err(|source| Error::new("read /proc", source))?;
    let pids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let entry = |pid: u32| {
        // A process that ends meanwhile is no process any more.
        let stat = procfs::stat(&file::text(format!("/proc/{pid}/stat"), file::SHORT).ok()?).ok()?;
        Some(ProcessEntry { pid, parent: stat.parent, start: stat.start_ticks, name: stat.name })
    };
    Ok(pids.filter_map(entry).collect())
}

/// Sends a signal through a descriptor of the process and waits for its end. The descriptor is opened first and the
/// start time read after it, so a pid that was given to another process meanwhile is noticed. A process that is gone
/// already is fine: that is what was wanted.
fn stop_process(process: &ProcessKey, signal: &str, timeout: Duration, force: bool) -> Result<(), Error> {
    let doing = || format!("stop {} (pid {})", process.name, process.pid);
    let number = signal_of(signal).ok_or_else(|| {
        let known = "no such signal; use TERM, INT, HUP, QUIT, USR1, USR2 or KILL";
        Error::new(doing(), io::Error::new(io::ErrorKind::InvalidInput, known))
    })?;
    let attempt = || -> io::Result<()> {
        let Some(descriptor) = same_process(process)? else { return Ok(()) };
        pidfd_send_signal(&descriptor, number)?;
        if ended_within(&descriptor, timeout)? {
            return Ok(());
        }
        if !force {
            let waited = timeout.as_secs_f32();
            return Err(io::Error::other(format!(
                "it still runs {waited} s after SIG{signal}; --force kills it"
            )));
        }
        pidfd_send_signal(&descriptor, Signal::KILL)?;
        if ended_within(&descriptor, AFTER_KILL)? {
            return Ok(());
        }
        Err(io::Error::other("it still runs after SIGKILL: it waits inside the kernel (state D)"))
    };
    attempt().map_err(|source| {
        let denied = source.raw_os_error() == Some(libc::EPERM);
        Error::new(
            if denied { format!("{}: it is another user's, which needs root", doing()) } else { doing() },
            source,
        )
    })
}

/// A descriptor of exactly that process; none when it has ended.
fn same_process(process: &ProcessKey) -> io::Result<Option<OwnedFd>> {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        other => other?,
    };
    match start_ticks(process.pid) {
        Ok(start) if start == process.start => Ok(Some(descriptor)),
        Ok(_) => Err(io::Error::other("that pid belongs to another process by now; nothing was sent")),
        Err(gone) if matches!(gone.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the process ends in that time; a zombie has.
fn ended_within(descriptor: &OwnedFd, time: Duration) -> io::Result<bool> {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(descriptor, PollFlags::IN)], Some(&timeout)) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A signal by its name, with or without SIG.
pub(crate) fn signal_of(name: &str) -> Option<Signal> {
    Some(match name.trim_start_matches("SIG") {
        "TERM" => Signal::TERM,
        "INT" => Signal::INT,
        "HUP" => Signal::HUP,
        "QUIT" => Signal::QUIT,
        "KILL" => Signal::KILL,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        _ => return None,
    })
}
