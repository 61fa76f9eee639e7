//! What can be done to Windows' ports, as data: dynamic ranges, exclusions, services, optional features, a restart.
//!
//! Source: `netsh int ipv4|ipv6 set dynamicport`, `add|delete excludedportrange` (a deletion names exactly the start and
//! count that were added), the service control manager, `dism /Online /Enable-Feature|/Disable-Feature /NoRestart`
//! (3010: done, and takes effect with the next restart). How each is carried out is the host's affair.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Decision;
use crate::port::PortRange;
use crate::range::{Reservation, ReservationKind};
use crate::snapshot::ComponentState;
use crate::socket::{Family, Transport};

/// What [`Reservation::by`] says of an exclusion that is in force and not kept over a restart.
pub const UNTIL_RESTART: &str = "until the next restart";

/// netsh's two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetshStore {
    /// `store=active`: until the next restart.
    Active,
    /// `store=persistent`: now, and after each restart.
    Persistent,
}

/// One of Windows' four tables of dynamic and excluded ranges, in one of the stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// `ipv4` or `ipv6`.
    pub family: Family,
    /// `tcp` or `udp`.
    pub transport: Transport,
    /// Where.
    pub store: NetshStore,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = if self.store == NetshStore::Active { " (until the next restart)" } else { "" };
        write!(f, "{} {}{until}", self.family, self.transport)
    }
}

/// One thing to do on Windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "windows")]
pub enum WindowsAction {
    /// Sets a dynamic range.
    SetDynamicRange {
        /// Which.
        table: Table,
        /// What must be there before.
        from: PortRange,
        /// What is there afterwards.
        to: PortRange,
        /// What setting the other family's range may have left here instead of `from`.
        coupled: Vec<PortRange>,
    },
    /// Notes the other family's dynamic range, which setting one may change too: an undo puts it back.
    RememberRange {
        /// Which.
        table: Table,
        /// What it is.
        range: PortRange,
        /// What setting the other family may leave there instead.
        moved: Vec<PortRange>,
    },
    /// Adds an administered exclusion.
    AddExclusion {
        /// Where.
        table: Table,
        /// Which.
        range: PortRange,
    },
    /// Deletes an administered exclusion, exactly as it was added.
    DeleteExclusion {
        /// Where.
        table: Table,
        /// Which.
        range: PortRange,
    },
    /// Looks whether a part of the system still has some of these ports set aside.
    LookAgain {
        /// Where.
        table: Table,
        /// Which.
        range: PortRange,
        /// Whether the plan stops where it has.
        stop: bool,
    },
    /// Stops a service, through the service control manager.
    StopService {
        /// Its name.
        name: String,
    },
    /// Starts a service.
    StartService {
        /// Its name.
        name: String,
    },
    /// Turns an optional feature on; takes effect with the next restart.
    EnableFeature {
        /// Its name, as dism has it.
        name: String,
    },
    /// Turns an optional feature off; takes effect with the next restart.
    DisableFeature {
        /// Its name.
        name: String,
    },
    /// Makes a start-up task that goes on with the plan after each restart, before anybody signs in.
    AddTask {
        /// The plan's number in the journal; none in a plan that is not in it yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<u64>,
    },
    /// Removes that task.
    RemoveTask {
        /// The plan's number in the journal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<u64>,
    },
    /// Restarts Windows. It has happened once the boot is another than the one it was begun in.
    Restart {
        /// The boot it was begun in; none in a plan.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        begun_in: Option<String>,
    },
}

/// What dism says of an optional feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureState {
    /// On.
    Enabled,
    /// Off.
    Disabled,
    /// On with the next restart.
    EnablePending,
    /// Off with the next restart.
    DisablePending,
    /// Not part of this Windows, or its files were removed.
    Absent,
}

/// What is there now, for what a [`WindowsAction`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowsNow {
    /// The dynamic range of a table.
    Range(PortRange),
    /// The excluded ranges of a table. For an action on the persistent store: those in force, since that is what a new
    /// one collides with.
    Excluded(Vec<Reservation>),
    /// A service.
    Service(ComponentState),
    /// An optional feature.
    Feature(FeatureState),
    /// Whether there is the start-up task of a plan, with the program that it runs; where it is to be removed, whether
    /// anything of it is left.
    Task(bool),
    /// The identity of this boot.
    Boot(String),
}

