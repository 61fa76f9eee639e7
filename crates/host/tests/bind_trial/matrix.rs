//! Each way to hold a port beside each way to ask for it: the rule says what the kernel says, and the trial too.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use portolan_core::conflict::{Answer, Bind};
use portolan_core::diagnose::{Outcome, Reuse, Trial};
use portolan_core::snapshot::Snapshot;
use portolan_core::socket::{Socket, State, Transport};
use portolan_host::Namespace as Where;
use portolan_host::bind::trial;
use portolan_testbed::Namespace;
use rustix::net::{bind, connect, listen};

use super::{Make, alone, bound, open, question, row};

const WANTED: [&str; 7] = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::", "::1", "fd00::1", "::ffff:127.0.0.1"];
const REUSES: [Reuse; 2] = [Reuse::Plain, Reuse::ReuseAddress];

/// Every address a holder is bound to, without and with SO_REUSEADDR.
fn makes() -> Vec<Make> {
    let mut makes = Vec::new();
    for text in WANTED.into_iter().chain(["v6only"]) {
        let address = text.parse().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        for reuse in [false, true] {
            makes.push(Make { address, v6_only: text == "v6only", reuse });
        }
    }
    makes
}

/// Ports of a namespace of its own, each used once; below the ephemeral range.
struct Ports(u16);

impl Ports {
    fn next(&mut self) -> u16 {
        self.0 += 1;
        assert!(self.0 < 30_000, "the matrix outgrew its ports");
        self.0
    }
}

/// What holds a port: the sockets that keep it alive, and the rows that a socket table would show.
struct Held {
    port: u16,
    how: String,
    rows: Vec<Socket>,
    reuse: bool,
    _alive: Vec<OwnedFd>,
}

/// Where a client reaches a socket bound to `address`: loopback for a wildcard, each family it takes.
fn reachable(make: Make) -> Vec<IpAddr> {
    match make.address {
        IpAddr::V6(any) if any.is_unspecified() && make.v6_only => vec![Ipv6Addr::LOCALHOST.into()],
        IpAddr::V6(any) if any.is_unspecified() => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        IpAddr::V4(any) if any.is_unspecified() => vec![Ipv4Addr::LOCALHOST.into()],
        IpAddr::V6(v6) => vec![v6.to_ipv4_mapped().map_or(v6.into(), IpAddr::V4)],
        address => vec![address],
    }
}

fn idle(transport: Transport, listens: bool, ports: &mut Ports) -> Vec<Held> {
    let state = match (transport, listens) {
        (Transport::Udp, _) => State::Unconnected,
        (Transport::Tcp, true) => State::Listen,
        (Transport::Tcp, false) => State::Bound,
    };
    let hold = |make| {
        let port = ports.next();
        let socket = bound(transport, make, port);
        if listens {
            listen(&socket, 8).unwrap();
        }
        let rows = vec![row(state, transport, make, port)];
        Held { port, how: format!("{state} {make:?}"), rows, reuse: make.reuse, _alive: vec![socket] }
    };
    makes().into_iter().map(hold).collect()
}

/// Connections whose listener is gone: open ones, or in TIME_WAIT on the server's side.
fn left_behind(time_wait: bool, ports: &mut Ports) -> Vec<Held> {
    let mut held = Vec::new();
    for make in makes() {
        for target in reachable(make) {
            let port = ports.next();
            let listener = bound(Transport::Tcp, make, port);
            listen(&listener, 8).unwrap();
            let mut client = TcpStream::connect((target, port)).unwrap();
            let server = TcpListener::from(listener).accept().unwrap().0;
            let (local, peer) = (server.local_addr().unwrap(), server.peer_addr().unwrap());
            let state = if time_wait { State::TimeWait } else { State::Established };
            let mut alive = Vec::new();
            if time_wait {
                drop(server);
                client.read_to_end(&mut Vec::new()).unwrap();
                drop(client);
                wait_for_time_wait(port);
            } else {
                alive.extend([OwnedFd::from(server), OwnedFd::from(client)]);
            }
            let rows = vec![Socket::new(Transport::Tcp, state, local, peer)];
            let how = format!("{state} from {target} of {make:?}");
            held.push(Held { port, how, rows, reuse: make.reuse, _alive: alive });
        }
    }
    held
}

