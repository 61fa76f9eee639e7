//! The program on Windows, end to end: sockets of this test itself, with the same exit codes and JSON as on Linux. Runs
//! on Windows and under Wine; what Wine does not have (netsh's output, the event log) must be a gap there, never "none".
#![cfg(target_os = "windows")]

mod console;
#[path = "../wine/described.rs"]
mod described;
mod network;
mod portqry;
mod probe;
mod record;
mod same;
mod stop;

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// No command here takes longer than some seconds, even under Wine with a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// The program: what cargo built for the test, or the one to be tried instead.
fn program() -> PathBuf {
    std::env::var_os("PORTOLAN_TRIED").map_or_else(|| env!("CARGO_BIN_EXE_portolan").into(), PathBuf::from)
}

fn portolan(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command to its end, or ends it and fails.
fn run(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut errors = Vec::new();
        std::io::Read::read_to_end(&mut stderr, &mut errors).unwrap();
        sender.send(errors)
    });
    let (sender, output) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut stdout, &mut bytes).unwrap();
        sender.send(bytes)
    });
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            let (stdout, stderr) = (output.recv().unwrap(), receiver.recv().unwrap());
            return Output { status, stdout, stderr };
        }
        if start.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("{command:?} did not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a command says, once it is certain that it ended with this exit code.
#[track_caller]
fn says(arguments: &[&str], code: i32) -> String {
    let output = run(portolan(arguments));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The one line that a command complains with.
#[track_caller]
fn complains(arguments: &[&str], code: i32) -> String {
    let output = run(portolan(arguments));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), text.lines().count()), (Some(code), 1), "{arguments:?}: {text}");
    text
}

#[track_caller]
fn json(arguments: &[&str], code: i32) -> Value {
    serde_json::from_str(&says(&[arguments, &["--json"]].concat(), code)).unwrap()
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A port that nobody holds: of a listener that is gone.
fn free_port() -> String {
    listener().1.port().to_string()
}

/// The row of a socket, by its local end and state.
fn row<'a>(sockets: &'a Value, local: SocketAddr, state: &str) -> Option<&'a Value> {
    sockets["sockets"].as_array().unwrap().iter().find(|socket| {
        socket["local"]["address"] == local.ip().to_string()
            && socket["local"]["port"] == local.port()
            && socket["state"] == state
    })
}

fn own_name() -> String {
    std::env::current_exe().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
}

#[track_caller]
fn assert_own(socket: &Value) {
    assert_eq!(socket["owner_state"], "seen", "{socket}");
    let owners = socket["owners"].as_array().unwrap();
    assert_eq!(owners.len(), 1, "{socket}");
    assert_eq!(owners[0]["pid"], std::process::id(), "{socket}");
    assert_eq!(owners[0]["name"], own_name(), "{socket}");
    assert_eq!(owners[0]["executable"], std::env::current_exe().unwrap().to_str().unwrap(), "{socket}");
}

fn gap_about<'a>(answer: &'a Value, what: &str) -> Option<&'a Value> {
    answer["gaps"].as_array().unwrap().iter().find(|gap| gap["what"] == what)
}

#[test]
fn sockets_are_listed_with_state_ends_and_owner() {
    for any in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(any).unwrap();
        let local = listener.local_addr().unwrap();
        let client = TcpStream::connect(local).unwrap();
        let udp = UdpSocket::bind(any).unwrap();
        let all = json(&["list"], 0);
        assert_own(row(&all, local, "LISTEN").unwrap());
        let connected = row(&all, client.local_addr().unwrap(), "ESTABLISHED").unwrap();
        assert_own(connected);
        assert_eq!(connected["remote"]["port"], local.port());
        let unconnected = row(&all, udp.local_addr().unwrap(), "UNCONNECTED").unwrap();
        assert_own(unconnected);
        assert_eq!(unconnected["transport"], "udp");

        let filtered =
            json(&["list", "--transport", "udp", "--port", &udp.local_addr().unwrap().port().to_string()], 0);
        assert_eq!(filtered["sockets"].as_array().unwrap().len(), 1, "{filtered}");
    }
}

#[test]
fn who_names_the_holder_and_says_when_there_is_none() {
    let (_listener, address) = listener();
    let answer = json(&["who", &address.port().to_string()], 0);
    let owner = &answer["ports"][0]["holders"][0]["owner"];
    assert_eq!((&owner["pid"], &owner["name"]), (&std::process::id().into(), &own_name().into()));
    assert!(owner["user"].as_str().unwrap().contains('\\'), "{owner}");
    assert!(owner["started_ms"].as_u64().unwrap() > 1_600_000_000_000, "{owner}");
    json(&["who", &free_port()], 1);
}

#[test]
fn why_names_the_code_the_holder_and_does_not_take_the_port_over() {
    let (_listener, address) = listener();
    let answer = json(&["why", &address.to_string()], 1);
    assert_eq!(answer["error"], serde_json::json!({ "name": "WSAEADDRINUSE", "code": 10048 }));
    assert_eq!(answer["findings"][0]["rule"], "held-by-process", "{answer}");
    let trials = answer["trials"].as_array().unwrap();
    assert_eq!((&trials[0]["result"], &trials[0]["inferred"]), (&"refused".into(), &false.into()));
    assert_eq!((&trials[1]["result"], &trials[1]["inferred"]), (&"not-tried".into(), &true.into()));
    assert!(trials[1]["reason"].as_str().unwrap().contains("would take it over"), "{answer}");
}

