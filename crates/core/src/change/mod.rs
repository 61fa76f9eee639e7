//! Changes as data: a plan of steps, each with its inverse, what it touches and where it holds.
//!
//! What `--dry-run` prints is what the host applies, and the same value goes to the journal before the first step.
//! Pure: what is there now comes in as [`Observed`], and [`decide`] says what is to be done about it, forwards
//! and backwards. How a step is carried out is the host's affair.

mod asking;
mod close_plan;
mod critical;
mod decision;
mod free_plan;
mod free_request;
mod freed;
mod journal;
mod kept;
mod own_file;
mod range_plan;
mod reserve_plan;
mod resume;
mod set_up;
mod windows_action;
mod windows_plan;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use asking::WayToAsk;
pub use close_plan::plan_close;
pub use critical::is_critical;
pub use decision::{Decision, Observed, ProcessNow, UnitNow, decide};
pub use free_plan::{FreeAnswer, plan_free};
pub use free_request::{Caller, FreeRequest, ProcessEntry, SIGNALS};
pub use freed::{Freed, freed};
pub use journal::{Begun, Entry, EntryError, Event, Record, Standing, StepState, fold};
pub use kept::{Kept, RPC_PORTS, SettingNow};
pub use own_file::{FileBefore, HEADER, OwnFile};
pub use range_plan::{FileValue, LINUX_DEFAULT, RangeNow, Stores, plan_range};
pub use reserve_plan::{ReservedNow, Suggestion, covered, plan_reserve, plan_unreserve, suggest};

pub use resume::{Next, Progress, next_step, still_to_undo, whatever_happens};
pub use set_up::{SetUp, SetUpNow, plan_set_up};
pub use windows_action::{FeatureState, NetshStore, Table, UNTIL_RESTART, WindowsAction, WindowsNow};
pub use windows_plan::{
    Dance, HYPERV, Scope, WINNAT, explain_taken, plan_windows_range, plan_windows_reserve,
    plan_windows_unreserve,
};

use crate::port::PortRange;
use crate::socket::Connection;

/// Which boot and which network namespace a run-time setting belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Boot id; a run-time step of another boot is gone with that boot.
    pub boot: String,
    /// The namespace's cookie (SO_NETNS_COOKIE: never given twice in one boot), or its inode where the kernel has no
    /// cookies.
    pub namespace: u64,
    /// Name the person used for it, to say it again: `--netns NAME`; none for the own one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Where a setting is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Store {
    /// In the running kernel, of one network namespace: gone after a restart.
    Runtime,
    /// In a file of ours that the system reads when it starts; speaks for the whole machine.
    File(String),
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runtime => f.write_str("kernel"),
            Self::File(path) => write!(f, "file {path}"),
        }
    }
}

/// What Windows does for SIGTERM: windows and the console of a program are asked to close.
pub const ASK: &str = "ASK";
/// What Windows does for SIGKILL.
pub const TERMINATE: &str = "TERMINATE";

/// A process, so that it can be found again and never mistaken for a later one of the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessKey {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot (Linux) or 100 ns since 1601 (Windows).
    pub start: u64,
    /// Its name, for people.
    pub name: String,
}

