//! Linux: stops and starts containers, and sends signals to exactly the process that was meant.
//!
//! Source: docker-stop(1), prctl(2) (PR_SET_PDEATHSIG), pidfd_open(2), pidfd_send_signal(2), proc_pid_stat(5) (field 22).
//! Programs are called by absolute path, without a shell; names come after `--`, so none can be taken for an option.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portolan_core::change::{Action, Caller, ProcessEntry, ProcessKey, ProcessNow, SIGNALS};
use portolan_core::kernel::proc_maps::{self, Module};
use portolan_core::kernel::{cgroup, procfs};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, pidfd_send_signal, set_parent_process_death_signal,
};

use super::descriptors::{Descriptors, Unreadable};
use super::{file, unit};
use crate::Error;

/// Where programs of the system are looked for; PATH is not asked.
const FOLDERS: [&str; 6] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// How long a killed process may take to end.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// Carries out what stops or starts something.
pub(crate) fn perform(action: &Action) -> Result<(), Error> {
    match action {
        Action::StopUnit { unit, .. } => unit::stop(unit),
        Action::StartUnit { unit, services } => unit::start(unit, services),
        Action::StopContainer { runtime, id } => run(known_runtime(runtime)?, &["stop", "--", id]),
        Action::StartContainer { runtime, id } => run(known_runtime(runtime)?, &["start", "--", id]),
        Action::StopProcess { process, sockets, signal, timeout_ms, force } => {
            stop_process(process, sockets, signal, Duration::from_millis(*timeout_ms), *force)
        }
        Action::CloseConnections { .. }
        | Action::SetRange { .. }
        | Action::Reserve { .. }
        | Action::Unreserve { .. }
        | Action::SetUpRecorder { .. }
        | Action::Windows(_) => {
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

/// Runs a program of the system to its end; it ends with this one. One that went on alone after this was killed could
/// still stop what an undo has just started.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<(), Error> {
    let doing = || format!("run {program} {}", arguments.join(" "));
    let path = FOLDERS
        .iter()
        .map(|folder| format!("{folder}/{program}"))
        .find(|path| fs::metadata(path).is_ok_and(|found| found.is_file()))
        .ok_or_else(|| Error::new(doing(), io::Error::new(io::ErrorKind::NotFound, "it is not installed")))?;
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::null());
    let parent = getpid();
    let die_with_parent = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have been killed before the kernel knew of the wish.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(die_with_parent) };
    let output = command.output().map_err(|source| Error::new(doing(), source))?;
    if output.status.success() {
        return Ok(());
    }
    let said: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(400).collect();
    Err(Error::new(doing(), io::Error::other(format!("{} ({})", said, output.status))))
}

fn stat_of(pid: u32) -> io::Result<procfs::Stat> {
    procfs::stat(&file::text(format!("/proc/{pid}/stat"), file::SHORT)?).map_err(io::Error::other)
}

/// Every process that can be seen.
pub fn processes() -> Result<Vec<ProcessEntry>, Error> {
    let folder = fs::read_dir("/proc").map_err(|source| Error::new("read /proc", source))?;
    let pids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let entry = |pid: u32| {
        // A process that ends meanwhile is no process any more.
        let stat = stat_of(pid).ok()?;
        Some(ProcessEntry { pid, parent: stat.parent, start: stat.start_ticks, name: stat.name })
    };
    Ok(pids.filter_map(entry).collect())
}

/// The program and the libraries that a process has in memory.
pub fn modules(pid: u32) -> Result<Vec<Module>, Error> {
    let maps = file::text(format!("/proc/{pid}/maps"), file::LONG);
    let maps = maps.map_err(|source| Error::new(format!("see the modules of process {pid}"), source))?;
    Ok(proc_maps::modules(&maps))
}

/// How a process is asked to end, beside what the step says: it says the signal.
pub fn how_asked(_process: &ProcessKey, _processes: &[ProcessEntry]) -> Option<String> {
    None
}

/// The one who asks.
pub fn caller() -> Caller {
    let placement = file::text("/proc/self/cgroup", file::SHORT).map(|text| cgroup::placement(&text));
    Caller {
        pid: std::process::id(),
        unit: placement.unwrap_or_default().unit,
        // sd_booted(3).
        systemd: Path::new("/run/systemd/system").is_dir(),
    }
}

