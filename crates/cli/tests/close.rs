//! `portolan close`, end to end: connections end, programs live, listeners stay.
#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use portolan_testbed::{Answer, Held, Namespace, program};

const USER: u32 = 64_001;

/// `portolan close WORDS --yes` with a journal of its own.
fn close_as(uid: Option<u32>, namespace: &Namespace, words: &str) -> Answer {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let state: PathBuf = std::env::temp_dir().join(format!("portolan-close-{}-{number}", std::process::id()));
    let mut command = match uid {
        Some(uid) => {
            std::fs::create_dir(&state).unwrap();
            std::os::unix::fs::chown(&state, Some(uid), Some(uid)).unwrap();
            namespace.command_as(uid, program("portolan"))
        }
        None => namespace.command(program("portolan")),
    };
    command.env("PORTOLAN_STATE", &state).arg("close").args(words.split_whitespace()).arg("--yes");
    let answer = Answer::of(&mut command);
    let _ = std::fs::remove_dir_all(&state);
    answer
}

fn close(namespace: &Namespace, words: &str) -> Answer {
    close_as(None, namespace, words)
}

/// Both ends of a connection, held by this test: the client's and the server's.
fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn listening(namespace: &Namespace, at: &str) -> TcpListener {
    namespace.run(|| TcpListener::bind(at).unwrap())
}

#[test]
fn the_program_lives_and_the_peer_sees_a_reset() {
    let namespace = Namespace::new();
    for at in ["127.0.0.1:8080", "[::1]:8081"] {
        let listener = listening(&namespace, at);
        // A socket made inside keeps its namespace, so only connect has to happen there.
        let (mut client, mut server) = namespace.run(|| pair(&listener));
        let (_kept_client, mut kept_server) = namespace.run(|| pair(&listener));
        let end = client.local_addr().unwrap();
        let answer = close(&namespace, &format!("--local {end}")).with_code(0);
        assert!(answer.output.contains(&format!("close the connection {end} → {at}")), "{answer}");
        let of_client = client.read(&mut [0]).unwrap_err().kind();
        let of_peer = server.read(&mut [0]).unwrap_err().kind();
        assert_eq!((of_client, of_peer), (ErrorKind::ConnectionAborted, ErrorKind::ConnectionReset));
        // The other connection and the listener go on.
        kept_server.write_all(b"x").unwrap();
        namespace.run(|| pair(&listener));
    }
}

#[test]
fn a_mapped_address_is_closed_by_its_own_family() {
    let namespace = Namespace::new();
    let listener = listening(&namespace, "[::]:8080");
    let (_client, mut server) = namespace.run(|| {
        let client = TcpStream::connect("127.0.0.1:8080").unwrap();
        (client, listener.accept().unwrap().0)
    });
    close(&namespace, "--family ipv6 --port 8080 --state established").with_code(0);
    assert_eq!(server.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
}

#[test]
fn connections_are_chosen_by_process_port_and_remote_end() {
    let namespace = Namespace::new();
    let mut one = Held::new(&namespace, "connections 127.0.0.1:8080 --count 2");
    let mut other = Held::new(&namespace, "connections 127.0.0.1:8081 --count 2");
    let left = |words: &str| {
        let mut list = namespace.command(program("portolan"));
        let words = format!("list --state established --json {words}");
        let json = Answer::of(list.args(words.split(' '))).with_code(0).json();
        json["sockets"].as_array().unwrap().len()
    };
    assert_eq!(left("--port 8080,8081"), 4);
    close(&namespace, &format!("--pid {} --remote 127.0.0.1:8080", one.pid())).with_code(0);
    assert_eq!((left("--port 8080"), left("--port 8081")), (0, 2));
    close(&namespace, "--port 8081 --name testbed").with_code(0);
    assert_eq!(left("--port 8081"), 0);
    assert!(!one.has_ended() && !other.has_ended());
}

#[test]
fn a_listener_is_refused_and_stays() {
    let namespace = Namespace::new();
    let listener = listening(&namespace, "127.0.0.1:8080");
    for words in ["--port 8080", "--local 127.0.0.1:8080 --state listen", "--listening --port 8080"] {
        let answer = close(&namespace, words).with_code(1);
        assert!(answer.errors.contains("`portolan free 8080` stops who holds it"), "{answer}");
    }
    let (_client, mut server) = namespace.run(|| pair(&listener));
    let answer = close(&namespace, "--port 8080").with_code(0);
    assert!(answer.output.contains("127.0.0.1:8080 matches too and stays"), "{answer}");
    assert_eq!(server.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
    namespace.run(|| pair(&listener));
}

#[test]
fn time_wait_is_dropped_and_the_port_binds_at_once() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "time-wait 127.0.0.1:8080 --count 3 --reuseaddr");
    assert!(namespace.run(|| bind_plainly().is_err()));
    close(&namespace, "--port 8080 --state time-wait").with_code(0);
    namespace.run(|| bind_plainly().unwrap());
}

