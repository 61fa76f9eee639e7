//! `portolan reserve list|add|remove|suggest`: ports kept from automatic choice.

mod tables;

use anyhow::Result;
use clap::{Args, Subcommand};
use portolan_core::change::{
    self, Action, Place, ReservedNow, SettingNow, StepState, WindowsAction, plan_reserve, plan_unreserve,
};
use portolan_core::port::{PortRange, PortSet};
use portolan_core::range::ReservationKind;
use portolan_core::snapshot::{Gap, GapReason, Snapshot};
use portolan_core::socket::{Family, Transport};
use portolan_host::{Look, OwnerSearch, Sections, SocketFilter, sys};
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::cells::{Column, Table};
use crate::changing::{self, Consent, Tables, Where};
use crate::command::{Command, Output};
use crate::exit::Refused;
use crate::report::{Block, Line, Report, Tone};
use crate::source::Session;

/// Keep ports from being given to clients: the system then leaves them to the programs that ask for them by number
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan reserve                             what is reserved, by whom, and who listens there
  portolan reserve add 5432 8000-8100 --why postgres
  portolan reserve remove 5432
  portolan reserve suggest                     listeners whose port a client could be given")]
pub(crate) struct Reserve {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what is reserved, who made it, and which listeners it covers
    List,
    /// Reserve ports, beside whatever is reserved already
    Add(Add),
    /// Stop reserving ports
    Remove(Remove),
    /// Find listeners and configured services that ought to be reserved
    Suggest,
}

#[derive(Debug, Args)]
struct Add {
    /// Ports and ranges
    #[arg(required = true, value_name = "PORT|FIRST-LAST")]
    ports: Vec<PortRange>,
    /// Why, for the next person who looks
    #[arg(long, value_name = "TEXT", value_parser = note)]
    why: Option<String>,
    /// Stop WinNAT, reserve, and start it again: frees what it has set aside (Windows)
    #[arg(long, conflicts_with_all = ["cycle_hyperv", "runtime"])]
    restart_winnat: bool,
    /// Turn Hyper-V off, reserve, and turn it on again, with two restarts of Windows (Windows)
    #[arg(long, conflicts_with = "runtime")]
    cycle_hyperv: bool,
    /// Go on by itself after each of those restarts, before anybody signs in (Windows)
    #[arg(long, requires = "cycle_hyperv")]
    go_on: bool,
    #[command(flatten)]
    tables: Tables,
    #[command(flatten)]
    stores: Where,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Debug, Args)]
struct Remove {
    /// Ports and ranges
    #[arg(required = true, value_name = "PORT|FIRST-LAST")]
    ports: Vec<PortRange>,
    #[command(flatten)]
    tables: Tables,
    #[command(flatten)]
    stores: Where,
    #[command(flatten)]
    consent: Consent,
}

fn note(text: &str) -> Result<String, String> {
    let long = text.chars().count() > 200;
    if long || text.chars().any(char::is_control) {
        return Err("a note is one line of at most 200 characters".into());
    }
    Ok(text.to_owned())
}

/// What is reserved.
#[derive(Debug, Serialize, JsonSchema)]
struct Listed {
    reservations: Vec<ListedRange>,
    /// What could not be seen.
    gaps: Vec<Gap>,
}

/// One reserved range.
#[derive(Debug, Serialize, JsonSchema)]
struct ListedRange {
    /// First and last port.
    ports: PortRange,
    /// Whether the running kernel has it.
    runtime: bool,
    /// The files that name it, so that it comes back after a restart.
    files: Vec<String>,
    /// Whether it comes back after a restart; none where that is not known.
    after_restart: Option<bool>,
    /// Whether it is kept from automatic choice alone (administered), or held by a part of the system (system): then no
    /// program may bind there.
    kind: ReservationKind,
    /// The one transport that it is for; none: for all.
    transport: Option<Transport>,
    /// The one family that it is for; none: for all.
    family: Option<Family>,
    /// Who made it: a plan of the journal, or the file, or nobody who is known.
    by: Option<String>,
    /// Why, as it was said when it was made.
    why: Option<String>,
    /// Ports in it that a program of this machine listens on.
    listeners: Vec<u16>,
}

