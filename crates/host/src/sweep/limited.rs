//! Silence where ICMP errors are sent at a limited rate: which of it proves nothing, and asking again, one at a time.
//!
//! Source: icmp(7) (icmp_ratelimit, icmp_ratemask: 6 errors to one peer, then 1 a second), `net/ipv4/route.c` (ip_error: an
//! error about a missing route is paid for twice, from one purse, so that there is 1 in two seconds), RFC 1812
//! section 4.3.2.8, RFC 4443 section 2.4(f). A limit counts all errors of its sender to us. Where the sender is the destination itself, silence
//! of that address is doubtful; where it is a router, silence of the destination's neighbours (/24, /64) is too.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use portolan_core::probe::Icmp;

use super::engine::Pair;

/// Between two questions of which each may have an error for an answer: the limit's two seconds, and some.
const APART: Duration = Duration::from_millis(2200);
/// Ports of one place that are asked again; the others stay undecided, since each costs two seconds.
const MOST_WAITING: usize = 4;
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
    last_asked: Instant,
    waiting: VecDeque<Pair>,
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
    /// An error came back from a question to that address.
    pub(super) fn seen(&mut self, target: IpAddr, icmp: Icmp, now: Instant) {
        let place = if icmp.from == Some(target) { Place::Host(target) } else { Place::neighbours(target) };
        if self.places.len() < MOST_PLACES || self.places.contains_key(&place) {
            let limit = Limit { icmp, last_asked: now, waiting: VecDeque::new() };
            let known = self.places.entry(place).or_insert(limit);
            // What tells more about silence than a prohibition, which looks alike, is kept.
            if known.icmp.is_prohibition() {
                known.icmp = icmp;
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
    pub(super) fn silent(&mut self, pair: Pair) -> Silence {
        let Some(limit) = self.limit(pair.target.ip()) else { return Silence::Plain };
        if pair.asked_alone > 1 {
            return Silence::Plain;
        }
        if limit.icmp.is_prohibition() || limit.waiting.len() >= MOST_WAITING {
            return Silence::Doubtful(limit.icmp);
        }
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
        let limit = limits.find(|limit| !limit.waiting.is_empty() && now >= limit.last_asked + APART)?;
        limit.last_asked = now;
        self.waiting -= 1;
        let mut pair = limit.waiting.pop_front()?;
        pair.asked_alone += 1;
        Some(pair)
    }

    /// When the next turn comes, where somebody waits.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.waiting == 0 {
            return None;
        }
        let waiting = self.places.values().filter(|limit| !limit.waiting.is_empty());
        waiting.map(|limit| limit.last_asked + APART).min()
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
