//! How many tries a sweep may begin now: a rate in the time's measure, and one that answers themselves set.
//!
//! Each answer gives leave for two more tries (slow start, RFC 5681 section 3.1), so that a fast path is soon full; the
//! clock gives leave for some, so that silence does not end it. Where more than one try in ten of a tenth of a
//! second got lost, both are halved: less is what radio paths lose at any speed, and slowness would not mend it.
//! Pure: times come in.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Tries a second before anything is known: 6 Mbit/s on the wire.
const FIRST_RATE: f64 = 10_000.0;
const LEAST_RATE: f64 = 50.0;
const MOST_RATE: f64 = 100_000.0;
/// Tries that may be begun in one go: what the queue of a slow link still holds.
const BURST: f64 = 256.0;
/// Loss is looked at once in that time, and only where there were that many answers.
const EPOCH: Duration = Duration::from_millis(100);
const FEWEST_ANSWERS: u32 = 16;
/// More loss than this is taken for our own doing.
const BEARABLE_LOSS: f64 = 0.1;
/// The pause after the system had no room; it doubles while that lasts.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const MOST_PAUSE: Duration = Duration::from_millis(200);

/// The pace of one engine.
#[derive(Debug)]
pub(super) struct Pace {
    /// The user's rate rules alone.
    given: bool,
    rate: f64,
    burst: f64,
    credit: f64,
    /// What an answer gives leave for.
    gain: f64,
    counted_at: Instant,
    epoch_ends: Instant,
    answered: u32,
    lost: u32,
    paused_until: Option<Instant>,
    pause: Duration,
}

impl Pace {
    pub(super) fn new(given: Option<NonZeroU32>, now: Instant) -> Self {
        let rate = given.map_or(FIRST_RATE, |rate| f64::from(rate.get()));
        // A given rate holds over any 10 ms, not only on average.
        let burst = if given.is_some() { (rate / 100.0).max(1.0) } else { BURST };
        Self {
            given: given.is_some(),
            rate,
            burst,
            credit: if given.is_some() { 1.0 } else { BURST },
            gain: 2.0,
            counted_at: now,
            epoch_ends: now + EPOCH,
            answered: 0,
            lost: 0,
            paused_until: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Whether a try may begin; counts it where it may.
    pub(super) fn begins(&mut self, now: Instant) -> bool {
        if self.credit < 1.0 {
            self.refill(now);
        }
        if self.paused_until.is_some_and(|until| now < until) || self.credit < 1.0 {
            return false;
        }
        self.paused_until = None;
        self.credit -= 1.0;
        true
    }

    /// When a try may begin again, where none may now.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let missing = Duration::from_secs_f64(((1.0 - self.credit) / self.rate).max(0.0));
        (self.counted_at + missing).max(self.paused_until.unwrap_or(now))
    }

    /// A try was over when its call returned: it never was on the way.
    pub(super) fn over_at_once(&mut self) {
        self.pause = FIRST_PAUSE;
        if !self.given {
            self.credit += 1.0;
        }
    }

    /// An answer came to a port that was asked that often.
    pub(super) fn answered(&mut self, tries: u16, now: Instant) {
        self.pause = FIRST_PAUSE;
        self.answered += 1;
        self.lost += u32::from(tries.saturating_sub(1));
        if !self.given {
            self.credit = (self.credit + self.gain).min(self.burst * 4.0);
        }
        if now >= self.epoch_ends && self.answered >= FEWEST_ANSWERS {
            self.end_epoch(now);
        }
    }

    /// The system itself has asked again, that often.
    pub(super) fn repeated(&mut self, times: u16) {
        self.credit -= f64::from(times);
    }

    /// The system had no room for the try that was just counted.
    pub(super) fn no_room(&mut self, now: Instant) {
        self.paused_until = Some(now + self.pause);
        self.pause = (self.pause * 2).min(MOST_PAUSE);
        self.slow_down();
    }

    fn end_epoch(&mut self, now: Instant) {
        let loss = f64::from(self.lost) / f64::from(self.answered + self.lost);
        if loss > BEARABLE_LOSS {
            self.slow_down();
        } else if !self.given {
            self.gain = 2.0;
            self.rate = (self.rate * 1.25).min(MOST_RATE);
        }
        (self.answered, self.lost) = (0, 0);
        self.epoch_ends = now + EPOCH;
    }

    fn slow_down(&mut self) {
        if !self.given {
            self.gain = 0.5;
            self.credit = 0.0;
            self.rate = (self.rate / 2.0).max(LEAST_RATE);
        }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.counted_at).as_secs_f64();
        self.credit = (self.credit + passed * self.rate).min(self.burst.max(self.credit));
        self.counted_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    /// Tries begun within a time, looked at each millisecond.
    fn begun(pace: &mut Pace, from: Instant, time: Duration) -> u32 {
        let looks = u32::try_from(time.as_millis()).unwrap();
        (0..looks)
            .map(|look| {
                let now = from + Duration::from_millis(1) * look;
                (0..).take_while(|_| pace.begins(now)).count() as u32
            })
            .sum()
    }

    #[test]
    fn a_given_rate_is_never_exceeded_over_a_tenth_of_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(NonZeroU32::new(1000), start);
        let first = begun(&mut pace, start, TENTH);
        assert!((95..=110).contains(&first), "{first}");
        // Answers give no leave, and a pause is not caught up with.
        (0..1000).for_each(|_| pace.answered(1, start + TENTH));
        let later = begun(&mut pace, start + TENTH * 10, TENTH);
        assert!((95..=110).contains(&later), "{later}");
    }

    #[test]
    fn a_slow_given_rate_waits_for_its_next_try() {
        let start = Instant::now();
        let mut pace = Pace::new(NonZeroU32::new(2), start);
        assert!(pace.begins(start));
        assert!(!pace.begins(start));
        assert_eq!(pace.next(start), start + Duration::from_millis(500));
        assert!(pace.begins(start + Duration::from_millis(501)));
    }

    #[test]
    fn answers_give_leave_for_twice_as_many_and_loss_takes_it_back() {
        let start = Instant::now();
        let mut pace = Pace::new(None, start);
        assert_eq!((0..).take_while(|_| pace.begins(start)).count(), 256);
        (0..100).for_each(|_| pace.answered(1, start));
        assert_eq!((0..).take_while(|_| pace.begins(start)).count(), 200);
        // The first answer after an epoch's end ends it; what came in it is judged.
        let (mut now, rate) = (start + TENTH, pace.rate);
        pace.answered(1, now);
        assert!(pace.rate > rate, "{}", pace.rate);
        let rate = pace.rate;
        (0..20).for_each(|_| pace.answered(3, now));
        now += TENTH;
        pace.answered(1, now);
        assert_eq!(pace.rate, rate / 2.0);
        let one_in_twenty = [1, 1, 1, 1, 1, 1, 1, 1, 1, 2];
        one_in_twenty.iter().cycle().take(40).for_each(|tries| pace.answered(*tries, now));
        now += TENTH;
        pace.answered(1, now);
        assert!(pace.rate > rate / 2.0, "{}", pace.rate);
    }

    #[test]
    fn without_room_it_pauses_longer_and_longer_and_then_goes_on() {
        let start = Instant::now();
        let mut pace = Pace::new(None, start);
        assert!(pace.begins(start));
        pace.no_room(start);
        assert!(!pace.begins(start));
        let after = pace.next(start);
        assert!(after >= start + FIRST_PAUSE);
        assert!(pace.begins(start + TENTH));
        pace.no_room(start + TENTH);
        assert!(pace.next(start + TENTH) >= start + TENTH + FIRST_PAUSE * 2);
    }
}
