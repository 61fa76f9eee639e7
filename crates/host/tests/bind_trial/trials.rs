//! Trials beside running services, which they leave alone; and what they say where nothing stands in the table.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use portolan_core::diagnose::Question;
use portolan_core::snapshot::{LocalAddress, Snapshot};
use portolan_core::socket::{State, Transport};
use portolan_host::Namespace as Where;
use portolan_host::bind::trial;
use portolan_testbed::Namespace;
use rustix::net::listen;

use super::{Make, alone, bound, outcomes, question, row};

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
