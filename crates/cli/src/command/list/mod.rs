//! `portolan list`: sockets in a table, filtered, sorted or counted.

mod columns;
mod group;

use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use portolan_core::kernel::services::Services;
use portolan_core::snapshot::{Gap, Snapshot};
use portolan_core::socket::Socket;
use portolan_host::{Look, OwnerSearch};
use schemars::{JsonSchema, Schema, schema_for};
use serde::{Serialize, Serializer};

use crate::cells::Table;
use crate::command::{Command, Output};
use crate::filter::Filter;
use crate::report::{Block, Report};
use crate::rows::SocketRow;
use crate::source::Session;
use columns::{Columns, Field, SortKey};
use group::Grouping;

/// Where the help tells how sockets are shown.
const SHOWN: &str = "How to show them";

/// List sockets with their owners: filtered, sorted, or counted in groups
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan list --listening
  portolan list --port 80,443,8000-8100 --state established
  portolan list --address 10.0.0.0/8 --name 'nginx*' --columns local,remote,pid
  portolan list --group-by state
  portolan list --no-owners --format csv > sockets.csv

The service is that of the local port, or of a connection's two ports the lower.")]
pub(crate) struct List {
    #[command(flatten)]
    filter: Filter,
    /// Leave owners out; much faster where there are many processes
    #[arg(long, help_heading = SHOWN, conflicts_with_all = ["pid", "name"])]
    no_owners: bool,
    /// Columns to show, in this order
    #[arg(long, help_heading = SHOWN, value_name = "COLUMN", value_delimiter = ',', value_enum)]
    columns: Vec<Field>,
    /// Sort by these columns, -COLUMN backwards [default: transport,family,local-port,local,remote]
    #[arg(long, help_heading = SHOWN, value_name = "COLUMN", value_delimiter = ',', allow_hyphen_values = true)]
    sort: Vec<SortKey>,
    /// Count the sockets of each value instead of listing them
    #[arg(long, help_heading = SHOWN, value_name = "WHAT", value_enum, conflicts_with_all = ["columns", "sort"])]
    group_by: Option<Grouping>,
}

/// What list gives.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used: the sockets are written one by one")]
enum Listing {
    /// Every socket that matches.
    Sockets(Sockets),
    /// With `--group-by`: how many sockets match in each group.
    Groups(group::Groups),
}

/// Sockets, and what could not be seen.
#[derive(Serialize, JsonSchema)]
struct Sockets {
    /// Every socket that matches, in the order asked for.
    #[schemars(with = "Vec<SocketRow<'static>>")]
    sockets: Rows,
    /// What could not be seen.
    gaps: Vec<Gap>,
}

/// So many rows are fetched at a time.
const AHEAD: usize = 64;

/// The chosen sockets of a snapshot, in order.
#[derive(Clone)]
struct Rows {
    snapshot: Arc<Snapshot>,
    services: Arc<Services>,
    order: Arc<[u32]>,
}

impl Rows {
    fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.order.iter().filter_map(|index| self.snapshot.sockets.get(*index as usize))
    }
}

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_seq(self.sockets().map(|socket| SocketRow::new(&self.snapshot, &self.services, socket)))
    }
}

/// JSON Schema of the report.
pub(super) fn schema() -> Schema {
    schema_for!(Listing)
}

impl Command for List {
    fn run(&self, session: &Session) -> Result<Output> {
        let owners = if self.no_owners { OwnerSearch::None } else { OwnerSearch::All };
        let sockets = Some(self.filter.for_kernel());
        let snapshot = session.see(Look { sockets, owners, ..Look::default() })?;
        let uids = self.filter.uids(session, &snapshot)?;
        let order = self.filter.choose(&snapshot, &uids);
        Ok(Output::Report(self.report(snapshot, session.services(), order)))
    }
}

impl List {
    fn report(&self, snapshot: Arc<Snapshot>, services: Arc<Services>, mut order: Vec<u32>) -> Report {
        let gaps = snapshot.gaps.clone();
        if let Some(grouping) = self.group_by {
            return group::report(grouping, &snapshot, &services, &order, gaps);
        }
        columns::sort(&mut order, &self.sort, &snapshot, &services);
        let rows = Rows { snapshot, services, order: order.into() };
        let (shown, for_csv) = match (&self.columns[..], self.no_owners) {
            ([], true) => (Field::SOCKET, Field::CSV),
            ([], false) => (Field::WITH_OWNER, Field::CSV),
            (chosen, _) => (chosen, chosen),
        };
        let blocks = blocks(&rows, shown, &gaps);
        let table = table(&rows, for_csv, "");
        let quiet = gaps.is_empty() && !rows.order.is_empty();
        let report = Report::new(Sockets { sockets: rows, gaps: gaps.clone() }, blocks, table, gaps);
        // A table that shows everything needs no line that says so: it would be in the way of `wc -l`.
        if quiet { Report { gaps: None, ..report } } else { report }
    }
}

fn blocks(rows: &Rows, fields: &[Field], gaps: &[Gap]) -> Vec<Block> {
    let mut blocks = match rows.order.len() {
        0 => vec![Block::Line("no socket matches".into())],
        _ => vec![Block::Table(table(rows, fields, "-"))],
    };
    if !gaps.is_empty() || rows.order.is_empty() {
        blocks.push(Block::gap());
    }
    blocks
}

fn table(rows: &Rows, fields: &[Field], blank: &'static str) -> Table {
    let columns = Columns::new(fields, blank, Arc::clone(&rows.snapshot), Arc::clone(&rows.services));
    let order = Arc::clone(&rows.order);
    Table::new(fields.iter().map(|field| field.column()).collect(), order.len(), move |row, cells| {
        if row % AHEAD == 0 {
            columns.fetch(&order[row..order.len().min(row + AHEAD)]);
        }
        columns.write(order[row], cells);
    })
}

#[cfg(test)]
mod tests;
