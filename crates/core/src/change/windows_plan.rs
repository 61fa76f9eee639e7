//! Plans for Windows: dynamic ranges, exclusions, and the two dances that free a port from WinNAT.
//!
//! Source: `netsh int ipv4 set dynamicport` and its bounds; setting one family's range was seen to change the other's of the
//! same transport. What there is comes in as a [`Snapshot`]: its ranges, reservations, sockets, components and firewall
//! rules. What was not read is an error here: a step has to know what it changes, or it could not be undone.

use super::kept::Kept;
use super::windows_action::{LOWEST, NetshStore, Table, UNTIL_RESTART, WindowsAction, settable};
use super::{Action, Place, Plan, Step, list};
use crate::excluded::{self, Maker, WINDOWS_DEFAULT};
use crate::port::{PortRange, PortSet};
use crate::range::{Reservation, ReservationKind};
use crate::snapshot::{ComponentState, Snapshot};
use crate::socket::{Family, Socket, State, Transport};
use crate::wording;

/// The service that translates addresses for Hyper-V, WSL and containers.
pub const WINNAT: &str = "winnat";
/// The optional feature, as dism has it.
pub const HYPERV: &str = "Microsoft-Hyper-V";

/// The fewest ports that netsh takes for a dynamic range.
const FEWEST: u32 = 255;

/// Which of Windows' tables a change concerns, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `tcp`, `udp` or both.
    pub transports: Vec<Transport>,
    /// `ipv4`, `ipv6` or both.
    pub families: Vec<Family>,
    /// Until the next restart, or for good.
    pub store: NetshStore,
}

impl Scope {
    /// Its tables. IPv6 comes first: where setting IPv4 changes both, undo then brings each back to its own.
    fn tables(&self) -> Vec<Table> {
        let order = [Family::Ipv6, Family::Ipv4].into_iter().filter(|family| self.families.contains(family));
        order
            .flat_map(|family| {
                self.transports.iter().map(move |transport| Table {
                    family,
                    transport: *transport,
                    store: self.store,
                })
            })
            .collect()
    }
}

/// What is done around adding an exclusion, so that the ports come free for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dance {
    /// Nothing.
    None,
    /// WinNAT stops, and starts again afterwards (`--restart-winnat`).
    RestartWinnat,
    /// Hyper-V goes off and on again, or where it was off on and off again, with restarts (`--cycle-hyperv`).
    CycleHyperv {
        /// After each restart by itself (`--go-on`).
        by_itself: bool,
    },
}

fn step(action: WindowsAction) -> Step {
    Step::new(Action::Windows(action))
}

fn range_of(snapshot: &Snapshot, table: Table) -> Result<PortRange, String> {
    snapshot.range_of(table.transport, table.family).map(|found| found.range).ok_or_else(|| {
        format!(
            "the dynamic range of {} {} could not be read, so it could not be set back either; see `portolan range show`",
            table.family, table.transport
        )
    })
}

/// The plan that sets dynamic ranges to `wanted`, or with `None` back to 49152-65535. An error is the reason why it is
/// refused, in one line.
pub fn plan_windows_range(
    now: &Snapshot,
    kept: &Kept,
    wanted: Option<PortRange>,
    scope: &Scope,
    (title, place): (&str, Place),
) -> Result<Plan, String> {
    let default = PortRange::new(WINDOWS_DEFAULT.0, WINDOWS_DEFAULT.1).map_err(|error| error.to_string())?;
    let to = wanted.unwrap_or(default);
    check_bounds(to)?;
    let mut steps = Vec::new();
    let mut warnings = Vec::new();
    for table in scope.tables() {
        let from = range_of(now, table)?;
        let after =
            kept.range_of(table.transport, table.family).filter(|_| table.store == NetshStore::Persistent);
        if from == to && after.is_none_or(|after| after == to) {
            continue;
        }
        let other = if table.family == Family::Ipv4 { Family::Ipv6 } else { Family::Ipv4 };
        let others = now.range_of(table.transport, other).map(|found| found.range);
        let mut coupled: Vec<PortRange> =
            others.into_iter().filter(|range| *range != from && *range != to).collect();
        if !scope.families.contains(&other) && others != Some(to) {
            let now = others.map_or_else(|| "not known".to_owned(), |range| range.to_string());
            warnings.push(format!(
                "setting {} was seen to change {other} too: the {other} {} range is {now} and will be shown again \
                 afterwards",
                table.family, table.transport
            ));
            let remembered = others.map(|range| WindowsAction::RememberRange {
                table: Table { family: other, ..table },
                range,
                moved: [from, to].into_iter().filter(|moved| *moved != range).collect(),
            });
            // Before the step that may change it: an undo comes to it last.
            steps.extend(remembered.map(step));
        }
        if let Some(after) = after.filter(|after| *after != from) {
            // What is in force differs from what is kept: each is set, so that undo brings each back. An undo takes
            // the last step first, which leaves what is kept in both.
            let in_force = Table { store: NetshStore::Active, ..table };
            coupled.push(after);
            let coupled = coupled.clone();
            steps.push(step(WindowsAction::SetDynamicRange { table: in_force, from, to, coupled }));
            warnings.push(format!(
                "{} {} is {from} now, and {after} after a restart: both are set",
                table.family, table.transport
            ));
        }
        let from = after.unwrap_or(from);
        if settable(from) != from {
            warnings.push(format!(
                "{} {}: netsh sets no range that begins at {}, so an undo leaves {}",
                table.family,
                table.transport,
                from.first(),
                settable(from)
            ));
        }
        steps.push(step(WindowsAction::SetDynamicRange { table, from, to, coupled }));
    }
    if !steps.is_empty() {
        warnings.extend(range_warnings(now, kept, to, scope));
    }
    Ok(Plan { title: title.into(), note: None, place, steps, warnings })
}

