//! Going on with a plan after a break: a crash, a failure, or a restart of the machine that the plan itself asked for.
//!
//! Pure: how far each step came is told by the journal, what is there now by [`super::decide`]. A step that had begun is
//! asked again: each finds by itself that it is done already. So a plan can be gone on with from any point, and each
//! plan that can be gone on with can be undone instead.

use super::{Action, Plan};

/// How far one step came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not begun.
    Waiting,
    /// Begun, and not known to have ended; the action as it was begun (a restart keeps the boot it began in).
    Begun(Action),
    /// Done by this plan.
    Done(Action),
    /// Was so already: not this plan's.
    Unneeded,
    /// Taken back.
    Undone,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This step, with this action.
    Do(usize, Action),
    /// Nothing: every step is done.
    Finished,
    /// Nothing forwards: an undo has begun and has to go on. The steps that it still has to take back, last first.
    Undo(Vec<usize>),
}

/// What to do next of a plan, given how far its steps came. A missing entry counts as waiting.
pub fn next_step(plan: &Plan, progress: &[Progress]) -> Next {
    if progress.contains(&Progress::Undone) {
        return Next::Undo(still_to_undo(progress));
    }
    for (step, planned) in plan.steps.iter().enumerate() {
        match progress.get(step) {
            Some(Progress::Begun(action)) => return Next::Do(step, action.clone()),
            Some(Progress::Waiting) | None => return Next::Do(step, planned.action.clone()),
            Some(Progress::Done(_) | Progress::Unneeded | Progress::Undone) => {}
        }
    }
    Next::Finished
}

/// The steps that are done all the same after `failed` failed or was broken off: what was stopped is started again. Each
/// finds by itself whether there is anything to do.
pub fn whatever_happens(plan: &Plan, failed: usize) -> Vec<usize> {
    let later = plan.steps.iter().enumerate().skip(failed.saturating_add(1));
    later.filter(|(_, step)| step.always).map(|(index, _)| index).collect()
}

/// The steps that an undo has to look at, last first. Two done steps of which the later takes the earlier back (a service
/// stopped and started again, a feature off and on) cancel each other and stay as they are: undoing them would only
/// cut networks, or ask for restarts, once more.
pub fn still_to_undo(progress: &[Progress]) -> Vec<usize> {
    let mut left: Vec<usize> = Vec::new();
    for (step, state) in progress.iter().enumerate() {
        match state {
            Progress::Waiting | Progress::Unneeded | Progress::Undone => {}
            // That the system was started anew is nothing to take back.
            Progress::Begun(action) | Progress::Done(action) if action.is_restart() => {}
            Progress::Begun(_) => left.push(step),
            Progress::Done(action) => {
                let done = |at: &usize| match &progress[*at] {
                    Progress::Done(earlier) => earlier.inverse().as_ref() == Some(action),
                    _ => false,
                };
                match left.iter().rposition(done) {
                    Some(at) => drop(left.remove(at)),
                    None => left.push(step),
                }
            }
        }
    }
    left.reverse();
    left
}

#[cfg(test)]
mod tests;
