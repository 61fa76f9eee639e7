//! What a command found, before any format: a body for machines, blocks for people, rows for spreadsheets.
//!
//! Commands build reports and print nothing; formats write reports and know no command.

use std::io;

use portolan_core::port::PortSet;
use portolan_core::snapshot::Gap;
use serde::Serialize;

use crate::cells::Table;
use crate::exit::Exit;
use crate::plot::Plot;

/// How a piece of text is meant; a format turns it into colour, or leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// What the eye should find first.
    Strong,
    /// What matters less.
    Faint,
    /// All is well.
    Good,
    /// Something will fail.
    Warning,
    /// Something fails.
    Bad,
    /// A command to type: never broken over two lines.
    Command,
}

/// One line of text in pieces, each with its tone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line(pub(crate) Vec<(Tone, String)>);

impl Line {
    /// An empty line.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The line with one more piece.
    #[must_use]
    pub(crate) fn and(mut self, tone: Tone, text: impl Into<String>) -> Self {
        self.0.push((tone, text.into()));
        self
    }

    /// The line with another behind it.
    #[must_use]
    pub(crate) fn joined(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The line with one more plain piece.
    #[must_use]
    pub(crate) fn plain(self, text: impl Into<String>) -> Self {
        self.and(Tone::Plain, text)
    }

    /// The line with one more strong piece.
    #[must_use]
    pub(crate) fn strong(self, text: impl Into<String>) -> Self {
        self.and(Tone::Strong, text)
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self::new().plain(text)
    }
}

impl From<&str> for Line {
    fn from(text: &str) -> Self {
        Self::new().plain(text)
    }
}

/// What a strip of the port picture shows in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shade {
    /// Whether all, some or none of the cell's ports are in the set.
    Coverage,
    /// How many of the cell's ports are in the set.
    Amount,
}

/// One strip of the port picture, over all 65,536 ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Strip {
    /// Its name at the left edge.
    pub(crate) label: &'static str,
    /// The ports it shows.
    pub(crate) ports: PortSet,
    /// How.
    pub(crate) shade: Shade,
}

/// A piece of a report for people.
pub(crate) enum Block {
    /// A line that is shown as it is; an empty one sets apart.
    Line(Line),
    /// Text behind a label, broken into lines below itself.
    Entry {
        /// The label; empty to go on below the one before.
        label: &'static str,
        /// How much further in the text's further lines stand.
        hang: usize,
        /// The text.
        text: Line,
    },
    /// A table.
    Table(Table),
    /// The picture of all ports.
    Picture(Vec<Strip>),
    /// How numbers went over time.
    Plot(Plot),
}

impl Block {
    /// Text behind a label.
    pub(crate) fn entry(label: &'static str, text: impl Into<Line>) -> Self {
        Self::Entry { label, hang: 0, text: text.into() }
    }

    /// An empty line.
    pub(crate) fn gap() -> Self {
        Self::Line(Line::new())
    }
}

/// What a machine reads: anything that serializes, written straight to the output and never held as a whole.
pub(crate) trait Body {
    /// Writes it as JSON.
    fn write_json(&self, out: &mut dyn io::Write) -> io::Result<()>;
}

impl<T: Serialize> Body for T {
    fn write_json(&self, out: &mut dyn io::Write) -> io::Result<()> {
        serde_json::to_writer(out, self).map_err(io::Error::from)
    }
}

/// What a command found.
pub(crate) struct Report {
    /// For machines; it carries the gaps too.
    pub(crate) body: Box<dyn Body>,
    /// For people, the verdict first; without the gaps, which a format adds at the end.
    pub(crate) blocks: Vec<Block>,
    /// For spreadsheets.
    pub(crate) rows: Table,
    /// What could not be seen; none where nothing of the machine was looked at.
    pub(crate) gaps: Option<Vec<Gap>>,
    /// Told on standard error besides, a line each, whatever the format: for output that scripts read.
    pub(crate) aside: Vec<String>,
    /// How the program ends.
    pub(crate) exit: Exit,
    /// Whether it goes on where another report ended: a spreadsheet has its header already.
    pub(crate) continues: bool,
}

impl Report {
    /// A report on something seen, that ends well.
    pub(crate) fn new(body: impl Body + 'static, blocks: Vec<Block>, rows: Table, gaps: Vec<Gap>) -> Self {
        let (body, gaps) = (Box::new(body), Some(gaps));
        Self { body, blocks, rows, gaps, aside: Vec::new(), exit: Exit::Fine, continues: false }
    }
}
