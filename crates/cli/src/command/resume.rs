//! `portolan resume [ID]`: goes on with a plan that was cut off, or that waited for a restart.

use anyhow::Result;
use clap::Args;
use portolan_core::change::{Action, Next, Place, Record, StepState, Store};
use portolan_host::apply::{Ending, Run, go_on, permitted};
use portolan_host::journal::{Found, Journal};
use portolan_host::sys;

use crate::changing::{Changed, ChangedOutcome, Consent, Signals, ask, interrupted, nothing_changed};
use crate::command::{Command, Output};
use crate::exit::{Misuse, Refused};
use crate::report::Line;
use crate::source::Session;

/// Go on with a plan that was cut off, or that waited for a restart
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan undo --list     what was begun, and what comes next of it
  portolan resume          the newest plan that has not come to its end
  portolan resume 3
  portolan undo 3          the other way out: take back what was done of it")]
pub(crate) struct Resume {
    /// Number of the plan; without it the newest that has not come to its end
    id: Option<u64>,
    #[command(flatten)]
    consent: Consent,
}

impl Command for Resume {
    fn run(&self, session: &Session) -> Result<Output> {
        session.needs_machine("resume")?;
        let journal = session.journal()?;
        let here = sys::place(session.namespace())?;
        let Some((id, record)) = self.chosen(&journal)? else {
            let heading = Line::new().strong("resume").plain("   every plan here has come to its end");
            let changed = Changed { done: true, ..Changed::planned(&portolan_core::change::Plan::default()) };
            return Ok(Output::Report(changed.report(heading)));
        };
        may_go_on(id, &record, &here)?;
        let title = format!("resume {id} ({})", record.plan.title);
        let mut changed = standing(id, &record);
        if self.consent.dry_run {
            changed.dry_run = true;
            let heading = Line::new().strong(title).plain("   a dry run: nothing was changed");
            return Ok(Output::Report(changed.report(heading)));
        }
        let left = record.plan.steps.iter().zip(&record.steps);
        let left = left.filter(|(_, state)| matches!(state, StepState::Waiting | StepState::Begun(_)));
        permitted(session.namespace(), left.map(|(step, _)| &step.action)).map_err(nothing_changed)?;
        if !self.consent.yes {
            ask(&title, &changed)?;
        }
        let lock = journal.lock().map_err(nothing_changed)?;
        // Somebody may have gone on with it while the question stood.
        let record = numbered(&journal, id)?;
        let mut changed = standing(id, &record);
        let mut signals = Signals::of(&record.plan)?;
        let run =
            Run { tell: &mut |told| changed.take(told), broken_off: &mut || signals.came(), restarts: false };
        let ending = go_on((&journal, &lock), session.namespace(), (id, &record), run);
        changed.done = ending == Ending::Done;
        signals.note(&mut changed);
        let end = match ending {
            Ending::Done => "   done",
            Ending::Waiting => "   waits for a restart",
            Ending::BrokenOff => "   not done",
        };
        Ok(Output::Report(changed.report(Line::new().strong(title).plain(end))))
    }
}

impl Resume {
    fn chosen(&self, journal: &Journal) -> Result<Option<(u64, Record)>> {
        if let Some(id) = self.id {
            return Ok(Some((id, numbered(journal, id)?)));
        }
        let records = journal.records().map_err(nothing_changed)?.into_iter().rev();
        let mut open = records.filter_map(|Found { id, record }| Some((id, record.ok()?)));
        Ok(open.find(|(_, record)| interrupted(record).is_some()))
    }
}

fn numbered(journal: &Journal, id: u64) -> Result<Record> {
    let folder = journal.folder().display();
    let found = journal
        .record(id)
        .ok_or_else(|| Misuse(format!("there is no plan {id} in {folder}; see portolan undo --list")))?;
    Ok(found.record.map_err(|error| Refused(format!("plan {id}: {error}")))?)
}

/// Refuses a plan that cannot be gone on with, and says what can be done about it.
fn may_go_on(id: u64, record: &Record, here: &Place) -> Result<(), Refused> {
    let there = &record.plan.place;
    match record.next() {
        Next::Undo(_) => {
            return Err(Refused(format!(
                "taking plan {id} back has begun: portolan undo {id} goes on with that"
            )));
        }
        Next::Finished => {
            return Err(Refused(format!("plan {id} has come to its end; portolan undo {id} takes it back")));
        }
        Next::Do(..) => {}
    }
    if there.namespace != here.namespace && record.plan.steps.iter().any(|step| step.action.is_of_namespace())
    {
        let which = there.name.as_deref().unwrap_or("PID");
        return Err(Refused(format!("plan {id} belongs to another network namespace: add --netns {which}")));
    }
    // What Linux' kernel was told is gone with its boot, and going on would leave it out.
    let of_kernel = |action: &Action| {
        matches!(
            action,
            Action::SetRange { store: Store::Runtime, .. }
                | Action::Reserve { store: Store::Runtime, .. }
                | Action::Unreserve { store: Store::Runtime, .. }
        )
    };
    if there.boot != here.boot && record.plan.steps.iter().any(|step| of_kernel(&step.action)) {
        return Err(Refused(format!(
            "the machine was restarted since plan {id} was begun; type portolan undo {id}, then the command again"
        )));
    }
    Ok(())
}

/// The steps of a plan, with what came of those that are done.
fn standing(id: u64, record: &Record) -> Changed {
    let mut changed = Changed { id: Some(id), ..Changed::planned(&record.plan) };
    for (step, state) in changed.steps.iter_mut().zip(&record.steps) {
        step.outcome = match state {
            StepState::Waiting | StepState::Begun(_) => ChangedOutcome::Planned,
            StepState::Done(_) => ChangedOutcome::Done,
            StepState::Unneeded => ChangedOutcome::AlreadySo,
            StepState::Undone(_) => ChangedOutcome::Gone,
        };
    }
    changed
}
