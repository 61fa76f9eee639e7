//! WinNAT's pool of ports while it is recorded: asked with the first look and every ten minutes, since PowerShell takes a
//! second and more to tell it; what it told last stands for the looks between.
//!
//! Where WinNAT runs and was not asked, a look has a gap instead ([`portolan_host::Sections`]); that is how it is known
//! here that it still runs. Without WinNAT, and on Linux, nothing is asked and nothing stands in.

use std::collections::BTreeMap;

use portolan_core::snapshot::{Gap, Snapshot};

/// So rarely is it asked, milliseconds.
const EVERY_MS: u64 = 600_000;
/// What the look calls it, among the gaps and in front of the counters.
const NAME: &str = "winnat";

/// What was told of the pool last.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// When it was asked, milliseconds since 1970-01-01 UTC; none where it is to be asked with the next look.
    asked_ms: Option<u64>,
    counters: BTreeMap<String, u64>,
    gap: Option<Gap>,
}

impl Pool {
    /// Whether a look at this time is to ask. A clock that went back says nothing of how long ago it was.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        let since = self.asked_ms.and_then(|asked| now_ms.checked_sub(asked));
        since.is_none_or(|since| since >= EVERY_MS)
    }

    /// Keeps what a look was told that asked, or completes one that did not.
    pub(super) fn follow(&mut self, snapshot: &mut Snapshot, asked: bool) {
        let place = snapshot.gaps.iter().position(|gap| gap.what == NAME);
        if asked {
            self.asked_ms = Some(snapshot.taken_ms);
            let own =
                |(name, value): (&String, &u64)| Some((name.clone(), *value)).filter(|_| is_of_pool(name));
            self.counters = snapshot.counters.iter().filter_map(own).collect();
            self.gap = place.and_then(|place| snapshot.gaps.get(place).cloned());
            return;
        }
        // Without the gap it does not run, and what it had is gone.
        let Some(place) = place else {
            (self.counters, self.gap) = (BTreeMap::new(), None);
            return;
        };
        if self.counters.is_empty() && self.gap.is_none() {
            // It has begun since it was asked.
            self.asked_ms = None;
            return;
        }
        snapshot.counters.extend(self.counters.clone());
        snapshot.gaps.remove(place);
        snapshot.gaps.extend(self.gap.clone());
    }
}

fn is_of_pool(counter: &str) -> bool {
    counter.strip_prefix(NAME).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use portolan_core::census::Census;
    use portolan_core::kernel::net_nat;
    use portolan_core::record::{Amount, Entry, What};
    use portolan_core::snapshot::GapReason;

    use super::*;
    use crate::fixture::machine;

    const MINUTE: u64 = 60_000;

    /// A machine of which PowerShell says that, or on which it was not asked, or on which WinNAT does not run.
    enum Told<'a> {
        Pool(&'a str),
        Failed,
        Unasked,
        Stopped,
    }

    /// A look in that minute, as the host puts it together.
    fn look(minute: u64, told: &Told<'_>) -> Snapshot {
        let mut snapshot = Snapshot::clone(&machine());
        snapshot.taken_ms += minute * MINUTE;
        let gap = |reason, text: &str| Gap::new("winnat", reason, text);
        match told {
            Told::Pool(text) => snapshot.counters.extend(net_nat::pool(text).unwrap().counters()),
            Told::Failed => snapshot.gaps.push(gap(GapReason::Malformed, "Get-NetNatSession: it failed")),
            Told::Unasked => snapshot.gaps.push(gap(GapReason::Unsupported, "which is not counted here")),
            Told::Stopped => {}
        }
        snapshot
    }

    /// What is recorded of the pool, and its gap, of a look that found this; and whether it was asked.
    fn recorded(pool: &mut Pool, minute: u64, told: &Told<'_>) -> (bool, [Option<u64>; 2], Option<String>) {
        let is_due = pool.is_due(machine().taken_ms + minute * MINUTE);
        let mut snapshot =
            look(minute, if is_due || matches!(told, Told::Stopped) { told } else { &Told::Unasked });
        pool.follow(&mut snapshot, is_due);
        let entry = Entry::new(&snapshot, &Census::of(&snapshot, 9), &[]);
        let limit = |name: &str| {
            let amount = entry.amounts.get(&(What::Limit, name.to_owned()))?;
            assert_eq!(*amount, Amount::exact(amount.max));
            Some(amount.max)
        };
        let gaps: Vec<&Gap> = entry.gaps.iter().filter(|gap| gap.what == "winnat").collect();
        assert!(gaps.len() <= 1, "{gaps:?}");
        let gap = gaps.first().map(|gap| gap.detail.clone());
        (is_due, ["winnat-ports", "winnat-sessions"].map(limit), gap)
    }

    #[test]
    fn the_pool_is_asked_every_ten_minutes_and_stands_in_every_look_between() {
        let mut pool = Pool::default();
        let early = Told::Pool("pool 192.168.2.13 49718 49727\r\nsessions 17\r\n");
        let late =
            Told::Pool("pool 192.168.2.13 49718 49727\r\npool 10.0.75.1 50016 50025\r\nsessions 900\r\n");
        assert_eq!(recorded(&mut pool, 0, &early), (true, [Some(10), Some(17)], None));
        for minute in 1..10 {
            assert_eq!(recorded(&mut pool, minute, &late), (false, [Some(10), Some(17)], None), "{minute}");
        }
        assert_eq!(recorded(&mut pool, 10, &late), (true, [Some(20), Some(900)], None));
        assert_eq!(recorded(&mut pool, 19, &early), (false, [Some(20), Some(900)], None));
        // The clock went back.
        assert_eq!(recorded(&mut pool, 5, &early), (true, [Some(10), Some(17)], None));
    }

    #[test]
    fn what_powershell_does_not_tell_stays_a_gap_and_is_not_asked_for_again_at_once() {
        let mut pool = Pool::default();
        let gap = Some("Get-NetNatSession: it failed".to_owned());
        assert_eq!(recorded(&mut pool, 0, &Told::Failed), (true, [None, None], gap.clone()));
        assert_eq!(recorded(&mut pool, 1, &Told::Failed), (false, [None, None], gap));
        let told = Told::Pool("sessions 3\n");
        assert_eq!(recorded(&mut pool, 10, &told), (true, [Some(0), Some(3)], None));
    }

    #[test]
    fn a_winnat_that_stops_takes_its_numbers_along_and_one_that_begins_is_asked_with_the_next_look() {
        let mut pool = Pool::default();
        let told = Told::Pool("pool 192.168.2.13 49718 49727\nsessions 17\n");
        assert_eq!(recorded(&mut pool, 0, &Told::Stopped), (true, [None, None], None));
        let unasked = Some("which is not counted here".to_owned());
        assert_eq!(recorded(&mut pool, 1, &told), (false, [None, None], unasked));
        assert_eq!(recorded(&mut pool, 2, &told), (true, [Some(10), Some(17)], None));
        assert_eq!(recorded(&mut pool, 3, &Told::Stopped), (false, [None, None], None));
    }
}
