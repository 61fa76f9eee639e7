//! What is different from an earlier run: ports that opened, ports that closed, servers that tell something else.
//!
//! The earlier run is what `probe --json` wrote. Left out on purpose: everything that may differ from one moment to the
//! next without a change (round trips, tries, clocks and ids in what servers tell), and ports that only one run asked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;

use portolan_core::probe::PortState;
use portolan_core::socket::Transport;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::ports::once;
use super::Result;
use crate::cells::{Column, Table};
use crate::report::{Block, Line, Tone};
use crate::text::counted;

/// The largest file that is read.
const MOST_BYTES: u64 = 1 << 30;

/// What an earlier run found.
#[derive(Clone, Debug, Deserialize)]
pub(in super::super) struct Baseline {
    results: Vec<Earlier>,
    #[serde(default)]
    omitted: Vec<serde::de::IgnoredAny>,
}

#[derive(Clone, Debug, Deserialize)]
struct Earlier {
    host: String,
    address: IpAddr,
    transport: Transport,
    port: u16,
    state: PortState,
    answer: Option<EarlierAnswer>,
}

#[derive(Clone, Debug, Deserialize)]
struct EarlierAnswer {
    protocol: String,
    summary: String,
}

/// What changed since an earlier run.
#[derive(Clone, Serialize, JsonSchema)]
pub(in super::super) struct Changed {
    /// What changed, in the order asked.
    changes: Vec<Change>,
    /// Ports of both runs that were compared.
    compared: u64,
    /// Ports of this run that the earlier one has no word on, or of which one run could not tell.
    not_compared: u64,
    /// Ports of the earlier run that this one did not ask.
    not_asked: u64,
}

#[derive(Clone, Serialize, JsonSchema)]
struct Change {
    host: String,
    address: IpAddr,
    transport: Transport,
    port: u16,
    kind: Kind,
    state_before: PortState,
    state: PortState,
    /// What the server told before.
    told_before: Option<String>,
    /// What it tells now.
    told: Option<String>,
}

/// What kind of change it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// It is open and was not.
    Opened,
    /// It was open and is not.
    Closed,
    /// It is in another state; neither is open.
    State,
    /// It is open as before, and the server tells something else.
    Answer,
}

impl Kind {
    const fn words(self) -> &'static str {
        match self {
            Self::Opened => "new",
            Self::Closed => "gone",
            Self::State => "other state",
            Self::Answer => "other answer",
        }
    }
}

impl Baseline {
    /// Reads a file that `probe --json` wrote. The error says what to type.
    pub(in super::super) fn read(text: &str) -> std::result::Result<Self, String> {
        let why = |why: String| {
            let shown = text.escape_debug();
            format!("cannot read {shown}: {why}; make one with: portolan probe HOST -p LIST --json")
        };
        let file = File::open(Path::new(text)).map_err(|error| why(error.to_string()))?;
        let mut json = String::new();
        let read = file.take(MOST_BYTES).read_to_string(&mut json);
        read.map_err(|error| why(error.to_string()))?;
        let baseline: Self = serde_json::from_str(&json).map_err(|error| why(error.to_string()))?;
        match baseline.omitted.is_empty() {
            true => Ok(baseline),
            false => Err(why("results are left out of it, since there were too many".to_owned())),
        }
    }

    /// The ports that a host was asked for; of a host that was not asked, all that anybody was. Each once, in their order.
    pub(super) fn ports(&self, host: &str) -> Vec<(Transport, u16)> {
        let is_it = |earlier: &&Earlier| earlier.host == host || earlier.address.to_string() == host;
        let known = self.results.iter().any(|earlier| is_it(&earlier));
        let asked = self.results.iter().filter(|earlier| !known || is_it(earlier));
        once(asked.map(|earlier| (earlier.transport, earlier.port)).collect())
    }

    /// Holds what was found against it.
    pub(super) fn compare(&self, results: &[Result]) -> Changed {
        let mut earlier: BTreeMap<(&str, Transport, u16), Vec<&Earlier>> = BTreeMap::new();
        for result in &self.results {
            earlier.entry((&result.host, result.transport, result.port)).or_default().push(result);
        }
        let mut changed = Changed { changes: Vec::new(), compared: 0, not_compared: 0, not_asked: 0 };
        for result in results {
            let key = (result.host.as_str(), result.transport, result.port);
            // A name may have another address than before; where it has several, each is compared with itself.
            let before = earlier.get_mut(&key).and_then(|before| {
                let same = before.iter().position(|before| before.address == result.address);
                let only = (before.len() == 1).then_some(0);
                same.or(only).map(|index| before.swap_remove(index))
            });
            let unclear = |state| state == PortState::Undecided;
            match before {
                Some(before) if !unclear(before.state) && !unclear(result.state) => {
                    changed.compared += 1;
                    changed.changes.extend(change(before, result));
                }
                _ => changed.not_compared += 1,
            }
        }
        changed.not_asked = earlier.values().map(|left| left.len() as u64).sum();
        changed
    }
}

