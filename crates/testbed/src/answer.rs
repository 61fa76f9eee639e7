//! What a program answered: exit code, output, errors.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

/// A program's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was run.
    pub command: String,
    /// Exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

impl Answer {
    /// Runs a command to its end, without input.
    ///
    /// # Panics
    /// When it cannot be started, or writes what is not UTF-8.
    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        let shown = format!("{command:?}");
        let output = command.stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("cannot run {shown}: {error}"));
        let text =
            |bytes| String::from_utf8(bytes).unwrap_or_else(|_| panic!("{shown} does not write UTF-8"));
        Self {
            code: output.status.code(),
            output: text(output.stdout),
            errors: text(output.stderr),
            command: shown,
        }
    }

    /// Runs a command to its end on a terminal of its own, on which this is typed. What it writes, on either stream,
    /// stands in `output`, together with what was typed.
    ///
    /// # Panics
    /// When it cannot be started, or there are no pseudo-terminals.
    #[track_caller]
    pub fn on_terminal(mut command: Command, typed: &str) -> Self {
        let shown = format!("{command:?}");
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("pty(7) is there");
        grantpt(&controller).and_then(|()| unlockpt(&controller)).expect("a new terminal can be unlocked");
        let name = ptsname(&controller, Vec::new()).expect("a terminal has a name");
        let name = std::ffi::OsStr::from_bytes(name.as_bytes());
        let mut options = File::options();
        options.read(true).write(true).custom_flags(libc::O_NOCTTY);
        let terminal = || options.open(name).expect("the terminal can be opened");
        let child = command.stdin(terminal()).stdout(terminal()).stderr(terminal()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("cannot run {shown}: {error}"));
        // With our own ends closed, reading ends when the program does.
        drop(command);
        let mut controller = File::from(controller);
        controller.write_all(typed.as_bytes()).expect("the terminal takes input");
        let mut written = Vec::new();
        // What comes before somebody waits for the program: it must not stand still on a full terminal.
        drain(&mut controller, &mut written);
        let code = child.wait().expect("a child can be waited for").code();
        // The kernel looks for input first and for a closed terminal then: what is written and closed between the two is
        // told as an end, and is still there for the next who reads.
        drain(&mut controller, &mut written);
        let output = String::from_utf8_lossy(&written).into_owned();
        Self { command: shown, code, output, errors: String::new() }
    }

    /// The answer, once it is certain that the exit code is this one.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.output).unwrap_or_else(|error| panic!("no JSON: {error}: {self}"))
    }
}

/// Reads until no program has the terminal any more: then it answers with EIO.
fn drain(controller: &mut File, written: &mut Vec<u8>) {
    match controller.read_to_end(written) {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(libc::EIO) => {}
        Err(error) => panic!("the terminal cannot be read: {error}"),
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, code, output, errors } = self;
        write!(f, "{command} ended with {code:?}\n--- output\n{output}\n--- errors\n{errors}")
    }
}