fn check_bounds(range: PortRange) -> Result<(), String> {
    if range.first() < LOWEST {
        return Err(format!(
            "{range} begins below {LOWEST}, which Windows refuses; begin at {LOWEST} or above"
        ));
    }
    if range.count() < FEWEST {
        return Err(format!(
            "{range} has {} ports, Windows demands at least {FEWEST}; type a longer range",
            range.count()
        ));
    }
    Ok(())
}

fn range_warnings(now: &Snapshot, kept: &Kept, to: PortRange, scope: &Scope) -> Vec<String> {
    let mut warnings = Vec::new();
    let default = PortRange::new(WINDOWS_DEFAULT.0, WINDOWS_DEFAULT.1);
    if let Some(default) = default.ok().filter(|default| to != *default) {
        warnings.push(format!(
            "firewalls that let {default} through for RPC, and RPC servers behind them, rely on that range: {}",
            kept.relying(default, listeners_in(now, default))
        ));
    }
    if to.first() < WINDOWS_DEFAULT.0 && now.component(WINNAT) != Some(ComponentState::Absent) {
        warnings.push(format!(
            "WinNAT (Hyper-V, WSL, Docker) takes its blocks of 100 ports from this range: from {} up they would fall on \
             ports that programs use",
            to.first()
        ));
    }
    let listening = |port: &u16| {
        now.sockets
            .iter()
            .any(|s| s.local_port == *port && s.is_listening() && scope.transports.contains(&s.transport))
    };
    let inside: Vec<u16> = super::covered(now, to).into_iter().filter(listening).collect();
    let fresh: Vec<u16> = inside
        .into_iter()
        .filter(|port| !now.ranges.iter().any(|range| range.range.contains(*port)))
        .collect();
    if !fresh.is_empty() {
        let ports: Vec<String> = fresh.iter().take(10).map(ToString::to_string).collect();
        let more = if fresh.len() > 10 { format!(" and {} more", fresh.len() - 10) } else { String::new() };
        warnings.push(format!(
            "programs listen inside the new range: {}{more}; a client may take such a port while its program is down. Keep \
             them with `portolan reserve add PORT`",
            ports.join(", ")
        ));
    }
    warnings
}

fn listeners_in(now: &Snapshot, range: PortRange) -> usize {
    let inside = |s: &&Socket| {
        s.transport == Transport::Tcp && s.state == State::Listen && range.contains(s.local_port)
    };
    now.sockets.iter().filter(inside).count()
}

/// The ranges of `wanted` that no administered exclusion covers yet. One that ends with this boot cannot be kept on top:
/// Windows refuses what overlaps.
fn uncovered(
    now: &Snapshot,
    kept: &Kept,
    table: Table,
    wanted: &[PortRange],
) -> Result<Vec<PortRange>, String> {
    let mut left: PortSet = wanted.iter().copied().collect();
    for there in in_table(now, table).filter(|there| there.kind == ReservationKind::Administered) {
        let lasts = table.store == NetshStore::Active || lasts(now, kept, there);
        if !lasts && left.count_in(there.range) > 0 {
            return Err(format!(
                "{} of {table} is excluded {UNTIL_RESTART}, and Windows keeps nothing that overlaps it; type \
                 `portolan reserve remove {}` first",
                there.range, there.range
            ));
        }
        left.remove_range(there.range);
    }
    Ok(left.ranges())
}

