//! The journal of changes: one entry a line, JSON, appended and synced; folded here into what stands.
//!
//! One file a plan. The first line is the plan itself, so that a crash at any later moment finds every inverse. A last
//! line without its end is a write that a crash cut off, and counts as not written.

use serde::{Deserialize, Serialize};

use super::Plan;
use crate::port::PortRange;

/// Version of the journal's lines; a newer one is refused.
const VERSION: u32 = 1;

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
        /// Every reserved port of the kernel before a step that rewrites that list. A list of over 4 KiB takes the
        /// kernel several writes: a crash between them would lose what others reserved, were it not here.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        before: Vec<PortRange>,
    },
    /// A step was done, or was so already.
    Done {
        /// Its index.
        step: usize,
        /// False when there was nothing to do: then there is nothing to take back.
        changed: bool,
    },
    /// A step failed and nothing of it stands.
    Failed {
        /// Its index.
        step: usize,
        /// The system's answer.
        error: String,
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
    /// Not begun: nothing to take back.
    #[default]
    Waiting,
    /// Begun; whether it was done is not known: look. With the reserved ports that were there before.
    Started(Vec<PortRange>),
    /// Done.
    Done,
    /// Was so already: nothing to take back.
    Unneeded,
    /// Failed: nothing of it stands, as far as the system said; look all the same.
    Failed(String),
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
    /// Whether an undo came to its end.
    pub undo_finished: bool,
}

impl Record {
    /// How the plan stands.
    pub fn standing(&self) -> Standing {
        let count = |wanted: fn(&StepState) -> bool| self.steps.iter().filter(|s| wanted(s)).count();
        let open = count(|s| matches!(s, StepState::Started(_) | StepState::Done));
        let undone = count(|s| matches!(s, StepState::Undone(_)));
        let unneeded = count(|s| matches!(s, StepState::Unneeded));
        if self.undo_finished {
            Standing::Undone
        } else if undone > 0 {
            Standing::PartlyUndone
        } else if open == 0 && unneeded < self.steps.len() {
            Standing::Nothing
        } else if count(|s| matches!(s, StepState::Done)) + unneeded == self.steps.len() {
            Standing::Applied
        } else {
            Standing::Partly
        }
    }

    /// The steps that an undo has to look at, last first.
    pub fn to_undo(&self) -> Vec<usize> {
        let stands =
            |s: &StepState| matches!(s, StepState::Started(_) | StepState::Done | StepState::Failed(_));
        (0..self.steps.len()).rev().filter(|i| stands(&self.steps[*i])).collect()
    }
}

/// Why a plan's file could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// It holds no whole line: a crash cut off the plan itself, before any step.
    Empty,
    /// A line that is not the last one is not an entry; its number, from 1.
    Malformed(usize),
    /// Written by a newer version.
    Newer(u32),
}

impl std::fmt::Display for EntryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("the plan was cut off before its first step: nothing was changed"),
            Self::Malformed(line) => write!(f, "line {line} is not an entry of the journal"),
            Self::Newer(version) => {
                write!(f, "version {version} of the journal, this program reads {VERSION}: update portolan")
            }
        }
    }
}

impl std::error::Error for EntryError {}

/// Folds entries, in the order of their lines, into how things stand. `Ok(None)` of an entry stands for a line that is
/// no entry; only the last line may be one.
pub fn fold(entries: &[Option<Entry>]) -> Result<Record, EntryError> {
    let cut_off = entries.len().saturating_sub(1);
    let mut record = None;
    for (index, entry) in entries.iter().enumerate() {
        let Some(entry) = entry else {
            if index == cut_off { break } else { return Err(EntryError::Malformed(index + 1)) }
        };
        match (&entry.event, &mut record) {
            (Event::Planned { version, .. }, _) if *version > VERSION => {
                return Err(EntryError::Newer(*version));
            }
            (Event::Planned { plan, .. }, None) => {
                let steps = vec![StepState::Waiting; plan.steps.len()];
                let plan = plan.clone();
                record =
                    Some(Record { plan, at_ms: entry.at_ms, uid: entry.uid, steps, undo_finished: false });
            }
            (_, None) | (Event::Planned { .. }, Some(_)) => return Err(EntryError::Malformed(index + 1)),
            (event, Some(record)) => apply(event, record).ok_or(EntryError::Malformed(index + 1))?,
        }
    }
    record.ok_or(EntryError::Empty)
}

fn apply(event: &Event, record: &mut Record) -> Option<()> {
    let (step, state) = match event {
        Event::Planned { .. } => return None,
        Event::UndoFinished => {
            record.undo_finished = true;
            return Some(());
        }
        Event::Started { step, before } => (step, StepState::Started(before.clone())),
        Event::Done { step, changed: true } => (step, StepState::Done),
        Event::Done { step, changed: false } => (step, StepState::Unneeded),
        Event::Failed { step, error } => (step, StepState::Failed(error.clone())),
        Event::Undone { step, how } => (step, StepState::Undone(how.clone())),
    };
    *record.steps.get_mut(*step)? = state;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Action, Place, Step};

    fn plan() -> Plan {
        let stop = |unit: &str| Step::new(Action::StopUnit { unit: unit.into() });
        Plan {
            title: "free 80".into(),
            note: None,
            place: Place::default(),
            steps: vec![stop("a.socket"), stop("a.service")],
            warnings: Vec::new(),
        }
    }

    fn entries(events: &[Event]) -> Vec<Option<Entry>> {
        events.iter().map(|event| Some(Entry { at_ms: 1, uid: Some(0), event: event.clone() })).collect()
    }

    #[test]
    fn a_crash_after_any_line_leaves_a_journal_that_tells_what_to_undo() {
        let events = [
            Event::planned(plan()),
            Event::Started { step: 0, before: Vec::new() },
            Event::Done { step: 0, changed: true },
            Event::Started { step: 1, before: Vec::new() },
            Event::Done { step: 1, changed: true },
        ];
        let wanted = [
            (Standing::Nothing, vec![]),
            (Standing::Partly, vec![0]),
            (Standing::Partly, vec![0]),
            (Standing::Partly, vec![1, 0]),
            (Standing::Applied, vec![1, 0]),
        ];
        for (length, (standing, to_undo)) in wanted.into_iter().enumerate() {
            let record = fold(&entries(&events[..=length])).unwrap();
            assert_eq!(
                (record.standing(), record.to_undo()),
                (standing, to_undo),
                "after {} lines",
                length + 1
            );
        }
    }

    #[test]
    fn a_last_line_cut_off_counts_as_not_written_and_any_other_is_an_error() {
        let mut lines = entries(&[Event::planned(plan()), Event::Started { step: 0, before: Vec::new() }]);
        lines.push(None);
        assert_eq!(fold(&lines).unwrap().to_undo(), [0]);
        lines.extend(entries(&[Event::Started { step: 1, before: Vec::new() }]));
        assert_eq!(fold(&lines), Err(EntryError::Malformed(3)));
        assert_eq!(fold(&[None]), Err(EntryError::Empty));
        assert_eq!(
            fold(&entries(&[Event::planned(plan()), Event::Started { step: 9, before: Vec::new() }])),
            Err(EntryError::Malformed(2))
        );
    }
}
