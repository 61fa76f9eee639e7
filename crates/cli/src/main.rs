//! portolan: whose is this port, and why can't I have it.
//!
//! The only place with a command line and stdout: arguments in, a report from a command, bytes from a format.

mod advice;
mod args;
mod cells;
mod changing;
mod command;
mod exit;
#[cfg(test)]
mod fixture;
mod output;
mod picture;
mod reach;
mod report;
mod rows;
mod source;
mod text;

use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use args::{Colour, General, Portolan};
use command::{Command, Output, chart::Chart};
use exit::Exit;
use output::Surface;

fn main() -> ExitCode {
    let arguments = match Portolan::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if !error.use_stderr() => {
            // Help and version: clap writes them; that nobody reads on is no error.
            let _ = error.print();
            return Exit::Fine.into();
        }
        Err(error) => return complain(&exit::one_line(&error), Exit::Unclear),
    };
    match run(arguments) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let refused = error.is::<exit::Refused>();
            complain(&format!("{error:#}"), if refused { Exit::Not } else { Exit::Unclear })
        }
    }
}

/// Tells on one line what is wrong.
fn complain(message: &str, exit: Exit) -> ExitCode {
    // Where stderr is gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "portolan: {}", text::harmless(message));
    exit.into()
}

fn run(arguments: Portolan) -> Result<Exit> {
    let Portolan { general, verb } = arguments;
    let surface = surface(&general);
    let format = general.format();
    let session = source::Session::new(general.from, general.netns.unwrap_or_default());
    let chart = Chart::default();
    let command: &dyn Command = verb.as_ref().map_or(&chart, |verb| verb.command());
    let output = command.run(&session)?;
    let mut out = BufWriter::with_capacity(1 << 18, io::stdout().lock());
    let (written, exit) = match &output {
        Output::Document(write) => (write(&mut out), Exit::Fine),
        Output::Report(report) => {
            ((format.write)(report, &surface, &mut out, &mut io::stderr()), report.exit)
        }
    };
    let written = written.and_then(|()| out.flush());
    // What was seen can be large, and the system takes it back faster than we could.
    std::mem::forget((out, output));
    match written {
        // A reader that has read enough changes nothing about what was found.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(exit),
    }
}

/// What stdout can show.
fn surface(general: &General) -> Surface {
    let stdout = io::stdout();
    let width = match stdout.is_terminal() {
        true => terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)),
        false => None,
    };
    let colour = match general.color {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never,
    };
    Surface { width, colour, unicode: is_utf8(|name| std::env::var(name).ok()) }
}

/// Whether the locale's characters are UTF-8 (POSIX: the first of these that is set and not empty decides).
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()))
        .is_some_and(|locale| locale.to_ascii_lowercase().replace('-', "").ends_with("utf8"))
}