/// One thing to do. Everything needed to do it is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Action {
    /// Sets the ephemeral range from what it was; `None` means that the store does not name it.
    SetRange {
        /// Where.
        store: Store,
        /// What must be there before.
        from: Option<PortRange>,
        /// What is there afterwards.
        to: Option<PortRange>,
    },
    /// Adds ports to the reserved ones; every one of them was not reserved there before.
    Reserve {
        /// Where.
        store: Store,
        /// Which.
        ports: Vec<PortRange>,
        /// What others' files reserve and ours must repeat, because at the next start ours replaces theirs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kept: Vec<PortRange>,
    },
    /// Takes ports out of the reserved ones; every one of them was reserved there before.
    Unreserve {
        /// Where.
        store: Store,
        /// Which.
        ports: Vec<PortRange>,
        /// As in [`Action::Reserve`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kept: Vec<PortRange>,
    },
    /// Sets up the recorder that the system starts: a unit of systemd's, a task of Windows'.
    SetUpRecorder {
        /// Where that is kept: a file, a task.
        place: String,
        /// What must be there before; none for nothing.
        from: Option<SetUp>,
        /// What is there afterwards.
        to: Option<SetUp>,
    },
    /// Stops a systemd unit.
    StopUnit {
        /// Its name.
        unit: String,
        /// Of a socket unit: its services that ran when the step began; a plan does not know them yet. systemd starts
        /// no socket unit below a running service, so what takes this step back starts them anew.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        services: Vec<String>,
    },
    /// Starts a systemd unit.
    StartUnit {
        /// Its name.
        unit: String,
        /// Of a socket unit: services that are stopped before it, and started after it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        services: Vec<String>,
    },
    /// Stops a container.
    StopContainer {
        /// The runtime's program: `docker`, `podman`.
        runtime: String,
        /// Its id.
        id: String,
    },
    /// Starts a container.
    StartContainer {
        /// The runtime's program.
        runtime: String,
        /// Its id.
        id: String,
    },
    /// Stops a process: a signal, a wait, and with `force` SIGKILL.
    StopProcess {
        /// The process.
        process: ProcessKey,
        /// Inodes of the sockets for which it is stopped: once it holds none of them any more, nothing is sent. Empty
        /// for one that is stopped for its parent's sake.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        sockets: Vec<u32>,
        /// The first signal's name, without SIG: `TERM`. Windows has none: [`ASK`] or [`TERMINATE`].
        signal: String,
        /// How long it may take to end, milliseconds.
        timeout_ms: u64,
        /// Whether it is killed when it has not ended by then.
        force: bool,
    },
    /// Closes TCP connections without ending their processes (SOCK_DESTROY): both sides get an error.
    CloseConnections {
        /// Which.
        connections: Vec<Connection>,
    },
    /// Does something that only Windows has.
    Windows(WindowsAction),
}

/// Ranges as people write them: `5432,8000-8100`.
pub fn list(ranges: &[PortRange]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The same for a sentence: a long list is cut, and says how much longer it is.
fn briefly(ranges: &[PortRange]) -> String {
    const MOST: usize = 20;
    match ranges.len().checked_sub(MOST) {
        None | Some(0) => list(ranges),
        Some(more) => format!("{} and {more} more", list(&ranges[..MOST])),
    }
}

fn shown(range: Option<PortRange>) -> String {
    range.map_or_else(|| "nothing".into(), |range| range.to_string())
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetRange { store, from, to } => {
                write!(f, "{store}: ephemeral range {} → {}", shown(*from), shown(*to))
            }
            Self::Reserve { store, ports, kept } => {
                write!(f, "{store}: reserve {}", briefly(ports))?;
                if kept.is_empty() {
                    Ok(())
                } else {
                    write!(f, " (and repeat {} of other files)", briefly(kept))
                }
            }
            Self::Unreserve { store, ports, .. } => write!(f, "{store}: stop reserving {}", briefly(ports)),
            Self::SetUpRecorder { place, from, to } => {
                f.write_str(&set_up::told(place, from.as_ref(), to.as_ref()))
            }
            Self::StopUnit { unit, .. } => write!(f, "stop unit {unit}"),
            Self::StartUnit { unit, services } if services.is_empty() => write!(f, "start unit {unit}"),
            Self::StartUnit { unit, services } => {
                write!(f, "start unit {unit}, and anew what runs on it: {}", services.join(", "))
            }
            Self::StopContainer { runtime, id } => write!(f, "stop {runtime} container {id}"),
            Self::StartContainer { runtime, id } => write!(f, "start {runtime} container {id}"),
            Self::StopProcess { process, signal, timeout_ms, force, .. } => {
                let (name, pid) = (&process.name, process.pid);
                let then = match signal.as_str() {
                    TERMINATE => return write!(f, "terminate {name} (pid {pid})"),
                    ASK => {
                        write!(f, "ask {name} (pid {pid}) to close")?;
                        ", then terminate it"
                    }
                    signal => {
                        write!(f, "send SIG{signal} to {name} (pid {pid})")?;
                        ", then SIGKILL"
                    }
                };
                write!(f, ", wait up to {} s for its end", timeout_ms.div_ceil(1000))?;
                f.write_str(if *force { then } else { "" })
            }
            Self::Windows(action) => action.fmt(f),
            Self::CloseConnections { connections } => match &connections[..] {
                [one] => write!(f, "close the connection {one}"),
                many => write!(f, "close {} connections", many.len()),
            },
        }
    }
}

