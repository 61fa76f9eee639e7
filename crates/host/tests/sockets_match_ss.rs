//! Every row and every holder against `ss`, in a network namespace of its own with several hundred sockets of every
//! kind; and what `ss` of Debian 12 does not show: bound sockets, options, filters.
//!
//! Nothing moves in the namespace while it is read, so both must show exactly the same.
#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use portolan_core::port::{PortRange, PortSet};
use portolan_core::snapshot::Snapshot;
use portolan_core::socket::{Family, OwnerState, Socket, SocketOptions, State, Transport};
use portolan_host::{Look, Namespace as Where, OwnerSearch, SocketFilter, look};
use portolan_testbed::{Held, Namespace};

/// Keeps the tests of this file from running at once: a program that another test starts holds a copy of every socket
/// of this process for the moment until it has become that program.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seen(namespace: &Namespace, owners: OwnerSearch, filter: SocketFilter) -> Snapshot {
    let namespace = Where::Named(namespace.name().to_owned());
    look(&Look { namespace, sockets: Some(filter), owners, ..Look::default() }).unwrap()
}

/// A row as `ss` shows it: transport, state, queues, local and remote endpoint.
type Row = (String, String, u32, u32, String, String);
/// A process and its descriptor.
type Holding = (u32, i32);

/// The rows of `ss` with their holders.
fn ss(namespace: &Namespace, options: &str) -> Vec<(Row, Vec<Holding>)> {
    let output = namespace
        .command("/usr/bin/ss")
        .arg(options)
        .output()
        .unwrap_or_else(|error| panic!("cannot run ss ({error}): run `apt-get install iproute2`"));
    assert!(
        output.status.success(),
        "{}: run `apt-get install iproute2`",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().lines().map(ss_row).collect()
}

fn ss_row(line: &str) -> (Row, Vec<Holding>) {
    let mut words = line.split_whitespace();
    let mut word = || words.next().unwrap_or_else(|| panic!("too short: {line}"));
    let (transport, state) = (word().to_owned(), word().to_owned());
    let queues: [u32; 2] = [word(), word()].map(|queue| queue.parse().unwrap());
    let row = (transport, state, queues[0], queues[1], word().to_owned(), word().to_owned());
    // users:(("name",pid=12,fd=3),("name",pid=13,fd=3))
    let numbers = |name| line.split(name).skip(1).map(|rest| rest.split([',', ')']).next().unwrap());
    let pids = numbers("pid=").map(|pid| pid.parse().unwrap());
    let mut holders: Vec<Holding> = pids.zip(numbers("fd=").map(|fd| fd.parse().unwrap())).collect();
    holders.sort_unstable();
    (row, holders)
}

/// One of our rows as `ss` writes it.
fn as_ss(socket: &Socket) -> Row {
    let state = match socket.state {
        State::Established => "ESTAB".to_owned(),
        State::Unconnected => "UNCONN".to_owned(),
        State::SynReceived => "SYN-RECV".to_owned(),
        State::FinWait1 => "FIN-WAIT-1".to_owned(),
        State::FinWait2 => "FIN-WAIT-2".to_owned(),
        other => other.name().replace('_', "-"),
    };
    let endpoint = |at: SocketAddr| {
        let port = if at.port() == 0 { "*".to_owned() } else { at.port().to_string() };
        match at {
            // For ss an IPv6 wildcard is "[::]" only where it is known to be IPv6 alone.
            SocketAddr::V6(v6) if v6.ip().is_unspecified() && !socket.options.has(SocketOptions::V6_ONLY) => {
                format!("*:{port}")
            }
            SocketAddr::V6(v6) => format!("[{}]:{port}", v6.ip()),
            SocketAddr::V4(v4) => format!("{}:{port}", v4.ip()),
        }
    };
    let queues = (socket.receive_queue, socket.send_queue);
    (
        socket.transport.name().to_owned(),
        state,
        queues.0,
        queues.1,
        endpoint(socket.local()),
        endpoint(socket.remote()),
    )
}

fn holdings(snapshot: &Snapshot, socket: &Socket) -> Vec<Holding> {
    let holders = snapshot.holders_of(socket).iter();
    let mut holdings: Vec<Holding> =
        holders.map(|h| (snapshot.owners[h.owner as usize].pid, h.descriptor)).collect();
    holdings.sort_unstable();
    holdings
}

/// Several hundred sockets of every kind that `testbed` can hold.
fn crowd(namespace: &Namespace) -> Vec<Held> {
    [
        "tcp-listen 127.0.0.1:0 --count 40 tcp-listen [::1]:0 --count 20 tcp-listen [::]:0 --dual --count 20 \
         tcp-listen [::]:0 --v6only --count 10 tcp-listen 0.0.0.0:0 --backlog 7 --count 10",
        "tcp-listen 0.0.0.0:7001 --reuseport --count 6 tcp-listen [::]:7002 --reuseport --count 4 \
         udp 0.0.0.0:7003 --reuseport --count 3",
        "tcp-listen 127.0.0.1:7010 --workers 3 udp 127.0.0.1:7011 --workers 2",
        "connections 127.0.0.1:0 --count 60",
        "connections [::1]:0 --count 30 connections 127.0.0.1:0 --count 20 --close-listener",
        "tcp-bound 127.0.0.1:0 --count 9 tcp-bound [::1]:0 --count 4 tcp-bound 0.0.0.0:0 --count 2",
        "udp 127.0.0.1:7020 udp 127.0.0.1:0 --connect 127.0.0.1:7020 --count 20 udp [::]:0 --count 10 \
         udp [::1]:0 --v6only --count 5",
        "time-wait 127.0.0.1:7030 time-wait 127.0.0.1:7031 --closed-by client",
        "close-wait 127.0.0.1:0 --count 15 close-wait [::1]:0 --count 5",
    ]
    .iter()
    .map(|words| Held::new(namespace, words))
    .collect()
}

/// Waits until nothing moves any more: the kernel acknowledges a peer's end a moment later.
fn settle(namespace: &Namespace) {
    let moving = [State::SynSent, State::SynReceived, State::FinWait1, State::Closing, State::LastAck];
    let filter = SocketFilter { states: moving.into(), ..SocketFilter::default() };
    let start = Instant::now();
    while !seen(namespace, OwnerSearch::None, filter.clone()).sockets.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "connections do not come to rest");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sockets that this process holds itself: one by two descriptors, connections that nobody accepts, IPv4 in IPv6.
fn own_sockets(namespace: &Namespace) -> Vec<OwnedFd> {
    namespace.run(|| {
        let twice = TcpListener::bind("127.0.0.1:7100").unwrap();
        let again = twice.try_clone().unwrap();
        let waiting: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect("127.0.0.1:7100").unwrap()).collect();
        let dual = TcpListener::bind("[::]:7101").unwrap();
        let mapped = TcpStream::connect((Ipv4Addr::LOCALHOST, 7101)).unwrap();
        let (accepted, _) = dual.accept().unwrap();
        let unread = UdpSocket::bind("127.0.0.1:7102").unwrap();
        unread.send_to(b"nobody reads this", "127.0.0.1:7102").unwrap();
        let listeners = [twice, again, dual].map(OwnedFd::from);
        let streams = waiting.into_iter().chain([mapped, accepted]).map(OwnedFd::from);
        listeners.into_iter().chain(streams).chain([unread.into()]).collect()
    })
}

