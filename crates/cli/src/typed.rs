//! Values as they are typed, for options that several commands take.

use std::net::IpAddr;
use std::time::Duration;

use clap::ValueEnum;
use portolan_core::socket::Transport;
use portolan_core::wire::moment;

/// One transport, or both at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transports {
    Tcp,
    Udp,
    Both,
}

impl Transports {
    /// Which they are.
    pub(crate) const fn list(self) -> &'static [Transport] {
        match self {
            Self::Tcp => &[Transport::Tcp],
            Self::Udp => &[Transport::Udp],
            Self::Both => &Transport::ALL,
        }
    }
}

/// A span of time in seconds: `30`, `0.5`.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("'{text}' is no number of seconds; type one as in 30 or 0.5"))
}

/// A span in milliseconds: a number of seconds, minutes, hours, days, weeks or years, `90s`, `24h`, `2y`.
pub(crate) fn span_ms(text: &str) -> Option<u64> {
    let (end, unit) = text.char_indices().next_back()?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        'y' => 365 * 86_400,
        _ => return None,
    };
    text.get(..end)?.parse::<u64>().ok()?.checked_mul(seconds * 1000)
}

/// A time in what was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// So many milliseconds before the end.
    Before(u64),
    /// Milliseconds since 1970-01-01 UTC.
    At(u64),
}

/// A span that counts back, `24h`, or a time in UTC, `2026-11-28T10:00`.
pub(crate) fn when(text: &str) -> Result<When, String> {
    let wrong =
        || format!("'{text}' is neither a span nor a time; type one as in 24h, 7d or 2026-11-28T10:00");
    if let Some(before) = span_ms(text) {
        return Ok(When::Before(before));
    }
    // RFC 3339 from the day on, as far as it was typed.
    const WHOLE: &str = "0000-00-00T00:00:00";
    let typed =
        text.strip_suffix(" UTC").or_else(|| text.strip_suffix('Z')).unwrap_or(text).replace(' ', "T");
    let is_shape =
        |(typed, whole): (char, char)| if whole == '0' { typed.is_ascii_digit() } else { typed == whole };
    if !matches!(typed.len(), 10 | 16 | 19) || !typed.chars().zip(WHOLE.chars()).all(is_shape) {
        return Err(wrong());
    }
    let digits: String =
        typed.chars().filter(char::is_ascii_digit).chain("000000".chars()).take(14).collect();
    let at = moment::of_digits(&format!("{digits}Z")).and_then(|ms| u64::try_from(ms).ok());
    at.map(When::At).ok_or_else(wrong)
}

/// What to type for a link-local address without its interface: there is one such network behind each.
pub(crate) fn zone_hint(typed: &str, address: IpAddr) -> Option<String> {
    let lacks = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) && !typed.contains('%');
    lacks.then(|| format!("{address} is a link-local address: type its interface too, as in {address}%eth0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_whole_or_broken_and_never_negative_or_endless() {
        assert_eq!(seconds("30"), Ok(Duration::from_secs(30)));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["-1", "inf", "NaN", "1e300", "", "5s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_in_the_record_is_a_span_back_or_a_time_in_utc() {
        const HOUR: u64 = 3_600_000;
        for (text, expected) in [
            ("90s", When::Before(90_000)),
            ("30m", When::Before(HOUR / 2)),
            ("24h", When::Before(24 * HOUR)),
            ("7d", When::Before(168 * HOUR)),
            ("2w", When::Before(336 * HOUR)),
            ("1y", When::Before(8760 * HOUR)),
            ("1970-01-02", When::At(24 * HOUR)),
            ("1970-01-02T03:30", When::At(27 * HOUR + HOUR / 2)),
            ("1970-01-02 03:00:01 UTC", When::At(27 * HOUR + 1000)),
            ("1970-01-02T03:00:01Z", When::At(27 * HOUR + 1000)),
        ] {
            assert_eq!(when(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "h",
            "-1h",
            "24",
            "1.5h",
            "2026-13-01",
            "2026-11-28T",
            "2026-11-28T1:00",
            "99999999999999999999d",
            "é",
        ] {
            assert!(when(text).is_err(), "{text}");
        }
    }
}
