//! Trends: how fast something grows, with its uncertainty, and when it comes to its end. Pure numbers.
//!
//! Source: Theil (1950), Sen (1968): the slope is the median of the slopes of all pairs of samples, so that up to 29 %
//! of wild samples do not move it; Kendall's rank test says whether there is a trend at all. Beyond the textbook, since
//! counts of sockets are not independent samples: a trend must hold in each third of the time by itself, which tells
//! growth from a step, and over the whole time it must come to more than what is scattered about it, which tells it
//! from waves and noise. What is scattered about the line is seldom independent either (a wave, a queue that drains): its
//! correlation from sample to sample widens the bounds (Bayley and Hammersley, 1946; Kendall's correction of the bias for
//! short series). Left out on purpose: seasons. Whatever is not steady growth is "no trend", and no alarm. A part
//! of a wave looks like growth to everybody: a forecast farther off than [`Slope::over_s`] is none to act on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A value at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// Milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// How much there was.
    pub value: f64,
}

/// Steady growth or decline, per second, with bounds (95 %).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Slope {
    /// At least.
    pub low: f64,
    /// Most likely.
    pub per_second: f64,
    /// At most.
    pub high: f64,
    /// For how many seconds it was observed.
    pub over_s: f64,
}

/// When a value comes to zero, in seconds after the last sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct End {
    /// At the earliest.
    pub earliest_s: f64,
    /// Most likely.
    pub likely_s: f64,
    /// At the latest; null where it may never come.
    pub latest_s: Option<f64>,
}

/// So many samples are compared, each with each; more are thinned out evenly.
const MOST: usize = 150;
/// With fewer samples nothing is called a trend.
const FEWEST: usize = 6;
/// An end within so many seconds is told however short the time of watching was.
const SOON_S: f64 = 3600.0;
/// 95 % of a normal distribution lie within so many standard deviations.
const WITHIN: f64 = 1.96;
/// A standard deviation is so many times the median of what a normal distribution is off.
const OF_A_DEVIATION: f64 = 1.4826;
/// A median is so much less sure than a mean.
const MEDIAN_BESIDE_MEAN: f64 = 1.2533;
/// All of the growth must be this many times what four fifths of the samples are scattered about the line.
const BEYOND_SCATTER: f64 = 2.0;
/// A third's slope must be at least this part of the whole's.
const STEADY: f64 = 0.25;

impl End {
    /// Whether it is near enough to be told: within the hour, or within as long as was watched. Farther off nobody knows.
    pub fn is_near(&self, slope: &Slope) -> bool {
        self.likely_s <= SOON_S.max(slope.over_s)
    }
}

/// The slope of samples in the order of time; none where there is no steady trend.
pub fn slope(samples: &[Sample]) -> Option<Slope> {
    let samples = thinned(samples);
    if samples.len() < FEWEST {
        return None;
    }
    let whole = theil_sen(&samples)?;
    if whole.low <= 0.0 && whole.high >= 0.0 || !is_steady(&samples, whole) || is_scattered(&samples, whole) {
        return None;
    }
    Some(whole)
}

/// The slope between two samples: without bounds, and a trend only if it goes on.
pub fn between(first: Sample, last: Sample) -> Option<Slope> {
    let seconds = seconds(first, last);
    let per_second = (last.value - first.value) / seconds;
    (seconds > 0.0 && per_second.is_finite() && per_second != 0.0).then_some(Slope {
        low: per_second,
        per_second,
        high: per_second,
        over_s: seconds,
    })
}

/// When a value that is left shrinks to zero; none where it does not shrink.
pub fn end(left: f64, slope: Slope) -> Option<End> {
    if slope.per_second >= 0.0 || left < 0.0 {
        return None;
    }
    Some(End {
        earliest_s: left / -slope.low.min(slope.per_second),
        likely_s: left / -slope.per_second,
        latest_s: (slope.high < 0.0).then(|| left / -slope.high),
    })
}

/// Where the line of that slope stands at the last sample, and by how much that may be off (95 %).
pub fn level(samples: &[Sample], per_second: f64) -> Option<(f64, f64)> {
    let samples = thinned(samples);
    let rest = residuals(&samples, per_second);
    let (middle, spread) = middle_and_spread(&rest)?;
    let last = per_second * seconds(*samples.first()?, *samples.last()?);
    let off = WITHIN * MEDIAN_BESIDE_MEAN * spread * inflation(&rest) / (samples.len() as f64).sqrt();
    Some((middle + last, off))
}

/// When the line through the samples comes to zero, with the bounds of its slope and of its level; none where it does
/// not fall.
pub fn end_of(samples: &[Sample], slope: Slope) -> Option<End> {
    if slope.per_second >= 0.0 {
        return None;
    }
    let when = |per_second: f64, sign: f64| {
        let (left, off) = level(samples, per_second)?;
        Some(((left + sign * off) / -per_second).max(0.0))
    };
    Some(End {
        earliest_s: when(slope.low.min(slope.per_second), -1.0)?,
        likely_s: when(slope.per_second, 0.0)?,
        latest_s: if slope.high < 0.0 { when(slope.high, 1.0) } else { None },
    })
}

