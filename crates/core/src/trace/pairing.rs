//! Calls put together from tracepoints alone: a call's beginning and end, and what the socket it works on goes through.
//!
//! Source: the tracepoints syscalls:sys_enter_*, sys_exit_*, sock:inet_sock_set_state and sock:inet_sk_error_report. A step
//! into SYN_SENT or LISTEN is the running thread's own; every other one may come in any thread's time.
//! Left out on purpose: the address that bind() was given, which no tracepoint tells; errors of connect() that sockets
//! of AF_UNIX give too, where no state of a TCP socket says whose the call was.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::{Call, Kind, Outcome, OwnRange};
use crate::socket::Transport;

/// What a tracepoint told, of a thread at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, nanoseconds since 1970-01-01 UTC.
    pub at_ns: u64,
    /// The process that ran.
    pub pid: u32,
    /// Its thread.
    pub thread: u32,
    /// What.
    pub what: What,
}

/// What a tracepoint tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A call begins.
    Begins(Kind),
    /// A call ends, with what it returns.
    Ends(Kind, i64),
    /// A TCP socket goes from one state to another.
    State {
        /// Which socket: the kernel's address of it.
        socket: u64,
        /// Its old state's number.
        old: i32,
        /// Its new state's number.
        new: i32,
        /// This end.
        local: SocketAddr,
        /// The other end.
        remote: SocketAddr,
    },
    /// A socket reports an error.
    Error {
        /// The error's number.
        code: i32,
        /// This end.
        local: SocketAddr,
        /// The other end.
        remote: SocketAddr,
    },
}

const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const CLOSE: i32 = 7;
const LISTEN: i32 = 10;
const EADDRNOTAVAIL: i32 = 99;
/// What connect() gives while the connection goes on: EINTR, EALREADY, EINPROGRESS, and restarts after signals.
const GOES_ON: &[i32] = &[4, 114, 115, 512, 513, 514, 516];
/// EISCONN: the connection is there.
const IS_CONNECTED: i32 = 106;
/// What connect() gives of IPv4 and IPv6 alone: ENODEV, EAFNOSUPPORT, EADDRINUSE, EADDRNOTAVAIL, ENETDOWN, ENETUNREACH,
/// EHOSTUNREACH.
const OF_INTERNET: &[i32] = &[19, 97, 98, EADDRNOTAVAIL, 100, 101, 113];
/// Threads and connections that are kept; beyond, the oldest are forgotten.
const KEPT: usize = 65_536;

#[derive(Debug)]
struct Open {
    kind: Kind,
    began_ns: u64,
    socket: Option<u64>,
    local: Option<SocketAddr>,
}

#[derive(Debug)]
struct Connection {
    pid: u32,
    began_ns: u64,
    local: SocketAddr,
    remote: SocketAddr,
    /// The call that began it is over, or was none that is seen.
    returned: bool,
    error: Option<i32>,
    /// When it left SYN_SENT, and for which state.
    ended: Option<(u64, i32)>,
}

/// Calls and connections that are under way.
#[derive(Debug, Default)]
pub struct Pairing {
    open: HashMap<u32, Open>,
    connections: HashMap<u64, Connection>,
    /// How many were forgotten.
    lost: u64,
}

impl Pairing {
    /// Takes what a tracepoint told, in the order of time, and gives the call that is over by it. Its program and user are
    /// not known here.
    pub fn take(&mut self, step: &Step) -> Option<Call> {
        match step.what {
            What::Begins(kind) => {
                let open = Open { kind, began_ns: step.at_ns, socket: None, local: None };
                self.make_room();
                self.open.insert(step.thread, open);
                None
            }
            What::Ends(kind, result) => self.ends(step, kind, result),
            What::State { socket, old, new, local, remote } => {
                self.changes(step, socket, (old, new), (local, remote));
                None
            }
            What::Error { code, local, remote } => {
                let same = |found: &&mut Connection| found.local == local && found.remote == remote;
                if let Some(found) = self.connections.values_mut().find(same) {
                    found.error = Some(code);
                }
                None
            }
        }
    }

