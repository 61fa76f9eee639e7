//! Tools of the system, run to read what they list: by absolute path, without a shell, for a limited time.
//!
//! Their output is bounded too. The environment is not handed on: paths, pagers and locales of the user change nothing.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Error;

/// Folders of the system's own programs, and NixOS' one.
const FOLDERS: [&str; 5] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/run/current-system/sw/bin"];
/// How long a tool may take.
const TIME: Duration = Duration::from_secs(3);
/// Bytes that it may write.
const OUTPUT: usize = 32 << 20;
/// Bytes of its complaints that are kept.
const COMPLAINTS: usize = 4096;

/// The path of a tool; none when it is not installed.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// What a tool writes. Fails with its complaint when it does not end well.
pub(super) fn output(program: &Path, arguments: &[&str]) -> Result<Vec<u8>, Error> {
    output_within(program, arguments, TIME)
}

/// The same, with more patience: where a change waits for the answer.
pub(super) fn output_within(program: &Path, arguments: &[&str], time: Duration) -> Result<Vec<u8>, Error> {
    let error =
        |source: io::Error| Error::new(format!("run {} {}", program.display(), arguments.join(" ")), source);
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(error)?;
    let result = listen(&mut child, Instant::now() + time);
    if result.is_err() {
        // It may have ended by itself meanwhile.
        let _ = child.kill();
    }
    let status = child.wait().map_err(error)?;
    let (output, complaints) = result.map_err(error)?;
    if status.success() {
        return Ok(output);
    }
    let complaints = String::from_utf8_lossy(&complaints);
    let first =
        complaints.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed and said nothing");
    let kind = match first.contains("ermission denied") || first.contains("not permitted") {
        true => io::ErrorKind::PermissionDenied,
        false => io::ErrorKind::Other,
    };
    Err(error(io::Error::new(kind, format!("{} ({status})", first.trim()))))
}

/// Reads both outputs to their ends. An error when that takes too long or too much.
fn listen(child: &mut Child, deadline: Instant) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let (mut output, mut complaints) = (Vec::new(), Vec::new());
    let (mut stdout_open, mut stderr_open) = (true, true);
    let mut buffer = vec![0; 64 << 10];
    while stdout_open || stderr_open {
        let ready = wait(stdout_open.then(|| stdout.as_fd()), stderr_open.then(|| stderr.as_fd()), deadline)?;
        if ready.0 {
            let length = stdout.read(&mut buffer)?;
            stdout_open = length > 0;
            output.extend_from_slice(&buffer[..length]);
        }
        if ready.1 {
            let length = stderr.read(&mut buffer)?;
            stderr_open = length > 0;
            let room = COMPLAINTS.saturating_sub(complaints.len()).min(length);
            complaints.extend_from_slice(&buffer[..room]);
        }
        if output.len() > OUTPUT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
    // Both are closed; what is left is its end.
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok((output, complaints))
}

/// Which of two descriptors can be read, once one can.
fn wait(
    first: Option<BorrowedFd<'_>>,
    second: Option<BorrowedFd<'_>>,
    deadline: Instant,
) -> io::Result<(bool, bool)> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut fds: Vec<PollFd<'_>> =
        first.iter().chain(second.iter()).map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    match poll(&mut fds, Some(&left)) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(rustix::io::Errno::INTR) => {
            let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
            let mut next = |asked: bool| asked && ready.next().unwrap_or(false);
            Ok((next(first.is_some()), next(second.is_some())))
        }
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Vec<u8>, Error> {
        output(Path::new("/bin/sh"), &["-c", script])
    }

    #[test]
    fn a_tool_gives_its_output_and_not_its_complaints() {
        assert_eq!(shell("echo seen; echo odd >&2").unwrap(), b"seen\n");
        assert_eq!(shell("echo $HOME").unwrap(), b"\n", "the environment stays here");
    }

    #[test]
    fn a_tool_that_fails_is_an_error_with_its_first_complaint() {
        let error = shell("echo; echo 'Operation not permitted' >&2; echo more >&2; exit 4").unwrap_err();
        assert!(error.to_string().ends_with(": Operation not permitted (exit status: 4)"), "{error}");
        assert_eq!(error.source.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_tool_without_an_end_is_stopped() {
        let mut child = Command::new("/bin/sleep")
            .arg("1000")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(listen(&mut child, Instant::now()).unwrap_err().kind(), io::ErrorKind::TimedOut);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_tool_that_writes_without_end_is_stopped() {
        assert_eq!(shell("exec cat /dev/zero").unwrap_err().source.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn tools_are_found_in_the_folders_of_the_system() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-tool"), None);
    }
}
