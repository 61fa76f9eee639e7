//! Plans how a port is freed: who holds it, at which level it is stopped, and who is never touched.
//!
//! A holder listens or is bound. A client whose connection uses the number as its local port is no holder, nor is one
//! whose remote port it is. Source of the levels: systemd.socket(5), docker-stop(1), signal(7).
//! Left out on purpose: units of a user's own manager, which only that user's `systemctl --user` reaches; their
//! processes are stopped as processes.

use std::collections::{BTreeMap, BTreeSet};

use super::critical::is_critical;
use super::free_request::{Caller, FreeRequest, ProcessEntry};
use super::{ASK, Action, Place, Plan, ProcessKey, Step, TERMINATE, WindowsAction};
use crate::kernel::docker;
use crate::owner::Owner;
use crate::port::Port;
use crate::range::{Carrier, CarrierKind};
use crate::remedy::is_name;
use crate::snapshot::{Snapshot, System};
use crate::socket::{OwnerState, Socket, State, Transport};
use crate::wording::{self, counted, listed};

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

/// Plans to free the ports of a request. The snapshot holds every socket with its owners, and the carriers.
pub fn plan_free(
    snapshot: &Snapshot,
    processes: &[ProcessEntry],
    caller: &Caller,
    request: &FreeRequest,
    (title, place): (&str, Place),
) -> FreeAnswer {
    let table = processes.iter().map(|process| (process.pid, process)).collect();
    let mut free = Free { snapshot, table, caller, request, refusals: Vec::new(), levels: Levels::default() };
    let (mut time_wait_ms, mut notes, mut reasons, mut held) = (0, Vec::new(), Vec::new(), false);
    for (transport, port) in &request.ports {
        let of_port = |s: &&Socket| (s.transport, s.local_port) == (*transport, port.number());
        let of_port: Vec<&Socket> = snapshot.sockets.iter().filter(of_port).collect();
        let holding: Vec<&Socket> = of_port.iter().copied().filter(|socket| socket.is_holding()).collect();
        if !holding.is_empty() {
            held = true;
            holding.into_iter().for_each(|socket| free.sort_in(socket));
            continue;
        }
        match without_holder(snapshot, *port, &of_port) {
            Ok(left) => {
                time_wait_ms = time_wait_ms.max(left);
                notes.push(format!("nobody holds {port}/{transport}: it is free already"));
            }
            Err(reason) => reasons.push(reason),
        }
    }
    if !held {
        return if reasons.is_empty() {
            FreeAnswer::Free { time_wait_ms }
        } else {
            FreeAnswer::Refused(reasons)
        };
    }
    free.add_descendants();
    free.check_signal();
    if !free.refusals.is_empty() {
        free.refusals.sort();
        free.refusals.dedup();
        return FreeAnswer::Refused(free.refusals);
    }
    let warnings = free.also_hit().into_iter().chain(reasons).chain(notes).collect();
    FreeAnswer::Plan(Plan { title: title.into(), note: None, place, steps: free.steps(), warnings })
}

/// What keeps a port that nobody holds: TIME_WAIT for so many milliseconds, or, as an error, a connection.
fn without_holder(snapshot: &Snapshot, port: Port, of_port: &[&Socket]) -> Result<u32, String> {
    let ended = |socket: &&&Socket| matches!(socket.state, State::TimeWait | State::Closed);
    let open: Vec<&&Socket> = of_port.iter().filter(|socket| !ended(socket)).collect();
    let Some(first) = open.first() else {
        return Ok(of_port.iter().map(|socket| socket.timer_ms).max().unwrap_or(0));
    };
    let what = match open.len() {
        1 => "a connection".to_owned(),
        n => format!("{n} connections, the first"),
    };
    let way = match (first.transport, open.len()) {
        (Transport::Udp, _) => "end that program, or wait until it has done".to_owned(),
        (_, 1) => format!("`portolan close --local {}` closes it and ends nobody", first.local()),
        _ => format!("`portolan close --port {port}` closes them and ends nobody"),
    };
    Err(format!(
        "nobody listens on {port} or is bound to it, but {what} of {} uses it as the local port ({} → {}); {way}",
        wording::holder(first, snapshot),
        first.local(),
        first.remote(),
    ))
}

