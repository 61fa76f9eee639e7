//! `free` and `close` on Windows, end to end, on real processes: this test program itself, started once more to hold a
//! port in one way or another.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use super::{Scratch, gap_about, listener, portolan, run};

/// What the program is to do, where it was started by a test.
const HOW: &str = "PORTOLAN_TEST_HOLD";

/// Not a test: what others start, by its name. It holds a port until its standard input ends, and says so.
#[test]
#[ignore = "a program for the other tests"]
fn holds() {
    let Ok(how) = std::env::var(HOW) else { return };
    if how.contains("polite") {
        super::console::end_when_asked();
    }
    // It takes the requests to end, and does nothing about them.
    let _deaf = how.contains("deaf").then(|| portolan_host::sys::EndSignals::block().unwrap());
    let mut child = how.contains("parent").then(|| start("idle"));
    let other = how.contains("with-holder").then(|| Holder::new("plain"));
    let listener = (!how.contains("idle")).then(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let own = listener.as_ref().map(|listener| listener.local_addr().unwrap().port());
    let port = own.or_else(|| Some(other.as_ref()?.port)).unwrap_or(0);
    println!("held {port} {}", child.as_ref().map_or(0, Child::id));
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    if let Some(child) = &mut child {
        let _ = child.kill();
    }
}

/// What starts this program to hold a port in such a way.
pub(super) fn command(how: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "stop::holds", "--nocapture"]).env(HOW, how);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn start(how: &str) -> Child {
    command(how).spawn().unwrap()
}

/// A process that holds a port; ended with this value.
pub(super) struct Holder {
    pub(super) process: Child,
    pub(super) port: u16,
    /// Pid of what it has started.
    pub(super) child: u32,
}

impl Holder {
    fn new(how: &str) -> Self {
        Self::of(command(how))
    }

    pub(super) fn of(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut told = lines.map(Result::unwrap).find_map(|line| {
            let (_, rest) = line.split_once("held ")?;
            let (port, child) = rest.split_once(' ')?;
            Some((port.parse().unwrap(), child.trim().parse().unwrap()))
        });
        let (port, child) = told.take().expect("it says what it holds");
        Self { process, port, child }
    }

