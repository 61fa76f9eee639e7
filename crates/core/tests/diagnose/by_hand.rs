//! Hosts built by hand, and questions, trials and findings in few words.

use std::net::SocketAddr;

use portolan_core::census::Census;
use portolan_core::diagnose::{Case, Finding, Outcome, Question, Reuse, Severity, Trial, diagnose};
use portolan_core::owner::{Holder, Origin, Owner};
use portolan_core::port::{Port, PortRange};
use portolan_core::range::{EphemeralRange, Reservation, ReservationKind};
use portolan_core::snapshot::{LocalAddress, Settings, Snapshot, System};
use portolan_core::socket::{Family, OwnerState, Socket, SocketOptions, State, Transport};

pub(crate) const NOW: u64 = 1_800_000_000_000;
pub(crate) const DAY: u64 = 86_400_000;
pub(crate) const V6_ONLY: SocketOptions = SocketOptions(SocketOptions::KNOWN | SocketOptions::V6_ONLY);

/// A host with the usual settings, looked at by root.
pub(crate) fn host() -> Snapshot {
    let mut host = Snapshot { taken_ms: NOW, ..Snapshot::default() };
    host.host.uid = Some(0);
    host.host.privileged = true;
    host.host.may_bind_privileged = true;
    host.settings.unprivileged_port_start = Some(1024);
    host.settings.ipv4_nonlocal_bind = Some(false);
    host.settings.ipv6_nonlocal_bind = Some(false);
    for transport in Transport::ALL {
        for family in Family::ALL {
            let range = PortRange::new(32768, 60999).unwrap();
            host.ranges.push(EphemeralRange { transport, family, range });
        }
    }
    for (address, prefix, interface) in [("127.0.0.1", 8, "lo"), ("10.0.0.5", 24, "eth0"), ("::1", 128, "lo")]
    {
        let address = address.parse().unwrap();
        host.addresses.push(LocalAddress { address, prefix, interface: interface.into() });
    }
    host.origins.push(Origin::default());
    host
}

/// The same, looked at by an ordinary user.
pub(crate) fn host_of_user() -> Snapshot {
    let mut host = host();
    host.host.uid = Some(1000);
    host.host.privileged = false;
    host.host.may_bind_privileged = false;
    host
}

/// A Windows host with its default dynamic range, looked at from an ordinary prompt. Sockets get no uid there.
pub(crate) fn windows_host() -> Snapshot {
    let mut host = host();
    host.host.system = System::Windows;
    host.host.uid = None;
    host.host.user = Some(r"PC\ann".into());
    host.host.privileged = false;
    host.host.may_bind_privileged = true;
    host.settings = Settings::default();
    host.ranges.iter_mut().for_each(|range| range.range = PortRange::new(49152, 65535).unwrap());
    host
}

/// The lines of `show excludedportrange protocol=tcp`, a star after what is administered.
pub(crate) fn excluded(host: &mut Snapshot, table: &str) {
    for line in table.split(',') {
        let (range, kind) = match line.trim().strip_suffix('*') {
            Some(range) => (range, ReservationKind::Administered),
            None => (line.trim(), ReservationKind::System),
        };
        let transport = Some(Transport::Tcp);
        host.reservations.push(Reservation { transport, ..reservation(range, kind) });
    }
}

pub(crate) fn owner(pid: u32, name: &str) -> Owner {
    Owner { pid, parent: 1, name: name.into(), started_ms: Some(NOW - 3 * DAY), ..Owner::default() }
}

pub(crate) fn reservation(range: &str, kind: ReservationKind) -> Reservation {
    Reservation { range: range.parse().unwrap(), transport: None, family: None, kind, by: None }
}

pub(crate) trait Build {
    fn socket(&mut self, transport: Transport, state: State, local: &str, remote: &str) -> &mut Socket;
    fn held(&mut self, state: State, local: &str, owners: &[Owner]) -> &mut Socket;
    fn connected(&mut self, local: &str, remote: &str, owner: Owner);
    fn give(&mut self, owners: &[Owner]) -> &mut Socket;
}

impl Build for Snapshot {
    /// A socket whose owner nobody saw.
    fn socket(&mut self, transport: Transport, state: State, local: &str, remote: &str) -> &mut Socket {
        let mut socket = Socket::new(transport, state, local.parse().unwrap(), remote.parse().unwrap());
        socket.owner_state = if state == State::TimeWait { OwnerState::Nobody } else { OwnerState::Hidden };
        self.sockets.push(socket);
        self.sockets.last_mut().unwrap()
    }

    /// A TCP socket without a peer (UDP where the state says so), held by these processes.
    fn held(&mut self, state: State, local: &str, owners: &[Owner]) -> &mut Socket {
        let transport = if state == State::Unconnected { Transport::Udp } else { Transport::Tcp };
        let none = if local.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        self.socket(transport, state, local, none);
        self.give(owners)
    }

