//! The log of a command that tells as it goes: a file that gets every line too. What stands in it already stays.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use clap::Args;

use crate::exit::Misuse;

/// Where the lines go, besides to standard output.
#[derive(Clone, Debug, Args)]
pub(crate) struct Log {
    /// Write every line to this file too, at once; one that is there already is refused
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Add to the log that is there already
    #[arg(long, requires = "log")]
    append: bool,
}

impl Log {
    /// Opens the file that was named; whether something stands in it.
    pub(crate) fn open(&self) -> Result<Option<(File, bool)>, Misuse> {
        let Some(path) = &self.log else { return Ok(None) };
        let opened = match self.append {
            true => File::options().append(true).create(true).open(path),
            false => File::create_new(path),
        };
        let shown = path.display();
        let file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Misuse(format!("{shown} is there already: name another file, or add to it with --append"))
            }
            _ => Misuse(format!("cannot write {shown}: {error}; name another file with --log")),
        })?;
        let filled = file.metadata().is_ok_and(|metadata| metadata.len() > 0);
        Ok(Some((file, filled)))
    }
}
