//! Plans how a port is freed: who holds it, at which level it is stopped, and who is never touched.
//!
//! A holder listens or is bound. A client whose connection uses the number as its local port is no holder, nor is one
//! whose remote port it is. Source of the levels: systemd.socket(5), docker-stop(1), signal(7).

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Place, Plan, ProcessKey, Step};
use crate::owner::Owner;
use crate::port::Port;
use crate::range::CarrierKind;
use crate::snapshot::Snapshot;
use crate::socket::{OwnerState, Socket, State, Transport};

/// Programs whose end cuts people off from the machine, or the machine from the network.
const CRITICAL: &[&str] = &[
    "sshd",
    "sshd-session",
    "sshd-auth",
    "dropbear",
    "login",
    "agetty",
    "systemd",
    "init",
    "systemd-logind",
    "systemd-networkd",
    "systemd-resolve",
    "NetworkManager",
    "dhclient",
    "wpa_supplicant",
    "dbus-daemon",
    "dbus-broker",
    "tmux: server",
    "tmux",
    "screen",
    "Xorg",
    "Xwayland",
    "gnome-shell",
    "kwin_wayland",
    "gdm",
    "sddm",
    "dockerd",
    "containerd",
    "kubelet",
];

/// A row of the process table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEntry {
    /// Process id.
    pub pid: u32,
    /// Parent's process id, 0 for none.
    pub parent: u32,
    /// Start time, as in [`ProcessKey`].
    pub start: u64,
    /// Short name.
    pub name: String,
}

/// Who asks: neither it nor any of its ancestors is stopped.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Its process id.
    pub pid: u32,
    /// The systemd unit it runs in.
    pub unit: Option<String>,
}

/// What is to be freed, and how.
#[derive(Clone, Debug)]
pub struct FreeRequest {
    /// The ports, each for one transport or both.
    pub ports: Vec<(Option<Transport>, Port)>,
    /// The first signal's name, without SIG.
    pub signal: String,
    /// How long a process may take to end, milliseconds.
    pub timeout_ms: u64,
    /// Whether a process that has not ended by then is killed.
    pub force: bool,
    /// Whether its descendants are stopped too.
    pub tree: bool,
    /// Critical programs that may be stopped all the same, by name.
    pub even_if_critical: Vec<String>,
}

/// What came of the planning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FreeAnswer {
    /// This would free it.
    Plan(Plan),
    /// Nobody holds it. TIME_WAIT leftovers, if any, end in so many milliseconds.
    Free {
        /// The longest that is left, 0 for none.
        time_wait_ms: u32,
    },
    /// It is not done, for these reasons.
    Refused(Vec<String>),
}

/// Plans to free the ports of a request.
pub fn plan_free(
    snapshot: &Snapshot,
    processes: &[ProcessEntry],
    caller: &Caller,
    request: &FreeRequest,
    (title, place): (&str, Place),
) -> FreeAnswer {
    let concerned = |socket: &&Socket| {
        let mut ports = request.ports.iter();
        ports.any(|(transport, port)| {
            port.number() == socket.local_port && transport.is_none_or(|t| t == socket.transport)
        })
    };
    let of_port: Vec<&Socket> = snapshot.sockets.iter().filter(concerned).collect();
    let holding: Vec<&Socket> =
        of_port.iter().copied().filter(|s| s.is_listening() || s.state == State::Bound).collect();
    if holding.is_empty() {
        return without_holder(snapshot, &of_port);
    }
    let table: BTreeMap<u32, &ProcessEntry> =
        processes.iter().map(|process| (process.pid, process)).collect();
    let mut free = Free { snapshot, table, caller, request, refusals: Vec::new(), levels: Levels::default() };
    holding.iter().for_each(|socket| free.sort_in(socket));
    if !free.refusals.is_empty() {
        free.refusals.sort();
        free.refusals.dedup();
        return FreeAnswer::Refused(free.refusals);
    }
    let dropping = of_port.iter().filter(|s| s.state == State::Established).count();
    let mut steps = free.steps();
    if let (Some(first), 1..) = (steps.first_mut(), dropping) {
        first.effects.push(format!("{dropping} established connections on the port drop"));
    }
    FreeAnswer::Plan(Plan { title: title.into(), note: None, place, steps, warnings: Vec::new() })
}

