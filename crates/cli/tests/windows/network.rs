//! The commands that talk or look longer, on Windows: sweeping addresses, `connect`, `watch`, `budget`, and what a way
//! to a host cannot tell under Wine.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

use serde_json::Value;

use super::{free_port, json, own_name, portolan, run, says};

/// A server that greets, answers each line, and hangs up after QUIT.
fn mail_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(b"220 ready\r\n").unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for line in lines.map_while(Result::ok) {
                let answer = if line == "QUIT" { "221 bye\r\n" } else { "250 well\r\n" };
                if stream.write_all(answer.as_bytes()).is_err() || line == "QUIT" {
                    break;
                }
            }
        }
    });
    port
}

#[test]
fn a_script_talks_to_a_server_and_what_is_not_heard_is_exit_code_1() {
    let port = mail_server().to_string();
    let talk = |last: &str, code| {
        let words =
            ["--expect", "220", "--send", "HELO me", "--expect", "250", "--send", "QUIT", "--expect", last];
        says(&[&["connect", "127.0.0.1", &port][..], &words, &["--timeout", "5"]].concat(), code)
    };
    assert!(talk("221", 0).contains("221 bye"));
    talk("999", 1);
    says(&["connect", "127.0.0.1", &free_port(), "--expect", "220"], 1);
}

#[test]
fn what_is_typed_goes_out_with_the_ends_of_lines_that_protocols_want() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut command = portolan(&["connect", "127.0.0.1", &port]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    child.stdin.take().unwrap().write_all(b"GET / HTTP/1.0\n\n").unwrap();
    let mut heard = [0; 18];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"GET / HTTP/1.0\r\n\r\n");
    stream.write_all(b"HTTP/1.0 204 No Content\r\n\r\n").unwrap();
    drop(stream);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("204 No Content"), "{output:?}");
}

#[test]
fn addresses_are_swept() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let (open, closed) = (listener.local_addr().unwrap().port().to_string(), free_port());
    let ports = format!("{open},{closed}");
    let report = json(&["probe", "127.0.0.0/28", "-p", &ports, "--bare"], 1);
    let results = report["results"].as_array().unwrap();
    let count = |state: &str| results.iter().filter(|result| result["state"] == state).count();
    assert_eq!((count("open"), count("closed")), (results.len() / 2, results.len() / 2), "{report}");
    assert!(results.len() >= 28, "{report}");
    let numbers = json(&["probe", "127.0.0.1", "-p", "1-2000", "--bare"], 1);
    let told: usize = numbers["results"].as_array().unwrap().len();
    assert!(told <= 2000, "{told}");
}

#[test]
fn a_watch_tells_what_opens_and_closes_and_ends_when_its_condition_holds() {
    let port = free_port();
    let words = ["watch", "--port", &port, "--interval", "0.1", "--for", "60", "--json"];
    let mut child = portolan(&words).args(["--until", "closed>=1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let begun: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!(begun["event"], "begun", "{begun}");
    let listener = TcpListener::bind(("127.0.0.1", port.parse::<u16>().unwrap())).unwrap();
    let opened = lines.next().unwrap();
    assert!(opened.contains("opened") && opened.contains(&own_name()), "{opened}");
    drop(listener);
    let closed = lines.next().unwrap();
    assert!(closed.contains("closed"), "{closed}");
    lines.by_ref().for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    says(&["watch", "--port", &port, "--interval", "0.1", "--for", "0.5", "--until", "listen>=1"], 1);
}

#[test]
fn a_leak_is_named_with_its_program_and_what_wine_does_not_tell_is_a_gap() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _forgotten: Vec<TcpStream> = (0..150)
        .map(|_| {
            let client = TcpStream::connect(address).unwrap();
            let (server, _) = listener.accept().unwrap();
            drop(client);
            // An accepted socket is inherited by every program that a test starts, and then may be told to be that
            // one's; a copy is not.
            server.try_clone().unwrap()
        })
        .collect();
    let report = json(&["budget"], 1);
    let findings = report["findings"].as_array().unwrap();
    let leak = findings.iter().find(|finding| finding["rule"] == "close-wait-leak");
    let leak = leak.unwrap_or_else(|| panic!("{report:#}"))["summary"].as_str().unwrap();
    assert!(leak.starts_with(&format!("{} (pid {})", own_name(), std::process::id())), "{leak}");
    let users = report["users"].as_array().unwrap();
    let own = users.iter().find(|user| user["owner"]["pid"] == std::process::id());
    let handles = own.unwrap_or_else(|| panic!("{report:#}"))["socket_handles"].as_u64();
    // Of each pair the accepted end is open, and those that tests beside this one hold.
    assert!(handles.is_some_and(|handles| handles > 150), "{report:#}");
    let gaps = report["gaps"].to_string();
    for what in ["ranges", "event log"] {
        assert!(gaps.contains(&format!("\"what\":\"{what}\"")), "{what}: {gaps}");
    }
}

#[test]
fn a_host_without_ports_is_answered_for_as_far_as_the_system_can_tell() {
    let output = run(portolan(&["probe", "::1", "--json"]));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let answers = report["hosts"][0]["addresses"][0]["echo"]["answers"].as_u64();
    match output.status.code() {
        Some(0) => assert!(answers.is_some_and(|answers| answers > 0), "{report:#}"),
        // Wine sends no echo request over IPv6.
        code => {
            assert_eq!((code, answers), (Some(2), None), "{report:#}");
            assert!(report["gaps"].to_string().contains("\"what\":\"echo\""), "{report:#}");
        }
    }
}

#[test]
fn portqry_ends_as_promised_from_a_script() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (open, closed) = (listener.local_addr().unwrap().port().to_string(), free_port());
    for (words, code) in [
        (format!("portqry -n 127.0.0.1 -nr -e {open}"), 0),
        (format!("portqry -n 127.0.0.1 -nr -e {closed}"), 1),
        ("portqry -n 127.0.0.1 -e x".to_owned(), 99),
    ] {
        let output = run({
            let mut command = std::process::Command::new("cmd");
            command.args(["/d", "/c"]).arg(super::program());
            command.args(words.split(' ')).stdin(Stdio::null());
            command
        });
        assert_eq!(output.status.code(), Some(code), "{words}: {output:?}");
    }
}