/// How a process stands now, and whether it still holds one of these sockets (with none: whether it runs).
pub(crate) fn process_now(process: &ProcessKey, sockets: &[u32]) -> Result<ProcessNow, Error> {
    let look = || -> io::Result<ProcessNow> {
        match stat_of(process.pid) {
            Ok(stat) if stat.start_ticks == process.start && stat.ended => return Ok(ProcessNow::Gone),
            Ok(stat) if stat.start_ticks == process.start => {}
            Ok(_) => return Ok(ProcessNow::Another),
            Err(gone) if is_gone(&gone) => return Ok(ProcessNow::Gone),
            Err(error) => return Err(error),
        }
        if sockets.is_empty() || holds(process.pid, sockets)? {
            return Ok(ProcessNow::Holding);
        }
        Ok(ProcessNow::LetGo)
    };
    look().map_err(|source| {
        Error::new(format!("look at {} (pid {}) once more", process.name, process.pid), source)
    })
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// Whether a process has a descriptor of one of these sockets.
fn holds(pid: u32, sockets: &[u32]) -> io::Result<bool> {
    let unreadable = |why| match why {
        Unreadable::Gone => Ok(false),
        Unreadable::Denied => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
        Unreadable::Failed(error) => Err(error.into()),
    };
    let descriptors = match Descriptors::of(pid) {
        Ok(descriptors) => descriptors,
        Err(why) => return unreadable(why),
    };
    let mut found = false;
    let walked = descriptors.sockets(0..u32::MAX, descriptors.count(), |_, inode| {
        found |= sockets.contains(&inode);
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if found { Ok(true) } else { walked.map_or_else(unreadable, |_| Ok(false)) }
}

/// Sends a signal through a descriptor of the process and waits for its end. The descriptor is opened first; start time
/// and sockets are looked at after it, so a pid that was given to another process meanwhile is noticed, and one that
/// has let go of its socket is left alone. A process that is gone already is fine: that is what was wanted.
fn stop_process(
    process: &ProcessKey,
    sockets: &[u32],
    signal: &str,
    timeout: Duration,
    force: bool,
) -> Result<(), Error> {
    let doing = || format!("stop {} (pid {})", process.name, process.pid);
    let failed = |source: io::Error| {
        let denied = source.raw_os_error() == Some(libc::EPERM);
        let needs = if denied { " (another user's process: needs root, CAP_KILL)" } else { "" };
        Error::new(doing() + needs, source)
    };
    let number = signal_of(signal).ok_or_else(|| {
        let known = format!("no such signal; use one of {}", SIGNALS.join(", "));
        Error::new(doing(), io::Error::new(io::ErrorKind::InvalidInput, known))
    })?;
    let Some(descriptor) = opened(process.pid).map_err(failed)? else { return Ok(()) };
    match process_now(process, sockets)? {
        ProcessNow::Holding => {}
        ProcessNow::Gone | ProcessNow::LetGo => return Ok(()),
        ProcessNow::Another => {
            return Err(failed(io::Error::other(
                "that pid belongs to another process by now; nothing was sent",
            )));
        }
    }
    let stop = || -> io::Result<()> {
        signalled(&descriptor, number)?;
        if ended_within(&descriptor, timeout)? {
            return Ok(());
        }
        if !force {
            let waited = timeout.as_secs_f32();
            let why = format!("it still runs {waited} s after SIG{signal}; --force kills it then");
            return Err(io::Error::other(why));
        }
        signalled(&descriptor, Signal::KILL)?;
        if ended_within(&descriptor, AFTER_KILL)? {
            return Ok(());
        }
        Err(io::Error::other("it still runs after SIGKILL: it waits inside the kernel (state D)"))
    };
    stop().map_err(failed)
}

/// A descriptor of the process that has that number now; none when there is none.
fn opened(pid: u32) -> io::Result<Option<OwnedFd>> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => Ok(None),
        other => Ok(Some(other?)),
    }
}

/// Sends a signal; to a process that has just ended it need not come.
fn signalled(descriptor: &OwnedFd, signal: Signal) -> io::Result<()> {
    match pidfd_send_signal(descriptor, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
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

/// A signal by its name, one of [`SIGNALS`].
fn signal_of(name: &str) -> Option<Signal> {
    Some(match name {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_that_may_be_named_can_be_sent() {
        assert!(SIGNALS.iter().all(|name| signal_of(name).is_some()));
        assert_eq!(signal_of("STOP"), None);
    }
}
