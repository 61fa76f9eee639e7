//! The testbed itself: what it says it holds is what the kernel's own tables show, and nothing stays behind.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use portolan_testbed::{Held, Namespace, measured};

/// Rows of `ss` inside a namespace: state and local address, then the process where it is asked for.
fn ss(namespace: &Namespace, options: &str) -> String {
    let output = namespace.command("ss").args(options.split(' ')).output().unwrap();
    assert!(output.status.success(), "ss {options}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_namespace_is_empty_and_its_loopback_is_up() {
    let namespace = Namespace::new();
    assert_eq!(ss(&namespace, "-Htuan"), "");
    namespace.run(|| {
        let listener = TcpListener::bind("[::1]:80").unwrap();
        TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    });
}

#[test]
fn a_namespace_goes_with_its_processes() {
    let namespace = Namespace::new();
    let path = namespace.path();
    let mut sleeper = namespace.command("sleep").arg("1000").spawn().unwrap();
    while namespace.pids().is_empty() {
        std::thread::yield_now();
    }
    drop(namespace);
    assert!(!path.exists());
    assert!(!sleeper.wait().unwrap().success(), "it was killed");
}

#[test]
fn a_namespace_goes_when_a_test_panics() {
    let (send, receive) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let namespace = Namespace::new();
        send.send(namespace.path()).unwrap();
        namespace.run(|| panic!("on purpose, inside the namespace"));
    });
    assert!(test.join().is_err());
    assert!(!receive.recv().unwrap().exists());
}

#[test]
fn what_a_dead_test_left_behind_is_removed() {
    let dead = Command::new("true").spawn().map(|mut child| {
        child.wait().unwrap();
        child.id()
    });
    let stale = format!("plt-{}-0", dead.unwrap());
    assert!(Command::new("ip").args(["netns", "add", &stale]).status().unwrap().success());
    // Only the first namespace of a process sweeps, and another test may have made that already.
    let swept = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_namespace_is_empty_and_its_loopback_is_up"])
        .output()
        .unwrap();
    assert!(swept.status.success());
    assert!(!Path::new("/run/netns").join(stale).exists());
}

#[test]
fn settings_belong_to_the_namespace() {
    let (namespace, other) = (Namespace::new(), Namespace::new());
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 40099");
    assert_eq!(namespace.read_sysctl("net.ipv4.ip_local_port_range"), "40000\t40099");
    assert_ne!(other.read_sysctl("net.ipv4.ip_local_port_range"), "40000\t40099");
    assert_ne!(namespace.inode(), other.inode());
}

#[test]
fn two_namespaces_are_linked() {
    let (namespace, other) = (Namespace::new(), Namespace::new());
    namespace.link("10.7.0.1/24", &other, "10.7.0.2/24");
    let interface = namespace.link("2001:db8::1/64", &other, "2001:db8::2/64");
    assert!(interface.starts_with('v'));
    for address in ["10.7.0.2:80", "[2001:db8::2]:80"] {
        let address: SocketAddr = address.parse().unwrap();
        let listener = other.run(|| TcpListener::bind(address).unwrap());
        namespace.run(|| TcpStream::connect(address).unwrap());
        drop(listener);
    }
}