/// Whether an exclusion is there again after a restart: HNS sets its own aside at each start.
fn lasts(now: &Snapshot, kept: &Kept, exclusion: &Reservation) -> bool {
    kept.keeps(exclusion) || excluded::hns_range(now) == Some(exclusion.range)
}

fn in_table(now: &Snapshot, table: Table) -> impl Iterator<Item = &Reservation> {
    now.reservations.iter().filter(move |reservation| {
        reservation.transport.is_none_or(|t| t == table.transport)
            && reservation.family.is_none_or(|f| f == table.family)
    })
}

/// By whom ports are taken that are to be excluded, and the mildest plan that works; none where nobody is seen to have
/// them. Said before a plan is made, and again when netsh refuses one ("being used by another process").
pub fn explain_taken(now: &Snapshot, transport: Transport, range: PortRange) -> Option<String> {
    let system = |r: &&Reservation| {
        r.kind == ReservationKind::System
            && r.range.overlaps(range)
            && r.transport.is_none_or(|t| t == transport)
    };
    if let Some(taken) = now.reservations.iter().find(system) {
        let maker = excluded::maker(now, taken);
        let way = match maker {
            Maker::WinNat => format!("type `portolan reserve add {range} --restart-winnat`"),
            _ => format!("take another port: `portolan pick --near {}`", range.first()),
        };
        let likely = if matches!(maker, Maker::Named(_)) { "" } else { "most likely " };
        return Some(format!(
            "{range} lies in or overlaps {}, which the system has set aside ({likely}{}); {way}",
            taken.range,
            maker.name()
        ));
    }
    let held = |s: &&Socket| s.transport == transport && range.contains(s.local_port);
    let socket = now.sockets.iter().find(held)?;
    Some(format!(
        "{} is in use: {}; Windows excludes no port that is in use. Free it first: `portolan free {}`",
        socket.local_port,
        wording::socket(socket, now),
        socket.local_port
    ))
}

/// The plan that excludes `wanted`, each range as it is typed, beside what is excluded already.
pub fn plan_windows_reserve(
    now: &Snapshot,
    kept: &Kept,
    wanted: &[PortRange],
    scope: &Scope,
    dance: Dance,
    (title, note, place): (&str, Option<&str>, Place),
) -> Result<Plan, String> {
    let mut adds: Vec<(Table, PortRange)> = Vec::new();
    for table in scope.tables() {
        adds.extend(uncovered(now, kept, table, wanted)?.into_iter().map(|range| (table, range)));
    }
    for (table, range) in &adds {
        let taken = explain_taken(now, table.transport, *range);
        if let Some(taken) = taken.filter(|_| !dance.may_free(now, *table, *range)) {
            return Err(taken);
        }
    }
    let mut plan = Plan {
        title: title.into(),
        note: note.map(str::to_owned),
        place,
        steps: Vec::new(),
        warnings: Vec::new(),
    };
    if adds.is_empty() {
        return Ok(plan);
    }
    let added =
        adds.iter().map(|(table, range)| step(WindowsAction::AddExclusion { table: *table, range: *range }));
    match dance {
        Dance::None => plan.steps.extend(added),
        Dance::RestartWinnat => restart_winnat(now, added.collect(), &mut plan)?,
        Dance::CycleHyperv { by_itself } => {
            cycle_hyperv(now, &adds, added.collect(), &mut plan)?;
            if by_itself {
                go_on_by_itself(&mut plan);
            }
        }
    }
    plan.warnings.push(format!(
        "HNS may refuse to publish a container's port (docker run -p) inside an exclusion: {}",
        list(wanted)
    ));
    Ok(plan)
}

impl Dance {
    /// Whether it may free these ports: of what the system set aside, and never of what a program holds.
    fn may_free(self, now: &Snapshot, table: Table, range: PortRange) -> bool {
        let set_aside =
            in_table(now, table).any(|r| r.kind == ReservationKind::System && r.range.overlaps(range));
        self != Self::None && set_aside
    }
}

fn restart_winnat(now: &Snapshot, added: Vec<Step>, plan: &mut Plan) -> Result<(), String> {
    let name = || WINNAT.to_owned();
    match now.component(WINNAT) {
        Some(ComponentState::Absent) => {
            return Err(
                "WinNAT is not installed, so nothing of it can be restarted; leave out --restart-winnat"
                    .into(),
            );
        }
        Some(ComponentState::Stopped) => {
            plan.warnings.push("WinNAT does not run: it is neither stopped nor started".into());
            plan.steps.extend(added);
            return Ok(());
        }
        Some(ComponentState::Running | ComponentState::Changing) | None => {}
    }
    plan.steps.push(
        step(WindowsAction::StopService { name: name() })
            .affecting("NAT networks of Hyper-V, WSL and containers are cut until it runs again, about 2 s"),
    );
    plan.steps.extend(added);
    plan.steps.push(step(WindowsAction::StartService { name: name() }).whatever_happens());
    Ok(())
}

