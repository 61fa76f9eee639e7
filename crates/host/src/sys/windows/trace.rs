//! Tracing calls: what the driver for sockets (AFD) tells of them, live.
//!
//! It needs an administrator. Which process a call is of is AFD's word; its program is asked for when a call is over, so
//! that of one that has ended by then it stays unknown.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portolan_core::kernel::etl::{Event, unix_ns_of_filetime};
use portolan_core::kernel::winsock_afd::{self, FOLLOWED, Follower};
use portolan_core::snapshot::{Gap, GapReason, Reading};
use portolan_core::trace::{Call, Calls, Way};

use super::etw::{self, Consumer, Session};
use super::handover::EndSignals;
use super::process;
use super::token::Token;
use crate::Error;

/// What a session's name begins with; the process follows.
const NAME: &str = "Portolan trace ";
/// What comes within this time is told together.
const GATHER: Duration = Duration::from_millis(100);
/// Calls that are kept until they are asked for.
const MOST: usize = 100_000;
/// The process "System".
const KERNEL: u32 = 4;

/// Sees calls as they are made, until it is dropped.
pub struct Tracer {
    // Dropped in this order: the session's end lets the consumer end.
    session: Session,
    consumer: Consumer,
    seen: Arc<Mutex<Calls>>,
    lost: u64,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("lost", &self.lost).finish_non_exhaustive()
    }
}

impl Tracer {
    /// Begins, in that way or else in the best that works; with `all`, calls that come about are seen too. The gaps tell
    /// what is not seen this way. Fails where nothing can be traced, with what to do.
    pub fn begin(all: bool, way: Option<Way>) -> Result<Reading<Self>, Error> {
        if let Some(other) = way.filter(|way| *way != Way::Etw) {
            let text = format!("{} is a way of Linux; leave --way out", other.name());
            return Err(Error::new("trace calls", io::Error::new(io::ErrorKind::Unsupported, text)));
        }
        let failed = |what: &str, error: &io::Error| {
            let text = format!(
                "{what}: {error}; a recorded trace can be read anywhere: portolan trace --from FILE.etl"
            );
            Error::new("trace calls", io::Error::new(error.kind(), text))
        };
        if !Token::own().is_ok_and(|token| token.is_elevated()) {
            let text = "it needs an administrator: open a window with \"Run as administrator\"";
            return Err(Error::new("trace calls", io::Error::new(io::ErrorKind::PermissionDenied, text)));
        }
        stop_what_was_left();
        let name = format!("{NAME}{}", std::process::id());
        let session = Session::start(&name).map_err(|error| failed("StartTrace", &error))?;
        let seen = Arc::new(Mutex::new(Calls::default()));
        let (shared, mut follower) = (Arc::clone(&seen), Follower::default());
        let take = move |time: u64, event: &Event<'_>| hear(&mut follower, time, event, all, &shared);
        let consumer = Consumer::start(&name, Box::new(take)).map_err(|error| failed("OpenTrace", &error))?;
        session.enable(winsock_afd::PROVIDER, &FOLLOWED).map_err(|error| failed("EnableTraceEx2", &error))?;
        let detail = "of sockets that were there before it is not seen whether they are TCP's or UDP's";
        let gaps = vec![Gap::new("trace", GapReason::Unsupported, detail)];
        Ok(Reading { value: Self { session, consumer, seen, lost: 0 }, gaps })
    }

    /// How it sees them.
    pub const fn way(&self) -> Way {
        Way::Etw
    }

    /// Waits a moment in which calls may come, at most that long; whether the console asks to end.
    pub fn wait(&self, signals: &EndSignals, limit: Duration) -> io::Result<bool> {
        signals.wait(Some(GATHER.min(limit)))
    }

    /// What came since the last time; it does not wait.
    pub fn read(&mut self) -> Result<Calls, Error> {
        let ended = |source: io::Error| Error::new("go on tracing", source);
        let lost = self.session.flush().map_err(ended)?;
        if self.consumer.is_over() {
            return Err(ended(io::Error::other("the session was stopped; begin anew: portolan trace")));
        }
        let mut calls = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        calls.lost += lost.saturating_sub(std::mem::replace(&mut self.lost, lost));
        for call in &mut calls.calls {
            call.program = match call.pid {
                KERNEL => "System".to_owned(),
                pid => process::program(pid).unwrap_or_default(),
            };
        }
        Ok(calls)
    }
}

fn hear(follower: &mut Follower, time: u64, event: &Event<'_>, all: bool, seen: &Mutex<Calls>) {
    if event.provider != winsock_afd::PROVIDER {
        return;
    }
    let call: Option<Call> = match winsock_afd::decode(event) {
        Ok(Some(decoded)) => follower.event(unix_ns_of_filetime(time), event.process, &decoded),
        Ok(None) => None,
        Err(_) => {
            seen.lock().unwrap_or_else(PoisonError::into_inner).lost += 1;
            None
        }
    };
    let Some(call) = call.filter(|call| all || call.has_failed()) else { return };
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.calls.len() < MOST { seen.calls.push(call) } else { seen.lost += 1 }
}

/// Stops sessions of processes that are gone: killed ones could not.
fn stop_what_was_left() {
    let Ok(running) = etw::sessions() else { return };
    let Ok(processes) = process::table() else { return };
    for name in running {
        let of = name.strip_prefix(NAME).and_then(|pid| pid.parse::<u32>().ok());
        if of.is_some_and(|pid| pid == std::process::id() || processes.iter().all(|one| one.pid != pid)) {
            // Another may have stopped it meanwhile.
            let _ = etw::stop(&name);
        }
    }
}
