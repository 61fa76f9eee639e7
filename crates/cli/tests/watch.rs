//! `portolan watch`, end to end: what opens and closes is told as it happens, and it ends in every way it says.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use portolan_testbed::{Answer, Held, Namespace, Signal, Telling, program};
use serde_json::Value;

fn watch(namespace: &Namespace, arguments: &[&str]) -> Command {
    let mut command = namespace.command(program("portolan"));
    command.args(["watch", "--interval", "0.1"]).args(arguments);
    command
}

/// A watch that has had its first look.
fn begin(namespace: &Namespace, arguments: &[&str]) -> Telling {
    let mut begun = Telling::begin(&mut watch(namespace, arguments));
    assert!(begun.line().contains(if arguments.contains(&"--json") { "begun" } else { "watching: " }));
    begun
}

fn file(namespace: &Namespace, name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{}.{name}", namespace.name()))
}

#[test]
fn what_opens_and_closes_is_told_with_its_owner_until_a_signal() {
    let namespace = Namespace::new();
    for signal in [Signal::INT, Signal::TERM] {
        let mut watching = begin(&namespace, &["--port", "7000"]);
        let held = Held::new(&namespace, "tcp-listen 127.0.0.1:7000");
        let opened = watching.line_with("opened");
        let owner = format!("testbed (pid {}", held.pid());
        assert!(opened.contains("LISTEN") && opened.contains("127.0.0.1:7000"), "{opened}");
        assert!(opened.contains(&owner), "{opened}");
        watching.line_with("now: 1 socket (1 LISTEN)\n");
        drop(held);
        let closed = watching.line_with("closed");
        assert!(closed.contains(&owner), "{closed}");
        watching.line_with("now: 0 sockets\n");
        watching.signal(signal);
        assert_eq!(watching.end().1, Some(0), "{signal:?}");
    }
}

#[test]
fn a_connection_that_ends_changes_its_state_and_does_not_close() {
    let namespace = Namespace::new();
    let _server = Held::new(&namespace, "tcp-listen 127.0.0.1:7000 --accept");
    let mut watching = begin(&namespace, &["--state", "established", "--remote-port", "7000", "--json"]);
    let client = namespace.run(|| std::net::TcpStream::connect("127.0.0.1:7000").unwrap());
    let opened: Value = serde_json::from_str(&watching.line()).unwrap();
    assert_eq!(opened["opened"][0]["state"], "ESTABLISHED", "{opened}");
    assert_eq!(opened["states"], serde_json::json!({ "ESTABLISHED": 1 }));
    drop(client);
    let changed: Value = serde_json::from_str(&watching.line()).unwrap();
    assert_eq!(changed["changed"][0]["was"], "ESTABLISHED", "{changed}");
    assert_eq!((&changed["closed"], &changed["sockets"]), (&serde_json::json!([]), &0.into()));
    watching.signal(Signal::INT);
    assert_eq!(watching.end().1, Some(0));
}

#[test]
fn a_condition_ends_it_and_a_time_says_that_it_was_not_reached() {
    let namespace = Namespace::new();
    let mut watching = begin(&namespace, &["--port", "7000", "--until", "closed>=1"]);
    let held = Held::new(&namespace, "tcp-listen 127.0.0.1:7000");
    watching.line_with("opened");
    drop(held);
    watching.line_with("reached: closed>=1");
    assert_eq!(watching.end().1, Some(0));
    let told = Answer::of(&mut watch(&namespace, &["--until", "listen=0"])).with_code(0);
    assert!(told.output.contains("reached: listen=0"), "{told}");
    // Nothing listens on it: that is no socket that closed, and none in the state of that name.
    for never in ["closed>=1", "state:closed>=1"] {
        Answer::of(&mut watch(&namespace, &["--until", never, "--for", "0.3"])).with_code(1);
    }
    let told = Answer::of(&mut watch(&namespace, &["--until", "listen>0", "--for", "0.3"])).with_code(1);
    assert_eq!(told.errors, "portolan: listen>0 was not reached in 0.3 s; leave --for out to wait on\n");
    Answer::of(&mut watch(&namespace, &["--for", "0.2"])).with_code(0);
    let waiting = begin(&namespace, &["--until", "listen>0"]);
    waiting.signal(Signal::INT);
    assert_eq!(waiting.end().1, Some(1));
}

#[test]
fn a_program_runs_when_the_condition_is_reached_or_something_changed() {
    let namespace = Namespace::new();
    let exec = ["--until", "listen=0", "--json", "--exec", "sh", "-c", "echo ran; kill -INT $$; exit 7"];
    let told = Answer::of(&mut watch(&namespace, &exec)).with_code(0);
    assert_eq!(told.output.lines().count(), 1, "{told}");
    assert!(told.errors.starts_with("ran\nportolan: sh ended with signal: 2"), "{told}");
    let told = Answer::of(&mut watch(&namespace, &["--until", "listen=0", "--exec", "no-such-program"]));
    assert!(told.clone().with_code(2).errors.contains("cannot run no-such-program; give --exec"), "{told}");
    let mark = file(&namespace, "ran");
    let touch = ["--port", "7000", "--exec", "touch", mark.to_str().unwrap()];
    let mut watching = begin(&namespace, &touch);
    assert!(!mark.exists());
    let held = Held::new(&namespace, "tcp-listen 127.0.0.1:7000");
    watching.line_with("now: 1 socket");
    drop(held);
    // It runs before the next look.
    watching.line_with("closed");
    assert!(mark.exists());
    fs::remove_file(mark).unwrap();
}