    pub(super) fn lives(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) fn free(scratch: &Scratch, port: u16, words: &str) -> Output {
    let mut command = portolan(&["free", &port.to_string()]);
    command.args(words.split_whitespace()).env("PORTOLAN_STATE", scratch.path("state"));
    run(command)
}

/// What was said, however its lines are broken, once it is certain that it ended with this exit code.
#[track_caller]
pub(super) fn told(output: &Output, code: i32) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn runs(pid: u32) -> bool {
    let output = run({
        let mut command = Command::new("tasklist");
        command.args(["/fo", "csv", "/nh"]).stdin(Stdio::null());
        command
    });
    String::from_utf8_lossy(&output.stdout).contains(&format!("\"{pid}\""))
}

#[test]
fn a_process_that_nobody_can_ask_lives_until_it_is_forced() {
    let scratch = Scratch::new("free-plain");
    let mut holder = Holder::new("plain");
    let plan = told(&free(&scratch, holder.port, "--dry-run"), 0);
    let pid = holder.process.id();
    assert!(plan.contains(&format!("(pid {pid}) to close, wait up to 10 s for its end")), "{plan}");
    assert!(plan.contains("cannot be taken back") && !plan.contains("SIG"), "{plan}");
    assert!(!std::path::Path::new(&scratch.path("state")).exists(), "a dry run writes no journal");

    let unasked = told(&free(&scratch, holder.port, ""), 1);
    assert!(unasked.contains("add --yes to do it"), "{unasked}");
    let refused = told(&free(&scratch, holder.port, "--yes --timeout 1"), 1);
    assert!(refused.contains("--force terminates it") && refused.contains("not freed"), "{refused}");
    assert!(holder.lives());

    let output = free(&scratch, holder.port, "--yes --force --timeout 1 --json");
    let json: Value = serde_json::from_str(&told(&output, 0)).unwrap();
    let port = &json["ports"][0];
    assert_eq!((&json["done"], &port["free"], &port["binds"]), (&true.into(), &true.into(), &true.into()));
    assert_eq!(holder.process.wait().unwrap().code(), Some(1), "it was terminated");
    TcpListener::bind(("127.0.0.1", holder.port)).unwrap();

    let mut undo = portolan(&["undo", "2", "--yes"]);
    undo.env("PORTOLAN_STATE", scratch.path("state"));
    assert!(told(&run(undo), 1).contains("cannot be taken back"));
    let again = told(&free(&scratch, holder.port, "--yes"), 0);
    assert!(again.contains("free already"), "{again}");
}

#[test]
fn children_are_named_and_end_with_their_parent_when_that_is_asked_for() {
    let scratch = Scratch::new("free-tree");
    let holder = Holder::new("parent");
    let plan = told(&free(&scratch, holder.port, "--dry-run"), 0);
    assert!(plan.contains("its children go on (--tree ends them too)"), "{plan}");
    assert!(plan.contains(&format!("(pid {})", holder.child)), "{plan}");
    assert!(runs(holder.child) && runs(holder.process.id()));
    let both = told(&free(&scratch, holder.port, "--dry-run --tree --signal kill"), 0);
    assert!(both.contains(&format!("terminate {} (pid {})", super::own_name(), holder.child)), "{both}");
    told(&free(&scratch, holder.port, "--yes --tree --signal kill"), 0);
    assert!(!runs(holder.child) && !runs(holder.process.id()));
}

#[test]
fn what_started_the_program_is_never_ended_and_signals_of_others_systems_are_refused() {
    let scratch = Scratch::new("free-refused");
    let (_listener, address) = listener();
    let refused = told(&free(&scratch, address.port(), "--yes --force"), 1);
    assert!(refused.contains("has started this program"), "{refused}");
    let mut holder = Holder::new("plain");
    let refused = told(&free(&scratch, holder.port, "--yes --signal int"), 1);
    assert!(refused.contains("Windows has no signal INT: --signal TERM asks"), "{refused}");
    assert!(holder.lives());
}

#[test]
fn a_connection_is_closed_or_it_is_said_that_the_system_did_not() {
    let scratch = Scratch::new("close");
    let close = |local: &str| {
        let mut command = portolan(&["close", "--local", local, "--yes"]);
        command.env("PORTOLAN_STATE", scratch.path("state"));
        run(command)
    };
    let (listener, address) = listener();
    let client = TcpStream::connect(address).unwrap();
    let (server, _) = listener.accept().unwrap();
    let output = close(&client.local_addr().unwrap().to_string());
    match output.status.code() {
        // Windows, as administrator.
        Some(0) => assert!((&client).read(&mut [0]).is_err(), "the program sees that its connection is gone"),
        // Wine says that it is done and does nothing; without rights nothing is done either.
        _ => {
            let said = told(&output, 1);
            let reasons = ["the connection is still there", "run as administrator"];
            assert!(reasons.iter().any(|reason| said.contains(reason)), "{said}");
            (&server).write_all(b"x").unwrap();
            assert_eq!((&client).read(&mut [0]).unwrap(), 1, "the connection lives");
        }
    }

    drop(client);
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let said = told(&close(&client.local_addr().unwrap().to_string()), 1);
    assert!(said.contains("unsupported: Windows closes IPv4 connections only; `portolan free"), "{said}");
    drop(client);

    let (_listener, address) = super::listener();
    let said = told(&close(&address.to_string()), 1);
    assert!(said.contains("is no connection") && said.contains("portolan free"), "{said}");
}

#[test]
fn what_a_stop_could_not_see_is_told() {
    let scratch = Scratch::new("free-gaps");
    let holder = Holder::new("plain");
    let output = free(&scratch, holder.port, "--dry-run --json");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Wine has no table of bound sockets; where there is one, there is nothing to tell.
    if let Some(gap) = gap_about(&json, "bound sockets") {
        assert_eq!(gap["reason"], "unsupported");
    }
    assert_eq!(json["dry_run"], true);
}
