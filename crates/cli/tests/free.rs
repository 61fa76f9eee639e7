//! `portolan free`, end to end, on real processes in network namespaces: who is stopped, who lives, and what is said.
#![cfg(target_os = "linux")]

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use portolan_testbed::{Answer, Held, Namespace, program};
use serde_json::Value;

/// Users without rights.
const USER: u32 = 64_001;
const OTHER_USER: u32 = 64_002;

/// A folder for the journal, gone with the test.
struct State(PathBuf);

impl State {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("portolan-free-{}-{number}", std::process::id())))
    }

    fn plans(&self) -> usize {
        std::fs::read_dir(&self.0).map_or(0, |entries| {
            entries.flatten().filter(|entry| entry.path().extension().is_some_and(|e| e == "jsonl")).count()
        })
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(mut command: Command, state: &State, words: &str) -> Answer {
    Answer::of(command.env("PORTOLAN_STATE", &state.0).arg("free").args(words.split_whitespace()))
}

/// `portolan free WORDS --yes` as root.
fn free(namespace: &Namespace, words: &str) -> Answer {
    run(namespace.command(program("portolan")), &State::new(), &format!("{words} --yes"))
}

fn free_as(uid: u32, namespace: &Namespace, words: &str) -> Answer {
    run(namespace.command_as(uid, program("portolan")), &State::new(), &format!("{words} --yes"))
}

/// The one line of a refusal, which leaves everybody alive.
#[track_caller]
fn refused(answer: &Answer, reason: &str) {
    let answer = answer.clone().with_code(1);
    assert!(answer.errors.contains(reason), "{answer}");
    assert_eq!(answer.errors.lines().count(), 1, "{answer}");
    assert_eq!(answer.output, "", "{answer}");
}

#[track_caller]
fn freed(answer: &Answer) -> Value {
    let json = answer.clone().with_code(0).json();
    assert_eq!((&json["done"], &json["ports"][0]["free"]), (&true.into(), &true.into()), "{json:#}");
    json
}

/// What is told to people, however its lines are broken.
fn told(answer: &Answer) -> String {
    answer.output.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn await_end(held: &mut Held) {
    while !held.has_ended() {
        std::thread::yield_now();
    }
}

fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[test]
fn a_plain_process_is_ended_and_the_port_binds() {
    for (word, port) in [
        ("tcp-listen 0.0.0.0:8080", "8080"),
        ("tcp-listen [::]:8080", "8080/tcp"),
        ("tcp-bound 127.0.0.1:8080", "8080"),
        ("udp 127.0.0.1:8080", "8080/udp"),
    ] {
        let namespace = Namespace::new();
        let mut held = Held::new(&namespace, word);
        let state = State::new();
        let command = namespace.command(program("portolan"));
        let json = freed(&run(command, &state, &format!("{port} --yes --json")));
        await_end(&mut held);
        assert_eq!(json["ports"][0]["binds"], true, "{json:#}");
        assert_eq!(json["ports"][0]["binds_with_reuse"], true, "{json:#}");
        assert!(json["steps"][0]["action"].as_str().unwrap().contains(&held.pid().to_string()), "{json:#}");
        assert_eq!(state.plans(), 1, "it stands in the journal");
    }
}

#[test]
fn nobody_holds_it_so_it_is_free_already() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 127.0.0.1:8081 time-wait 127.0.0.1:8082");
    let state = State::new();
    let answer = run(namespace.command(program("portolan")), &state, "8080 --yes").with_code(0);
    assert!(answer.output.starts_with("free 8080/tcp   free already"), "{answer}");
    assert!(told(&answer).contains("8080/tcp binds, plainly and with SO_REUSEADDR"), "{answer}");
    assert_eq!(state.plans(), 0);
    free(&namespace, "8081/udp").with_code(0);
    let json = freed(&free(&namespace, "8082 --json"));
    assert_eq!(json["ports"][0]["binds"], false, "{json:#}");
    assert!(json["ports"][0]["time_wait_ms"].as_u64().is_some_and(|left| left > 30_000), "{json:#}");
}

#[test]
fn a_parent_and_the_workers_that_share_its_socket_are_all_ended() {
    let namespace = Namespace::new();
    let mut held = Held::new(&namespace, "tcp-listen 0.0.0.0:8080 --workers 3");
    let json = freed(&free(&namespace, "8080 --json"));
    assert_eq!(json["steps"].as_array().map(Vec::len), Some(4), "{json:#}");
    assert_eq!(json["ports"][0]["binds"], true, "{json:#}");
    await_end(&mut held);
    assert!(held.holdings[0].workers.iter().all(|pid| !runs(*pid)));
}

#[test]
fn one_that_ignores_the_signal_lives_unless_it_is_forced() {
    let namespace = Namespace::new();
    let mut held = Held::new(&namespace, "--ignore-sigterm tcp-listen 0.0.0.0:8080");
    let answer = free(&namespace, "8080 --timeout 0").with_code(1);
    assert!(told(&answer).contains("it still runs 0 s after SIGTERM; --force kills it then"), "{answer}");
    assert!(answer.output.contains("not freed"), "{answer}");
    assert!(!held.has_ended());
    freed(&free(&namespace, "8080 --timeout 0 --force --json"));
    await_end(&mut held);
}

#[test]
fn another_signal_is_sent_when_it_is_named() {
    let namespace = Namespace::new();
    let mut held = Held::new(&namespace, "--ignore-sigterm tcp-listen 0.0.0.0:8080");
    freed(&free(&namespace, "8080 --signal sigint --json"));
    await_end(&mut held);
    let answer = free(&namespace, "8080 --signal STOP").with_code(2);
    assert!(answer.errors.contains("use one of TERM, INT, HUP"), "{answer}");
}

#[test]
fn what_a_supervisor_restarts_at_once_is_named_with_it() {
    let namespace = Namespace::new();
    let mut command = namespace.command("/bin/sh");
    // Only the first may say that it is ready: nobody reads on after that.
    let script = "\"$0\" hold tcp-listen 0.0.0.0:8080; \
                  while :; do \"$0\" hold tcp-listen 0.0.0.0:8080 > /dev/null; done";
    command.arg("-c").arg(script).arg(program("testbed"));
    let mut shell = Held::from_command(command);
    let json = free(&namespace, "8080 --json").with_code(1).json();
    assert!(!shell.has_ended());
    let port = &json["ports"][0];
    assert_eq!(
        (&json["done"], &port["free"], &port["held_again"]),
        (&true.into(), &false.into(), &true.into())
    );
    let verdict = port["verdict"].as_str().unwrap();
    assert!(verdict.contains("0.0.0.0:8080 is held again by testbed (pid "), "{json:#}");
    assert!(verdict.contains(&format!("started by sh (pid {})", shell.pid())), "{json:#}");
    assert_eq!(port["advice"], format!("stop sh first: kill {}", shell.pid()));
    let mut advice = namespace.command("/bin/sh");
    Answer::of(advice.args(["-c", &format!("kill {}", shell.pid())])).with_code(0);
    await_end(&mut shell);
    freed(&free(&namespace, "8080 --json"));
}

#[test]
fn a_zombie_holds_nothing() {
    let namespace = Namespace::new();
    let zombie = Held::new(&namespace, "tcp-listen 0.0.0.0:8080");
    Answer::of(Command::new("/bin/sh").args(["-c", &format!("kill -KILL {}", zombie.pid())])).with_code(0);
    // It stays a zombie, since its parent, this test, does not ask for it.
    while runs(zombie.pid()) {
        std::thread::yield_now();
    }
    let answer = free(&namespace, "8080").with_code(0);
    assert!(told(&answer).contains("free already"), "{answer}");
}

#[test]
fn another_users_holder_is_refused_and_lives_and_ones_own_is_ended() {
    let namespace = Namespace::new();
    let mut other = Held::new(&namespace, &format!("--uid {OTHER_USER} tcp-listen 0.0.0.0:8080"));
    refused(&free_as(USER, &namespace, "8080"), "needs root (CAP_SYS_PTRACE, CAP_KILL)");
    assert!(!other.has_ended());

    let mut own = Held::new(&namespace, &format!("--uid {USER} tcp-listen 0.0.0.0:8081"));
    let state = State::new();
    std::fs::create_dir(&state.0).unwrap();
    std::os::unix::fs::chown(&state.0, Some(USER), Some(USER)).unwrap();
    let command = namespace.command_as(USER, program("portolan"));
    freed(&run(command, &state, "8081 --yes --json"));
    await_end(&mut own);
}

/// A shell that holds 127.0.0.1:8080 as its standard input, and runs portolan in its script.
fn shell_that_holds(namespace: &Namespace, script: &str) -> Answer {
    let state = State::new();
    namespace.run(|| {
        let listener = TcpListener::bind("127.0.0.1:8080").unwrap();
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).arg(program("portolan")).env("PORTOLAN_STATE", &state.0);
        let output = command.stdin(Stdio::from(OwnedFd::from(listener))).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Answer {
            command: script.into(),
            code: output.status.code(),
            output: text(output.stdout),
            errors: text(output.stderr),
        }
    })
}

