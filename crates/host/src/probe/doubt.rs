//! Silence that proves nothing, since ICMP errors are sent at a limited rate: whose it is, and when to ask again.
//!
//! Source: icmp(7) (icmp_ratelimit: 6 errors to one peer, then 1 a second; not over loopback), RFC 1812 section 4.3.2.8,
//! RFC 4443 section 2.4(f). Where the sender is the asked host itself its limit counts for that host; where it is a
//! router, for the neighbours as well (/24, /64). Whoever sent far more errors than the limit has none, or a wide one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use portolan_core::probe::Icmp;

/// The limit's second, and some.
pub(super) const APART: Duration = Duration::from_millis(1100);
/// How many errors a limiter sends at once after a quiet while.
const BURST: u32 = 6;
/// Ports of one limited place that are asked again; each may cost a second.
const MOST_AGAIN: u32 = 64;
/// Questions at once to a place that has shown no limit.
const AT_ONCE: u32 = 64;
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

#[derive(Clone, Copy, Debug)]
struct Limit {
    icmp: Icmp,
    first: Instant,
    last: Instant,
    /// Errors that came.
    seen: u32,
    /// Questions that are under way again, and how many were in all.
    under_way: u32,
    again: u32,
}

impl Limit {
    /// Whether it sent more than the limit lets through.
    fn is_wide(&self) -> bool {
        let seconds = u32::try_from((self.last - self.first).as_secs()).unwrap_or(u32::MAX);
        self.seen > (BURST + seconds).saturating_mul(3)
    }
}

/// What a silent port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// What it looks like.
    Plain,
    /// To be asked again.
    Again,
    /// Nothing can be told; this error is what others got.
    Doubtful(Icmp),
}

/// Every place whose ICMP errors were seen.
#[derive(Debug, Default)]
pub(super) struct Doubt(HashMap<Place, Limit>);

impl Doubt {
    /// An error came back from a question to that address.
    pub(super) fn seen(&mut self, target: IpAddr, icmp: Icmp, now: Instant) {
        let place = if icmp.from == Some(target) { Place::Host(target) } else { Place::neighbours(target) };
        if target.is_loopback() || (self.0.len() >= MOST_PLACES && !self.0.contains_key(&place)) {
            return;
        }
        let new = Limit { icmp, first: now, last: now, seen: 0, under_way: 0, again: 0 };
        let limit = self.0.entry(place).or_insert(new);
        limit.seen += 1;
        limit.last = now;
    }

    /// What the silence of a port of that address means.
    pub(super) fn silence(&mut self, target: IpAddr) -> Silence {
        let Some(limit) = self.limit(target) else { return Silence::Plain };
        if limit.again >= MOST_AGAIN && !limit.is_wide() {
            return Silence::Doubtful(limit.icmp);
        }
        limit.again += 1;
        Silence::Again
    }

    /// Whether one more question may go to that address again now; else when to look again. It counts as under way.
    pub(super) fn ask_again(&mut self, target: IpAddr, now: Instant) -> Result<(), Instant> {
        let Some(limit) = self.limit(target) else { return Ok(()) };
        let quiet = now.saturating_duration_since(limit.last).as_millis() / APART.as_millis();
        let credit = u32::try_from(quiet).unwrap_or(u32::MAX).min(BURST);
        let credit = if limit.is_wide() { AT_ONCE } else { credit };
        if limit.under_way >= credit {
            return Err(now + APART / 8);
        }
        limit.under_way += 1;
        Ok(())
    }

    /// A question that was asked again has its answer, or none.
    pub(super) fn answered_again(&mut self, target: IpAddr) {
        if let Some(limit) = self.limit(target) {
            limit.under_way = limit.under_way.saturating_sub(1);
        }
    }

    /// How far apart tries of one question to that address must be.
    pub(super) fn pace(&mut self, target: IpAddr) -> Option<Duration> {
        self.limit(target).filter(|limit| !limit.is_wide()).map(|_| APART)
    }

    fn limit(&mut self, target: IpAddr) -> Option<&mut Limit> {
        let place = Place::Host(target);
        let place = if self.0.contains_key(&place) { place } else { Place::neighbours(target) };
        self.0.get_mut(&place)
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::probe::IcmpVersion;

    use super::*;

    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

    fn icmp(from: IpAddr) -> Icmp {
        Icmp { version: IcmpVersion::V4, kind: 3, code: 3, from: Some(from) }
    }

    #[test]
    fn silence_of_whom_no_error_came_is_plain() {
        let mut doubt = Doubt::default();
        assert_eq!(doubt.silence(HOST), Silence::Plain);
        doubt.seen(HOST, icmp(HOST), Instant::now());
        assert_eq!((doubt.silence(HOST), doubt.silence(OTHER)), (Silence::Again, Silence::Plain));
        doubt.seen(HOST, icmp(ROUTER), Instant::now());
        assert_eq!(doubt.silence(OTHER), Silence::Again);
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        doubt.seen(loopback, icmp(loopback), Instant::now());
        assert_eq!(doubt.silence(loopback), Silence::Plain);
    }

    #[test]
    fn it_is_asked_again_as_the_limit_fills_up() {
        let mut doubt = Doubt::default();
        let now = Instant::now();
        doubt.seen(HOST, icmp(HOST), now);
        assert!(doubt.ask_again(HOST, now + APART / 2).is_err());
        assert!(doubt.ask_again(HOST, now + APART).is_ok());
        assert!(doubt.ask_again(HOST, now + APART).is_err());
        doubt.answered_again(HOST);
        let later = now + APART * 20;
        assert_eq!((0..9).filter(|_| doubt.ask_again(HOST, later).is_ok()).count(), 6);
    }

    #[test]
    fn not_all_are_asked_again_where_the_limit_is_narrow() {
        let mut doubt = Doubt::default();
        let now = Instant::now();
        doubt.seen(HOST, icmp(HOST), now);
        for _ in 0..MOST_AGAIN {
            assert_eq!(doubt.silence(HOST), Silence::Again);
        }
        assert_eq!(doubt.silence(HOST), Silence::Doubtful(icmp(HOST)));
        assert_eq!(doubt.pace(HOST), Some(APART));
        (0..100).for_each(|_| doubt.seen(HOST, icmp(HOST), now));
        assert_eq!((doubt.silence(HOST), doubt.pace(HOST)), (Silence::Again, None));
    }
}
