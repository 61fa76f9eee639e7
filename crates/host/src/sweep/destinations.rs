//! What a sweep knows of each address it asks: round trips, loss, whether answers are there at once. Bounded.

use std::collections::HashMap;
use std::mem;
use std::net::IpAddr;
use std::time::Duration;

use portolan_core::probe::{Icmp, RoundTrip, tries_for};

/// Addresses in one half of the memory; the half that was not asked about for longest is forgotten.
const HALF: usize = 16_384;

/// A system repeats an unanswered SYN after that time: a longer round trip cannot be told from a repeated one (Karn).
const OWN_REPEAT: Duration = Duration::from_millis(950);

/// An answer so near is there when connect returns.
const AT_ONCE: Duration = Duration::from_micros(100);

/// One address.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Destination {
    /// Round trips.
    pub(super) trips: RoundTrip,
    /// Whether answers are there when connect returns; unknown at first.
    at_once: Option<bool>,
    /// Whether it is this machine's own: connections to it come from it. Unknown at first.
    pub(super) is_own: Option<bool>,
    answered: u32,
    lost: u32,
    /// The host itself has answered.
    pub(super) is_there: bool,
    /// What says that no way leads to it.
    pub(super) no_way: Option<Icmp>,
}

impl Destination {
    /// Whether it is worth it to look for an answer right away.
    pub(super) fn may_be_at_once(&self) -> bool {
        self.at_once != Some(false)
    }

    /// Remembers whether an answer was there right away, the first time.
    pub(super) fn was_at_once(&mut self, at_once: bool) {
        if at_once || self.at_once.is_none() {
            self.at_once = Some(at_once);
        }
    }

    /// Takes in an answer to a port that was asked that often, the last time so long ago.
    pub(super) fn answered(&mut self, tries: u16, round_trip: Duration) {
        self.answered = self.answered.saturating_add(1);
        self.lost = self.lost.saturating_add(u32::from(tries.saturating_sub(1)));
        if round_trip < OWN_REPEAT {
            self.trips.add(round_trip);
        }
        if round_trip < AT_ONCE {
            self.at_once = Some(true);
        }
    }

    /// How often a silent port is asked here.
    pub(super) fn tries(&self, least: u16) -> u16 {
        tries_for(least, self.answered.into(), self.lost.into())
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Destinations {
    young: HashMap<IpAddr, Destination>,
    old: HashMap<IpAddr, Destination>,
}

impl Destinations {
    /// That address, where it is known.
    pub(super) fn known(&self, address: IpAddr) -> Option<&Destination> {
        self.young.get(&address).or_else(|| self.old.get(&address))
    }

    /// That address, new where it was not known or is forgotten.
    pub(super) fn at(&mut self, address: IpAddr) -> &mut Destination {
        if self.young.len() >= HALF && !self.young.contains_key(&address) {
            self.old = mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young.entry(address).or_insert_with(|| old.remove(&address).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn memory_of_a_million_addresses_is_bounded_and_keeps_those_in_use() {
        let mut destinations = Destinations::default();
        let kept = IpAddr::V4(Ipv4Addr::LOCALHOST);
        destinations.at(kept).was_at_once(false);
        for number in 0..1_000_000_u32 {
            destinations.at(IpAddr::V4(Ipv4Addr::from_bits(number)));
            if number % 10_000 == 0 {
                destinations.at(kept);
            }
        }
        assert!(destinations.young.len() + destinations.old.len() <= 2 * HALF);
        assert!(!destinations.at(kept).may_be_at_once());
    }

    #[test]
    fn an_answer_that_a_repeat_of_the_system_may_have_brought_is_no_measure() {
        let mut destination = Destination::default();
        destination.answered(1, Duration::from_millis(1200));
        assert_eq!(destination.trips.smoothed(), None);
        destination.answered(1, Duration::from_millis(20));
        assert_eq!(destination.trips.smoothed(), Some(Duration::from_millis(20)));
    }
}
