//! netsh: dynamic and excluded ranges, in the recorded formats.
//!
//! Source: the recordings of `crates/core/tests/recordings/windows`; what is refused, and with which words, as in
//! `docs/windows.md`'s sources. An output is a recording whose numbers are replaced.

use crate::Said;
use crate::state::{Exclusion, State, Store};

/// Recordings by language and code page: a dynamic range, a list of excluded ranges.
macro_rules! recordings {
    ($($name:literal),+) => {
        &[$((
            $name,
            include_bytes!(concat!("../../../core/tests/recordings/windows/dynamicport-", $name, ".txt")),
            include_bytes!(concat!("../../../core/tests/recordings/windows/excludedportrange-", $name, ".txt")),
        )),+]
    };
}
const RECORDINGS: &[(&str, &[u8], &[u8])] =
    recordings!("en", "de-cp850", "fr-cp850", "ja-cp932", "ko-cp949", "ru-cp866", "zh-cp936");

const IN_USE: &str =
    "The process cannot access the file because it is being used by another process.\r\n\r\n";
const NOT_FOUND: &str = "The system cannot find the file specified.\r\n\r\n";
const WRONG: &str = "The parameter is incorrect.\r\n\r\n";

pub(crate) fn netsh(state: &mut State, words: &[&str]) -> Said {
    if state.silent {
        return (Vec::new(), 0);
    }
    let &["interface", family, verb, what, ref rest @ ..] = words else {
        return (Vec::new(), 0);
    };
    let value = |key: &str| rest.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let number = |key: &str| value(key).and_then(|digits| digits.parse::<u32>().ok()).unwrap_or(0);
    let (Some(transport), store) = (value("protocol"), value("store")) else {
        return (WRONG.into(), 1);
    };
    let table = format!("{family} {transport}");
    let said = match (verb, what) {
        ("show", "dynamicport") => {
            let store = store_of(state, store.unwrap_or("active"));
            return match store.dynamic.get(&table).copied() {
                Some((start, count)) => (shown_range(&state.language, transport, start, count), 0),
                None => (NOT_FOUND.into(), 1),
            };
        }
        ("show", "excludedportrange") => {
            let rows = excluded(state, &table, store.unwrap_or("active"));
            return (shown_list(&state.language, transport, &rows), 0);
        }
        ("set", "dynamicport") => set(state, (family, transport), (number("start"), number("num")), store),
        ("add", "excludedportrange") => {
            add(state, &table, number("startport"), number("numberofports"), store)
        }
        ("delete", "excludedportrange") => {
            delete(state, &table, number("startport"), number("numberofports"), store)
        }
        _ => Err(WRONG),
    };
    match said {
        Ok(()) => (b"Ok.\r\n\r\n".to_vec(), 0),
        Err(why) => (why.into(), 1),
    }
}

fn store_of<'a>(state: &'a mut State, store: &str) -> &'a mut Store {
    if store == "active" { &mut state.active } else { &mut state.persistent }
}

/// Both stores for what is kept, which holds at once.
fn stores<'a>(state: &'a mut State, store: Option<&str>) -> Vec<&'a mut Store> {
    match store {
        Some("active") => vec![&mut state.active],
        _ => vec![&mut state.active, &mut state.persistent],
    }
}

fn set(
    state: &mut State,
    (family, transport): (&str, &str),
    (start, count): (u32, u32),
    store: Option<&str>,
) -> Result<(), &'static str> {
    if start < 1025 || count < 255 || start + count > 65536 {
        return Err(WRONG);
    }
    let start = u16::try_from(start).map_err(|_| WRONG)?;
    let coupled = state.coupled && family == "ipv4" && transport == "tcp";
    for store in stores(state, store) {
        store.dynamic.insert(format!("{family} {transport}"), (start, count));
        if coupled {
            store.dynamic.insert(format!("ipv6 {transport}"), (start, count));
        }
    }
    Ok(())
}