impl Action {
    /// What takes it back; nothing for what cannot be taken back.
    pub fn inverse(&self) -> Option<Self> {
        Some(match self.clone() {
            Self::SetRange { store, from, to } => Self::SetRange { store, from: to, to: from },
            Self::Reserve { store, ports, kept } => Self::Unreserve { store, ports, kept },
            Self::Unreserve { store, ports, kept } => Self::Reserve { store, ports, kept },
            Self::SetUpRecorder { place, from, to } => Self::SetUpRecorder { place, from: to, to: from },
            Self::StopUnit { unit, services } => Self::StartUnit { unit, services },
            Self::StartUnit { unit, services } => Self::StopUnit { unit, services },
            Self::StopContainer { runtime, id } => Self::StartContainer { runtime, id },
            Self::StartContainer { runtime, id } => Self::StopContainer { runtime, id },
            Self::Windows(action) => Self::Windows(action.inverse()?),
            Self::StopProcess { .. } | Self::CloseConnections { .. } => return None,
        })
    }

    /// Whether its effect ends with this boot and holds in one network namespace only.
    pub fn is_runtime(&self) -> bool {
        match self {
            Self::SetRange { store, .. } | Self::Reserve { store, .. } | Self::Unreserve { store, .. } => {
                *store == Store::Runtime
            }
            Self::Windows(action) => action.is_runtime(),
            Self::SetUpRecorder { .. } => false,
            _ => true,
        }
    }

    /// Whether it sets a setting, which can be looked at before and after.
    pub fn is_setting(&self) -> bool {
        match self {
            Self::Windows(action) => action.is_setting(),
            Self::SetUpRecorder { .. } => true,
            _ => matches!(self, Self::SetRange { .. } | Self::Reserve { .. } | Self::Unreserve { .. }),
        }
    }

    /// The privilege that a setting needs, for people; none where that is told when it is done.
    pub fn privilege(&self) -> Option<&'static str> {
        match self {
            Self::SetRange { store, .. } | Self::Reserve { store, .. } | Self::Unreserve { store, .. } => {
                Some(match store {
                    Store::Runtime => "root (CAP_NET_ADMIN), for the kernel's setting",
                    Store::File(_) => "root, for the file",
                })
            }
            Self::Windows(WindowsAction::LookAgain { .. } | WindowsAction::RememberRange { .. }) => None,
            Self::SetUpRecorder { .. } => Some("root, or an elevated window on Windows"),
            Self::Windows(_) => Some("an elevated window (\"Run as administrator\")"),
            _ => None,
        }
    }

    /// Whether it restarts the system.
    pub fn is_restart(&self) -> bool {
        matches!(self, Self::Windows(WindowsAction::Restart { .. }))
    }

    /// Whether doing it writes the kernel's whole list of reserved ports anew.
    pub fn rewrites_list(&self) -> bool {
        matches!(self, Self::Unreserve { store: Store::Runtime, .. })
    }

    /// The same action, told the number that its plan has in the journal.
    #[must_use]
    pub fn of_plan(&self, number: u64) -> Self {
        match self {
            Self::Windows(action) => Self::Windows(action.of_plan(number)),
            other => other.clone(),
        }
    }

    /// Whether it belongs to one network namespace: settings of the kernel do, units and processes do not.
    pub fn is_of_namespace(&self) -> bool {
        self.is_runtime() && self.is_setting()
    }
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// What takes it back; `None`: it cannot be taken back, and the plan says so.
    pub inverse: Option<Action>,
    /// What it affects besides, a line each: connections that drop, listeners inside, privileges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<String>,
    /// Whether it is done even after an earlier step failed or the person broke off: what was stopped is started again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always: bool,
}

impl Step {
    /// A step with its natural inverse.
    pub fn new(action: Action) -> Self {
        let inverse = action.inverse();
        Self { action, inverse, effects: Vec::new(), always: false }
    }

    /// The same step, done whatever happens before it.
    #[must_use]
    pub fn whatever_happens(mut self) -> Self {
        self.always = true;
        self
    }

    /// The same step with what it affects.
    #[must_use]
    pub fn affecting(mut self, effect: impl Into<String>) -> Self {
        self.effects.push(effect.into());
        self
    }
}

/// What is going to be done, all of it, before anything is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The command as typed, for the journal.
    pub title: String,
    /// Why, in the person's own words (`--why`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Where it holds.
    pub place: Place,
    /// The steps in order.
    pub steps: Vec<Step>,
    /// What should be known before saying yes, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Plan {
    /// Whether it goes on by itself after a restart of the system.
    pub fn goes_on_by_itself(&self) -> bool {
        let is_task = |step: &Step| matches!(step.action, Action::Windows(WindowsAction::AddTask { .. }));
        self.steps.iter().any(is_task)
    }
}

#[cfg(test)]
mod tests;
