//! Output formats: a report in, bytes out. A new format is a new file and a line in [`FORMATS`].

mod csv;
mod json;
mod table;

use std::io;

use crate::report::Report;
use crate::text::harmless;

/// What is written to: how wide, and what it can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Surface {
    /// Columns of the terminal; none when the output is no terminal.
    pub(crate) width: Option<usize>,
    /// Whether colours are wanted.
    pub(crate) colour: bool,
    /// Whether characters beyond ASCII can be shown.
    pub(crate) unicode: bool,
}

impl Surface {
    /// Text as it can be shown: harmless, and plain ASCII in place of our own arrows and dashes where need be.
    pub(crate) fn shown(&self, text: &str) -> String {
        let text = harmless(text);
        if self.unicode || text.is_ascii() {
            return text.into_owned();
        }
        text.chars()
            .map(|character| match character {
                '→' => "->".to_owned(),
                '…' => "...".to_owned(),
                '·' => ".".to_owned(),
                other if other.is_ascii() => other.to_string(),
                other => other.escape_unicode().to_string(),
            })
            .collect()
    }
}

/// One output format.
pub(crate) struct Format {
    /// Its name, as `--format` takes it.
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) title: &'static str,
    /// Writes a report to the output. What the format has no place for, such as gaps in CSV, goes to the notes.
    pub(crate) write: fn(&Report, &Surface, &mut dyn io::Write, &mut dyn io::Write) -> io::Result<()>,
}

/// Every format; the first is the default.
pub(crate) static FORMATS: &[Format] = &[
    Format { name: "table", title: "for people, the default", write: table::write },
    Format { name: "json", title: "for programs, see: portolan schema", write: json::write },
    Format { name: "csv", title: "for spreadsheets, with gaps on stderr", write: csv::write },
];
