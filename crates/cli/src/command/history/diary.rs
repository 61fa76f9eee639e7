//! The diary: what was set about ports, whenever it changed and after each start of the machine. On Windows the blocks
//! that the system sets aside move at each start, and this is where they were.

use anyhow::Result;
use portolan_history::{Change, Setting, Store, Whose};
use schemars::JsonSchema;
use serde::Serialize;

use super::read::Window;
use crate::cells::{Column, Table};
use crate::report::{Block, Line, Report};
use crate::text::moment;

/// One page: what was set from then on.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Page {
    /// When it was seen first, milliseconds since 1970-01-01 UTC.
    pub(super) at_ms: u64,
    /// In which boot; empty where the system does not say.
    boot: String,
    /// Whether it is the first page of its kind: there was none to compare it with.
    pub(super) first: bool,
    /// Whether the machine had started anew since the page before.
    pub(super) started: bool,
    /// What is there that was not before; all of it on the first page.
    added: Vec<String>,
    /// What was there and is no more.
    removed: Vec<String>,
    /// All that is set.
    #[serde(flatten)]
    set: Setting,
}

/// The pages of a part of the record.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Diary {
    /// The recorder's file.
    file: String,
    /// Whose it is; null where the file is older than that it was written down.
    whose: Option<Whose>,
    /// From when on, milliseconds since 1970-01-01 UTC.
    since_ms: u64,
    /// Until when.
    until_ms: u64,
    /// The pages, the oldest first: what held at the beginning, and what changed.
    pages: Vec<Page>,
}

impl Page {
    fn new(change: Change, before: Option<&Change>) -> Self {
        let words = lines(&change.set);
        let old = before.map(|before| lines(&before.set)).unwrap_or_default();
        let without = |words: &[String], others: &[String]| -> Vec<String> {
            words.iter().filter(|word| !others.contains(word)).cloned().collect()
        };
        Self {
            at_ms: change.at_ms,
            first: before.is_none(),
            started: before.is_some_and(|before| before.boot != change.boot),
            added: without(&words, &old),
            removed: without(&old, &words),
            boot: change.boot,
            set: change.set,
        }
    }

    const fn kind(&self) -> &'static str {
        match self.set {
            Setting::Ranges(_) => "ranges",
            Setting::Reservations(_) => "reservations",
        }
    }

    /// Whether anything is otherwise than on the page before.
    pub(super) const fn has_changes(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty()
    }

    /// What changed, in words.
    pub(super) fn changed(&self) -> String {
        let signed = |sign: char, words: &[String]| -> Vec<String> {
            words.iter().map(|word| format!("{sign}{word}")).collect()
        };
        let told = match (self.has_changes(), self.first) {
            (false, true) => "none".to_owned(),
            (false, false) => "as before".to_owned(),
            (true, _) => [signed('+', &self.added), signed('-', &self.removed)].concat().join(", "),
        };
        format!("{}: {told}", self.kind())
    }

    /// All that it tells, in words.
    fn text(&self) -> String {
        format!("{}{}", if self.started { "the machine started; " } else { "" }, self.changed())
    }
}

/// What is set, each in words.
fn lines(set: &Setting) -> Vec<String> {
    match set {
        Setting::Ranges(ranges) => ranges
            .iter()
            .map(|range| format!("{} {} {}", range.transport, range.family, range.range))
            .collect(),
        Setting::Reservations(reservations) => {
            let word = |reservation: &portolan_core::range::Reservation| {
                let transport = reservation.transport.map(|transport| format!(" {transport}"));
                let family = reservation.family.map(|family| format!(" {family}"));
                let by = reservation.by.as_ref().map(|by| format!(" by {by}"));
                let rest: String = [transport, family, by].into_iter().flatten().collect();
                format!("{}{rest}", reservation.range)
            };
            reservations.iter().map(word).collect()
        }
    }
}

/// Every page of the record, each beside the one of its kind before it.
pub(super) fn pages(store: &Store) -> Result<Vec<Page>> {
    let changes = store.changes()?;
    let kind = |change: &Change| matches!(change.set, Setting::Ranges(_));
    let page = |(place, change): (usize, &Change)| {
        let before = changes.iter().take(place).rev().find(|before| kind(before) == kind(change));
        Page::new(change.clone(), before)
    };
    Ok(changes.iter().enumerate().map(page).collect())
}

/// The diary: what held at the beginning of the window, and what changed in it.
pub(super) fn report(store: &Store, file: String, window: Window) -> Result<Report> {
    let mut pages = pages(store)?;
    pages.retain(|page| page.at_ms < window.to_ms);
    let holds = |ranges: bool| {
        let own =
            |page: &&Page| matches!(page.set, Setting::Ranges(_)) == ranges && page.at_ms < window.from_ms;
        pages.iter().filter(own).map(|page| page.at_ms).max()
    };
    let (ranges, reservations) = (holds(true), holds(false));
    pages.retain(|page| {
        let held = if matches!(page.set, Setting::Ranges(_)) { ranges } else { reservations };
        page.at_ms >= window.from_ms || Some(page.at_ms) == held
    });
    let rows: Vec<[String; 2]> = pages.iter().map(|page| [moment(page.at_ms), page.text()]).collect();
    let table = || Table::of_rows([Column::words("time"), Column::words("set")], rows.clone());
    let whose = store.whose()?;
    let mut blocks: Vec<Block> = whose.as_ref().map(super::show::whose).into_iter().collect();
    blocks.extend(match pages.is_empty() {
        true => [Block::Line(Line::from("no ranges and no reservations were recorded")), Block::gap()],
        false => [Block::Table(table()), Block::gap()],
    });
    let rows = table();
    let diary = Diary { file, whose, since_ms: window.from_ms, until_ms: window.to_ms, pages };
    Ok(Report::new(diary, blocks, rows, Vec::new()))
}
