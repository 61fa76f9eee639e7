//! `portolan range show|set|reset`: the ephemeral range, now and after a restart.

mod tables;

use anyhow::Result;
use clap::{Args, Subcommand};
use portolan_core::change::{FileValue, RangeNow, SettingNow, plan_range};
use portolan_core::port::{PortRange, PortSet};
use portolan_core::snapshot::Gap;
use portolan_core::socket::{Family, Socket, State, Transport};
use portolan_host::{Look, OwnerSearch, Sections, SocketFilter, sys};
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::cells::{Column, Table};
use crate::changing::{self, Consent, Tables, Where};
use crate::command::{Command, Output};
use crate::exit::{Misuse, Refused};
use crate::report::{Block, Line, Report};
use crate::source::Session;

/// Show or change the ephemeral range: the ports the system gives to clients by itself
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan range                           what is set, now and after a restart
  portolan range set 10000-60999 --dry-run what would be done
  portolan range set --start 20000 --count 10000 --runtime
  portolan range reset                     back to the system's default")]
pub(crate) struct Range {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the range: in the running kernel, and in the file that sets it at the next start
    Show,
    /// Set the range
    Set(Set),
    /// Back to the system's default
    Reset(Reset),
}

#[derive(Debug, Args)]
struct Set {
    /// First and last port, as in 10000-60999
    #[arg(value_name = "FIRST-LAST", conflicts_with_all = ["start", "count"], required_unless_present = "start")]
    range: Option<PortRange>,
    /// First port
    #[arg(long, value_name = "PORT", requires = "count")]
    start: Option<u16>,
    /// How many ports
    #[arg(long, value_name = "N", requires = "start")]
    count: Option<u32>,
    #[command(flatten)]
    tables: Tables,
    #[command(flatten)]
    stores: Where,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Debug, Args)]
struct Reset {
    #[command(flatten)]
    tables: Tables,
    #[command(flatten)]
    stores: Where,
    #[command(flatten)]
    consent: Consent,
}

/// The ranges of this machine.
#[derive(Debug, Serialize, JsonSchema)]
struct Shown {
    /// One for each transport and family.
    ranges: Vec<ShownRange>,
    /// What could not be seen.
    gaps: Vec<Gap>,
}

/// One range, now and after a restart.
#[derive(Debug, Serialize, JsonSchema)]
struct ShownRange {
    transport: Transport,
    family: Family,
    /// What the running kernel has: first and last port.
    runtime: PortRange,
    /// How many ports that is.
    count: u32,
    /// What the file says that wins after a restart, as it stands there; none: the system's default holds. On Windows
    /// what is kept over a restart; none: not known.
    persistent: Option<String>,
    /// That file.
    file: Option<String>,
}

/// JSON Schema of `range show`.
pub(super) fn schema() -> Schema {
    schema_for!(Shown)
}

impl Command for Range {
    fn run(&self, session: &Session) -> Result<Output> {
        session.needs_machine("range")?;
        let now = sys::range_now(session.namespace());
        let wish = match &self.what {
            None | Some(What::Show) => {
                return match now? {
                    SettingNow::Files(now) => show(&now),
                    SettingNow::Tables(kept) => tables::show(session, &kept),
                };
            }
            Some(What::Set(set)) => Wish {
                verb: "range set",
                wanted: Some(set.wanted()?),
                tables: set.tables,
                stores: set.stores,
                consent: &set.consent,
            },
            Some(What::Reset(reset)) => Wish {
                verb: "range reset",
                wanted: None,
                tables: reset.tables,
                stores: reset.stores,
                consent: &reset.consent,
            },
        };
        match now? {
            SettingNow::Files(now) => wish.change(session, now),
            SettingNow::Tables(kept) => tables::change(session, &wish, &kept),
        }
    }
}

impl Set {
    fn wanted(&self) -> Result<PortRange> {
        match (self.range, self.start, self.count) {
            (Some(range), ..) => Ok(range),
            (None, Some(start), Some(count)) => {
                let last = u32::from(start).checked_add(count).and_then(|end| end.checked_sub(1));
                let last = last.and_then(|last| u16::try_from(last).ok()).filter(|_| count > 0);
                let last = last.ok_or_else(|| {
                    Misuse(format!(
                        "{count} ports from {start} on do not end between {start} and 65535; take fewer"
                    ))
                })?;
                Ok(PortRange::new(start, last).map_err(|error| Misuse(error.to_string()))?)
            }
            _ => Err(Misuse("say which: portolan range set 10000-60999".into()).into()),
        }
    }
}

