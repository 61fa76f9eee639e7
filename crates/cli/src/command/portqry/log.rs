//! Where PortQry's words go: the screen, unless it is to be quiet, and the log file of `-l`.
//!
//! Source: Microsoft's article "Using the PortQry command-line tool" (header and last line of the log; asking before
//! another file is lost). Every line is in the file as soon as it is said: Ctrl+C loses none of it.

use std::fs::File;
use std::io::{self, Write as _};

use anyhow::{Context as _, Result, bail};

use super::arguments::LogFile;
use crate::text::harmless;

/// What is said at the end of a log.
const END: &str = "\n========= end of log file =========\n";

/// Says things.
pub(super) struct Teller {
    quiet: bool,
    log: Option<(File, String)>,
}

impl Teller {
    /// With the log's file made; a file that is there is asked about, unless it was said before what is to become of it.
    pub(super) fn new(quiet: bool, log: Option<&LogFile>, header: &str) -> Result<Self> {
        let mut teller = Self { quiet, log: None };
        if let Some(log) = log {
            let name = harmless(&log.path.display().to_string()).into_owned();
            let made = match File::create_new(&log.path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && log.path.is_file() => {
                    if !log.overwrite && (quiet || !teller.may_replace(&name)?) {
                        bail!(
                            "{name} exists and stays as it is; name another log file, or add -y to overwrite it"
                        );
                    }
                    File::create(&log.path)
                }
                made => made,
            };
            let file =
                made.with_context(|| format!("cannot write the log file {name}; name another one with -l"))?;
            teller.log = Some((file, name));
            teller.write_log(header)?;
        }
        Ok(teller)
    }

    fn may_replace(&mut self, name: &str) -> Result<bool> {
        self.say(&format!("The log file {name} exists. Overwrite it? (y/n) "))?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).unwrap_or_default();
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Says it, lines and all. Where nobody reads the screen any more, the log goes on.
    pub(super) fn say(&mut self, text: &str) -> Result<()> {
        if !self.quiet {
            let mut out = io::stdout().lock();
            match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.quiet = true,
                said => said?,
            }
        }
        self.write_log(text)
    }

    /// Says it in the log alone: what a person typed is on the screen already.
    pub(super) fn write_log(&mut self, text: &str) -> Result<()> {
        let Some((file, name)) = &mut self.log else { return Ok(()) };
        file.write_all(text.as_bytes()).with_context(|| format!("cannot write the log file {name}"))
    }

    /// Ends the log.
    pub(super) fn end(mut self) -> Result<()> {
        self.write_log(END)
    }
}

/// The first lines of a log.
pub(super) fn header(version: &str, date: &str, command: &[String], computer: &str) -> String {
    let command = harmless(&command.join(" ")).into_owned();
    format!(
        "PortQry Version 2.0 Log File (portolan {version})\n\nSystem Date: {date}\n\nCommand run:\n portqry {command}\n\n\
         Local computer name:\n\n {}\n",
        harmless(computer)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_begins_with_what_was_run_when_and_where() {
        let arguments = ["-n", "a\u{1b}b", "-l", "log.txt"].map(str::to_owned);
        assert_eq!(
            header("0.1.0", "2026-11-22T01:00:00Z", &arguments, "box"),
            "PortQry Version 2.0 Log File (portolan 0.1.0)\n\nSystem Date: 2026-11-22T01:00:00Z\n\nCommand run:\n \
             portqry -n a\\u{1b}b -l log.txt\n\nLocal computer name:\n\n box\n"
        );
    }
}