/// Without SO_REUSEADDR, which the standard library's listener sets.
fn bind_plainly() -> std::io::Result<()> {
    let answer =
        Answer::of(std::process::Command::new(program("portolan")).args(["why", "127.0.0.1:8080", "--json"]));
    match answer.json()["bindable"].as_bool() {
        Some(true) => Ok(()),
        _ => Err(std::io::Error::other(answer.to_string())),
    }
}

#[test]
fn without_the_privilege_nothing_is_closed_and_it_is_named() {
    let namespace = Namespace::new();
    let listener = listening(&namespace, "127.0.0.1:8080");
    let (mut client, mut server) = namespace.run(|| pair(&listener));
    let answer = close_as(Some(USER), &namespace, "--port 8080").with_code(1);
    assert!(answer.output.contains("(CAP_NET_ADMIN); type it again after sudo"), "{answer}");
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0]).unwrap();
}

#[test]
fn nothing_that_matches_is_nothing_to_do() {
    let namespace = Namespace::new();
    let answer = close(&namespace, "--remote 10.0.0.1").with_code(0);
    assert!(answer.output.contains("nothing to do"), "{answer}");
}

#[test]
fn many_at_once_must_be_meant() {
    let namespace = Namespace::new();
    let held = Held::new(&namespace, "connections 127.0.0.1:8080 --count 101");
    let answer = close(&namespace, "--port 8080").with_code(1);
    assert!(answer.errors.contains("101 connections match"), "{answer}");
    let answer = close(&namespace, "--port 8080 --all").with_code(0);
    assert!(answer.output.contains("close 101 connections"), "{answer}");
    drop(held);
}

#[test]
fn a_dry_run_closes_nothing() {
    let namespace = Namespace::new();
    let listener = listening(&namespace, "127.0.0.1:8080");
    let (mut client, mut server) = namespace.run(|| pair(&listener));
    let mut command = namespace.command(program("portolan"));
    let answer = Answer::of(command.args(["close", "--port", "8080", "--dry-run"])).with_code(0);
    assert!(answer.output.contains("a dry run: nothing was changed"), "{answer}");
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0]).unwrap();
}

#[test]
fn what_is_typed_wrong_is_one_line() {
    let namespace = Namespace::new();
    for (words, told) in [
        ("", "say which connections"),
        ("--transport udp --port 53", "portolan free PORT/udp"),
        ("--local 10.0.0.1:0", "port 0 names no port"),
        ("--local nowhere:80", "with a port: 10.0.0.5:443"),
        ("--port 80 --from x.json", "leave --from out"),
    ] {
        let answer = close(&namespace, words).with_code(2);
        assert!(answer.errors.contains(told), "{answer}");
        assert_eq!(answer.errors.lines().count(), 1, "{answer}");
    }
}
