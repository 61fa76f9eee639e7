//! Carries out plans, and takes them back: the journal first, then the step, then the journal again.
//!
//! Killed at any moment, what the journal says is enough to take back what was done: a step that was begun but not
//! seen to end is looked at, not assumed.

use portolan_core::change::{Action, Decision, Event, Place, Plan, Record, StepState, Store, decide};

use crate::journal::{Journal, Lock};
use crate::{Error, Namespace, sys};

/// What came of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, and read back where it can be read.
    Done,
    /// It was so already.
    AlreadySo,
    /// Refused or failed; nothing after it was done.
    Failed(String),
    /// Undo only: its boot is over and took it along, or nothing can take it back.
    Gone(String),
}

/// One step with what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Index into the plan's steps.
    pub step: usize,
    /// What was carried out, or would have been.
    pub action: Action,
    /// What came of it.
    pub outcome: Outcome,
}

/// Does a plan's steps in order, telling each; stops at the first that fails. The plan stands in the journal as `id`.
pub fn apply(
    (journal, lock): (&Journal, &Lock),
    namespace: &Namespace,
    plan: &Plan,
    tell: &mut dyn FnMut(&Report),
) -> Result<(u64, bool), Error> {
    let id = journal.begin(lock, plan)?;
    for (step, planned) in plan.steps.iter().enumerate() {
        let outcome = forward((journal, id), namespace, step, &planned.action)?;
        let failed = matches!(outcome, Outcome::Failed(_));
        tell(&Report { step, action: planned.action.clone(), outcome });
        if failed {
            return Ok((id, false));
        }
    }
    Ok((id, true))
}

fn forward(
    (journal, id): (&Journal, u64),
    namespace: &Namespace,
    step: usize,
    action: &Action,
) -> Result<Outcome, Error> {
    let before = reserved_before(namespace, action)?;
    journal.append(id, Event::Started { step, before })?;
    let outcome = carry_out(namespace, action);
    let event = match &outcome {
        Outcome::Done => Event::Done { step, changed: true },
        Outcome::AlreadySo | Outcome::Gone(_) => Event::Done { step, changed: false },
        Outcome::Failed(error) => Event::Failed { step, error: error.clone() },
    };
    journal.append(id, event)?;
    Ok(outcome)
}

/// The kernel's reserved ports before a step that rewrites their list.
fn reserved_before(
    namespace: &Namespace,
    action: &Action,
) -> Result<Vec<portolan_core::port::PortRange>, Error> {
    match action {
        Action::Unreserve { store: Store::Runtime, .. } => match sys::observe(namespace, action)? {
            portolan_core::change::Observed::Reserved(ports) => Ok(ports.ranges()),
            _ => Ok(Vec::new()),
        },
        _ => Ok(Vec::new()),
    }
}

/// Looks, decides, does, and looks again.
fn carry_out(namespace: &Namespace, action: &Action) -> Outcome {
    let attempt = || -> Result<Outcome, Error> {
        match decide(action, &sys::observe(namespace, action)?) {
            Decision::AlreadySo => return Ok(Outcome::AlreadySo),
            Decision::Changed(how) => return Ok(Outcome::Failed(how)),
            Decision::Do(action) => sys::perform(namespace, &action)?,
        }
        if !action.is_setting() {
            // A process that has ended may have left its number to another by now: there is nothing to compare.
            return Ok(Outcome::Done);
        }
        Ok(match decide(action, &sys::observe(namespace, action)?) {
            Decision::Do(left) => Outcome::Failed(format!("the system took it, but still to do is: {left}")),
            Decision::Changed(how) => Outcome::Failed(how),
            _ => Outcome::Done,
        })
    };
    attempt().unwrap_or_else(|error| Outcome::Failed(error.to_string()))
}

/// Takes a plan back, its last step first, telling each; stops at the first that fails. True when all is back.
pub fn undo(
    (journal, _lock): (&Journal, &Lock),
    namespace: &Namespace,
    here: &Place,
    (id, record): (u64, &Record),
    tell: &mut dyn FnMut(&Report),
) -> Result<bool, Error> {
    for step in record.to_undo() {
        sys::sweep(&record.plan.steps[step].action)?;
        let planned = &record.plan.steps[step];
        let (action, outcome) = match (&planned.inverse, gone_with_boot(record, step, here)) {
            (_, true) => (planned.action.clone(), Outcome::Gone("gone with its boot".into())),
            (None, _) => (planned.action.clone(), Outcome::Gone("cannot be taken back".into())),
            (Some(inverse), _) => {
                (inverse.clone(), backward(namespace, here, &record.plan.place, inverse, &record.steps[step]))
            }
        };
        match &outcome {
            Outcome::Done => journal.append(id, Event::Undone { step, how: "taken back".into() })?,
            Outcome::AlreadySo => journal.append(id, Event::Undone { step, how: "already back".into() })?,
            Outcome::Gone(how) => journal.append(id, Event::Undone { step, how: how.clone() })?,
            Outcome::Failed(_) => {
                tell(&Report { step, action, outcome });
                return Ok(false);
            }
        }
        tell(&Report { step, action, outcome });
    }
    journal.append(id, Event::UndoFinished)?;
    Ok(true)
}

fn gone_with_boot(record: &Record, step: usize, here: &Place) -> bool {
    record.plan.steps[step].action.is_runtime() && record.plan.place.boot != here.boot
}

fn backward(
    namespace: &Namespace,
    here: &Place,
    there: &Place,
    inverse: &Action,
    state: &StepState,
) -> Outcome {
    if inverse.is_of_namespace() && there.namespace != here.namespace {
        let name = there.name.as_deref().unwrap_or("the one it was made in");
        return Outcome::Failed(format!(
            "this step belongs to another network namespace ({name}); run undo there, or with --netns {}",
            there.name.as_deref().unwrap_or("PID")
        ));
    }
    if let StepState::Started(before) = state
        && !before.is_empty()
        && inverse.is_of_namespace()
    {
        // The rewrite of the list may have been cut off half-way: what others had in it comes back first.
        let restore = Action::Reserve { store: Store::Runtime, ports: before.clone(), kept: Vec::new() };
        if let failed @ Outcome::Failed(_) = carry_out(namespace, &restore) {
            return failed;
        }
    }
    carry_out(namespace, inverse)
}
