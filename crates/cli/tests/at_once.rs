//! Several programs change reservations at once, end to end: nothing of anybody's is lost.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::process::{Child, Stdio};

use portolan_testbed::{Machine, program};

const OWN: &str = "sysctl.d/60-portolan.conf";

fn ports(list: &str) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for part in list.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        ports.extend(first.parse::<u16>().unwrap()..=last.parse().unwrap());
    }
    ports
}

fn kernel(machine: &Machine) -> BTreeSet<u16> {
    ports(&machine.reserved())
}

fn file(machine: &Machine) -> BTreeSet<u16> {
    let text = machine.read(OWN).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("net.ipv4.ip_local_reserved_ports = "));
    ports(line.unwrap_or_default())
}

/// Starts `reserve add` with its journal in a folder of that name.
fn add(machine: &Machine, port: u16, journal: &str) -> Child {
    let mut command = machine.command(program("portolan"));
    command.args(["reserve", "add", "--yes", &port.to_string()]);
    command.env("PORTOLAN_STATE", machine.state().join(journal));
    command.stdout(Stdio::null()).spawn().unwrap()
}

#[test]
fn reservations_added_at_once_are_all_there_whatever_their_journals() {
    const ROUNDS: u16 = 25;
    let machine = Machine::new();
    let mut expected = BTreeSet::new();
    for round in 0..ROUNDS {
        let (mine, other, foreign) = (10_000 + round, 11_000 + round, 12_000 + 2 * round);
        let journals = if round % 2 == 0 { ["one", "one"] } else { ["one", "other"] };
        let children = [add(&machine, mine, journals[0]), add(&machine, other, journals[1])];
        machine.reserve_beside(&foreign.to_string());
        for mut child in children {
            assert!(child.wait().unwrap().success(), "round {round}");
        }
        expected.extend([mine, other, foreign]);
        assert_eq!(kernel(&machine), expected, "round {round}");
    }
    let ours: BTreeSet<u16> = expected.into_iter().filter(|port| *port < 12_000).collect();
    assert_eq!(file(&machine), ours);
}

#[test]
fn a_reservation_removed_while_others_are_added_takes_none_of_them_along() {
    let machine = Machine::new();
    machine.reserve(&(0..2000).map(|n| (20_000 + 2 * n).to_string()).collect::<Vec<_>>());
    let mut expected = kernel(&machine);
    for round in 0..5_u16 {
        let removed = 20_000 + 2 * round;
        // strace holds it up between its look at the list and its first write, when the other would add to it.
        let mut remove = machine.command("strace");
        remove.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64"]);
        remove.args(["-e", "inject=pwrite64:delay_enter=150000:when=1"]).arg(program("portolan"));
        remove.args(["reserve", "remove", "--yes", &removed.to_string()]).stdout(Stdio::null());
        let children = [remove.spawn().unwrap(), add(&machine, 10_000 + round, "other")];
        for mut child in children {
            assert!(child.wait().unwrap().success(), "round {round}");
        }
        expected.remove(&removed);
        expected.insert(10_000 + round);
        assert_eq!(kernel(&machine), expected, "round {round}");
    }
}

#[test]
fn a_foreign_list_of_five_thousand_ports_survives_add_remove_and_undo() {
    let machine = Machine::new();
    machine.reserve(&(0..5000).map(|n| (20_000 + 2 * n).to_string()).collect::<Vec<_>>());
    let before = machine.seen();
    let foreign = kernel(&machine);
    assert_eq!(foreign.len(), 5000);
    machine.portolan("reserve add 5432 8000-8100 --yes").with_code(0);
    let with_ours: BTreeSet<u16> = foreign.iter().copied().chain([5432]).chain(8000..=8100).collect();
    assert_eq!(kernel(&machine), with_ours);
    machine.portolan("reserve remove 8000-8100 20000 --yes").with_code(0);
    let mut without = with_ours.clone();
    without.retain(|port| *port != 20_000 && !(8000..=8100).contains(port));
    assert_eq!(kernel(&machine), without);
    machine.portolan("undo --yes").with_code(0);
    assert_eq!(kernel(&machine), with_ours);
    machine.portolan("undo --yes").with_code(0);
    assert_eq!(machine.seen(), before);
}

/// Waits until a process waits for a lock (proc_locks(5): such lines have an arrow).
fn wait_for_its_lock(process: &mut Child) {
    let pid = process.id().to_string();
    let waits = |line: &str| line.contains("->") && line.split_whitespace().any(|word| word == pid);
    while !std::fs::read_to_string("/proc/locks").unwrap().lines().any(waits) {
        assert!(process.try_wait().unwrap().is_none(), "it has ended without waiting");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_port_that_somebody_else_reserved_after_the_plan_was_made_stays_when_the_plan_is_undone() {
    let machine = Machine::new();
    let lock = std::fs::File::create(machine.state().join("lock")).unwrap();
    lock.lock().unwrap();
    let mut command = machine.command(program("portolan"));
    command.args(["reserve", "add", "5432", "8080", "--yes"]).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_for_its_lock(&mut child);
    assert!(add(&machine, 5432, "other").wait().unwrap().success());
    drop(lock);
    assert!(child.wait().unwrap().success());
    assert_eq!((kernel(&machine), file(&machine)), ([5432, 8080].into(), [5432, 8080].into()));
    machine.portolan("undo --yes").with_code(0);
    assert_eq!((kernel(&machine), file(&machine)), ([5432].into(), [5432].into()));
}

#[test]
fn a_lock_that_another_program_keeps_is_told_and_nothing_is_changed() {
    let machine = Machine::new();
    let before = machine.seen();
    let folder = std::fs::File::open(machine.etc("sysctl.d")).unwrap();
    folder.lock().unwrap();
    let answer = machine.portolan("reserve add 5432 --yes").with_code(1);
    assert!(answer.output.contains("another program has locked it"), "{answer}");
    assert_eq!(machine.seen(), before);
}