/// What ought to be reserved.
#[derive(Debug, Serialize, JsonSchema)]
struct Suggested {
    suggestions: Vec<SuggestedPort>,
    /// What could not be seen.
    gaps: Vec<Gap>,
}

/// A port that ought to be reserved.
#[derive(Debug, Serialize, JsonSchema)]
struct SuggestedPort {
    port: u16,
    /// Whose it is.
    by: String,
}

/// JSON Schema of `reserve list`.
pub(super) fn schema() -> Schema {
    schema_for!(Listed)
}

/// JSON Schema of `reserve suggest`.
pub(super) fn suggest_schema() -> Schema {
    schema_for!(Suggested)
}

impl Command for Reserve {
    fn run(&self, session: &Session) -> Result<Output> {
        match &self.what {
            Some(What::Suggest) => suggest(session),
            None | Some(What::List) => {
                session.needs_machine("reserve list")?;
                match sys::reserved_now(session.namespace())? {
                    SettingNow::Files(now) => list(session, &now),
                    SettingNow::Tables(kept) => tables::list(session, &kept),
                }
            }
            Some(What::Add(add)) => {
                session.needs_machine("reserve add")?;
                let now = sys::reserved_now(session.namespace())?;
                let place = sys::place(session.namespace())?;
                let title = add.title();
                let said = (title.as_str(), add.why.as_deref(), place);
                match now {
                    SettingNow::Files(now) => add.in_files(session, &now, said),
                    SettingNow::Tables(kept) => tables::add(session, add, &kept, said),
                }
            }
            Some(What::Remove(remove)) => {
                session.needs_machine("reserve remove")?;
                let now = sys::reserved_now(session.namespace())?;
                let place = sys::place(session.namespace())?;
                let title = format!("reserve remove {}", change::list(&remove.ports));
                match now {
                    SettingNow::Files(now) => remove.in_files(session, &now, (&title, place)),
                    SettingNow::Tables(kept) => tables::remove(session, remove, &kept, (&title, place)),
                }
            }
        }
    }
}

impl Add {
    /// The command as typed, for the journal.
    fn title(&self) -> String {
        let way = match (self.restart_winnat, self.cycle_hyperv) {
            (true, _) => " --restart-winnat",
            (_, true) if self.go_on => " --cycle-hyperv --go-on",
            (_, true) => " --cycle-hyperv",
            _ => "",
        };
        format!("reserve add {}{way}", change::list(&self.ports))
    }

    fn in_files(
        &self,
        session: &Session,
        now: &ReservedNow,
        said: (&str, Option<&str>, Place),
    ) -> Result<Output> {
        if self.restart_winnat || self.cycle_hyperv {
            let why =
                "nothing sets blocks of ports aside on Linux: leave --restart-winnat and --cycle-hyperv out";
            return Err(Refused(why.into()).into());
        }
        self.tables.whole("list of reserved ports")?;
        let wanted = self.ports.iter().copied().collect();
        let plan = plan_reserve(now, &wanted, self.stores.into(), said).map_err(Refused)?;
        Ok(Output::Report(changing::change(session, &self.consent, &plan)?))
    }
}

impl Remove {
    fn in_files(&self, session: &Session, now: &ReservedNow, said: (&str, Place)) -> Result<Output> {
        self.tables.whole("list of reserved ports")?;
        let wanted = self.ports.iter().copied().collect();
        let plan = plan_unreserve(now, &wanted, self.stores.into(), said).map_err(Refused)?;
        Ok(Output::Report(changing::change(session, &self.consent, &plan)?))
    }
}

