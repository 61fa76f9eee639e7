//! Events of sockets put together to calls: who asked for what, and what came of it.
//!
//! A call begins with one event and is over with another, of the same socket; the first has the address, the second the
//! status. The second may come in any thread, so that its process says nothing: whose a socket is, is told by the
//! kernel's address of the process, which AfdCreate and the beginnings of calls give a number to.
//!
//! A connect on a socket that was not bound begins with a bind of its own, to port 0: where the range is full it is that
//! bind that fails.

use std::collections::HashMap;
use std::io::Read;
use std::net::SocketAddr;

use super::{AfdEvent, Phase, What, decode, is_followed, is_of_windows_7};
use crate::kernel::etl::{self, Event, FileHeader, RECORD, Record, TRACE, Unreadable};
use crate::kernel::nt_status::{self, CANCELLED, PENDING};
use crate::kernel::windows_process::{self, Process};
use crate::snapshot::{Gap, GapReason};
use crate::socket::Transport;
use crate::trace::{Call, Kind, Outcome, OwnRange};
use crate::wire::DecodeError;

/// More sockets, and more processes, are not kept in mind.
const MOST_SOCKETS: usize = 1 << 20;
/// More events of a file are not put together: some 350 MB of memory.
const MOST_EVENTS: usize = 4_000_000;

/// A call that is not over.
#[derive(Clone, Copy, Debug, Default)]
struct Begun {
    at_ns: u64,
    address: Option<SocketAddr>,
}

/// What is known of a socket.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    transport: Option<Transport>,
    /// What it was bound to.
    local: Option<SocketAddr>,
    bind: Option<Begun>,
    connect: Option<Begun>,
}

/// Puts events together; they come in the order of time.
#[derive(Debug, Default)]
pub struct Follower {
    processes: HashMap<u64, u32>,
    programs: HashMap<u32, String>,
    sockets: HashMap<u64, Open>,
}

impl Follower {
    /// Takes a process in.
    pub fn process(&mut self, process: Process) {
        if self.programs.len() < MOST_SOCKETS {
            self.programs.insert(process.pid, process.program);
        }
        if let Some(object) = process.object.filter(|_| self.processes.len() < MOST_SOCKETS) {
            self.processes.insert(object, process.pid);
        }
    }

    /// Takes an event in: when it was, in which process it was written, and what it says. Gives the call that is over
    /// with it.
    pub fn event(&mut self, at_ns: u64, writer: u32, event: &AfdEvent) -> Option<Call> {
        self.learn_process(writer, event);
        if event.what == What::Close {
            let socket = self.sockets.get(&event.endpoint).copied().unwrap_or_default();
            if event.phase == Phase::Exit {
                self.sockets.remove(&event.endpoint);
            }
            let begun = socket.connect.filter(|_| event.phase == Phase::Exit)?;
            return Some(self.given_up(at_ns, event, begun));
        }
        if !self.sockets.contains_key(&event.endpoint) && self.sockets.len() >= MOST_SOCKETS {
            return None;
        }
        let socket = self.sockets.entry(event.endpoint).or_default();
        match (event.what, event.phase) {
            (What::Create { socket_type, protocol, .. }, _) => {
                let transport = transport(socket_type, protocol);
                *socket = Open { transport, ..Open::default() };
                None
            }
            (What::Bind { address, .. }, Phase::Enter) => {
                socket.bind = Some(Begun { at_ns, address });
                None
            }
            (What::Connect { address, .. }, Phase::Enter) => {
                socket.connect = Some(Begun { at_ns, address });
                None
            }
            (What::Bind { address, status }, _) if status != PENDING => {
                let begun = socket.bind.take();
                let asked = begun.and_then(|begun| begun.address).or(address);
                if !nt_status::is_failure(status) {
                    socket.local = address.or(asked);
                }
                let call =
                    Ended { kind: Kind::Bind, begun, status, local: socket.local.or(asked), remote: None };
                Some(self.call(at_ns, event, call))
            }
            (What::Connect { address, status }, _) if status != PENDING => {
                let begun = socket.connect.take();
                let remote = begun.and_then(|begun| begun.address).or(address);
                let call = Ended { kind: Kind::Connect, begun, status, local: socket.local, remote };
                Some(self.call(at_ns, event, call))
            }
            (What::Listen { status }, Phase::Exit) => {
                let call =
                    Ended { kind: Kind::Listen, begun: None, status, local: socket.local, remote: None };
                Some(self.call(at_ns, event, call))
            }
            (What::Abort, _) => {
                let begun = socket.connect.take()?;
                Some(self.given_up(at_ns, event, begun))
            }
            _ => None,
        }
    }

    fn learn_process(&mut self, writer: u32, event: &AfdEvent) {
        if self.processes.len() >= MOST_SOCKETS {
            return;
        }
        match (event.what, event.phase) {
            (What::Create { process_id, .. }, Phase::Enter) => {
                // Another process may have got the address of one that is gone.
                let pid = u32::try_from(process_id).ok().filter(|pid| *pid != 0).unwrap_or(writer);
                self.processes.insert(event.process, pid);
            }
            (What::Bind { .. } | What::Connect { .. }, Phase::Enter) => {
                self.processes.entry(event.process).or_insert(writer);
            }
            _ => {}
        }
    }

    fn given_up(&self, at_ns: u64, event: &AfdEvent, begun: Begun) -> Call {
        let ended = Ended {
            kind: Kind::Connect,
            begun: Some(begun),
            status: CANCELLED,
            local: self.sockets.get(&event.endpoint).and_then(|socket| socket.local),
            remote: begun.address,
        };
        self.call(at_ns, event, ended)
    }

