//! How long an answer is waited for, and how often a silent port is asked: the round trips of one destination, measured.
//!
//! Source: RFC 6298 (sections 2 and 5), Karn's rule in section 3 of it. Departures, and why: the least wait is 100 ms and not
//! one second, since what is repeated here is one small packet; the wait grows by one half and not twofold, since a
//! silent port costs every one of its waits and the last one is long enough for a round trip of its own.

use std::time::Duration;

/// The wait before anything was measured (RFC 6298, 2.1).
const INITIAL: Duration = Duration::from_secs(1);
/// The least wait: longer than a processor that was taken away, or a radio that sleeps for one beacon.
const LEAST: Duration = Duration::from_millis(100);
/// The longest wait for one try.
const MOST: Duration = Duration::from_secs(8);
/// The clock's grain (RFC 6298's G): an event loop looks up about that often.
const GRAIN: Duration = Duration::from_millis(2);

/// A silent port that is open may be called filtered once in that many ports.
const FALSE_SILENCES: f64 = 1e-9;
/// Most tries that a lossy path makes for one port.
const MOST_TRIES: u16 = 40;

/// Round trips of one destination: a smoothed mean, and how they vary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTrip {
    measured: Option<(Duration, Duration)>,
}

impl RoundTrip {
    /// Takes in a measured round trip (of a question that was sent once, or whose answer names the try: Karn's rule).
    pub fn add(&mut self, sample: Duration) {
        self.measured = Some(match self.measured {
            None => (sample, sample / 2),
            Some((smoothed, variation)) => {
                let off = smoothed.abs_diff(sample);
                ((smoothed * 7 + sample) / 8, (variation * 3 + off) / 4)
            }
        });
    }

    /// The smoothed round trip; none before the first.
    pub fn smoothed(&self) -> Option<Duration> {
        self.measured.map(|(smoothed, _)| smoothed)
    }

    /// How long the try of that number (the first is 0) waits for its answer.
    pub fn wait(&self, earlier_tries: u16) -> Duration {
        let first = self.measured.map_or(INITIAL, |(smoothed, variation)| {
            (smoothed + (variation * 4).max(GRAIN)).clamp(LEAST, MOST)
        });
        let longest = (first * 4).min(MOST);
        (0..earlier_tries.min(MOST_TRIES)).fold(first, |wait, _| (wait + wait / 2).min(longest))
    }
}

/// How many tries without an answer it takes to call a port silent, so that a false silence is rarer than 1e-9: at least
/// `least`. `answered` tries were answered, and `lost` tries of the same ports were not. Where nothing was ever
/// answered nothing is known of loss, and `least` holds.
pub fn tries_for(least: u16, answered: u64, lost: u64) -> u16 {
    if answered == 0 {
        return least;
    }
    // A few answers prove neither a lossless path nor a bad one: before any, one loss in ten is expected.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let loss = (lost as f64 + 1.0) / ((answered + lost) as f64 + 10.0);
    let most = if lost == 0 { least.saturating_mul(2) } else { MOST_TRIES };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let needed = (FALSE_SILENCES.ln() / loss.ln()).ceil().clamp(0.0, 1000.0) as u16;
    needed.clamp(least, most.max(least))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn before_any_answer_the_wait_is_a_second_and_grows() {
        let none = RoundTrip::default();
        assert_eq!((none.wait(0), none.wait(1), none.wait(2)), (ms(1000), ms(1500), ms(2250)));
        assert_eq!(none.wait(u16::MAX), ms(4000));
    }

    #[test]
    fn the_wait_follows_the_round_trips_as_rfc_6298_says() {
        let mut trips = RoundTrip::default();
        trips.add(ms(200));
        assert_eq!(trips.wait(0), ms(600));
        trips.add(ms(200));
        assert_eq!(trips.wait(0), ms(500));
        trips.add(ms(600));
        assert_eq!(trips.smoothed(), Some(ms(250)));
    }

    #[test]
    fn a_near_host_is_waited_for_a_tenth_of_a_second_at_least() {
        let mut trips = RoundTrip::default();
        trips.add(Duration::from_micros(30));
        assert_eq!(trips.wait(0), LEAST);
        trips.add(Duration::from_secs(3600));
        assert_eq!(trips.wait(0), MOST);
    }

    #[test]
    fn loss_makes_more_tries_and_a_clean_path_does_not() {
        assert_eq!(tries_for(3, 0, 0), 3);
        assert_eq!(tries_for(3, 2000, 0), 3);
        assert_eq!(tries_for(3, 2, 0), 6);
        // 4 % of 1,000: 0.04^7 is 1.6e-10, 0.04^6 is 4e-9.
        assert_eq!(tries_for(3, 1000, 41), 7);
        assert_eq!(tries_for(3, 1, 3), 17);
        assert_eq!(tries_for(3, 10, 90), MOST_TRIES);
        assert_eq!(tries_for(9, 2000, 0), 9);
    }
}
