//! The sweep: many TCP ports of many hosts, each with its verdict, as fast as no answer gets lost by it.
//!
//! Targets come from an iterator and verdicts go to a callback as they are reached, so that millions of pairs take no
//! memory: only what is under way does. What answers at once (this machine, and others of the same kernel) is asked on
//! every core; everything else by one thread whose pace grows while answers come and shrinks when they get
//! lost. Every connection is hung up with a reset, so neither side keeps a TIME_WAIT, and no local port stays used.
//! Left out on purpose: UDP, where a question depends on the protocol (the exchange asks those), and raw packets.

mod destinations;
mod engine;
mod limited;
mod meetings;
mod pace;
mod pair;

use std::collections::VecDeque;
use std::mem;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use portolan_core::probe::Verdict;

use crate::{Error, Namespace, sys};
use engine::Engine;
use meetings::Meetings;
use pair::Pair;

/// Most connections under way at once; fewer where the limit of open descriptors says so.
const MOST_UNDER_WAY: usize = 16_000;

/// More cores than that wait for each other inside the kernel.
const MOST_ENGINES: usize = 4;

/// Targets that are taken from the iterator in one go.
const BATCH: usize = 64;

/// How a sweep is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// How often a silent port is asked at least; more where packets are seen to get lost.
    pub least_tries: u16,
    /// By how much every wait is longer than what the measured round trips ask for: 1, and 2 to be slow.
    pub patience: u32,
    /// Most tries a second; none for what the path bears.
    pub rate: Option<NonZeroU32>,
    /// Where connections come from; port 0 stands for any.
    pub source: Option<SocketAddr>,
    /// Most connections under way at once; the limit of open descriptors holds besides.
    pub most_under_way: usize,
}

impl Default for Manner {
    fn default() -> Self {
        Self { least_tries: 3, patience: 1, rate: None, source: None, most_under_way: MOST_UNDER_WAY }
    }
}

/// A target, and what was found of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its place among the targets, from 0.
    pub index: u64,
    /// The target.
    pub target: SocketAddr,
    /// The verdict.
    pub verdict: Verdict,
}

/// What a sweep came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Targets that were taken from the iterator.
    pub taken: u64,
    /// Targets that have a verdict: fewer than taken where the sweep was broken off.
    pub found: u64,
    /// Packets that asked.
    pub tries: u64,
    /// Whether the sweep was broken off before its end.
    pub cancelled: bool,
}

/// Asks every target and hands out each verdict as it is reached, in no order ([`Found::index`] has it), from several
/// threads but one at a time. Setting `cancel` breaks it off within a tenth of a second; what was reached stays.
/// A target has a port other than 0 and is no wildcard address.
///
/// # Errors
/// The namespace cannot be entered, the source address is not this machine's, or the system does not let
/// connections be watched.
pub fn sweep(
    namespace: &Namespace,
    manner: &Manner,
    targets: &mut (dyn Iterator<Item = SocketAddr> + Send),
    cancel: &AtomicBool,
    found: &mut (dyn FnMut(Found) + Send),
) -> Result<Tally, Error> {
    sys::within(namespace, || {
        let shared = Shared {
            manner: *manner,
            room: sys::connections_at_once(manner.most_under_way.max(1)),
            under_way: AtomicUsize::new(0),
            cancel,
            engines: AtomicUsize::new(0),
            meetings: Meetings::default(),
            source: Mutex::new(Source { targets, taken: 0 }),
            sink: Mutex::new(Sink { found, tally: Tally::default() }),
        };
        engines(&shared)?;
        let taken = lock(&shared.source).taken;
        let tally = lock(&shared.sink).tally;
        Ok(Tally { taken, cancelled: tally.found < taken || cancel.load(Ordering::Relaxed), ..tally })
    })?
}

/// Runs an engine here, and others beside it once it asks for them: all work from one iterator.
fn engines(shared: &Shared<'_>) -> Result<(), Error> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MOST_ENGINES);
    let mut first = Engine::new(shared)?;
    thread::scope(|scope| {
        let mut others = Vec::new();
        first.run(&mut || {
            for _ in 1..cores {
                let Ok(mut engine) = Engine::new(shared) else { return };
                let work = move || engine.run(&mut || ());
                // What cannot be had here only helps: the first engine does it all by itself.
                others.extend(thread::Builder::new().spawn_scoped(scope, work));
            }
        })?;
        others.into_iter().try_for_each(|other| match other.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// What the engines of one sweep share.
struct Shared<'a> {
    manner: Manner,
    /// Most connections under way.
    room: usize,
    under_way: AtomicUsize,
    cancel: &'a AtomicBool,
    /// Engines that were made.
    engines: AtomicUsize,
    meetings: Meetings,
    source: Mutex<Source<'a>>,
    sink: Mutex<Sink<'a>>,
}

struct Source<'a> {
    targets: &'a mut (dyn Iterator<Item = SocketAddr> + Send),
    taken: u64,
}

struct Sink<'a> {
    found: &'a mut (dyn FnMut(Found) + Send),
    tally: Tally,
}

impl Shared<'_> {
    /// Takes the next targets; whether there were any.
    fn take(&self, into: &mut VecDeque<Pair>) -> bool {
        let mut source = lock(&self.source);
        for _ in 0..BATCH {
            let Some(target) = source.targets.next() else { break };
            into.push_back(Pair::new(source.taken, target));
            source.taken += 1;
        }
        !into.is_empty()
    }

    /// Hands verdicts over, and counts tries.
    fn deliver(&self, found: &mut Vec<Found>, tries: &mut u64) {
        let mut sink = lock(&self.sink);
        sink.tally.found += found.len() as u64;
        sink.tally.tries += mem::take(tries);
        found.drain(..).for_each(|found| (sink.found)(found));
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

/// A panic of the caller's code goes on in its own thread; what it left is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
