//! `portolan snapshot --out FILE`: one look at everything, kept as a file that `--from` reads; with `--import` made from
//! what others sent.

mod import;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args;
use portolan_core::import::Imported;
use portolan_core::snapshot::{Gap, Snapshot};
use portolan_core::snapshot_file;
use portolan_host::{Look, OwnerSearch, Sections, SocketFilter};
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::cells::{Column, Table};
use crate::command::{Command, Output};
use crate::exit::Misuse;
use crate::report::{Block, Line, Report};
use crate::source::Session;
use crate::text::counted;

use import::Recognised;

/// Keep everything there is to see in a file, or what others sent, for --from
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan snapshot --out before.json
  portolan why 8080 --from before.json
  portolan snapshot --import netstat.txt netsh.txt --out osaka.json

--import reads what these commands print, in any display language and code page, also whole
console sessions:
  Windows: netstat -ano -anob -anobq, netsh int ipv4 show excludedportrange and dynamicport,
           tasklist /svc, Get-NetTCPConnection and Get-NetUDPEndpoint (table, list, Export-Csv)
  Linux:   ss -tuanp, netstat -tuanp, lsof -nP -i, cat /proc/net/tcp, sysctl

The file holds process names and command lines: look through it before you give it away.")]
pub(crate) struct Take {
    /// The file to write; - writes to stdout
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it is there already
    #[arg(long)]
    force: bool,
    /// Make the snapshot from text that others sent, instead of looking at this machine (- reads stdin)
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["from", "netns"])]
    import: Vec<PathBuf>,
}

/// What was kept.
#[derive(Debug, Serialize, JsonSchema)]
struct Kept {
    /// The file.
    file: String,
    /// How many sockets.
    sockets: usize,
    /// How many processes that hold them.
    owners: usize,
    /// The file's size in bytes.
    bytes: u64,
    /// What was recognised in the files that were imported; null where this machine was looked at.
    imported: Option<Vec<Recognised>>,
    /// What could not be seen.
    gaps: Vec<Gap>,
}

/// JSON Schema of the report.
pub(super) fn schema() -> Schema {
    schema_for!(Kept)
}

impl Command for Take {
    fn run(&self, session: &Session) -> Result<Output> {
        let to_stdout = self.out == Path::new("-");
        if !to_stdout && !self.force && self.out.symlink_metadata().is_ok() {
            return Err(exists(&self.out).into());
        }
        let (snapshot, imported) = self.snapshot(session)?;
        if to_stdout {
            return Ok(Output::Document(Box::new(move |out| snapshot_file::write(&snapshot, out))));
        }
        let bytes = keep(&snapshot, &self.out, self.force)?;
        Ok(Output::Report(report(&snapshot, &self.out, bytes, imported)))
    }
}

impl Take {
    /// The snapshot, and what was recognised where it is made from files.
    fn snapshot(&self, session: &Session) -> Result<(Arc<Snapshot>, Option<Vec<Recognised>>)> {
        if !self.import.is_empty() {
            let Imported { snapshot, listings } = import::read(&self.import)?;
            return Ok((Arc::new(snapshot), Some(listings.into_iter().map(Recognised::from).collect())));
        }
        let look = Look {
            sockets: Some(SocketFilter::default()),
            owners: OwnerSearch::All,
            sections: Sections::ALL,
            ..Look::default()
        };
        Ok((session.see(look)?, None))
    }
}

fn exists(path: &Path) -> Misuse {
    Misuse(format!("{} is there already; replace it with --force, or give another name", path.display()))
}

/// Writes beside the file and moves it there when it is whole: the file is never half a snapshot.
fn keep(snapshot: &Snapshot, path: &Path, force: bool) -> Result<u64> {
    let Some(name) = path.file_name() else {
        return Err(Misuse(format!("{} names no file", path.display())).into());
    };
    let mut part = name.to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(part);
    let kept = write(snapshot, &part).and_then(|bytes| {
        // A hard link, unlike a rename, fails where the name is taken meanwhile.
        if force {
            fs::rename(&part, path)
        } else {
            fs::hard_link(&part, path).and_then(|()| fs::remove_file(&part))
        }?;
        Ok(bytes)
    });
    kept.or_else(|error| {
        // What is left of a failed attempt; that it cannot be removed either adds nothing to the error.
        let _ = fs::remove_file(&part);
        if error.kind() == io::ErrorKind::AlreadyExists && !force {
            return Err(exists(path).into());
        }
        Err(error).with_context(|| format!("cannot write {}", path.display()))
    })
}

fn write(snapshot: &Snapshot, path: &Path) -> io::Result<u64> {
    let mut out = BufWriter::with_capacity(1 << 18, File::create_new(path)?);
    snapshot_file::write(snapshot, &mut out)?;
    out.flush()?;
    let file = out.get_ref();
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

fn report(snapshot: &Snapshot, path: &Path, bytes: u64, imported: Option<Vec<Recognised>>) -> Report {
    let kept = Kept {
        file: path.display().to_string(),
        sockets: snapshot.sockets.len(),
        owners: snapshot.owners.len(),
        bytes,
        imported,
        gaps: snapshot.gaps.clone(),
    };
    let line = Line::new().plain("kept ").strong(counted(kept.sockets as u64, "socket")).plain(format!(
        " of {} in {} ({})",
        counted(kept.owners as u64, "owner"),
        kept.file,
        counted(bytes, "byte"),
    ));
    let columns = [
        Column::words("file"),
        Column::numbers("sockets"),
        Column::numbers("owners"),
        Column::numbers("bytes"),
    ];
    let row = [kept.file.clone(), kept.sockets.to_string(), kept.owners.to_string(), bytes.to_string()];
    let table = Table::of_rows(columns, vec![row]);
    let gaps = kept.gaps.clone();
    let mut blocks = vec![Block::Line(line), Block::gap()];
    if let Some(listings) = &kept.imported {
        blocks.extend([Block::Table(import::table(listings)), Block::gap()]);
    }
    Report::new(kept, blocks, table, gaps)
}
