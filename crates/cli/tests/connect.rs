//! `portolan connect`, typed against real servers and against ends that misbehave.
#![cfg(target_os = "linux")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use portolan_testbed::servers;
use portolan_testbed::{Answer, Namespace, program};

fn connect(namespace: &Namespace, arguments: &[&str]) -> Command {
    let mut command = namespace.command(program("portolan"));
    command.arg("connect").args(arguments).stdin(Stdio::null());
    command
}

fn scripted(namespace: &Namespace, arguments: &[&str]) -> Answer {
    Answer::of(&mut connect(namespace, arguments))
}

/// What came of typing that.
fn typed(namespace: &Namespace, arguments: &[&str], input: &[u8]) -> Answer {
    let mut command = connect(namespace, arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    Answer {
        command: arguments.join(" "),
        code: output.status.code(),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Does something with the first connection to a port of the namespace; what it gave.
fn serve<T: Send + 'static>(
    namespace: &Namespace,
    port: u16,
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let listener = namespace.run(|| TcpListener::bind(("127.0.0.1", port)).unwrap());
    thread::spawn(move || serve(listener.accept().unwrap().0))
}

#[test]
fn a_script_talks_to_a_mail_server_and_a_terminal_server() {
    let namespace = Namespace::new();
    let _servers = (servers::opensmtpd(&namespace), servers::telnetd(&namespace), servers::redis(&namespace));
    let hello =
        ["127.0.0.1", "smtp", "--expect", "220", "--send", "HELO me", "--expect", "\n250", "--send", "QUIT"];
    let answer = scripted(&namespace, &hello).with_code(0);
    assert!(answer.output.contains("\r\n221"), "the answer to the last line is shown: {answer}");
    // It asks for options first, and goes on when they are refused.
    let login = scripted(&namespace, &["127.0.0.1", "23", "--expect", "login:"]).with_code(0);
    assert!(!login.output.contains('\u{fffd}'), "{login}");
    scripted(&namespace, &["127.0.0.1", "6379", "--send", "PING", "--expect", "+PONG"]).with_code(0);
    let not = ["127.0.0.1", "6379", "--send", "PING", "--expect", "+GNOP", "--timeout", "0.3"];
    let answer = scripted(&namespace, &not).with_code(1);
    assert!(answer.errors.contains("0.3 s are over, and '+GNOP' was not heard"), "{answer}");
}

#[test]
fn an_encrypted_session_says_what_is_wrong_with_the_certificate_and_goes_on() {
    let namespace = Namespace::new();
    let _nginx = servers::nginx(&namespace);
    let page = typed(&namespace, &["127.0.0.1", "443", "--tls"], b"GET / HTTP/1.0\n\n").with_code(0);
    assert!(page.output.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.errors.contains("the certificate: it signs itself"), "{page}");
    let plain = scripted(&namespace, &["127.0.0.1", "80", "--tls"]).with_code(1);
    assert!(plain.errors.contains("no TLS") && plain.errors.lines().count() == 1, "{plain}");
    let head = ["127.0.0.1", "80", "--send", "HEAD / HTTP/1.0", "--send", "", "--expect", "200 OK"];
    scripted(&namespace, &head).with_code(0);
}

#[test]
fn lines_end_as_protocols_want_it_and_raw_bytes_stay_what_they_are() {
    let namespace = Namespace::new();
    for (port, options, expected) in
        [(7001, &[][..], &b"a\r\nb\r\nc\xff"[..]), (7002, &["--raw"][..], &b"a\nb\r\nc\xff"[..])]
    {
        let server = serve(&namespace, port, |mut stream| {
            let mut heard = Vec::new();
            // To the end of input; what is said after it is still heard.
            stream.read_to_end(&mut heard).unwrap();
            stream.write_all(b"good\xff\xffbye\n").unwrap();
            heard
        });
        let name = port.to_string();
        let answer =
            typed(&namespace, &[&["127.0.0.1", &name], options].concat(), b"a\nb\r\nc\xff").with_code(0);
        assert_eq!(server.join().unwrap(), expected);
        assert!(answer.output.starts_with("good") && answer.output.ends_with("bye\n"), "{answer}");
    }
}

#[test]
fn options_are_refused_and_a_terminal_gets_no_commands() {
    let namespace = Namespace::new();
    let server = serve(&namespace, 7001, |mut stream| {
        stream.write_all(b"\xff\xfd\x18\xff\xfb\x01\x1b]0;owned\x07\x1b[2J\r\nlogin: ").unwrap();
        let mut refusals = [0; 6];
        stream.read_exact(&mut refusals).unwrap();
        refusals
    });
    // script(1) gives it a terminal; the other end ends first, since standard input stays open.
    let line = format!("'{}' connect 127.0.0.1 7001", program("portolan").display());
    let mut command = namespace.command("script");
    command.args(["-qefc", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let input = child.stdin.take();
    let shown = child.wait_with_output().unwrap();
    drop(input);
    let output = String::from_utf8_lossy(&shown.stdout);
    assert_eq!(shown.status.code(), Some(0), "{output}");
    assert_eq!(server.join().unwrap(), *b"\xff\xfc\x18\xff\xfe\x01");
    assert!(output.contains("\\u{1b}]0;owned\\u{7}\\u{1b}[2J\r\nlogin: "), "{output}");
    assert!(!output.contains('\u{1b}'), "{output}");
}

#[test]
fn ctrl_c_hangs_up_as_one_should() {
    let namespace = Namespace::new();
    let (greeted, is_greeted) = std::sync::mpsc::channel();
    let server = serve(&namespace, 7001, move |mut stream| {
        greeted.send(()).unwrap();
        // An end, and no reset.
        stream.read_to_end(&mut Vec::new())
    });
    let mut command = connect(&namespace, &["127.0.0.1", "7001"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    is_greeted.recv().unwrap();
    let pid = child.id().to_string();
    assert!(namespace.command("kill").args(["-INT", &pid]).status().unwrap().success());
    // Standard input stays open: nothing but the signal ends it.
    assert_eq!(server.join().unwrap().unwrap(), 0);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn an_end_that_never_pauses_is_left_in_time_and_by_ctrl_c() {
    let namespace = Namespace::new();
    let listener = namespace.run(|| TcpListener::bind("127.0.0.1:7000").unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || while stream.write_all(&[b'x'; 65_536]).is_ok() {});
        }
    });
    let quiet = |arguments: &[&str]| {
        let mut command = connect(&namespace, arguments);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let output =
        quiet(&["127.0.0.1", "7000", "--expect", "zzz", "--timeout", "1"]).wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("1 s are over, and 'zzz' was not heard"), "{errors}");
    let mut child = quiet(&["127.0.0.1", "7000", "--expect", "zzz", "--timeout", "600"]);
    thread::sleep(Duration::from_millis(500));
    let pid = child.id().to_string();
    assert!(namespace.command("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn what_trickles_in_after_the_end_of_input_is_waited_for_no_longer_than_the_timeout() {
    let namespace = Namespace::new();
    for (port, options) in [("7001", &[][..]), ("7002", &["--send", "x"][..])] {
        let server = serve(&namespace, port.parse().unwrap(), |mut stream| {
            while stream.write_all(b".").is_ok() {
                thread::sleep(Duration::from_millis(100));
            }
        });
        let start = Instant::now();
        let answer = typed(&namespace, &[&["127.0.0.1", port, "--timeout", "1.5"], options].concat(), b"");
        let answer = answer.with_code(1);
        assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
        assert!(answer.errors.contains("are over, and the other end still talks; --timeout"), "{answer}");
        assert!(answer.output.len() > 5, "{answer}");
        server.join().unwrap();
    }
    // Who has answered and stays silent has said all.
    let server = serve(&namespace, 7003, |mut stream| {
        stream.write_all(b"hello\n").unwrap();
        thread::sleep(Duration::from_secs(4));
    });
    let start = Instant::now();
    let answer = typed(&namespace, &["127.0.0.1", "7003", "--timeout", "1.5"], b"").with_code(0);
    assert!(start.elapsed() >= Duration::from_millis(1500) && answer.output == "hello\n", "{answer}");
    drop(server);
}

#[test]
fn what_cannot_be_reached_is_told_in_one_line() {
    let namespace = Namespace::new();
    let rules = "add table ip t; add chain ip t c { type filter hook input priority 0; }; \
                 add rule ip t c tcp dport 81 drop; add rule ip t c tcp dport 82 reject with icmp admin-prohibited";
    assert!(namespace.command("nft").arg(rules).status().unwrap().success());
    for (arguments, code, part) in [
        (&["127.0.0.1", "80"][..], 1, "nobody listens there; see: portolan probe 127.0.0.1 -p 80"),
        (&["127.0.0.1", "81", "--timeout", "0.3"], 1, "no answer from 127.0.0.1:81 within 0.3 s"),
        (&["127.0.0.1", "82"], 1, "cannot be reached"),
        (&["no-such-host.invalid", "80"], 2, "cannot resolve 'no-such-host.invalid'"),
        (&["127.0.0.1", "70000"], 2, "port 70000 is too large"),
        (&["127.0.0.1", "smpt"], 2, "names no TCP port"),
        (&["127.0.0.1", "80", "--send", "\\q"], 2, "is no escape"),
        (&["198.51.100.9", "80"], 2, "no way leads to 198.51.100.9:80"),
    ] {
        let answer = scripted(&namespace, arguments).with_code(code);
        assert!(
            answer.errors.contains(part) && answer.errors.lines().count() == 1,
            "{arguments:?}: {answer}"
        );
    }
}
