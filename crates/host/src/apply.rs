//! Carries out plans, and takes them back: the journal first, then the step, then the journal again.
//!
//! Killed at any moment, what the journal says is enough to take back what was done: a step that was begun but not
//! seen to end is looked at, not assumed.

use portolan_core::change::{
    Action, Begun, Decision, Event, Observed, Place, Plan, Record, StepState, Store, decide,
};
use portolan_core::port::{PortRange, PortSet};

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

/// Whether this process may carry out these actions; an error says what is missing. Nothing is touched.
pub fn permitted<'a>(
    namespace: &Namespace,
    actions: impl IntoIterator<Item = &'a Action>,
) -> Result<(), Error> {
    actions.into_iter().try_for_each(|action| sys::permitted(namespace, action))
}

/// Does a plan's steps in order, telling each; stops at the first that fails. The plan stands in the journal under the
/// number that is returned; with it, whether every step is done. An error: the journal does not take the plan, and
/// nothing was done.
pub fn apply(
    (journal, lock): (&Journal, &Lock),
    namespace: &Namespace,
    plan: &Plan,
    tell: &mut dyn FnMut(&Report),
) -> Result<(u64, bool), Error> {
    let id = journal.begin(lock, plan)?;
    for (step, planned) in plan.steps.iter().enumerate() {
        let outcome = forward((journal, id), namespace, step, &planned.action);
        let failed = matches!(outcome, Outcome::Failed(_));
        tell(&Report { step, action: planned.action.clone(), outcome });
        if failed {
            return Ok((id, false));
        }
    }
    Ok((id, true))
}

fn forward((journal, id): (&Journal, u64), namespace: &Namespace, step: usize, action: &Action) -> Outcome {
    let mut start = |action: &Action| {
        let rewriting = rewriting(namespace, action)?;
        let begun = Begun { action: action.clone(), rewriting, file: sys::file_before(action)? };
        journal.append(id, Event::Started { step, begun })
    };
    let outcome = carry_out(namespace, action, "; type the command again", &mut start);
    let event = match &outcome {
        Outcome::Done => Event::Done { step, changed: true },
        Outcome::AlreadySo | Outcome::Gone(_) => Event::Done { step, changed: false },
        Outcome::Failed(error) => Event::Failed { step, error: error.clone() },
    };
    told(journal.append(id, event), outcome)
}

/// What came of a step, unless it could not be written down.
fn told(written: Result<(), Error>, outcome: Outcome) -> Outcome {
    match (written, &outcome) {
        (Err(error), Outcome::Done | Outcome::AlreadySo | Outcome::Gone(_)) => {
            Outcome::Failed(format!("done, but {error}; undo can take it back"))
        }
        _ => outcome,
    }
}

/// The kernel's reserved ports, where an action rewrites their list.
fn rewriting(namespace: &Namespace, action: &Action) -> Result<Vec<PortRange>, Error> {
    if !action.rewrites_list() {
        return Ok(Vec::new());
    }
    Ok(match sys::observe(namespace, action)? {
        Observed::Reserved(ports) => ports.ranges(),
        _ => Vec::new(),
    })
}

/// Looks, decides, does, and looks again. `start` comes before anything is touched; where it fails nothing is. `again`
/// is what to do where somebody else has changed the setting.
fn carry_out(
    namespace: &Namespace,
    action: &Action,
    again: &str,
    start: &mut dyn FnMut(&Action) -> Result<(), Error>,
) -> Outcome {
    let mut attempt = || -> Result<Outcome, Error> {
        match decide(action, &sys::observe(namespace, action)?) {
            Decision::AlreadySo => return Ok(Outcome::AlreadySo),
            Decision::Changed(how) => return Ok(Outcome::Failed(how + again)),
            Decision::Do(action) => {
                start(&action)?;
                sys::perform(namespace, &action)?;
            }
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
) -> bool {
    for step in record.to_undo() {
        let planned = &record.plan.steps[step].action;
        let (action, outcome) = match record.inverse(step) {
            _ if record.is_gone(step, here) => (planned.clone(), Outcome::Gone("gone with its boot".into())),
            None => (planned.clone(), Outcome::Gone("cannot be taken back".into())),
            Some(inverse) => {
                let outcome = backward((journal, id), namespace, here, (record, step), &inverse);
                (inverse, outcome)
            }
        };
        let how = match &outcome {
            Outcome::Done => Some("taken back"),
            Outcome::AlreadySo => Some("already back"),
            Outcome::Gone(how) => Some(how.as_str()),
            Outcome::Failed(_) => None,
        };
        let written = how.map_or(Ok(()), |how| journal.append(id, Event::Undone { step, how: how.into() }));
        let outcome = told(written, outcome);
        let failed = matches!(outcome, Outcome::Failed(_));
        tell(&Report { step, action, outcome });
        if failed {
            return false;
        }
    }
    // Every step says by itself that it is back; this line is for readers.
    let _ = journal.append(id, Event::UndoFinished);
    true
}

fn backward(
    (journal, id): (&Journal, u64),
    namespace: &Namespace,
    here: &Place,
    (record, step): (&Record, usize),
    inverse: &Action,
) -> Outcome {
    let there = &record.plan.place;
    if inverse.is_of_namespace() && there.namespace != here.namespace {
        return Outcome::Failed(match &there.name {
            Some(name) => {
                format!("this step belongs to the network namespace {name}: run undo with --netns {name}")
            }
            None => "this step belongs to another network namespace, which has no name: run undo inside it, \
                     or with --netns PID of a process in it"
                .into(),
        });
    }
    if let StepState::Begun(begun) | StepState::Done(begun) = &record.steps[step] {
        if let failed @ Outcome::Failed(_) = complete_list(namespace, &begun.rewriting, inverse) {
            return failed;
        }
        match begun.file.as_ref().map(|file| sys::restore_file(&begun.action, file)) {
            Some(Ok(true)) => return Outcome::Done,
            Some(Err(error)) => return Outcome::Failed(error.to_string()),
            Some(Ok(false)) | None => {}
        }
    }
    let mut start = |action: &Action| match rewriting(namespace, action)? {
        rewriting if rewriting.is_empty() => Ok(()),
        rewriting => journal.append(id, Event::UndoStarted { step, rewriting }),
    };
    carry_out(namespace, inverse, &format!("; mend that and type portolan undo {id} again"), &mut start)
}

/// A rewrite of the list of reserved ports may have been cut off half-way: what was in it comes back first, but for the
/// ports that are to be taken out now.
fn complete_list(namespace: &Namespace, rewriting: &[PortRange], inverse: &Action) -> Outcome {
    let mut lost: PortSet = rewriting.iter().copied().collect();
    if let Action::Unreserve { ports, .. } = inverse {
        ports.iter().for_each(|range| lost.remove_range(*range));
    }
    if lost.is_empty() {
        return Outcome::AlreadySo;
    }
    let restore = Action::Reserve { store: Store::Runtime, ports: lost.ranges(), kept: Vec::new() };
    // Adding takes no rewrite, so there is nothing to write down first.
    carry_out(namespace, &restore, "", &mut |_| Ok(()))
}
