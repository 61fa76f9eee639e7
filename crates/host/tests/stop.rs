//! A step that stops a process reaches exactly the process that was meant, or nobody: pids are used again, sockets let go.
#![cfg(target_os = "linux")]

use portolan_core::change::{Action, Place, Plan, ProcessKey, Step};
use portolan_host::apply::{Outcome, Run, apply};
use portolan_host::journal::Journal;
use portolan_host::{Namespace, sys};
use portolan_testbed::Held;

/// What comes of a step, in a journal of its own.
fn outcome_of(name: &str, process: ProcessKey, sockets: Vec<u32>) -> Outcome {
    let folder = std::env::temp_dir().join(format!("portolan-stop-{name}-{}", std::process::id()));
    let journal = Journal::new(&folder);
    let stop =
        Action::StopProcess { process, sockets, signal: "TERM".into(), timeout_ms: 10_000, force: true };
    let plan = Plan {
        title: "free 8080/tcp".into(),
        note: None,
        place: Place::default(),
        steps: vec![Step::new(stop)],
        warnings: Vec::new(),
    };
    let mut outcomes = Vec::new();
    let lock = journal.lock().unwrap();
    let run = Run {
        tell: &mut |told| outcomes.push(told.outcome.clone()),
        broken_off: &mut || false,
        restarts: false,
    };
    apply((&journal, &lock), &Namespace::Own, &plan, run).unwrap();
    drop(lock);
    std::fs::remove_dir_all(folder).unwrap();
    outcomes.pop().unwrap()
}

fn holder() -> (portolan_testbed::Namespace, Held) {
    let namespace = portolan_testbed::Namespace::new();
    let held = Held::new(&namespace, "tcp-listen 127.0.0.1:8080");
    (namespace, held)
}

fn key(pid: u32) -> ProcessKey {
    let processes = sys::processes().unwrap();
    let found = processes.into_iter().find(|process| process.pid == pid).unwrap();
    ProcessKey { pid, start: found.start, name: found.name }
}

/// The inode of the socket that it holds.
fn inode(held: &Held) -> u32 {
    let link = format!("/proc/{}/fd/{}", held.pid(), held.holdings[0].descriptors[0]);
    let link = std::fs::read_link(link).unwrap();
    link.to_str().unwrap().trim_start_matches("socket:[").trim_end_matches(']').parse().unwrap()
}

#[test]
fn a_pid_that_was_used_again_is_refused_and_nothing_is_signalled() {
    let (_namespace, mut held) = holder();
    let meant = key(held.pid());
    let earlier = ProcessKey { start: meant.start - 1, ..meant };
    let Outcome::Failed(why) = outcome_of("reused", earlier, vec![inode(&held)]) else {
        panic!("it was done")
    };
    assert!(why.contains("belongs to another process by now"), "{why}");
    assert!(!held.has_ended());
}

#[test]
fn one_that_has_let_go_of_its_socket_is_left_alone() {
    let (_namespace, mut held) = holder();
    let another = inode(&held) ^ 1 << 31;
    assert_eq!(outcome_of("let-go", key(held.pid()), vec![another]), Outcome::AlreadySo);
    assert!(!held.has_ended());
}

#[test]
fn one_that_has_ended_needs_no_signal_even_as_a_zombie() {
    let (_namespace, mut held) = holder();
    let (meant, socket) = (key(held.pid()), inode(&held));
    assert_eq!(outcome_of("ended", meant.clone(), vec![socket]), Outcome::Done);
    // This test is its parent and has not asked for its end yet.
    assert_eq!(outcome_of("zombie", meant.clone(), Vec::new()), Outcome::AlreadySo);
    assert!(held.has_ended());
    assert_eq!(outcome_of("gone", meant, vec![socket]), Outcome::AlreadySo);
}
