//! Silence where ICMP errors are sent at a limited rate: which of it proves nothing, and asking again, one at a time.
//!
//! Source: icmp(7) (icmp_ratelimit, icmp_ratemask: 6 errors to one peer, then 1 a second), `net/ipv4/route.c` (ip_error: an
//! error about a missing route is paid for twice, from one purse, so that there is 1 in two seconds), RFC 1812
//! section 4.3.2.8, RFC 4443 section 2.4(f). A limit counts all errors of its sender to us. Where the sender is the destination itself, silence
//! of that address is doubtful; where it is a router, silence of the destination's neighbours (/24, /64) is too. This
//! machine's own errors, about neighbours that do not answer, have a limit of their own (icmp_msgs_burst: 50 at once,
//! then 1,000 a second): many neighbours that are given up in one moment are not all told of.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use portolan_core::probe::Icmp;

use super::engine::Pair;

/// Between two questions of which each may have an error for an answer: the limit's two seconds, and some.
const APART: Duration = Duration::from_millis(2200);
/// Ports of one place that are asked again; the others stay undecided, since each costs two seconds.
const MOST_WAITING: usize = 4;
/// The same for errors of this machine.
const OWN_APART: Duration = Duration::from_millis(2);
const OWN_MOST_WAITING: usize = 65_536;
/// Places that are remembered; beyond them silence is taken for what it looks like.
const MOST_PLACES: usize = 4096;

/// What a limit counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Host(IpAddr),
    Neighbours(IpAddr),
}

impl Place {
    fn neighbours(address: IpAddr) -> Self {
        Self::Neighbours(match address {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !0xff).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        })
    }
}

#[derive(Debug)]
struct Limit {
    icmp: Icmp,
    /// This machine sends the errors.
    own: bool,
    last_asked: Instant,
    waiting: VecDeque<Pair>,
}

impl Limit {
    fn next(&self) -> Instant {
        self.last_asked + if self.own { OWN_APART } else { APART }
    }
}

/// What is to be done with a port that stayed silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// It is what it looks like.
    Plain,
    /// It will be asked again in its turn.
    Later,
    /// Nothing can be told; this error is what others got.
    Doubtful(Icmp),
}

/// Every place whose ICMP errors were seen.
#[derive(Debug, Default)]
pub(super) struct Limits {
    places: HashMap<Place, Limit>,
    waiting: usize,
}

impl Limits {
    /// An error came back from a question to that address; `own` where this machine sent it.
    pub(super) fn seen(&mut self, target: IpAddr, icmp: Icmp, own: bool, now: Instant) {
        let place = if icmp.from == Some(target) { Place::Host(target) } else { Place::neighbours(target) };
        if self.places.len() < MOST_PLACES || self.places.contains_key(&place) {
            let limit = Limit { icmp, own, last_asked: now, waiting: VecDeque::new() };
            let known = self.places.entry(place).or_insert(limit);
            // What tells more about silence than a prohibition, which looks alike, is kept.
            if known.icmp.is_prohibition() || (known.own && !own) {
                (known.icmp, known.own) = (icmp, own);
            }
            known.last_asked = now;
        }
    }

    /// A question goes out to that address.
    pub(super) fn asked(&mut self, target: IpAddr, now: Instant) {
        if let Some(limit) = self.limit(target) {
            limit.last_asked = now;
        }
    }

    /// A port has stayed silent.
    pub(super) fn silent(&mut self, pair: Pair, now: Instant) -> Silence {
        let Some(limit) = self.limit(pair.target.ip()) else { return Silence::Plain };
        if pair.asked_alone > u8::from(!limit.own) {
            return Silence::Plain;
        }
        let most = if limit.own { OWN_MOST_WAITING } else { MOST_WAITING };
        if limit.icmp.is_prohibition() || limit.waiting.len() >= most {
            return Silence::Doubtful(limit.icmp);
        }
        // The system's own repeats were asked until now.
        limit.last_asked = now;
        limit.waiting.push_back(pair);
        self.waiting += 1;
        Silence::Later
    }

    /// The next port whose turn has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<Pair> {
        if self.waiting == 0 {
            return None;
        }
        let mut limits = self.places.values_mut();
        let limit = limits.find(|limit| !limit.waiting.is_empty() && now >= limit.next())?;
        let mut pair = limit.waiting.pop_front()?;
        limit.last_asked = now;
        pair.asked_alone += 1;
        pair.once = !limit.own;
        self.waiting -= 1;
        Some(pair)
    }

    /// When the next turn comes, where somebody waits.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.waiting == 0 {
            return None;
        }
        let waiting = self.places.values().filter(|limit| !limit.waiting.is_empty());
        waiting.map(Limit::next).min()
    }

    fn limit(&mut self, target: IpAddr) -> Option<&mut Limit> {
        if self.places.is_empty() {
            return None;
        }
        let place = Place::Host(target);
        let place = if self.places.contains_key(&place) { place } else { Place::neighbours(target) };
        self.places.get_mut(&place)
    }
}
