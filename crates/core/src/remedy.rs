//! Ways out as commands to type, all in one place. Foreign text (units, containers) goes into a command only quoted,
//! and only where it is a name of its kind: a control character inside quotes could still reach a terminal.

mod place;
mod room;
mod windows;

use std::net::{IpAddr, SocketAddr};

pub use place::in_place;
pub use room::{make_room, raise_descriptors, restart, widen};
pub use windows::{
    back_to_default, cycle_hyperv, hns_off, keep_over_winnat, remove_exclusion, reserve_ports,
};

use crate::cause;
use crate::diagnose::{Question, Remedy, Trial};
use crate::owner::{Container, Owner};
use crate::port::PortSet;
use crate::range::CarrierKind;
use crate::snapshot::Snapshot;
use crate::socket::{Socket, Transport};
use crate::wording;

/// A word for a POSIX shell: as it is where nothing in it is special, else in single quotes.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Whether it could be the name of a unit or a container: no pattern, no option, nothing that acts on a terminal.
pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":_.\\@-".contains(c);
    !name.is_empty() && name.len() <= 255 && !name.starts_with('-') && name.chars().all(allowed)
}

/// A name of a unit or a container, quoted; none where it holds what no such name does.
fn name_quoted(name: &str) -> Option<String> {
    is_name(name).then(|| quoted(name))
}

/// The command as its user must type it: after sudo, unless the one who looked was root. Windows has no such word: there
/// the prompt itself must be an administrator's.
fn as_root(snapshot: &Snapshot, command: impl AsRef<str>) -> String {
    let sudo = if snapshot.host.privileged || cause::is_windows(snapshot) { "" } else { "sudo " };
    format!("{sudo}{}", command.as_ref())
}

/// `portolan why …` for the same question on that address.
pub fn why(transport: Transport, port: u16, address: Option<IpAddr>) -> String {
    let place = address.map_or_else(|| port.to_string(), |ip| SocketAddr::new(ip, port).to_string());
    let transport = if transport == Transport::Udp { "/udp" } else { "" };
    // An IPv6 address is a pattern to a shell. Double quotes are quotes to cmd and PowerShell too, and nothing in an
    // endpoint is special inside them.
    let quote = if place.contains('[') { "\"" } else { "" };
    format!("portolan why {quote}{place}{transport}{quote}")
}

/// Asks the same question again.
pub fn ask_again(question: &Question) -> String {
    why(question.transport, question.port.map_or(0, u16::from), question.address)
}

/// The option that passes over ended and orphaned connections, and whether it does here, by the kernel's word.
pub fn reuse_address(snapshot: &Snapshot, trials: &[Trial]) -> Remedy {
    if cause::is_windows(snapshot) {
        return windows::no_reuse_address();
    }
    Remedy::advice(match cause::reuse_passes(trials) {
        Some(true) => "set SO_REUSEADDR before bind: that binds now",
        Some(false) => {
            "set SO_REUSEADDR before bind in the server: it helps from its next start on, and not yet now, since \
             the listener that is gone had not set it"
        }
        None => "set SO_REUSEADDR before bind: that binds if the listener that is gone had set it too",
    })
}

/// Waits until the port binds plainly on every address, in so many seconds where that is known. It needs a port: `bind(0)`
/// has nothing to wait for.
pub fn wait(question: &Question, seconds: Option<u64>) -> Option<Remedy> {
    let transport = if question.transport == Transport::Udp { "/udp" } else { "" };
    let command = format!("portolan wait {}{transport} --for free", question.port?);
    let known = seconds.map_or_else(String::new, |seconds| format!(", in {seconds} s"));
    Some(Remedy::command(format!("wait until it binds{known}"), command))
}

/// A port beside the one that was asked for.
pub fn another_port(question: &Question) -> Option<Remedy> {
    let transport = if question.transport == Transport::Udp { " --transport udp" } else { "" };
    let command = format!("portolan pick --near {}{transport}", question.port?);
    Some(Remedy::command("take another port", command))
}

