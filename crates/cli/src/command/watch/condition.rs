//! What `watch --until` waits for: a count, a comparison, a number.
//!
//! What is there now is counted by nouns (`sockets`, a state), what happened since the beginning by verbs (`opened`, `closed`,
//! `changed`). `closed` alone would be both: it is the verb, and the state CLOSED is typed `state:closed`, as any state may
//! be.

use std::fmt;
use std::str::FromStr;

use portolan_core::census::States;
use portolan_core::socket::State;

use crate::text::nearest;

/// What is counted while watching.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Sockets that match now, by state.
    pub(super) states: States,
    /// How many have opened since the beginning.
    pub(super) opened: u64,
    /// How many have closed.
    pub(super) closed: u64,
    /// How many changes of state there were.
    pub(super) changed: u64,
}

/// Which count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Sockets,
    Opened,
    Closed,
    Changed,
    In(State),
}

/// How it is compared. Longer signs stand before those they begin with.
const SIGNS: [(&str, Sign); 7] = [
    (">=", |a, b| a >= b),
    ("<=", |a, b| a <= b),
    ("!=", |a, b| a != b),
    ("==", |a, b| a == b),
    (">", |a, b| a > b),
    ("<", |a, b| a < b),
    ("=", |a, b| a == b),
];

/// Compares two numbers.
type Sign = fn(u64, u64) -> bool;

/// What may be meant by it.
const CLOSED: &str =
    "a socket has closed: 'closed>=1'; nobody listens: 'listen=0'; in the state CLOSED: 'state:closed>=1'";

/// A condition on the counts.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    count: Count,
    sign: Sign,
    number: u64,
    text: String,
}

impl Condition {
    /// Whether it holds.
    pub(super) fn holds(&self, tally: &Tally) -> bool {
        let count = match self.count {
            Count::Sockets => tally.states.total().into(),
            Count::Opened => tally.opened,
            Count::Closed => tally.closed,
            Count::Changed => tally.changed,
            Count::In(state) => tally.states.of(state).into(),
        };
        (self.sign)(count, self.number)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let how = "write it as 'established>100', 'listen=0' or 'opened>=1'";
        let Some(at) = text.find(['<', '>', '=', '!']) else {
            return Err(match text.trim().to_ascii_lowercase().as_str() {
                "close" | "closed" => format!("'{text}' compares nothing; {CLOSED}"),
                _ => format!("'{text}' compares nothing; {how}"),
            });
        };
        let (name, rest) = text.split_at(at);
        let Some((sign, meaning)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) else {
            return Err(format!("'{text}' has no comparison; use one of > >= < <= = !="));
        };
        let number = rest[sign.len()..].trim();
        let number = number.parse().map_err(|_| format!("'{number}' is no count; {how}"))?;
        let count = count(name.trim())?;
        Ok(Self { count, sign: *meaning, number, text: text.trim().to_owned() })
    }
}

fn count(name: &str) -> Result<Count, String> {
    let own = [
        ("sockets", Count::Sockets),
        ("opened", Count::Opened),
        ("closed", Count::Closed),
        ("changed", Count::Changed),
    ];
    let lower = name.to_ascii_lowercase();
    if let Some((_, count)) = own.iter().find(|(known, _)| *known == lower) {
        return Ok(*count);
    }
    // ss calls the state so; whoever types it here hardly means that.
    if lower == "close" {
        return Err(format!("'{name}' may mean several things; {CLOSED}"));
    }
    let state = lower.strip_prefix("state:").unwrap_or(&lower);
    state.parse().map(Count::In).map_err(|_| {
        let states = State::ALL.map(|state| state.name().to_ascii_lowercase().replace('_', "-"));
        let names: Vec<&str> =
            own.iter().map(|(name, _)| *name).chain(states.iter().map(String::as_str)).collect();
        match nearest(&lower, names.iter().copied()) {
            Some(near) => format!("'{name}' is not counted; did you mean {near}?"),
            None => format!("'{name}' is not counted; use one of {}", names.join(", ")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let mut states = States::default();
        for state in [State::Listen, State::Established, State::Established] {
            states.add(state);
        }
        states.add(State::Closed);
        Tally { states, opened: 5, closed: 2, changed: 1 }
    }

    #[test]
    fn closed_counts_what_closed_and_the_state_of_that_name_is_typed_with_state() {
        for (text, expected) in [
            ("closed=2", true),
            ("CLOSED = 2", true),
            ("closed=1", false),
            ("state:closed=1", true),
            ("state:closed=2", false),
            ("STATE:CLOSED>=1", true),
            // As any state may be typed.
            ("state:established=2", true),
            ("state:time-wait=0", true),
        ] {
            assert_eq!(text.parse::<Condition>().unwrap().holds(&tally()), expected, "{text}");
        }
        for (text, expected) in [
            (
                "closed",
                "'closed' compares nothing; a socket has closed: 'closed>=1'; nobody listens: 'listen=0'",
            ),
            ("close>=1", "'close' may mean several things; a socket has closed: 'closed>=1'"),
            ("state:opened>1", "'state:opened' is not counted"),
        ] {
            let error = text.parse::<Condition>().unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn counts_are_compared_in_every_way() {
        for (text, expected) in [
            ("established>1", true),
            ("established > 2", false),
            ("ESTAB>=2", true),
            ("listen=1", true),
            ("listen==0", false),
            ("time-wait<1", true),
            ("time_wait!=0", false),
            ("sockets<=4", true),
            ("opened>=5", true),
            ("closed>=3", false),
            ("changed=1", true),
        ] {
            assert_eq!(text.parse::<Condition>().unwrap().holds(&tally()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_told_with_what_to_type() {
        for (text, expected) in [
            ("established", "'established' compares nothing; write it as 'established>100', 'listen=0' or"),
            ("established>many", "'many' is no count; write it as"),
            ("established>-1", "'-1' is no count"),
            ("established!1", "'established!1' has no comparison; use one of"),
            ("establish>1", "'establish' is not counted; did you mean established?"),
            ("zzz>1", "'zzz' is not counted; use one of sockets, opened, closed, changed, listen"),
            ("", "'' compares nothing"),
        ] {
            let error = text.parse::<Condition>().unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
