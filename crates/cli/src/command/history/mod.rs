//! `portolan history`: how ports, owners and the room left went over time, from the recorder's file.
//!
//! What is kept stands in `portolan_history`, slopes and endings in `portolan_core::course`, pictures in `plot`. Here is
//! what is asked of the file; how it is told stands in `show.rs`, the diary of ranges and reservations in `diary.rs`.

mod diary;
mod read;
mod show;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueEnum};
use portolan_core::record::What;
use portolan_history::Store;
use schemars::{Schema, schema_for};

use crate::command::{Command, Output};
use crate::exit::Misuse;
use crate::plot::PICTURES;
use crate::report::{Block, Line, Report};
use crate::source::Session;
use crate::typed::{When, when};

/// Where the help tells which part.
const WHICH: &str = "Which part of the record";
/// Where the help tells in which form.
const CHART: &str = "As a picture";

/// Tell how it went: who grew, how much room was left, when it ends; as a chart, a picture, a table
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan history                                   the last 24 hours
  portolan history --by owner --since 7d --top 5
  portolan history --by destination --name '*:5432' --chart room.svg
  portolan history --since 2026-11-01 --until 2026-11-02T12:00 --format csv
  portolan history --diary                           ranges and reservations, whenever they changed

portolan record writes the file. Spans (30m, 24h, 7d, 2w, 1y) count back from the last look; times
are in UTC. When the room ends is told from a steady fall since the last step, with bounds of 95 %;
steps, waves and noise are no trend, neither is a fall that came and went by itself before. Time
without a record is a gap, not a zero.
Exit codes: 0 fine; 1 the room ends or has ended, or a warning lasts; 2 there is no record, or typed
wrong.")]
pub(crate) struct History {
    /// From when on: a span before the last look, or a time
    #[arg(long, help_heading = WHICH, value_name = "SPAN|TIME", default_value = "24h", value_parser = when)]
    since: When,
    /// Until when; without it the last look
    #[arg(long, help_heading = WHICH, value_name = "SPAN|TIME", value_parser = when)]
    until: Option<When>,
    /// What is charted; destination and room: the ports left
    #[arg(long, help_heading = WHICH, value_name = "KIND", value_enum, default_value_t)]
    by: By,
    /// So many at most, those with most; of rooms those with least left
    #[arg(long, help_heading = WHICH, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1000))]
    top: u16,
    /// Those of that name alone; * stands for any characters
    #[arg(long, help_heading = WHICH, value_name = "PATTERN")]
    name: Option<String>,
    /// Ranges and reservations instead, whenever they changed
    #[arg(long, help_heading = WHICH, conflicts_with_all = ["by", "top", "name", "chart"])]
    diary: bool,
    /// The record; without it history.db beside the journal of changes
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Draw it to this file too: .svg or .png; one that is there already is refused
    #[arg(long, help_heading = CHART, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Replace the file of --chart
    #[arg(long, help_heading = CHART, requires = "chart")]
    force: bool,
}

/// What is charted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum By {
    #[default]
    Total,
    State,
    Owner,
    Leak,
    Descriptors,
    Destination,
    Room,
    Limit,
}

impl From<By> for What {
    fn from(by: By) -> Self {
        match by {
            By::Total => Self::Total,
            By::State => Self::State,
            By::Owner => Self::Owner,
            By::Leak => Self::Leak,
            By::Descriptors => Self::Descriptors,
            By::Destination => Self::Destination,
            By::Room => Self::Room,
            By::Limit => Self::Limit,
        }
    }
}

/// JSON Schema of the report.
pub(super) fn schema() -> Schema {
    schema_for!(read::Sheet)
}

/// JSON Schema of the diary.
pub(super) fn diary_schema() -> Schema {
    schema_for!(diary::Diary)
}

impl Command for History {
    fn run(&self, session: &Session) -> Result<Output> {
        session.needs_machine("history")?;
        if session.namespace().typed().is_some() {
            let text = "a record is of one network namespace, and says which: leave --netns out, and name its file with --file";
            return Err(Misuse(text.to_owned()).into());
        }
        let writer = self.chart.as_deref().map(|path| picture(path, self.force)).transpose()?;
        let file = match &self.file {
            Some(file) => file.clone(),
            None => session.history()?,
        };
        let store = Store::read(&file)?;
        let shown = file.display().to_string();
        let window = read::window(&store, &shown, self.since, self.until)?;
        if self.diary {
            return Ok(Output::Report(diary::report(&store, shown, window)?));
        }
        let asked = read::Asked { what: self.by.into(), top: self.top.into(), name: self.name.as_deref() };
        let sheet = read::sheet(&store, shown, window, &asked)?;
        let plot = show::plot(&sheet);
        let drawn = match (writer, &self.chart) {
            (Some(writer), Some(path)) => {
                write(path, &writer(&plot), self.force)?;
                Some(path)
            }
            _ => None,
        };
        let mut blocks = show::blocks(&sheet, plot);
        if let Some(path) = drawn {
            let told = Line::new().plain("drawn to ").strong(path.display().to_string());
            blocks.extend([Block::Line(told), Block::gap()]);
        }
        let (rows, gaps, exit) = (show::rows(&sheet), sheet.gaps.clone(), sheet.exit());
        Ok(Output::Report(Report { exit, ..Report::new(sheet, blocks, rows, gaps) }))
    }
}

/// What draws a picture with that name.
fn picture(path: &Path, force: bool) -> Result<fn(&crate::plot::Plot) -> Vec<u8>> {
    let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default().to_ascii_lowercase();
    let Some((_, write)) = PICTURES.iter().find(|(name, _)| *name == end) else {
        let shown = path.display();
        return Err(Misuse(format!("cannot draw {shown}: name a file that ends in .svg or .png")).into());
    };
    if !force && path.exists() {
        return Err(there(path).into());
    }
    Ok(*write)
}

fn there(path: &Path) -> Misuse {
    Misuse(format!("{} is there already: name another file, or replace it with --force", path.display()))
}

fn write(path: &Path, picture: &[u8], force: bool) -> Result<()> {
    let opened = if force { File::create(path) } else { File::create_new(path) };
    let written = opened.and_then(|mut file| file.write_all(picture));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => there(path).into(),
        _ => {
            let shown = path.display();
            Misuse(format!("cannot write {shown}: {error}; name another file with --chart")).into()
        }
    })
}
