//! What became of a port that was freed: let go, still held, or held again by what a supervisor started at once.
//!
//! A socket that was there before is still held; one of another inode was made since. Windows has no inodes: there a
//! socket is the same while its ends, its process and when that began are.

use std::net::SocketAddr;

use super::ProcessEntry;
use crate::owner::Owner;
use crate::port::Port;
use crate::remedy;
use crate::snapshot::{Snapshot, System};
use crate::socket::{Socket, State, Transport};
use crate::wording;

/// What became of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freed {
    /// Nobody holds it.
    Free {
        /// How long TIME_WAIT leftovers still keep it from a plain bind, milliseconds; 0 for none.
        time_wait_ms: u32,
        /// How many open connections still use it as their local port.
        connections: usize,
    },
    /// Somebody holds it, who and since when; and what to do about that.
    Held {
        /// Whether the socket was made since, as a supervisor that restarts a program does.
        again: bool,
        /// The verdict, a sentence.
        verdict: String,
        /// What to do instead.
        advice: String,
    },
}

/// Compares the looks before and after. `processes` is the table after it.
pub fn freed(
    (before, after): (&Snapshot, &Snapshot),
    processes: &[ProcessEntry],
    (transport, port): (Transport, Port),
) -> Freed {
    let of_port = |s: &&Socket| (s.transport, s.local_port) == (transport, port.number());
    let now: Vec<&Socket> = after.sockets.iter().filter(of_port).collect();
    let known: Vec<Identity> = before.sockets.iter().map(|old| identity(old, before)).collect();
    let was_there = |socket: &&&Socket| known.contains(&identity(socket, after));
    let holding = || now.iter().filter(|socket| socket.is_holding());
    // What was made since tells more than what stayed.
    if let Some(socket) = holding().find(|socket| !was_there(socket)).or_else(|| holding().next()) {
        return held(after, processes, socket, !was_there(&socket));
    }
    let waiting = now.iter().filter(|socket| socket.state == State::TimeWait);
    let ended = |socket: &&&Socket| matches!(socket.state, State::TimeWait | State::Closed);
    Freed::Free {
        time_wait_ms: waiting.map(|socket| socket.timer_ms).max().unwrap_or(0),
        connections: now.iter().filter(|socket| !ended(socket)).count(),
    }
}

/// What a socket is known by in two looks.
#[derive(PartialEq, Eq)]
enum Identity {
    Inode(u32),
    /// Transport, local end, and the processes with their start times.
    Held(Transport, SocketAddr, Vec<(u32, Option<u64>)>),
}

fn identity(socket: &Socket, snapshot: &Snapshot) -> Identity {
    if socket.inode != 0 {
        return Identity::Inode(socket.inode);
    }
    let owners = snapshot.owners_of(socket).into_iter().map(|owner| (owner.pid, owner.started_ms));
    Identity::Held(socket.transport, socket.local(), owners.collect())
}

fn held(snapshot: &Snapshot, processes: &[ProcessEntry], socket: &Socket, again: bool) -> Freed {
    let holder = wording::holder(socket, snapshot);
    let owners = snapshot.owners_of(socket);
    let Some(owner) = wording::lead(&owners) else {
        let verdict =
            format!("{} is {} held by {holder}", socket.local(), if again { "again" } else { "still" });
        let advice = match snapshot.host.system {
            System::Linux => "see who it is: type it again as root",
            System::Windows => {
                "the process that made it has ended, and one that it started holds it: end that one \
                 (portolan list shows it among what was not seen)"
            }
        };
        return Freed::Held { again, verdict, advice: advice.into() };
    };
    if !again {
        let verdict = format!("{} is still held by {holder}", socket.local());
        let advice =
            "it got the socket meanwhile, or could not be seen before: type it again, with --tree".into();
        return Freed::Held { again, verdict, advice };
    }
    let parent = processes.iter().find(|process| process.pid == owner.parent);
    let by = parent
        .map_or_else(String::new, |parent| format!(", started by {} (pid {})", parent.name, parent.pid));
    let verdict = format!("{} is held again by {holder}{by}: something restarts it", socket.local());
    let advice = match snapshot.host.system {
        System::Linux => supervisor(owner, parent),
        System::Windows => windows_supervisor(owner, parent),
    };
    Freed::Held { again, verdict, advice }
}

/// How that which restarts a program is stopped. Names that no unit or container has are not put into a command.
fn supervisor(owner: &Owner, parent: Option<&ProcessEntry>) -> String {
    let service = owner.unit.as_deref().filter(|unit| unit.ends_with(".service"));
    if let Some(container) = &owner.container
        && ["docker", "podman"].contains(&container.runtime.as_str())
        && remedy::is_name(&container.id)
    {
        return format!("stop its container: {} stop {}", container.runtime, container.id);
    }
    match (service.map(|unit| unit.split_once('/').map_or((false, unit), |(_, inner)| (true, inner))), parent)
    {
        (Some((true, unit)), _) if remedy::is_name(unit) => {
            format!("stop its unit: systemctl --user stop '{unit}'")
        }
        (Some((false, unit)), _) if remedy::is_name(unit) => {
            format!("stop its unit: systemctl stop '{unit}'")
        }
        (_, Some(parent)) if parent.pid > 1 => {
            format!("stop {} first: kill {}", parent.name, parent.pid)
        }
        _ => "stop what starts it (a service manager, a timer, a watchdog) first".to_owned(),
    }
}

