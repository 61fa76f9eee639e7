//! Silence where ICMP errors are sent at a limited rate: which of it proves nothing, and asking again, one at a time.
//!
//! Source: icmp(7) (icmp_ratelimit, icmp_ratemask: 6 errors to one peer, then 1 a second), `net/ipv4/route.c` (ip_error: an
//! error about a missing route is paid for twice, from one purse, so that there is 1 in two seconds), RFC 1812
//! section 4.3.2.8, RFC 4443 section 2.4(f). A limit counts all errors of its sender to us. Where the sender is the destination itself, silence
//! of that address is doubtful; where it is a router, silence of the destination's neighbours (/24, /64) is too. This
//! machine's own errors, about neighbours that do not answer, have a limit of their own (icmp_msgs_burst: 50 at once,
//! then 1,000 a second): many neighbours that are given up in one moment are not all told of.
//!
//! Silence among errors that all tell of a filter is most likely one too. Since a host may refuse each port in its own way,
//! such ports are held back until everything else is asked. Then some of them, far from each other, are asked
//! alone: where one is refused for another reason, the others are undecided.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use portolan_core::probe::Icmp;

use super::pair::Pair;

/// Between two questions of which each may have an error for an answer: the limit's two seconds, and some.
const APART: Duration = Duration::from_millis(2200);
/// The same where a host itself refuses, which is paid for once.
const REFUSALS_APART: Duration = Duration::from_millis(1100);
/// Ports of one place that are asked again; the others stay undecided, since each costs two seconds.
const MOST_WAITING: usize = 4;
/// The same for errors of this machine.
const OWN_APART: Duration = Duration::from_millis(2);
const OWN_MOST_WAITING: usize = 65_536;
/// Places that are remembered; beyond them silence is taken for what it looks like.
const MOST_PLACES: usize = 4096;

/// Ports that are held back at most, of all places: a mebibyte. Beyond them silence among refusals is taken for one.
const MOST_HELD: usize = 16_384;

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
    /// Between two questions that may have an error for an answer.
    apart: Duration,
    waiting: VecDeque<Pair>,
    /// Silent ports, while every error told of a filter.
    held: Vec<Pair>,
    /// Some of those were asked alone.
    sampled: bool,
}

impl Limit {
    fn next(&self) -> Instant {
        self.last_asked + self.apart
    }
}

/// What is to be done with a port that stayed silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// It is what it looks like.
    Plain,
    /// It will be asked again in its turn, or its verdict comes with the end.
    Later,
    /// Nothing can be told; this error is what others got.
    Doubtful(Icmp),
}

/// Every place whose ICMP errors were seen.
#[derive(Debug, Default)]
pub(super) struct Limits {
    places: HashMap<Place, Limit>,
    waiting: usize,
    held: usize,
}

impl Limits {
    /// An error came back from a question to that address; `own` where this machine sent it. What was held back of
    /// its place, and is no filter's for certain any more, has to be looked at again.
    pub(super) fn seen(&mut self, target: IpAddr, icmp: Icmp, own: bool, now: Instant) -> Vec<Pair> {
        let from_itself = icmp.from == Some(target);
        let place = if from_itself { Place::Host(target) } else { Place::neighbours(target) };
        if self.places.len() >= MOST_PLACES && !self.places.contains_key(&place) {
            return Vec::new();
        }
        let (waiting, held) = (VecDeque::new(), Vec::new());
        let limit = Limit { icmp, own, last_asked: now, apart: APART, waiting, held, sampled: false };
        let known = self.places.entry(place).or_insert(limit);
        // What tells more about silence than a prohibition, which looks alike, is kept.
        if known.icmp.is_prohibition() || (known.own && !own) {
            (known.icmp, known.own) = (icmp, own);
        }
        known.last_asked = now;
        known.apart = match known.icmp.is_prohibition() {
            _ if known.own => OWN_APART,
            true if from_itself => REFUSALS_APART,
            _ => APART,
        };
        if known.icmp.is_prohibition() {
            return Vec::new();
        }
        self.held -= known.held.len();
        std::mem::take(&mut known.held)
    }

    /// A question goes out to that address.
    pub(super) fn asked(&mut self, target: IpAddr, now: Instant) {
        if let Some(limit) = self.limit(target) {
            limit.last_asked = now;
        }
    }

