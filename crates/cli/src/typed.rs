//! Values as they are typed, for options that several commands take.

use std::time::Duration;

use clap::ValueEnum;
use portolan_core::socket::Transport;

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
}