/// Off, restart, add, on, restart; and where Hyper-V is off, and the block came with an update: on, restart, look, off,
/// restart, look, add.
fn cycle_hyperv(
    now: &Snapshot,
    adds: &[(Table, PortRange)],
    added: Vec<Step>,
    plan: &mut Plan,
) -> Result<(), String> {
    let on = || step(WindowsAction::EnableFeature { name: HYPERV.into() });
    let off = || step(WindowsAction::DisableFeature { name: HYPERV.into() });
    let restart =
        || step(WindowsAction::RESTART).affecting("everything on this machine stops; save your work");
    let look = |stop| {
        adds.iter()
            .map(move |(table, range)| step(WindowsAction::LookAgain { table: *table, range: *range, stop }))
    };
    plan.warnings.push("two restarts of Windows".into());
    match now.component("hyper-v") {
        None => return Err("whether Hyper-V is on could not be read; type it again as administrator".into()),
        Some(ComponentState::Changing) => {
            return Err("a change of Hyper-V waits for a restart; restart Windows, then type it again".into());
        }
        Some(ComponentState::Running) => {
            plan.warnings
                .push("virtual machines, WSL and containers do not run until Hyper-V is on again".into());
            plan.steps.extend([off().affecting("virtual machines are shut down with Windows"), restart()]);
            plan.steps.extend(added);
            plan.steps.extend([on().whatever_happens(), restart()]);
        }
        Some(ComponentState::Stopped | ComponentState::Absent) => {
            plan.warnings.push(
                "Hyper-V is off: it is turned on and off again, which clears a block that it left".into(),
            );
            plan.steps.extend([on(), restart()]);
            plan.steps.extend(look(false));
            plan.steps.extend([off().whatever_happens(), restart()]);
            plan.steps.extend(look(true));
            plan.steps.extend(added);
        }
    }
    Ok(())
}

/// The start-up task comes before all, and goes last or once a step has failed: then a person has to look.
fn go_on_by_itself(plan: &mut Plan) {
    let task = step(WindowsAction::AddTask { plan: None }).affecting(
        "a copy of this program runs as SYSTEM at each start of Windows, until the plan has ended",
    );
    plan.steps.insert(0, task);
    plan.steps.push(step(WindowsAction::RemoveTask { plan: None }).whatever_happens());
    plan.warnings.push(
        "a minute after each restart the plan goes on by itself; `portolan undo --list` shows where it stands".into(),
    );
}

/// The plan that deletes exclusions inside `wanted`. Windows deletes only what was added, whole: a part of one is refused
/// with what to type, as is what the system set aside.
pub fn plan_windows_unreserve(
    now: &Snapshot,
    kept: &Kept,
    wanted: &[PortRange],
    scope: &Scope,
    (title, place): (&str, Place),
) -> Result<Plan, String> {
    let wanted_ports: PortSet = wanted.iter().copied().collect();
    let mut steps = Vec::new();
    let mut refusal = None;
    for table in scope.tables() {
        for reservation in in_table(now, table).filter(|r| wanted_ports.count_in(r.range) > 0) {
            let range = reservation.range;
            match reservation.kind {
                ReservationKind::Administered if wanted_ports.count_in(range) == range.count() => {
                    let store = if kept.keeps(reservation) { table.store } else { NetshStore::Active };
                    let table = Table { store, ..table };
                    steps.push(step(WindowsAction::DeleteExclusion { table, range }));
                }
                ReservationKind::Administered => {
                    return Err(format!(
                        "{range} was excluded as a whole, and Windows deletes only the whole; type \
                         `portolan reserve remove {range}`"
                    ));
                }
                ReservationKind::System => {
                    refusal = Some(format!(
                        "{range} was set aside by the system, not by an administrator: not even an administrator may \
                         delete it; see `portolan why {}`",
                        range.first()
                    ));
                }
            }
        }
    }
    if steps.is_empty() {
        return Err(refusal.unwrap_or_else(|| {
            format!("{}: nothing of it is excluded here; `portolan reserve list` shows what is", list(wanted))
        }));
    }
    let mut warnings: Vec<String> = refusal.into_iter().collect();
    if excluded::hns_range(now).is_some_and(|hns| wanted_ports.count_in(hns) == hns.count()) {
        warnings.push(
            "HNS sets its own range aside again when it starts; see `portolan explain hns-range`".into(),
        );
    }
    Ok(Plan { title: title.into(), note: None, place, steps, warnings })
}

#[cfg(test)]
mod tests;