/// What is to be stopped, each once, at its level.
#[derive(Default)]
struct Levels {
    /// Socket units, with the service that each starts.
    socket_units: BTreeMap<String, Option<String>>,
    units: BTreeMap<String, BTreeSet<u32>>,
    /// By runtime and id.
    containers: BTreeMap<(&'static str, String), BTreeSet<u32>>,
    /// With the sockets for which each is stopped.
    processes: BTreeMap<u32, BTreeSet<u32>>,
}

impl Levels {
    /// Every process that is known to end.
    fn pids(&self) -> BTreeSet<u32> {
        let groups = self.units.values().chain(self.containers.values()).flatten();
        groups.chain(self.processes.keys()).copied().collect()
    }
}

struct Free<'a> {
    snapshot: &'a Snapshot,
    table: BTreeMap<u32, &'a ProcessEntry>,
    caller: &'a Caller,
    request: &'a FreeRequest,
    refusals: Vec<String>,
    levels: Levels,
}

impl<'a> Free<'a> {
    /// Puts the holders of a socket where they belong, or refuses.
    fn sort_in(&mut self, socket: &Socket) {
        let owners = self.snapshot.owners_of(socket);
        if owners.is_empty() {
            return self.refuse(self.out_of_sight(socket));
        }
        let carried_by = |kind| {
            let mut carriers = self.snapshot.carriers.iter();
            carriers.find(|carrier| carrier.kind == kind && wording::carries(carrier, socket))
        };
        if let Some(proxy) = carried_by(CarrierKind::ContainerProxy) {
            let pids = owners.iter().map(|owner| owner.pid).collect();
            return self.sort_in_proxy(proxy, pids, socket.local_port);
        }
        let unit = carried_by(CarrierKind::SocketUnit).filter(|unit| is_name(&unit.name));
        for owner in owners {
            match unit {
                Some(unit) if owner.pid == 1 => {
                    self.levels.socket_units.insert(unit.name.clone(), unit.to.clone());
                }
                _ => self.sort_in_owner(owner, socket),
            }
        }
    }

    fn refuse(&mut self, reason: String) {
        self.refusals.push(reason);
    }

    /// Why a socket without a visible holder is left alone.
    fn out_of_sight(&self, socket: &Socket) -> String {
        let (at, host) = (socket.local(), &self.snapshot.host);
        let user = self.snapshot.origin_of(socket).and_then(|origin| origin.uid);
        match (socket.owner_state, user) {
            (OwnerState::Kernel, _) => {
                format!("the kernel itself holds {at}: there is no process that could be stopped")
            }
            (OwnerState::Nobody, _) => format!("no process holds {at} any more: it goes by itself"),
            _ if self.is_windows() => format!(
                "the process that made {at} has ended, and one that it started holds it, which Windows does not name: \
                 `portolan list` tells whom it started; end that one"
            ),
            (_, Some(uid)) if !host.privileged && host.uid != Some(uid) => format!(
                "{at} is held by a process of another user (uid {uid}): to see and to end it needs root \
                 (CAP_SYS_PTRACE, CAP_KILL); type it again after sudo"
            ),
            _ if host.privileged => format!(
                "who holds {at} cannot be seen: the kernel itself (NFS, WireGuard, VXLAN), or a process of another pid \
                 namespace; run portolan outside of containers"
            ),
            _ => format!("who holds {at} cannot be seen; type it again after sudo"),
        }
    }

    /// Stops the container behind a runtime's proxy: the runtime would start a proxy that was killed again.
    fn sort_in_proxy(&mut self, proxy: &Carrier, pids: BTreeSet<u32>, port: u16) {
        let to = proxy.to.as_deref().unwrap_or("a container");
        match docker::container_named(to).filter(|name| is_name(name)) {
            Some(name) if proxy.name.starts_with("docker-proxy") => {
                self.levels.containers.entry(("docker", name.to_owned())).or_default().extend(pids);
            }
            _ => self.refuse(format!(
                "{} carries {port} to {to}: stop that container \
                 (`docker ps --filter publish={port}`, `podman ps --filter publish={port}` name it)",
                proxy.name
            )),
        }
    }

    fn sort_in_owner(&mut self, owner: &Owner, socket: &Socket) {
        if let Err(reason) = self.may_end(owner.pid, &owner.name, Some(owner)) {
            return self.refuse(reason);
        }
        if let (System::Windows, Some(services)) = (self.snapshot.host.system, &owner.unit) {
            return self.sort_in_services(owner, services);
        }
        let service = owner.unit.as_ref().filter(|unit| {
            let of_system = unit.ends_with(".service") && !unit.starts_with("user@") && is_name(unit);
            self.caller.systemd && of_system && Some(*unit) != self.caller.unit.as_ref()
        });
        let runtime = owner.container.as_ref().and_then(|container| {
            let known = ["docker", "podman"].into_iter().find(|known| *known == container.runtime)?;
            is_name(&container.id).then(|| (known, container.id.clone()))
        });
        match (runtime, service) {
            (Some(key), _) => _ = self.levels.containers.entry(key).or_default().insert(owner.pid),
            (None, Some(unit)) if owner.container.is_none() => {
                self.levels.units.entry(unit.clone()).or_default().insert(owner.pid);
            }
            _ => _ = self.levels.processes.entry(owner.pid).or_default().insert(socket.inode),
        }
    }

