//! The error of every effect: what was being done, and the system's own code.

use std::fmt;

/// An effect that failed.
#[derive(Debug)]
pub struct Error {
    /// What was being done, as in "cannot {doing}".
    pub doing: String,
    /// The system's answer, with its code.
    pub source: std::io::Error,
}

impl Error {
    /// An error while `doing` something.
    pub fn new(doing: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self { doing: doing.into(), source: source.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The text has it already: whoever prints the whole chain would say it twice.
        self.source.source()
    }
}
