//! The bind trial and core's conflict rule against the real kernel, in network namespaces made by the tests: each way
//! to hold a port beside each way to ask for it; and that a trial disturbs nobody.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portolan_core::conflict::{Answer, Bind};
use portolan_core::diagnose::{Outcome, Question, Reuse, Trial};
use portolan_core::port::Port;
use portolan_core::snapshot::{LocalAddress, Snapshot};
use portolan_core::socket::{Socket, SocketOptions, State, Transport};
use portolan_host::Namespace as Where;
use portolan_host::bind::trial;
use portolan_testbed::Namespace;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with, sockopt};

const WANTED: [&str; 7] = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::", "::1", "fd00::1", "::ffff:127.0.0.1"];
const REUSES: [Reuse; 2] = [Reuse::Plain, Reuse::ReuseAddress];

/// Keeps the tests of this file from running at once: starting `ip` for one namespace forks this process, and the
/// child holds a copy of every socket of every test for the moment until it becomes `ip`.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a socket is made.
#[derive(Clone, Copy, Debug)]
struct Make {
    address: IpAddr,
    v6_only: bool,
    reuse: bool,
}

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

fn open(transport: Transport, make: Make) -> OwnedFd {
    let family = if make.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if transport == Transport::Tcp { SocketType::STREAM } else { SocketType::DGRAM };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    if make.address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, make.v6_only).unwrap();
    }
    sockopt::set_socket_reuseaddr(&socket, make.reuse).unwrap();
    socket
}

fn bound(transport: Transport, make: Make, port: u16) -> OwnedFd {
    let socket = open(transport, make);
    bind(&socket, &SocketAddr::new(make.address, port)).unwrap();
    socket
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

fn row(state: State, transport: Transport, make: Make, port: u16) -> Socket {
    let mut row = Socket::unconnected(transport, state, SocketAddr::new(make.address, port));
    let specific =
        matches!(make.address, IpAddr::V6(a) if !a.is_unspecified() && a.to_ipv4_mapped().is_none());
    let v6_only = if make.v6_only || specific { SocketOptions::V6_ONLY } else { 0 };
    row.options = SocketOptions(SocketOptions::KNOWN | v6_only);
    row
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

fn question(transport: Transport, port: u16, address: Option<IpAddr>) -> Question {
    Question { transport, port: Port::new(port), address, uid: None }
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

/// At least two hundred trials of every kind beside a service, and at least a thousand exchanges with it meanwhile.
fn trials_during(transport: Transport, service: SocketAddr, mut exchange: impl FnMut(u32) + Send) {
    let holder = Make { address: service.ip(), v6_only: false, reuse: true };
    let state = if transport == Transport::Tcp { State::Listen } else { State::Unconnected };
    let sockets = vec![row(state, transport, holder, service.port())];
    let seen = Snapshot { sockets, ..Snapshot::default() };
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let (trials, exchanges) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            while exchanges.load(Relaxed) < 1000 || trials.load(Relaxed) < 200 {
                exchange(exchanges.fetch_add(1, Relaxed));
            }
        });
        while !running.is_finished() {
            let address = [None, Some(service.ip()), Some(other)][trials.fetch_add(1, Relaxed) as usize % 3];
            trial(&Where::Own, &question(transport, service.port(), address), &seen).unwrap();
        }
        running.join().unwrap();
    });
}

#[test]
fn a_held_udp_port_is_never_tried_with_reuseaddr() {
    let _alone = alone();
    Namespace::new().run(|| {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let holder = Make { address, v6_only: false, reuse: true };
        let _server = bound(Transport::Udp, holder, 20_001);
        let sockets = vec![row(State::Unconnected, Transport::Udp, holder, 20_001)];
        let seen = Snapshot { sockets, ..Snapshot::default() };
        let trials = trial(&Where::Own, &question(Transport::Udp, 20_001, Some(address)), &seen).unwrap();
        assert_eq!(outcomes(&trials), ["127.0.0.1:20001 bind EADDRINUSE", "127.0.0.1:20001 not tried"]);
        assert_eq!([trials[0].inferred, trials[1].inferred], [false, true]);
    });
}

#[test]
fn a_trial_takes_no_datagram_of_a_running_server() {
    let _alone = alone();
    Namespace::new().run(|| {
        let server = UdpSocket::from(bound(
            Transport::Udp,
            Make { address: Ipv4Addr::LOCALHOST.into(), v6_only: false, reuse: true },
            20_001,
        ));
        server.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        trials_during(Transport::Udp, server.local_addr().unwrap(), |number| {
            client.send_to(&number.to_be_bytes(), server.local_addr().unwrap()).unwrap();
            let mut bytes = [0; 4];
            assert_eq!(server.recv(&mut bytes).expect("each datagram comes to the server"), 4);
            assert_eq!(u32::from_be_bytes(bytes), number);
        });
    });
}

#[test]
fn a_trial_resets_no_connection_of_a_running_listener() {
    let _alone = alone();
    Namespace::new().run(|| {
        let make = Make { address: Ipv4Addr::LOCALHOST.into(), v6_only: false, reuse: true };
        let socket = bound(Transport::Tcp, make, 20_001);
        listen(&socket, 64).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        trials_during(Transport::Tcp, address, |number| {
            let mut client = TcpStream::connect(address).expect("each connection is taken");
            let mut server = listener.accept().unwrap().0;
            client.write_all(&number.to_be_bytes()).unwrap();
            let mut bytes = [0; 4];
            server.read_exact(&mut bytes).expect("no connection is reset");
            assert_eq!(u32::from_be_bytes(bytes), number);
        });
    });
}

