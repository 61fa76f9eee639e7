//! The rules on tables made by hand; a real kernel answers in the program's test `budget_exact`.

use super::*;
use crate::owner::Origin;
use crate::range::{EphemeralRange, Reservation, ReservationKind};
use crate::snapshot::Host;
use crate::socket::SocketOptions;

fn machine(first: u16, last: u16) -> Snapshot {
    let range = PortRange::new(first, last).unwrap();
    let ranges = Transport::ALL
        .into_iter()
        .flat_map(|transport| Family::ALL.map(|family| EphemeralRange { transport, family, range }));
    Snapshot { ranges: ranges.collect(), origins: vec![Origin::default()], ..Snapshot::default() }
}

fn with(mut snapshot: Snapshot, state: State, local: &str, remote: &str) -> Snapshot {
    let transport = if state == State::Unconnected { Transport::Udp } else { Transport::Tcp };
    let local: SocketAddr = local.parse().unwrap();
    snapshot.sockets.push(match remote {
        "" => Socket::unconnected(transport, state, local),
        remote => Socket::new(transport, state, local, remote.parse().unwrap()),
    });
    snapshot
}

fn reserved(mut snapshot: Snapshot, ports: &str) -> Snapshot {
    snapshot.reservations.push(Reservation {
        range: ports.parse().unwrap(),
        transport: None,
        family: None,
        kind: ReservationKind::Administered,
        by: None,
    });
    snapshot
}

fn connect(snapshot: &Snapshot, source: &str, destination: &str) -> Left {
    let (source, destination) = (source.parse().unwrap(), destination.parse().ok());
    of(snapshot, &Ask { transport: Transport::Tcp, call: Call::Connect, source, destination }).unwrap()
}

fn bind(snapshot: &Snapshot, transport: Transport, source: &str) -> Left {
    let source = source.parse().unwrap();
    of(snapshot, &Ask { transport, call: Call::Bind, source, destination: None }).unwrap()
}

const EXACT: [Unknown; 0] = [];

fn room(min: u32, max: u32) -> Room {
    Room { min, max }
}

#[test]
fn a_port_in_use_to_one_destination_still_serves_another_where_the_buckets_were_read() {
    let mut seen = with(machine(40000, 40099), State::Established, "10.0.0.1:40000", "10.0.0.9:80");
    seen.burnt = Some(Vec::new());
    let used = connect(&seen, "10.0.0.1", "10.0.0.9:80");
    assert_eq!((used.room, used.used, used.burnt, &used.unknown[..]), (room(99, 99), 1, 0, &EXACT[..]));
    for (source, destination) in
        [("10.0.0.1", "10.0.0.9:81"), ("10.0.0.1", "10.0.0.8:80"), ("10.0.0.2", "10.0.0.9:80")]
    {
        assert_eq!(connect(&seen, source, destination).room, room(100, 100), "{source} {destination}");
    }
}

#[test]
fn without_the_buckets_a_port_in_use_is_burnt_perhaps() {
    let seen = with(machine(40000, 40099), State::Established, "10.0.0.1:40000", "10.0.0.9:80");
    assert_eq!(connect(&seen, "10.0.0.1", "10.0.0.9:80").room, room(99, 99));
    let other = connect(&seen, "10.0.0.1", "10.0.0.8:80");
    assert_eq!((other.room, &other.unknown[..]), (room(99, 100), &[Unknown::ExplicitBind][..]));
}

#[test]
fn what_is_bound_explicitly_is_gone_for_every_destination_and_both_families() {
    let mut seen = with(machine(40000, 40099), State::Listen, "[::1]:40000", "");
    seen = with(seen, State::Bound, "127.0.0.9:40001", "");
    seen = with(seen, State::Established, "10.0.0.1:40002", "10.0.0.9:80");
    seen.burnt = Some(vec!["40002".parse().unwrap()]);
    for source in ["10.0.0.1", "::1"] {
        let left = connect(&seen, source, "192.0.2.1:80");
        assert_eq!((left.burnt, left.used, left.room), (3, 0, room(97, 97)));
    }
}

#[test]
fn reserved_ports_count_once_whatever_else_they_are() {
    let mut seen = reserved(machine(40000, 40099), "39990-40009");
    seen = with(seen, State::Listen, "0.0.0.0:40000", "");
    seen = with(seen, State::Established, "10.0.0.1:40001", "10.0.0.9:80");
    seen.burnt = Some(vec!["40001".parse().unwrap()]);
    let left = connect(&seen, "10.0.0.1", "10.0.0.9:80");
    assert_eq!((left.reserved, left.burnt, left.used, left.room), (10, 0, 0, room(90, 90)));
    assert_eq!(bind(&seen, Transport::Tcp, "0.0.0.0").room, room(90, 90));
}

