//! Plans to close connections, on sockets made by hand.

use super::*;
use crate::owner::{Holder, Owner};

fn socket(state: State, local: &str, remote: &str, inode: u32) -> Socket {
    let mut socket = Socket::new(Transport::Tcp, state, local.parse().unwrap(), remote.parse().unwrap());
    socket.inode = inode;
    socket
}

/// A host whose sockets all belong to one program; none for those without an inode.
fn host(name: &str, sockets: &[Socket]) -> Snapshot {
    let owned = |socket: &Socket| {
        let mut socket = *socket;
        let has_owner = socket.inode != 0;
        socket.holder_count = u16::from(has_owner);
        socket.owner_state = if has_owner { OwnerState::Seen } else { OwnerState::Nobody };
        socket
    };
    Snapshot {
        sockets: sockets.iter().map(owned).collect(),
        holders: vec![Holder { owner: 0, descriptor: 5 }],
        owners: vec![Owner { pid: 80, name: name.into(), ..Owner::default() }],
        ..Snapshot::default()
    }
}

fn named(sockets: &[Socket]) -> Vec<(Socket, Connection)> {
    let connection = |(cookie, socket): (u64, &Socket)| {
        let (local, remote) = (socket.local(), socket.remote());
        (*socket, Connection { local, remote, interface: 0, cookie })
    };
    (1..).zip(sockets).map(connection).collect()
}

fn plan(snapshot: &Snapshot, named: &[(Socket, Connection)]) -> Result<Plan, String> {
    let chosen: Vec<&Socket> = snapshot.sockets.iter().collect();
    plan_close(snapshot, &chosen, named, ("close --port 80", Place::default()))
}

fn steps(plan: &Plan) -> Vec<(String, Vec<String>)> {
    plan.steps.iter().map(|step| (step.action.to_string(), step.effects.clone())).collect()
}

#[test]
fn connections_are_closed_by_program_and_time_waits_apart() {
    let sockets = [
        socket(State::Established, "10.0.0.5:80", "10.0.0.9:50000", 7),
        socket(State::CloseWait, "10.0.0.5:80", "10.0.0.9:50001", 8),
        socket(State::TimeWait, "10.0.0.5:80", "10.0.0.9:50002", 0),
    ];
    let plan = plan(&host("web", &sockets), &named(&sockets)).unwrap();
    assert_eq!(
        steps(&plan),
        [
            (
                "close the connection 10.0.0.5:80 → 10.0.0.9:50002".to_owned(),
                vec!["of nobody any more (TIME_WAIT): their ports are free at once".to_owned()]
            ),
            (
                "close 2 connections".to_owned(),
                vec![
                    "of web (pid 80), which lives on and gets ECONNABORTED".to_owned(),
                    "10.0.0.5:80 → 10.0.0.9:50000".to_owned(),
                    "10.0.0.5:80 → 10.0.0.9:50001".to_owned()
                ]
            )
        ]
    );
    assert!(plan.steps.iter().all(|step| step.inverse.is_none()));
    assert_eq!(plan.warnings, [] as [&str; 0]);
}

#[test]
fn a_connection_that_has_ended_or_was_made_since_is_left_alone() {
    let seen = [socket(State::Established, "10.0.0.5:80", "10.0.0.9:50000", 7)];
    // The same endpoints, another socket.
    let now = [socket(State::Established, "10.0.0.5:80", "10.0.0.9:50000", 9)];
    assert_eq!(plan(&host("web", &seen), &named(&now)).unwrap().steps, []);
    assert_eq!(plan(&host("web", &seen), &[]).unwrap().steps, []);
}

#[test]
fn one_that_stands_twice_in_a_look_is_closed_once() {
    let one = socket(State::Established, "10.0.0.5:80", "10.0.0.9:50000", 7);
    let plan = plan(&host("web", &[one, one]), &named(&[one])).unwrap();
    assert_eq!(steps(&plan)[0].0, "close the connection 10.0.0.5:80 → 10.0.0.9:50000");
}

#[test]
fn a_listener_is_refused_alone_and_stays_beside_connections() {
    let open = socket(State::Established, "10.0.0.5:80", "10.0.0.9:50000", 7);
    for state in [State::Listen, State::Bound] {
        let holding = socket(state, "0.0.0.0:80", "0.0.0.0:0", 6);
        let refused = plan(&host("web", &[holding]), &[]).unwrap_err();
        assert!(refused.contains("`portolan free 80` stops who holds it"), "{refused}");
        let plan = plan(&host("web", &[holding, open]), &named(&[open])).unwrap();
        assert_eq!(plan.steps.len(), 1);
        assert!(plan.warnings[0].contains("0.0.0.0:80 matches too and stays"), "{:?}", plan.warnings);
    }
}

#[test]
fn udp_is_passed_over_and_a_session_is_warned_of() {
    let mut udp = socket(State::Established, "10.0.0.5:80", "10.0.0.9:53", 7);
    udp.transport = Transport::Udp;
    assert_eq!(plan(&host("dns", &[udp]), &named(&[udp])).unwrap().steps, []);
    let open = socket(State::Established, "10.0.0.5:22", "10.0.0.9:50000", 7);
    let warnings = plan(&host("sshd", &[open]), &named(&[open])).unwrap().warnings;
    assert!(warnings[0].starts_with("some belong to sshd (pid 80)"), "{warnings:?}");
}

#[test]
fn many_are_counted_and_the_first_are_named() {
    let sockets: Vec<Socket> = (0..40)
        .map(|n| socket(State::Established, "10.0.0.5:80", &format!("10.0.0.9:{}", 50_000 + n), 7 + n))
        .collect();
    let plan = plan(&host("web", &sockets), &named(&sockets)).unwrap();
    let (action, effects) = &steps(&plan)[0];
    assert_eq!((action.as_str(), effects.len()), ("close 40 connections", 12));
    assert_eq!(effects.last().map(String::as_str), Some("and 30 more"));
}

#[test]
fn windows_closes_ipv4_connections_and_says_what_to_do_about_others() {
    let four = socket(State::Established, "10.0.0.5:80", "10.0.0.9:50000", 7);
    let six = socket(State::Established, "[2001:db8::5]:80", "[2001:db8::9]:50000", 8);
    let on_windows = |sockets: &[Socket]| {
        let mut snapshot = host("web.exe", sockets);
        snapshot.host.system = System::Windows;
        plan(&snapshot, &named(sockets))
    };
    let refused = on_windows(&[six]).unwrap_err();
    assert!(
        refused.starts_with("unsupported: Windows closes IPv4 connections only; `portolan free 80`"),
        "{refused}"
    );
    let plan = on_windows(&[four, six]).unwrap();
    assert_eq!(plan.steps.len(), 1);
    assert!(
        plan.warnings[0].starts_with("1 IPv6 connection not closed: Windows closes"),
        "{:?}",
        plan.warnings
    );
}
