//! A machine made by hand, for the tests of commands and formats: a web server with workers, a database on the
//! loopback, a process with a hostile name, a socket nobody may see into, connections, leftovers, and a gap.

use std::net::SocketAddr;
use std::sync::Arc;

use portolan_core::kernel::services::Services;
use portolan_core::owner::{Container, Holder, Origin, Owner};
use portolan_core::port::PortRange;
use portolan_core::range::{
    Carrier, CarrierKind, EphemeralRange, FirewallRule, Reservation, ReservationKind,
};
use portolan_core::snapshot::{Gap, GapReason, Host, Settings, Snapshot};
use portolan_core::socket::{Family, OwnerState, Socket, State, Transport};

use crate::output::{FORMATS, Surface};
use crate::report::Report;

/// 2026-03-01 10:00:00 UTC.
const TAKEN_MS: u64 = 1_772_359_200_000;

const WIDE: Surface = Surface { width: Some(100), colour: false, unicode: true };

fn range(first: u16, last: u16) -> PortRange {
    PortRange::new(first, last).unwrap()
}

fn owner(pid: u32, name: &str, command: &str, user: (u32, &str), unit: Option<&str>) -> Owner {
    Owner {
        pid,
        parent: 1,
        started_ms: Some(TAKEN_MS - 3_600_000 * u64::from(pid)),
        name: name.into(),
        command: Some(command.into()),
        executable: None,
        uid: Some(user.0),
        user: Some(user.1.into()),
        unit: unit.map(str::to_owned),
        container: None,
        handles: None,
        socket_handles: None,
        handle_limit: None,
    }
}

/// Adds a socket with its holders, by their index among the owners.
fn add(snapshot: &mut Snapshot, mut socket: Socket, origin: u32, holders: &[u32], state: OwnerState) {
    socket.origin = origin;
    socket.first_holder = snapshot.holders.len() as u32;
    socket.holder_count = holders.len() as u16;
    socket.inode = if state == OwnerState::Nobody { 0 } else { 1000 + snapshot.sockets.len() as u32 };
    socket.owner_state = state;
    snapshot.holders.extend(holders.iter().map(|owner| Holder { owner: *owner, descriptor: 6 }));
    snapshot.sockets.push(socket);
}

fn listener(transport: Transport, address: &str) -> Socket {
    let state = if transport == Transport::Tcp { State::Listen } else { State::Unconnected };
    Socket::unconnected(transport, state, address.parse().unwrap())
}

fn connection(state: State, local: &str, remote: &str) -> Socket {
    let [local, remote]: [SocketAddr; 2] = [local, remote].map(|text| text.parse().unwrap());
    Socket::new(Transport::Tcp, state, local, remote)
}

fn add_sockets(snapshot: &mut Snapshot) {
    use OwnerState::{Hidden, Nobody, Seen};
    use Transport::{Tcp, Udp};
    add(snapshot, connection(State::Established, "10.0.0.5:80", "10.0.9.1:51000"), 1, &[1], Seen);
    add(snapshot, connection(State::Established, "10.0.0.5:80", "10.0.9.2:51001"), 1, &[1], Seen);
    add(snapshot, connection(State::Established, "10.0.0.5:40000", "10.0.7.9:8443"), 1, &[1], Seen);
    let mut left = connection(State::TimeWait, "10.0.0.5:40001", "10.0.7.9:8443");
    left.timer_ms = 42_000;
    add(snapshot, left, 0, &[], Nobody);
    add(snapshot, listener(Tcp, "0.0.0.0:80"), 1, &[0, 1, 2], Seen);
    add(snapshot, listener(Tcp, "[::]:80"), 1, &[0, 1, 2], Seen);
    add(snapshot, listener(Tcp, "127.0.0.1:5432"), 2, &[3], Seen);
    add(snapshot, listener(Tcp, "10.0.0.5:8080"), 3, &[4], Seen);
    add(snapshot, listener(Udp, "0.0.0.0:53"), 4, &[], Hidden);
    add(snapshot, listener(Tcp, "[::1]:9000"), 3, &[5], Seen);
    let bound = Socket::unconnected(Tcp, State::Bound, "127.0.0.1:45000".parse().unwrap());
    add(snapshot, bound, 2, &[3], Seen);
}

