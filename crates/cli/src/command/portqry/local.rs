//! `-local`, and what the watches show: every mapping of a port to its process, counts and percentages by state.
//!
//! Source: Microsoft's article "Using the PortQry command-line tool". `-v` groups by process and adds its program, its
//! service or unit, its user and its modules. What could not be seen is told at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use portolan_core::kernel::proc_maps::Module;
use portolan_core::owner::Owner;
use portolan_core::snapshot::Snapshot;
use portolan_core::socket::{OwnerState, Socket, State, Transport};

use super::arguments::Watched;
use super::wording::shouted;
use crate::text::harmless;

/// A mapping as it is shown: its columns, with what a watch compares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mapping {
    transport: Transport,
    local_port: u16,
    local: String,
    /// `*:*` without a peer.
    remote: String,
    state: &'static str,
    /// `812:sshd`.
    process: String,
}

/// The modules of a process, by its id, or why they could not be seen.
pub(super) type Modules<'a> = dyn Fn(u32) -> Result<Vec<Module>, String> + 'a;

/// PortQry's words for a state; UDP has none.
fn state(socket: &Socket) -> &'static str {
    match (socket.transport, socket.state) {
        (Transport::Udp, _) => "",
        (_, State::Listen) => "LISTENING",
        (_, State::SynSent) => "SYN SENT",
        (_, State::SynReceived) => "SYN RECEIVED",
        (_, State::FinWait1) => "FIN WAIT 1",
        (_, State::FinWait2) => "FIN WAIT 2",
        (_, State::CloseWait) => "CLOSE WAIT",
        (_, State::LastAck) => "LAST ACK",
        (_, State::TimeWait) => "TIME WAIT",
        (_, state) => state.name(),
    }
}

/// Who holds a socket: `812:sshd`, or why nobody is named.
fn holders(snapshot: &Snapshot, socket: &Socket) -> Vec<String> {
    let owners = snapshot.owners_of(socket);
    if !owners.is_empty() {
        return owners.iter().map(|owner| format!("{}:{}", owner.pid, harmless(&owner.name))).collect();
    }
    let word = match socket.owner_state {
        OwnerState::Nobody => "0:no process",
        OwnerState::Kernel => "0:kernel",
        _ => "?:not seen",
    };
    vec![word.to_owned()]
}

/// The mappings of the sockets, sorted; a socket of several processes is one of each.
pub(super) fn mappings(snapshot: &Snapshot, whom: Option<Watched>) -> Vec<Mapping> {
    let of = |socket: &Socket| match whom {
        None => true,
        Some(Watched::Port(port)) => socket.local_port == port || socket.remote_port == port,
        Some(Watched::Process(pid)) => snapshot.owners_of(socket).iter().any(|owner| owner.pid == pid),
    };
    let mine = |process: &String| match whom {
        Some(Watched::Process(pid)) => process.starts_with(&format!("{pid}:")),
        _ => true,
    };
    let mut mappings = Vec::new();
    for socket in snapshot.sockets.iter().filter(|socket| of(socket)) {
        let remote = match socket.remote_port {
            0 => "*:*".to_owned(),
            _ => socket.remote().to_string(),
        };
        for process in holders(snapshot, socket).into_iter().filter(mine) {
            mappings.push(Mapping {
                transport: socket.transport,
                local_port: socket.local_port,
                local: socket.local_address().to_string(),
                remote: remote.clone(),
                state: state(socket),
                process,
            });
        }
    }
    mappings.sort();
    mappings
}

/// A table of mappings, with one line above.
pub(super) fn table(mappings: &[Mapping]) -> String {
    let widest = |column: fn(&Mapping) -> &str, least: usize| {
        mappings.iter().map(|mapping| column(mapping).chars().count()).max().unwrap_or(0).max(least)
    };
    let process = widest(|mapping| &mapping.process, 11);
    let local = widest(|mapping| &mapping.local, 8);
    let mut text = format!(
        "{:<process$}  {:<9}  {:<local$}  {:<12}  Remote IP:Port\n",
        "PID:Process", "Port", "Local IP", "State"
    );
    for mapping in mappings {
        let port = format!("{} {}", shouted(mapping.transport), mapping.local_port);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<process$}  {port:<9}  {:<local$}  {:<12}  {}",
            mapping.process, mapping.local, mapping.state, mapping.remote
        );
    }
    text
}