/// Ways to stop those who hold these sockets, or to see them first where they could not be seen.
pub fn release(snapshot: &Snapshot, question: &Question, sockets: &[&Socket]) -> Vec<Remedy> {
    let mut remedies: Vec<Remedy> = close(snapshot, sockets).into_iter().collect();
    for socket in sockets {
        let owners = snapshot.owners_of(socket);
        let ways = match wording::lead(&owners) {
            _ if behind_proxy(snapshot, socket) => vec![stop_published(snapshot, socket.local_port)],
            Some(owner) if cause::is_windows(snapshot) => windows::stop(snapshot, socket, owner),
            Some(owner) => stop(snapshot, socket, owner),
            None => vec![see(snapshot, question)],
        };
        for way in ways {
            if !remedies.contains(&way) {
                remedies.push(way);
            }
        }
    }
    remedies
}

/// Closes those of the sockets that are TCP connections, while their programs live on.
fn close(snapshot: &Snapshot, sockets: &[&Socket]) -> Option<Remedy> {
    let mut connections = sockets.iter().filter(|s| s.transport == Transport::Tcp && !s.is_holding());
    let first = connections.next()?;
    let (what, filter) = match connections.count() {
        0 => (
            "the connection and let its program live",
            format!("--local {}", quoted(&first.local().to_string())),
        ),
        _ => ("the connections and let their programs live", format!("--port {}", first.local_port)),
    };
    let command = as_root(snapshot, format!("portolan close {filter}"));
    Some(Remedy::command(format!("close {what}"), command))
}

/// Drops what waits in TIME_WAIT on a TCP port.
pub fn drop_time_wait(snapshot: &Snapshot, port: u16) -> Remedy {
    let command = as_root(snapshot, format!("portolan close --port {port} --state time-wait"));
    Remedy::command("drop them now; a late packet may then reach a new connection of the same ends", command)
}

/// Whether a container runtime's proxy carries this port.
fn behind_proxy(snapshot: &Snapshot, socket: &Socket) -> bool {
    snapshot.carriers.iter().any(|carrier| {
        carrier.kind == CarrierKind::ContainerProxy
            && carrier.transport == socket.transport
            && carrier.ports.contains(socket.local_port)
    })
}

/// Stops the container that a port is published for: its proxy would be started again.
pub fn stop_published(snapshot: &Snapshot, port: u16) -> Remedy {
    if cause::is_windows(snapshot) {
        return windows::see_published(port);
    }
    Remedy::command(
        "stop the container that the port is published for",
        format!("docker stop $(docker ps --quiet --filter publish={port})"),
    )
}

fn stop(snapshot: &Snapshot, socket: &Socket, owner: &Owner) -> Vec<Remedy> {
    if let Some(remedy) = owner.container.as_ref().and_then(|inside| stop_container(snapshot, inside)) {
        return vec![remedy];
    }
    if owner.pid <= 1 {
        let name = wording::process(owner);
        return vec![Remedy::advice(format!("{name} is the first process: stop what it serves"))];
    }
    let own = owner.uid.is_some() && owner.uid == snapshot.host.uid;
    let typed = |command: String| if own { command } else { as_root(snapshot, command) };
    let kill = typed(format!("kill {}", owner.pid));
    let Some(stop) = stop_service(snapshot, socket, owner) else {
        if !socket.is_holding() {
            return vec![Remedy::command(format!("end {}", wording::process(owner)), kill)];
        }
        let transport = if socket.transport == Transport::Udp { "/udp" } else { "" };
        let free = typed(format!("portolan free {}{transport}", socket.local_port));
        return vec![Remedy::command("end what holds it; shows first whom that hits, and asks", free)];
    };
    vec![
        Remedy::command(format!("stop the service of {}", wording::process(owner)), stop),
        Remedy::command("end the process alone; systemd may start it again", kill),
    ]
}

/// The command that stops a process' systemd service; none for a session or a scope, which hold more than it.
fn stop_service(snapshot: &Snapshot, socket: &Socket, owner: &Owner) -> Option<String> {
    let unit = owner.unit.as_deref()?;
    if !unit.ends_with(".service") || unit.starts_with("user@") {
        return None;
    }
    let unit = name_quoted(unit)?;
    let cgroup = snapshot.origin_of(socket).and_then(|origin| origin.cgroup.as_deref());
    let of_a_user = cgroup.is_some_and(|path| path.contains("/user@"));
    Some(if of_a_user {
        format!("systemctl --user stop {unit}")
    } else {
        as_root(snapshot, format!("systemctl stop {unit}"))
    })
}