/// A change that was asked for.
struct Wish<'a> {
    verb: &'static str,
    /// The range; none for the system's default.
    wanted: Option<PortRange>,
    tables: Tables,
    stores: Where,
    consent: &'a Consent,
}

fn show(now: &RangeNow) -> Result<Output> {
    let (persistent, file) = persistent(now);
    let mut ranges = Vec::new();
    for transport in Transport::ALL {
        ranges.extend(Family::ALL.map(|family| ShownRange {
            transport,
            family,
            runtime: now.runtime,
            count: now.runtime.count(),
            persistent: persistent.clone(),
            file: file.clone(),
        }));
    }
    let after = match (&persistent, &file) {
        (Some(value), Some(file)) => {
            format!("{} (set by {file})", value.split_whitespace().collect::<Vec<_>>().join("-"))
        }
        _ if now.gaps.is_empty() => "the system's default, since no file sets it".into(),
        _ => "not known: see what was not seen".into(),
    };
    let blocks = vec![
        Block::entry(
            "now",
            Line::new()
                .strong(now.runtime.to_string())
                .plain(format!("   {} ports, for TCP and UDP, IPv4 and IPv6 alike", now.runtime.count())),
        ),
        Block::entry("restart", after),
    ];
    let table = rows(&ranges);
    let shown = Shown { ranges, gaps: now.gaps.clone() };
    Ok(Output::Report(Report::new(shown, blocks, table, now.gaps.clone())))
}

fn rows(ranges: &[ShownRange]) -> Table {
    let columns = ["transport", "family", "runtime", "count", "persistent", "file"].map(Column::words);
    let row = |r: &ShownRange| {
        let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
        [
            r.transport.to_string(),
            r.family.to_string(),
            r.runtime.to_string(),
            r.count.to_string(),
            or_empty(&r.persistent),
            or_empty(&r.file),
        ]
    };
    Table::of_rows(columns, ranges.iter().map(row).collect())
}

/// What holds after a restart, and the file that says so.
fn persistent(now: &RangeNow) -> (Option<String>, Option<String>) {
    let own = now.own.map(|range| (format!("{} {}", range.first(), range.last()), now.path.clone()));
    let of = |file: &Option<FileValue>| file.as_ref().map(|file| (file.value.clone(), file.path.clone()));
    of(&now.later).or(own).or_else(|| of(&now.earlier)).unzip()
}

impl Wish<'_> {
    fn title(&self) -> String {
        self.wanted.map_or_else(|| self.verb.to_owned(), |range| format!("{} {range}", self.verb))
    }

    fn change(&self, session: &Session, mut now: RangeNow) -> Result<Output> {
        self.tables.whole("ephemeral range")?;
        now.listeners = listeners(session, self.wanted)?;
        let place = sys::place(session.namespace())?;
        let plan =
            plan_range(&now, self.wanted, self.stores.into(), (&self.title(), place)).map_err(Refused)?;
        Ok(Output::Report(changing::change(session, self.consent, &plan)?))
    }
}

/// Who listens in the range that is wanted, on a port that nobody reserved.
fn listeners(session: &Session, wanted: Option<PortRange>) -> Result<Vec<(u16, String)>> {
    let Some(range) = wanted else { return Ok(Vec::new()) };
    let seen = session.see(Look {
        sockets: Some(SocketFilter {
            transport: Some(Transport::Tcp),
            states: [State::Listen].into(),
            local_ports: Some(PortSet::from(range)),
            ..SocketFilter::default()
        }),
        owners: OwnerSearch::All,
        sections: Sections { settings: true, ..Sections::default() },
        ..Look::default()
    })?;
    let who = |socket| {
        let names: Vec<&str> = seen.owners_of(socket).iter().map(|owner| owner.name.as_str()).collect();
        if names.is_empty() { "owner not visible".to_owned() } else { names.join(", ") }
    };
    let is_reserved = |socket: &&Socket| {
        seen.reservations_of(socket.transport, socket.family, socket.local_port).next().is_some()
    };
    let unreserved = seen.sockets.iter().filter(|socket| !is_reserved(socket));
    let mut listeners: Vec<_> = unreserved.map(|socket| (socket.local_port, who(socket))).collect();
    listeners.sort();
    listeners.dedup();
    Ok(listeners)
}