/// How many of each transport, and of TCP by state.
pub(super) fn statistics(mappings: &[Mapping]) -> String {
    let count = |transport| mappings.iter().filter(|mapping| mapping.transport == transport).count();
    let (tcp, udp) = (count(Transport::Tcp), count(Transport::Udp));
    let mut text = format!("Port Statistics\n\nTCP mappings: {tcp}\nUDP mappings: {udp}\n");
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for mapping in mappings.iter().filter(|mapping| mapping.transport == Transport::Tcp) {
        *states.entry(mapping.state).or_default() += 1;
    }
    if !states.is_empty() {
        text.push('\n');
    }
    for (state, count) in states {
        let part = count as f64 * 100.0 / tcp as f64;
        let _ = writeln!(text, "TCP ports in a {state} state: {count} = {part:.2}%");
    }
    text
}

/// What is known of a process besides.
fn process(owner: &Owner) -> String {
    let mut text = format!("Process ID: {} ({})\n", owner.pid, harmless(&owner.name));
    let known = [
        ("Service", owner.unit.as_deref()),
        ("Program", owner.executable.as_deref()),
        ("Command", owner.command.as_deref()),
        ("User", owner.user.as_deref()),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            let _ = writeln!(text, "{name}: {}", harmless(value));
        }
    }
    text
}

/// The modules of a process, or why they could not be seen.
fn loaded(modules: &Modules<'_>, pid: u32) -> String {
    let mut text = String::new();
    match modules(pid) {
        Ok(modules) => {
            text.push_str("Loaded modules:\n");
            for module in modules {
                let _ = writeln!(text, "{} (0x{:08X})", harmless(&module.path), module.base);
            }
        }
        Err(why) => {
            let _ = writeln!(text, "Not seen: {}", harmless(&why));
        }
    }
    text
}

/// What could not be seen.
fn gaps(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for gap in &snapshot.gaps {
        let _ = writeln!(text, "Not seen: {}: {}", harmless(&gap.what), harmless(&gap.detail));
    }
    text
}

/// Everything that `-local` tells; with modules, what `-v` adds.
pub(super) fn listing(snapshot: &Snapshot, modules: Option<&Modules<'_>>) -> String {
    let mappings = mappings(snapshot, None);
    let mut text = format!(
        "\nTCP/UDP Port to Process Mappings\n\n{} mappings found\n\n{}\n{}",
        mappings.len(),
        table(&mappings),
        statistics(&mappings)
    );
    if let Some(modules) = modules {
        text.push_str("\nPort and Process Information by Process\n");
        for pid in snapshot.owners.iter().map(|owner| owner.pid).collect::<BTreeSet<_>>() {
            text.push_str(&of_process(snapshot, pid, modules));
        }
    }
    let gaps = gaps(snapshot);
    if gaps.is_empty() { text } else { format!("{text}\n{gaps}") }
}

/// A process with its mappings; nothing where it has none.
fn of_process(snapshot: &Snapshot, pid: u32, modules: &Modules<'_>) -> String {
    let mappings = mappings(snapshot, Some(Watched::Process(pid)));
    let owner = snapshot.owners.iter().find(|owner| owner.pid == pid);
    match owner {
        Some(owner) if !mappings.is_empty() => format!(
            "\n======================================================\n\n{}\n{}\n{}\n{}",
            process(owner),
            table(&mappings),
            statistics(&mappings),
            loaded(modules, pid)
        ),
        _ => String::new(),
    }
}

/// What a watch shows of a look; with modules, what `-v` adds.
pub(super) fn watched(snapshot: &Snapshot, whom: Watched, modules: Option<&Modules<'_>>) -> String {
    let mappings = mappings(snapshot, Some(whom));
    let mut text = format!("{}\n{}", table(&mappings), statistics(&mappings));
    if let Some(modules) = modules {
        let holders: BTreeSet<&str> = mappings.iter().map(|mapping| mapping.process.as_str()).collect();
        for owner in &snapshot.owners {
            if holders.contains(format!("{}:{}", owner.pid, harmless(&owner.name)).as_str()) {
                text.push('\n');
                text.push_str(&process(owner));
                text.push_str(&loaded(modules, owner.pid));
            }
        }
    }
    text + &gaps(snapshot)
}