    /// Connections that left SYN_SENT before that time: whatever error they had has been told by now.
    pub fn settled(&mut self, before_ns: u64) -> Vec<Call> {
        let over = |found: &Connection| found.returned && found.ended.is_some_and(|(at, _)| at < before_ns);
        let sockets: Vec<u64> =
            self.connections.iter().filter(|(_, found)| over(found)).map(|(socket, _)| *socket).collect();
        sockets.iter().filter_map(|socket| self.connections.remove(socket)?.call()).collect()
    }

    /// How many calls were forgotten so far.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    fn make_room(&mut self) {
        if self.open.len() >= KEPT {
            self.lost += self.open.len() as u64;
            self.open.clear();
        }
        if self.connections.len() >= KEPT {
            self.lost += self.connections.len() as u64;
            self.connections.clear();
        }
    }

    fn ends(&mut self, step: &Step, kind: Kind, result: i64) -> Option<Call> {
        let open = self.open.remove(&step.thread).filter(|open| open.kind == kind)?;
        let code = i32::try_from(-result).ok()?.max(0);
        let connection = open.socket.and_then(|socket| self.connections.get_mut(&socket));
        if kind == Kind::Connect && GOES_ON.contains(&code) {
            connection?.returned = true;
            return None;
        }
        let (local, remote) = match connection {
            Some(found) => (Some(found.local), Some(found.remote)),
            None => (open.local, None),
        };
        if let Some(socket) = open.socket {
            self.connections.remove(&socket);
        }
        let unknown = match kind {
            Kind::Connect => remote.is_none() && !OF_INTERNET.contains(&code),
            Kind::Listen => local.is_none(),
            Kind::Bind => code == 0,
        };
        if unknown || code == IS_CONNECTED {
            return None;
        }
        Some(Call {
            at_ns: step.at_ns,
            took_ns: Some(step.at_ns.saturating_sub(open.began_ns)),
            pid: step.pid,
            program: String::new(),
            uid: None,
            kind,
            transport: local.or(remote).map(|_| Transport::Tcp),
            local,
            remote,
            outcome: if code == 0 { Outcome::Done } else { Outcome::Failed(code) },
            network_namespace: None,
            own_range: OwnRange::Unseen,
        })
    }

    fn changes(
        &mut self,
        step: &Step,
        socket: u64,
        (old, new): (i32, i32),
        (local, remote): (SocketAddr, SocketAddr),
    ) {
        let open = self.open.get_mut(&step.thread);
        match (old, new) {
            (_, SYN_SENT) => {
                let open = open.filter(|open| open.kind == Kind::Connect);
                let (began_ns, returned) = match open {
                    Some(open) => {
                        open.socket = Some(socket);
                        (open.began_ns, false)
                    }
                    None => (step.at_ns, true),
                };
                let (error, ended) = (None, None);
                let pid = step.pid;
                let found = Connection { pid, began_ns, local, remote, returned, error, ended };
                self.make_room();
                self.connections.insert(socket, found);
            }
            (_, LISTEN) => {
                if let Some(open) = open.filter(|open| open.kind == Kind::Listen) {
                    open.local = Some(local);
                }
            }
            (SYN_SENT, new) => {
                if let Some(found) = self.connections.get_mut(&socket) {
                    found.local = local;
                    found.ended = Some((step.at_ns, new));
                }
            }
            _ => {}
        }
    }
}

