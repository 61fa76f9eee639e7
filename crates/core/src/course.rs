//! How a recorded number went: its last step, the growth since then, and when the room that it counts ends.
//!
//! A record is longer and rougher than a few looks ([`crate::trend`]): programs start anew and their numbers jump,
//! recorders pause, and most of what falls today fell yesterday too. So the growth of a series is that since its last
//! step, whether a start, a deployment or somebody's remedy; and a fall that came and went by itself before is told as
//! such and is no end. Where there was nothing but noise before, and then steady growth, the growth counts from where it
//! began. A step is a change between two neighbours far beyond the changes around it (eight standard
//! deviations by the median, which wild values do not move), of some weight in the whole, and one that stays.
//!
//! Left out on purpose: seasons by the calendar. A wave is known by having been there before, whatever its length.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::series::Series;
use crate::trend::{self, End, Sample, Slope, median, middle_and_spread};

/// A change from one moment to the next that stayed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// When it was over, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// How much there was before.
    pub from: f64,
    /// How much there was after.
    pub to: f64,
}

/// How a number went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Course {
    /// Since when the rest holds: the last step, where growth began, or the beginning; milliseconds since 1970-01-01 UTC.
    pub since_ms: u64,
    /// The last step, if there was any.
    pub step: Option<Step>,
    /// Steady growth or decline since then, per second; null where there is no trend.
    pub slope: Option<Slope>,
    /// How much more there is by that growth, or by the step where there is no trend; negative where it shrank.
    pub grew: f64,
    /// How much there is in the end: of the line where there is one, otherwise of the last stretches.
    pub now: f64,
    /// By how much that may be off (95 %).
    pub now_off: f64,
}

/// When room ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ending {
    /// Seconds after the last stretch, by the line and its bounds (95 %).
    pub end: End,
    /// Whether it is near enough to be told: farther off nobody knows.
    pub near: bool,
    /// How often the room fell as deep and as fast before, and came back by itself.
    pub seen_before: usize,
}

impl Ending {
    /// Whether somebody should act on it.
    pub const fn is_alarm(&self) -> bool {
        self.near && self.seen_before == 0
    }
}

/// Stretches that are compared; finer ones are put together.
const STRETCHES: u64 = 150;
/// A step is beyond so many standard deviations of the changes around it.
const BEYOND: f64 = 8.0;
/// A step is at least this part of all that the number varies.
const WEIGHT: f64 = 0.15;
/// Places at which growth may have begun.
const PLACES: usize = 16;
/// With fewer samples on a side nothing is told of it.
const FEW: usize = 8;
/// Two parts fit clearly better than one line where not more than this is left of what is off.
const CLEARLY: f64 = 0.75;
/// Before growth began nothing moved more than this part of it.
const QUIET: f64 = 0.25;
/// So many stretches on both sides tell whether it stayed.
const SIDES: usize = 4;
/// As deep as now: at least this part.
const AS_DEEP: f64 = 0.8;

/// How a series went; none where there is nothing.
pub fn course(series: &Series) -> Option<Course> {
    let samples = series.samples();
    let even = evened(&samples);
    let step = last_step(&even);
    let mut since_ms = step.map_or(samples.first()?.at_ms, |step| step.at_ms);
    let mut tail = evened(since(&samples, since_ms));
    if let Some((began_ms, grown)) = began(&samples, &tail) {
        (since_ms, tail) = (began_ms, grown);
    }
    let slope = trend::slope(&tail);
    let (now, now_off) = match slope {
        Some(slope) => trend::level(&tail, slope.per_second)?,
        None => {
            let (first, last) = (tail.len().saturating_sub(SIDES), tail.len());
            (median(&mut values(tail.get(first..last)?))?, trend::level(&tail, 0.0)?.1)
        }
    };
    let grew = match (slope, step) {
        (Some(slope), _) => slope.per_second * slope.over_s,
        (None, Some(step)) => step.to - step.from,
        (None, None) => 0.0,
    };
    Some(Course { since_ms, step, slope, grew, now, now_off })
}