/// What is left of each sample when a line is taken away, from the first sample on.
pub(crate) fn residuals(samples: &[Sample], per_second: f64) -> Vec<f64> {
    let Some(first) = samples.first() else { return Vec::new() };
    samples.iter().map(|sample| sample.value - per_second * seconds(*first, *sample)).collect()
}

/// The middle one; sorts.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The median, and what would be the standard deviation of a normal distribution, whatever wild values there are.
pub(crate) fn middle_and_spread(values: &[f64]) -> Option<(f64, f64)> {
    let mut values = values.to_vec();
    let middle = median(&mut values)?;
    values.iter_mut().for_each(|value| *value = (*value - middle).abs());
    Some((middle, median(&mut values)? * OF_A_DEVIATION))
}

/// By how much bounds are wider than those of independent samples, from how alike neighbours are.
fn inflation(rest: &[f64]) -> f64 {
    /// More alike than this nobody can tell from growth.
    const MOST_ALIKE: f64 = 0.98;
    let count = rest.len() as f64;
    let Some((middle, spread)) = middle_and_spread(rest) else { return 1.0 };
    let near: Vec<f64> =
        rest.iter().map(|value| (value - middle).clamp(-3.0 * spread, 3.0 * spread)).collect();
    let mean = near.iter().sum::<f64>() / count;
    let both: f64 = near.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    let all: f64 = near.iter().map(|value| (value - mean).powi(2)).sum();
    let alike = both / all;
    // What is exactly on the line leaves nothing to compare.
    if !alike.is_finite() {
        return 1.0;
    }
    let alike = (alike + (1.0 + 4.0 * alike.max(0.0)) / count).clamp(0.0, MOST_ALIKE);
    ((1.0 + alike) / (1.0 - alike)).sqrt()
}

fn seconds(first: Sample, last: Sample) -> f64 {
    last.at_ms.saturating_sub(first.at_ms) as f64 / 1000.0
}

/// The median slope of a few of the samples, fast.
pub(crate) fn rough(samples: &[Sample]) -> Option<f64> {
    const FEW: usize = 30;
    let slopes = slopes(&thinned_to(samples, FEW));
    slopes.get(slopes.len() / 2).copied()
}

/// At most [`MOST`] samples, evenly taken, the first and the last among them.
fn thinned(samples: &[Sample]) -> Vec<Sample> {
    thinned_to(samples, MOST)
}

fn thinned_to(samples: &[Sample], most: usize) -> Vec<Sample> {
    let usable: Vec<Sample> = samples.iter().filter(|sample| sample.value.is_finite()).copied().collect();
    if usable.len() <= most {
        return usable;
    }
    let last = usable.len() - 1;
    (0..most).filter_map(|place| usable.get(place * last / (most - 1)).copied()).collect()
}

/// The slopes of all pairs, in rising order.
fn slopes(samples: &[Sample]) -> Vec<f64> {
    let mut slopes = Vec::with_capacity(samples.len() * samples.len() / 2);
    for (place, first) in samples.iter().enumerate() {
        for last in samples.iter().skip(place + 1) {
            let seconds = seconds(*first, *last);
            if seconds > 0.0 {
                slopes.push((last.value - first.value) / seconds);
            }
        }
    }
    slopes.sort_unstable_by(f64::total_cmp);
    slopes
}

