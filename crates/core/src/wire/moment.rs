//! Times as formats count them, as a text that everybody reads: `2026-11-22T00:28:43Z`.
//!
//! Source: RFC 3339 (the text); RFC 5905 section 6 (NTP's eras and fractions); MS-DTYP section 2.3.3 (FILETIME); the
//! Gregorian calendar, with years that begin in March, so that the leap day is a year's last.

const DAY_S: i64 = 86_400;
/// From 1900-01-01 to 1970-01-01.
const NTP_EPOCH_S: i64 = 2_208_988_800;
/// NTP's first era ends in 2036: what is less than this belongs to the next one (RFC 4330 section 3).
const NTP_SECOND_ERA: u64 = 0x8000_0000;
/// From 1601-01-01 to 1970-01-01.
const FILETIME_EPOCH_MS: i64 = 11_644_473_600_000;

/// A time in milliseconds since 1970 (UTC), without the fraction of the second.
pub fn text(milliseconds: i64) -> String {
    let seconds = milliseconds.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(DAY_S) + 719_468, seconds.rem_euclid(DAY_S));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// An NTP timestamp (seconds and fractions since 1900) in milliseconds since 1970; none for 0, which means unknown.
pub fn of_ntp(timestamp: u64) -> Option<i64> {
    let (seconds, fraction) = (timestamp >> 32, timestamp & 0xffff_ffff);
    let era = if seconds < NTP_SECOND_ERA { 1_i64 << 32 } else { 0 };
    let seconds = i64::try_from(seconds).unwrap_or(0) + era - NTP_EPOCH_S;
    (timestamp != 0).then_some(seconds * 1000 + ((fraction * 1000) >> 32) as i64)
}

/// A time in milliseconds since 1970 as an NTP timestamp.
pub fn to_ntp(milliseconds: i64) -> u64 {
    let seconds = (milliseconds.div_euclid(1000) + NTP_EPOCH_S) as u64;
    let fraction = ((milliseconds.rem_euclid(1000) as u64) << 32) / 1000;
    (seconds << 32) | fraction
}

/// A FILETIME (tenths of microseconds since 1601) in milliseconds since 1970; none for 0, which means unknown, and for
/// what lies beyond the year 9999, which no text has room for.
pub fn of_filetime(ticks: u64) -> Option<i64> {
    let ms = i64::try_from(ticks / 10_000).ok()? - FILETIME_EPOCH_MS;
    (ticks != 0 && ms < 253_402_300_800_000).then_some(ms)
}

/// Digits as ASN.1's GeneralizedTime has them, in UTC and with seconds (`20261122002843Z`), in milliseconds since 1970;
/// none where they are no time.
pub fn of_digits(text: &str) -> Option<i64> {
    let digits = text
        .strip_suffix('Z')
        .filter(|digits| digits.len() == 14 && digits.bytes().all(|b| b.is_ascii_digit()))?;
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = years * 365 + years.div_euclid(4) - years.div_euclid(100)
        + years.div_euclid(400)
        + (153 * months + 2) / 5
        + day
        - 1
        - 719_468;
    Some((days * DAY_S + hour * 3600 + minute * 60 + second) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_everybody_reads_them() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_825_599_999, "2000-02-29T11:59:59Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59Z"),
            (-11_644_473_600_000, "1601-01-01T00:00:00Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(text(ms), expected);
            let digits: String = expected.chars().filter(|c| c.is_ascii_digit() || *c == 'Z').collect();
            assert_eq!(of_digits(&digits), Some(ms - ms.rem_euclid(1000)));
        }
    }

    #[test]
    fn digits_that_are_no_time_are_none() {
        for text in [
            "",
            "Z",
            "20261322002843Z",
            "2026112200284Z",
            "20261122002843",
            "20261122242843Z",
            "2026112é0284Z",
        ] {
            assert_eq!(of_digits(text), None, "{text}");
        }
    }

    #[test]
    fn ntps_and_windows_times_are_the_same_moments() {
        // RFC 5905 figure 4: the first day of Unix, and the first of era 1.
        assert_eq!(of_ntp(2_208_988_800 << 32), Some(0));
        assert_eq!(of_ntp(1 << 31).map(text).as_deref(), Some("2036-02-07T06:28:16Z"));
        assert_eq!(of_ntp(0), None);
        for ms in [1_750_000_000_123, 2_085_978_496_500, -1] {
            assert!(of_ntp(to_ntp(ms)).is_some_and(|again| (again - ms).abs() <= 1), "{ms}");
        }
        assert_eq!(of_filetime(116_444_736_000_000_000), Some(0));
        assert_eq!((of_filetime(0), of_filetime(u64::MAX)), (None, None));
    }
}
