//! How long and how much, as they are typed: `12h`, `31d`, `2y`; `256M`.

use portolan_history::Keep;

use crate::typed::span_ms;

const HOUR_MS: u64 = 3_600_000;

/// How long looks, minutes and hours are kept.
pub(super) fn keep(text: &str) -> Result<Keep, String> {
    let wrong = || format!("'{text}' is not three spans as in 2d,31d,2y; each is a number of h, d, w or y");
    let spans: Vec<u64> = text.split(',').map(span).collect::<Option<_>>().ok_or_else(wrong)?;
    let [looks_ms, minutes_ms, hours_ms] = spans[..] else { return Err(wrong()) };
    if looks_ms > minutes_ms || minutes_ms > hours_ms {
        return Err(format!("'{text}' keeps the finer longer than the coarser; type as in 2d,31d,2y"));
    }
    Ok(Keep { looks_ms, minutes_ms, hours_ms, ..Keep::default() })
}

/// A span of whole hours, in milliseconds: what is kept is rolled up to hours.
fn span(text: &str) -> Option<u64> {
    // A clock that counts milliseconds in 64 bits, with room for a sum.
    span_ms(text.trim()).filter(|ms| (1..=1 << 50).contains(ms) && ms % HOUR_MS == 0)
}

/// How long looks, minutes and hours are kept, as it is typed.
pub(super) fn keep_text(keep: &Keep) -> String {
    let text = |ms: u64| match ms / HOUR_MS {
        hours if hours % (365 * 24) == 0 => format!("{}y", hours / (365 * 24)),
        hours if hours % 24 == 0 => format!("{}d", hours / 24),
        hours => format!("{hours}h"),
    };
    [keep.looks_ms, keep.minutes_ms, keep.hours_ms].map(text).join(",")
}

/// A size in bytes: `64M`, `2G`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no size of a file; type one of at least 1M, as in 256M or 2G");
    let (number, shift) = match text.chars().last() {
        Some('M' | 'm') => (&text[..text.len() - 1], 20),
        Some('G' | 'g') => (&text[..text.len() - 1], 30),
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    if (1..=1 << 20).contains(&number) { Ok(number << shift) } else { Err(wrong()) }
}

/// A size as it is typed.
pub(super) fn size_text(bytes: u64) -> String {
    match bytes >> 20 {
        mib if mib % 1024 == 0 => format!("{}G", mib / 1024),
        mib => format!("{mib}M"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_read_and_what_means_nothing_is_refused() {
        let day = 24 * HOUR_MS;
        let kept = keep("12h,31d,2y").unwrap();
        assert_eq!((kept.looks_ms, kept.minutes_ms, kept.hours_ms), (day / 2, 31 * day, 730 * day));
        assert_eq!(size("64M"), Ok(64 << 20));
        assert_eq!(size("2g"), Ok(2 << 30));
        for text in
            ["", "2d", "2d,31d", "2d,31d,2y,3y", "-1d,2d,3d", "0d,1d,2d", "2x,3d,4d", "31d,2d,2y", "é,é,é"]
        {
            assert!(keep(text).is_err(), "{text}");
        }
        for text in ["", "M", "256", "0M", "-1M", "1.5G", "9999999G", "é"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