#[test]
fn an_odd_range_loses_an_end_only_where_an_end_is_free() {
    let mut seen = machine(40000, 40004);
    seen.burnt = Some(Vec::new());
    let left = connect(&seen, "10.0.0.1", "");
    assert_eq!((left.room, &left.unknown[..]), (room(4, 5), &[Unknown::OddRange][..]));
    assert_eq!(bind(&seen, Transport::Tcp, "127.0.0.1").room, room(4, 5));
    assert_eq!(bind(&seen, Transport::Udp, "127.0.0.1").room, room(5, 5));
    let ends = reserved(reserved(seen, "40000"), "40004");
    assert_eq!(connect(&ends, "10.0.0.1", "").room, room(3, 3));
    let mut one = machine(40000, 40000);
    one.burnt = Some(Vec::new());
    assert_eq!(connect(&one, "10.0.0.1", "").room, room(1, 1));
}

#[test]
fn a_time_wait_is_room_only_as_tcp_tw_reuse_allows() {
    let cases = [
        // reuse, delay, loopback, age, stamped, room of two ports
        (0, Some(1000), true, 30_000, Some(true), room(1, 1)),
        (1, Some(1000), false, 30_000, Some(true), room(2, 2)),
        (2, Some(1000), true, 30_000, Some(true), room(2, 2)),
        (2, Some(1000), false, 30_000, Some(true), room(1, 1)),
        (1, Some(1000), false, 30_000, Some(false), room(1, 1)),
        (1, Some(1000), false, 30_000, None, room(1, 2)),
        (1, Some(1000), false, 500, Some(true), room(1, 1)),
        (1, Some(1000), false, 1000, Some(true), room(1, 2)),
        (1, Some(60_000), false, 30_000, Some(true), room(1, 1)),
        (1, None, false, 30_000, Some(true), room(2, 2)),
        (1, None, false, 1500, Some(true), room(1, 2)),
    ];
    for (reuse, delay, loopback, age, stamped, expected) in cases {
        let source = if loopback { "127.0.0.1" } else { "10.0.0.1" };
        let mut seen =
            with(machine(40000, 40001), State::TimeWait, &format!("{source}:40000"), "10.0.0.9:80");
        seen.burnt = Some(Vec::new());
        seen.settings.tcp_tw_reuse = Some(reuse);
        seen.settings.tcp_tw_reuse_delay_ms = delay;
        let socket = &mut seen.sockets[0];
        socket.timer_ms = 60_000 - age;
        socket.options.0 = match stamped {
            None => 0,
            Some(stamped) => {
                SocketOptions::TIMESTAMPS_READ | if stamped { SocketOptions::TIMESTAMPS } else { 0 }
            }
        };
        let left = connect(&seen, source, "10.0.0.9:80");
        assert_eq!(left.room, expected, "tcp_tw_reuse {reuse}, {delay:?}, {loopback}, {age}, {stamped:?}");
        assert_eq!(left.unknown.is_empty(), left.room.is_exact());
    }
}

#[test]
fn an_explicitly_bound_time_wait_is_no_room_even_where_it_could_be_reused() {
    let mut seen = with(machine(40000, 40001), State::TimeWait, "127.0.0.1:40000", "127.0.0.1:80");
    seen.settings.tcp_tw_reuse = Some(1);
    seen.sockets[0].options.0 = SocketOptions::TIMESTAMPS_READ | SocketOptions::TIMESTAMPS;
    seen.burnt = Some(vec!["40000".parse().unwrap()]);
    assert_eq!(connect(&seen, "127.0.0.1", "127.0.0.1:80").room, room(1, 1));
    seen.burnt = None;
    assert_eq!(connect(&seen, "127.0.0.1", "127.0.0.1:80").room, room(1, 2));
}

#[test]
fn a_mapped_address_is_the_same_destination() {
    let mut seen =
        with(machine(40000, 40099), State::Established, "[::ffff:10.0.0.1]:40000", "[::ffff:10.0.0.9]:80");
    seen.burnt = Some(Vec::new());
    assert_eq!(connect(&seen, "10.0.0.1", "10.0.0.9:80").used, 1);
    assert_eq!(connect(&seen, "::ffff:10.0.0.1", "[::ffff:10.0.0.9]:80").used, 1);
}