fn seen(session: &Session) -> Result<std::sync::Arc<Snapshot>> {
    session.see(Look {
        sockets: Some(SocketFilter::default()),
        owners: OwnerSearch::All,
        sections: Sections { settings: true, carriers: true, ..Sections::default() },
        ..Look::default()
    })
}

fn suggest(session: &Session) -> Result<Output> {
    let snapshot = seen(session)?;
    let suggestions: Vec<SuggestedPort> = change::suggest(&snapshot)
        .into_iter()
        .map(|suggestion| SuggestedPort { port: suggestion.port, by: suggestion.by })
        .collect();
    let mut blocks = Vec::new();
    if suggestions.is_empty() {
        blocks.push(Block::Line(
            "nothing: no listener that can be seen lies inside the ephemeral range unreserved".into(),
        ));
    }
    for found in &suggestions {
        blocks
            .push(Block::Line(Line::new().strong(found.port.to_string()).plain(format!("   {}", found.by))));
    }
    if !suggestions.is_empty() {
        let ports: Vec<String> = suggestions.iter().map(|found| found.port.to_string()).collect();
        let command = format!("portolan reserve add {}", ports.join(" "));
        blocks.push(Block::gap());
        blocks.push(Block::entry("to do it", Line::new().and(Tone::Command, command)));
    }
    let rows = suggestions.iter().map(|found| [found.port.to_string(), found.by.clone()]).collect();
    let table = Table::of_rows([Column::numbers("port"), Column::prose("by")], rows);
    let gaps = snapshot.gaps.clone();
    Ok(Output::Report(Report::new(Suggested { suggestions, gaps: gaps.clone() }, blocks, table, gaps)))
}

fn list(session: &Session, now: &ReservedNow) -> Result<Output> {
    let snapshot = seen(session)?;
    let mut gaps = snapshot.gaps.clone();
    gaps.extend(now.gaps.iter().cloned());
    let made = made_here(session, &mut gaps)?;
    let mut all = now.runtime.clone();
    all.unite(&now.own);
    now.others.iter().chain(&now.later).for_each(|(_, ports)| all.unite(ports));
    let reservations: Vec<ListedRange> =
        pieces(&all, now, &made).into_iter().map(|range| listed(range, now, &made, &snapshot)).collect();
    let columns = ["ports", "now", "after a restart", "by", "why", "listeners"];
    let columns = columns.map(|name| if name == "why" { Column::prose(name) } else { Column::words(name) });
    let row = |r: &ListedRange| {
        let listeners: Vec<String> = r.listeners.iter().map(u16::to_string).collect();
        let after = if r.files.is_empty() { "-".to_owned() } else { r.files.join(", ") };
        [
            r.ports.to_string(),
            if r.runtime { "reserved" } else { "-" }.to_owned(),
            after,
            r.by.clone().unwrap_or_else(|| "not known".into()),
            r.why.clone().unwrap_or_default(),
            listeners.join(", "),
        ]
    };
    let rows: Vec<[String; 6]> = reservations.iter().map(row).collect();
    let blocks = if rows.is_empty() {
        vec![Block::Line("nothing is reserved".into())]
    } else {
        vec![Block::Table(Table::of_rows(columns, rows.clone()))]
    };
    let body = Listed { reservations, gaps: gaps.clone() };
    Ok(Output::Report(Report::new(body, blocks, Table::of_rows(columns, rows), gaps)))
}

/// A reservation of ours that stands, as the journal tells it.
struct Made {
    ports: PortSet,
    by: String,
    why: Option<String>,
}

