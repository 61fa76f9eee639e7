//! How long and how much, as they are typed: `12h`, `31d`, `2y`; `256M`.

use portolan_history::Keep;

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

/// A span of whole hours, days, weeks or years, in milliseconds.
fn span(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let hours = match unit {
        'h' => 1,
        'd' => 24,
        'w' => 7 * 24,
        'y' => 365 * 24,
        _ => return None,
    };
    let number: u64 = text[..text.len() - 1].trim().parse().ok()?;
    // A clock that counts milliseconds in 64 bits, with room for a sum.
    let ms = number.checked_mul(hours)?.checked_mul(HOUR_MS)?;
    (1..=1 << 50).contains(&ms).then_some(ms)
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