#[test]
fn rows_and_holders_are_those_of_ss() {
    let _alone = alone();
    let namespace = Namespace::new();
    let _crowd = crowd(&namespace);
    let _own = own_sockets(&namespace);
    settle(&namespace);

    let snapshot = seen(&namespace, OwnerSearch::All, SocketFilter::default());
    let theirs: BTreeMap<Row, Vec<Vec<Holding>>> = grouped(ss(&namespace, "-Htuanp"));
    let (bound, others): (Vec<_>, Vec<_>) =
        snapshot.sockets.iter().partition(|socket| socket.state == State::Bound);
    let ours = grouped(others.iter().map(|s| (as_ss(s), holdings(&snapshot, s))).collect());
    assert!(ours.values().map(Vec::len).sum::<usize>() > 400, "{} rows", others.len());
    for (row, holders) in &theirs {
        assert_eq!(ours.get(row), Some(holders), "{row:?}");
    }
    assert_eq!(ours.len(), theirs.len(), "rows that ss does not have");

    assert_eq!(bound.len(), 15, "bound sockets, which this ss does not show");
    assert!(bound.iter().all(|socket| socket.owner_state == OwnerState::Seen));
    for socket in &snapshot.sockets {
        let expected = match (socket.inode, socket.holder_count) {
            (0, _) => OwnerState::Nobody,
            (_, 0) => OwnerState::Hidden,
            _ => OwnerState::Seen,
        };
        assert_eq!(socket.owner_state, expected, "{socket:?}");
        assert_ne!(socket.owner_state, OwnerState::Hidden, "root sees every holder: {socket:?}");
    }
}