    /// A port has stayed silent.
    pub(super) fn silent(&mut self, pair: Pair, now: Instant) -> Silence {
        let held = self.held;
        let Some(limit) = self.limit(pair.target.ip()) else { return Silence::Plain };
        if pair.asked_alone > u8::from(!limit.own) {
            return Silence::Plain;
        }
        let most = if limit.own { OWN_MOST_WAITING } else { MOST_WAITING };
        if limit.icmp.is_prohibition() {
            if pair.asked_alone > 0 || held >= MOST_HELD {
                return Silence::Doubtful(limit.icmp);
            }
            limit.last_asked = now;
            limit.held.push(pair);
            self.held += 1;
            return Silence::Later;
        }
        if limit.waiting.len() >= most {
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

    /// Once nothing else is to be asked: has some of what is held back asked alone; whether there was any.
    pub(super) fn sample(&mut self, now: Instant) -> bool {
        let mut any = false;
        for limit in self.places.values_mut().filter(|limit| !limit.sampled && !limit.held.is_empty()) {
            limit.sampled = true;
            limit.last_asked = now;
            let (last, most) = (limit.held.len() - 1, limit.held.len().min(MOST_WAITING));
            // From behind, so that the places of the others stay.
            for nth in (0..most).rev() {
                let at = if most > 1 { last * nth / (most - 1) } else { last };
                limit.waiting.push_back(limit.held.remove(at));
            }
            self.held -= most;
            self.waiting += most;
            any = true;
        }
        any
    }

    /// What is held back to the end, with what others got: nothing spoke against it.
    pub(super) fn held(&mut self) -> Vec<(Pair, Icmp)> {
        self.held = 0;
        let of = |limit: &mut Limit| {
            let icmp = limit.icmp;
            std::mem::take(&mut limit.held).into_iter().map(move |pair| (pair, icmp))
        };
        self.places.values_mut().flat_map(of).collect()
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use portolan_core::probe::IcmpVersion;

    use super::*;

    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const PROHIBITED: u8 = 13;
    const NO_HOST: u8 = 1;

    fn icmp(code: u8) -> Icmp {
        Icmp { version: IcmpVersion::V4, kind: 3, code, from: Some(HOST) }
    }

    fn pair(port: u16) -> Pair {
        Pair::new(u64::from(port), SocketAddr::new(HOST, port))
    }

    /// A host of which only prohibitions came back, and so many silent ports from 1 on.
    fn refusing(silent: u16, now: Instant) -> Limits {
        let mut limits = Limits::default();
        assert!(limits.seen(HOST, icmp(PROHIBITED), false, now).is_empty());
        (1..=silent).for_each(|port| assert_eq!(limits.silent(pair(port), now), Silence::Later));
        limits
    }

    #[test]
    fn of_silence_among_refusals_some_are_asked_alone_and_the_others_wait_for_what_they_say() {
        let mut now = Instant::now();
        let mut limits = refusing(100, now);
        assert_eq!(limits.next(), None, "nothing is asked before everything else was");
        assert!(limits.sample(now));
        let mut asked = Vec::new();
        while let Some(next) = limits.next() {
            assert_eq!(next - now, REFUSALS_APART);
            now = next;
            let pair = limits.due(now).unwrap();
            asked.push(pair.target.port());
            assert_eq!(limits.silent(pair, now), Silence::Doubtful(icmp(PROHIBITED)), "once is enough");
        }
        assert_eq!(asked, [100, 67, 34, 1]);
        assert!(!limits.sample(now), "a place is sampled once");
        assert_eq!(limits.held().len(), 96);
        assert!(limits.held().is_empty());
    }

    #[test]
    fn one_refusal_for_another_reason_makes_all_the_silence_undecided() {
        let now = Instant::now();
        let mut limits = refusing(100, now);
        assert!(limits.sample(now));
        let loose = limits.seen(HOST, icmp(NO_HOST), false, now);
        assert_eq!((loose.len(), limits.held), (96, 0));
        // The four that wait already are all that can be asked: two seconds each.
        for pair in loose {
            assert_eq!(limits.silent(pair, now), Silence::Doubtful(icmp(NO_HOST)));
        }
        assert!(limits.held().is_empty());
        // A prohibition that comes later takes nothing back.
        assert!(limits.seen(HOST, icmp(PROHIBITED), false, now).is_empty());
        assert_eq!(limits.silent(pair(200), now), Silence::Doubtful(icmp(NO_HOST)));
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let now = Instant::now();
        let mut limits = refusing(MOST_HELD as u16, now);
        assert_eq!(limits.silent(pair(65_000), now), Silence::Doubtful(icmp(PROHIBITED)));
        assert!(size_of::<Pair>() * MOST_HELD <= 1 << 20);
    }
}
