//! The program in the kernel, against calls of this process in namespaces of its own.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use portolan_core::socket::Transport;
use portolan_core::trace::{Call, Kind, Outcome};
use portolan_testbed::Namespace;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with, sockopt};

use super::*;

/// What of a call does not differ from one run to the next.
type Seen = (Kind, Option<Transport>, Option<SocketAddr>, Option<SocketAddr>, Outcome);

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn code(error: Errno) -> Outcome {
    Outcome::Failed(error.raw_os_error())
}

/// Calls that fail, one of each kind, in the namespace; and what should be seen of them.
fn fail(namespace: &Namespace) -> BTreeSet<String> {
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 40003");
    namespace.run(|| {
        let _held = TcpListener::bind("127.0.0.1:7001").unwrap();
        let _datagrams = UdpSocket::bind("[::1]:7003").unwrap();
        assert!(TcpListener::bind("127.0.0.1:7001").is_err());
        assert!(TcpListener::bind("192.0.2.77:7002").is_err());
        assert!(UdpSocket::bind("[::1]:7003").is_err());
        for remote in ["127.0.0.1:1", "[::1]:2", "[::ffff:127.0.0.1]:3", "198.51.100.1:80"] {
            assert!(TcpStream::connect(remote).is_err(), "{remote}");
        }
        let kept: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect("127.0.0.1:7001").unwrap()).collect();
        assert!(TcpStream::connect("127.0.0.1:7001").is_err());
        drop(kept);
        let stream = |flags| socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        let waits_not = stream(SocketFlags::NONBLOCK);
        assert_eq!(connect(&waits_not, &at("127.0.0.1:4")), Err(Errno::INPROGRESS));
        let both = [stream(SocketFlags::empty()), stream(SocketFlags::empty())];
        for socket in &both {
            sockopt::set_socket_reuseaddr(socket, true).unwrap();
            bind(socket, &at("127.0.0.1:7005")).unwrap();
        }
        listen(&both[0], 1).unwrap();
        assert_eq!(listen(&both[1], 1), Err(Errno::ADDRINUSE));
    });
    let tcp = Some(Transport::Tcp);
    let expected: [Seen; 10] = [
        (Kind::Bind, tcp, Some(at("127.0.0.1:7001")), None, code(Errno::ADDRINUSE)),
        (Kind::Bind, tcp, Some(at("192.0.2.77:7002")), None, code(Errno::ADDRNOTAVAIL)),
        (Kind::Bind, Some(Transport::Udp), Some(at("[::1]:7003")), None, code(Errno::ADDRINUSE)),
        (Kind::Connect, tcp, None, Some(at("127.0.0.1:1")), code(Errno::CONNREFUSED)),
        (Kind::Connect, tcp, None, Some(at("[::1]:2")), code(Errno::CONNREFUSED)),
        (Kind::Connect, tcp, None, Some(at("[::ffff:127.0.0.1]:3")), code(Errno::CONNREFUSED)),
        (Kind::Connect, tcp, None, Some(at("198.51.100.1:80")), code(Errno::NETUNREACH)),
        (Kind::Connect, tcp, None, Some(at("127.0.0.1:7001")), code(Errno::ADDRNOTAVAIL)),
        (
            Kind::Connect,
            tcp,
            None,
            Some(at("127.0.0.1:4")),
            Outcome::FailedLater(Errno::CONNREFUSED.raw_os_error()),
        ),
        (Kind::Listen, tcp, Some(at("127.0.0.1:7005")), None, code(Errno::ADDRINUSE)),
    ];
    expected.iter().map(|seen| format!("{seen:?}")).collect()
}

fn seen(calls: &[Call], namespace: &Namespace) -> Vec<String> {
    let own = calls.iter().filter(|call| call.network_namespace == Some(namespace.inode()));
    own.map(|call| {
        assert_eq!((call.pid, call.uid), (std::process::id(), Some(0)), "{call:?}");
        // The port that the system chose differs.
        let local = call.local.filter(|_| call.kind != Kind::Connect);
        format!("{:?}", (call.kind, call.transport, local, call.remote, call.outcome))
    })
    .collect()
}

