//! `portolan hold`, end to end: until a signal, for a time, for a command, and handed to one.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};

use portolan_core::socket::Transport;
use portolan_host::hold::hold_first;
use portolan_testbed::{Answer, Held, Namespace, program};
use serde_json::json;

fn hold(namespace: &Namespace, arguments: &[&str]) -> Command {
    let mut command = namespace.command(program("portolan"));
    command.arg("hold").args(arguments);
    command
}

/// A hold that has said that it holds, and its words so far.
fn holding(namespace: &Namespace, arguments: &[&str]) -> (Child, String) {
    let mut child = hold(namespace, arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

fn is_free(namespace: &Namespace, transport: Transport, port: u16) -> bool {
    let named = portolan_host::Namespace::Named(namespace.name().to_owned());
    hold_first(&named, &[transport], &[port], 1).unwrap().refused == 0
}

fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

#[test]
fn ports_are_held_until_a_signal_asks_to_end() {
    let namespace = Namespace::new();
    for name in ["INT", "TERM"] {
        let (mut child, line) = holding(&namespace, &["7000", "7002-7003", "--transport", "both"]);
        assert_eq!(line, "7000/tcp   held on every address, IPv4 and IPv6\n");
        for port in [7000, 7002, 7003] {
            for transport in Transport::ALL {
                assert!(!is_free(&namespace, transport, port), "{port}/{transport}");
            }
        }
        assert!(is_free(&namespace, Transport::Tcp, 7001));
        // Bound, and nothing more: nobody is let in.
        assert!(namespace.run(|| TcpStream::connect("127.0.0.1:7000")).is_err());
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{name}");
        assert!(is_free(&namespace, Transport::Tcp, 7000));
    }
}

#[test]
fn one_address_leaves_the_others() {
    let namespace = Namespace::new();
    let (mut child, line) = holding(&namespace, &["7000", "--address", "127.0.0.1", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    let held = json!([{ "port": 7000, "transport": "tcp", "address": "127.0.0.1" }]);
    assert_eq!(json, json!({ "held": held, "for_ms": null }));
    namespace.add_address("192.0.2.1/32");
    namespace.run(|| {
        std::net::TcpListener::bind("192.0.2.1:7000").unwrap();
        std::net::TcpListener::bind("127.0.0.1:7000").unwrap_err();
    });
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_time_ends_it_too() {
    let namespace = Namespace::new();
    let told = Answer::of(&mut hold(&namespace, &["7000", "--for", "0.2"])).with_code(0);
    assert_eq!(told.output.lines().last(), Some("for 0.2 s"), "{told}");
    let (mut child, _) = holding(&namespace, &["7000", "--for", "1000"]);
    assert!(!is_free(&namespace, Transport::Tcp, 7000));
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn one_port_that_cannot_be_had_is_one_line_and_nothing_is_held() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen [::1]:7001 --v6only");
    let told = Answer::of(&mut hold(&namespace, &["7000", "7001", "--for", "1000"])).with_code(1);
    assert_eq!((told.output.as_str(), told.errors.lines().count()), ("", 1), "{told}");
    assert!(told.errors.contains("EADDRINUSE") && told.errors.contains("portolan why 7001"), "{told}");
    let mut command = namespace.command_as(65534, program("portolan"));
    let told = Answer::of(command.args(["hold", "53", "--transport", "udp", "--for", "1000"])).with_code(1);
    assert!(told.errors.contains("EACCES") && told.errors.contains("portolan why 53/udp"), "{told}");
}

#[test]
fn what_is_typed_wrong_is_one_line() {
    let namespace = Namespace::new();
    for (arguments, part) in [
        (&["7000", "--pass"][..], "COMMAND"),
        (&["7000", "--for", "1", "--", "true"], "--for"),
        (&["7000", "--address", "here"], "here"),
        (&["0", "--for", "1"], "ports are 1 to 65535"),
        (&[], "PORT"),
    ] {
        let told = Answer::of(&mut hold(&namespace, arguments)).with_code(2);
        assert_eq!((told.output.as_str(), told.errors.lines().count()), ("", 1), "{told}");
        assert!(told.errors.contains(part), "{told}");
    }
}

#[test]
fn a_command_takes_the_place_of_portolan_and_finds_the_port_free() {
    let namespace = Namespace::new();
    let portolan = program("portolan");
    let script = format!("echo $$; exec '{}' wait 7000 --for free --timeout 0", portolan.display());
    let mut command = hold(&namespace, &["7000", "--", "sh", "-c", &script]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id().to_string();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().next(), Some(pid.as_str()), "the process is the same");
    assert!(text.lines().nth(1).unwrap().starts_with("7000/tcp is free"), "{text}");
    let note = String::from_utf8(output.stderr).unwrap();
    assert_eq!(note, "portolan: 7000/tcp held on every address, IPv4 and IPv6, until sh begins\n");
}

#[test]
fn a_command_that_is_not_there_is_one_line_and_its_exit_code_is_its_own() {
    let namespace = Namespace::new();
    let told = Answer::of(&mut hold(&namespace, &["7000", "--", "no-such-program"])).with_code(2);
    assert_eq!(
        told.errors.lines().last(),
        Some("portolan: cannot run no-such-program: No such file or directory (os error 2)")
    );
    Answer::of(&mut hold(&namespace, &["7000", "--", "sh", "-c", "exit 7"])).with_code(7);
    // A signal that portolan waits for elsewhere ends the command as ever.
    Answer::of(&mut hold(&namespace, &["7000", "--", "sh", "-c", "kill -TERM $$; exit 7"]))
        .code
        .ok_or(())
        .unwrap_err();
}

/// Serves one connection on the sockets it was handed, as sd_listen_fds(3) tells it to.
const SERVER: &str = r#"
import fcntl, os, socket
assert int(os.environ["LISTEN_PID"]) == os.getpid()
assert "LISTEN_PIDFDID" not in os.environ
fds = range(3, 3 + int(os.environ["LISTEN_FDS"]))
assert not any(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in fds)
tcp, udp = [socket.socket(fileno=fd) for fd in fds]
assert tcp.type == socket.SOCK_STREAM and udp.type == socket.SOCK_DGRAM
print("ready", flush=True)
peer, _ = tcp.accept()
data, sender = udp.recvfrom(100)
peer.sendall((os.environ["LISTEN_FDNAMES"] + " " + data.decode()).encode())
"#;

#[test]
fn sockets_are_passed_as_systemd_passes_them() {
    let namespace = Namespace::new();
    // Twice: what the first server leaves in TIME_WAIT does not keep the second from the port.
    for _ in 0..2 {
        let arguments = ["7000", "--transport", "both", "--pass", "--", "python3", "-c", SERVER];
        let mut command = hold(&namespace, &arguments);
        command.env("LISTEN_PIDFDID", "1").env("LISTEN_FDS", "9");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "python3 did not serve; is it installed? apt-get install python3");
        let answer = namespace.run(|| {
            let mut stream = TcpStream::connect("127.0.0.1:7000").unwrap();
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(b"hello", "127.0.0.1:7000").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        assert_eq!(answer, "tcp-7000:udp-7000 hello");
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}