impl fmt::Display for WindowsAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetDynamicRange { table, from, to, .. } => {
                write!(f, "{table}: dynamic range {from} → {to}")
            }
            Self::RememberRange { table, range, .. } => {
                write!(f, "{table}: keep the dynamic range {range} in mind, to be put back by an undo")
            }
            Self::AddExclusion { table, range } => write!(f, "{table}: exclude {range}"),
            Self::DeleteExclusion { table, range } => write!(f, "{table}: delete the exclusion {range}"),
            Self::LookAgain { table, range, .. } => {
                write!(f, "{table}: look whether {range} is still set aside by the system")
            }
            Self::StopService { name } => write!(f, "stop the service {name}"),
            Self::StartService { name } => write!(f, "start the service {name}"),
            Self::EnableFeature { name } => write!(f, "turn the feature {name} on"),
            Self::DisableFeature { name } => write!(f, "turn the feature {name} off"),
            Self::AddTask { .. } => f.write_str("make a start-up task that goes on with this plan"),
            Self::RemoveTask { .. } => f.write_str("remove the start-up task"),
            Self::Restart { .. } => f.write_str("restart Windows"),
        }
    }
}

impl WindowsAction {
    /// A restart that has not begun.
    pub const RESTART: Self = Self::Restart { begun_in: None };

    /// The same, where it has to know the number of its plan.
    pub(super) fn of_plan(&self, number: u64) -> Self {
        match self {
            Self::AddTask { .. } => Self::AddTask { plan: Some(number) },
            Self::RemoveTask { .. } => Self::RemoveTask { plan: Some(number) },
            other => other.clone(),
        }
    }

    /// What takes it back; nothing for a look and a restart.
    pub fn inverse(&self) -> Option<Self> {
        Some(match self.clone() {
            Self::SetDynamicRange { table, from, to, coupled } => {
                Self::SetDynamicRange { table, from: to, to: settable(from), coupled }
            }
            same @ Self::RememberRange { .. } => same,
            Self::AddExclusion { table, range } => Self::DeleteExclusion { table, range },
            Self::DeleteExclusion { table, range } => Self::AddExclusion { table, range },
            Self::StopService { name } => Self::StartService { name },
            Self::StartService { name } => Self::StopService { name },
            Self::EnableFeature { name } => Self::DisableFeature { name },
            Self::DisableFeature { name } => Self::EnableFeature { name },
            Self::AddTask { plan } => Self::RemoveTask { plan },
            Self::RemoveTask { plan } => Self::AddTask { plan },
            Self::LookAgain { .. } | Self::Restart { .. } => return None,
        })
    }

    /// Whether its effect ends with this boot.
    pub fn is_runtime(&self) -> bool {
        match self {
            Self::SetDynamicRange { table, .. }
            | Self::RememberRange { table, .. }
            | Self::AddExclusion { table, .. }
            | Self::DeleteExclusion { table, .. } => table.store == NetshStore::Active,
            Self::StopService { .. } | Self::StartService { .. } => true,
            Self::LookAgain { .. }
            | Self::EnableFeature { .. }
            | Self::DisableFeature { .. }
            | Self::AddTask { .. }
            | Self::RemoveTask { .. }
            | Self::Restart { .. } => false,
        }
    }

    /// Whether what it changed can be looked at afterwards. A restart ends the one who would look; what is remembered
    /// changes nothing.
    pub fn is_setting(&self) -> bool {
        !matches!(self, Self::Restart { .. } | Self::RememberRange { .. })
    }

    /// Whether Windows has to restart before it takes effect.
    pub fn needs_restart(&self) -> bool {
        matches!(self, Self::EnableFeature { .. } | Self::DisableFeature { .. })
    }
}