impl Connection {
    fn call(self) -> Option<Call> {
        let (at_ns, state) = self.ended?;
        let outcome = match (state, self.error) {
            (CLOSE, Some(code)) => Outcome::FailedLater(code),
            // Nobody reported an error, and it never had a port: none was left.
            (CLOSE, None) if self.local.port() == 0 => Outcome::FailedLater(EADDRNOTAVAIL),
            (CLOSE, None) => Outcome::GivenUp,
            (ESTABLISHED, _) => Outcome::Done,
            _ => return None,
        };
        Some(Call {
            at_ns,
            took_ns: Some(at_ns.saturating_sub(self.began_ns)),
            pid: self.pid,
            program: String::new(),
            uid: None,
            kind: Kind::Connect,
            transport: Some(Transport::Tcp),
            local: Some(self.local),
            remote: Some(self.remote),
            outcome,
            network_namespace: None,
            own_range: OwnRange::Unseen,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(at_ns: u64, thread: u32, what: What) -> Step {
        Step { at_ns, pid: 7, thread, what }
    }

    fn end(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn state(socket: u64, old: i32, new: i32, port: u16) -> What {
        let local = SocketAddr::new(end("10.0.0.5:0").ip(), port);
        What::State { socket, old, new, local, remote: end("10.0.0.9:443") }
    }

    fn error(code: i32, port: u16) -> What {
        let local = SocketAddr::new(end("10.0.0.5:0").ip(), port);
        What::Error { code, local, remote: end("10.0.0.9:443") }
    }

    /// What came of the calls, in the order they were told; all is settled at the end.
    fn told(steps: &[Step]) -> Vec<(Kind, Outcome, Option<SocketAddr>)> {
        let mut pairing = Pairing::default();
        let mut calls: Vec<Call> = steps.iter().filter_map(|step| pairing.take(step)).collect();
        calls.extend(pairing.settled(u64::MAX));
        assert!(pairing.connections.is_empty() && pairing.open.is_empty());
        calls.iter().map(|call| (call.kind, call.outcome, call.remote)).collect()
    }

    #[test]
    fn a_call_that_fails_is_told_with_the_ends_of_its_socket() {
        use What::{Begins, Ends};
        let remote = Some(end("10.0.0.9:443"));
        assert_eq!(
            told(&[
                step(1, 1, Begins(Kind::Connect)),
                step(2, 2, Begins(Kind::Bind)),
                step(3, 1, state(9, 7, SYN_SENT, 0)),
                step(4, 1, state(9, SYN_SENT, CLOSE, 0)),
                step(5, 1, Ends(Kind::Connect, -99)),
                step(6, 2, Ends(Kind::Bind, -98)),
                // A socket of AF_UNIX, and one that came about.
                step(7, 1, Begins(Kind::Connect)),
                step(8, 1, Ends(Kind::Connect, -2)),
                step(9, 1, Begins(Kind::Bind)),
                step(9, 1, Ends(Kind::Bind, 0)),
            ]),
            [(Kind::Connect, Outcome::Failed(99), remote), (Kind::Bind, Outcome::Failed(98), None)]
        );
    }

    #[test]
    fn a_connection_that_fails_later_is_told_with_the_error_whichever_comes_first() {
        use What::{Begins, Ends};
        let begun = [
            step(1, 1, Begins(Kind::Connect)),
            step(2, 1, state(9, 7, SYN_SENT, 0)),
            step(3, 1, Ends(Kind::Connect, -115)),
        ];
        for (rest, outcome) in [
            // Since Linux 6.10 the state comes first, before that the error.
            (vec![state(9, SYN_SENT, CLOSE, 40000), error(111, 40000)], Outcome::FailedLater(111)),
            (vec![state(9, SYN_SENT, CLOSE, 40000)], Outcome::GivenUp),
            (vec![state(9, SYN_SENT, CLOSE, 0)], Outcome::FailedLater(99)),
            (vec![error(111, 0), state(9, SYN_SENT, CLOSE, 0)], Outcome::FailedLater(111)),
            (vec![state(9, SYN_SENT, ESTABLISHED, 40000)], Outcome::Done),
        ] {
            // In the time of another thread.
            let rest = rest.into_iter().map(|what| step(4, 77, what));
            let steps: Vec<Step> = begun.iter().cloned().chain(rest).collect();
            assert_eq!(told(&steps), [(Kind::Connect, outcome, Some(end("10.0.0.9:443")))]);
        }
    }

    #[test]
    fn nothing_is_kept_without_a_bound_and_what_is_forgotten_is_counted() {
        let mut pairing = Pairing::default();
        for thread in 0..=KEPT as u32 {
            pairing.take(&step(1, thread, What::Begins(Kind::Bind)));
        }
        assert_eq!((pairing.lost(), pairing.open.len()), (KEPT as u64, 1));
    }
}
