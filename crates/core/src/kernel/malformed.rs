//! The error of every text format here: which file or field, and the text that was not understood.

use std::fmt;

/// Text from the system that is not what its format says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The field or file, by the name its documentation gives it.
    pub field: &'static str,
    /// What stood there, at most 60 characters.
    pub text: String,
}

impl Malformed {
    /// An error that keeps the beginning of the text.
    pub fn new(field: &'static str, text: &str) -> Self {
        Self { field, text: text.chars().take(60).collect() }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: '{}' is not understood", self.field, self.text.escape_debug())
    }
}

impl std::error::Error for Malformed {}
