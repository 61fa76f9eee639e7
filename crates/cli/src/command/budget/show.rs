//! The budget for people and for spreadsheets.

use portolan_core::limits::Limit;
use portolan_core::room::{Call, Room, Unknown};
use portolan_core::socket::{State, Transport};

use super::Sheet;
use super::rows::{RoomRow, UserRow};
use crate::advice;
use crate::cells::{Column, Table};
use crate::report::{Block, Line};
use crate::text::{counted, grouped, span};

/// Rows that are shown of each kind.
const SHOWN: usize = 10;
/// A limit is shown from this share of it on, in percent, or once it refused something.
const WORTH: u64 = 1;

/// The namespace's name above what is told of it.
pub(super) fn heading(name: &str) -> Block {
    Block::Line(Line::new().strong(format!("network namespace {name}")))
}

/// Everything for people, the least room first.
pub(super) fn blocks(sheet: &Sheet) -> Vec<Block> {
    let mut blocks = Vec::new();
    if let Some(attempt) = &sheet.attempt {
        blocks.extend([Block::Line(attempt.line()), Block::gap()]);
    }
    blocks.push(match sheet.room.is_empty() {
        true => Block::Line("the ephemeral range was not read: nothing can be counted".into()),
        false => Block::Table(table(sheet)),
    });
    let shown = shown(sheet).count();
    if sheet.room.len() > shown {
        let rest = grouped((sheet.room.len() - shown) as u64);
        blocks.push(Block::Line(format!("and {rest} more destinations with as much room or more").into()));
    }
    let beside: Vec<Block> = [users(sheet), limits(sheet), reasons(sheet)].into_iter().flatten().collect();
    if !beside.is_empty() {
        blocks.push(Block::gap());
        blocks.extend(beside);
    }
    let findings = advice::blocks(&sheet.findings);
    if !findings.is_empty() {
        blocks.push(Block::gap());
        blocks.extend(findings);
    }
    blocks.push(Block::gap());
    blocks
}

/// The worst destinations, and every row that is not about one.
fn shown(sheet: &Sheet) -> impl Iterator<Item = &RoomRow> {
    let mut destinations = 0;
    sheet.room.iter().filter(move |row| {
        destinations += usize::from(row.destination.is_some());
        row.destination.is_none() || destinations <= SHOWN
    })
}

fn table(sheet: &Sheet) -> Table {
    let columns =
        [Column::words("for"), Column::numbers("left"), Column::numbers("of"), Column::prose("the rest")];
    let row = |row: &RoomRow| [what(row), room(row.left.room), grouped(row.left.ports.into()), rest(row)];
    Table::of_rows(columns, shown(sheet).map(row).collect())
}

/// What the room is for, in a few words.
fn what(row: &RoomRow) -> String {
    let families = match (row.source, &row.families[..]) {
        (None, [one]) => format!(" ({one})"),
        _ => String::new(),
    };
    let on = row.source.map_or(families.clone(), |source| format!(" on {source}"));
    let meant = row.asked_as.map_or_else(String::new, |typed| format!(" (where {} goes)", typed.ip()));
    match (row.transport, row.call, row.destination, row.source) {
        (Transport::Tcp, Call::Connect, Some(to), Some(source)) => format!("{source} → {to}{meant}"),
        (Transport::Tcp, Call::Connect, Some(to), None) => format!("any → {to}{meant}"),
        (Transport::Tcp, Call::Connect, None, Some(source)) => format!("{source} → any other"),
        (Transport::Tcp, Call::Connect, None, None) => format!("any other destination{families}"),
        (transport, Call::Bind, _, _) => format!("{transport} bind(0){on}"),
        // The port is given before the address is.
        (Transport::Udp, Call::Connect, _, _) => format!("udp connect, send{families}"),
    }
}

fn room(room: Room) -> String {
    match room.is_exact() {
        true => grouped(room.max.into()),
        false => format!("{} to {}", grouped(room.min.into()), grouped(room.max.into())),
    }
}

/// Where the rest is: who has it, in which state, and for how long there is room.
fn rest(row: &RoomRow) -> String {
    let mut told = Vec::new();
    let count = |told: &mut Vec<String>, number: u32, what: &str| {
        if number > 0 {
            told.push(format!("{} {what}", grouped(number.into())));
        }
    };
    if let Some(end) = row.ends {
        told.push(format!("at the present rate for {}", span((end.likely_s * 1000.0) as u64)));
    }
    for share in row.users.iter().take(3) {
        told.push(format!("{} {}", share.who, grouped(share.sockets.into())));
    }
    if row.users.is_empty() {
        count(&mut told, row.left.used, "in use");
    }
    // Of other calls than to a destination the users are told with whatever they have.
    if row.users.is_empty() || row.destination.is_some() {
        count(&mut told, row.left.burnt, "bound explicitly");
    }
    count(&mut told, row.left.reserved, "reserved");
    told.join(", ")
}

