//! Ways out on Windows, as lines that cmd and PowerShell both understand.
//!
//! There is no sudo: what changes the system has to be typed into an administrator's prompt, and `portolan` says so
//! when it is not one. Names of services are foreign text and go into a command only where they are plain.

use super::Remedy;
use crate::change::list;
use crate::diagnose::Question;
use crate::owner::Owner;
use crate::port::{PortRange, PortSet};
use crate::range::{Carrier, CarrierKind};
use crate::snapshot::Snapshot;
use crate::socket::Socket;
use crate::wording;

/// The longest list of ports that is put into one command: cmd takes 8,191 characters.
const LONGEST_LIST: usize = 3_500;

/// Programs that hold ports for a guest, by the beginning of their image names, with what shows the guest.
const GUESTS: [(&str, &str, &str); 4] = [
    (
        "wslrelay",
        "it passes the port on to a program in WSL: see which distributions run",
        "wsl --list --running",
    ),
    (
        "wslhost",
        "it passes the port on to a program in WSL: see which distributions run",
        "wsl --list --running",
    ),
    ("com.docker", "it passes the port on to a container: see which, and stop that", "docker ps"),
    ("vmmem", "a virtual machine has the port: see what runs in WSL", "wsl --list --running"),
];

/// Keeps a port that WinNAT took: WinNAT stops, the port is excluded, WinNAT starts and goes elsewhere.
pub fn keep_over_winnat(question: &Question) -> Option<Remedy> {
    let port = question.port?;
    Some(Remedy::command(
        format!("keep {port} for good; cuts NAT and WSL networks for about 2 s"),
        format!("portolan reserve add {port} --restart-winnat"),
    ))
}

/// The same where WinNAT comes back at once: without Hyper-V nothing takes the port.
pub fn cycle_hyperv(question: &Question) -> Option<Remedy> {
    let port = question.port?;
    Some(Remedy::command(
        "if that fails: Hyper-V off, the port excluded, Hyper-V on; two restarts of Windows",
        format!("portolan reserve add {port} --cycle-hyperv"),
    ))
}

/// Sets the dynamic range back to Windows' default.
pub fn back_to_default() -> Remedy {
    Remedy::command(
        "mend the root: dynamic range back to 49152-65535; then restart Windows",
        "portolan range reset",
    )
}

/// Takes an administered exclusion away.
pub fn remove_exclusion(range: PortRange) -> Remedy {
    Remedy::command("if it is not wanted any more, take it away", format!("portolan reserve remove {range}"))
}

/// Excludes ports from automatic choice.
pub fn reserve_ports(ports: &PortSet) -> Remedy {
    let text = "keep it out of automatic choice";
    let ranges = ports.ranges();
    if list(&ranges).len() > LONGEST_LIST {
        return Remedy::advice(format!("{text}: the list of ports is too long for one command"));
    }
    let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    Remedy::command(text, format!("portolan reserve add {}", ranges.join(" ")))
}

/// Turns HNS' own range off, from the next start of HNS on.
pub fn hns_off() -> Remedy {
    Remedy::command(
        "let HNS set no range aside; from the next restart of Windows on",
        "reg add HKLM\\SYSTEM\\CurrentControlSet\\Services\\hns\\State /v EnableExcludedPortRange /t REG_DWORD /d 0 /f",
    )
}

/// On Windows SO_REUSEADDR is no way past ended connections.
pub(super) fn no_reuse_address() -> Remedy {
    Remedy::advice(
        "leave SO_REUSEADDR alone: on Windows it lets two programs have one port at the same time, and which of them \
         gets a connection is undefined",
    )
}

/// The container that a port is published for.
pub(super) fn see_published(port: u16) -> Remedy {
    Remedy::command(
        "see the container that the port is published for, and stop it: docker stop and its name",
        format!("docker ps --filter publish={port}"),
    )
}

