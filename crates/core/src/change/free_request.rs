//! What is asked of `free`: which ports, how, by whom, and which processes there are.

use crate::port::Port;
use crate::socket::Transport;

/// Signals that may be sent first, by name, without SIG.
pub const SIGNALS: [&str; 7] = ["TERM", "INT", "HUP", "QUIT", "KILL", "USR1", "USR2"];

/// A row of the process table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEntry {
    /// Process id.
    pub pid: u32,
    /// Parent's process id, 0 for none.
    pub parent: u32,
    /// Start time, as in [`ProcessKey`](super::ProcessKey).
    pub start: u64,
    /// Short name.
    pub name: String,
}

/// Who asks: neither it nor any of its ancestors is stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Its process id.
    pub pid: u32,
    /// The systemd unit it runs in.
    pub unit: Option<String>,
    /// Whether systemd runs this host, and can be asked to stop a unit.
    pub systemd: bool,
}

/// What is to be freed, and how.
#[derive(Clone, Debug)]
pub struct FreeRequest {
    /// The ports.
    pub ports: Vec<(Transport, Port)>,
    /// The first signal's name, one of [`SIGNALS`].
    pub signal: String,
    /// How long a process may take to end, milliseconds.
    pub timeout_ms: u64,
    /// Whether a process that has not ended by then is killed.
    pub force: bool,
    /// Whether its descendants are stopped too.
    pub tree: bool,
    /// Critical programs that may be stopped all the same, by name.
    pub even_if_critical: Vec<String>,
}

impl FreeRequest {
    pub(super) fn names(&self, transport: Transport, port: u16) -> bool {
        self.ports.iter().any(|(wanted, number)| (*wanted, number.number()) == (transport, port))
    }
}