/// What the journals say of reservations that were not taken back, the newest first. A journal that cannot be read is a
/// gap: then who made a reservation is not known, and not nobody.
fn made_here(session: &Session, gaps: &mut Vec<Gap>) -> Result<Vec<Made>> {
    let here = sys::place(session.namespace())?;
    let mut made: Vec<Made> = Vec::new();
    for journal in session.journals() {
        let records = match journal.records() {
            Ok(records) => records,
            Err(error) => {
                let denied = error.source.kind() == std::io::ErrorKind::PermissionDenied;
                let gap = |reason| Gap::new("who reserved", reason, error.to_string());
                gaps.push(match denied {
                    true => gap(GapReason::Denied).with_remedy("run as root"),
                    false => gap(GapReason::Malformed),
                });
                continue;
            }
        };
        for found in records {
            match found.record {
                Ok(record) => note_made(&mut made, found.id, &record, &here),
                Err(error) => gaps.push(Gap::new(
                    "who reserved",
                    GapReason::Malformed,
                    format!("plan {} of the journal: {error}", found.id),
                )),
            }
        }
    }
    made.reverse();
    Ok(made)
}

/// Notes what a plan reserved, or stopped reserving. The kernel's list counts for this boot and namespace alone.
fn note_made(made: &mut Vec<Made>, id: u64, record: &change::Record, here: &Place) {
    let place = &record.plan.place;
    let is_here = (&place.boot, place.namespace) == (&here.boot, here.namespace);
    let mut ports = PortSet::new();
    for state in &record.steps {
        let (StepState::Begun(begun) | StepState::Done(begun)) = state else { continue };
        match &begun.action {
            action if action.is_of_namespace() && !is_here => {}
            Action::Reserve { ports: more, .. } => more.iter().for_each(|range| ports.insert_range(*range)),
            Action::Unreserve { ports: less, .. } => {
                for range in less {
                    made.iter_mut().for_each(|made| made.ports.remove_range(*range));
                }
            }
            Action::Windows(WindowsAction::AddExclusion { range, .. }) => ports.insert_range(*range),
            Action::Windows(WindowsAction::DeleteExclusion { range, .. }) => {
                made.iter_mut().for_each(|made| made.ports.remove_range(*range));
            }
            _ => {}
        }
    }
    if !ports.is_empty() {
        made.push(Made { ports, by: format!("portolan, plan {id}"), why: record.plan.note.clone() });
    }
}

/// The reserved ports in ranges that are of one make throughout.
fn pieces(all: &PortSet, now: &ReservedNow, made: &[Made]) -> Vec<PortRange> {
    let make = |port: u16| {
        let says =
            |file: &Option<(String, PortSet)>| file.as_ref().is_some_and(|(_, ports)| ports.contains(port));
        let plan = made.iter().position(|made| made.ports.contains(port));
        (now.runtime.contains(port), now.own.contains(port), says(&now.others), says(&now.later), plan)
    };
    let mut pieces: Vec<PortRange> = Vec::new();
    for port in all.iter() {
        match pieces.last_mut() {
            Some(piece) if piece.last() + 1 == port.number() && make(piece.last()) == make(port.number()) => {
                if let Ok(longer) = PortRange::new(piece.first(), port.number()) {
                    *piece = longer;
                }
            }
            _ => pieces.push(PortRange::single(port)),
        }
    }
    pieces
}

fn listed(ports: PortRange, now: &ReservedNow, made: &[Made], snapshot: &Snapshot) -> ListedRange {
    let first = ports.first();
    let named = now.later.iter().chain(&now.others).find(|(_, set)| set.contains(first));
    let own = now.own.contains(first).then(|| now.path.clone());
    let made = made.iter().find(|made| made.ports.contains(first));
    ListedRange {
        ports,
        runtime: now.runtime.contains(first),
        after_restart: now.gaps.is_empty().then(|| !now.after_restart(first).is_empty()),
        files: now.after_restart(first),
        kind: ReservationKind::Administered,
        transport: None,
        family: None,
        by: made.map(|made| made.by.clone()).or(named.map(|(path, _)| path.clone())).or(own),
        why: made.and_then(|made| made.why.clone()),
        listeners: change::covered(snapshot, ports),
    }
}