fn outcomes(trials: &[Trial]) -> Vec<String> {
    let word = |trial: &Trial| match &trial.outcome {
        Outcome::Bound => format!("{} bound", trial.address),
        Outcome::Refused { call, name, .. } => format!("{} {call} {name}", trial.address),
        Outcome::NotTried { .. } => format!("{} not tried", trial.address),
    };
    trials.iter().map(word).collect()
}

#[test]
fn without_an_address_both_wildcards_are_tried_and_ipv6_takes_both_families() {
    let _alone = alone();
    Namespace::new().run(|| {
        let _held = TcpListener::bind("127.0.0.1:20001").unwrap();
        let trials =
            trial(&Where::Own, &question(Transport::Tcp, 20_001, None), &Snapshot::default()).unwrap();
        let refused = ["0.0.0.0:20001 bind EADDRINUSE", "[::]:20001 bind EADDRINUSE"];
        assert_eq!(outcomes(&trials), [refused[0], refused[0], refused[1], refused[1]]);
    });
}

#[test]
fn a_privileged_port_is_refused_to_another_user_and_left_to_root() {
    let _alone = alone();
    Namespace::new().run(|| {
        let ask = |uid, port| {
            let question =
                Question { uid, ..question(Transport::Tcp, port, Some(Ipv4Addr::LOCALHOST.into())) };
            outcomes(&trial(&Where::Own, &question, &Snapshot::default()).unwrap())
        };
        let refused = vec!["127.0.0.1:80 bind EACCES"; 2];
        assert_eq!(ask(Some(65_534), 80), refused);
        assert_eq!(ask(Some(65_534), 8080), vec!["127.0.0.1:8080 bound"; 2]);
        assert_eq!(ask(Some(0), 80), vec!["127.0.0.1:80 bound"; 2], "this process stayed root");
        assert_eq!(ask(None, 80), vec!["127.0.0.1:80 bound"; 2]);
        std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "80").unwrap();
        assert_eq!(ask(Some(65_534), 80), vec!["127.0.0.1:80 bound"; 2]);
    });
}

#[test]
fn only_root_asks_for_another_user() {
    let _alone = alone();
    let error = std::thread::spawn(|| {
        let user = rustix::process::Uid::from_raw(65_534);
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        let question = Question { uid: Some(1), ..question(Transport::Tcp, 20_001, None) };
        trial(&Where::Own, &question, &Snapshot::default()).unwrap_err().to_string()
    });
    assert_eq!(
        error.join().unwrap(),
        "cannot bind as user 1 (only root may: type it again after sudo): Operation not permitted (os error 1)"
    );
}

#[test]
fn a_foreign_address_is_refused_by_its_own_code() {
    let _alone = alone();
    Namespace::new().run(|| {
        let ask = |text: &str, seen: &Snapshot| {
            let question = question(Transport::Tcp, 20_001, Some(text.parse().unwrap()));
            outcomes(&trial(&Where::Own, &question, seen).unwrap())
        };
        let nothing = Snapshot::default();
        assert_eq!(ask("192.0.2.77", &nothing), vec!["192.0.2.77:20001 bind EADDRNOTAVAIL"; 2]);
        assert_eq!(ask("2001:db8::77", &nothing), vec!["[2001:db8::77]:20001 bind EADDRNOTAVAIL"; 2]);
        assert_eq!(ask("fe80::77", &nothing), vec!["[fe80::77]:20001 bind EINVAL"; 2]);
    });
}

#[test]
fn a_link_local_address_is_bound_on_its_interface() {
    let _alone = alone();
    let namespace = Namespace::new();
    namespace.add_address("fe80::77/64");
    namespace.run(|| {
        let address = "fe80::77".parse().unwrap();
        let local = LocalAddress { address, prefix: 64, interface: "lo".to_owned() };
        let seen = Snapshot { addresses: vec![local], ..Snapshot::default() };
        let trials = trial(&Where::Own, &question(Transport::Udp, 20_001, Some(address)), &seen).unwrap();
        assert_eq!(outcomes(&trials), ["[fe80::77%1]:20001 bound", "[fe80::77%1]:20001 bound"]);
    });
}

#[test]
fn any_port_is_refused_when_the_range_is_used_up() {
    let _alone = alone();
    let namespace = Namespace::new();
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 40009");
    namespace.run(|| {
        let any = Question {
            port: None,
            transport: Transport::Tcp,
            address: Some(Ipv4Addr::UNSPECIFIED.into()),
            uid: None,
        };
        let ask = |transport| {
            let question = Question { transport, ..any.clone() };
            outcomes(&trial(&Where::Own, &question, &Snapshot::default()).unwrap())
        };
        assert_eq!(ask(Transport::Tcp), vec!["0.0.0.0:0 bound"; 2]);
        assert_eq!(ask(Transport::Udp), ["0.0.0.0:0 bound", "0.0.0.0:0 not tried"]);
        let _all: Vec<_> =
            (40_000..=40_009).map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap()).collect();
        assert_eq!(ask(Transport::Tcp), vec!["0.0.0.0:0 bind EADDRINUSE"; 2]);
    });
}

#[test]
fn a_trial_is_made_in_the_namespace_that_was_asked_for() {
    let _alone = alone();
    let namespace = Namespace::new();
    let _held = namespace.run(|| TcpListener::bind("127.0.0.1:20001").unwrap());
    let inside = Where::Named(namespace.name().to_owned());
    let asked = question(Transport::Tcp, 20_001, Some(Ipv4Addr::LOCALHOST.into()));
    let trials = trial(&inside, &asked, &Snapshot::default()).unwrap();
    assert_eq!(outcomes(&trials), vec!["127.0.0.1:20001 bind EADDRINUSE"; 2]);
}
