//! `portolan wait`, end to end: each state, reached at once, meanwhile, and not at all; and what the waiting costs.
#![cfg(target_os = "linux")]

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use portolan_testbed::{Answer, Held, Namespace, measured, program};
use serde_json::Value;

fn wait(namespace: &Namespace, arguments: &[&str]) -> Command {
    let mut command = namespace.command(program("portolan"));
    command.arg("wait").args(arguments);
    command
}

fn answer(namespace: &Namespace, arguments: &[&str]) -> Answer {
    Answer::of(&mut wait(namespace, arguments))
}

#[track_caller]
fn reached(namespace: &Namespace, arguments: &[&str]) -> Value {
    let json = answer(namespace, &[arguments, &["--timeout", "20", "--json"]].concat()).with_code(0).json();
    assert_eq!(json["reached"], true, "{json:#}");
    json
}

#[track_caller]
fn not_reached(namespace: &Namespace, arguments: &[&str], last_seen: &str) -> Value {
    let json = answer(namespace, &[arguments, &["--timeout", "0.2", "--json"]].concat()).with_code(1).json();
    assert_eq!((json["reached"].as_bool(), json["last_seen"].as_str()), (Some(false), Some(last_seen)));
    assert!(json["waited_ms"].as_u64().is_some_and(|waited| waited >= 200), "{json:#}");
    json
}

/// A wait that runs, and has looked at least once: it is left some time to, on which no verdict depends.
fn waiting(namespace: &Namespace, arguments: &[&str]) -> Child {
    let mut command = wait(namespace, arguments);
    let child = command.args(["--timeout", "60"]).stdout(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(300));
    child
}

#[track_caller]
fn ended_well(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
}

#[test]
fn each_state_is_told_from_the_others() {
    let namespace = Namespace::new();
    let _held = Held::new(
        &namespace,
        "tcp-listen 127.0.0.1:7000 tcp-listen [::1]:7001 --v6only tcp-bound 127.0.0.1:7002 udp 127.0.0.1:7003",
    );
    for (port, state) in [
        ("7000", "listening"),
        ("7001", "listening"),
        ("7003/udp", "listening"),
        ("7002", "closed"),
        ("7003", "closed"),
        ("7000/udp", "closed"),
        ("7003", "free"),
        ("7000/udp", "free"),
    ] {
        reached(&namespace, &[port, "--for", state]);
    }
    for (port, state, last_seen) in [
        ("7000", "closed", "listening"),
        ("7000", "free", "held"),
        ("7002", "listening", "closed"),
        ("7002", "free", "held"),
        ("7003/udp", "free", "held"),
        ("7004", "listening", "closed"),
    ] {
        not_reached(&namespace, &[port, "--for", state], last_seen);
    }
}

#[test]
fn what_was_seen_last_names_the_holder() {
    let namespace = Namespace::new();
    let held = Held::new(&namespace, "tcp-listen 127.0.0.1:7000");
    let told = answer(&namespace, &["7000", "--for", "free", "--timeout", "0"]).with_code(1);
    let pid = format!("(pid {}", held.pid());
    assert!(told.output.starts_with("7000/tcp is not free after 0.0 s: held by testbed"), "{told}");
    assert!(told.output.contains(&pid) && told.output.lines().count() == 1, "{told}");
}

#[test]
fn a_time_wait_is_waited_for_and_what_remains_is_said() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "time-wait 127.0.0.1:7000");
    reached(&namespace, &["7000", "--for", "closed"]);
    let json = not_reached(&namespace, &["7000", "--for", "free"], "time-wait");
    let detail = json["detail"].as_str().unwrap();
    let seconds = detail.split(' ').filter_map(|word| word.parse::<u32>().ok()).nth(1);
    assert!(seconds.is_some_and(|seconds| (1..=60).contains(&seconds)), "{detail}");
    assert!(detail.contains("SO_REUSEADDR"), "{detail}");
}

#[test]
fn a_service_that_starts_and_ends_meanwhile_is_noticed() {
    for (target, word) in [
        ("7000", "tcp-listen"),
        ("7000/udp", "udp"),
        ("127.0.0.1:7000", "tcp-listen"),
        ("localhost:7000", "tcp-listen"),
    ] {
        let namespace = Namespace::new();
        let child = waiting(&namespace, &[target, "--for", "listening"]);
        let held = Held::new(&namespace, &format!("{word} 127.0.0.1:7000"));
        ended_well(child);
        let children = ["closed", "free"].map(|state| waiting(&namespace, &[target, "--for", state]));
        drop(held);
        children.into_iter().for_each(ended_well);
    }
}