fn change(before: &Earlier, now: &Result) -> Option<Change> {
    let open = |state| state == PortState::Open;
    let steady_before =
        before.answer.as_ref().map(|answer| (answer.protocol.as_str(), steady(&answer.summary)));
    let steady_now = now.answer.as_ref().map(|answer| (answer.protocol, steady(&answer.summary)));
    let kind = match (open(before.state), open(now.state)) {
        (false, true) => Kind::Opened,
        (true, false) => Kind::Closed,
        (false, false) if before.state != now.state => Kind::State,
        (true, true) if steady_before != steady_now => Kind::Answer,
        _ => return None,
    };
    Some(Change {
        host: now.host.clone(),
        address: now.address,
        transport: now.transport,
        port: now.port,
        kind,
        state_before: before.state,
        state: now.state,
        told_before: before.answer.as_ref().map(|answer| answer.summary.clone()),
        told: now.answer.as_ref().map(|answer| answer.summary.clone()),
    })
}

/// What a server tells, without words that no two moments have in common: moments, offsets in milliseconds, ids in
/// angle brackets, and the numbers and days of a date with its time.
fn steady(summary: &str) -> String {
    let words = || summary.split_whitespace();
    let is_time = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_ascii_digit());
        let parts: Vec<&str> = word.split(':').collect();
        matches!(parts.len(), 2 | 3) && parts.iter().all(|part| part.len() == 2 && digits(part))
    };
    let dated = words().any(is_time);
    let is_moment = |word: &str| {
        let day = word.get(..10).unwrap_or_default();
        day.split('-').map(str::len).eq([4, 2, 2]) && day.split('-').all(digits)
    };
    let of_date = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '+');
        let named = word.get(..3).is_some_and(|three| {
            const NAMES: &str = "MonTueWedThuFriSatSunJanFebMarAprMayJunJulAugSepOctNovDec";
            NAMES.as_bytes().chunks(3).any(|name| name == three.as_bytes())
        });
        digits(word.trim_start_matches('+')) || named
    };
    let is_id = |word: &str| word.starts_with('<') && word.trim_end_matches(['.', ',']).ends_with('>');
    let list: Vec<&str> = words().collect();
    let is_offset = |index: usize| {
        let number = list[index].trim_start_matches(['+', '-', '±']);
        digits(&number.replace('.', "")) && list.get(index + 1).is_some_and(|unit| unit.starts_with("ms"))
    };
    let varies = |index: usize, word: &str| {
        is_moment(word) || is_id(word) || is_time(word) || (dated && of_date(word)) || is_offset(index)
    };
    let kept: Vec<&str> = list
        .iter()
        .enumerate()
        .filter(|(index, word)| !varies(*index, word))
        .map(|(_, word)| *word)
        .collect();
    kept.join(" ")
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Changed {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether anything could be compared.
    pub(super) const fn tells(&self) -> bool {
        self.compared > 0
    }

    /// For people: what changed, each with before and now.
    pub(super) fn blocks(&self) -> Vec<Block> {
        let line = match self.changes.len() as u64 {
            0 => Line::new().and(Tone::Good, "no change"),
            count => Line::new().and(Tone::Warning, counted(count, "change")),
        };
        let mut line = line.plain(format!("   {} compared", counted(self.compared, "port")));
        for (count, what) in
            [(self.not_compared, "not comparable"), (self.not_asked, "of the file not asked")]
        {
            if count > 0 {
                line = line.plain(format!(", {} {what}", counted(count, "port")));
            }
        }
        let mut blocks = vec![Block::Line(line)];
        if self.changes.is_empty() {
            return blocks;
        }
        let columns = [
            Column::words("host"),
            Column::words("port"),
            Column::words("change"),
            Column::prose("before"),
            Column::prose("now"),
        ];
        let told = |state: PortState, told: &Option<String>| match told {
            Some(told) => format!("{}: {told}", state.word()),
            None => state.word().to_owned(),
        };
        let row = |change: &Change| {
            [
                change.host.clone(),
                format!("{}/{}", change.port, change.transport),
                change.kind.words().to_owned(),
                told(change.state_before, &change.told_before),
                told(change.state, &change.told),
            ]
        };
        blocks.push(Block::gap());
        blocks.push(Block::Table(Table::of_rows(columns, self.changes.iter().map(row).collect())));
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::steady;

    #[test]
    fn what_differs_from_moment_to_moment_is_no_change() {
        for (one, other) in [
            ("2026-11-22T00:50:37Z, stratum 5, +453 ms", "2026-11-22T00:51:00Z, stratum 5, -3 ms"),
            ("LAB.TEST, 2026-11-22T00:50:38Z (X)", "LAB.TEST, 2027-01-01T00:00:00Z (X)"),
            ("+OK ready <1.2@mail>", "+OK ready <3.4@mail>"),
            ("mx ESMTP Sun, 22 Nov 2026 01:02:03 +0000", "mx ESMTP Mon, 23 Nov 2026 07:08:09 +0000"),
        ] {
            assert_eq!(steady(one), steady(other));
        }
        for (one, other) in [
            ("Redis 7.0.15", "Redis 7.2.0"),
            ("200 OK, nginx 22", "200 OK, nginx 23"),
            ("stratum 5", "stratum 16"),
            ("OpenSSH_9.2", "OpenSSH_9.6"),
        ] {
            assert_ne!(steady(one), steady(other));
        }
    }
}
