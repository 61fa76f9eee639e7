//! Windows' `netstat -ano`, `-anob`, `-anobq`, with or without the columns of each option, in any display language.
//!
//! Source: outputs of Windows 10 and 11; Microsoft's page on netstat. A row is known by its transport, written `TCP` or
//! `UDP` in every language, and by two endpoints. With `-b` the lines below a row name its service, and its program in
//! brackets; where neither was visible they hold a sentence in the display language.
//! Left out on purpose: the columns of `-t`, `-x`, `-y` and `-f`.

use std::collections::BTreeMap;

use super::{Format, Gathering, Place};
use crate::listing::Line;
use crate::listing::endpoint::{any_of, decimal, endpoint};
use crate::listing::gathering::{Holding, Seen};
use crate::listing::state::state;
use crate::listing::state::without_holder;
use crate::owner::Origin;
use crate::snapshot::{Gap, GapReason, System};
use crate::socket::{Family, Socket, State, Transport};

pub(super) const FORMAT: Format = Format {
    name: "netstat -ano (Windows)",
    system: Some(System::Windows),
    begins: |place| row(place.here()).is_some(),
    read,
};

/// One row before its state is certain.
struct Row {
    seen: Seen,
    /// What the state column says, where it is not understood.
    word: Option<String>,
    /// The process id; none where the listing has no such column.
    pid: Option<u32>,
}

/// Whether a line begins as a row does.
fn is_row(line: &str) -> bool {
    line.split_ascii_whitespace().next().is_some_and(|first| first == "TCP" || first == "UDP")
}

fn row(line: &str) -> Option<Row> {
    let mut words = line.split_whitespace();
    let transport = match words.next()? {
        "TCP" => Transport::Tcp,
        "UDP" => Transport::Udp,
        _ => return None,
    };
    let (local, remote) = (endpoint(words.next()?)?, endpoint(words.next()?)?);
    let address = local.address?;
    let (near, far) = (local.or(address), remote.or(any_of(address)));
    if Family::of(far.ip()) != Family::of(near.ip()) {
        return None;
    }
    let rest: Vec<&str> = words.collect();
    let pid_at = rest.iter().position(|word| decimal::<u32>(word).is_some());
    let word = rest.get(..pid_at.unwrap_or(rest.len())).unwrap_or_default().join(" ");
    let known = match transport {
        Transport::Udp => Some(State::Unconnected),
        Transport::Tcp => state(&word),
    };
    let origin = Origin { interface: local.zone.map(str::to_owned), ..Origin::default() };
    let socket = Socket::new(transport, known.unwrap_or(State::Established), near, far);
    Some(Row {
        seen: Seen { origin, ..Seen::new(socket) },
        word: known.is_none().then_some(word),
        pid: pid_at.and_then(|at| decimal(rest[at])),
    })
}

fn read(place: &Place<'_>, gathering: &mut Gathering) -> usize {
    let lines = place.lines;
    let mut rows: Vec<Row> = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        if let Some(mut row) = row(line.text) {
            at += 1;
            at += below(&lines[at..], &mut row, gathering);
            rows.push(row);
        } else if is_row(line.text) {
            gathering.odd(line.number, line.text);
            at += 1;
        } else if line.is_blank() && lines.get(at + 1).is_some_and(|next| is_row(next.text)) {
            at += 1;
        } else {
            break;
        }
    }
    infer_states(&mut rows, place.file, gathering);
    for row in rows {
        gathering.socket(row.seen);
    }
    at
}

/// Reads the lines of `-b` below a row, and gives their number.
fn below(lines: &[Line<'_>], row: &mut Row, gathering: &mut Gathering) -> usize {
    let mut count = 0;
    let mut program = None;
    let mut service = None;
    while program.is_none()
        && let Some(line) = lines.get(count)
    {
        let text = line.text.trim();
        let next = lines.get(count + 1).map_or("", |line| line.text);
        let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let expected = line.text.starts_with(' ') || is_row(next) || next.trim().starts_with('[');
        if text.is_empty() || is_row(text) || !(inside.is_some() || expected) {
            break;
        }
        match inside {
            Some(inside) => program = Some(inside),
            // A service has a short name; the sentence for what was not visible has several words.
            None if is_service(text) => service = Some(text),
            None => {}
        }
        count += 1;
    }
    let pid = row.pid.filter(|pid| *pid != 0);
    let name = program.map(|name| name.chars().take(256).collect());
    match pid {
        Some(pid) => {
            if let (Some(service), Some(_)) = (service, program) {
                gathering.services(pid, service);
            }
            row.seen.holdings.push(Holding { pid, name, descriptor: None });
        }
        None if row.pid.is_some() => row.seen.socket.owner_state = without_holder(row.seen.socket.state),
        None => {}
    }
    count
}

fn is_service(text: &str) -> bool {
    text.len() <= 256
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$'))
}

/// Gives rows with a word for their state that is not known the state that the rest of the row proves: without a peer
/// they listen, of process 0 they are in TIME_WAIT. Where several unknown words stand in rows without a peer, one of
/// them means bound, and nothing tells which.
fn infer_states(rows: &mut [Row], file: &str, gathering: &mut Gathering) {
    let peerless =
        |row: &Row| row.seen.socket.remote_port == 0 && row.seen.socket.remote_address().is_unspecified();
    let mut words: Vec<&str> =
        rows.iter().filter(|row| peerless(row)).filter_map(|row| row.word.as_deref()).collect();
    words.sort_unstable();
    words.dedup();
    let ambiguous = words.len() > 1;
    let mut guessed: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        let Some(word) = row.word.take() else { continue };
        let (state, certain) = match (peerless(row), row.pid) {
            (true, _) => (State::Listen, !ambiguous),
            (false, Some(0)) => (State::TimeWait, true),
            (false, _) => (State::Established, false),
        };
        row.seen.socket.state = state;
        if row.pid == Some(0) {
            row.seen.socket.owner_state = without_holder(state);
        }
        if !certain {
            let word = word.chars().take(40).collect();
            *guessed.entry(word).or_default() += 1;
        }
    }
    for (word, count) in guessed.into_iter().take(16) {
        let detail = format!(
            "{file}: the state '{word}' of {count} rows is not known; taken for listening where there is no peer, else for ESTABLISHED"
        );
        gathering.gap(Gap::new("states", GapReason::Malformed, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_known_by_its_endpoints_and_not_by_its_words() {
        let row = row("  TCP    0.0.0.0:135   0.0.0.0:0   \u{fffd}\u{fffd}   748").unwrap();
        assert_eq!((row.seen.socket.local().to_string().as_str(), row.pid), ("0.0.0.0:135", Some(748)));
        assert_eq!(row.word.as_deref(), Some("\u{fffd}\u{fffd}"));
    }

    #[test]
    fn other_lines_are_no_rows() {
        for line in [
            "",
            "TCP",
            "TCP a b c",
            "tcp 0 0 0.0.0.0:1 0.0.0.0:*",
            "  TCP  0.0.0.0:1  [::]:0  LISTENING 4",
            "UDP *:* *:*",
        ] {
            assert!(row(line).is_none(), "{line}");
        }
    }
}
