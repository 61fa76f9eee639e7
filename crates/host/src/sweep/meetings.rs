//! Own connections that meet each other: two that ask, each from the port that the other one asks for, come about
//! without anybody listening.
//!
//! Source: RFC 9293 section 3.5 (simultaneous open). It happens on this machine alone, where both ends are ours, and is told
//! exactly: two connections have met where the ends of one are those of the other, turned round. Those under way are
//! kept here by their ends; what an engine asks at the moment stands in a number of its own, so that a connection that
//! is over when its call returns costs no lock. Who comes about while another engine asks for its own end waits until
//! that one knows what became of it. Left out: connections of other programs, which cannot be told from servers.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;

use super::{MOST_ENGINES, lock};

/// A connection by its ends, ours first. Scopes do not count: both are this machine's.
type Ends = [(IpAddr, u16); 2];

fn ends(own: SocketAddr, target: SocketAddr) -> Ends {
    [(own.ip(), own.port()), (target.ip(), target.port())]
}

/// What an engine asks for at the moment; 0 where it asks for nothing. Written for each try: on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Asked(AtomicU64);

/// All connections of a sweep that may meet.
#[derive(Debug, Default)]
pub(super) struct Meetings {
    asked: [Asked; MOST_ENGINES],
    known: Mutex<Known>,
}

/// Whether each has met another one.
#[derive(Debug, Default)]
struct Known {
    under_way: HashMap<Ends, bool>,
    /// They came about while another engine asked for their own end.
    waiting: HashMap<Ends, bool>,
}

impl Known {
    /// The two have met where the other one is known; it is told.
    fn meets(&mut self, [own, target]: Ends) -> bool {
        let other = [target, own];
        let both = [self.under_way.get_mut(&other), self.waiting.get_mut(&other)];
        both.into_iter().flatten().map(|met| *met = true).count() > 0
    }
}

impl Meetings {
    /// An engine begins to ask; to be called before its connection is begun.
    pub(super) fn asks(&self, engine: usize, target: SocketAddr) {
        self.asked[engine].0.store(number(target), Ordering::SeqCst);
    }

    /// What the engine asked for has come to an end, or is among those under way.
    pub(super) fn has_asked(&self, engine: usize) {
        self.asked[engine].0.store(0, Ordering::Release);
    }

    /// A connection to this machine stays under way, until [`Self::ended`] or [`Self::met`].
    pub(super) fn under_way(&self, own: SocketAddr, target: SocketAddr) {
        self.known().under_way.insert(ends(own, target), false);
    }

    /// A connection has ended without coming about.
    pub(super) fn ended(&self, own: SocketAddr, target: SocketAddr) {
        self.known().under_way.remove(&ends(own, target));
    }

    /// Whether a connection to this machine, which has come about and is kept open until this returns, has met another
    /// one of ours. `engine`, whose connection it is, has asked.
    pub(super) fn met(&self, engine: usize, own: SocketAddr, target: SocketAddr) -> bool {
        let this = ends(own, target);
        let mut known = self.known();
        let was_met = known.under_way.remove(&this).unwrap_or(false);
        let met = known.meets(this) || was_met;
        if met || !self.is_asked_for(engine, own) {
            self.has_asked(engine);
            return met;
        }
        known.waiting.insert(this, false);
        self.has_asked(engine);
        drop(known);
        while self.is_asked_for(engine, own) {
            thread::yield_now();
        }
        let mut known = self.known();
        let was_met = known.waiting.remove(&this).unwrap_or(false);
        known.meets(this) || was_met
    }

    /// Whether an engine besides this one asks for that end of ours; that number may be another's, which costs a wait.
    fn is_asked_for(&self, engine: usize, own: SocketAddr) -> bool {
        let own = number(own);
        let mut others = (0..).zip(&self.asked).filter(|(other, _)| *other != engine);
        others.any(|(_, asked)| asked.0.load(Ordering::SeqCst) == own)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }
}

/// An end as a number that is not 0: IPv4 exactly, of IPv6 enough.
fn number(end: SocketAddr) -> u64 {
    let address = match end.ip() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() ^ (v6.to_bits() >> 64)) as u64,
    };
    address << 16 | u64::from(end.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn two_that_ask_for_each_other_have_met_whoever_looks_first() {
        let meetings = Meetings::default();
        // One is under way when the other comes about.
        meetings.under_way(at(1), at(2));
        meetings.asks(0, at(1));
        assert!(meetings.met(0, at(2), at(1)));
        assert!(meetings.met(1, at(1), at(2)));
        // Nobody is left to be met.
        assert!(!meetings.met(0, at(2), at(1)));
        meetings.under_way(at(1), at(2));
        meetings.ended(at(1), at(2));
        assert!(!meetings.met(0, at(2), at(1)));
        // One that asks for the end of a server's client has not met it.
        meetings.under_way(at(3), at(2));
        assert!(!meetings.met(0, at(2), at(1)));
    }

    #[test]
    fn who_comes_about_while_its_own_end_is_asked_for_waits_for_the_other() {
        for is_met in [true, false] {
            let meetings = Meetings::default();
            meetings.asks(0, at(1));
            meetings.asks(1, at(2));
            thread::scope(|scope| {
                let first = scope.spawn(|| meetings.met(0, at(2), at(1)));
                while meetings.known().waiting.is_empty() {
                    thread::yield_now();
                }
                assert!(!first.is_finished());
                if is_met {
                    assert!(meetings.met(1, at(1), at(2)));
                } else {
                    meetings.has_asked(1);
                }
                assert_eq!(first.join().unwrap(), is_met);
            });
            assert!(meetings.known().waiting.is_empty());
        }
    }
}
