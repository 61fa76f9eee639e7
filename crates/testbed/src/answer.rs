//! What a program answered: exit code, output, errors.

use std::process::{Command, Stdio};

use serde_json::Value;

/// A program's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was run.
    pub command: String,
    /// Exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

impl Answer {
    /// Runs a command to its end, without input.
    ///
    /// # Panics
    /// When it cannot be started, or writes what is not UTF-8.
    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        let shown = format!("{command:?}");
        let output = command.stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("cannot run {shown}: {error}"));
        let text =
            |bytes| String::from_utf8(bytes).unwrap_or_else(|_| panic!("{shown} does not write UTF-8"));
        Self {
            code: output.status.code(),
            output: text(output.stdout),
            errors: text(output.stderr),
            command: shown,
        }
    }

    /// The answer, once it is certain that the exit code is this one.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.output).unwrap_or_else(|error| panic!("no JSON: {error}: {self}"))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, code, output, errors } = self;
        write!(f, "{command} ended with {code:?}\n--- output\n{output}\n--- errors\n{errors}")
    }
}
