//! What `record` says while it records: that it began, what came and went, and what is wrong with the file.

use std::path::Path;
use std::time::Duration;

use portolan_core::diagnose::Severity;
use portolan_core::record::Found;
use portolan_core::snapshot::Gap;
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::advice::severity;
use crate::cells::{Column, Table};
use crate::report::{Block, Line, Report, Tone};
use crate::text::{moment, span};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Event {
    /// The first look was kept.
    Begun,
    /// What was recorded was copied.
    Copied,
    /// A finding came.
    FindingCame,
    /// A finding went: it was not seen for a minute.
    FindingWent,
    /// A look could not be kept.
    NotKept,
    /// Looks can be kept again.
    KeptAgain,
    /// The file was removed, or another lies in its place: recording goes on in that one.
    Replaced,
    /// The clock went back.
    ClockBack,
}

impl Event {
    /// As in JSON.
    const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Copied => "copied",
            Self::FindingCame => "finding-came",
            Self::FindingWent => "finding-went",
            Self::NotKept => "not-kept",
            Self::KeptAgain => "kept-again",
            Self::Replaced => "replaced",
            Self::ClockBack => "clock-back",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Happened {
    /// When, milliseconds since 1970-01-01 UTC.
    at_ms: u64,
    /// What.
    event: Event,
    /// The file that is recorded into.
    file: String,
    /// What it means, in words.
    text: String,
    /// The finding.
    finding: Option<Found>,
    /// What cannot be seen, with the first look.
    gaps: Option<Vec<Gap>>,
}

/// JSON Schema of the report.
pub(in crate::command) fn schema() -> Schema {
    schema_for!(Happened)
}

impl Happened {
    pub(super) fn new(event: Event, at_ms: u64, file: &Path) -> Self {
        let file = file.display().to_string();
        let text = match event {
            Event::Replaced => {
                format!("{file} was removed or replaced; recording goes on in the one there now")
            }
            Event::Copied => format!("copied what was recorded to {file}"),
            _ => String::new(),
        };
        Self { at_ms, event, file, text, finding: None, gaps: None }
    }

    pub(super) fn with_text(self, text: String) -> Self {
        Self { text, ..self }
    }

    pub(super) fn with_interval(self, interval: Duration) -> Self {
        let text = format!("recording into {} every {} s; Ctrl+C ends it", self.file, interval.as_secs_f64());
        Self { text, ..self }
    }

    pub(super) fn with_gaps(self, gaps: &[Gap]) -> Self {
        Self { gaps: Some(gaps.to_vec()), ..self }
    }

    pub(super) fn with_looks(self, kept: usize, lost: u64) -> Self {
        let text = format!(
            "{} can be written again; of the looks taken meanwhile {kept} are kept and {lost} lost",
            self.file
        );
        Self { text, ..self }
    }

    pub(super) fn with_ms(self, ms: u64) -> Self {
        let text = format!("the clock went back by {}; recording goes on by the new time", span(ms));
        Self { text, ..self }
    }

    pub(super) fn with_finding(self, found: &Found) -> Self {
        let text = match self.event {
            Event::FindingWent => format!("over: {}", found.summary),
            _ => found.summary.clone(),
        };
        Self { text, finding: Some(found.clone()), ..self }
    }

    fn tone(&self) -> Tone {
        match (self.event, self.finding.as_ref().map(|finding| finding.severity)) {
            (Event::FindingCame, Some(Severity::Error)) | (Event::NotKept, _) => Tone::Bad,
            (Event::FindingCame, Some(Severity::Warning)) => Tone::Warning,
            (Event::Replaced | Event::ClockBack, _) => Tone::Warning,
            (Event::FindingWent | Event::KeptAgain, _) => Tone::Good,
            _ => Tone::Plain,
        }
    }

    /// Its report: a line, and after the first one what cannot be seen.
    pub(super) fn report(self) -> Report {
        let time = moment(self.at_ms);
        let tail = self.finding.as_ref().map_or_else(String::new, |found| format!(" ({})", found.rule));
        let line = Line::new().and(Tone::Faint, format!("{time}  ")).and(self.tone(), &self.text).plain(tail);
        let columns = [
            Column::words("time"),
            Column::words("event"),
            Column::words("rule"),
            Column::words("severity"),
            Column::prose("text"),
        ];
        let rule = self.finding.as_ref().map(|found| found.rule.clone()).unwrap_or_default();
        let severity = self.finding.as_ref().map(|found| severity(found.severity)).unwrap_or_default();
        let row = [time, self.event.name().to_owned(), rule, severity.to_owned(), self.text.clone()];
        let rows = Table::of_rows(columns, vec![row]);
        let (gaps, continues) =
            (self.gaps.clone(), self.event != Event::Begun && self.event != Event::Copied);
        let blocks = vec![Block::Line(line)];
        Report { continues, gaps, ..Report::new(self, blocks, rows, Vec::new()) }
    }
}