/// Sockets that were bound to a port and then connected out.
fn outgoing(transport: Transport, ports: &mut Ports) -> Vec<Held> {
    let servers = ["127.0.0.9:9", "[::1]:9"].map(|address| TcpListener::bind(address).unwrap());
    let mut held = Vec::new();
    for make in makes() {
        for target in reachable(make) {
            let server = if target.is_ipv4() { &servers[0] } else { &servers[1] };
            let port = ports.next();
            let socket = bound(transport, make, port);
            let target = match server.local_addr().unwrap() {
                SocketAddr::V4(v4) if make.address.is_ipv6() => {
                    SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
                }
                target => target,
            };
            connect(&socket, &target).unwrap();
            let socket = TcpStream::from(socket);
            let (local, peer) = (socket.local_addr().unwrap(), socket.peer_addr().unwrap());
            let rows = vec![Socket::new(transport, State::Established, local, peer)];
            let how = format!("outgoing to {target} of {make:?}");
            held.push(Held { port, how, rows, reuse: make.reuse, _alive: vec![socket.into()] });
        }
    }
    held
}

/// Waits until the kernel shows the port's TIME_WAIT (state 06), which it enters when the last packet has come.
fn wait_for_time_wait(port: u16) {
    let wanted = format!(":{port:04X}");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let tables = ["tcp", "tcp6"].map(|name| {
            std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).expect("the kernel has IPv6")
        });
        let entered = tables.iter().flat_map(|table| table.lines()).any(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            matches!(words[..], [_, local, _, "06", ..] if local.ends_with(&wanted))
        });
        if entered {
            return;
        }
        assert!(Instant::now() < deadline, "port {port} never came to TIME_WAIT");
        std::thread::yield_now();
    }
}

/// Binds as a server would, up to listening; which call fails, if one does.
fn serve(transport: Transport, make: Make, port: u16) -> Result<(), &'static str> {
    let socket = open(transport, make);
    bind(&socket, &SocketAddr::new(make.address, port)).map_err(|_| "bind")?;
    if transport == Transport::Tcp {
        listen(&socket, 8).map_err(|_| "listen")?;
    }
    Ok(())
}

/// Asks for the port in every way, and compares what the table foretells with what the kernel does. Returns how often
/// the table answered "depends" and the kernel yes, and how often no.
fn compare(held: &Held, transport: Transport) -> (u32, u32) {
    let (mut yes, mut no) = (0, 0);
    let asked = WANTED.map(|text| Bind::new(transport, text.parse().unwrap(), held.port));
    let v6_only = Bind { v6_only: true, ..Bind::new(transport, Ipv6Addr::UNSPECIFIED.into(), held.port) };
    for wanted in asked.into_iter().chain([v6_only]) {
        for reuse in REUSES {
            let told = held.rows.iter().map(|row| wanted.beside(row, reuse)).max().unwrap();
            let reused = reuse == Reuse::ReuseAddress;
            let make = Make { address: wanted.address, v6_only: wanted.v6_only, reuse: reused };
            let binds = serve(transport, make, held.port);
            assert_ne!(binds, Err("listen"), "bind alone does not tell: {} / {make:?}", held.how);
            match told {
                Answer::Free => assert_eq!(binds, Ok(()), "{} / {make:?}", held.how),
                Answer::Blocked => assert_eq!(binds, Err("bind"), "{} / {make:?}", held.how),
                Answer::Depends if binds.is_ok() => yes += 1,
                Answer::Depends => no += 1,
            }
            let meets = wanted.beside(&held.rows[0], Reuse::Plain) == Answer::Blocked;
            if told == Answer::Depends && meets {
                assert_eq!(binds.is_ok(), held.reuse, "{} / {make:?}", held.how);
            }
        }
    }
    (yes, no)
}

