//! netsh's tables of dynamic and excluded ranges: read, set, and read back.
//!
//! Source: `netsh interface ipv4|ipv6 show|set dynamicport`, `show|add|delete excludedportrange`, each with `store=active`
//! or `store=persistent`. An output that is not understood, an empty one too, is no answer: Wine's netsh says nothing and
//! ends well.

use std::io;

use portolan_core::change::{NetshStore, Table};
use portolan_core::kernel::malformed::Malformed;
use portolan_core::kernel::netsh::{self, Excluded};
use portolan_core::port::PortRange;
use portolan_core::snapshot::GapReason;

use super::command;
use crate::Error;

/// Why a table could not be read.
#[derive(Debug)]
pub(super) struct Unread {
    /// In a word.
    pub(super) reason: GapReason,
    /// In full.
    pub(super) detail: String,
}

impl From<Unread> for Error {
    fn from(unread: Unread) -> Self {
        Self::new("read the ports that netsh knows", io::Error::other(unread.detail))
    }
}

fn store(table: Table) -> &'static str {
    match table.store {
        NetshStore::Active => "store=active",
        NetshStore::Persistent => "store=persistent",
    }
}

fn read<T>(
    table: Table,
    what: &str,
    decode: impl FnOnce(&[u8]) -> Result<T, Malformed>,
) -> Result<T, Unread> {
    let protocol = format!("protocol={}", table.transport);
    let words = ["interface", table.family.name(), "show", what, &protocol, store(table)];
    let typed = || format!("netsh {}", words.join(" "));
    let unread = |reason, detail| Unread { reason, detail };
    let output = command::netsh(&words).map_err(|error| unread(GapReason::Unsupported, error.to_string()))?;
    if output.trim_ascii().is_empty() {
        return Err(unread(GapReason::Unsupported, format!("`{}` says nothing", typed())));
    }
    let malformed = |why: String| unread(GapReason::Malformed, format!("`{}`: {why}", typed()));
    match netsh::transport(&output) {
        Some(other) if other != table.transport => Err(malformed(format!("it answers for {other}"))),
        _ => decode(&output).map_err(|error| malformed(error.to_string())),
    }
}

/// The dynamic range of a table.
pub(super) fn dynamic(table: Table) -> Result<PortRange, Unread> {
    read(table, "dynamicport", netsh::dynamic_port)
}

/// The excluded ranges of a table, in rising order.
pub(super) fn excluded(table: Table) -> Result<Vec<Excluded>, Unread> {
    read(table, "excludedportrange", netsh::excluded_ranges)
}

/// Sets the dynamic range of a table.
pub(super) fn set_dynamic(table: Table, range: PortRange) -> Result<(), Error> {
    let (start, count) = (format!("start={}", range.first()), format!("num={}", range.count()));
    write(table, &["set", "dynamicport"], &[&start, &count])
}

/// Adds an administered exclusion.
pub(super) fn add(table: Table, range: PortRange) -> Result<(), Error> {
    exclusion(table, "add", range)
}

/// Deletes one, which must have been added exactly so.
pub(super) fn delete(table: Table, range: PortRange) -> Result<(), Error> {
    exclusion(table, "delete", range)
}

fn exclusion(table: Table, verb: &str, range: PortRange) -> Result<(), Error> {
    let start = format!("startport={}", range.first());
    let count = format!("numberofports={}", range.count());
    write(table, &[verb, "excludedportrange"], &[&start, &count])
}

fn write(table: Table, what: &[&str], numbers: &[&str]) -> Result<(), Error> {
    let protocol = format!("protocol={}", table.transport);
    let words =
        [&["interface", table.family.name()], what, &[protocol.as_str()], numbers, &[store(table)]].concat();
    command::netsh(&words).map(drop)
}
