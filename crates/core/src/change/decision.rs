//! What is to be done about an action, given what is there: do it, nothing, or stop since somebody else was there.
//!
//! Pure: what is there comes from the host. Each action finds by itself that it is done already, so any plan can be gone on
//! with, or taken back, from any point.

use super::windows_action::{self, WindowsNow};
use super::{Action, SetUpNow, set_up, shown};
use crate::port::{PortRange, PortSet};

/// What a store holds now, for the setting that an action is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// The ephemeral range; none where the store does not name it.
    Range(Option<PortRange>),
    /// The reserved ports.
    Reserved(PortSet),
    /// The process that an action is about.
    Process(ProcessNow),
    /// The systemd unit that an action is about.
    Unit(UnitNow),
    /// The recorder that the system starts.
    SetUp(SetUpNow),
    /// What a step of Windows is about.
    Windows(WindowsNow),
    /// Nothing that can be compared: containers and connections tell when they are asked to change.
    Untold,
}

/// How a process that is to be stopped stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessNow {
    /// It runs, and holds what it is stopped for.
    Holding,
    /// It runs, and has let go of it.
    LetGo,
    /// It has ended.
    Gone,
    /// Its number belongs to another process by now.
    Another,
}

/// How a systemd unit stands now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitNow {
    /// Whether it runs or listens, or is about to.
    pub active: bool,
    /// Of a socket unit: the services on it that run.
    pub services: Vec<String>,
}

/// What is to be done about an action, given what is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Do it.
    Do(Action),
    /// It is so already: nothing to do.
    AlreadySo,
    /// Somebody else, or a later plan, changed the setting meanwhile: stop, and say this.
    Changed(String),
}

/// Compares what an action expects with what is there.
///
/// A range must be what the action expects. Of reserved ports only those that the action names count: what others
/// add or remove beside them is theirs, and stays.
pub fn decide(action: &Action, now: &Observed) -> Decision {
    match (action, now) {
        (Action::SetRange { store, from, to }, Observed::Range(range)) => {
            if range == to {
                Decision::AlreadySo
            } else if range == from {
                Decision::Do(action.clone())
            } else {
                Decision::Changed(format!(
                    "{store}: the ephemeral range is {}, not {} as expected: it was changed meanwhile",
                    shown(*range),
                    shown(*from)
                ))
            }
        }
        (Action::Reserve { store, ports, kept }, Observed::Reserved(now)) => {
            let mut left: PortSet = ports.iter().copied().collect();
            left.subtract(now);
            narrowed(&left, |ports| Action::Reserve { store: store.clone(), ports, kept: kept.clone() })
        }
        (Action::Unreserve { store, ports, kept }, Observed::Reserved(now)) => {
            let mut left: PortSet = ports.iter().copied().collect();
            left.intersect(now);
            narrowed(&left, |ports| Action::Unreserve { store: store.clone(), ports, kept: kept.clone() })
        }
        (Action::StopProcess { .. }, Observed::Process(ProcessNow::Gone | ProcessNow::LetGo)) => {
            Decision::AlreadySo
        }
        (Action::StopProcess { process, .. }, Observed::Process(ProcessNow::Another)) => {
            Decision::Changed(format!(
                "pid {} belongs to another process by now, not to the {} that was meant: nothing was sent",
                process.pid, process.name
            ))
        }
        (Action::StopUnit { .. }, Observed::Unit(UnitNow { active: false, .. })) => Decision::AlreadySo,
        (Action::StopUnit { unit, .. }, Observed::Unit(now)) => {
            Decision::Do(Action::StopUnit { unit: unit.clone(), services: now.services.clone() })
        }
        (Action::SetUpRecorder { place, from, to }, Observed::SetUp(now)) => {
            set_up::decide((place, from.as_ref(), to.as_ref()), now)
        }
        (Action::Windows(action), Observed::Windows(now)) => windows_action::decide(action, now),
        _ => Decision::Do(action.clone()),
    }
}

fn narrowed(left: &PortSet, action: impl Fn(Vec<PortRange>) -> Action) -> Decision {
    if left.is_empty() { Decision::AlreadySo } else { Decision::Do(action(left.ranges())) }
}