    /// Windows: a service is stopped by its manager. Of several in one process it is not known which one holds the port.
    fn sort_in_services(&mut self, owner: &Owner, services: &str) {
        if services.contains(',') {
            return self.refuse(format!(
                "{} runs several services, and Windows does not say which one holds the port: `net stop NAME` stops \
                 the one you mean",
                wording::process(owner)
            ));
        }
        self.levels.units.entry(services.to_owned()).or_default().insert(owner.pid);
    }

    /// Whether a process may be ended at all, or why not.
    fn may_end(&self, pid: u32, name: &str, owner: Option<&Owner>) -> Result<(), String> {
        let host = &self.snapshot.host;
        let who = owner.map_or_else(|| format!("{name} (pid {pid})"), wording::process);
        if pid == 1 {
            return Err(format!("{who} is the first process: it is never stopped"));
        }
        if pid == self.caller.pid {
            return Err(format!(
                "this program itself holds it, through a descriptor that it was started with: {who}"
            ));
        }
        if self.lineage(self.caller.pid).contains(&pid) {
            return Err(format!(
                "{who} has started this program: ending it would end this too; type it from elsewhere"
            ));
        }
        let of_user =
            owner.and_then(|owner| owner.unit.as_ref()).is_some_and(|unit| unit.starts_with("user@"));
        if name == "systemd" && of_user {
            return Err(format!(
                "{who} is a user's service manager, which holds it for a socket unit: as that user, \
                 `systemctl --user list-sockets` names the unit, `systemctl --user stop NAME.socket` stops it"
            ));
        }
        if is_critical(name) && !self.request.even_if_critical.iter().any(|named| named == name) {
            return Err(format!(
                "{who} is one whose end may cut you off from this machine; if you mean it, add --even-if-critical '{name}'"
            ));
        }
        match owner.and_then(|owner| owner.uid) {
            Some(uid) if !host.privileged && host.uid != Some(uid) => Err(format!(
                "{who} belongs to another user (uid {uid}): to end it needs root (CAP_KILL); type it again after sudo"
            )),
            _ => Ok(()),
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

    fn descendants(&self, pid: u32) -> Vec<u32> {
        let below = |child: &u32| *child != pid && self.lineage(*child).contains(&pid);
        self.table.keys().copied().filter(below).collect()
    }

    /// Windows has no signals: of their names two have a meaning there.
    fn check_signal(&mut self) {
        let signal = &self.request.signal;
        if self.is_windows()
            && !self.levels.processes.is_empty()
            && !matches!(signal.as_str(), "TERM" | "KILL")
        {
            self.refuse(format!(
                "Windows has no signal {signal}: --signal TERM asks a program to close, KILL terminates it"
            ));
        }
    }

    fn is_windows(&self) -> bool {
        self.snapshot.host.system == System::Windows
    }

    /// What is sent first, as the system calls it.
    fn signal(&self) -> &str {
        match (self.is_windows(), self.request.signal.as_str()) {
            (true, "KILL") => TERMINATE,
            (true, _) => ASK,
            (false, signal) => signal,
        }
    }

    /// With `--tree`: what was started by the processes that are stopped is stopped too, or refused like them.
    fn add_descendants(&mut self) {
        if !self.request.tree {
            return;
        }
        let below: BTreeSet<u32> =
            self.levels.processes.keys().flat_map(|pid| self.descendants(*pid)).collect();
        for pid in below {
            let name = self.table.get(&pid).map_or("", |process| process.name.as_str());
            match self.may_end(pid, name, None) {
                Ok(()) => _ = self.levels.processes.entry(pid).or_default(),
                Err(reason) => self.refuse(reason),
            }
        }
    }

    /// What ends besides the ports that were asked for: connections, and other ports of the same processes.
    fn also_hit(&self) -> Vec<String> {
        let ending = self.levels.pids();
        let hit = |socket: &&Socket| {
            self.snapshot.owners_of(socket).iter().any(|owner| ending.contains(&owner.pid))
        };
        let (mut connections, mut ports) = (0, BTreeSet::new());
        for socket in self.snapshot.sockets.iter().filter(hit) {
            if socket.is_holding() && !self.request.names(socket.transport, socket.local_port) {
                ports.insert(format!("{}/{}", socket.local_port, socket.transport));
            }
            connections += usize::from(socket.state == State::Established);
        }
        let ports: Vec<String> = ports.into_iter().collect();
        let drops = if connections == 1 { "drops" } else { "drop" };
        let dropping = format!("{} {drops}", counted(connections, "open connection"));
        let along = format!("what ends here also holds {}", listed(&ports));
        let said = (connections > 0).then_some(dropping).into_iter();
        said.chain((!ports.is_empty()).then_some(along)).collect()
    }

    fn steps(&self) -> Vec<Step> {
        let levels = &self.levels;
        let stop_unit = |unit: &str| {
            Step::new(match self.snapshot.host.system {
                System::Linux => Action::StopUnit { unit: unit.into(), services: Vec::new() },
                System::Windows => Action::Windows(WindowsAction::StopService { name: unit.into() }),
            })
        };
        let mut steps: Vec<Step> = Vec::new();
        steps.extend(levels.socket_units.iter().map(|(unit, service)| {
            let service = service.as_deref().unwrap_or("its service");
            stop_unit(unit).affecting(format!("systemd then starts {service} no more when somebody connects"))
        }));
        steps.extend(levels.units.iter().map(|(unit, pids)| {
            let step = stop_unit(unit).affecting(self.ends(pids));
            match (self.request.signal.as_str(), self.request.force) {
                ("TERM", false) => step,
                _ if self.is_windows() => step,
                _ => step.affecting("signal and time-out are the unit's own: KillSignal, TimeoutStopSec"),
            }
        }));
        steps.extend(levels.containers.iter().map(|((runtime, id), pids)| {
            let action = Action::StopContainer { runtime: (*runtime).into(), id: id.clone() };
            Step::new(action).affecting(self.ends(pids))
        }));
        // Parents first, so that none starts another child.
        let mut pids: Vec<u32> = levels.processes.keys().copied().collect();
        pids.sort_by_key(|pid| (self.lineage(*pid).len(), *pid));
        steps.extend(pids.into_iter().filter_map(|pid| self.stop_process(pid)));
        steps
    }

    fn ends(&self, pids: &BTreeSet<u32>) -> String {
        format!("ends {}", listed(&pids.iter().map(|pid| self.described(*pid)).collect::<Vec<_>>()))
    }

    fn described(&self, pid: u32) -> String {
        let name = self.table.get(&pid).map_or("?", |process| process.name.as_str());
        format!("{name} (pid {pid})")
    }

    /// None for one that has ended since it was seen holding.
    fn stop_process(&self, pid: u32) -> Option<Step> {
        let entry = self.table.get(&pid)?;
        let sockets = self.levels.processes.get(&pid)?.iter().copied().collect();
        let mut step = Step::new(Action::StopProcess {
            process: ProcessKey { pid, start: entry.start, name: entry.name.clone() },
            sockets,
            signal: self.signal().to_owned(),
            timeout_ms: self.request.timeout_ms,
            force: self.request.force,
        });
        let owner: Option<&'a Owner> = self.snapshot.owners.iter().find(|owner| owner.pid == pid);
        step.effects.extend(owner.and_then(wording::user_and_command));
        step.effects.extend(owner.and_then(|owner| self.why_a_process(owner)));
        let ending = self.levels.pids();
        let left: Vec<String> = self
            .descendants(pid)
            .into_iter()
            .filter(|child| !ending.contains(child))
            .map(|child| self.described(child))
            .collect();
        let untouched = if self.is_windows() { "its children go on" } else { "its children get no signal" };
        if !left.is_empty() {
            step = step.affecting(format!("{untouched} (--tree ends them too): {}", listed(&left)));
        }
        Some(step)
    }

    /// Why something that belongs to a service or a container is stopped as a process.
    fn why_a_process(&self, owner: &Owner) -> Option<String> {
        let unit = owner.unit.as_deref().filter(|unit| unit.ends_with(".service"));
        match (&owner.container, unit) {
            (Some(container), _) => Some(format!(
                "it runs in a container of {}, which may start it again: stop it there for good",
                container.runtime
            )),
            (None, Some(unit)) if Some(unit) == self.caller.unit.as_deref() => {
                Some(format!("this program runs in {unit} too, so the unit is left alone"))
            }
            (None, Some(unit)) => match unit.split_once('/') {
                Some((_, inner)) => Some(format!(
                    "it is {inner} of a user's own manager, which may start it again: as that user, \
                     `systemctl --user stop {inner}` stops it for good"
                )),
                None => Some(format!("no systemd that could stop {unit} runs here")),
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
