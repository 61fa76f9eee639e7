//! Sentences that rules share: how a process, a socket, a bind trial and a length of time are put into words.
//!
//! Names of processes are foreign text and stay as they are: whoever shows a finding makes control characters
//! harmless. What becomes part of a command is quoted in [`crate::remedy`].

use crate::cause;
use crate::diagnose::{Outcome, Question, Reuse, Trial};
use crate::owner::Owner;
use crate::range::Carrier;
use crate::snapshot::Snapshot;
use crate::socket::{OwnerState, Socket, State};

/// `8080/tcp`, `127.0.0.1:8080/tcp`, or `any port of udp` where none was named.
pub fn target(question: &Question) -> String {
    let transport = question.transport;
    match (question.port, question.address) {
        (Some(port), None) => format!("{port}/{transport}"),
        (Some(port), Some(address)) => {
            format!("{}/{transport}", std::net::SocketAddr::new(address, port.number()))
        }
        (None, None) => format!("any port of {transport}"),
        (None, Some(address)) => format!("any port of {transport} on {address}"),
    }
}

/// A length of time in its largest fitting unit: `45 s`, `12 min`, `5 h`, `3 days`.
pub fn duration(ms: u64) -> String {
    let seconds = ms.div_ceil(1000);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `nginx (pid 812, nginx.service)`; with its container where it runs in one.
pub fn process(owner: &Owner) -> String {
    let mut inside = vec![format!("pid {}", owner.pid)];
    match &owner.container {
        Some(container) => {
            let id: String = container.id.chars().take(12).collect();
            inside.push(format!("{} container {id}", container.runtime));
        }
        None => inside.extend(owner.unit.clone()),
    }
    // Listings that were imported may tell no names.
    let name = if owner.name.is_empty() { "a process" } else { &owner.name };
    format!("{name} ({})", inside.join(", "))
}

/// `pid 812 runs as www-data (33), command: nginx: master process`; as far as known.
pub fn user_and_command(owner: &Owner) -> Option<String> {
    let user = match (&owner.user, owner.uid) {
        (Some(name), Some(uid)) => Some(format!("runs as {name} ({uid})")),
        (Some(name), None) => Some(format!("runs as {name}")),
        (None, Some(uid)) => Some(format!("runs as user id {uid}")),
        (None, None) => None,
    };
    let command = owner.command.as_ref().map(|command| format!("command: {}", shortened(command)));
    let known: Vec<String> = user.into_iter().chain(command).collect();
    (!known.is_empty()).then(|| format!("pid {} {}", owner.pid, known.join(", ")))
}

/// How long a process has been running, as `, running for 3 days`; nothing where its start is not known.
pub fn running(owner: &Owner, snapshot: &Snapshot) -> String {
    let age = owner.started_ms.and_then(|started| snapshot.taken_ms.checked_sub(started));
    age.map_or_else(String::new, |ms| format!(", running for {}", duration(ms)))
}

/// The one of several processes that stands for all: whose parent is not among them, the oldest of those.
/// Pid 1 stands for others only where it is alone: it holds sockets for the services that it starts.
pub fn lead<'a>(owners: &[&'a Owner]) -> Option<&'a Owner> {
    let top = |owner: &&&Owner| owner.pid != 1 && !owners.iter().any(|o| o.pid == owner.parent && o.pid != 1);
    let oldest = |owner: &&&Owner| (owner.started_ms.unwrap_or(u64::MAX), owner.pid);
    owners.iter().filter(top).min_by_key(oldest).or_else(|| owners.iter().min_by_key(oldest)).copied()
}

/// Who holds a socket, for the end of a sentence: the process, or what is known where none was seen.
pub fn holder(socket: &Socket, snapshot: &Snapshot) -> String {
    let owners = snapshot.owners_of(socket);
    if let Some(lead) = lead(&owners) {
        return match owners.len() {
            1 => process(lead),
            n => format!("{} and {}", process(lead), counted(n - 1, "more process")),
        };
    }
    let origin = snapshot.origin_of(socket);
    let user = origin.and_then(|origin| origin.uid).map(|uid| format!("of user id {uid}"));
    let unit = origin.and_then(|origin| origin.unit.clone()).map(|unit| format!("in {unit}"));
    let hints = [user, unit].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let hints = if hints.is_empty() { hints } else { format!(" {hints}") };
    match socket.owner_state {
        OwnerState::Kernel => "the kernel itself".to_owned(),
        OwnerState::Nobody if cause::is_unaccepted(snapshot, socket) => {
            "no process yet: its program has not accepted it".to_owned()
        }
        OwnerState::Nobody => "no process any more".to_owned(),
        OwnerState::NotAsked => format!("a process{hints} that nobody looked for"),
        OwnerState::Seen | OwnerState::Hidden => format!("a process{hints} that could not be seen"),
    }
}

