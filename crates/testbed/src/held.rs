//! A running `testbed hold`: what it holds, and its end.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::Namespace;

/// The last line that `testbed hold` prints once it holds everything.
pub const READY: &str = "ready";

/// What one word of `testbed hold` came to: a line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The word: `tcp-listen`, `udp` …
    pub word: String,
    /// Local address of each socket that the word is about, with the port that the kernel chose where 0 was asked.
    pub local: Vec<SocketAddr>,
    /// Descriptor of each of them in the holding process; none for a TIME_WAIT, which no process holds.
    pub descriptors: Vec<i32>,
    /// Other processes that hold the same sockets (`--workers`).
    pub workers: Vec<u32>,
}

impl Holding {
    /// The first socket's port.
    pub fn port(&self) -> u16 {
        self.local[0].port()
    }
}

/// A process that holds sockets until this value is dropped.
#[derive(Debug)]
pub struct Held {
    child: Child,
    /// What it holds, word by word.
    pub holdings: Vec<Holding>,
}

impl Held {
    /// Starts `testbed hold WORDS…` inside a namespace and waits until everything is held. The words are parted by
    /// white space, as in a shell; `testbed` without arguments lists them.
    ///
    /// # Panics
    /// When it cannot hold what was asked; its message is on standard error.
    #[track_caller]
    pub fn new(namespace: &Namespace, words: &str) -> Self {
        let mut command = namespace.command(crate::program("testbed"));
        command.arg("hold").args(words.split_whitespace());
        Self::from_command(command)
    }

    /// Starts a command that prints what `testbed hold` prints, and waits for its `ready`.
    ///
    /// # Panics
    /// When it ends before.
    #[track_caller]
    pub fn from_command(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let output = child.stdout.take().expect("it was piped");
        // From here on Drop ends the process, also when the next line panics.
        let mut held = Self { child, holdings: Vec::new() };
        held.holdings = read_holdings(BufReader::new(output).lines())
            .unwrap_or_else(|error| panic!("{command:?} did not get ready: {error}"));
        held
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The port of the first socket of the first word.
    pub fn port(&self) -> u16 {
        self.holdings[0].port()
    }

    /// Whether it has ended by now.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have been ended by the test; a failure to end it must not hide the test's own failure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_holdings(lines: Lines<BufReader<ChildStdout>>) -> Result<Vec<Holding>, String> {
    let mut holdings = Vec::new();
    for line in lines {
        let line = line.map_err(|error| error.to_string())?;
        if line == READY {
            return Ok(holdings);
        }
        holdings.push(serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))?);
    }
    Err("it ended first; its message stands on standard error".to_owned())
}