    /// An open TCP connection.
    fn connected(&mut self, local: &str, remote: &str, owner: Owner) {
        self.socket(Transport::Tcp, State::Established, local, remote);
        self.give(&[owner]);
    }

    /// Gives the last socket to these processes.
    fn give(&mut self, owners: &[Owner]) -> &mut Socket {
        let first_holder = self.holders.len() as u32;
        for owner in owners {
            let index = self.owners.iter().position(|known| known == owner).unwrap_or_else(|| {
                self.owners.push(owner.clone());
                self.owners.len() - 1
            });
            self.holders.push(Holder { owner: index as u32, descriptor: 3 });
        }
        let socket = self.sockets.last_mut().unwrap();
        socket.first_holder = first_holder;
        socket.holder_count = owners.len() as u16;
        socket.owner_state = OwnerState::Seen;
        socket
    }
}

/// `8080`, `127.0.0.1:8080`, `[::1]:53/udp`, `any`.
pub(crate) fn question(text: &str) -> Question {
    let (place, transport) =
        text.strip_suffix("/udp").map_or((text, Transport::Tcp), |p| (p, Transport::Udp));
    let (address, port) = match place.parse::<SocketAddr>() {
        Ok(place) => (Some(place.ip()), Port::new(place.port())),
        Err(_) => (None, place.parse::<u16>().ok().and_then(Port::new)),
    };
    Question { transport, port, address, uid: None }
}

/// One trial, in words: `0.0.0.0 binds`, `:: EADDRINUSE`, `0.0.0.0 +reuse binds`, `:: none`.
pub(crate) fn trial(text: &str, port: u16) -> Trial {
    let reuse = if text.contains("+reuse") { Reuse::ReuseAddress } else { Reuse::Plain };
    let words: Vec<&str> = text.split(' ').filter(|word| *word != "+reuse").collect();
    let refused = |call: &str, code| {
        let name = words[1].to_owned();
        Outcome::Refused { call: call.into(), name, code }
    };
    let outcome = match words[1] {
        "binds" => Outcome::Bound,
        "none" => Outcome::NotTried { reason: "this host has no such address family".into() },
        "EADDRINUSE" => refused("bind", 98),
        "EADDRNOTAVAIL" => refused("bind", 99),
        "EACCES" => refused("bind", 13),
        "EPERM" => refused("bind", 1),
        "EINVAL" => refused("bind", 22),
        "WSAEACCES" => refused("bind", 10013),
        "WSAEADDRINUSE" => refused("bind", 10048),
        "WSAEADDRNOTAVAIL" => refused("bind", 10049),
        "EAFNOSUPPORT" => refused("socket", 97),
        other => panic!("no outcome {other}"),
    };
    let address = SocketAddr::new(words[0].parse().unwrap(), port);
    Trial { address, reuse, outcome, inferred: false }
}

pub(crate) fn ask(snapshot: &Snapshot, text: &str, trials: &[&str]) -> Vec<Finding> {
    ask_as(snapshot, &question(text), trials)
}

pub(crate) fn ask_as(snapshot: &Snapshot, question: &Question, trials: &[&str]) -> Vec<Finding> {
    let port = question.port.map_or(0, u16::from);
    let trials: Vec<Trial> = trials.iter().map(|text| trial(text, port)).collect();
    diagnose(&Case::asked(snapshot, question, &trials))
}

pub(crate) fn chart(snapshot: &Snapshot) -> Vec<Finding> {
    diagnose(&Case::host(snapshot, &Census::of(snapshot, 100)))
}

pub(crate) const REFUSED: &[&str] =
    &["0.0.0.0 EADDRINUSE", "0.0.0.0 +reuse EADDRINUSE", ":: EADDRINUSE", ":: +reuse EADDRINUSE"];
pub(crate) const REUSE_ONLY: &[&str] =
    &["0.0.0.0 EADDRINUSE", "0.0.0.0 +reuse binds", ":: EADDRINUSE", ":: +reuse binds"];
pub(crate) const BINDS: &[&str] = &["0.0.0.0 binds", "0.0.0.0 +reuse binds", ":: binds", ":: +reuse binds"];
pub(crate) const DENIED: &[&str] = &["0.0.0.0 EACCES", ":: EACCES"];

pub(crate) fn rules(findings: &[Finding]) -> Vec<(&str, Severity)> {
    findings.iter().map(|finding| (finding.rule, finding.severity)).collect()
}

/// The commands of a finding, besides the offer of another port: see `every_holder_leaves_another_port_to_take`.
pub(crate) fn commands(finding: &Finding) -> Vec<&str> {
    let commands = finding.remedies.iter().filter_map(|remedy| remedy.command.as_deref());
    commands.filter(|command| !command.starts_with("portolan pick ")).collect()
}

/// The port that a finding offers in place of the one that was asked for.
pub(crate) fn another_port(finding: &Finding) -> Option<&str> {
    let mut commands = finding.remedies.iter().filter_map(|remedy| remedy.command.as_deref());
    commands.find(|command| command.starts_with("portolan pick "))
}