/// What has changed between two looks, in lines; empty where nothing has.
pub(super) fn changes(before: &[Mapping], now: &[Mapping]) -> String {
    let key = |mapping: &Mapping| {
        let Mapping { transport, local_port, local, remote, process, .. } = mapping.clone();
        (transport, local_port, local, remote, process)
    };
    let states = |mappings: &[Mapping]| -> BTreeMap<_, &'static str> {
        mappings.iter().map(|mapping| (key(mapping), mapping.state)).collect()
    };
    let (old, new) = (states(before), states(now));
    let mut text = String::new();
    let shown = |(transport, port, local, remote, process): &(Transport, u16, String, String, String)| {
        format!("{process} {} {local}:{port} {remote}", shouted(*transport))
    };
    for (which, state) in &new {
        let _ = match old.get(which) {
            None => writeln!(text, "new: {} {state}", shown(which)),
            Some(was) if was != state => writeln!(text, "{was} -> {state}: {}", shown(which)),
            Some(_) => Ok(()),
        };
    }
    for (which, state) in old.iter().filter(|(which, _)| !new.contains_key(*which)) {
        let _ = writeln!(text, "gone: {} {state}", shown(which));
    }
    if !text.is_empty() && before.len() != now.len() {
        let _ = writeln!(text, "mappings: {} -> {}", before.len(), now.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(local_port: u16, remote: &str, state: &'static str) -> Mapping {
        Mapping {
            transport: if state.is_empty() { Transport::Udp } else { Transport::Tcp },
            local_port,
            local: "127.0.0.1".to_owned(),
            remote: remote.to_owned(),
            state,
            process: "812:sshd".to_owned(),
        }
    }

    #[test]
    fn mappings_are_counted_by_state_in_percent() {
        let mappings = [
            mapping(22, "*:*", "LISTENING"),
            mapping(22, "10.0.0.9:50000", "ESTABLISHED"),
            mapping(22, "10.0.0.9:50001", "ESTABLISHED"),
            mapping(53, "*:*", ""),
        ];
        let expected = "\
Port Statistics

TCP mappings: 3
UDP mappings: 1

TCP ports in a ESTABLISHED state: 2 = 66.67%
TCP ports in a LISTENING state: 1 = 33.33%
";
        assert_eq!(statistics(&mappings), expected);
        assert_eq!(
            table(&mappings[..2]),
            "\
PID:Process  Port       Local IP   State         Remote IP:Port
812:sshd     TCP 22     127.0.0.1  LISTENING     *:*
812:sshd     TCP 22     127.0.0.1  ESTABLISHED   10.0.0.9:50000
"
        );
        assert!(statistics(&[]).ends_with("UDP mappings: 0\n"));
    }

    #[test]
    fn a_watch_tells_what_came_what_went_and_what_changed_its_state() {
        let before = [mapping(22, "*:*", "LISTENING"), mapping(22, "10.0.0.9:5", "ESTABLISHED")];
        let now = [
            mapping(22, "10.0.0.9:5", "CLOSE WAIT"),
            mapping(22, "10.0.0.9:6", "ESTABLISHED"),
            mapping(22, "10.0.0.9:7", "ESTABLISHED"),
        ];
        let told = changes(&before, &now);
        for line in [
            "new: 812:sshd TCP 127.0.0.1:22 10.0.0.9:6 ESTABLISHED",
            "ESTABLISHED -> CLOSE WAIT: 812:sshd TCP 127.0.0.1:22 10.0.0.9:5",
            "gone: 812:sshd TCP 127.0.0.1:22 *:* LISTENING",
            "mappings: 2 -> 3",
        ] {
            assert!(told.lines().any(|told| told == line), "{line}: {told}");
        }
        assert_eq!(changes(&now, &now), "");
    }
}