impl Course {
    /// When the room that a series of this course counts comes to nothing; none where it has no steady fall. `before` is
    /// what was recorded of it before the series, however coarse.
    pub fn ending(&self, series: &Series, before: &Series) -> Option<Ending> {
        let slope = self.slope?;
        let tail = evened(since(&series.samples(), self.since_ms));
        let end = trend::end_of(&tail, slope)?;
        let later = series.points().last()?.end_ms().saturating_sub(tail.last()?.at_ms) as f64 / 1000.0;
        let after = |seconds: f64| (seconds - later).max(0.0);
        let end = End {
            earliest_s: after(end.earliest_s),
            likely_s: after(end.likely_s),
            latest_s: end.latest_s.map(after),
        };
        let seen_before = falls(&before.samples(), -self.grew * AS_DEEP, slope.over_s);
        Some(Ending { end, near: end.is_near(&slope), seen_before })
    }
}

/// Where steady growth began after a time of nothing but noise, and the samples of it.
fn began(samples: &[Sample], even: &[Sample]) -> Option<(u64, Vec<Sample>)> {
    let place = bend(even)?;
    // The bend lies beside the place: what surely comes after it tells how fast it goes.
    let after = place + even.len() / PLACES;
    let grown = evened(since(samples, even.get(after)?.at_ms));
    let slope = trend::slope(&grown)?;
    let mut quiet = values(even.get(..place)?);
    quiet.sort_unstable_by(f64::total_cmp);
    let part = |twentieth: usize| quiet.get((quiet.len().max(1) - 1) * twentieth / 20).copied();
    let is_quiet = part(19)? - part(1)? <= QUIET * (slope.per_second * slope.over_s).abs();
    is_quiet.then_some((even.get(place)?.at_ms, grown))
}

/// The place that best parts samples into level ones and a line, if that is clearly better than one line.
fn bend(samples: &[Sample]) -> Option<usize> {
    let off = |samples: &[Sample], per_second: f64| {
        let rest = trend::residuals(samples, per_second);
        let (middle, _) = middle_and_spread(&rest)?;
        Some(rest.iter().map(|value| (value - middle).abs()).sum::<f64>())
    };
    let mut best: Option<(f64, usize)> = None;
    for number in 1..PLACES {
        let place = samples.len() * number / PLACES;
        let (before, after) = samples.split_at_checked(place)?;
        if before.len() < FEW || after.len() < FEW {
            continue;
        }
        let cost = off(before, 0.0)? + off(after, trend::rough(after)?)?;
        if best.is_none_or(|(least, _)| cost < least) {
            best = Some((cost, place));
        }
    }
    let straight = off(samples, trend::rough(samples)?)?;
    best.filter(|(cost, _)| *cost < CLEARLY * straight).map(|(_, place)| place)
}

/// The samples from a time on.
fn since(samples: &[Sample], since_ms: u64) -> &[Sample] {
    let first = samples.partition_point(|sample| sample.at_ms < since_ms);
    samples.get(first..).unwrap_or_default()
}

fn values(samples: &[Sample]) -> Vec<f64> {
    samples.iter().map(|sample| sample.value).collect()
}

/// Samples at even times, as far as there are any: of each stretch the median, in the middle of what it has. Without
/// this a day of hours and an hour of looks would count as much as one another.
fn evened(samples: &[Sample]) -> Vec<Sample> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Vec::new() };
    let width = (last.at_ms.saturating_sub(first.at_ms)).div_ceil(STRETCHES).max(1);
    let stretch = |sample: &Sample| sample.at_ms.saturating_sub(first.at_ms) / width;
    let mut even = Vec::new();
    for own in samples.chunk_by(|a, b| stretch(a) == stretch(b)) {
        if let ([a, ..], [.., z], Some(value)) = (own, own, median(&mut values(own))) {
            even.push(Sample { at_ms: a.at_ms + (z.at_ms - a.at_ms) / 2, value });
        }
    }
    even
}