#[test]
fn bind_counts_what_overlaps_and_udp_connect_the_whole_family() {
    let seen = with(machine(40000, 40099), State::Unconnected, "10.0.0.1:40000", "");
    let seen = with(seen, State::Unconnected, "[::1]:40001", "");
    assert_eq!(bind(&seen, Transport::Udp, "10.0.0.1").room, room(99, 99));
    assert_eq!(bind(&seen, Transport::Udp, "10.0.0.2").room, room(100, 100));
    assert_eq!(bind(&seen, Transport::Udp, "::").room, room(98, 98));
    let connect = |source: &str| {
        let source = source.parse().unwrap();
        of(&seen, &Ask { transport: Transport::Udp, call: Call::Connect, source, destination: None }).unwrap()
    };
    assert_eq!((connect("10.0.0.2").room, connect("::1").room), (room(99, 99), room(98, 98)));
}

#[test]
fn a_connection_on_an_interface_is_a_tuple_of_its_own() {
    let mut seen = with(machine(40000, 40099), State::Established, "[fe80::1]:40000", "[fe80::9]:80");
    seen = with(seen, State::Established, "[fe80::1]:40001", "[fe80::9]:80");
    seen.origins.push(Origin { interface: Some("eth0".into()), ..Origin::default() });
    seen.sockets[0].origin = 1;
    seen.burnt = Some(Vec::new());
    assert_eq!(connect(&seen, "fe80::1", "[fe80::9]:80").used, 1);
    let mut each: Vec<(u32, u32)> = connections(&seen, Family::Ipv6)
        .unwrap()
        .worst(10)
        .into_iter()
        .map(|(tuple, left)| (tuple.interface, left.used))
        .collect();
    each.sort_unstable();
    assert_eq!(each, [(0, 1), (2, 2)]);
}

#[test]
fn on_windows_a_port_serves_nobody_else_and_families_share_it() {
    let mut seen = with(machine(50000, 50099), State::TimeWait, "10.0.0.1:50000", "10.0.0.9:80");
    seen = with(seen, State::Listen, "[::]:50001", "");
    seen = reserved(seen, "50010-50019");
    seen.host = Host { system: System::Windows, ..Host::default() };
    let left = connect(&seen, "10.0.0.1", "192.0.2.1:80");
    assert_eq!((left.burnt, left.used, left.reserved, left.room), (1, 1, 10, room(88, 88)));
    assert_eq!(bind(&seen, Transport::Tcp, "127.0.0.1").room, room(88, 88));
}

#[test]
fn without_a_range_there_is_no_answer() {
    let ask = Ask {
        transport: Transport::Tcp,
        call: Call::Connect,
        source: "10.0.0.1".parse().unwrap(),
        destination: None,
    };
    assert_eq!(of(&Snapshot::default(), &ask), None);
}

#[test]
fn in_windows_auto_reuse_range_a_port_serves_one_connection_to_each_destination() {
    let mut seen = with(machine(50000, 50099), State::TimeWait, "10.0.0.1:30000", "10.0.0.9:80");
    seen = with(seen, State::Established, "10.0.0.1:30001", "10.0.0.9:80");
    seen = with(seen, State::Established, "10.0.0.1:30001", "10.0.0.8:80");
    seen = with(seen, State::Bound, "0.0.0.0:30002", "");
    seen = reserved(seen, "30010-30019");
    seen.host = Host { system: System::Windows, ..Host::default() };
    assert_eq!(connect(&seen, "10.0.0.1", "10.0.0.9:80").range.first(), 50000, "off: the dynamic range");
    seen.settings.auto_reuse_range = PortRange::new(30000, 30098).ok();
    let left = connect(&seen, "10.0.0.1", "10.0.0.9:80");
    assert_eq!((left.ports, left.burnt, left.used, left.reserved), (99, 1, 2, 10));
    // TIME_WAIT keeps its destination there, whatever Linux' settings are; an odd range is no less.
    assert_eq!((left.room, &left.unknown[..]), (room(86, 86), &EXACT[..]));
    let other = connect(&seen, "10.0.0.1", "10.0.0.8:80");
    assert_eq!((other.room, &other.unknown[..]), (room(86, 87), &[Unknown::ExplicitBind][..]));
    // What asks for a port with bind, and UDP, get theirs from the dynamic range.
    assert_eq!(bind(&seen, Transport::Tcp, "10.0.0.1").range.first(), 50000);
    assert_eq!(bind(&seen, Transport::Udp, "10.0.0.1").room, room(100, 100));
}