/// One line of evidence: `LISTEN 0.0.0.0:8080, held by nginx (pid 812)`.
pub fn socket(socket: &Socket, snapshot: &Snapshot) -> String {
    let only = snapshot.origin_of(socket).and_then(|origin| origin.interface.as_ref());
    let only = only.map_or_else(String::new, |interface| format!(" on {interface} alone"));
    let peer = match socket.remote_port {
        0 => String::new(),
        _ => format!(" with {}", socket.remote()),
    };
    let holder = match socket.state {
        State::TimeWait if socket.timer_ms > 0 => format!("{} left", duration(socket.timer_ms.into())),
        _ => format!("held by {}", holder(socket, snapshot)),
    };
    format!("{} {} {}{peer}{only}, {holder}", socket.transport, socket.state, socket.local())
}

/// Lines of evidence for sockets, the first ten, and how many more there are.
pub fn sockets(list: &[&Socket], snapshot: &Snapshot) -> Vec<String> {
    const SHOWN: usize = 10;
    let mut lines: Vec<String> = list.iter().take(SHOWN).map(|s| socket(s, snapshot)).collect();
    if list.len() > SHOWN {
        lines.push(format!("and {}", counted(list.len() - SHOWN, "more socket")));
    }
    lines
}

/// What was tried and what came of it, a line each; or that nothing was.
pub fn trials(trials: &[Trial]) -> Vec<String> {
    if trials.is_empty() {
        return vec!["told from the socket table alone: no bind was tried".to_owned()];
    }
    trials.iter().map(trial).collect()
}

fn trial(trial: &Trial) -> String {
    let with = match trial.reuse {
        Reuse::Plain => "",
        Reuse::ReuseAddress => " with SO_REUSEADDR",
    };
    let result = match &trial.outcome {
        Outcome::Bound if trial.inferred => "would bind, by the socket table".to_owned(),
        Outcome::Bound => "binds".to_owned(),
        Outcome::Refused { call, name, code } => format!("{call} gives {name} ({code})"),
        Outcome::NotTried { reason } => format!("not tried: {reason}"),
    };
    format!("{}{with}: {result}", trial.address)
}

/// `a`, `a and b`, `a, b and c`.
pub fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Foreign text for one line: at most 120 characters.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether something carries the traffic of this socket.
pub fn carries(carrier: &Carrier, socket: &Socket) -> bool {
    carrier.transport == socket.transport
        && carrier.ports.contains(socket.local_port)
        && carrier.address.is_none_or(|address| address == socket.local_address())
}

/// `1 connection`, `3 connections`, `2 processes`.
pub fn counted(count: usize, noun: &str) -> String {
    let plural = if noun.ends_with('s') { "es" } else { "s" };
    format!("{count} {noun}{}", if count == 1 { "" } else { plural })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_told_in_its_largest_fitting_unit() {
        for (ms, text) in [
            (0, "0 s"),
            (1, "1 s"),
            (59_000, "59 s"),
            (720_000, "12 min"),
            (18_000_000, "5 h"),
            (260_000_000, "3 days"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn the_parent_stands_for_its_children_and_pid_1_for_nobody_else() {
        let process =
            |pid, parent| Owner { pid, parent, started_ms: Some(u64::from(pid)), ..Owner::default() };
        let (init, master, worker) = (process(1, 0), process(20, 1), process(10, 20));
        assert_eq!(lead(&[&init, &worker, &master]).map(|o| o.pid), Some(20));
        assert_eq!(lead(&[&init]).map(|o| o.pid), Some(1));
        assert_eq!(lead(&[]), None);
    }
}