/// The same on Windows, where a unit is the names of services.
fn windows_supervisor(owner: &Owner, parent: Option<&ProcessEntry>) -> String {
    match (owner.unit.as_deref().filter(|service| remedy::is_name(service)), parent) {
        (Some(service), _) => format!("stop its service: net stop {service}"),
        (None, Some(parent)) => format!("stop {} first: taskkill /pid {}", parent.name, parent.pid),
        (None, None) => "stop what starts it (a service, a scheduled task, a watchdog) first".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::Holder;
    use crate::socket::OwnerState;

    fn look(inode: u32, owner: Owner) -> Snapshot {
        let mut socket = Socket::unconnected(Transport::Tcp, State::Listen, "0.0.0.0:8080".parse().unwrap());
        (socket.inode, socket.holder_count, socket.owner_state) = (inode, 1, OwnerState::Seen);
        Snapshot {
            sockets: vec![socket],
            holders: vec![Holder { owner: 0, descriptor: 3 }],
            owners: vec![owner],
            ..Snapshot::default()
        }
    }

    fn web(pid: u32, unit: Option<&str>) -> Owner {
        Owner { pid, parent: 70, name: "web".into(), unit: unit.map(str::to_owned), ..Owner::default() }
    }

    fn told(before: &Snapshot, after: &Snapshot) -> Freed {
        let runit = ProcessEntry { pid: 70, parent: 1, start: 1, name: "runsv".into() };
        freed((before, after), &[runit], (Transport::Tcp, Port::new(8080).unwrap()))
    }

    #[test]
    fn a_new_socket_means_that_something_restarts_its_program() {
        let before = look(1, web(80, None));
        let again = |unit| match told(&before, &look(2, web(81, unit))) {
            Freed::Held { again: true, verdict, advice } => (verdict, advice),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            again(None),
            (
                "0.0.0.0:8080 is held again by web (pid 81), started by runsv (pid 70): something restarts it".into(),
                "stop runsv first: kill 70".into()
            )
        );
        assert_eq!(again(Some("web.service")).1, "stop its unit: systemctl stop 'web.service'");
        assert_eq!(
            again(Some("user@1000.service/web.service")).1,
            "stop its unit: systemctl --user stop 'web.service'"
        );
        assert_eq!(again(Some("$(reboot).service")).1, "stop runsv first: kill 70");
    }

    #[test]
    fn the_same_socket_is_still_held() {
        let Freed::Held { again, verdict, .. } = told(&look(1, web(80, None)), &look(1, web(82, None)))
        else {
            panic!("it is held")
        };
        assert!(!again);
        assert_eq!(verdict, "0.0.0.0:8080 is still held by web (pid 82)");
    }

    #[test]
    fn without_inodes_a_socket_is_the_same_while_its_process_is() {
        let at = |pid, started_ms| {
            let mut look = look(0, Owner { started_ms: Some(started_ms), ..web(pid, None) });
            look.host.system = System::Windows;
            look
        };
        let is_again = |after| matches!(told(&at(80, 5), &after), Freed::Held { again: true, .. });
        assert!(!is_again(at(80, 5)));
        assert!(is_again(at(81, 5)) && is_again(at(80, 9)), "another process, or another of that number");
        let Freed::Held { advice, .. } = told(&at(80, 5), &at(81, 9)) else { panic!("it is held") };
        assert_eq!(advice, "stop runsv first: taskkill /pid 70");
    }

    #[test]
    fn what_is_left_of_a_freed_port_is_counted() {
        let mut after = Snapshot::default();
        let ends = ("10.0.0.5:8080".parse().unwrap(), "10.0.0.9:50000".parse().unwrap());
        for (state, timer_ms) in
            [(State::TimeWait, 4_000), (State::TimeWait, 42_000), (State::Established, 90_000)]
        {
            let mut socket = Socket::new(Transport::Tcp, state, ends.0, ends.1);
            socket.timer_ms = timer_ms;
            after.sockets.push(socket);
        }
        let free = told(&look(1, web(80, None)), &after);
        assert_eq!(free, Freed::Free { time_wait_ms: 42_000, connections: 1 });
        // The same endpoints as somebody else's remote end are nobody's concern here.
        let away = Socket::new(Transport::Tcp, State::Established, ends.1, ends.0);
        let after = Snapshot { sockets: vec![away], ..Snapshot::default() };
        assert_eq!(told(&after, &after), Freed::Free { time_wait_ms: 0, connections: 0 });
    }
}
