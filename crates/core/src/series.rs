//! Series: how a number went over time, as the recorder keeps it and as charts and forecasts read it. Plain data.
//!
//! Time in which nothing was recorded is not a zero and not a straight line either: it stands between two runs
//! ([`Series::runs`]). Left out on purpose: where a series comes from (the store) and how it is drawn (the program).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::trend::Sample;

/// What was seen in one stretch of time: one look, or many that were rolled up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// When the stretch begins, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// How long it is, milliseconds: until the recorder looked again, or its interval; a minute, an hour.
    pub span_ms: u64,
    /// The least that was seen in it.
    pub min: f64,
    /// The mean of what was seen in it.
    pub mean: f64,
    /// The most that was seen in it.
    pub max: f64,
}

impl Point {
    /// When the stretch ends, milliseconds since 1970-01-01 UTC.
    pub const fn end_ms(&self) -> u64 {
        self.at_ms.saturating_add(self.span_ms)
    }
}

/// One number over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Series {
    /// What is counted: a state, an owner, a destination.
    pub name: String,
    /// Points in the order of time, in runs without a break; between two runs nothing was recorded. No run is empty.
    pub runs: Vec<Vec<Point>>,
}

impl Series {
    /// A series of points in the order of time. A run ends where the next point begins later than half a stretch after
    /// the one before has ended.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = Point>) -> Self {
        let mut runs: Vec<Vec<Point>> = Vec::new();
        for point in points {
            let goes_on = |last: &Point| {
                let slack = last.span_ms.max(point.span_ms) / 2;
                point.at_ms <= last.end_ms().saturating_add(slack)
            };
            match runs.last_mut() {
                Some(run) if run.last().is_some_and(goes_on) => run.push(point),
                _ => runs.push(vec![point]),
            }
        }
        Self { name: name.into(), runs }
    }

    /// Every point, in the order of time.
    pub fn points(&self) -> impl Iterator<Item = &Point> {
        self.runs.iter().flatten()
    }

    /// The means in the middle of their stretches, for [`crate::trend::slope`], in the order of time: the middle of a
    /// long stretch lies after short ones that begin in it, as where a clock went back.
    pub fn samples(&self) -> Vec<Sample> {
        let sample = |point: &Point| Sample {
            at_ms: point.at_ms.saturating_add(point.span_ms / 2),
            value: point.mean,
        };
        let mut samples: Vec<Sample> = self.points().map(sample).collect();
        samples.sort_by_key(|sample| sample.at_ms);
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at_ms: u64, span_ms: u64) -> Point {
        Point { at_ms, span_ms, min: 1.0, mean: 2.0, max: 3.0 }
    }

    #[test]
    fn a_missing_stretch_ends_a_run_and_a_late_one_does_not() {
        let series =
            Series::new("x", [point(0, 5000), point(5000, 5000), point(11_000, 5000), point(21_001, 5000)]);
        let lengths: Vec<usize> = series.runs.iter().map(Vec::len).collect();
        assert_eq!(lengths, [3, 1]);
        assert_eq!(series.points().count(), 4);
        assert_eq!(series.samples()[1], Sample { at_ms: 7500, value: 2.0 });
    }

    #[test]
    fn samples_are_in_the_order_of_time_where_a_long_stretch_has_short_ones_in_it() {
        let series = Series::new("x", [point(0, 60_000), point(10_000, 5000), point(20_000, 5000)]);
        let at: Vec<u64> = series.samples().iter().map(|sample| sample.at_ms).collect();
        assert_eq!(at, [12_500, 22_500, 30_000]);
        assert!(crate::course::course(&series).is_some());
    }

    #[test]
    fn nothing_recorded_is_no_run() {
        assert_eq!(Series::new("x", []), Series { name: "x".to_owned(), runs: Vec::new() });
    }
}
