//! Where an axis has its ticks: round numbers, and round times in UTC.

use crate::text::moment;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Steps that people count time by, up to two weeks.
const STEPS: [u64; 20] = [
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    14 * DAY,
];
/// 1970-01-05 was a Monday.
const MONDAY: u64 = 4 * DAY;

/// Round numbers from 0 to the most or a little beyond, about so many; the last one is where the axis ends.
pub(super) fn amounts(most: f64, about: usize) -> Vec<f64> {
    let rough = most.max(1.0) / about.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|nice| nice * power).find(|step| *step >= rough * 0.999);
    // Of sockets there are no halves.
    let step = step.unwrap_or(10.0 * power).max(1.0);
    let last = (most / step).ceil().max(1.0) as u64;
    (0..=last).map(|n| n as f64 * step).collect()
}

/// Round times between two, at most about so many, each with its label.
pub(super) fn times(from_ms: u64, to_ms: u64, about: usize) -> Vec<(u64, String)> {
    let over = to_ms.saturating_sub(from_ms);
    let Some(step) = STEPS.into_iter().find(|step| over / step <= about as u64) else {
        return months(from_ms, to_ms, about);
    };
    let offset = if step >= 7 * DAY { MONDAY } else { 0 };
    let first = from_ms.saturating_sub(offset).div_ceil(step) * step + offset;
    let label = |at: u64| {
        let text = moment(at);
        let part = match step {
            DAY.. => 5..10,
            _ if at.is_multiple_of(DAY) => 5..10,
            MINUTE.. => 11..16,
            _ => 11..19,
        };
        text.get(part).unwrap_or_default().to_owned()
    };
    (first..=to_ms).step_by(usize::try_from(step).unwrap_or(usize::MAX)).map(|at| (at, label(at))).collect()
}

/// The beginnings of months, every so many.
fn months(from_ms: u64, to_ms: u64, about: usize) -> Vec<(u64, String)> {
    let all: Vec<(u64, String)> = (from_ms.div_ceil(DAY)..=to_ms / DAY)
        .map(|day| (day * DAY, moment(day * DAY)))
        .filter(|(_, text)| text.get(8..10) == Some("01"))
        .map(|(at, text)| (at, text.get(..7).unwrap_or_default().to_owned()))
        .collect();
    let every = [1, 2, 3, 6, 12, 24].into_iter().find(|every| all.len() / every <= about).unwrap_or(60);
    let number = |text: &str| text.get(5..7).and_then(|month| month.parse::<usize>().ok()).unwrap_or(1) - 1;
    all.into_iter().filter(|(_, text)| number(text).is_multiple_of(every.min(12))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(from_ms: u64, over_ms: u64) -> Vec<String> {
        times(from_ms, from_ms + over_ms, 8).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn amounts_are_round_and_reach_beyond_the_most() {
        assert_eq!(amounts(28_232.0, 5), [0.0, 10_000.0, 20_000.0, 30_000.0]);
        assert_eq!(amounts(7.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(amounts(0.0, 5), [0.0, 1.0]);
        assert_eq!(amounts(3.0, 5), [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn times_are_round_whatever_the_length() {
        // 2026-11-27 21:07:13 UTC.
        let at = 1_795_813_633_000;
        assert_eq!(
            labels(at, 40 * SECOND),
            ["21:07:15", "21:07:20", "21:07:25", "21:07:30", "21:07:35", "21:07:40", "21:07:45", "21:07:50"]
        );
        assert_eq!(labels(at, 3 * HOUR), ["21:30", "22:00", "22:30", "23:00", "23:30", "11-28"]);
        assert_eq!(labels(at, DAY), ["11-28", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00"]);
        assert_eq!(labels(at, 30 * DAY), ["11-30", "12-07", "12-14", "12-21"]);
        assert_eq!(labels(at, 365 * DAY), ["2027-01", "2027-03", "2027-05", "2027-07", "2027-09", "2027-11"]);
        assert!(times(at, at, 8).len() <= 1);
    }
}