fn without_holder(snapshot: &Snapshot, of_port: &[&Socket]) -> FreeAnswer {
    let client = of_port.iter().find(|socket| !matches!(socket.state, State::TimeWait | State::Closed));
    if let Some(socket) = client {
        let who: Vec<String> = snapshot.owners_of(socket).iter().map(|owner| named(owner)).collect();
        let who = if who.is_empty() { "a program out of sight".into() } else { who.join(", ") };
        return FreeAnswer::Refused(vec![format!(
            "nobody listens or is bound there, but a connection of {who} uses it as its local port \
             ({} → {}); `portolan close --local {}` closes it without ending the program",
            socket.local(),
            socket.remote(),
            socket.local()
        )]);
    }
    FreeAnswer::Free { time_wait_ms: of_port.iter().map(|socket| socket.timer_ms).max().unwrap_or(0) }
}

fn named(owner: &Owner) -> String {
    format!("{} (pid {})", owner.name, owner.pid)
}

/// What is to be stopped, each once, at its level.
#[derive(Default)]
struct Levels {
    socket_units: BTreeSet<String>,
    units: BTreeMap<String, BTreeSet<u32>>,
    containers: BTreeMap<(String, String), BTreeSet<u32>>,
    processes: BTreeSet<u32>,
}

struct Free<'a> {
    snapshot: &'a Snapshot,
    table: BTreeMap<u32, &'a ProcessEntry>,
    caller: &'a Caller,
    request: &'a FreeRequest,
    refusals: Vec<String>,
    levels: Levels,
}