fn stop_container(snapshot: &Snapshot, container: &Container) -> Option<Remedy> {
    let short: String = container.id.chars().take(if container.id.len() == 64 { 12 } else { 255 }).collect();
    let id = name_quoted(&short)?;
    let command = match container.runtime.as_str() {
        "docker" => format!("docker stop {id}"),
        "podman" => format!("podman stop {id}"),
        "containerd" | "cri-o" => as_root(snapshot, format!("crictl stop {id}")),
        "lxc" => as_root(snapshot, format!("lxc-stop --name {id}")),
        "nspawn" => as_root(snapshot, format!("machinectl poweroff {id}")),
        _ => return None,
    };
    Some(Remedy::command(format!("stop the container {short}"), command))
}

/// Stops a unit, such as a socket unit.
pub fn stop_unit(snapshot: &Snapshot, unit: &str) -> Remedy {
    let text = format!("stop {unit}");
    match name_quoted(unit) {
        Some(unit) => Remedy::command(text, as_root(snapshot, format!("systemctl stop {unit}"))),
        None => Remedy::advice(text),
    }
}

/// Looks again with the rights to see every holder.
pub fn see(snapshot: &Snapshot, question: &Question) -> Remedy {
    if cause::is_windows(snapshot) {
        return Remedy::command("see who holds it, from an administrator's prompt", ask_again(question));
    }
    if snapshot.host.privileged {
        return Remedy::advice(
            "look from the host's own pid namespace: the holder may run in another one, such as a container",
        );
    }
    Remedy::command("see who holds it", format!("sudo {}", ask_again(question)))
}

/// Keeps ports out of automatic choice.
pub fn reserve(snapshot: &Snapshot, ports: &PortSet) -> Remedy {
    if cause::is_windows(snapshot) {
        return reserve_ports(ports);
    }
    let list: Vec<String> = ports.ranges().iter().map(ToString::to_string).collect();
    let command = format!("portolan reserve add {}", list.join(" "));
    Remedy::command("keep it out of automatic choice", as_root(snapshot, command))
}

/// Sets the ephemeral range until the next restart.
pub fn set_range(snapshot: &Snapshot, text: impl Into<String>, range: &str) -> Remedy {
    Remedy::command(text, as_root(snapshot, format!("portolan range set {range} --runtime")))
}

/// Changes a kernel setting until the next restart.
pub fn set(snapshot: &Snapshot, text: impl Into<String>, setting: &str, value: &str) -> Remedy {
    Remedy::command(text, as_root(snapshot, format!("sysctl -w {}", quoted(&format!("{setting}={value}")))))
}

/// What the kernel and the security modules wrote about a refusal.
pub fn read_refusals(snapshot: &Snapshot) -> Remedy {
    Remedy::command(
        "see what the kernel and its security modules wrote",
        as_root(snapshot, "journalctl --dmesg --since -10min --grep 'denied|avc|apparmor|selinux'"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_never_enters_a_command_unquoted() {
        assert_eq!(name_quoted("nginx.service").as_deref(), Some("nginx.service"));
        assert_eq!(name_quoted(r"a\x2db.service").as_deref(), Some(r"'a\x2db.service'"));
        for hostile in ["x; rm -rf /", "$(id)", "-rf", "", "a\nb", "a\u{1b}[201~b", "a'b"] {
            assert_eq!(name_quoted(hostile), None, "{hostile:?}");
        }
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("-x"), "'-x'");
    }

    #[test]
    fn an_ipv6_address_is_quoted_since_brackets_are_a_pattern() {
        let address = Some("::1".parse().unwrap());
        assert_eq!(why(Transport::Udp, 53, address), "portolan why \"[::1]:53/udp\"");
        assert_eq!(why(Transport::Tcp, 80, None), "portolan why 80");
    }
}
