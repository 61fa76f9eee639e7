//! Calls for a port as they were made: bind(), connect() and listen() of every program, and what came of them.
//!
//! Whoever sees calls (BPF or tracepoints on Linux, ETW on Windows, a recorded trace) gives [`Call`]s; what one means
//! stands in `meaning.rs`. Source: bind(2), connect(2), listen(2).
//! Left out on purpose: calls on sockets that are neither IPv4's nor IPv6's, and calls that only say that a connection
//! is still under way (EINPROGRESS, EALREADY): the end of that connection is told instead.

mod meaning;
mod pairing;
mod repeats;

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;

pub use meaning::{Meaning, Seen, lacks_source, meaning};
pub use pairing::{Pairing, Step, What};
pub use repeats::{Repeated, Repeats, SPAN_NS};

use crate::kernel::error_code;
use crate::port::PortRange;
use crate::snapshot::System;
use crate::socket::Transport;

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// bind().
    Bind,
    /// connect(), or what does the same (io_uring, ConnectEx, the kernel's own clients).
    Connect,
    /// listen(), which takes a port where none was bound.
    Listen,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bind, Self::Connect, Self::Listen];

    /// `bind`, `connect` or `listen`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Connect => "connect",
            Self::Listen => "listen",
        }
    }
}

/// How calls are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Linux: BPF at the tracepoints of the system calls and of TCP's states.
    Bpf,
    /// Linux: the tracepoints alone, without BPF.
    Tracepoints,
    /// Windows: Event Tracing for Windows.
    Etw,
}

impl Way {
    /// All of them, the best of each system first.
    pub const ALL: [Self; 3] = [Self::Bpf, Self::Tracepoints, Self::Etw];

    /// `bpf`, `tracepoints` or `etw`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bpf => "bpf",
            Self::Tracepoints => "tracepoints",
            Self::Etw => "etw",
        }
    }

    /// What it is, fit to follow "by".
    pub const fn text(self) -> &'static str {
        match self {
            Self::Bpf => "BPF",
            Self::Tracepoints => "tracepoints without BPF",
            Self::Etw => "Event Tracing for Windows",
        }
    }
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It came about.
    Done,
    /// The call itself failed, with the system's code.
    Failed(i32),
    /// The call said that the connection was under way; it failed later, with the system's code.
    FailedLater(i32),
    /// The program closed the socket before anybody answered.
    GivenUp,
}

impl Outcome {
    /// `done`, `failed`, `failed-later` or `given-up`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed(_) => "failed",
            Self::FailedLater(_) => "failed-later",
            Self::GivenUp => "given-up",
        }
    }

    /// The system's code of what failed.
    pub const fn code(self) -> Option<i32> {
        match self {
            Self::Failed(code) | Self::FailedLater(code) => Some(code),
            Self::Done | Self::GivenUp => None,
        }
    }
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it was over, nanoseconds since 1970-01-01 UTC.
    pub at_ns: u64,
    /// How long it took, or the connection that it began, nanoseconds; none where that was not seen.
    pub took_ns: Option<u64>,
    /// The process that made it.
    pub pid: u32,
    /// Its short name as the system gave it: hostile text.
    pub program: String,
    /// Its effective user (Linux).
    pub uid: Option<u32>,
    /// Which call.
    pub kind: Kind,
    /// TCP or UDP; none where it was not seen, or is neither.
    pub transport: Option<Transport>,
    /// This end: what bind() asked for, or what a connection has; none where it was not seen.
    pub local: Option<SocketAddr>,
    /// The other end, of a connection.
    pub remote: Option<SocketAddr>,
    /// What came of it.
    pub outcome: Outcome,
    /// Inode of the socket's network namespace, or where it is none of the caller's (Linux).
    pub network_namespace: Option<u64>,
    /// Which ports the socket lets itself be given.
    pub own_range: OwnRange,
}

/// Whether a socket has a range of its own that it is given ports from (Linux: IP_LOCAL_PORT_RANGE, ip(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OwnRange {
    /// It was not seen.
    #[default]
    Unseen,
    /// It has none: the system's holds.
    No,
    /// The ports from here to there; 0, or what lies outside of the system's range, leaves that end as the system has it.
    Of {
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
}

impl OwnRange {
    /// As the kernel keeps it: both 0 for none.
    pub const fn of(first: u16, last: u16) -> Self {
        match (first, last) {
            (0, 0) => Self::No,
            _ => Self::Of { first, last },
        }
    }

    /// What a socket is given ports from, where the system has that range; none where it has no range of its own.
    pub fn within(self, system: PortRange) -> Option<PortRange> {
        let Self::Of { first, last } = self else { return None };
        let first = if system.contains(first) { first } else { system.first() };
        let last = if system.contains(last) { last } else { system.last() };
        PortRange::new(first, last).ok()
    }
}

impl Call {
    /// Whether it has something to complain about.
    pub fn has_failed(&self) -> bool {
        self.outcome != Outcome::Done
    }

    /// The name of its error: `EADDRINUSE`, `WSAEACCES`.
    pub fn error(&self, system: System) -> Option<String> {
        self.outcome.code().map(|code| error_code::name_of(system, code))
    }

    /// What it has in common with others like it.
    pub fn likeness(&self) -> Likeness {
        Likeness {
            pid: self.pid,
            program: self.program.clone(),
            kind: self.kind,
            transport: self.transport,
            asked: self.local.filter(|_| self.kind != Kind::Connect),
            remote: self.remote,
            outcome: self.outcome,
            network_namespace: self.network_namespace,
            own_range: self.own_range,
        }
    }
}

/// What makes two calls the same to a person: who, what, where and why. The end that the system chose is none of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Likeness {
    pid: u32,
    program: String,
    kind: Kind,
    transport: Option<Transport>,
    asked: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    outcome: Outcome,
    network_namespace: Option<u64>,
    own_range: OwnRange,
}

/// What was seen since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// The calls, by when they were over.
    pub calls: Vec<Call>,
    /// How many more there were that nobody could keep: they came too fast.
    pub lost: u64,
}
