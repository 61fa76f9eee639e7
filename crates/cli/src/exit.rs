//! How the program ends: exit codes, and errors as one line that says what to type.

use std::fmt;
use std::process::ExitCode;

use clap::error::ErrorKind;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: fine.
    Fine,
    /// 1: not (does not bind, nobody there).
    Not,
    /// 2: could not tell, or misuse.
    Unclear,
    /// PortQry's own codes.
    Own(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Fine => 0,
            Exit::Not => 1,
            Exit::Unclear => 2,
            Exit::Own(code) => code,
        })
    }
}

/// Something that was typed wrong; the text says what to type instead.
#[derive(Debug)]
pub(crate) struct Misuse(pub(crate) String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// A change that was not made; the text says why, and what to type instead.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// clap's error as one line: its paragraphs joined, its usage left to `--help`.
pub(crate) fn one_line(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let pieces: Vec<&str> = rendered
        .lines()
        .take_while(|line| !line.starts_with("Usage:"))
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .collect();
    let line = pieces.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    // Beside the one value that was meant, a list of all is noise.
    // That a word may follow `--` as well helps nobody who mistyped an option.
    let told = line.split_once(" tip: to pass ").map_or(line, |(fault, _)| fault);
    let line = match (told.split_once(" [possible values: "), told.split_once(" tip: ")) {
        (Some((fault, _)), Some((_, tip))) => format!("{fault}; {tip}"),
        (None, Some((fault, tip))) => format!("{fault}; {tip}"),
        _ => told.to_owned(),
    };
    // Where clap says nothing about what is right, the usage or the help does.
    let usage = rendered.lines().find_map(|line| line.strip_prefix("Usage: "));
    match (error.kind(), usage) {
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, _) => line,
        (ErrorKind::MissingRequiredArgument, Some(usage)) => format!("{line}; type: {usage}"),
        _ if line.contains("; ") => line,
        _ => format!("{line}; see: {} --help", command_of(usage)),
    }
}

/// The command whose usage that is, with its subcommands.
fn command_of(usage: Option<&str>) -> String {
    let words = usage.unwrap_or("portolan").split(' ');
    let words: Vec<&str> =
        words.take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    words.join(" ")
}
