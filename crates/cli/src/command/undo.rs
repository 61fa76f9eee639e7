//! `portolan undo [ID]`: takes a plan of the journal back; `--list` shows the journal.

use anyhow::Result;
use clap::Args;
use portolan_core::change::{Action, Place, Plan, Record, Standing, Step};
use portolan_host::apply::{permitted, undo};
use portolan_host::journal::{Found, Journal};
use portolan_host::sys;
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::cells::{Column, Table};
use crate::changing::{Changed, Consent, ask, interrupted, nothing_changed};
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
    /// The step at which `portolan resume` goes on, of a plan that was begun and has not come to its end.
    next: Option<String>,
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
        Column::prose("next"),
        Column::prose("command"),
        Column::prose("why"),
    ];
    let row = |plan: &ListedPlan| {
        let when = plan.at_ms.map(moment).unwrap_or_default();
        let why = plan.why.clone().unwrap_or_default();
        let next = plan.next.clone().unwrap_or_default();
        [plan.id.to_string(), when, plan.standing.clone(), next, plan.title.clone(), why]
    };
    let rows: Vec<[String; 6]> = plans.iter().map(row).collect();
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
            next: interrupted(record).map(|action| action.to_string()),
        },
        Err(error) => ListedPlan {
            id: found.id,
            at_ms: None,
            uid: None,
            title: error.to_string(),
            why: None,
            standing: "unreadable".into(),
            steps: Vec::new(),
            next: None,
        },
    }
}

/// Whether an undo without a number would take this one: something of it stands that can be taken back here.
fn is_open(record: &Record, here: &Place) -> bool {
    let place = &record.plan.place;
    // A unit, a container or a file is of no namespace; a plan with a setting of another one is not meant here. What
    // an earlier boot set is gone, in whatever namespace.
    let elsewhere = record.plan.steps.iter().any(|step| step.action.is_of_namespace())
        && place.namespace != here.namespace
        && place.boot == here.boot;
    !elsewhere && record.to_undo().into_iter().any(|step| record.inverse(step).is_some())
}

impl Undo {
    fn take_back(&self, session: &Session, journal: &Journal) -> Result<Output> {
        let here = sys::place(session.namespace())?;
        let mut notes = Vec::new();
        let chosen = match self.id {
            Some(id) => Some((id, numbered(journal, id)?)),
            None => newest(journal, &here, &mut notes)?,
        };
        let Some((id, record)) = chosen else {
            let heading = Line::new().strong("undo").plain("   nothing to take back here");
            return Ok(Output::Report(nothing(heading, notes)));
        };
        let title = format!("undo {id} ({})", record.plan.title);
        if record.to_undo().is_empty() {
            let heading = Line::new().strong(title).plain("   nothing to do: nothing of it stands");
            return Ok(Output::Report(nothing(heading, notes)));
        }
        let mut changed = Changed { notes: notes.clone(), ..to_take_back(&record) };
        if self.consent.dry_run {
            changed.dry_run = true;
            return Ok(Output::Report(
                changed.report(Line::new().strong(title).plain("   a dry run: nothing was changed")),
            ));
        }
        let actions: Vec<Action> = record
            .to_undo()
            .into_iter()
            .filter(|step| !record.is_gone(*step, &here) && record.plan.place.namespace == here.namespace)
            .filter_map(|step| record.inverse(step))
            .collect();
        permitted(session.namespace(), &actions).map_err(nothing_changed)?;
        if !self.consent.yes {
            ask(&title, &changed)?;
        }
        let lock = journal.lock().map_err(nothing_changed)?;
        // Somebody may have taken it back while the question stood.
        let record = numbered(journal, id)?;
        changed = Changed { notes, ..to_take_back(&record) };
        let mut tell = |told: &_| changed.take_back(&record, told);
        changed.done = undo((journal, &lock), session.namespace(), &here, (id, &record), &mut tell);
        if record.plan.steps.iter().any(|step| needs_restart(&step.action)) {
            changed
                .notes
                .push("a feature that was turned takes effect with the next restart of Windows".into());
        }
        let end = if changed.done { "   taken back" } else { "   not taken back" };
        Ok(Output::Report(changed.report(Line::new().strong(title).plain(end))))
    }
}

fn needs_restart(action: &Action) -> bool {
    matches!(action, Action::Windows(action) if action.needs_restart())
}

/// A report that there is nothing to do.
fn nothing(heading: Line, notes: Vec<String>) -> Report {
    Changed { done: true, notes, ..Changed::planned(&Plan::default()) }.report(heading)
}

/// The plan of that number, if it can be taken back.
fn numbered(journal: &Journal, id: u64) -> Result<Record> {
    let folder = journal.folder().display();
    let found = journal
        .record(id)
        .ok_or_else(|| Misuse(format!("there is no plan {id} in {folder}; see portolan undo --list")))?;
    let record = found.record.map_err(|error| Refused(format!("plan {id}: {error}")))?;
    let steps = record.to_undo();
    if !steps.is_empty() && steps.iter().all(|step| record.inverse(*step).is_none()) {
        let title = &record.plan.title;
        return Err(
            Refused(format!("plan {id} ({title}) cannot be taken back: nothing brings it back")).into()
        );
    }
    Ok(record)
}

/// The newest plan of this namespace that stands; the notes tell which could not be read on the way to it.
fn newest(journal: &Journal, here: &Place, notes: &mut Vec<String>) -> Result<Option<(u64, Record)>> {
    for Found { id, record } in journal.records().map_err(nothing_changed)?.into_iter().rev() {
        match record {
            Ok(record) if is_open(&record, here) => return Ok(Some((id, record))),
            Ok(_) => {}
            Err(error) => notes.push(format!("plan {id} was passed over: {error}")),
        }
    }
    Ok(None)
}

/// The inverses that an undo plays, in its order.
fn to_take_back(record: &Record) -> Changed {
    let back = |index: usize| {
        // A step that cannot be taken back stays as it is, and the report says so.
        let step: &Step = &record.plan.steps[index];
        record.inverse(index).map_or_else(|| step.clone(), Step::new)
    };
    let steps = record.to_undo().into_iter().map(back).collect();
    Changed::planned(&Plan { steps, warnings: Vec::new(), ..record.plan.clone() })
}