    fn call(&self, at_ns: u64, event: &AfdEvent, ended: Ended) -> Call {
        let Ended { kind, begun, status, local, remote } = ended;
        let pid = self.processes.get(&event.process).copied().unwrap_or(0);
        Call {
            at_ns,
            took_ns: begun.map(|begun| at_ns.saturating_sub(begun.at_ns)),
            pid,
            program: self.programs.get(&pid).cloned().unwrap_or_default(),
            uid: None,
            kind,
            transport: self.sockets.get(&event.endpoint).and_then(|socket| socket.transport),
            local,
            remote,
            outcome: match status {
                CANCELLED if kind == Kind::Connect => Outcome::GivenUp,
                _ if nt_status::is_failure(status) => Outcome::Failed(nt_status::winsock(status)),
                _ => Outcome::Done,
            },
            network_namespace: None,
            own_range: OwnRange::No,
        }
    }
}

/// A call that is over.
struct Ended {
    kind: Kind,
    begun: Option<Begun>,
    status: u32,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
}

const fn transport(socket_type: u32, protocol: u32) -> Option<Transport> {
    match (protocol, socket_type) {
        (6, _) | (0, 1) => Some(Transport::Tcp),
        (17, _) | (0, 2) => Some(Transport::Udp),
        _ => None,
    }
}

/// What a trace file tells of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Windows' version and build.
    pub release: String,
    /// The calls, by when they were over.
    pub calls: Vec<Call>,
    /// What is missing.
    pub gaps: Vec<Gap>,
}

/// Reads a trace file to its end.
///
/// # Errors
/// It cannot be read, is no trace, or is compressed.
pub fn read(input: impl Read) -> Result<Recorded, Unreadable> {
    let mut gathered = Gathered::default();
    let told = etl::read(input, |header, record| gathered.take(header, &record))?;
    let mut gaps = told.gaps;
    gathered.gaps(&mut gaps);
    let calls = gathered.calls();
    let nameless = calls.iter().filter(|call| call.pid == 0).count();
    if nameless > 0 {
        let detail = format!("the trace does not tell which process made {nameless} of the calls");
        gaps.push(Gap::new(TRACE, GapReason::Absent, detail));
    }
    Ok(Recorded { release: told.header.release, calls, gaps })
}

/// What is kept of a file until it is in order.
#[derive(Default)]
struct Gathered {
    items: Vec<(u64, Item)>,
    followed: usize,
    of_windows_7: usize,
    too_many: usize,
    undecoded: usize,
    first_error: Option<DecodeError>,
}

enum Item {
    Socket(u32, AfdEvent),
    Process(Process),
}

impl Gathered {
    fn take(&mut self, header: &FileHeader, record: &Record<'_>) {
        let (time, item) = match record {
            Record::Event(event) if event.provider == super::PROVIDER => (event.time, self.socket(event)),
            Record::Event(event) if event.provider == windows_process::PROVIDER => {
                (event.time, windows_process::of_provider(event).map(|found| found.map(Item::Process)))
            }
            Record::System(event) => {
                (event.time, windows_process::of_kernel(event).map(|found| found.map(Item::Process)))
            }
            _ => return,
        };
        match item {
            Ok(None) => {}
            Ok(Some(_)) if self.items.len() >= MOST_EVENTS => self.too_many += 1,
            Ok(Some(item)) => self.items.push((header.unix_ns(time), item)),
            Err(error) => {
                self.undecoded += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }

    fn socket(&mut self, event: &Event<'_>) -> Result<Option<Item>, DecodeError> {
        self.followed += usize::from(is_followed(event.id));
        self.of_windows_7 += usize::from(is_of_windows_7(event.id));
        Ok(decode(event)?.map(|decoded| Item::Socket(event.process, decoded)))
    }

    fn gaps(&self, gaps: &mut Vec<Gap>) {
        let mut gap = |reason, detail: String| gaps.push(Gap::new(TRACE, reason, detail));
        if self.too_many > 0 {
            gap(GapReason::TooLarge, format!("{} events beyond {MOST_EVENTS} are not told", self.too_many));
        }
        if let Some(error) = self.first_error {
            let detail = format!("{} events were not understood; the first: {error}", self.undecoded);
            gap(GapReason::Malformed, detail);
        }
        if self.of_windows_7 > 0 {
            let detail =
                format!("{} calls are told as Windows 7 told them, which is not read", self.of_windows_7);
            gap(GapReason::Unsupported, detail);
        } else if self.followed == 0 {
            let detail = "the trace has no event of Microsoft-Windows-Winsock-AFD about a call".to_owned();
            gaps.push(Gap::new(TRACE, GapReason::Absent, detail).with_remedy(RECORD));
        }
    }

    fn calls(mut self) -> Vec<Call> {
        // Each processor's buffers are in order; among each other they are not.
        self.items.sort_by_key(|(at_ns, _)| *at_ns);
        let mut follower = Follower::default();
        // Names that the trace tells at its end belong to what it told before.
        for (_, item) in self.items.iter().rev() {
            if let Item::Process(process) = item {
                follower.process(process.clone());
            }
        }
        let mut calls = Vec::new();
        for (at_ns, item) in self.items {
            match item {
                Item::Process(process) => follower.process(process),
                Item::Socket(writer, event) => calls.extend(follower.event(at_ns, writer, &event)),
            }
        }
        calls
    }
}