/// Rows may be equal (SO_REUSEPORT): their holders, in any order, belong to all of them.
fn grouped(rows: Vec<(Row, Vec<Holding>)>) -> BTreeMap<Row, Vec<Vec<Holding>>> {
    let mut groups: BTreeMap<Row, Vec<Vec<Holding>>> = BTreeMap::new();
    for (row, holders) in rows {
        groups.entry(row).or_default().push(holders);
    }
    groups.values_mut().for_each(|holders| holders.sort());
    groups
}

#[test]
fn every_holder_of_a_shared_socket_is_found_and_first_finds_one() {
    let _alone = alone();
    let namespace = Namespace::new();
    let held = Held::new(&namespace, "tcp-listen 127.0.0.1:7000 --workers 3");
    let workers = held.holdings[0].workers.iter().copied();
    let all: BTreeSet<u32> = workers.chain([held.pid()]).collect();
    assert_eq!(all.len(), 4);
    let pids = |search| -> BTreeSet<u32> {
        let snapshot = seen(&namespace, search, SocketFilter::default());
        assert_eq!(snapshot.sockets[0].owner_state, OwnerState::Seen);
        snapshot.owners_of(&snapshot.sockets[0]).iter().map(|owner| owner.pid).collect()
    };
    assert_eq!(pids(OwnerSearch::All), all);
    let first = pids(OwnerSearch::First);
    assert!(!first.is_empty() && first.is_subset(&all), "{first:?}");
    let unasked = seen(&namespace, OwnerSearch::None, SocketFilter::default());
    assert_eq!(unasked.sockets[0].owner_state, OwnerState::NotAsked);
}

