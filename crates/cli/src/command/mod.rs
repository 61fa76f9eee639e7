//! Commands: each turns its arguments and what is to be seen into a report. None prints, none knows a format.
//!
//! A new command is a new file here and a variant in `args.rs`.

pub(crate) mod budget;
pub(crate) mod chart;
pub(crate) mod close;
pub(crate) mod completions;
pub(crate) mod connect;
pub(crate) mod explain;
pub(crate) mod free;
pub(crate) mod history;
pub(crate) mod hold;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod pick;
pub(crate) mod portqry;
pub(crate) mod probe;
pub(crate) mod range;
pub(crate) mod record;
pub(crate) mod reserve;
pub(crate) mod resume;
pub(crate) mod schema;
pub(crate) mod snapshot;
pub(crate) mod trace;
pub(crate) mod undo;
pub(crate) mod wait;
pub(crate) mod watch;
pub(crate) mod who;
pub(crate) mod why;

use std::fs::File;
use std::io;

use anyhow::Result;
use schemars::Schema;

use crate::changing;
use crate::exit::Exit;
use crate::report::Report;
use crate::source::Session;

/// Writes a document.
pub(crate) type Write = Box<dyn Fn(&mut dyn io::Write) -> io::Result<()>>;

/// What is done once the report is told; how the program ends then.
pub(crate) type After = Box<dyn FnOnce() -> Result<Exit>>;

/// What a command tells while it goes on.
pub(crate) enum News {
    /// A report, for any format.
    Report(Report),
    /// A line on standard error.
    Aside(String),
}

/// Takes what is told, at once.
pub(crate) type Tell<'a> = &'a mut dyn FnMut(News) -> io::Result<()>;

/// Reports one after another, as things come about.
pub(crate) struct Stream {
    /// Tells them, until it ends.
    pub(crate) run: Box<dyn FnOnce(Tell<'_>) -> Result<Exit>>,
    /// A file that gets them too, and whether something stands in it already.
    pub(crate) log: Option<(File, bool)>,
}

/// What a command gives.
pub(crate) enum Output {
    /// A report, for any format.
    Report(Report),
    /// A report that is told first, and what is done then: whatever takes long, or does not come back.
    Then(Report, After),
    /// A command that tells as it goes, in words of its own, whatever the format.
    Own(After),
    /// Reports one after another.
    Stream(Stream),
    /// A text that is the same in every format: a script, a manual page, a schema, a snapshot.
    Document(Write),
}

/// A command with its arguments.
pub(crate) trait Command {
    /// Does what was asked.
    fn run(&self, session: &Session) -> Result<Output>;
}

/// Makes a schema.
type MakeSchema = fn() -> Schema;

/// The JSON Schema of each command's report, by the command's name. Commands that give documents have none.
pub(crate) static SCHEMAS: &[(&str, MakeSchema)] = &[
    ("chart", chart::schema),
    ("list", list::schema),
    ("who", who::schema),
    ("why", why::schema),
    ("range", range::schema),
    ("reserve", reserve::schema),
    ("reserve-suggest", reserve::suggest_schema),
    ("budget", budget::schema),
    ("free", free::schema),
    ("close", changing::schema),
    ("change", changing::schema),
    ("undo", undo::schema),
    ("resume", changing::schema),
    ("pick", pick::schema),
    ("wait", wait::schema),
    ("watch", watch::schema),
    ("history", history::schema),
    ("history-diary", history::diary_schema),
    ("trace", trace::schema),
    ("record", record::schema),
    ("hold", hold::schema),
    ("probe", probe::schema),
    ("probe-host", probe::way::schema),
    ("connect", connect::schema),
    ("explain", explain::schema),
    ("snapshot", snapshot::schema),
];
