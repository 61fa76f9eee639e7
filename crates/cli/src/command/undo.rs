//! `portolan undo [ID]`: takes a plan of the journal back; `--list` shows the journal.

use anyhow::Result;
use clap::Args;
use portolan_core::change::{Place, Plan, Record, Standing, Step};
use portolan_host::apply::undo;
use portolan_host::journal::{Found, Journal};
use portolan_host::sys;
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::cells::{Column, Table};
use crate::changing::{Changed, Consent, ask};
use crate::command::{Command, Output};
use crate::exit::{Misuse, Refused};
use crate::report::{Block, Line, Report};
use crate::source::Session;
use crate::text::moment;

/// Take back what a command changed, also after a crash or a restart in the middle
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan undo --list     what was changed on this machine, by number
  portolan undo            the newest plan of this network namespace that stands
  portolan undo 3")]
pub(crate) struct Undo {
    /// Number of the plan; without it the newest that is not yet taken back
    id: Option<u64>,
    /// Show the journal
    #[arg(long, conflicts_with_all = ["id", "dry_run", "yes"])]
    list: bool,
    #[command(flatten)]
    consent: Consent,
}

/// The journal.
#[derive(Debug, Serialize, JsonSchema)]
struct Listed {
    /// Its folder.
    folder: String,
    /// The plans, the oldest first.
    plans: Vec<ListedPlan>,
}

/// A plan in the journal.
#[derive(Debug, Serialize, JsonSchema)]
struct ListedPlan {
    id: u64,
    /// When it was made, milliseconds since 1970-01-01 UTC.
    at_ms: Option<u64>,
    /// Who made it: effective user id.
    uid: Option<u32>,
    /// The command.
    title: String,
    /// Why, as it was said then.
    why: Option<String>,
    /// How it stands: applied, partly, nothing, undone, partly-undone, or unreadable.
    standing: String,
    /// The steps.
    steps: Vec<String>,
}

/// JSON Schema of `undo --list`.
pub(super) fn schema() -> Schema {
    schema_for!(Listed)
}

impl Command for Undo {
    fn run(&self, session: &Session) -> Result<Output> {
        session.needs_machine("undo")?;
        let journal = session.journal()?;
        if self.list { list(&journal) } else { self.take_back(session, &journal) }
    }
}

fn standing(record: &Record) -> &'static str {
    match record.standing() {
        Standing::Applied => "applied",
        Standing::Partly => "partly",
        Standing::Nothing => "nothing",
        Standing::Undone => "undone",
        Standing::PartlyUndone => "partly-undone",
    }
}

fn list(journal: &Journal) -> Result<Output> {
    let plans: Vec<ListedPlan> = journal.records()?.iter().map(listed).collect();
    let columns = [
        Column::numbers("id"),
        Column::words("when"),
        Column::words("standing"),
        Column::prose("command"),
        Column::prose("why"),
    ];
    let row = |plan: &ListedPlan| {
        let when = plan.at_ms.map(moment).unwrap_or_default();
        let why = plan.why.clone().unwrap_or_default();
        [plan.id.to_string(), when, plan.standing.clone(), plan.title.clone(), why]
    };
    let rows: Vec<[String; 5]> = plans.iter().map(row).collect();
    let folder = journal.folder().display().to_string();
    let blocks = if rows.is_empty() {
        vec![Block::Line(format!("nothing was changed from here: the journal in {folder} is empty").into())]
    } else {
        vec![Block::Table(Table::of_rows(columns, rows.clone()))]
    };
    let table = Table::of_rows(columns, rows);
    Ok(Output::Report(Report::new(Listed { folder, plans }, blocks, table, Vec::new())))
}

fn listed(found: &Found) -> ListedPlan {
    match &found.record {
        Ok(record) => ListedPlan {
            id: found.id,
            at_ms: Some(record.at_ms),
            uid: record.uid,
            title: record.plan.title.clone(),
            why: record.plan.note.clone(),
            standing: standing(record).into(),
            steps: record.plan.steps.iter().map(|step| step.action.to_string()).collect(),
        },
        Err(error) => ListedPlan {
            id: found.id,
            at_ms: None,
            uid: None,
            title: error.to_string(),
            why: None,
            standing: "unreadable".into(),
            steps: Vec::new(),
        },
    }
}

/// Whether an undo without a number would take this one.
fn is_open(record: &Record, here: &Place) -> bool {
    let stands = matches!(record.standing(), Standing::Applied | Standing::Partly | Standing::PartlyUndone);
    // A unit, a container or a file is of no namespace; a plan with a setting of another one is not meant here.
    let elsewhere = record.plan.steps.iter().any(|step| step.action.is_of_namespace())
        && (&record.plan.place.boot, record.plan.place.namespace) != (&here.boot, here.namespace)
        && record.plan.place.boot == here.boot;
    stands && !elsewhere && !record.to_undo().is_empty()
}

impl Undo {
    fn take_back(&self, session: &Session, journal: &Journal) -> Result<Output> {
        let here = sys::place(session.namespace())?;
        let (id, record) = self.chosen(journal, &here)?;
        let title = format!("undo {id} ({})", record.plan.title);
        let mut changed = to_take_back(&record);
        changed.dry_run = self.consent.dry_run;
        if record.to_undo().is_empty() {
            changed.done = true;
            let heading = Line::new().strong(title).plain("   nothing to do: nothing of it stands");
            return Ok(Output::Report(changed.report(heading)));
        }
        let mut end = "   a dry run: nothing was changed";
        if !self.consent.dry_run {
            if !self.consent.yes {
                ask(&title, &changed)?;
            }
            let lock = journal.lock().map_err(|error| Refused(error.to_string()))?;
            // Somebody may have taken it back while the question stood.
            let record = journal.record(id)?.record.map_err(|error| Refused(error.to_string()))?;
            let mut tell = |told: &_| changed.take_back(&record, told);
            let done = undo((journal, &lock), session.namespace(), &here, (id, &record), &mut tell);
            let done = done.map_err(|error| Refused(error.to_string()))?;
            changed.done = done;
            end = if done { "   taken back" } else { "   not taken back" };
        }
        Ok(Output::Report(changed.report(Line::new().strong(title).plain(end))))
    }

    fn chosen(&self, journal: &Journal, here: &Place) -> Result<(u64, Record)> {
        let found = match self.id {
            Some(id) => journal.records()?.into_iter().find(|found| found.id == id).ok_or_else(|| {
                Misuse(format!(
                    "there is no plan {id} in {}; see portolan undo --list",
                    journal.folder().display()
                ))
            })?,
            None => {
                let open = |found: &Found| found.record.as_ref().is_ok_and(|record| is_open(record, here));
                journal.records()?.into_iter().rev().find(open).ok_or_else(|| {
                    Refused("there is nothing to take back here; see portolan undo --list".to_owned())
                })?
            }
        };
        let record = found.record.map_err(|error| Refused(format!("plan {}: {error}", found.id)))?;
        Ok((found.id, record))
    }
}

/// The inverses that an undo plays, in its order.
fn to_take_back(record: &Record) -> Changed {
    let back = |index| {
        let step: &Step = &record.plan.steps[index];
        // A step that cannot be taken back stays as it is, and the report says so.
        step.inverse.clone().map_or_else(|| step.clone(), Step::new)
    };
    let steps = record.to_undo().into_iter().map(back).collect();
    Changed::planned(&Plan { steps, warnings: Vec::new(), ..record.plan.clone() })
}
