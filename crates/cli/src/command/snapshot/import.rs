//! `portolan snapshot --import FILE…`: the files are read here, what is in them is core's to say.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use portolan_core::import::{self, Imported, LARGEST_FILE, Listing};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cells::{Column, Table};
use crate::exit::Misuse;

/// A listing that was recognised.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Recognised {
    /// The file.
    file: String,
    /// The command that prints such listings.
    format: &'static str,
    /// The line it begins in, from 1.
    line: usize,
    /// How many rows were read.
    rows: usize,
    /// How many rows were not understood.
    not_understood: usize,
}

impl From<Listing> for Recognised {
    fn from(Listing { file, format, line, rows, odd }: Listing) -> Self {
        Self { file, format, line, rows, not_understood: odd }
    }
}

/// Reads the files and builds a snapshot of them. Its time is that of the youngest file, as far as files have one.
pub(super) fn read(paths: &[PathBuf]) -> Result<Imported> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut youngest = None;
    for path in paths {
        let (bytes, changed) = contents(path)?;
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |name| name.display().to_string());
        files.push((if path == Path::new("-") { "standard input".to_owned() } else { name }, bytes));
        youngest = youngest.max(changed);
    }
    let taken = youngest.unwrap_or_else(SystemTime::now).duration_since(UNIX_EPOCH).unwrap_or_default();
    let taken_ms = u64::try_from(taken.as_millis()).unwrap_or(u64::MAX);
    let files: Vec<import::File<'_>> =
        files.iter().map(|(name, bytes)| import::File { name, bytes }).collect();
    import::import(&files, taken_ms).map_err(|error| Misuse(error.to_string()).into())
}

/// What is in a file, one byte more than is read at the most, and when it was written.
fn contents(path: &Path) -> Result<(Vec<u8>, Option<SystemTime>)> {
    let shown = path.display();
    let limit = LARGEST_FILE as u64 + 1;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes).context("cannot read standard input")?;
        return Ok((bytes, None));
    }
    let file = File::open(path).map_err(|error| {
        Misuse(format!(
            "cannot open {shown}: {error}; give the files that were sent, or - for standard input"
        ))
    })?;
    let changed = file.metadata().and_then(|metadata| metadata.modified()).ok();
    file.take(limit).read_to_end(&mut bytes).with_context(|| format!("cannot read {shown}"))?;
    Ok((bytes, changed))
}

/// What was recognised, for people.
pub(super) fn table(listings: &[Recognised]) -> Table {
    let columns = [
        Column::words("file"),
        Column::words("recognised as"),
        Column::numbers("from line"),
        Column::numbers("rows"),
        Column::numbers("not understood"),
    ];
    let row = |listing: &Recognised| {
        let Recognised { file, format, line, rows, not_understood } = listing;
        [file.clone(), (*format).to_owned(), line.to_string(), rows.to_string(), not_understood.to_string()]
    };
    Table::of_rows(columns, listings.iter().map(row).collect())
}
