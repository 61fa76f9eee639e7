//! The snapshot file: one JSON object, written and read as a stream, so that a million sockets pass through
//! without a document tree in memory.
//!
//! Source: this file is the format; [`schema`] prints it as JSON Schema. `schema` always stands first, so that a
//! reader can refuse a newer file before it looks at anything else. Each socket has a line of its own.
//!
//! Left out on purpose: unknown fields are refused, not skipped. A field that this program does not know would be
//! something that was seen and then silently lost; a new field needs a new schema number. Schema 2 added `burnt`,
//! `tcp_tw_reuse_delay_ms` among the settings, `handles` and `handle_limit` of owners; schema 3 `socket_handles` of owners.

mod error;
mod guard;
mod layout;
mod read;
mod row;

use std::io;

use schemars::Schema;
use serde::Serialize;

pub use error::SnapshotFileError;

use crate::snapshot::Snapshot;

/// The schema that is written, and the newest that is read.
pub const SCHEMA: u32 = 3;

/// The version of portolan that stands in the files it writes.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Writes a snapshot as JSON: nothing of it is copied, whatever its size. Fails only where `out` fails.
pub fn write(snapshot: &Snapshot, out: impl io::Write) -> io::Result<()> {
    let mut out = io::BufWriter::with_capacity(64 << 10, out);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, layout::LineForEach::default());
    row::File::of(snapshot).serialize(&mut serializer)?;
    io::Write::write_all(&mut out, b"\n")?;
    io::Write::flush(&mut out)
}

/// Reads a snapshot back, with every index checked, every count and string bounded, and the schema known.
pub fn read(input: impl io::Read) -> Result<Snapshot, SnapshotFileError> {
    read::read(input)
}

/// The JSON Schema of the file.
pub fn schema() -> Schema {
    schemars::schema_for!(row::File<'static>)
}

#[cfg(test)]
mod tests;