/// What an object sees of the calls.
fn traced(object: &[u8]) -> (Vec<String>, BTreeSet<String>) {
    let mut tracer = Tracer::of(object, false).unwrap();
    let namespace = Namespace::new();
    let expected = fail(&namespace);
    let found = tracer.read().unwrap();
    assert_eq!(found.lost, 0);
    (seen(&found.calls, &namespace), expected)
}

#[test]
fn every_failing_call_is_seen_once_and_none_that_came_about() {
    let (found, expected) = traced(OBJECT);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn the_object_is_built_from_the_source_beside_it_and_a_rebuild_sees_the_same() {
    let hash = portolan_testbed::bpf_source_hash();
    let built = object::Object::parse(OBJECT).unwrap().built;
    let (source, compiler) = built.split_once(' ').unwrap();
    assert_eq!(source, hash, "trace.bpf.c has changed: type cargo xtask bpf");
    assert!(compiler.contains("clang version"), "{compiler}");
    let path = std::env::temp_dir().join(format!("plt-trace-{}.bpf.o", std::process::id()));
    portolan_testbed::build_bpf(&path);
    let anew = std::fs::read(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    assert!(object::Object::parse(&anew).unwrap().built.starts_with(&hash));
    assert_eq!(traced(&anew).0, traced(OBJECT).0);
}

#[test]
fn connections_that_are_given_up_or_come_about_are_told_when_that_is_so() {
    let mut tracer = Tracer::of(OBJECT, true).unwrap();
    let [own, other] = [Namespace::new(), Namespace::new()];
    own.link("10.7.0.1/24", &other, "10.7.0.2/24");
    own.run(|| {
        let stream =
            || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
        // Nobody has this address: the neighbour is asked for, and no answer comes.
        let unanswered = stream();
        assert_eq!(connect(&unanswered, &at("10.7.0.77:80")), Err(Errno::INPROGRESS));
        drop(unanswered);
        let listener = TcpListener::bind("127.0.0.1:7001").unwrap();
        let connecting = stream();
        assert_eq!(connect(&connecting, &at("127.0.0.1:7001")), Err(Errno::INPROGRESS));
        listener.accept().unwrap();
    });
    let calls = tracer.read().unwrap().calls;
    let connects = calls.iter().filter(|call| call.network_namespace == Some(own.inode()));
    let told: Vec<_> = connects.filter(|call| call.kind == Kind::Connect).collect();
    let of = |remote: &str| told.iter().find(|call| call.remote == Some(at(remote))).unwrap();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!(of("10.7.0.77:80").outcome, Outcome::GivenUp);
    assert_eq!(of("10.7.0.77:80").local.unwrap().ip(), at("10.7.0.1:0").ip());
    let connected = of("127.0.0.1:7001");
    assert_eq!(connected.outcome, Outcome::Done);
    assert!((32_768..=60_999).contains(&connected.local.unwrap().port()), "{connected:?}");
}

#[test]
fn as_many_as_fail_fast_are_seen_or_counted_as_lost() {
    let mut tracer = Tracer::of(OBJECT, false).unwrap();
    let namespace = Namespace::new();
    let tried = 60_000;
    namespace.run(|| {
        let _held = TcpListener::bind("127.0.0.1:7001").unwrap();
        for _ in 0..tried {
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::empty(), None);
            assert_eq!(bind(socket.unwrap(), &at("127.0.0.1:7001")), Err(Errno::ADDRINUSE));
        }
    });
    let found = tracer.read().unwrap();
    let own = found.calls.iter().filter(|call| call.network_namespace == Some(namespace.inode())).count();
    // More than the buffer holds: what others lost meanwhile cannot be told apart.
    assert!(own < tried && found.lost > 0, "{own}, {} lost", found.lost);
    assert!(own as u64 + found.lost >= tried as u64, "{own}, {} lost", found.lost);
    // It goes on afterwards.
    namespace.run(|| assert!(TcpStream::connect("127.0.0.1:1").is_err()));
    let later = tracer.read().unwrap();
    assert!(later.calls.iter().any(|call| call.remote == Some(at("127.0.0.1:1"))));
}
