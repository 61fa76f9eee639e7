//! Plans which TCP connections are closed without ending their programs, and which sockets are not.
//!
//! Source: `tcp_abort` in Linux's `net/ipv4/tcp.c`: the program gets ECONNABORTED, the peer a reset; a TIME_WAIT is
//! dropped, and its port is free at once. A listener closed like this would stay bound while its program's accept
//! fails with EINVAL, so listeners are left to `portolan free`. UDP has no connection to close and is left out. Windows
//! (SetTcpEntry) closes IPv4 connections only.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use super::{Action, Place, Plan, Step, is_critical};
use crate::snapshot::{Snapshot, System};
use crate::socket::{Connection, Family, OwnerState, Socket, State, Transport};
use crate::wording::{self, counted};

/// How many connections of a step are named.
const NAMED: usize = 10;

/// What a socket is known by in two looks: its ends, and its inode (0 for a TIME_WAIT).
type Key = (SocketAddr, SocketAddr, u32);

fn key(socket: &Socket) -> Key {
    (socket.local(), socket.remote(), socket.inode)
}

/// Plans to close the chosen sockets of a snapshot, as one step for each program. `named` are the connections as the
/// system names them; one that is not among them has ended meanwhile. The error says why nothing is to be closed.
pub fn plan_close(
    snapshot: &Snapshot,
    chosen: &[&Socket],
    named: &[(Socket, Connection)],
    (title, place): (&str, Place),
) -> Result<Plan, String> {
    let (holding, open): (Vec<&Socket>, Vec<&Socket>) = chosen
        .iter()
        .copied()
        .filter(|socket| socket.transport == Transport::Tcp)
        .partition(|socket| socket.is_holding());
    if let (Some(first), true) = (holding.first(), open.is_empty()) {
        return Err(format!(
            "{} {} is no connection: closed from outside, its program would keep the port and fail (accept gives \
             EINVAL); `portolan free {}` stops who holds it",
            first.state,
            first.local(),
            first.local_port
        ));
    }
    let (open, unclosable) = of_closable_family(snapshot, open)?;
    let mut connections: HashMap<Key, Vec<Connection>> = HashMap::with_capacity(named.len());
    for (socket, connection) in named {
        let same_ends = connections.entry(key(socket)).or_default();
        // A system without numbers for connections may list one twice (Wine does).
        if !same_ends.contains(connection) {
            same_ends.push(*connection);
        }
    }
    let mut groups: BTreeMap<String, Vec<Connection>> = BTreeMap::new();
    for socket in &open {
        let whose = match (socket.state, socket.owner_state) {
            (State::TimeWait, _) => "of nobody any more (TIME_WAIT): their ports are free at once".to_owned(),
            (_, OwnerState::Nobody) => "of nobody any more: the kernel was finishing them".to_owned(),
            _ => format!("of {}, which lives on and gets ECONNABORTED", wording::holder(socket, snapshot)),
        };
        // Taken out, so that a socket which stands twice in a look is closed once.
        groups.entry(whose).or_default().extend(connections.remove(&key(socket)).unwrap_or_default());
    }
    let steps =
        groups.into_iter().filter(|(_, group)| !group.is_empty()).map(|(whose, group)| step(whose, group));
    let warnings = unclosable.into_iter().chain(warnings(snapshot, &open, &holding)).collect();
    Ok(Plan { title: title.into(), note: None, place, steps: steps.collect(), warnings })
}

/// Those that this system can close, and a warning for those that it cannot; an error where it can close none.
fn of_closable_family<'a>(
    snapshot: &Snapshot,
    open: Vec<&'a Socket>,
) -> Result<(Vec<&'a Socket>, Option<String>), String> {
    if snapshot.host.system != System::Windows {
        return Ok((open, None));
    }
    let (unclosable, rest): (Vec<&Socket>, Vec<&Socket>) =
        open.into_iter().partition(|socket| socket.family == Family::Ipv6);
    let Some(first) = unclosable.first() else { return Ok((rest, None)) };
    let port = first.local_port;
    let (left, way) = (
        counted(unclosable.len(), "IPv6 connection"),
        format!(
            "`portolan free {port}` stops a program that listens there, `portolan list --port {port}` names it"
        ),
    );
    let why = format!("Windows closes IPv4 connections only; {way}");
    if rest.is_empty() {
        Err(format!("unsupported: {why}"))
    } else {
        Ok((rest, Some(format!("{left} not closed: {why}"))))
    }
}

fn step(whose: String, connections: Vec<Connection>) -> Step {
    let mut effects = vec![whose];
    if connections.len() > 1 {
        effects.extend(connections.iter().take(NAMED).map(ToString::to_string));
    }
    if connections.len() > NAMED {
        effects.push(format!("and {} more", connections.len() - NAMED));
    }
    Step { effects, ..Step::new(Action::CloseConnections { connections }) }
}

fn warnings(snapshot: &Snapshot, open: &[&Socket], holding: &[&Socket]) -> Vec<String> {
    let mut warnings = Vec::new();
    let owners = open.iter().flat_map(|socket| snapshot.owners_of(socket));
    if let Some(owner) = owners.into_iter().find(|owner| is_critical(&owner.name)) {
        warnings.push(format!(
            "some belong to {}: the connection over which you are here may be among them",
            wording::process(owner)
        ));
    }
    if let Some(first) = holding.first() {
        warnings.push(format!(
            "{} {} matches too and stays: `portolan free {}` stops who holds it",
            first.state,
            first.local(),
            first.local_port
        ));
    }
    warnings
}

#[cfg(test)]
mod tests;
