//! Courses and endings of many generated histories: what is stated is held against what was generated.

use std::f64::consts::TAU;

use super::*;
use crate::series::Point;

const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;

/// Randomness that is the same at each run.
struct Random(u64);

impl Random {
    /// Evenly spread between 0 and 1.
    fn even(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1_u32 << 31)
    }

    /// Normally distributed, near enough: twelve even ones.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.even()).sum::<f64>() - 6.0
    }
}

/// What is scattered about the true course.
#[derive(Clone, Copy, Debug)]
enum Scatter {
    Even,
    Normal,
    /// Each is so much like the one before it.
    Alike(f64),
    /// Now and then far off to one side, as bursts of connections are.
    Bursts,
}

const SCATTERS: [Scatter; 5] =
    [Scatter::Even, Scatter::Normal, Scatter::Alike(0.5), Scatter::Alike(0.8), Scatter::Bursts];

/// A recorded series: `value` of seconds from `from` on, every so many seconds, with noise.
fn recorded(
    random: &mut Random,
    (from, to, every): (f64, f64, f64),
    (scatter, noise): (Scatter, f64),
    value: impl Fn(f64) -> f64,
) -> Series {
    let mut carried = random.normal();
    let mut points = Vec::new();
    let mut at = from;
    while at < to {
        let off = match scatter {
            Scatter::Even => random.even() * 3.46 - 1.73,
            Scatter::Normal => random.normal(),
            Scatter::Alike(alike) => {
                carried = alike * carried + (1.0 - alike * alike).sqrt() * random.normal();
                carried
            }
            Scatter::Bursts if random.even() < 0.05 => -8.0 * random.even(),
            Scatter::Bursts => random.normal() * 0.5,
        };
        let mean = value(at + every / 2.0) + noise * off;
        points.push(Point {
            at_ms: (at * 1000.0) as u64,
            span_ms: (every * 1000.0) as u64,
            min: mean,
            mean,
            max: mean,
        });
        at += every;
    }
    Series::new("x", points)
}

/// The same without some stretches, in which the recorder did not run.
fn with_pauses(random: &mut Random, series: &Series) -> Series {
    let all: Vec<Point> = series.points().copied().collect();
    let mut kept = all.clone();
    for _ in 0..3 {
        let from = (random.even() * all.len() as f64) as usize;
        let length = (random.even() * all.len() as f64 / 6.0) as usize;
        let lost = all.get(from..(from + length).min(all.len())).unwrap_or_default();
        kept.retain(|point| !lost.contains(point));
    }
    Series::new("x", kept)
}

/// How many were told, and of these how many were right.
#[derive(Debug, Default)]
struct Score {
    tried: u32,
    told: u32,
    slope_right: u32,
    end_right: u32,
}

impl Score {
    fn add(&mut self, series: &Series, slope: f64, end_s: f64) {
        self.tried += 1;
        let Some(course) = course(series) else { return };
        let Some(found) = course.slope else { return };
        self.told += 1;
        self.slope_right += u32::from(found.low <= slope && slope <= found.high);
        if let Some(Ending { end, .. }) = course.ending(series, &Series::default()) {
            let in_time = end.earliest_s <= end_s && end.latest_s.is_none_or(|latest| end_s <= latest);
            self.end_right += u32::from(in_time);
        }
    }

    /// Told where it should be, and right as often as stated: 95 in a hundred, less what chance takes from so many.
    fn holds(&self, what: &str) {
        let (told, right) = (f64::from(self.told), self.slope_right.min(self.end_right));
        let least = 0.95 * told - 3.0 * (told * 0.05 * 0.95).sqrt();
        assert!(told >= 0.9 * f64::from(self.tried), "{what}: {self:?}");
        assert!(f64::from(right) >= least, "{what}: {self:?}");
    }
}

/// Room that falls to nothing at 1.5 times the time of the record.
fn falling(of: &mut Score, random: &mut Random, scatter: Scatter, pauses: bool) {
    let over = [HOUR, 6.0 * HOUR, DAY][(random.even() * 3.0) as usize];
    let every = over / (60.0 + random.even() * 1000.0);
    let start = 2000.0 + random.even() * 26_000.0;
    let slope = -start / (1.5 * over);
    let noise = start * (0.005 + 0.05 * random.even());
    let mut series = recorded(random, (0.0, over, every), (scatter, noise), |at| start + slope * at);
    if pauses {
        series = with_pauses(random, &series);
    }
    let last = series.points().last().map_or(0.0, |point| point.end_ms() as f64 / 1000.0);
    of.add(&series, slope, 1.5 * over - last);
}