/// Compares what an action expects with what is there; see [`super::decide`].
pub(super) fn decide(action: &WindowsAction, now: &WindowsNow) -> Decision {
    use WindowsAction as A;
    let doing = || Decision::Do(super::Action::Windows(action.clone()));
    match (action, now) {
        (A::SetDynamicRange { table, from, to, coupled }, WindowsNow::Range(range)) => {
            if range == to {
                Decision::AlreadySo
            } else if range == from || coupled.contains(range) {
                doing()
            } else {
                Decision::Changed(format!(
                    "{table}: the dynamic range is {range}, not {from} as expected: it was changed meanwhile"
                ))
            }
        }
        (A::AddExclusion { table, range }, WindowsNow::Excluded(now)) => {
            let mut overlapping = now.iter().filter(|r| r.range.overlaps(*range));
            let holds = |r: &Reservation| {
                let lasts = table.store == NetshStore::Active || r.by.as_deref() != Some(UNTIL_RESTART);
                r.kind == ReservationKind::Administered && lasts && covers(r.range, *range)
            };
            if now.iter().any(holds) {
                Decision::AlreadySo
            } else if let Some(other) = overlapping.next() {
                Decision::Changed(format!("{table}: {range} overlaps {}, {}", other.range, kind(other)))
            } else {
                doing()
            }
        }
        (A::DeleteExclusion { table, range }, WindowsNow::Excluded(now)) => {
            // Where the system has the ports, no exclusion of an administrator's can be there.
            let ours = |r: &&Reservation| r.kind == ReservationKind::Administered && r.range.overlaps(*range);
            match now.iter().find(ours) {
                _ if now.iter().any(|r| r.range == *range && r.kind == ReservationKind::Administered) => {
                    doing()
                }
                None => Decision::AlreadySo,
                Some(other) => Decision::Changed(format!(
                    "{table}: the exclusion {range} is {}, {}, by now: Windows deletes only exactly what was added",
                    other.range,
                    kind(other)
                )),
            }
        }
        (A::LookAgain { table, range, stop }, WindowsNow::Excluded(now)) => {
            let kept = now.iter().find(|r| r.kind == ReservationKind::System && r.range.overlaps(*range));
            match kept.filter(|_| *stop) {
                Some(kept) => {
                    Decision::Changed(format!("{table}: {} is still set aside by the system", kept.range))
                }
                None => Decision::AlreadySo,
            }
        }
        _ => decide_component(action, now),
    }
}

/// The same for services, features, start-up tasks and restarts.
fn decide_component(action: &WindowsAction, now: &WindowsNow) -> Decision {
    use WindowsAction as A;
    match (action, now) {
        (A::StopService { .. }, WindowsNow::Service(ComponentState::Stopped | ComponentState::Absent))
        | (A::StartService { .. }, WindowsNow::Service(ComponentState::Running))
        | (
            A::EnableFeature { .. },
            WindowsNow::Feature(FeatureState::Enabled | FeatureState::EnablePending),
        )
        | (
            A::DisableFeature { .. },
            WindowsNow::Feature(FeatureState::Disabled | FeatureState::DisablePending),
        )
        | (A::AddTask { .. }, WindowsNow::Task(true))
        | (A::RemoveTask { .. }, WindowsNow::Task(false)) => Decision::AlreadySo,
        (A::StartService { name }, WindowsNow::Service(ComponentState::Absent)) => {
            Decision::Changed(format!("the service {name} is not installed"))
        }
        (
            A::EnableFeature { name } | A::DisableFeature { name },
            WindowsNow::Feature(FeatureState::Absent),
        ) => Decision::Changed(format!("this Windows does not have the feature {name}")),
        (A::Restart { begun_in: Some(boot) }, WindowsNow::Boot(here)) if boot != here => Decision::AlreadySo,
        (A::Restart { .. }, WindowsNow::Boot(here)) => {
            Decision::Do(super::Action::Windows(A::Restart { begun_in: Some(here.clone()) }))
        }
        _ => Decision::Do(super::Action::Windows(action.clone())),
    }
}

/// The first port that netsh takes for a dynamic range; programs have set lower ones by other ways.
pub(super) const LOWEST: u16 = 1025;

/// The range that netsh can set: what begins too low, from the first port on that it takes.
pub(super) fn settable(range: PortRange) -> PortRange {
    PortRange::new(range.first().max(LOWEST), range.last()).unwrap_or(range)
}

fn covers(wide: PortRange, narrow: PortRange) -> bool {
    wide.first() <= narrow.first() && narrow.last() <= wide.last()
}

fn kind(reservation: &Reservation) -> &'static str {
    match reservation.kind {
        ReservationKind::Administered if reservation.by.as_deref() == Some(UNTIL_RESTART) => {
            "an administered exclusion until the next restart"
        }
        ReservationKind::Administered => "an administered exclusion",
        ReservationKind::System => "which the system has set aside",
    }
}

#[cfg(test)]
mod tests;
