//! Text for people: numbers grouped, spans of time, the nearest word; and [`harmless`], which every text on its way to a
//! terminal passes, in the output formats themselves.

use std::fmt::Write as _;

pub(crate) use portolan_core::text::harmless;

/// A number with its thousands set apart: `28,232`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `1 socket`, `2 sockets`, `1,200 sockets`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A span of time by its largest units: `45 s`, `12 min`, `5 h 3 min`, `3 d 4 h`.
pub(crate) fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A moment in UTC: `2026-03-01 10:22:14 UTC`. The civil calendar is counted from 1 March of the year 0, so that
/// the leap day is a year's last.
pub(crate) fn moment(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The known word nearest to what was typed, if any is near enough to be meant.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(typed, word), word))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, word)| word)
}

/// Whether a text is of a pattern in which `*` stands for any characters; upper and lower case are the same.
pub(crate) fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.to_lowercase(), pattern.to_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or("")) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Text cut to at most `limit` bytes at a character's edge, with an ellipsis where it was cut.
pub(crate) fn shortened(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let mut short = String::new();
    // Writing to a String cannot fail.
    let _ = write!(short, "{}…", &text[..end]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans_read_as_people_write_them() {
        assert_eq!([0, 999, 1000, 28232, 1234567].map(grouped), ["0", "999", "1,000", "28,232", "1,234,567"]);
        assert_eq!(
            [45_000, 720_000, 18_180_000, 273_600_000].map(span),
            ["45 s", "12 min", "5 h 3 min", "3 d 4 h"]
        );
        assert_eq!((counted(1, "socket"), counted(0, "socket")), ("1 socket".into(), "0 sockets".into()));
    }

    #[test]
    fn moments_follow_the_calendar_over_leap_days() {
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(moment(951_782_399_000), "2000-02-28 23:59:59 UTC");
        assert_eq!(moment(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(moment(4_107_542_400_000), "2100-03-01 00:00:00 UTC");
    }

    #[test]
    fn patterns_match_whole_texts_and_stars_any_part() {
        for (text, pattern, expected) in [
            ("nginx", "nginx", true),
            ("Nginx", "nginX", true),
            ("nginx", "ngin", false),
            ("nginx", "n*x", true),
            ("nginx", "*", true),
            ("nginx.service", "nginx*", true),
            ("aXbXc", "a*x*c", true),
            ("ab", "ab*b", false),
            ("", "", true),
        ] {
            assert_eq!(is_like(text, pattern), expected, "{text} like {pattern}");
        }
    }

    #[test]
    fn the_nearest_word_is_offered_only_when_it_is_near() {
        assert_eq!(
            nearest("held-by-proces", ["privileged-port", "held-by-process"]),
            Some("held-by-process")
        );
        assert_eq!(nearest("zzz", ["privileged-port", "held-by-process"]), None);
    }
}