#[test]
fn itself_and_those_who_started_it_are_never_ended() {
    let namespace = Namespace::new();
    let ancestor =
        shell_that_holds(&namespace, "\"$0\" free 8080 --yes < /dev/null; code=$?; echo alive; exit $code");
    let ancestor = ancestor.with_code(1);
    assert_eq!(ancestor.output, "alive\n", "{ancestor}");
    assert!(
        ancestor.errors.contains("sh (pid ") && ancestor.errors.contains("has started this program"),
        "{ancestor}"
    );
    assert!(!ancestor.errors.contains("this program itself"), "{ancestor}");

    let itself = shell_that_holds(&namespace, "exec \"$0\" free 8080 --yes").with_code(1);
    assert!(itself.errors.contains("this program itself holds it"), "{itself}");
}

/// The program is the first process of a pid namespace of its own; `nsenter` goes there.
struct First {
    held: Held,
    pid: u32,
}

impl First {
    fn new(namespace: &Namespace, words: &str) -> Self {
        let mut command = namespace.command("/usr/bin/unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
        command.arg(program("testbed")).arg("hold").args(words.split_whitespace());
        let held = Held::from_command(command);
        let children = format!("/proc/{0}/task/{0}/children", held.pid());
        let pid = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
        Self { held, pid }
    }
}

#[test]
fn the_first_process_is_never_ended() {
    let namespace = Namespace::new();
    let mut first = First::new(&namespace, "tcp-listen 0.0.0.0:8080");
    let mut command = namespace.command("/usr/bin/nsenter");
    command.args(["--target", &first.pid.to_string(), "--pid", "--mount", "--"]).arg(program("portolan"));
    refused(&run(command, &State::new(), "8080 --yes --force"), "testbed (pid 1");
    assert!(!first.held.has_ended() && runs(first.pid));
}

#[test]
fn a_critical_program_is_ended_only_when_it_is_named() {
    let namespace = Namespace::new();
    let mut held = Held::new(&namespace, "--name sshd tcp-listen 0.0.0.0:8080");
    refused(&free(&namespace, "8080 --force"), "add --even-if-critical 'sshd'");
    refused(&free(&namespace, "8080 --even-if-critical login"), "sshd");
    assert!(!held.has_ended());
    freed(&free(&namespace, "8080 --even-if-critical sshd --json"));
    await_end(&mut held);
}

#[test]
fn clients_are_never_touched() {
    let (namespace, elsewhere) = (Namespace::new(), Namespace::new());
    namespace.link("10.77.0.1/24", &elsewhere, "10.77.0.2/24");
    let server = Held::new(&elsewhere, "tcp-listen 10.77.0.2:8080 --accept");
    let mut client = Held::new(&namespace, "connections 10.77.0.2:8080 --as-client --count 2");
    let answer = free(&namespace, "8080").with_code(0);
    assert!(told(&answer).contains("free already"), "{answer}");
    let from = client.holdings[0].local[0];
    refused(&free(&namespace, &from.port().to_string()), &format!("`portolan close --local {from}`"));
    assert!(!client.has_ended());

    let mut held = Held::new(&namespace, "tcp-listen 0.0.0.0:8080");
    freed(&free(&namespace, "8080 --json"));
    await_end(&mut held);
    assert!(!client.has_ended());
    drop(server);
}

#[test]
fn a_dry_run_shows_what_is_hit_and_changes_nothing() {
    let namespace = Namespace::new();
    let words = "connections 127.0.0.1:8080 --count 2 tcp-listen 127.0.0.1:9229";
    let mut held = Held::new(&namespace, words);
    let state = State::new();
    let answer = run(namespace.command(program("portolan")), &state, "8080 --dry-run").with_code(0);
    for part in [
        "a dry run: nothing was changed",
        &format!("send SIGTERM to testbed (pid {})", held.pid()),
        "cannot be taken back",
        "4 open connections drop",
        "what ends here also holds 9229/tcp",
        "testbed hold connections",
    ] {
        assert!(told(&answer).contains(part), "{part}: {answer}");
    }
    assert!(!held.has_ended());
    assert!(!state.0.exists(), "no journal is made for a dry run");
    let unasked = run(namespace.command(program("portolan")), &state, "8080").with_code(1);
    assert!(unasked.errors.contains("add --yes to do it"), "{unasked}");
    assert!(!held.has_ended() && !state.0.exists());
}

#[test]
fn with_tree_what_the_holder_started_ends_too() {
    for (option, child_lives) in [("", true), ("--tree", false)] {
        let namespace = Namespace::new();
        let mut child = TreeOfTwo::new(&namespace);
        let answer = free(&namespace, &format!("8080 {option}")).with_code(0);
        while runs(child.parent.id()) {
            std::thread::yield_now();
            child.parent.try_wait().unwrap();
        }
        assert_eq!(runs(child.child), child_lives, "{answer}");
        assert_eq!(told(&answer).contains("its children get no signal"), child_lives, "{answer}");
    }
}

/// A shell that holds 127.0.0.1:8080 and has started a program that does not.
struct TreeOfTwo {
    parent: Child,
    child: u32,
}

impl TreeOfTwo {
    #[expect(clippy::zombie_processes, reason = "Drop waits for it")]
    fn new(namespace: &Namespace) -> Self {
        let parent = namespace.run(|| {
            let listener = TcpListener::bind("127.0.0.1:8080").unwrap();
            let mut command = Command::new("/bin/sh");
            // The shell keeps the listener as its standard input; its child gets another one.
            command.args(["-c", "sleep 1000 < /dev/null & wait"]).stdin(Stdio::from(OwnedFd::from(listener)));
            command.spawn().unwrap()
        });
        let children = format!("/proc/{0}/task/{0}/children", parent.id());
        loop {
            let text = std::fs::read_to_string(&children).unwrap();
            let child = text.trim().parse::<u32>().ok();
            // Until it has become another program it still has the shell's own descriptors.
            let is = |pid: &u32| {
                std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
            };
            if let Some(child) = child.filter(is) {
                return Self { parent, child };
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for TreeOfTwo {
    fn drop(&mut self) {
        let _ = self.parent.kill();
        let _ = self.parent.wait();
        let _ = Command::new("kill").arg(self.child.to_string()).stderr(Stdio::null()).status();
    }
}

#[test]
fn time_wait_that_is_left_is_told_with_its_seconds() {
    let namespace = Namespace::new();
    let words = "time-wait 127.0.0.1:8080 --reuseaddr tcp-listen 127.0.0.1:8080 --reuseaddr";
    let mut held = Held::new(&namespace, words);
    let json = freed(&free(&namespace, "8080 --json"));
    await_end(&mut held);
    let port = &json["ports"][0];
    assert_eq!((&port["binds"], &port["binds_with_reuse"]), (&false.into(), &true.into()), "{json:#}");
    let verdict = port["verdict"].as_str().unwrap();
    assert!(verdict.starts_with("8080/tcp binds with SO_REUSEADDR now, plainly in "), "{json:#}");
    assert!(verdict.ends_with(" s (TIME_WAIT)"), "{json:#}");
    assert_eq!(port["advice"], "portolan close --port 8080 --state time-wait does not wait");
}

#[test]
fn several_ports_are_freed_at_once_and_one_refusal_stops_all() {
    let namespace = Namespace::new();
    let mut plain = Held::new(&namespace, "tcp-listen 0.0.0.0:8080");
    let mut udp = Held::new(&namespace, "udp 0.0.0.0:8080");
    let mut critical = Held::new(&namespace, "--name dockerd tcp-listen 0.0.0.0:8081");
    refused(&free(&namespace, "8080 8080/udp 8081"), "dockerd");
    assert!(!plain.has_ended() && !udp.has_ended() && !critical.has_ended());
    let json = freed(&free(&namespace, "8080 8080/udp --json"));
    assert_eq!(json["ports"].as_array().map(Vec::len), Some(2), "{json:#}");
    await_end(&mut plain);
    await_end(&mut udp);
    assert!(!critical.has_ended());
}

#[test]
fn what_is_typed_wrong_is_one_line() {
    let namespace = Namespace::new();
    for (words, told) in [
        ("0", "port 0 names no port"),
        ("http", "type a port as in: portolan free 53/udp"),
        ("80/sctp", "use tcp or udp"),
        ("80 --timeout 99999", "99999"),
        ("80 --from x.json", "leave --from out"),
    ] {
        let answer = run(namespace.command(program("portolan")), &State::new(), words).with_code(2);
        assert!(answer.errors.contains(told), "{answer}");
        assert_eq!(answer.errors.lines().count(), 1, "{answer}");
    }
}