#[test]
fn each_word_is_in_the_kernels_table() {
    let namespace = Namespace::new();
    let held = Held::new(
        &namespace,
        "tcp-listen 0.0.0.0:80 --backlog 7
         tcp-listen [::]:81 --dual
         tcp-listen [::]:82 --v6only
         tcp-listen 127.0.0.1:83 --reuseport --count 2
         tcp-bound 127.0.0.1:84
         udp 127.0.0.1:85
         udp 127.0.0.1:86 --connect 127.0.0.1:9
         connections 127.0.0.1:87 --count 3
         close-wait 127.0.0.1:88
         time-wait 127.0.0.1:89
         time-wait 127.0.0.1:90 --closed-by client",
    );
    let table = ss(&namespace, "-Htuanp");
    let has = |start: &str| {
        let row =
            table.lines().find(|row| row.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(start));
        row.unwrap_or_else(|| panic!("no row '{start}' in\n{table}"))
    };
    let process = format!("pid={}", held.pid());
    for (row, number) in [
        ("tcp LISTEN 0 7 0.0.0.0:80", 0),
        ("tcp LISTEN 0 128 *:81", 1),
        ("tcp LISTEN 0 128 [::]:82", 2),
        ("tcp LISTEN 0 128 127.0.0.1:83", 3),
        ("udp UNCONN 0 0 127.0.0.1:85", 5),
        ("udp ESTAB 0 0 127.0.0.1:86 127.0.0.1:9", 6),
        ("tcp LISTEN 0 128 127.0.0.1:87", 7),
        ("tcp CLOSE-WAIT 0 0 127.0.0.1:88", 8),
    ] {
        assert!(has(row).contains(&process), "{row} is held by {process} in\n{table}");
        assert!(!held.holdings[number].descriptors.is_empty());
    }
    has("tcp TIME-WAIT 0 0 127.0.0.1:89");
    has("tcp TIME-WAIT 0 0 127.0.0.1:90");
    assert_eq!(table.matches(":83 ").count(), 2, "{table}");
    assert_eq!(
        table.lines().filter(|row| row.contains("ESTAB") && row.contains(":87 ")).count(),
        6,
        "{table}"
    );
    assert_eq!(held.holdings[7].local.len(), 7);
    // Older versions of ss do not show it, so ask the kernel the other way.
    assert_eq!(held.holdings[4].port(), 84);
    let taken = namespace.run(|| TcpListener::bind("127.0.0.1:84")).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn workers_share_the_listener() {
    let namespace = Namespace::new();
    let held = Held::new(&namespace, "tcp-listen 127.0.0.1:0 --workers 3");
    let table = ss(&namespace, "-Htlnp");
    let workers = &held.holdings[0].workers;
    assert_eq!(workers.len(), 3);
    for pid in workers.iter().chain([&held.pid()]) {
        assert!(table.contains(&format!("pid={pid},")), "{pid} in {table}");
    }
    assert_eq!(held.port(), held.holdings[0].local[0].port());
}

#[test]
fn a_holder_can_be_another_user_with_another_name() {
    let namespace = Namespace::new();
    let held = Held::new(&namespace, "--uid 4711 --name other udp 127.0.0.1:5353");
    let status = fs::read_to_string(format!("/proc/{}/status", held.pid())).unwrap();
    assert!(status.contains("Uid:\t4711\t4711\t4711\t4711"), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    assert!(status.starts_with("Name:\tother\n"), "{status}");
}

#[test]
fn a_program_runs_as_another_user_from_where_that_user_cannot_read() {
    let namespace = Namespace::new();
    let output = namespace.command_as(4711, "/usr/bin/id").arg("-u").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "4711\n");
}

#[test]
fn connections_may_have_their_ends_in_two_processes() {
    let namespace = Namespace::new();
    let server = Held::new(&namespace, "tcp-listen 127.0.0.1:0 --accept");
    let port = server.port();
    let clients = Held::new(&namespace, &format!("connections 127.0.0.1:{port} --as-client --count 20"));
    assert_eq!(clients.holdings[0].descriptors.len(), 20);
}

#[test]
fn a_holder_that_ignores_sigterm_survives_it() {
    let namespace = Namespace::new();
    for (words, survives) in [("--ignore-sigterm udp 127.0.0.1:1", true), ("udp 127.0.0.1:2", false)] {
        let mut held = Held::new(&namespace, words);
        let kill = Command::new("sh").args(["-c", &format!("kill {}", held.pid())]).status().unwrap();
        assert!(kill.success());
        if survives {
            let socket = namespace.run(|| UdpSocket::bind("127.0.0.1:1"));
            assert_eq!(socket.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
        } else {
            while !held.has_ended() {
                std::thread::yield_now();
            }
        }
    }
}

#[test]
fn a_holder_that_cannot_hold_fails_the_test() {
    let namespace = Namespace::new();
    let first = Held::new(&namespace, "tcp-listen 127.0.0.1:80");
    for words in ["tcp-listen 127.0.0.1:80", "sleep 127.0.0.1:80", "udp", "udp 127.0.0.1:1 --loud"] {
        assert!(std::panic::catch_unwind(|| Held::new(&namespace, words)).is_err(), "{words}");
    }
    drop(first);
    Held::new(&namespace, "tcp-listen 127.0.0.1:80");
}

#[test]
fn a_run_is_measured_and_cut_at_its_limit() {
    let quick = measured(Command::new("true"), Duration::from_secs(60));
    assert!(quick.status.success() && !quick.cut && quick.peak_kib > 0, "{quick:?}");
    let mut slow = Command::new("sleep");
    slow.arg("1000");
    let slow = measured(slow, Duration::from_millis(50));
    assert!(slow.cut && slow.elapsed >= Duration::from_millis(50), "{slow:?}");
}