#[test]
fn the_end_of_a_linear_fall_lies_within_its_bounds_as_often_as_stated() {
    for (place, scatter) in (1..).zip(SCATTERS) {
        let (mut random, mut score) = (Random(place), Score::default());
        (0..100).for_each(|_| falling(&mut score, &mut random, scatter, false));
        score.holds(&format!("{scatter:?}"));
    }
}

#[test]
fn pauses_of_the_recorder_change_nothing_about_that() {
    for (place, scatter) in (100..).zip(SCATTERS) {
        let (mut random, mut score) = (Random(place), Score::default());
        (0..60).for_each(|_| falling(&mut score, &mut random, scatter, true));
        score.holds(&format!("{scatter:?}"));
    }
}

#[test]
fn of_a_sawtooth_of_new_starts_the_last_tooth_counts() {
    let mut random = Random(7);
    let mut score = Score::default();
    for _ in 0..60 {
        // A leak of `rate` a second, a new start every `tooth` seconds, and the last one long enough ago to tell.
        let tooth = HOUR * (3.0 + 9.0 * random.even());
        let into = tooth * (0.4 + 0.55 * random.even());
        let rate = 20_000.0 / (1.4 * tooth);
        let first = tooth - (DAY - into).rem_euclid(tooth);
        let room = |at: f64| 20_000.0 - rate * (at + first).rem_euclid(tooth);
        let series = recorded(&mut random, (0.0, DAY, 120.0), (Scatter::Normal, 150.0), room);
        let course = course(&series).unwrap();
        let started_s = DAY - into;
        let off = (course.since_ms as f64 / 1000.0 - started_s).abs();
        assert!(course.step.is_some() && off < 1500.0, "{course:?} {started_s}");
        score.add(&series, -rate, 20_000.0 / rate - into);
        let earlier = recorded(&mut random, (0.0, 7.0 * DAY, 600.0), (Scatter::Normal, 150.0), room);
        if let Some(ending) = course.ending(&series, &earlier) {
            assert_eq!(ending.seen_before, 0, "new starts mended it: {ending:?}");
        }
    }
    score.holds("sawtooth");
}

#[test]
fn daily_and_weekly_waves_raise_no_alarm_however_long_a_part_of_them_is_looked_at() {
    let mut random = Random(11);
    let mut alarms = Vec::new();
    for wave in [DAY, 7.0 * DAY] {
        for hours in [3.0, 6.0, 12.0, 24.0, 72.0, 168.0] {
            for phase in 0..24 {
                let end = 30.0 * DAY + f64::from(phase) * wave / 24.0;
                // It comes close to the end every time.
                let room = |at: f64| 10_000.0 + 9_500.0 * (at / wave * TAU).sin();
                let from = end - hours * HOUR;
                let scatter = (Scatter::Normal, 200.0);
                let before = (from - 28.0 * DAY, from, 1800.0);
                let series = recorded(&mut random, (from, end, hours * 12.0), scatter, room);
                let before = recorded(&mut random, before, scatter, room);
                let course = course(&series).unwrap();
                if course.ending(&series, &before).is_some_and(|ending| ending.is_alarm()) {
                    alarms.push((wave / DAY, hours, phase));
                }
            }
        }
    }
    assert_eq!(alarms, [], "alarms on waves");
}

#[test]
fn growth_that_waves_never_brought_is_an_alarm_over_them() {
    let mut random = Random(13);
    // A small wave every day, and since six hours ago a leak.
    let leak = 30.0 * DAY;
    let room = |at: f64| 20_000.0 + 1_000.0 * (at / DAY * TAU).sin() - (at - leak).max(0.0) * 0.6;
    let scatter = (Scatter::Normal, 100.0);
    let series = recorded(&mut random, (leak, leak + 6.0 * HOUR, 60.0), scatter, room);
    let before = recorded(&mut random, (leak - 14.0 * DAY, leak, 1800.0), scatter, room);
    let ending = course(&series).unwrap().ending(&series, &before).unwrap();
    assert!(ending.is_alarm(), "{ending:?}");
    assert!((ending.end.likely_s / HOUR - 3.2).abs() < 1.5, "{ending:?}");
}