#[test]
fn a_process_with_many_descriptors_is_searched_whole() {
    let _alone = alone();
    let namespace = Namespace::new();
    let held = Held::new(&namespace, "connections 127.0.0.1:7000 --count 3000 tcp-listen 127.0.0.1:7001");
    let snapshot = seen(&namespace, OwnerSearch::All, SocketFilter::default());
    assert_eq!(snapshot.sockets.len(), 6002);
    let found: BTreeSet<Holding> = snapshot.sockets.iter().flat_map(|s| holdings(&snapshot, s)).collect();
    let expected: BTreeSet<Holding> = held
        .holdings
        .iter()
        .flat_map(|h| &h.descriptors)
        .map(|descriptor| (held.pid(), *descriptor))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn filters_let_through_what_they_say_and_nothing_else() {
    let _alone = alone();
    let namespace = Namespace::new();
    let _crowd = crowd(&namespace);
    settle(&namespace);
    let all = seen(&namespace, OwnerSearch::None, SocketFilter::default()).sockets;
    let ports = |ranges: &[(u16, u16)]| -> Option<PortSet> {
        Some(ranges.iter().map(|range| PortRange::try_from(*range).unwrap()).collect())
    };
    let many: Vec<(u16, u16)> = (0..100).map(|number| (7000 + 2 * number, 7000 + 2 * number)).collect();
    let filters = [
        SocketFilter { transport: Some(Transport::Tcp), ..SocketFilter::default() },
        SocketFilter {
            transport: Some(Transport::Udp),
            family: Some(Family::Ipv6),
            ..SocketFilter::default()
        },
        SocketFilter { family: Some(Family::Ipv4), ..SocketFilter::default() },
        SocketFilter { states: [State::Listen, State::Unconnected].into(), ..SocketFilter::default() },
        SocketFilter { states: [State::Bound].into(), ..SocketFilter::default() },
        SocketFilter { states: [State::TimeWait, State::FinWait2].into(), ..SocketFilter::default() },
        SocketFilter { local_ports: ports(&[(7001, 7001)]), ..SocketFilter::default() },
        SocketFilter { local_ports: ports(&[(7000, 7009), (7020, 7020)]), ..SocketFilter::default() },
        SocketFilter { local_ports: ports(&many), ..SocketFilter::default() },
    ];
    for filter in filters {
        let mut expected: Vec<Row> = all
            .iter()
            .filter(|s| {
                filter.transport.is_none_or(|t| t == s.transport)
                    && filter.family.is_none_or(|f| f == s.family)
                    && (filter.states.is_empty() || filter.states.contains(&s.state))
                    && filter.local_ports.as_ref().is_none_or(|ports| ports.contains(s.local_port))
            })
            .map(as_ss)
            .collect();
        let what = format!("{filter:?}");
        let mut found: Vec<Row> =
            seen(&namespace, OwnerSearch::None, filter).sockets.iter().map(as_ss).collect();
        expected.sort();
        found.sort();
        assert!(!expected.is_empty(), "{what} lets nothing through: the crowd lacks it");
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn a_time_wait_has_its_timer_and_no_user() {
    let _alone = alone();
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "time-wait 127.0.0.1:7030");
    let filter = SocketFilter { states: [State::TimeWait].into(), ..SocketFilter::default() };
    let snapshot = seen(&namespace, OwnerSearch::All, filter);
    let [waiting] = snapshot.sockets[..] else { panic!("{:?}", snapshot.sockets) };
    assert!((1..=60_000).contains(&waiting.timer_ms), "{} ms", waiting.timer_ms);
    assert_eq!(waiting.owner_state, OwnerState::Nobody);
    assert_eq!(snapshot.origin_of(&waiting).unwrap().uid, None);
}

#[test]
fn options_of_a_socket_are_read() {
    let _alone = alone();
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 192.0.2.1:7000 --freebind tcp-listen [::]:7001 --v6only");
    let snapshot = seen(&namespace, OwnerSearch::None, SocketFilter::default());
    let options = |port| snapshot.sockets.iter().find(|s| s.local_port == port).unwrap().options;
    assert!(options(7000).has(SocketOptions::KNOWN) && options(7000).has(SocketOptions::FREEBIND));
    assert!(options(7001).has(SocketOptions::V6_ONLY) && !options(7001).has(SocketOptions::FREEBIND));
}

#[test]
fn a_namespace_that_is_not_there_is_an_error_that_names_it() {
    let missing = Look {
        namespace: Where::Named("plt-no-such".to_owned()),
        sockets: Some(SocketFilter::default()),
        ..Look::default()
    };
    let error = look(&missing).unwrap_err().to_string();
    assert!(error.contains("plt-no-such"), "{error}");
}

#[test]
fn descriptors_of_this_process_are_its_own() {
    let _alone = alone();
    let namespace = Namespace::new();
    let own = own_sockets(&namespace);
    let snapshot = seen(&namespace, OwnerSearch::All, SocketFilter::default());
    let found: BTreeSet<Holding> = snapshot.sockets.iter().flat_map(|s| holdings(&snapshot, s)).collect();
    let expected: BTreeSet<Holding> = own.iter().map(|fd| (std::process::id(), fd.as_raw_fd())).collect();
    assert_eq!(found, expected);
    let unaccepted: Vec<_> =
        snapshot.sockets.iter().filter(|s| s.owner_state == OwnerState::Nobody).collect();
    assert_eq!(unaccepted.len(), 3, "connections that nobody has accepted have no file yet");
}
