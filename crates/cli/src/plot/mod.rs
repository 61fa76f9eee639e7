//! Plots: how numbers went over time, as data, and drawn three ways: for a terminal, as SVG, as PNG.
//!
//! Time in which nothing was recorded stays empty in each of them. SVG and PNG share one layout (`scene.rs`). Left out
//! on purpose: local time; what came from a file of another machine is told in UTC everywhere.

mod axis;
mod font;
mod png;
mod scene;
mod svg;
mod terminal;

use portolan_core::series::{Point, Series};
use portolan_core::trend::End;

pub(crate) use terminal::draw;

/// Something that happened at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// When, milliseconds since 1970-01-01 UTC.
    pub(crate) at_ms: u64,
    /// What.
    pub(crate) label: String,
}

/// Where a falling number comes to nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outlook {
    /// Of which series.
    pub(crate) series: usize,
    /// Where it stands at the end of the record.
    pub(crate) now: f64,
    /// When it ends, after the end of the record.
    pub(crate) end: End,
}

/// A plot.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plot {
    /// What it shows.
    pub(crate) title: String,
    /// What is counted: `sockets`, `ports left`.
    pub(crate) unit: &'static str,
    /// Where the record begins, milliseconds since 1970-01-01 UTC.
    pub(crate) from_ms: u64,
    /// Where the record ends.
    pub(crate) to_ms: u64,
    /// Whether the least in a stretch matters more than the most: room left.
    pub(crate) least: bool,
    /// What is drawn, the most telling first.
    pub(crate) series: Vec<Series>,
    /// What the last look saw of each; none where that is not known, and the last stretch tells of it.
    pub(crate) lasts: Vec<Option<f64>>,
    /// When nothing was recorded, from and to.
    pub(crate) pauses: Vec<(u64, u64)>,
    /// What happened meanwhile.
    pub(crate) marks: Vec<Mark>,
    /// Where it leads to.
    pub(crate) outlook: Option<Outlook>,
}

impl Plot {
    /// How much there is of a series in the end.
    fn last(&self, number: usize) -> Option<f64> {
        let stretch = || self.series.get(number)?.points().last().map(|point| point.mean);
        self.lasts.get(number).copied().flatten().or_else(stretch)
    }

    /// Where the axis of time ends: behind the record where an end is foreseen.
    fn end_ms(&self) -> u64 {
        let Some(outlook) = self.outlook else { return self.to_ms };
        let over = self.to_ms.saturating_sub(self.from_ms);
        let until = outlook.end.latest_s.unwrap_or(outlook.end.likely_s * 1.2) * 1050.0;
        // As long again as what is known: farther off nobody knows.
        self.to_ms.saturating_add((until as u64).clamp(over / 8, over))
    }

    /// The most of all that is drawn.
    fn most(&self) -> f64 {
        self.series.iter().map(most).fold(0.0, f64::max)
    }
}

/// The most of a series.
fn most(series: &Series) -> f64 {
    series.points().map(|point| point.max).fold(0.0, f64::max)
}

/// The points of a series in a stretch of time as one, weighed by how much of them lies in it; none where there are none.
fn within(series: &Series, from_ms: u64, to_ms: u64) -> Option<Point> {
    let (mut weight, mut sum) = (0.0, 0.0);
    let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
    for run in &series.runs {
        let first = run.partition_point(|point| point.end_ms() <= from_ms);
        for point in run.iter().skip(first).take_while(|point| point.at_ms < to_ms) {
            let part = point.end_ms().min(to_ms).saturating_sub(point.at_ms.max(from_ms)) as f64;
            weight += part;
            sum += point.mean * part;
            (min, max) = (min.min(point.min), max.max(point.max));
        }
    }
    let point =
        Point { at_ms: from_ms, span_ms: to_ms.saturating_sub(from_ms), min, mean: sum / weight, max };
    (weight > 0.0 && point.mean.is_finite()).then_some(point)
}

/// Writes a plot as a picture.
type Write = fn(&Plot) -> Vec<u8>;

/// The kinds of pictures, by the end of a file's name.
pub(crate) static PICTURES: &[(&str, Write)] = &[("svg", svg::write), ("png", png::write)];

#[cfg(test)]
mod tests;