fn owners() -> Vec<Owner> {
    let id = "3f2a9c01b7de".to_owned() + &"0".repeat(52);
    let docker = Container { runtime: "docker".into(), id };
    let nginx = Some("nginx.service");
    vec![
        owner(70, "nginx", "nginx: master process /usr/sbin/nginx", (0, "root"), nginx),
        owner(71, "nginx", "nginx: worker process", (33, "www-data"), nginx),
        owner(72, "nginx", "nginx: worker process", (33, "www-data"), nginx),
        owner(
            60,
            "postgres",
            "/usr/lib/postgresql/16/bin/postgres",
            (105, "postgres"),
            Some("postgresql.service"),
        ),
        owner(90, "ev\x1b]0;il\x07,\u{202e}x", "=evil \"quoted\"\n", (1000, "mallory"), None),
        Owner { container: Some(docker), ..owner(80, "node", "node server.js", (1000, "node"), None) },
    ]
}

/// The machine.
pub(crate) fn machine() -> Arc<Snapshot> {
    let both = [Family::Ipv4, Family::Ipv6];
    let ranges = Transport::ALL.iter().flat_map(|transport| {
        both.map(|family| EphemeralRange { transport: *transport, family, range: range(32768, 60999) })
    });
    let origin = |uid, unit: Option<&str>| Origin { uid, unit: unit.map(str::to_owned), ..Origin::default() };
    let mut snapshot = Snapshot {
        taken_ms: TAKEN_MS,
        host: Host { name: "web1".into(), release: "6.18.0".into(), ..Host::default() },
        owners: owners(),
        origins: vec![
            Origin::default(),
            origin(Some(33), Some("nginx.service")),
            origin(Some(105), None),
            origin(Some(1000), None),
            origin(Some(101), Some("systemd-resolved.service")),
        ],
        ranges: ranges.collect(),
        reservations: vec![Reservation {
            range: range(50000, 50099),
            transport: None,
            family: None,
            kind: ReservationKind::Administered,
            by: None,
        }],
        settings: Settings { unprivileged_port_start: Some(1024), ..Settings::default() },
        carriers: vec![Carrier {
            kind: CarrierKind::DnatRule,
            transport: Transport::Tcp,
            address: None,
            ports: range(8443, 8443),
            name: "ip nat DOCKER: tcp dport 8443 dnat to 172.17.0.2:443".into(),
            to: Some("172.17.0.2:443".into()),
        }],
        firewall: Some(vec![FirewallRule {
            transport: None,
            family: None,
            ports: None,
            verdict: "accept".into(),
            unconditional: true,
            text: "inet filter input policy accept".into(),
        }]),
        gaps: vec![
            Gap::new("owners", GapReason::Denied, "1 socket's holder is not visible")
                .with_remedy("run as root"),
        ],
        ..Snapshot::default()
    };
    add_sockets(&mut snapshot);
    Arc::new(snapshot)
}

/// Names of some services.
pub(crate) fn services() -> Arc<Services> {
    Arc::new(Services::parse("http 80/tcp\ndomain 53/udp\npostgresql 5432/tcp\nhttp-alt 8080/tcp\n"))
}

/// A report in a format on a surface: what goes to stdout, then what goes to stderr.
pub(crate) fn written_on(report: &Report, format: &str, surface: Surface) -> (String, String) {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let format = FORMATS.iter().find(|known| known.name == format).unwrap();
    (format.write)(report, &surface, &mut out, &mut notes).unwrap();
    (String::from_utf8(out).unwrap(), String::from_utf8(notes).unwrap())
}

/// A report in a format on a plain terminal of 100 columns.
pub(crate) fn written(report: &Report, format: &str) -> String {
    written_on(report, format, WIDE).0
}

/// A report's JSON, proven to be of the schema that `portolan schema` gives for the command.
pub(crate) fn valid_json(report: &Report, command: &str) -> serde_json::Value {
    let value: serde_json::Value = serde_json::from_str(&written(report, "json")).unwrap();
    let (_, schema) = crate::command::SCHEMAS.iter().find(|(name, _)| *name == command).unwrap();
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("schema.json", schema().to_value()).unwrap();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    if let Err(error) = schemas.validate(&value, index) {
        panic!("{command}: {error:#}\n{value:#}");
    }
    value
}