impl Free<'_> {
    /// Puts the holders of a socket where they belong, or refuses.
    fn sort_in(&mut self, socket: &Socket) {
        let owners = self.snapshot.owners_of(socket);
        let mut carriers = self.snapshot.carriers.iter().filter(|carrier| {
            carrier.transport == socket.transport && carrier.ports.contains(socket.local_port)
        });
        let unit = carriers.clone().find(|carrier| carrier.kind == CarrierKind::SocketUnit);
        match socket.owner_state {
            OwnerState::Kernel => {
                self.refuse(format!("the kernel itself holds {}: no process can be stopped", socket.local()))
            }
            OwnerState::Hidden | OwnerState::NotAsked if owners.is_empty() => {
                self.refuse(format!("who holds {} cannot be seen; run it as root", socket.local()));
            }
            _ => {}
        }
        if let Some(proxy) = carriers.find(|carrier| carrier.kind == CarrierKind::ContainerProxy) {
            let (to, port) = (proxy.to.as_deref().unwrap_or("a container"), socket.local_port);
            return self.refuse(format!(
                "a container's proxy carries it to {to}: stop the container \
                 (`docker ps --filter publish={port}` names it, `docker stop NAME` stops it)"
            ));
        }
        for owner in owners {
            match unit {
                Some(unit) if owner.pid == 1 => _ = self.levels.socket_units.insert(unit.name.clone()),
                _ => self.sort_in_owner(owner, socket),
            }
        }
    }

    fn refuse(&mut self, reason: String) {
        self.refusals.push(reason);
    }

    fn sort_in_owner(&mut self, owner: &Owner, socket: &Socket) {
        let who = named(owner);
        if owner.pid == 1 {
            return self.refuse(format!("{who} holds {}: pid 1 is never stopped", socket.local()));
        }
        if self.lineage(self.caller.pid).contains(&owner.pid) {
            return self
                .refuse(format!("{who} is this program or one that started it: type it from elsewhere"));
        }
        let critical = CRITICAL.contains(&owner.name.as_str());
        if critical && !self.request.even_if_critical.contains(&owner.name) {
            return self.refuse(format!(
                "{who} is one whose end may cut you off from this machine; \
                 if that is meant, add --even-if-critical {}",
                owner.name
            ));
        }
        let service =
            owner.unit.as_ref().filter(|unit| unit.ends_with(".service") && !unit.starts_with("user@"));
        match (&owner.container, service) {
            (Some(container), _) if matches!(container.runtime.as_str(), "docker" | "podman") => {
                let key = (container.runtime.clone(), container.id.clone());
                self.levels.containers.entry(key).or_default().insert(owner.pid);
            }
            (None, Some(unit)) if Some(unit) == self.caller.unit.as_ref() => {
                self.levels.processes.insert(owner.pid);
            }
            (None, Some(unit)) => {
                self.levels.units.entry(unit.clone()).or_default().insert(owner.pid);
            }
            _ => _ = self.levels.processes.insert(owner.pid),
        }
    }

    /// A process and its ancestors.
    fn lineage(&self, pid: u32) -> Vec<u32> {
        let mut lineage = Vec::new();
        let mut next = Some(pid);
        while let Some(pid) = next.filter(|pid| *pid != 0 && !lineage.contains(pid)) {
            lineage.push(pid);
            next = self.table.get(&pid).map(|process| process.parent);
        }
        lineage
    }

    fn steps(&self) -> Vec<Step> {
        let levels = &self.levels;
        let mut steps: Vec<Step> = Vec::new();
        let stop_unit = |unit: &str| Step::new(Action::StopUnit { unit: unit.into() });
        steps.extend(levels.socket_units.iter().map(|unit| {
            stop_unit(unit).affecting("first, or the next connection would start the service again")
        }));
        steps.extend(levels.units.iter().map(|(unit, pids)| stop_unit(unit).affecting(self.ends(pids))));
        steps.extend(levels.containers.iter().map(|((runtime, id), pids)| {
            Step::new(Action::StopContainer { runtime: runtime.clone(), id: id.clone() })
                .affecting(self.ends(pids))
        }));
        steps.extend(self.in_order(&levels.processes).into_iter().filter_map(|pid| self.stop_process(pid)));
        steps
    }

    fn ends(&self, pids: &BTreeSet<u32>) -> String {
        let names: Vec<String> = pids.iter().map(|pid| self.described(*pid)).collect();
        format!("ends {}", names.join(", "))
    }

    fn described(&self, pid: u32) -> String {
        let name = self.table.get(&pid).map_or("?", |process| process.name.as_str());
        format!("{name} (pid {pid})")
    }

    /// Processes to stop, with their descendants where that was asked; parents first, so that none starts another child.
    fn in_order(&self, pids: &BTreeSet<u32>) -> Vec<u32> {
        let mut all = pids.clone();
        if self.request.tree {
            all.extend(pids.iter().flat_map(|pid| self.descendants(*pid)));
        }
        let mut ordered: Vec<u32> = all.into_iter().collect();
        ordered.sort_by_key(|pid| (self.lineage(*pid).len(), *pid));
        ordered
    }

    fn descendants(&self, pid: u32) -> Vec<u32> {
        self.table
            .keys()
            .copied()
            .filter(|child| *child != pid && self.lineage(*child).contains(&pid))
            .collect()
    }

    fn stop_process(&self, pid: u32) -> Option<Step> {
        let entry = self.table.get(&pid)?;
        let process = ProcessKey { pid, start: entry.start, name: entry.name.clone() };
        let FreeRequest { signal, timeout_ms, force, .. } = self.request;
        let mut step = Step::new(Action::StopProcess {
            process,
            signal: signal.clone(),
            timeout_ms: *timeout_ms,
            force: *force,
        });
        let left: Vec<String> = self
            .descendants(pid)
            .into_iter()
            .filter(|child| !self.request.tree && !self.levels.processes.contains(child))
            .map(|child| self.described(child))
            .collect();
        if !left.is_empty() {
            step = step.affecting(format!(
                "its children get no signal (--tree stops them too): {}",
                left.join(", ")
            ));
        }
        Some(step)
    }
}
