//! A program that tells line by line until it is ended, as `portolan watch` and `trace` do.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// It runs until it ends by itself, is ended, or this value is dropped.
#[derive(Debug)]
pub struct Telling {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Telling {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn begin(command: &mut Command) -> Self {
        let child = command.stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let lines = BufReader::new(child.stdout.take().expect("it has a pipe"));
        Self { child, lines }
    }

    /// The next line, with its end; empty where no more will come.
    ///
    /// # Panics
    /// When it is not UTF-8.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("what it tells is UTF-8");
        line
    }

    /// The next line that says so.
    ///
    /// # Panics
    /// When it ends before.
    #[track_caller]
    pub fn line_with(&mut self, part: &str) -> String {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "it ended before it said {part}");
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has ended and was waited for.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("it has a pid"), signal).expect("it is ours");
    }

    /// Waits for its end: what it told until then, and its exit code; none where a signal ended it.
    ///
    /// # Panics
    /// When what it tells is not UTF-8.
    #[track_caller]
    pub fn end(mut self) -> (String, Option<i32>) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("what it tells is UTF-8");
        let status = self.child.wait().expect("a child can be waited for");
        (rest, status.code())
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