/// What the trial says of the same question, where it is allowed to ask the kernel.
fn compare_trial(held: &Held, transport: Transport) {
    let seen = Snapshot { sockets: held.rows.clone(), ..Snapshot::default() };
    for text in WANTED {
        let address = text.parse().unwrap();
        let trials = trial(&Where::Own, &question(transport, held.port, Some(address)), &seen).unwrap();
        assert_eq!(trials.len(), 2);
        for Trial { reuse, outcome, inferred, .. } in trials {
            let v6_only = Bind::new(transport, address, 1).v6_only;
            let make = Make { address, v6_only, reuse: reuse == Reuse::ReuseAddress };
            match outcome {
                Outcome::NotTried { .. } => {
                    assert!(inferred && transport == Transport::Udp && reuse == Reuse::ReuseAddress);
                }
                Outcome::Bound => assert_eq!(serve(transport, make, held.port), Ok(()), "{}", held.how),
                Outcome::Refused { call, name, code } => {
                    assert_eq!((call.as_str(), name.as_str(), code), ("bind", "EADDRINUSE", 98));
                    assert_eq!(serve(transport, make, held.port), Err("bind"), "{}", held.how);
                }
            }
        }
    }
}

fn whole_matrix(transport: Transport, hold_all: impl FnOnce(&mut Ports) -> Vec<Held> + Send) -> (u32, u32) {
    let namespace = Namespace::new();
    namespace.add_address("fd00::1/128");
    namespace.run(|| {
        let mut totals = (0, 0);
        for held in hold_all(&mut Ports(20_000)) {
            let (yes, no) = compare(&held, transport);
            totals = (totals.0 + yes, totals.1 + no);
            compare_trial(&held, transport);
        }
        totals
    })
}

#[test]
fn beside_a_listener_the_table_always_knows_what_the_kernel_says() {
    let _alone = alone();
    let totals = whole_matrix(Transport::Tcp, |ports| idle(Transport::Tcp, true, ports));
    assert_eq!(totals, (0, 0), "a listener leaves nothing open");
}

#[test]
fn beside_a_bound_socket_only_its_own_reuseaddr_is_left_open() {
    let _alone = alone();
    let (yes, no) = whole_matrix(Transport::Tcp, |ports| idle(Transport::Tcp, false, ports));
    assert!(yes > 0 && no > 0, "{yes} {no}");
}

#[test]
fn live_connections_of_a_gone_listener_block_a_plain_bind() {
    let _alone = alone();
    let (yes, no) = whole_matrix(Transport::Tcp, |ports| left_behind(false, ports));
    assert!(yes > 0 && no > 0, "{yes} {no}");
}

#[test]
fn time_wait_blocks_a_plain_bind_and_reuseaddr_passes_where_both_set_it() {
    let _alone = alone();
    let (yes, no) = whole_matrix(Transport::Tcp, |ports| left_behind(true, ports));
    assert!(yes > 0 && no > 0, "{yes} {no}");
}

#[test]
fn an_outgoing_connection_blocks_its_local_port() {
    let _alone = alone();
    for transport in Transport::ALL {
        let (yes, no) = whole_matrix(transport, |ports| outgoing(transport, ports));
        assert!(yes > 0 && no > 0, "{transport} {yes} {no}");
    }
}

#[test]
fn beside_a_udp_socket_only_its_own_reuseaddr_is_left_open() {
    let _alone = alone();
    let (yes, no) = whole_matrix(Transport::Udp, |ports| idle(Transport::Udp, false, ports));
    assert!(yes > 0 && no > 0, "{yes} {no}");
}
