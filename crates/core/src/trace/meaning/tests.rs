//! Each meaning by hand-made looks: what the call itself proves, and what is only so now.

use super::*;
use crate::kernel::route::RouteKind;
use crate::owner::{Holder, Owner};
use crate::port::PortRange;
use crate::range::EphemeralRange;
use crate::snapshot::LocalAddress;
use crate::socket::{Family, OwnerState, Socket, State};
use crate::trace::OwnRange;

fn end(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// connect() over TCP that failed at once.
fn connect(local: Option<&str>, remote: &str, code: i32) -> Call {
    Call {
        at_ns: 0,
        took_ns: Some(20_000),
        pid: 7,
        program: "client".into(),
        uid: Some(0),
        kind: Kind::Connect,
        transport: Some(Transport::Tcp),
        local: local.map(end),
        remote: Some(end(remote)),
        outcome: Outcome::Failed(code),
        network_namespace: None,
        own_range: OwnRange::No,
    }
}

fn over_udp(call: Call) -> Call {
    Call { transport: Some(Transport::Udp), ..call }
}

fn given_up(took_ms: u64, remote: &str) -> Call {
    let took_ns = Some(took_ms * 1_000_000);
    Call { outcome: Outcome::GivenUp, took_ns, ..connect(Some("127.0.0.1:40000"), remote, 0) }
}

fn told(call: &Call, seen: &Seen) -> String {
    let Meaning { text, command, .. } = meaning(call, System::Linux, seen).unwrap();
    format!("{text} [{}]", command.unwrap_or_default())
}

fn way(kind: RouteKind) -> Seen {
    Seen { snapshot: None, route: Some(Route::none(kind)) }
}

/// A machine that gives out the ports 40000-40003, with these sockets.
fn machine(sockets: Vec<Socket>) -> Seen {
    let range = PortRange::new(40_000, 40_003).unwrap();
    let of = |transport, family| EphemeralRange { transport, family, range };
    let ranges = Transport::ALL.into_iter().flat_map(|t| Family::ALL.map(|family| of(t, family))).collect();
    let loopback = LocalAddress { address: end("127.0.0.1:0").ip(), prefix: 8, interface: "lo".into() };
    let burnt = Some(Vec::new());
    let snapshot = Snapshot { sockets, ranges, burnt, addresses: vec![loopback], ..Snapshot::default() };
    Seen { snapshot: Some(snapshot), route: Some(Route::none(RouteKind::Local)) }
}

/// TCP connections to 10.0.0.9:443, or UDP sockets, of the first ports.
fn in_use(transport: Transport, count: u16) -> Vec<Socket> {
    let socket = |at| {
        let local = SocketAddr::new(end("10.0.0.5:0").ip(), 40_000 + at);
        match transport {
            Transport::Tcp => Socket::new(transport, State::Established, local, end("10.0.0.9:443")),
            Transport::Udp => Socket::unconnected(transport, State::Unconnected, local),
        }
    };
    (0..count).map(socket).collect()
}

#[test]
fn a_connection_that_found_no_port_is_told_with_what_is_in_use_or_free_again_by_now() {
    let call = connect(Some("10.0.0.5:0"), "10.0.0.9:443", 99);
    let nobody_looked = told(&call, &Seen::default());
    let full = told(&call, &machine(in_use(Transport::Tcp, 4)));
    let since = told(&call, &machine(in_use(Transport::Tcp, 1)));
    let bound = told(&connect(Some("10.0.0.5:40001"), "10.0.0.9:443", 99), &Seen::default());
    insta::assert_snapshot!([nobody_looked, full, since, bound].join("\n"), @r"
    no port of the ephemeral range was left from 10.0.0.5 to 10.0.0.9:443 [portolan budget --to 10.0.0.9:443]
    no port is left from 10.0.0.5 to 10.0.0.9:443: 4 ports of 40000-40003, 0 reserved, 0 bound explicitly, 4 in use to it [portolan budget --to 10.0.0.9:443]
    no port was left from 10.0.0.5 to 10.0.0.9:443; since then 3 of 40000-40003 are free again [portolan budget --to 10.0.0.9:443]
    10.0.0.5:40001 is connected to 10.0.0.9:443 already, and a connection needs two ends of its own [portolan budget --to 10.0.0.9:443]
    ");
}

#[test]
fn udp_and_binds_to_any_port_are_told_the_same_way_and_never_contradict_themselves() {
    let call = over_udp(connect(None, "10.0.0.9:53", 11));
    let bind = Call {
        kind: Kind::Bind,
        local: Some(end("10.0.0.5:0")),
        remote: None,
        outcome: Outcome::Failed(98),
        ..call.clone()
    };
    let mut lines = Vec::new();
    for call in [&call, &bind] {
        lines.push(told(call, &Seen::default()));
        lines.push(told(call, &machine(in_use(Transport::Udp, 4))));
        lines.push(told(call, &machine(in_use(Transport::Udp, 1))));
    }
    lines.push(told(&Call { transport: Some(Transport::Tcp), ..bind }, &machine(in_use(Transport::Tcp, 4))));
    insta::assert_snapshot!(lines.join("\n"), @r"
    no port of the ephemeral range was left for UDP [portolan budget --udp]
    no port is left for UDP: 4 ports of 40000-40003, 0 reserved, 0 bound explicitly, 4 in use [portolan budget --udp]
    no port was left for UDP; since then 3 of 40000-40003 are free again [portolan budget --udp]
    no port of the ephemeral range was left to give to udp on 10.0.0.5 [portolan budget --bind --udp]
    no port is left to give to udp on 10.0.0.5: 4 ports of 40000-40003, 0 reserved, 0 bound explicitly, 4 in use [portolan budget --bind --udp]
    no port was left to give to udp on 10.0.0.5; since then 3 of 40000-40003 are free again [portolan budget --bind --udp]
    no port is left to give to tcp on 10.0.0.5: 4 ports of 40000-40003, 0 reserved, 0 bound explicitly, 4 in use [portolan budget --bind]
    ");
}

#[test]
fn a_range_of_the_socket_s_own_is_told_beside_the_system_s() {
    let own_range = OwnRange::Of { first: 40_000, last: 40_001 };
    let tcp = Call { own_range, ..connect(Some("10.0.0.5:0"), "10.0.0.9:443", 99) };
    let udp = Call { own_range, ..over_udp(connect(None, "10.0.0.9:53", 11)) };
    let unseen = Call { own_range: OwnRange::Unseen, ..tcp.clone() };
    let lines = [
        told(&tcp, &machine(in_use(Transport::Tcp, 2))),
        told(&tcp, &machine(Vec::new())),
        told(&tcp, &Seen::default()),
        told(&udp, &machine(in_use(Transport::Udp, 2))),
        told(&unseen, &machine(in_use(Transport::Tcp, 2))),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    no port of 40000-40001, the socket's own range (IP_LOCAL_PORT_RANGE), is left from 10.0.0.5 to 10.0.0.9:443; the system's 40000-40003 has 2 left [portolan budget --to 10.0.0.9:443]
    no port of 40000-40001, the socket's own range (IP_LOCAL_PORT_RANGE), was left from 10.0.0.5 to 10.0.0.9:443; since then 2 of these are free again [portolan budget --to 10.0.0.9:443]
    no port of 40000-40001, the socket's own range (IP_LOCAL_PORT_RANGE), was left from 10.0.0.5 to 10.0.0.9:443 [portolan budget --to 10.0.0.9:443]
    no port of 40000-40001, the socket's own range (IP_LOCAL_PORT_RANGE), is left for UDP; the system's 40000-40003 has 2 left [portolan budget --udp]
    no port was left from 10.0.0.5 to 10.0.0.9:443, of the system's range or of one of the socket's own (IP_LOCAL_PORT_RANGE); now 2 of 40000-40003 are free [portolan budget --to 10.0.0.9:443]
    ");
}

#[test]
fn an_address_to_connect_from_that_is_missing_is_no_lack_of_ports() {
    let seen = machine(Vec::new());
    let mut with_ipv6 = seen.clone();
    let own = LocalAddress { address: end("[fe80::1]:0").ip(), prefix: 64, interface: "eth0".into() };
    with_ipv6.snapshot.as_mut().unwrap().addresses.push(own);
    let unread = Call { remote: None, transport: None, ..connect(None, "[::1]:80", 99) };
    let lines = [
        told(&connect(None, "[::1]:80", 99), &seen),
        told(&connect(Some("[::]:7000"), "[::1]:80", 99), &seen),
        told(&over_udp(connect(Some("[::]:40001"), "[::1]:80", 99)), &Seen::default()),
        told(&connect(None, "[2001:db8::1]:80", 99), &with_ipv6),
        told(&unread, &seen),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    this machine has no IPv6 address to connect to ::1 from; IPv6 may be switched off (net.ipv6.conf.*.disable_ipv6) [ip -6 address]
    this machine has no IPv6 address to connect to ::1 from; IPv6 may be switched off (net.ipv6.conf.*.disable_ipv6) [ip -6 address]
    no IPv6 address of this machine could be used towards ::1; it is no lack of ports [ip -6 address]
    no IPv6 address of this machine could be used towards 2001:db8::1: those that it has are on other interfaces, are still being tried out (tentative), or came since; it is no lack of ports [ip -6 address]
    no address of this machine could be used to connect from; it is no lack of ports []
    ");
}

#[test]
fn what_this_machine_s_own_routes_refuse_is_not_put_down_to_the_network() {
    let to = |code| connect(None, "198.51.100.7:80", code);
    let later = Call { outcome: Outcome::FailedLater(113), took_ns: Some(3_100_000_000), ..to(113) };
    let lines = [
        told(&to(113), &way(RouteKind::Unreachable)),
        told(&to(22), &way(RouteKind::Blackhole)),
        told(&to(13), &way(RouteKind::Prohibit)),
        told(&to(13), &way(RouteKind::Broadcast)),
        told(&to(101), &way(RouteKind::Broadcast)),
        told(&to(101), &way(RouteKind::None)),
        told(&connect(Some("127.0.0.1:0"), "198.51.100.7:80", 22), &way(RouteKind::Unicast)),
        told(&connect(None, "224.0.0.5:80", 101), &way(RouteKind::Multicast)),
        told(&connect(None, "[fe80::1]:80", 22), &Seen::default()),
        // From elsewhere, or where nobody looked.
        told(&later, &way(RouteKind::Unreachable)),
        told(&to(113), &way(RouteKind::Unicast)),
        told(&to(101), &way(RouteKind::Unicast)),
        told(&to(13), &way(RouteKind::Unicast)),
        told(&to(22), &way(RouteKind::Unicast)),
        told(&to(22), &Seen::default()),
        told(&Call { remote: None, ..to(22) }, &Seen::default()),
        told(&Call { remote: None, transport: None, ..to(9) }, &Seen::default()),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    nothing was sent to 198.51.100.7: an unreachable route of this machine refuses it [ip route get 198.51.100.7]
    nothing was sent to 198.51.100.7: a blackhole route of this machine swallows it [ip route get 198.51.100.7]
    nothing was sent to 198.51.100.7: a prohibit route of this machine forbids it [ip route get 198.51.100.7]
    198.51.100.7 is a broadcast address, which needs SO_BROADCAST [ip route get 198.51.100.7]
    198.51.100.7 is a broadcast address, and TCP connects to single hosts alone [ip route get 198.51.100.7]
    no route leads to 198.51.100.7 [portolan probe 198.51.100.7]
    the socket is bound to 127.0.0.1, and from there only this machine itself is reached, not 198.51.100.7 [ip route get 198.51.100.7]
    224.0.0.5 is a group, and TCP connects to single hosts alone [ip route get 224.0.0.5]
    fe80::1 is a link-local address, and the program did not say on which interface [ip route get fe80::1]
    198.51.100.7 was not reached after 3.1 s: the host does not answer on its network, or a router or firewall rejects [portolan probe 198.51.100.7 -p 80]
    198.51.100.7 was not reached: the host does not answer on its network, or a router or firewall rejects [portolan probe 198.51.100.7 -p 80]
    a router or a firewall said that no route leads to 198.51.100.7 [portolan probe 198.51.100.7 -p 80]
    a firewall or a security module prohibits 198.51.100.7 [portolan probe 198.51.100.7 -p 80]
    the socket's own address does not lead to 198.51.100.7, or the socket cannot be connected so [portolan probe 198.51.100.7 -p 80]
    a route of this machine drops what goes to 198.51.100.7 (blackhole), or the address is invalid [portolan probe 198.51.100.7 -p 80]
    the program gave an address that is too short []
    the descriptor is not open: the program gave a wrong or a closed one []
    ");
}

#[test]
fn whoever_did_not_wait_is_told_so_and_a_listener_that_is_behind_is_named() {
    let mut listener = Socket::unconnected(Transport::Tcp, State::Listen, end("0.0.0.0:80"));
    listener.owner_state = OwnerState::Seen;
    listener.holder_count = 1;
    (listener.receive_queue, listener.send_queue) = (2, 1);
    let owner = Owner { pid: 812, name: "server".into(), ..Owner::default() };
    let with = |listener: Socket| {
        let mut seen = machine(vec![listener]);
        let snapshot = seen.snapshot.as_mut().unwrap();
        snapshot.owners.push(owner.clone());
        snapshot.holders.push(Holder { owner: 0, descriptor: 3 });
        seen
    };
    let behind = with(listener);
    listener.receive_queue = 0;
    let caught_up = with(listener);
    let timed_out = Call { outcome: Outcome::FailedLater(110), ..given_up(7_000, "127.0.0.1:80") };
    let lines = [
        told(&given_up(20, "192.0.2.1:80"), &way(RouteKind::Unicast)),
        told(&given_up(5_000, "192.0.2.1:80"), &way(RouteKind::Unicast)),
        told(&Call { remote: Some(end("192.0.2.1:80")), ..timed_out.clone() }, &way(RouteKind::Unicast)),
        told(&given_up(20, "127.0.0.1:80"), &behind),
        told(&given_up(20, "127.0.0.1:80"), &caught_up),
        told(&given_up(5_000, "127.0.0.1:80"), &caught_up),
        told(&timed_out, &behind),
        told(&timed_out, &machine(Vec::new())),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    the program closed the socket after 20 ms, before an answer came: it did not wait for one [portolan probe 192.0.2.1 -p 80]
    nobody answered, and the program gave up after 5.0 s: packets are dropped on the way, or the host is down [portolan probe 192.0.2.1 -p 80]
    192.0.2.1 did not answer after 7.0 s: packets are dropped on the way, or the host is down [portolan probe 192.0.2.1 -p 80]
    server (pid 812) does not accept fast enough on 127.0.0.1:80 of this machine: 2 wait in its accept queue, with a backlog of 1; the program gave up after 20 ms [portolan who 80]
    the program closed the socket after 20 ms, before an answer came: it did not wait for one [portolan probe 127.0.0.1 -p 80]
    server (pid 812) listens on 127.0.0.1:80 of this machine and did not answer: its accept queue was full then (0 wait now, with a backlog of 1), or a firewall of this machine drops; the program gave up after 5.0 s [portolan who 80]
    server (pid 812) does not accept fast enough on 127.0.0.1:80 of this machine: 2 wait in its accept queue, with a backlog of 1; it timed out after 7.0 s [portolan who 80]
    127.0.0.1:80 is this machine's, and nobody listens there now; a firewall of this machine drops what asks, or else it would have been refused; it timed out after 7.0 s [portolan who 80]
    ");
}

#[test]
fn a_range_of_its_own_holds_only_inside_of_the_system_s() {
    let system = PortRange::new(40_000, 40_099).unwrap();
    let within = |first, last| OwnRange::of(first, last).within(system).map(|range| range.to_string());
    assert_eq!(within(0, 0), None);
    assert_eq!(within(40_010, 40_019).as_deref(), Some("40010-40019"));
    assert_eq!(within(0, 40_019).as_deref(), Some("40000-40019"));
    assert_eq!(within(40_010, 50_000).as_deref(), Some("40010-40099"));
    assert_eq!(OwnRange::Unseen.within(system), None);
}
