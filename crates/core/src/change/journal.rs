//! The journal of changes: one entry a line, JSON, appended and synced; folded here into what stands.
//!
//! One file a plan. The first line is the plan itself, and each step writes down what it found before it changes
//! anything, so that a crash at any later moment finds every inverse. A last line without its end is a write that a crash
//! cut off, and counts as not written; any other line that is no entry is an error.

use serde::{Deserialize, Serialize};

use super::resume::{Next, Progress, next_step, still_to_undo};
use super::{Action, FileBefore, Place, Plan, Step};
use crate::port::PortRange;

/// Version of the journal's lines; a newer one is refused.
const VERSION: u32 = 1;

/// What a step found when it began: enough to bring back exactly that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The step's action, less what was so already: that is somebody else's and not taken back.
    pub action: Action,
    /// Every reserved port of the kernel, where the list is being rewritten. A list of over 4 KiB takes the kernel
    /// several writes: a crash between them would lose what others reserved, were it not here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewriting: Vec<PortRange>,
    /// The file, where a step changes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileBefore>,
    /// Windows' optional features of the same family, and whether each was on, where a step turns one on or off: the
    /// system turns others along.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<(String, bool)>,
}

impl Begun {
    /// A step that found nothing beside what its action names.
    pub fn new(action: Action) -> Self {
        Self { action, rewriting: Vec::new(), file: None, features: Vec::new() }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// The plan, before its first step.
    Planned {
        /// Version of these lines.
        version: u32,
        /// The plan.
        plan: Plan,
    },
    /// A step is about to be done.
    Started {
        /// Its index.
        step: usize,
        /// What it found.
        begun: Begun,
    },
    /// A step was done, or was so already.
    Done {
        /// Its index.
        step: usize,
        /// False when there was nothing to do: then there is nothing to take back.
        changed: bool,
    },
    /// A step failed. Where it had started, something of it may stand.
    Failed {
        /// Its index.
        step: usize,
        /// The system's answer.
        error: String,
    },
    /// The kernel's list of reserved ports is about to be rewritten to take a step back.
    UndoStarted {
        /// The step's index.
        step: usize,
        /// As in [`Begun`].
        rewriting: Vec<PortRange>,
    },
    /// A step was taken back, or needed no taking back; why.
    Undone {
        /// Its index.
        step: usize,
        /// `taken back`, `already back`, `gone with its boot`, `cannot be taken back`.
        how: String,
    },
    /// Every step that could be taken back has been.
    UndoFinished,
}

impl Event {
    /// The first entry of a plan's file.
    pub fn planned(plan: Plan) -> Self {
        Self::Planned { version: VERSION, plan }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// Who: effective user id, where the system has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// How far a step came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StepState {
    /// Not begun, or refused before anything was touched: nothing to take back.
    #[default]
    Waiting,
    /// Begun, forwards or backwards; whether it came to its end is not known: look.
    Begun(Begun),
    /// Done.
    Done(Begun),
    /// Was so already: nothing to take back.
    Unneeded,
    /// Taken back, or needed none.
    Undone(String),
}

/// How a plan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Every step done.
    Applied,
    /// Some steps done: interrupted, or a step failed.
    Partly,
    /// Nothing was done.
    Nothing,
    /// Taken back whole.
    Undone,
    /// Taken back in part.
    PartlyUndone,
}

/// A plan's file, folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The plan.
    pub plan: Plan,
    /// When it was made, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// By whom.
    pub uid: Option<u32>,
    /// How far each step came.
    pub steps: Vec<StepState>,
}

impl Record {
    /// How the plan stands.
    pub fn standing(&self) -> Standing {
        let count = |wanted: fn(&StepState) -> bool| self.steps.iter().filter(|s| wanted(s)).count();
        let open = self.to_undo().len();
        let done = count(|s| matches!(s, StepState::Done(_) | StepState::Unneeded));
        match (count(|s| matches!(s, StepState::Undone(_))), open) {
            (1.., 0) => Standing::Undone,
            (1.., _) => Standing::PartlyUndone,
            _ if done == self.steps.len() => Standing::Applied,
            (_, 0) => Standing::Nothing,
            _ => Standing::Partly,
        }
    }

    /// A plan of which nothing is done yet.
    pub fn new(plan: Plan) -> Self {
        let steps = vec![StepState::Waiting; plan.steps.len()];
        Self { plan, at_ms: 0, uid: None, steps }
    }

    /// How far each step came.
    pub fn progress(&self) -> Vec<Progress> {
        let progress = |state: &StepState| match state {
            StepState::Waiting => Progress::Waiting,
            StepState::Begun(begun) => Progress::Begun(begun.action.clone()),
            StepState::Done(begun) => Progress::Done(begun.action.clone()),
            StepState::Unneeded => Progress::Unneeded,
            StepState::Undone(_) => Progress::Undone,
        };
        self.steps.iter().map(progress).collect()
    }

    /// What comes next.
    pub fn next(&self) -> Next {
        next_step(&self.plan, &self.progress())
    }

