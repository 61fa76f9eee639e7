//! Why a file is no snapshot that can be read: one line each, with what to type.

use std::io;
use std::{error, fmt};

use super::{SCHEMA, VERSION, guard};

/// Why a snapshot file could not be read.
#[derive(Debug)]
pub enum SnapshotFileError {
    /// The file itself could not be read.
    Unreadable(io::Error),
    /// It is something else; how it begins.
    OtherFile(String),
    /// Its schema is newer than this program.
    Newer {
        /// Its schema number.
        schema: u64,
        /// The version of portolan that wrote it, where it says.
        version: Option<String>,
    },
    /// It ends in the middle.
    EndsEarly {
        /// Its last line, counted from 1.
        line: usize,
    },
    /// It says something that a snapshot can't say.
    Malformed {
        /// The line, counted from 1; none where the fault lies between two parts.
        line: Option<usize>,
        /// What is wrong, shortened and free of control characters.
        problem: String,
    },
}

impl SnapshotFileError {
    pub(super) fn malformed(problem: &str) -> Self {
        Self::Malformed { line: None, problem: harmless(problem, 200) }
    }

    /// What serde_json's error means for the one who gave the file.
    pub(super) fn of(error: serde_json::Error) -> Self {
        let line = error.line();
        match error.classify() {
            serde_json::error::Category::Eof => Self::EndsEarly { line: line.max(1) },
            serde_json::error::Category::Io => {
                match io::Error::from(error).downcast::<guard::StringTooLong>() {
                    Ok(long) => Self::Malformed { line: Some(long.line), problem: long.to_string() },
                    Err(error) => Self::Unreadable(error),
                }
            }
            _ => {
                let text = error.to_string();
                let place = format!(" at line {line} column {}", error.column());
                let problem = text.strip_suffix(&place).unwrap_or(&text);
                Self::Malformed { line: (line > 0).then_some(line), problem: harmless(problem, 200) }
            }
        }
    }
}

/// Foreign text for one line of a message: at most `length` characters, no control characters.
pub(super) fn harmless(text: &str, length: usize) -> String {
    let mut shown: String =
        text.chars().take(length).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(length).is_some() {
        shown.push('…');
    }
    shown
}

impl fmt::Display for SnapshotFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAKE: &str = "make one with `portolan snapshot --out FILE`";
        const AGAIN: &str = "make it again with `portolan snapshot --out FILE`";
        match self {
            Self::Unreadable(error) => write!(f, "the file could not be read: {error}"),
            Self::OtherFile(found) if found.is_empty() => write!(f, "the file is empty; {MAKE}"),
            Self::OtherFile(found) => {
                write!(f, "this is no snapshot, it begins with '{}'; {MAKE}", harmless(found, 40))
            }
            Self::Newer { schema, version } => {
                let by =
                    version.as_ref().map(|v| format!(" (portolan {})", harmless(v, 40))).unwrap_or_default();
                write!(
                    f,
                    "the snapshot has schema {schema}{by}, this is portolan {VERSION} and reads up to schema \
                     {SCHEMA}; update portolan"
                )
            }
            Self::EndsEarly { line } => write!(f, "line {line}: the file ends early; {AGAIN}"),
            Self::Malformed { line: Some(line), problem } => write!(f, "line {line}: {problem}; {AGAIN}"),
            Self::Malformed { line: None, problem } => write!(f, "{problem}; {AGAIN}"),
        }
    }
}

impl error::Error for SnapshotFileError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}