#[test]
fn a_udp_trial_on_one_address_is_not_made_beside_a_socket_for_all_of_them() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let output = run(portolan(&["why", &format!("127.0.0.1:{port}/udp"), "--json"]));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["trials"][0]["result"], "not-tried", "{answer}");
    assert!(answer["trials"][0]["reason"].as_str().unwrap().contains("take its datagrams"), "{answer}");
}

#[test]
fn why_says_that_a_free_port_binds_and_that_a_foreign_address_does_not() {
    let answer = json(&["why", &free_port()], 0);
    assert_eq!((&answer["bindable"], &answer["error"]), (&true.into(), &Value::Null), "{answer}");
    let answer = json(&["why", "192.0.2.1:8080"], 1);
    assert_eq!(answer["error"]["code"], 10049);
    assert_eq!(answer["findings"][0]["rule"], "address-not-local", "{answer}");
}

#[test]
fn what_netsh_does_not_tell_is_a_gap_and_never_none() {
    let scratch = Scratch::new("gaps");
    let file = scratch.path("snapshot.json");
    says(&["snapshot", "--out", &file], 0);
    let snapshot: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let unread = gap_about(&snapshot, "ranges").is_some();
    let ranges = snapshot["ranges"].as_array().unwrap().len();
    assert!(unread || ranges == 4, "{ranges} ranges and no gap");
    let is_wine = !unread || ranges < 4;
    assert!(is_wine, "{ranges} ranges beside a gap");
    assert_eq!(gap_about(&snapshot, "reservations").is_some(), unread, "{}", snapshot["gaps"]);
    assert_eq!(snapshot["host"]["system"], "windows");
    assert!(snapshot["host"]["release"].as_str().unwrap().starts_with("10.0."));
    let addresses = snapshot["addresses"].as_array().unwrap();
    assert!(addresses.iter().any(|local| local["address"] == "127.0.0.1"), "{addresses:?}");
    let components: Vec<&str> =
        snapshot["components"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(components, ["winnat", "hns", "iphlpsvc", "http", "hyper-v"]);
}

#[test]
fn a_snapshot_answers_as_the_machine_did() {
    let (_listener, address) = listener();
    let scratch = Scratch::new("round-trip");
    let file = scratch.path("snapshot.json");
    says(&["snapshot", "--out", &file], 0);
    let port = address.port().to_string();
    let listed = json(&["list", "--from", &file], 0);
    assert_own(row(&listed, address, "LISTEN").unwrap());
    let live = json(&["list", "--port", &port], 0);
    let kept = json(&["list", "--port", &port, "--from", &file], 0);
    assert_eq!(live["sockets"], kept["sockets"]);
    assert_eq!(
        json(&["who", &port, "--from", &file], 0)["ports"][0]["holders"][0]["owner"]["name"],
        own_name()
    );
    assert_eq!(
        json(&["why", &address.to_string(), "--from", &file], 1)["findings"][0]["rule"],
        "held-by-process"
    );
}

#[test]
fn the_chart_names_listeners_and_the_manual_and_the_schema_are_there() {
    let (_listener, address) = listener();
    let chart = says(&[], 0);
    assert!(chart.contains(&own_name()) && chart.contains(&address.port().to_string()), "{chart}");
    assert!(says(&["explain", "held-by-process"], 0).contains("held-by-process"));
    assert!(complains(&["explain", "no-such-rule"], 2).contains("portolan explain"));
    serde_json::from_str::<Value>(&says(&["schema"], 0)).unwrap();
    assert!(says(&["completions", "powershell"], 0).contains("Register-ArgumentCompleter"));
}

#[test]
fn a_port_is_picked_held_and_waited_for() {
    let picked = json(&["pick", "--near", "20000"], 0);
    let port = picked["ports"][0].as_u64().unwrap();
    TcpListener::bind(("127.0.0.1", u16::try_from(port).unwrap())).unwrap();

    let (listener, address) = listener();
    let port = address.port().to_string();
    assert!(complains(&["hold", &port, "--address", "127.0.0.1", "--for", "1"], 1).contains("WSAEADDRINUSE"));
    says(&["wait", &port, "--for", "listening", "--timeout", "20"], 0);
    drop(listener);
    says(&["hold", &port, "--for", "1"], 0);

    let command = ["hold", &port, "--", "cmd", "/c", "exit 7"];
    assert_eq!(run(portolan(&command)).status.code(), Some(7), "its exit code is the command's");
}

#[test]
fn what_windows_does_not_have_is_one_clear_line() {
    for (arguments, expected) in [
        (&["list", "--netns", "blue"][..], "Windows has no network namespaces; leave --netns out"),
        (&["why", "8080", "--user", "bob"], "leave --user out"),
    ] {
        let message = complains(arguments, 2);
        assert!(message.contains(expected), "{message}");
        assert_eq!(message.matches(expected).count(), 1, "{message}");
    }
}

/// A folder of this test's own, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portolan-{name}-{}", std::process::id()));
        // A run that was killed left its own behind, and Wine gives the same pids again.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