    /// What is done whatever happens, and was not: the plan was cut off after it had stopped what this starts again. None
    /// where what it had stopped is back with another boot.
    pub fn left_stopped(&self, here: &Place) -> Option<Action> {
        let is_stopped = |action: &Action| {
            (0..self.steps.len()).any(|step| {
                matches!(self.steps[step], StepState::Begun(_) | StepState::Done(_))
                    && !self.is_gone(step, here)
                    && self.inverse(step).as_ref() == Some(action)
            })
        };
        let open = |(step, state): (&Step, &StepState)| {
            let is_open = matches!(state, StepState::Waiting | StepState::Begun(_));
            // What is taken up again after a restart was not cut off.
            (step.always && is_open && step.action.is_runtime()).then(|| step.action.clone())
        };
        self.plan.steps.iter().zip(&self.steps).filter_map(open).find(is_stopped)
    }

    /// The states of optional features before an earlier step, where this step's action takes that one back.
    pub fn features_before(&self, step: usize, action: &Action) -> Vec<(String, bool)> {
        let earlier = self.steps.iter().take(step).rev().find_map(|state| match state {
            StepState::Done(begun) | StepState::Begun(begun)
                if begun.action.inverse().as_ref() == Some(action) =>
            {
                Some(begun.features.clone())
            }
            _ => None,
        });
        earlier.unwrap_or_default()
    }

    /// The steps that an undo has to look at, last first; but socket units come back before all others, since systemd
    /// starts none below a service that runs already.
    pub fn to_undo(&self) -> Vec<usize> {
        let mut steps = still_to_undo(&self.progress());
        let is_socket =
            |action: &Action| matches!(action, Action::StopUnit { unit, .. } if unit.ends_with(".socket"));
        steps.sort_by_key(|step| !is_socket(&self.plan.steps[*step].action));
        steps
    }

    /// Whether a step ended with the boot it was done in.
    pub fn is_gone(&self, step: usize, here: &Place) -> bool {
        self.plan.steps[step].action.is_runtime() && self.plan.place.boot != here.boot
    }

    /// What takes a step back: the inverse of what was done of it, none for what cannot be taken back.
    pub fn inverse(&self, step: usize) -> Option<Action> {
        match &self.steps[step] {
            StepState::Begun(begun) | StepState::Done(begun) => begun.action.inverse(),
            _ => None,
        }
    }
}

/// Why a plan's file could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// It holds no whole line: a crash cut off the plan itself, before any step.
    Empty,
    /// A line is not an entry; its number, from 1.
    Malformed(usize),
    /// Written by a newer version.
    Newer(u32),
    /// The system did not let it be read; its answer.
    Unreadable(String),
}

impl std::fmt::Display for EntryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("the plan was cut off before its first step: nothing was changed"),
            Self::Malformed(line) => write!(f, "line {line} is not an entry of the journal"),
            Self::Newer(version) => {
                write!(f, "version {version} of the journal, this program reads {VERSION}: update portolan")
            }
            Self::Unreadable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for EntryError {}

/// Folds a plan's file into how things stand.
pub fn fold(text: &[u8]) -> Result<Record, EntryError> {
    let end = text.iter().rposition(|byte| *byte == b'\n').ok_or(EntryError::Empty)?;
    let mut lines = (1..).zip(text[..end].split(|byte| *byte == b'\n'));
    let first = lines.next().map(|(_, line)| entry(line, 1)).ok_or(EntryError::Empty)??;
    let Event::Planned { plan, .. } = first.event else { return Err(EntryError::Malformed(1)) };
    let mut record = Record { at_ms: first.at_ms, uid: first.uid, ..Record::new(plan) };
    for (number, line) in lines {
        take(entry(line, number)?.event, &mut record).ok_or(EntryError::Malformed(number))?;
    }
    Ok(record)
}

/// A newer version may write what cannot be read here, all but its version.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

fn entry(line: &[u8], number: usize) -> Result<Entry, EntryError> {
    if let Ok(Versioned { version }) = serde_json::from_slice(line)
        && version > VERSION
    {
        return Err(EntryError::Newer(version));
    }
    serde_json::from_slice(line).map_err(|_| EntryError::Malformed(number))
}

