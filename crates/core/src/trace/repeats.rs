//! Calls that fail again and again: the first is told, those like it are counted and told every so often.

use std::collections::HashMap;

use super::{Call, Likeness};

/// How long is counted before the number is told, nanoseconds.
pub const SPAN_NS: u64 = 10_000_000_000;
/// Kinds of failure that are kept apart; of more the one that was quiet longest is forgotten.
const KINDS: usize = 1024;

/// Calls like one that was told before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeated {
    /// The last of them.
    pub call: Call,
    /// How many.
    pub count: u64,
    /// Within how long, nanoseconds.
    pub within_ns: u64,
}

/// What was told, and how many came since.
#[derive(Debug, Default)]
pub struct Repeats {
    known: HashMap<Likeness, Known>,
}

#[derive(Debug)]
struct Known {
    last: Call,
    since_ns: u64,
    count: u64,
}

impl Known {
    fn told(self, until_ns: u64) -> Option<Repeated> {
        let within_ns = until_ns.saturating_sub(self.since_ns);
        (self.count > 0).then_some(Repeated { call: self.last, count: self.count, within_ns })
    }
}

impl Repeats {
    /// Takes a call; whether it is the first of its kind, to be told at once.
    pub fn is_first(&mut self, call: &Call) -> bool {
        let likeness = call.likeness();
        if let Some(known) = self.known.get_mut(&likeness) {
            known.count += 1;
            known.last = call.clone();
            return false;
        }
        self.known.insert(likeness, Known { last: call.clone(), since_ns: call.at_ns, count: 0 });
        true
    }

    /// What is to be told now: of each kind whose span is over, how many came; a kind of which none came is forgotten.
    pub fn due(&mut self, now_ns: u64) -> Vec<Repeated> {
        self.taken(now_ns, |known| known.since_ns.saturating_add(SPAN_NS) <= now_ns)
    }

    /// All that is left to tell.
    pub fn rest(&mut self, now_ns: u64) -> Vec<Repeated> {
        self.taken(now_ns, |_| true)
    }

    fn taken(&mut self, now_ns: u64, is_over: impl Fn(&Known) -> bool) -> Vec<Repeated> {
        let mut told = Vec::new();
        // Too many kinds: those that were quiet are told early, and begin anew when they come again.
        let too_many = self.known.len().saturating_sub(KINDS);
        let mut ages: Vec<u64> =
            if too_many == 0 { Vec::new() } else { self.known.values().map(age).collect() };
        ages.sort_unstable();
        let oldest = too_many.checked_sub(1).and_then(|last| ages.get(last).copied());
        self.known.retain(|_, known| {
            let forgotten = oldest.is_some_and(|oldest| age(known) <= oldest);
            if !(forgotten || is_over(known)) {
                return true;
            }
            let goes_on = known.count > 0 && !forgotten;
            let over = Known { last: known.last.clone(), since_ns: known.since_ns, count: known.count };
            told.extend(over.told(now_ns));
            known.since_ns = now_ns;
            known.count = 0;
            goes_on
        });
        told.sort_by_key(|repeated| repeated.call.at_ns);
        told
    }
}

fn age(known: &Known) -> u64 {
    known.last.at_ns
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Outcome, OwnRange};
    use super::*;

    fn call(at_s: u64, pid: u32, local: &str) -> Call {
        Call {
            at_ns: at_s * 1_000_000_000,
            took_ns: None,
            pid,
            program: "client".into(),
            uid: Some(0),
            kind: Kind::Connect,
            transport: None,
            local: Some(local.parse().unwrap()),
            remote: Some("10.0.0.9:443".parse().unwrap()),
            outcome: Outcome::Failed(99),
            network_namespace: None,
            own_range: OwnRange::No,
        }
    }

    #[test]
    fn the_first_is_told_and_those_like_it_are_counted_span_by_span() {
        let mut repeats = Repeats::default();
        assert!(repeats.is_first(&call(0, 1, "10.0.0.5:1")));
        // The end that the system chose makes no difference; another process does.
        assert!(!repeats.is_first(&call(1, 1, "10.0.0.5:2")));
        assert!(repeats.is_first(&call(1, 2, "10.0.0.5:1")));
        assert!(!repeats.is_first(&call(9, 1, "10.0.0.5:1")));
        assert_eq!(repeats.due(9_999_999_999), []);
        let told = repeats.due(10_000_000_000);
        assert_eq!((told.len(), told[0].count, told[0].within_ns), (1, 2, SPAN_NS));
        // It goes on within the next span, and is told again; the other was quiet and is new when it comes again.
        assert!(!repeats.is_first(&call(12, 1, "10.0.0.5:1")));
        assert_eq!(repeats.due(11_000_000_000), []);
        assert!(repeats.is_first(&call(12, 2, "10.0.0.5:1")));
        assert_eq!(repeats.rest(15_000_000_000).iter().map(|told| told.count).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_storm_of_kinds_keeps_the_latest_and_loses_no_count() {
        let mut repeats = Repeats::default();
        let kinds = 3 * KINDS as u32;
        let mut told = 0;
        for pid in 1..=kinds {
            assert!(repeats.is_first(&call(1, pid, "10.0.0.5:1")));
            assert!(!repeats.is_first(&call(2, pid, "10.0.0.5:1")));
            told += repeats.due(3_000_000_000).iter().map(|told| told.count).sum::<u64>();
            assert!(repeats.known.len() <= KINDS);
        }
        told += repeats.rest(3_000_000_000).iter().map(|told| told.count).sum::<u64>();
        assert_eq!(told, u64::from(kinds));
    }
}