#[test]
fn a_leak_that_began_meanwhile_is_told_from_where_it_began() {
    let mut random = Random(41);
    let (mut right, mut told) = (0, 0);
    for _ in 0..60 {
        let began = DAY * (0.15 + 0.6 * random.even());
        let left = 28_000.0;
        let rate = left / (1.4 * (DAY - began));
        let room = |at: f64| left - rate * (at - began).max(0.0);
        let scatter = if random.even() < 0.5 { Scatter::Normal } else { Scatter::Alike(0.5) };
        let series = recorded(&mut random, (0.0, DAY, 120.0), (scatter, 200.0), room);
        let course = course(&series).unwrap();
        let off = (course.since_ms as f64 / 1000.0 - began).abs();
        // A leak of nearly all the day is one of all the day.
        assert!(course.slope.is_some() && off < 0.16 * DAY, "{course:?} {began}");
        let end = course.ending(&series, &Series::default()).unwrap().end;
        let true_end = 0.4 * (DAY - began);
        told += 1;
        right +=
            u32::from(end.earliest_s <= true_end && end.latest_s.is_some_and(|latest| true_end <= latest));
    }
    assert!(right >= told * 9 / 10, "{right} of {told}");
}

#[test]
fn a_step_is_told_with_its_time_and_is_no_trend() {
    let mut random = Random(17);
    for _ in 0..60 {
        let at = DAY * (0.1 + 0.8 * random.even());
        let (from, to) = (500.0 + 500.0 * random.even(), 2000.0 + 3000.0 * random.even());
        let value = |now: f64| if now < at { from } else { to };
        let series = recorded(&mut random, (0.0, DAY, 60.0), (Scatter::Normal, 30.0), value);
        let course = course(&series).unwrap();
        let step = course.step.unwrap();
        assert!((step.at_ms as f64 / 1000.0 - at).abs() < 1200.0, "{step:?} {at}");
        assert!((step.to - to).abs() < 0.2 * to && course.grew > 0.7 * (to - from), "{course:?}");
        assert_eq!(course.slope, None, "{course:?}");
    }
}

#[test]
fn noise_alone_has_neither_step_nor_trend() {
    for scatter in SCATTERS {
        let mut random = Random(19);
        let found = (0..60)
            .filter(|_| {
                let series = recorded(&mut random, (0.0, DAY, 90.0), (scatter, 100.0), |_| 5000.0);
                course(&series).is_some_and(|course| course.slope.is_some() || course.step.is_some())
            })
            .count();
        // Of a hundred, five may seem to have a trend.
        assert!(found <= 3, "{scatter:?}: {found} of 60");
    }
}

#[test]
fn a_single_wild_sample_is_no_step() {
    let mut random = Random(23);
    let mut series = recorded(&mut random, (0.0, HOUR, 60.0), (Scatter::Normal, 5.0), |at| 100.0 + at);
    series.runs[0][40].mean = 1e6;
    let course = course(&series).unwrap();
    assert_eq!(course.step, None);
    assert!((course.slope.unwrap().per_second - 1.0).abs() < 0.01, "{course:?}");
}

#[test]
fn little_or_nothing_recorded_is_no_trend_and_nothing_panics() {
    assert_eq!(course(&Series::default()), None);
    let mut random = Random(29);
    for count in 1..12_u32 {
        let until = 60.0 * f64::from(count);
        let series = recorded(&mut random, (0.0, until, 60.0), (Scatter::Even, 0.0), |_| 7.0);
        let course = course(&series).unwrap();
        assert_eq!((course.slope, course.step, course.now), (None, None, 7.0), "{count}");
    }
    let at = |at_ms| Point { at_ms, span_ms: 1, min: f64::NAN, mean: f64::NAN, max: f64::INFINITY };
    let odd = Series { name: "x".to_owned(), runs: vec![vec![at(0), at(u64::MAX - 9), at(5), at(5)]] };
    assert_eq!(course(&odd).and_then(|course| course.slope), None);
}