/// The median slope, with bounds of Sen's: the ranks that Kendall's statistic could be off by.
fn theil_sen(samples: &[Sample]) -> Option<Slope> {
    let slopes = slopes(samples);
    let (pairs, count) = (slopes.len() as f64, samples.len() as f64);
    let at = |rank: f64| slopes.get(rank.min(pairs - 1.0).max(0.0) as usize).copied();
    let per_second = at((pairs / 2.0).floor())?;
    let correlated = inflation(&residuals(samples, per_second));
    let off = WITHIN * correlated * (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
    Some(Slope {
        low: at(((pairs - off) / 2.0).floor())?,
        per_second,
        high: at(((pairs + off) / 2.0).ceil())?,
        over_s: seconds(*samples.first()?, *samples.last()?),
    })
}

/// Whether what is scattered about the line is much, beside what the line comes to.
fn is_scattered(samples: &[Sample], whole: Slope) -> bool {
    let mut rest = residuals(samples, whole.per_second);
    rest.sort_unstable_by(f64::total_cmp);
    let at = |part: usize| rest.get((rest.len() - 1) * part / 20).copied().unwrap_or(0.0);
    (whole.per_second * whole.over_s).abs() < BEYOND_SCATTER * (at(18) - at(2))
}

/// Whether every third goes the same way.
fn is_steady(samples: &[Sample], whole: Slope) -> bool {
    let third = samples.len() / 3;
    if third < 2 {
        return false;
    }
    let parts = [&samples[..=third], &samples[third..=2 * third], &samples[2 * third..]];
    parts.iter().all(|part| {
        let slopes = slopes(part);
        let median = slopes.get(slopes.len() / 2).copied().unwrap_or(0.0);
        median / whole.per_second >= STEADY
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: u64 = 86_400;

    /// Noise that is the same at each run: between -1 and 1.
    struct Noise(u64);

    impl Noise {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
        }
    }

    fn series(count: u64, every_s: u64, value: impl Fn(f64) -> f64, noise: f64, seed: u64) -> Vec<Sample> {
        let mut random = Noise(seed);
        (0..count)
            .map(|n| {
                let at = (n * every_s) as f64;
                Sample { at_ms: n * every_s * 1000, value: value(at) + noise * random.next() }
            })
            .collect()
    }

    #[test]
    fn linear_growth_is_found_within_its_own_bounds_whatever_the_noise() {
        let mut inside = 0;
        for seed in 0..100 {
            for (slope, noise) in [(0.5, 0.0), (0.5, 20.0), (-2.0, 100.0), (0.01, 2.0)] {
                let samples = series(200, 60, |at| 1000.0 + slope * at, noise, seed);
                let found = super::slope(&samples).unwrap_or_else(|| panic!("{slope} {noise} {seed}"));
                inside += u32::from(found.low <= slope + 1e-9 && slope - 1e-9 <= found.high);
                assert!((found.per_second - slope).abs() < slope.abs() * 0.1, "{found:?}");
            }
        }
        // The bounds are of 95 %.
        assert!(inside >= 370, "{inside} of 400");
    }

    #[test]
    fn the_room_ends_when_it_was_forecast() {
        for seed in 0..20 {
            // 28,232 ports, 4 a second go, for the first half of the way.
            let samples = series(120, 30, |at| 28_232.0 - 4.0 * at, 300.0, seed);
            let left = samples.last().unwrap().value;
            let true_end = 28_232.0 / 4.0 - 119.0 * 30.0;
            let end = end(left, slope(&samples).unwrap()).unwrap();
            assert!(end.earliest_s <= true_end * 1.03 && true_end * 0.97 <= end.latest_s.unwrap(), "{end:?}");
        }
    }

    #[test]
    fn daily_waves_are_no_trend_at_whatever_time_one_looks() {
        let wave = |at: f64| 10_000.0 + 6_000.0 * (at / DAY_S as f64 * std::f64::consts::TAU).sin();
        for days in [1, 2, 3, 7, 14] {
            for phase in 0..24 {
                let shifted = |at: f64| wave(at + f64::from(phase) * 3600.0);
                let samples = series(days * 288, 300, shifted, 200.0, days + phase as u64);
                assert_eq!(slope(&samples), None, "{days} days from {phase} o'clock");
            }
        }
    }

    #[test]
    fn growth_under_a_daily_wave_is_seen_in_the_end() {
        let wave = |at: f64| 2.0 * at / 60.0 + 500.0 * (at / DAY_S as f64 * std::f64::consts::TAU).sin();
        let found = slope(&series(14 * 288, 300, wave, 20.0, 1)).unwrap();
        assert!((found.per_second * 60.0 - 2.0).abs() < 0.1, "{found:?}");
    }

    #[test]
    fn a_step_is_no_trend_wherever_it_stands() {
        for place in 1..19 {
            let step = |at: f64| if at < f64::from(place) * 600.0 { 1000.0 } else { 5000.0 };
            assert_eq!(slope(&series(200, 60, step, 50.0, 3)), None, "step at {place} of 20");
        }
    }

    #[test]
    fn noise_alone_is_no_trend() {
        let found =
            (0..200).filter(|seed| slope(&series(150, 60, |_| 500.0, 100.0, *seed)).is_some()).count();
        assert!(found <= 2, "{found} of 200");
    }

    #[test]
    fn wild_samples_do_not_move_it() {
        let mut samples = series(100, 60, |at| 100.0 + at, 1.0, 1);
        for place in [5, 20, 21, 22, 60, 61, 90] {
            samples[place].value = 1e9;
        }
        let found = slope(&samples).unwrap();
        assert!((found.per_second - 1.0).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn too_little_is_no_trend_and_nothing_panics() {
        assert_eq!(slope(&[]), None);
        assert_eq!(slope(&series(5, 1, |at| at, 0.0, 1)), None);
        assert_eq!(slope(&series(50, 0, |at| at, 0.0, 1)), None, "all at one time");
        let odd = [f64::NAN, f64::INFINITY, 1.0, 2.0].map(|value| Sample { at_ms: 0, value });
        assert_eq!(slope(&odd), None);
        assert_eq!(slope(&series(100, 60, |_| 5.0, 0.0, 1)), None, "nothing changes");
        let fall = Slope { low: -2.0, per_second: -1.0, high: 0.5, over_s: 1.0 };
        assert_eq!(end(10.0, fall).unwrap(), End { earliest_s: 5.0, likely_s: 10.0, latest_s: None });
        assert_eq!(end(10.0, Slope { low: 1.0, per_second: 1.0, high: 1.0, over_s: 1.0 }), None);
    }
}