/// What is excluded in a table: WinNAT's blocks too, while it runs.
fn excluded(state: &mut State, table: &str, store: &str) -> Vec<Exclusion> {
    let mut rows = store_of(state, store).excluded.get(table).cloned().unwrap_or_default();
    if let (Some(blocks), "active") = (state.blocks.get(table), store)
        && (state.stuck || winnat_runs())
    {
        // WinNAT takes no block in which something is excluded already.
        let is_free = |(first, last): &&(u16, u16)| !rows.iter().any(|row| row.0 <= *last && *first <= row.1);
        let blocks: Vec<Exclusion> =
            blocks.iter().filter(is_free).map(|(first, last)| (*first, *last, false)).collect();
        rows.extend(blocks);
    }
    rows.sort_unstable();
    rows
}

/// Asks Wine's own service manager.
fn winnat_runs() -> bool {
    let output = std::process::Command::new(r"C:\windows\system32\sc.exe").args(["query", "winnat"]).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("RUNNING"))
}

fn bounds(start: u32, count: u32) -> Result<(u16, u16), &'static str> {
    let last = (start + count).checked_sub(1).filter(|_| start > 0 && count > 0).ok_or(WRONG)?;
    Ok((u16::try_from(start).map_err(|_| WRONG)?, u16::try_from(last).map_err(|_| WRONG)?))
}

fn add(
    state: &mut State,
    table: &str,
    start: u32,
    count: u32,
    store: Option<&str>,
) -> Result<(), &'static str> {
    let (first, last) = bounds(start, count)?;
    let overlaps = |(from, to, _): &Exclusion| *from <= last && first <= *to;
    let is_taken = excluded(state, table, "active").iter().any(overlaps)
        || state.in_use.iter().any(|port| (first..=last).contains(port));
    if is_taken {
        return Err(IN_USE);
    }
    for store in stores(state, store) {
        store.excluded.entry(table.to_owned()).or_default().push((first, last, true));
    }
    Ok(())
}

/// Only what was added, and only whole.
fn delete(
    state: &mut State,
    table: &str,
    start: u32,
    count: u32,
    store: Option<&str>,
) -> Result<(), &'static str> {
    let (first, last) = bounds(start, count)?;
    let mut found = false;
    for store in stores(state, store) {
        let rows = store.excluded.entry(table.to_owned()).or_default();
        let before = rows.len();
        rows.retain(|row| *row != (first, last, true));
        found |= rows.len() < before;
    }
    if found { Ok(()) } else { Err(NOT_FOUND) }
}

fn recording(language: &str) -> (&'static [u8], &'static [u8]) {
    let found = RECORDINGS.iter().find(|(name, ..)| *name == language).unwrap_or(&RECORDINGS[0]);
    (found.1, found.2)
}

fn is_dashes(line: &[u8]) -> bool {
    line.starts_with(b"---")
}

fn digits(line: &[u8]) -> bool {
    line.iter().any(u8::is_ascii_digit)
}

/// A recording's line with another transport in it: netsh writes `tcp` in every language.
fn with_transport(line: &[u8], transport: &str) -> Vec<u8> {
    match line
        .windows(3)
        .position(|part| part.eq_ignore_ascii_case(b"tcp") || part.eq_ignore_ascii_case(b"udp"))
    {
        Some(at) => [&line[..at], transport.as_bytes(), &line[at + 3..]].concat(),
        None => line.to_vec(),
    }
}

fn shown_range(language: &str, transport: &str, start: u16, count: u32) -> Vec<u8> {
    let mut numbers = [u32::from(start), count].into_iter();
    let mut text = Vec::new();
    for line in recording(language).0.split_inclusive(|byte| *byte == b'\n') {
        match line.iter().position(|byte| *byte == b':').filter(|_| digits(line)) {
            Some(colon) => {
                text.extend_from_slice(&line[..=colon]);
                text.extend_from_slice(format!(" {}\r\n", numbers.next().unwrap_or(0)).as_bytes());
            }
            None => text.extend(with_transport(line, transport)),
        }
    }
    text
}

fn shown_list(language: &str, transport: &str, rows: &[Exclusion]) -> Vec<u8> {
    let mut text = Vec::new();
    for line in recording(language).1.split_inclusive(|byte| *byte == b'\n') {
        if digits(line) {
            continue;
        }
        text.extend(with_transport(line, transport));
        if is_dashes(line) {
            for (first, last, administered) in rows {
                let mark = if *administered { "     *" } else { "" };
                text.extend_from_slice(format!("{first:>10}  {last:>10}{mark}\r\n").as_bytes());
            }
        }
    }
    text
}
