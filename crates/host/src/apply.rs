//! Carries out plans, and takes them back: the journal first, then the step, then the journal again.
//!
//! Killed at any moment, what the journal says is enough to take back what was done: a step that was begun but not
//! seen to end is looked at, not assumed.

use portolan_core::change::{
    Action, Begun, Decision, Event, Next, Observed, Place, Plan, Record, StepState, Store, decide,
    whatever_happens,
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
    /// It waits for a restart of the system; then the plan can go on.
    Waiting(String),
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

/// How a run of a plan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every step is done.
    Done,
    /// A step failed, or the person broke off: after it only that was done which is done whatever happens.
    BrokenOff,
    /// The system has to restart before the plan goes on.
    Waiting,
}

/// What the one who has a plan carried out wants to be told and asked.
pub struct Run<'a> {
    /// Is told what came of each step.
    pub tell: &'a mut dyn FnMut(&Report),
    /// Whether the person asked to break off; asked before each step.
    pub broken_off: &'a mut dyn FnMut() -> bool,
    /// Whether a step that restarts the system does so; else it waits until somebody has.
    pub restarts: bool,
}

/// Does a plan's steps in order, telling each; stops at the first that fails. The plan stands in the journal under the
/// number that is returned; with it, how it ended. An error: the journal does not take the plan, and nothing was done.
pub fn apply(
    (journal, lock): (&Journal, &Lock),
    namespace: &Namespace,
    plan: &Plan,
    run: Run<'_>,
) -> Result<(u64, Ending), Error> {
    let id = journal.begin(lock, plan)?;
    Ok((id, go_on((journal, lock), namespace, (id, &Record::new(plan.clone())), run)))
}

/// Goes on with a plan of the journal from where it stands. Nothing is done where an undo of it has begun.
pub fn go_on(
    (journal, _lock): (&Journal, &Lock),
    namespace: &Namespace,
    (id, record): (u64, &Record),
    run: Run<'_>,
) -> Ending {
    let mut record = record.clone();
    let forward = Forward { place: (journal, id), namespace, restarts: run.restarts };
    let mut step_by = |record: &mut Record, step: usize, action: Action| {
        let outcome = forward.step(record, step, &action);
        (run.tell)(&Report { step, action, outcome: outcome.clone() });
        outcome
    };
    let broken_at = loop {
        match record.next() {
            Next::Finished => return Ending::Done,
            Next::Undo(_) => return Ending::BrokenOff,
            // Where nothing was stopped yet, nothing has to be started.
            Next::Do(step, _) if (run.broken_off)() => break step.checked_sub(1),
            Next::Do(step, action) => match step_by(&mut record, step, action) {
                Outcome::Failed(_) => break Some(step),
                Outcome::Waiting(_) => return Ending::Waiting,
                Outcome::Done | Outcome::AlreadySo | Outcome::Gone(_) => {}
            },
        }
    };
    for step in broken_at.map_or_else(Vec::new, |step| whatever_happens(&record.plan, step)) {
        let action = record.plan.steps[step].action.clone();
        step_by(&mut record, step, action);
    }
    Ending::BrokenOff
}

/// Carries steps of one plan out.
struct Forward<'a> {
    place: (&'a Journal, u64),
    namespace: &'a Namespace,
    restarts: bool,
}

impl Forward<'_> {
    /// One step, written down before and after, in the journal and in the record.
    fn step(&self, record: &mut Record, step: usize, action: &Action) -> Outcome {
        let (journal, id) = self.place;
        let action = &action.of_plan(id);
        let before = match &record.steps[step] {
            StepState::Begun(begun) => Some(begun.clone()),
            _ => None,
        };
        if let Some(begun) = &before
            && let failed @ Outcome::Failed(_) = complete_list(self.namespace, &begun.rewriting, action)
        {
            return failed;
        }
        let mut begun = before.clone();
        let mut start = |action: &Action| {
            if before.is_some() {
                // What it found when it began is what an undo brings back.
                return Ok(());
            }
            let found = Begun {
                rewriting: rewriting(self.namespace, action)?,
                file: sys::file_before(action)?,
                features: sys::features_before(action)?,
                action: action.clone(),
            };
            begun = Some(found.clone());
            journal.append(id, Event::Started { step, begun: found })
        };
        let outcome = match action.is_restart() {
            true => self.restart(&record.plan, action, &mut start),
            false => carry_out(self.namespace, action, "; type the command again", &mut start),
        };
        let outcome = match with_family(outcome, &record.features_before(step, action)) {
            // It had begun, so it was this plan that did it.
            Outcome::AlreadySo if before.is_some() => Outcome::Done,
            outcome => outcome,
        };
        let event = match &outcome {
            Outcome::Done => Event::Done { step, changed: true },
            Outcome::AlreadySo | Outcome::Gone(_) => Event::Done { step, changed: false },
            Outcome::Failed(error) => Event::Failed { step, error: error.clone() },
            Outcome::Waiting(_) => return outcome,
        };
        record.steps[step] = match (&outcome, begun) {
            (Outcome::Done, Some(begun)) => StepState::Done(begun),
            (Outcome::Failed(_), Some(begun)) => StepState::Begun(begun),
            (Outcome::Failed(_), None) => StepState::Waiting,
            _ => StepState::Unneeded,
        };
        told(journal.append(id, event), outcome)
    }

    /// A restart is done once the system runs in another boot than the one in which it was begun.
    fn restart(
        &self,
        plan: &Plan,
        action: &Action,
        start: &mut dyn FnMut(&Action) -> Result<(), Error>,
    ) -> Outcome {
        let by_itself = plan.goes_on_by_itself();
        let mut attempt = || -> Result<Outcome, Error> {
            let Decision::Do(action) = decide(action, &sys::observe(self.namespace, action)?) else {
                return Ok(Outcome::AlreadySo);
            };
            start(&action)?;
            Ok(Outcome::Waiting(if self.restarts {
                sys::perform(self.namespace, &action)?;
                "Windows restarts in a minute, and then the plan goes on".into()
            } else if by_itself {
                "restart Windows when it suits you; the plan goes on by itself then".into()
            } else {
                format!("restart Windows when it suits you, then type portolan resume {}", self.place.1)
            }))
        };
        attempt().unwrap_or_else(|error| Outcome::Failed(error.to_string()))
    }
}

/// What came of turning a feature back, once its family is as it was too.
fn with_family(outcome: Outcome, family: &[(String, bool)]) -> Outcome {
    match outcome {
        Outcome::Done | Outcome::AlreadySo if !family.is_empty() => sys::restore_features(family)
            .map_or_else(|error| Outcome::Failed(error.to_string()), |()| outcome),
        outcome => outcome,
    }
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
            Outcome::Failed(_) | Outcome::Waiting(_) => None,
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
    let again = format!("; mend that and type portolan undo {id} again");
    let outcome = carry_out(namespace, inverse, &again, &mut start);
    match &record.steps[step] {
        StepState::Begun(begun) | StepState::Done(begun) => with_family(outcome, &begun.features),
        _ => outcome,
    }
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