#[test]
fn of_another_host_silence_is_neither_open_nor_closed() {
    let (near, far) = (Namespace::new(), Namespace::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    let _held = Held::new(&far, "tcp-listen 10.9.0.2:7000");
    reached(&near, &["10.9.0.2:7000", "--for", "listening"]);
    reached(&near, &["10.9.0.2:7001", "--for", "closed"]);
    reached(&near, &["10.9.0.2:7001", "--for", "free"]);
    let rules = "add table ip t; add chain ip t c { type filter hook input priority 0 ; policy drop ; }";
    Answer::of(far.command("nft").arg(rules)).with_code(0);
    for state in ["listening", "closed", "free"] {
        let json = not_reached(&near, &["10.9.0.2:7000", "--for", state], "no-answer");
        assert!(json["detail"].as_str().unwrap().contains("10.9.0.2:7000"), "{json:#}");
    }
    let json = not_reached(&near, &["192.0.2.1:80", "--for", "closed"], "unreachable");
    assert!(json["detail"].as_str().unwrap().contains("192.0.2.1:80"), "{json:#}");
    not_reached(&near, &["no-such-host.invalid:80", "--for", "listening"], "unresolved");
}

#[test]
fn a_port_that_may_not_be_bound_is_not_waited_for() {
    let namespace = Namespace::new();
    let mut command = namespace.command_as(65534, program("portolan"));
    let told = Answer::of(command.args(["wait", "80", "--for", "free"])).with_code(2);
    assert_eq!((told.output.as_str(), told.errors.lines().count()), ("", 1), "{told}");
    assert!(told.errors.contains("EACCES") && told.errors.contains("portolan why 80"), "{told}");
}

#[test]
fn what_is_typed_wrong_is_one_line_that_says_what_to_type() {
    let namespace = Namespace::new();
    for (arguments, part) in [
        (&["db:53/udp", "--for", "closed"][..], "UDP port of a host"),
        (&["http", "--for", "closed"], "portolan wait 8080"),
        (&["80", "--for", "open"], "free, listening, closed"),
        (&["80", "--for", "free", "--timeout", "soon"], "number of seconds"),
        (&["80", "--for", "free", "--from", "x.json"], "leave --from out"),
        (&["80"], "--for"),
    ] {
        let told = answer(&namespace, arguments).with_code(2);
        assert_eq!((told.output.as_str(), told.errors.lines().count()), ("", 1), "{told}");
        assert!(told.errors.contains(part), "{told}");
    }
}

#[test]
fn ctrl_c_ends_it_by_the_signal_and_without_a_word() {
    let namespace = Namespace::new();
    let mut command = wait(&namespace, &["7000", "--for", "listening"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(300));
    assert!(
        Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap().success()
    );
    let output = child.wait_with_output().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!((signal, output.stdout, output.stderr), (Some(2), Vec::new(), Vec::new()));
}

#[test]
fn waiting_asks_at_most_twenty_times_a_second_and_costs_next_to_nothing() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 127.0.0.1:7000 udp 127.0.0.1:7001");
    for target in [
        &["7000", "--for", "free"][..],
        &["7000", "--for", "closed"],
        &["7001/udp", "--for", "closed"],
        &["7002", "--for", "listening"],
        &["127.0.0.1:7002", "--for", "listening"],
    ] {
        let command = wait(&namespace, &[target, &["--timeout", "2"]].concat());
        let run = measured(command, Duration::from_secs(60));
        assert!(!run.cut && run.status.code() == Some(1), "{target:?}: {run:?}");
        // A debug build, its start and its last look at the holders included; the release build stays below 1 %.
        let share = run.processor.as_secs_f64() / run.elapsed.as_secs_f64();
        assert!(share < 0.05, "{target:?}: {share}");
        let json = answer(&namespace, &[target, &["--timeout", "1", "--json"]].concat()).json();
        let queries = json["queries"].as_u64().unwrap();
        // One at the start, then one for each pause of 50 ms, the last at the end.
        assert!((2..=21).contains(&queries), "{json:#}");
    }
}
