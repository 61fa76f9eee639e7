//! Tools of the system, run to read what they list: by their absolute path in the system folder, without a shell, for a
//! limited time and output.
//!
//! Source: `GetSystemDirectoryW`. A search path would find a program of that name in the current folder first. They get
//! no console window, so netsh writes in the code page that belongs to the system.

use std::io::{self, Read};
use std::os::windows::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use portolan_core::wording::shortened;
use windows_sys::Win32::System::SystemInformation::GetSystemDirectoryW;
use windows_sys::Win32::System::Threading::CREATE_NO_WINDOW;

use super::wide;
use crate::Error;

/// How long netsh may take: a tenth of a second, but for a system that has just started, when a plan goes on by itself.
const TIME: Duration = Duration::from_secs(30);
/// Bytes that it may write.
const OUTPUT: u64 = 16 << 20;
/// How often it is asked whether it has ended, once its output has.
const INTERVAL: Duration = Duration::from_millis(2);

/// The folder of the system's own programs: `C:\Windows\System32`.
pub(super) fn system_folder() -> io::Result<PathBuf> {
    let mut path = [0_u16; 512];
    // SAFETY: the text has the length that is handed over.
    let length = unsafe { GetSystemDirectoryW(path.as_mut_ptr(), path.len() as u32) } as usize;
    match path.get(..length) {
        Some(path) if length > 0 => Ok(wide::text(path).into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What netsh writes. Fails where it says that it failed.
pub(super) fn netsh(arguments: &[&str]) -> Result<Vec<u8>, Error> {
    tool("netsh.exe", arguments, TIME, &[0]).map(|(output, _)| output)
}

/// What a program of the system folder writes, and its exit code. Fails where that is none of `good`.
pub(super) fn tool(
    name: &str,
    arguments: &[&str],
    time: Duration,
    good: &[i32],
) -> Result<(Vec<u8>, i32), Error> {
    let folder = system_folder().map_err(|source| Error::new("find the system folder", source))?;
    output(folder.join(name), arguments, time, good)
}

fn output(
    program: PathBuf,
    arguments: &[&str],
    time: Duration,
    good: &[i32],
) -> Result<(Vec<u8>, i32), Error> {
    let error =
        |source: io::Error| Error::new(format!("run {} {}", program.display(), arguments.join(" ")), source);
    let mut child = Command::new(&program)
        .args(arguments)
        .creation_flags(CREATE_NO_WINDOW)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(error)?;
    let result = listen(&mut child, Instant::now() + time);
    if result.is_err() {
        // It may have ended by itself meanwhile.
        let _ = child.kill();
    }
    let status = child.wait().map_err(error)?;
    let output = result.map_err(error)?;
    match status.code().filter(|code| good.contains(code)) {
        Some(code) => Ok((output, code)),
        None => Err(error(io::Error::other(format!("it failed ({status}){}", words(&output))))),
    }
}

/// What a tool that failed says, on one line and not for long: in the display language, in the console's code page.
fn words(output: &[u8]) -> String {
    let text = wide::of_console(output);
    let said: Vec<&str> = text.split_whitespace().collect();
    if said.is_empty() { String::new() } else { format!(": {}", shortened(&said.join(" "))) }
}

/// Reads the output to its end. An error when that takes too long or too much.
fn listen(child: &mut Child, deadline: Instant) -> io::Result<Vec<u8>> {
    let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let left = || deadline.saturating_duration_since(Instant::now());
    let output =
        read(stdout).recv_timeout(left()).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if output.len() as u64 > OUTPUT {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    while child.try_wait()?.is_none() {
        if left().is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(INTERVAL);
    }
    Ok(output)
}

/// Reads on a thread of its own, which ends with the pipe: waiting for a pipe has no time limit here.
fn read(stdout: impl Read + Send + 'static) -> Receiver<io::Result<Vec<u8>>> {
    let (done, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut output = Vec::new();
        let read = stdout.take(OUTPUT + 1).read_to_end(&mut output).map(|_| output);
        // Nobody waits any more where the time was over.
        let _ = done.send(read);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cmd(command: &str, time: Duration) -> Result<Vec<u8>, Error> {
        output(system_folder().unwrap().join("cmd.exe"), &["/c", command], time, &[0])
            .map(|(output, _)| output)
    }

    #[test]
    fn a_tool_gives_its_output_and_a_failing_one_is_an_error() {
        assert_eq!(cmd("echo seen", TIME).unwrap(), b"seen\r\n");
        let error = cmd("exit 3", TIME).unwrap_err().to_string();
        assert!(error.ends_with("it failed (exit code: 3)"), "{error}");
    }

    #[test]
    fn a_tool_without_an_end_is_stopped() {
        // Its input is the null device, so `pause` would end; a `for` loop of cmd does not.
        let endless = "for /l %i in (0,0,1) do @rem";
        let error = cmd(endless, Duration::from_millis(300)).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_tool_that_is_not_there_is_an_error() {
        let path = system_folder().unwrap().join("no-such-tool.exe");
        assert_eq!(output(path, &[], TIME, &[0]).unwrap_err().source.kind(), io::ErrorKind::NotFound);
    }
}