/// Ways to stop the holder of a socket: the rule that carries the port, the guest behind it, the service, the process.
pub(super) fn stop(snapshot: &Snapshot, socket: &Socket, owner: &Owner) -> Vec<Remedy> {
    let carrier =
        snapshot.carriers.iter().find(|c| c.kind == CarrierKind::PortProxy && wording::carries(c, socket));
    if let Some(remedy) = carrier.and_then(delete_proxy) {
        return vec![remedy];
    }
    let name = owner.name.to_ascii_lowercase();
    if let Some((_, text, command)) = GUESTS.into_iter().find(|(guest, _, _)| name.starts_with(guest)) {
        return vec![Remedy::command(text, command)];
    }
    let who = wording::process(owner);
    let kill = Remedy::command(
        format!("end {who}; a program without a window ends only with /F added"),
        format!("taskkill /PID {}", owner.pid),
    );
    let services: Vec<&str> = owner.unit.iter().flat_map(|unit| unit.split(',')).map(str::trim).collect();
    match services[..] {
        [] => vec![kill],
        [service] => match service_name(service) {
            Some(service) => {
                vec![Remedy::command(format!("stop the service of {who}"), format!("net stop {service}"))]
            }
            None => vec![Remedy::advice(format!("stop the service of {who}"))],
        },
        // Ending the process would take the others along, and Windows starts some of them again at once.
        _ => vec![Remedy::advice(format!(
            "{who} hosts several services: stop the one that has the port, by net stop and its name"
        ))],
    }
}

/// Takes a port-proxy rule away; none for a rule whose table is not known.
fn delete_proxy(carrier: &Carrier) -> Option<Remedy> {
    const TABLES: [&str; 4] = ["v4tov4", "v4tov6", "v6tov4", "v6tov6"];
    let table = TABLES.into_iter().find(|table| *table == carrier.name)?;
    let address = carrier.address.map_or_else(|| "*".to_owned(), |address| address.to_string());
    let port = carrier.ports.first();
    Some(Remedy::command(
        "take the port-proxy rule away",
        format!("netsh interface portproxy delete {table} listenport={port} listenaddress={address}"),
    ))
}

/// The name of a service, in double quotes where it has spaces; none where it holds what cmd or PowerShell act on.
fn service_name(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-".contains(c);
    let fits = !name.is_empty() && name.len() <= 256 && !name.starts_with('-') && name.chars().all(allowed);
    fits.then(|| if name.contains(' ') { format!("\"{name}\"") } else { name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{State, Transport};

    fn stopped(owner: &Owner) -> Vec<Remedy> {
        let socket = Socket::unconnected(Transport::Tcp, State::Listen, "0.0.0.0:80".parse().unwrap());
        stop(&Snapshot::default(), &socket, owner)
    }

    #[test]
    fn a_service_is_stopped_as_a_service_and_a_shared_host_process_never_ended() {
        let owner = |name: &str, unit: &str| Owner {
            pid: 12,
            name: name.into(),
            unit: (!unit.is_empty()).then(|| unit.to_owned()),
            ..Owner::default()
        };
        let commands = |name: &str, unit: &str| {
            stopped(&owner(name, unit)).into_iter().map(|r| r.command.unwrap_or_default()).collect::<Vec<_>>()
        };
        assert_eq!(commands("node.exe", ""), ["taskkill /PID 12"]);
        assert_eq!(commands("spoolsv.exe", "Spooler"), ["net stop Spooler"]);
        assert_eq!(commands("a.exe", "My Service"), ["net stop \"My Service\""]);
        assert_eq!(commands("a.exe", "x\" & del *"), [""]);
        assert_eq!(commands("svchost.exe", "iphlpsvc,Winmgmt"), [""]);
        assert_eq!(commands("com.docker.backend.exe", ""), ["docker ps"]);
        assert_eq!(commands("WSLRelay.exe", ""), ["wsl --list --running"]);
    }
}
