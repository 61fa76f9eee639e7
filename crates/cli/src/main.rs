//! portolan: whose is this port, and why can't I have it.
//!
//! The only place with a command line and stdout: arguments in, a report from a command, bytes from a format.

mod advice;
mod args;
mod cells;
mod changing;
mod command;
mod exit;
mod filter;
#[cfg(test)]
mod fixture;
mod log;
mod output;
mod picture;
mod plot;
mod progress;
mod reach;
mod report;
mod rows;
mod source;
mod text;
mod typed;

use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use portolan_core::snapshot::System;
use portolan_host::Namespace;
use portolan_host::sys::{SYSTEM, console_helper};

use args::{Colour, General, Portolan};
use command::{After, Command, News, Output, Stream, chart::Chart, portqry};
use exit::Exit;
use output::{Format, Surface};
use report::Report;

fn main() -> ExitCode {
    if let Some(answer) = console_helper(std::env::args_os()) {
        // The one who started this reads it; where it is gone nobody does.
        let _ = io::stdout().write_all(answer.as_bytes());
        return Exit::Fine.into();
    }
    if let Some(arguments) = portqry::typed(std::env::args_os()) {
        return portqry::ended(&Namespace::default(), arguments).into();
    }
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
    aside(message);
    exit.into()
}

/// A line on standard error.
fn aside(message: &str) {
    // Where stderr is gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "portolan: {}", text::harmless(message));
}

fn run(arguments: Portolan) -> Result<Exit> {
    let Portolan { general, verb } = arguments.settled()?;
    let surface = surface(&general);
    let format = general.format();
    let session = source::Session::new(general.from, general.netns.unwrap_or_default());
    let chart = Chart::default();
    let command: &dyn Command = verb.as_ref().map_or(&chart, |verb| verb.command());
    let mut out = BufWriter::with_capacity(1 << 18, io::stdout().lock());
    let ran = command.run(&session);
    session.reminder().into_iter().for_each(aside);
    let (written, exit, after) = match ran? {
        Output::Document(write) => (write(&mut out), Exit::Fine, None),
        Output::Report(report) => tell(report, None, format, &surface, &mut out),
        Output::Own(work) => (Ok(()), Exit::Fine, Some(work)),
        Output::Then(report, after) => tell(report, Some(after), format, &surface, &mut out),
        Output::Stream(stream) => return follow(stream, format, &surface, &mut out),
    };
    match written.and_then(|()| out.flush()) {
        // A reader that has read enough changes nothing about what was found.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => std::mem::forget(out),
    }
    after.map_or(Ok(exit), |after| after())
}

/// Writes a report, and what is told beside it.
fn tell(
    report: Report,
    after: Option<After>,
    format: &Format,
    surface: &Surface,
    out: &mut dyn io::Write,
) -> (io::Result<()>, Exit, Option<After>) {
    let written = (format.write)(&report, surface, out, &mut io::stderr());
    report.aside.iter().for_each(|line| aside(line));
    let exit = report.exit;
    // What was seen can be large, and the system takes it back faster than we could.
    std::mem::forget(report);
    (written, exit, after)
}

/// Writes reports as they come, each whole before the next one is waited for: to the log first, which outlives whoever
/// reads the output.
fn follow(stream: Stream, format: &Format, surface: &Surface, out: &mut dyn io::Write) -> Result<Exit> {
    let Stream { run, mut log } = stream;
    let plain = Surface { width: None, colour: false, ..*surface };
    let mut text = Vec::new();
    let ended = run(&mut |news| {
        let mut report = match news {
            News::Report(report) => report,
            News::Aside(line) => {
                aside(&line);
                return Ok(());
            }
        };
        if let Some((file, continued)) = &mut log {
            text.clear();
            // A log that is added to has its header already.
            let continues = report.continues;
            report.continues |= *continued;
            (format.write)(&report, &plain, &mut text, &mut io::sink())?;
            report.continues = continues;
            file.write_all(&text)
                .map_err(|error| io::Error::other(format!("cannot write the log: {error}")))?;
        }
        text.clear();
        (format.write)(&report, surface, &mut text, &mut io::stderr())?;
        out.write_all(&text)?;
        report.aside.iter().for_each(|line| aside(line));
        out.flush()
    });
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    match ended {
        Err(error) if error.downcast_ref().is_some_and(gone) => Ok(Exit::Fine),
        ended => ended,
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
    // Windows' console has to be told that colours will come; where it is too old for them there are none.
    let colour =
        colour && (!stdout.is_terminal() || anstyle_query::windows::enable_ansi_colors().unwrap_or(true));
    // It shows every character, whatever the locale.
    let shows_all = stdout.is_terminal() && SYSTEM == System::Windows;
    Surface { width, colour, unicode: shows_all || is_utf8(|name| std::env::var(name).ok()) }
}

/// Whether the locale's characters are UTF-8 (POSIX: the first of these that is set and not empty decides).
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()))
        .is_some_and(|locale| locale.to_ascii_lowercase().replace('-', "").ends_with("utf8"))
}