/// Takes an event in; nothing where it does not follow from what came before.
fn take(event: Event, record: &mut Record) -> Option<()> {
    let (Event::Started { step, .. }
    | Event::Done { step, .. }
    | Event::Failed { step, .. }
    | Event::UndoStarted { step, .. }
    | Event::Undone { step, .. }) = event
    else {
        return matches!(event, Event::UndoFinished).then_some(());
    };
    let state = record.steps.get_mut(step)?;
    let next = match (event, std::mem::take(state)) {
        (Event::Started { begun, .. }, _) => StepState::Begun(begun),
        (Event::Done { changed: false, .. }, _) => StepState::Unneeded,
        (Event::Done { .. }, StepState::Begun(begun)) => {
            StepState::Done(Begun { rewriting: Vec::new(), ..begun })
        }
        // A step that had begun stays so: part of it may stand.
        (Event::Failed { .. }, state) => state,
        (Event::UndoStarted { rewriting, .. }, StepState::Begun(begun) | StepState::Done(begun)) => {
            StepState::Begun(Begun { rewriting, ..begun })
        }
        (Event::Undone { how, .. }, _) => StepState::Undone(how),
        _ => return None,
    };
    *state = next;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Store;

    fn plan() -> Plan {
        let stop = |unit: &str| Step::new(Action::StopUnit { unit: unit.into(), services: Vec::new() });
        let steps = vec![stop("a.socket"), stop("a.service")];
        Plan { title: "free 80".into(), note: None, place: Place::default(), steps, warnings: Vec::new() }
    }

    fn started(step: usize) -> Event {
        let action = plan().steps[step].action.clone();
        Event::Started { step, begun: Begun::new(action) }
    }

    fn text(events: &[Event]) -> Vec<u8> {
        let line = |event: &Event| {
            serde_json::to_string(&Entry { at_ms: 1, uid: Some(0), event: event.clone() }).unwrap() + "\n"
        };
        events.iter().map(line).collect::<String>().into_bytes()
    }

    #[test]
    fn a_crash_after_any_line_leaves_a_journal_that_tells_what_to_undo() {
        let events = [
            Event::planned(plan()),
            started(0),
            Event::Done { step: 0, changed: true },
            started(1),
            Event::Done { step: 1, changed: true },
            Event::Undone { step: 1, how: "taken back".into() },
            Event::Undone { step: 0, how: "already back".into() },
            Event::UndoFinished,
        ];
        let wanted = [
            (Standing::Nothing, vec![]),
            (Standing::Partly, vec![0]),
            (Standing::Partly, vec![0]),
            (Standing::Partly, vec![0, 1]),
            (Standing::Applied, vec![0, 1]),
            (Standing::PartlyUndone, vec![0]),
            (Standing::Undone, vec![]),
            (Standing::Undone, vec![]),
        ];
        for (length, (standing, to_undo)) in wanted.into_iter().enumerate() {
            let record = fold(&text(&events[..=length])).unwrap();
            let after = length + 1;
            assert_eq!((record.standing(), record.to_undo()), (standing, to_undo), "after {after} lines");
        }
    }

    #[test]
    fn a_step_that_failed_is_looked_at_only_where_it_had_begun() {
        let failed = |step| Event::Failed { step, error: "no".into() };
        let record = fold(&text(&[Event::planned(plan()), failed(0)])).unwrap();
        assert_eq!((record.standing(), record.to_undo()), (Standing::Nothing, vec![]));
        let record = fold(&text(&[Event::planned(plan()), started(0), failed(0)])).unwrap();
        assert_eq!((record.standing(), record.to_undo()), (Standing::Partly, vec![0]));
    }

    #[test]
    fn a_rewrite_that_an_undo_began_keeps_the_list_until_it_has_ended() {
        let ports: Vec<PortRange> = vec!["1-9".parse().unwrap(), "5432".parse().unwrap()];
        let action = Action::Reserve { store: Store::Runtime, ports: ports.clone(), kept: Vec::new() };
        let plan = Plan { steps: vec![Step::new(action.clone())], ..plan() };
        let begun = Begun::new(action);
        let mut events = vec![
            Event::planned(plan),
            Event::Started { step: 0, begun: begun.clone() },
            Event::Done { step: 0, changed: true },
            Event::UndoStarted { step: 0, rewriting: ports.clone() },
        ];
        let record = fold(&text(&events)).unwrap();
        assert_eq!(record.steps, [StepState::Begun(Begun { rewriting: ports, ..begun })]);
        events.push(Event::Undone { step: 0, how: "taken back".into() });
        assert_eq!(fold(&text(&events)).unwrap().standing(), Standing::Undone);
    }

    #[test]
    fn a_last_line_cut_off_counts_as_not_written_and_any_other_is_an_error() {
        let whole = text(&[Event::planned(plan()), started(0)]);
        let first = text(&[Event::planned(plan())]).len();
        for length in 0..whole.len() {
            match fold(&whole[..length]) {
                Ok(record) => assert!(length >= first && record.to_undo().is_empty(), "{length}"),
                Err(error) => assert!(length < first && error == EntryError::Empty, "{length}"),
            }
        }
        let spoiled = [&whole[..], b"{}\n", &text(&[started(1)])].concat();
        assert_eq!(fold(&spoiled), Err(EntryError::Malformed(3)));
        assert_eq!(
            fold(&spoiled[..whole.len() + 3]),
            Err(EntryError::Malformed(3)),
            "a whole line, but no entry"
        );
        let other = text(&[Event::planned(plan()), Event::Undone { step: 9, how: String::new() }]);
        assert_eq!(fold(&other), Err(EntryError::Malformed(2)));
        assert_eq!(fold(&text(&[started(0)])), Err(EntryError::Malformed(1)));
    }

    #[test]
    fn a_newer_version_is_told_from_a_spoiled_file_whatever_else_it_says() {
        let newer = br#"{"at_ms":1,"event":"planned","version":2,"plan":{"steps":[{"do":"teleport"}]}}"#;
        assert_eq!(fold(&[newer, &b"\n"[..]].concat()), Err(EntryError::Newer(2)));
    }
}
