//! Linux: stops and starts units and containers, and sends signals to exactly the process that was meant.
//!
//! Source: systemctl(1), docker-stop(1), pidfd_open(2), pidfd_send_signal(2), proc_pid_stat(5) (field 22).
//! Programs are called by absolute path, without a shell; names come after `--`, so none can be taken for an option.

use std::fs;
use std::io;
use std::process::{Command, Stdio};

use portolan_core::change::{Action, ProcessKey};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::Error;

/// Where programs of the system are looked for; PATH is not asked.
const FOLDERS: [&str; 6] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// Carries out what stops or starts something.
pub(crate) fn perform(action: &Action) -> Result<(), Error> {
    match action {
        Action::StopUnit { unit } => run("systemctl", &["stop", "--", unit]),
        Action::StartUnit { unit } => run("systemctl", &["start", "--", unit]),
        Action::StopContainer { runtime, id } => run(known_runtime(runtime)?, &["stop", "--", id]),
        Action::StartContainer { runtime, id } => run(known_runtime(runtime)?, &["start", "--", id]),
        Action::Signal { process, signal } => send(process, signal),
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
pub(crate) fn start_ticks(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold blanks and parentheses: fields are counted from its last parenthesis, where field 3 begins.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks = fields.split_ascii_whitespace().nth(22 - 3).and_then(|field| field.parse().ok());
    ticks.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/PID/stat has no start time"))
}

/// Sends a signal through a descriptor of the process. The descriptor is opened first and the start time read after it,
/// so a pid that was given to another process meanwhile is noticed.
fn send(process: &ProcessKey, signal: &str) -> Result<(), Error> {
    let doing = || format!("send SIG{signal} to {} (pid {})", process.name, process.pid);
    let number = signal_of(signal).ok_or_else(|| {
        Error::new(
            doing(),
            io::Error::new(io::ErrorKind::InvalidInput, "no such signal; use TERM, INT, HUP, QUIT or KILL"),
        )
    })?;
    let attempt = || -> io::Result<()> {
        let pid =
            i32::try_from(process.pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let descriptor = pidfd_open(pid, PidfdFlags::empty())?;
        if start_ticks(process.pid)? != process.start {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "that pid belongs to another process by now",
            ));
        }
        Ok(pidfd_send_signal(&descriptor, number)?)
    };
    attempt().map_err(|source| {
        let denied = source.raw_os_error() == Some(libc::EPERM);
        Error::new(
            if denied { format!("{} (it is another user's: needs root)", doing()) } else { doing() },
            source,
        )
    })
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