#[test]
fn the_log_is_whole_whatever_ends_it_and_is_never_written_over() {
    let namespace = Namespace::new();
    let log = file(&namespace, "log");
    let arguments = ["--port", "7000", "--json", "--log", log.to_str().unwrap()];
    let mut watching = begin(&namespace, &arguments);
    let held = Held::new(&namespace, "tcp-listen 127.0.0.1:7000");
    watching.line_with("127.0.0.1");
    watching.signal(Signal::KILL);
    assert_eq!(watching.end().1, None);
    drop(held);
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), lines[1]["opened"].as_array().unwrap().len()), (2, 1), "{text}");
    let told = Answer::of(&mut watch(&namespace, &arguments)).with_code(2);
    assert_eq!((told.output.as_str(), told.errors.lines().count()), ("", 1), "{told}");
    assert!(told.errors.ends_with("is there already: name another file, or add to it with --append\n"));
    let more = watch(&namespace, &arguments).args(["--append", "--for", "0"]).output().unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap(), text + std::str::from_utf8(&more.stdout).unwrap());
    fs::remove_file(&log).unwrap();
    let csv = ["--format", "csv", "--for", "0", "--append", "--log", log.to_str().unwrap()];
    for _ in 0..2 {
        Answer::of(&mut watch(&namespace, &csv)).with_code(0);
    }
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("time,change")).count(), 1, "{text}");
    fs::remove_file(log).unwrap();
}

#[test]
fn what_is_typed_wrong_is_one_line() {
    let namespace = Namespace::new();
    for (arguments, part) in [
        (&["--until", "establish>1"][..], "did you mean established?"),
        (&["--until", "listen"], "compares nothing"),
        (&["--until", "closed"], "nobody listens: 'listen=0'"),
        (&["--until", "close>=1"], "in the state CLOSED: 'state:closed>=1'"),
        (&["--interval", "0"], "0.05"),
        (&["--interval", "1e18"], "86400"),
        (&["--append"], "--log"),
        (&["--from", "x.json"], "leave --from out"),
        (&["--log", "/no/such/folder/log"], "name another file"),
    ] {
        let mut command = namespace.command(program("portolan"));
        let told = Answer::of(command.arg("watch").args(arguments)).with_code(2);
        assert_eq!((told.output.as_str(), told.errors.lines().count()), ("", 1), "{told}");
        assert!(told.errors.contains(part), "{told}");
    }
}

/// A watch on a terminal of its own, from its first look on.
struct OnTerminal {
    child: Child,
    controller: File,
    terminal: OwnedFd,
}

impl OnTerminal {
    fn mode(&self) -> rustix::termios::LocalModes {
        rustix::termios::tcgetattr(&self.terminal).unwrap().local_modes
    }

    fn begin(namespace: &Namespace) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).and_then(|()| unlockpt(&controller)).unwrap();
        let terminal = ioctl_tiocgptpeer(&controller, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let mut command = watch(namespace, &["--port", "7000"]);
        let own = || Stdio::from(terminal.try_clone().unwrap());
        let child = command.stdin(own()).stdout(own()).stderr(own()).spawn().unwrap();
        let mut begun = Self { child, controller: File::from(controller), terminal };
        let mut text = String::new();
        while !text.contains("Esc, q or Ctrl+C ends it") {
            let mut buffer = [0; 1024];
            let length = begun.controller.read(&mut buffer).unwrap();
            text += &String::from_utf8_lossy(&buffer[..length]);
        }
        begun
    }
}

#[test]
fn keys_end_it_on_a_terminal_whose_mode_is_restored() {
    use rustix::termios::LocalModes;
    let namespace = Namespace::new();
    for (key, ends) in [("q", "key"), ("\u{1b}", "key"), ("\u{1c}", "key"), ("x\u{1b}[A", "signal")] {
        let mut watching = OnTerminal::begin(&namespace);
        assert!(!watching.mode().intersects(LocalModes::ICANON | LocalModes::ECHO));
        watching.controller.write_all(key.as_bytes()).unwrap();
        if ends == "signal" {
            let kill = format!("kill -TERM {}", watching.child.id());
            assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        }
        assert_eq!(watching.child.wait().unwrap().code(), Some(0), "{key:?}");
        assert!(watching.mode().contains(LocalModes::ICANON | LocalModes::ECHO), "{key:?}");
    }
}
