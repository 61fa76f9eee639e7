//! Changes cut off at every step, end to end: killed, or refused by the system, at each call that changes anything;
//! `undo` then brings back exactly what was there. strace(1) does the killing, on entry to the N-th call of a kind.
#![cfg(target_os = "linux")]

use portolan_testbed::{Answer, Machine, program};

/// Every call by which a change, or its journal, is written. Those in brackets are other systems' names (strace: "?").
const CALLS: [&str; 16] = [
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "flock",
    "fchmod",
    "fchown",
    "?rename",
    "renameat",
    "renameat2",
    "?unlink",
    "unlinkat",
    "?mkdir",
    "mkdirat",
    "?chmod",
];
const OWN: &str = "sysctl.d/60-portolan.conf";
/// More calls of one kind than any change makes.
const MOST: u32 = 200;

/// A kind of change: what is there before, what is done first, and what is cut off.
struct Change {
    prepare: fn(&Machine),
    first: Option<&'static str>,
    cut: &'static str,
}

/// The program with one call of a kind tampered with: `signal=KILL`, `error=ENOSPC`.
fn tampered(machine: &Machine, call: &str, number: u32, how: &str, words: &str) -> Answer {
    let inject = format!("inject={call}:{how}:when={number}");
    let trace = format!("trace={call}");
    let mut command = machine.command("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject]);
    Answer::of(command.arg(program("portolan")).args(words.split_whitespace()))
}

/// Cuts a change off at each call of these kinds in turn, and undoes it. How often it was cut off is returned.
#[track_caller]
fn cut_everywhere(change: &Change, calls: &[&str], how: &str) -> u32 {
    let machine = Machine::new();
    (change.prepare)(&machine);
    let before = machine.seen();
    let mut cuts = 0;
    for call in calls {
        for number in 1..=MOST {
            if let Some(first) = change.first {
                machine.portolan(first).with_code(0);
            }
            let answer = tampered(&machine, call, number, how, change.cut);
            let at = format!("{} at {call} {number}", change.cut);
            assert!(!answer.errors.contains("panicked"), "{at}: {answer}");
            // strace ends as the program did.
            let was_cut = answer.code != Some(0);
            assert!(answer.code != Some(2) || how != "signal=KILL", "{at}: {answer}");
            if !was_cut && change.first.is_none() {
                assert_ne!(machine.seen(), before, "{at}: nothing was done");
            }
            let undone = machine.portolan("undo --yes").with_code(0);
            assert_eq!(machine.seen(), before, "{at}: {answer}\n{undone}");
            cuts += u32::from(was_cut);
            if !was_cut {
                break;
            }
            assert!(number < MOST, "{at}: it never came to its end");
        }
    }
    cuts
}

/// A list of others that takes the kernel several writes.
fn foreign_list(machine: &Machine) {
    machine.reserve(&(0..5000).map(|n| (20_000 + 2 * n).to_string()).collect::<Vec<_>>());
}

const RANGE_SET: Change = Change {
    prepare: |machine| machine.write(OWN, "# mine\nnet.ipv4.ip_local_port_range=1024 2024", 0o640),
    first: None,
    cut: "range set 40000-50000 --yes",
};

const RANGE_RESET: Change = Change {
    prepare: |machine| {
        machine.write(OWN, "net.ipv4.ip_local_port_range = 40000 50000\n", 0o600);
        machine.namespace.sysctl("net.ipv4.ip_local_port_range", "40000 50000");
    },
    first: None,
    cut: "range reset --yes",
};

const RESERVE_ADD: Change = Change {
    prepare: |machine| {
        machine.write("sysctl.d/50-db.conf", "net.ipv4.ip_local_reserved_ports = 8080\n", 0o644);
        machine.reserve(&["8080".into(), "9000".into()]);
    },
    first: None,
    cut: "reserve add 5432 8000-8100 --yes",
};

const RESERVE_REMOVE: Change = Change {
    prepare: |machine| {
        foreign_list(machine);
        machine.write(OWN, "a.b = 1\nnet.ipv4.ip_local_reserved_ports=20000,5432\n", 0o600);
    },
    first: None,
    cut: "reserve remove 20000 20002 --yes",
};

const UNDO_ADD: Change =
    Change { prepare: foreign_list, first: Some("reserve add 5432 --yes"), cut: "undo --yes" };

const UNDO_RESET: Change = Change { first: Some("range reset --yes"), cut: "undo --yes", ..RANGE_RESET };

#[test]
fn a_set_range_killed_anywhere_is_undone_whole() {
    assert!(cut_everywhere(&RANGE_SET, &CALLS, "signal=KILL") > 12);
}

#[test]
fn a_reset_range_killed_anywhere_is_undone_whole() {
    assert!(cut_everywhere(&RANGE_RESET, &CALLS, "signal=KILL") > 12);
}

#[test]
fn an_added_reservation_killed_anywhere_is_undone_whole() {
    assert!(cut_everywhere(&RESERVE_ADD, &CALLS, "signal=KILL") > 12);
}

#[test]
fn a_removed_reservation_killed_anywhere_leaves_every_port_of_a_long_foreign_list() {
    assert!(cut_everywhere(&RESERVE_REMOVE, &CALLS, "signal=KILL") > 12);
    // Five thousand ports are eight writes: each of them was a moment in which the list was not whole.
    assert!(cut_everywhere(&RESERVE_REMOVE, &["pwrite64"], "signal=KILL") > 5);
}

#[test]
fn an_undo_killed_anywhere_is_taken_up_again() {
    assert!(cut_everywhere(&UNDO_ADD, &CALLS, "signal=KILL") > 12);
    assert!(cut_everywhere(&UNDO_ADD, &["pwrite64"], "signal=KILL") > 5);
    assert!(cut_everywhere(&UNDO_RESET, &CALLS, "signal=KILL") > 8);
}

#[test]
fn a_full_disk_or_a_refusal_at_any_call_leaves_nothing_that_the_journal_does_not_know() {
    for change in [&RANGE_SET, &RANGE_RESET, &RESERVE_ADD, &RESERVE_REMOVE, &UNDO_ADD, &UNDO_RESET] {
        assert!(cut_everywhere(change, &["write", "fsync", "pwrite64", "?rename"], "error=ENOSPC") > 3);
    }
}