/// The last change that was a step.
fn last_step(samples: &[Sample]) -> Option<Step> {
    let seconds = |pair: &[Sample]| pair[1].at_ms.saturating_sub(pair[0].at_ms) as f64 / 1000.0;
    let mut rates: Vec<f64> =
        samples.windows(2).map(|pair| (pair[1].value - pair[0].value) / seconds(pair)).collect();
    rates.retain(|rate| rate.is_finite());
    // What changes by itself all the time is no step, neither is a pause of the recorder meanwhile.
    let rate = median(&mut rates)?;
    let jumps: Vec<f64> =
        samples.windows(2).map(|pair| pair[1].value - pair[0].value - rate * seconds(pair)).collect();
    let (middle, spread) = middle_and_spread(&jumps)?;
    let mut sorted = values(samples);
    sorted.sort_unstable_by(f64::total_cmp);
    let part = |twentieth: usize| sorted.get((sorted.len() - 1) * twentieth / 20).copied();
    let least = (BEYOND * spread).max(WEIGHT * (part(19)? - part(1)?));
    let place = (0..jumps.len()).rev().find(|place| {
        let jump = jumps.get(*place).copied().unwrap_or(0.0) - middle;
        least > 0.0 && jump.abs() > least && stays(samples, *place, rate, jump)
    })?;
    let (from, to) = (samples.get(place)?, samples.get(place + 1)?);
    Some(Step { at_ms: to.at_ms, from: from.value, to: to.value })
}

/// Whether most of a jump after the sample at a place is still there beside what came before it: a single wild sample
/// jumps there and back.
fn stays(samples: &[Sample], place: usize, rate: f64, jump: f64) -> bool {
    let level = |samples: &[Sample]| {
        let mut level: Vec<f64> =
            samples.iter().map(|sample| sample.value - rate * (sample.at_ms as f64 / 1000.0)).collect();
        median(&mut level)
    };
    let (before, after) = samples.split_at(place + 1);
    let before = level(before.get(before.len().saturating_sub(SIDES)..).unwrap_or_default());
    let after = level(after.get(..after.len().min(SIDES)).unwrap_or_default());
    let (Some(before), Some(after)) = (before, after) else { return false };
    (after - before) / jump > 0.5
}

/// How often a number fell at least so deep within about so many seconds, and came back by itself: not in one jump, as
/// after a new start.
fn falls(samples: &[Sample], deep: f64, over_s: f64) -> usize {
    let over_ms = (over_s * 1500.0) as u64;
    let (mut count, mut at, mut from) = (0, 0, 0);
    while let Some(low) = samples.get(at) {
        while samples.get(from).is_some_and(|sample| sample.at_ms.saturating_add(over_ms) < low.at_ms) {
            from += 1;
        }
        let high = samples.get(from..at).unwrap_or_default().iter().map(|sample| sample.value);
        if deep > 0.0 && high.fold(f64::NEG_INFINITY, f64::max) - low.value >= deep {
            let Some((lowest, back)) = recovery(samples, at, deep) else { break };
            let took = |high: &Sample| samples.get(lowest).map_or(0, |low| high.at_ms - low.at_ms);
            let slowly = samples.get(back).is_some_and(|high| took(high) > over_ms / 10);
            count += usize::from(slowly && back - lowest > 2);
            (at, from) = (back, back);
        }
        at += 1;
    }
    count
}

/// Where a number that fell is lowest before it is as high again, and where that is.
fn recovery(samples: &[Sample], low: usize, deep: f64) -> Option<(usize, usize)> {
    let mut lowest = (low, samples.get(low)?.value);
    for (place, sample) in samples.iter().enumerate().skip(low) {
        if sample.value <= lowest.1 {
            lowest = (place, sample.value);
        } else if sample.value - lowest.1 >= deep {
            return Some((lowest.0, place));
        }
    }
    None
}

#[cfg(test)]
mod tests;