fn users(sheet: &Sheet) -> Vec<Block> {
    let shown = sheet.users.iter().take(SHOWN).enumerate();
    let mut blocks: Vec<Block> = shown
        .map(|(index, user)| Block::Entry {
            label: if index == 0 { "who" } else { "" },
            hang: 2,
            text: Line::from(user_text(user)),
        })
        .collect();
    if sheet.users.len() > SHOWN {
        let rest: u32 = sheet.users.iter().skip(SHOWN).map(UserRow::sockets).sum();
        let others = counted((sheet.users.len() - SHOWN) as u64, "other");
        blocks.push(Block::entry("", format!("{others} with {}", counted(rest.into(), "socket"))));
    }
    blocks
}

fn user_text(user: &UserRow) -> String {
    let mut told: Vec<String> =
        user.tcp.iter().map(|(state, count)| format!("{} {state}", grouped((*count).into()))).collect();
    if user.udp > 0 {
        told.push(format!("{} UDP", grouped(user.udp.into())));
    }
    let mut handles = match (user.handles, user.handle_limit) {
        (Some(open), Some(limit)) => {
            format!("; {} of {} descriptors", grouped(open.into()), grouped(limit))
        }
        (Some(open), None) => format!("; {} open", counted(open.into(), "handle")),
        (None, _) => String::new(),
    };
    if let Some(sockets) = user.socket_handles {
        handles.push_str(&format!("; {} open", counted(sockets.into(), "socket handle")));
    }
    format!("{}   {}: {}{handles}", user.who, counted(user.sockets().into(), "socket"), told.join(", "))
}

fn limits(sheet: &Sheet) -> Vec<Block> {
    let worth = |limit: &&Limit| {
        limit.percent().is_some_and(|p| p >= WORTH)
            || limit.refused.is_some_and(|n| n > 0)
            // Where no setting is a bound, there is the number alone.
            || limit.setting.is_none()
    };
    let shown = sheet.limits.iter().filter(worth).enumerate();
    shown
        .map(|(index, limit)| Block::entry(if index == 0 { "limits" } else { "" }, limit_text(limit)))
        .collect()
}

fn limit_text(limit: &Limit) -> String {
    let used = match (limit.used, limit.max) {
        (Some(used), Some(max)) => {
            format!("{} of {} {}", grouped(used), grouped(max), limit.unit)
        }
        (Some(used), None) => format!("{} {}", grouped(used), limit.unit),
        (None, Some(max)) => format!("{} {}", grouped(max), limit.unit),
        (None, None) => limit.unit.to_owned(),
    };
    let percent = limit.percent().map_or_else(String::new, |percent| format!(" ({percent} %)"));
    let refused = match limit.refused {
        Some(count @ 1..) => format!(", refused {}", counted(count, "time")),
        _ => String::new(),
    };
    format!("{}   {used}{percent}{refused}", limit.what)
}

/// Why some of the rooms are ranges, each reason once.
fn reasons(sheet: &Sheet) -> Vec<Block> {
    let mut reasons: Vec<Unknown> = shown(sheet).flat_map(|row| row.left.unknown.iter().copied()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    let told = reasons.into_iter().enumerate();
    told.map(|(index, reason)| Block::entry(if index == 0 { "inexact" } else { "" }, reason.text())).collect()
}

/// The rooms for a spreadsheet.
pub(super) fn rows(sheets: &[Sheet]) -> Table {
    let columns = [
        Column::words("namespace"),
        Column::words("transport"),
        Column::words("call"),
        Column::words("source"),
        Column::words("destination"),
        Column::words("range"),
        Column::numbers("ports"),
        Column::numbers("reserved"),
        Column::numbers("burnt"),
        Column::numbers("used"),
        Column::numbers("min"),
        Column::numbers("max"),
        Column::numbers("time-wait"),
        Column::prose("who"),
    ];
    let row = |name: &str, row: &RoomRow| {
        let left = &row.left;
        [
            name.to_owned(),
            row.transport.to_string(),
            if row.call == Call::Connect { "connect" } else { "bind" }.to_owned(),
            row.source.map(|source| source.to_string()).unwrap_or_default(),
            row.destination.map(|to| to.to_string()).unwrap_or_default(),
            left.range.to_string(),
            left.ports.to_string(),
            left.reserved.to_string(),
            left.burnt.to_string(),
            left.used.to_string(),
            left.room.min.to_string(),
            left.room.max.to_string(),
            row.states.get(&State::TimeWait).copied().unwrap_or(0).to_string(),
            row.users.first().map(|share| share.who.clone()).unwrap_or_default(),
        ]
    };
    let of_sheet = |sheet: &Sheet| {
        let name = sheet.namespace.clone().unwrap_or_default();
        sheet.room.iter().map(|room| row(&name, room)).collect::<Vec<_>>()
    };
    Table::of_rows(columns, sheets.iter().flat_map(of_sheet).collect())
}
