//! `portolan undo`, end to end: another boot, another namespace, settings that others changed, journals that are cut
//! off, foreign, newer or out of reach.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::PathBuf;

use portolan_testbed::{Answer, Machine, program};
use serde_json::Value;

const OWN: &str = "sysctl.d/60-portolan.conf";
const RANGE: &str = "net.ipv4.ip_local_port_range";

fn plan_file(machine: &Machine, id: u32) -> PathBuf {
    machine.state().join(format!("{id:06}.jsonl"))
}

/// The outcome of each step.
#[track_caller]
fn outcomes(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    let steps = json["steps"].as_array().unwrap_or_else(|| panic!("{answer}"));
    steps.iter().map(|step| step["outcome"].as_str().unwrap().to_owned()).collect()
}

/// The plans of `undo --list`, each as its number and how it stands.
#[track_caller]
fn listed(machine: &Machine) -> Vec<(u64, String)> {
    let json = machine.portolan("undo --list --json").with_code(0).json();
    let plan = |plan: &Value| (plan["id"].as_u64().unwrap(), plan["standing"].as_str().unwrap().to_owned());
    json["plans"].as_array().unwrap().iter().map(plan).collect()
}

#[track_caller]
fn stands(machine: &Machine, expected: &[(u64, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(id, standing)| (*id, (*standing).to_owned())).collect();
    assert_eq!(listed(machine), expected);
}

#[test]
fn what_an_earlier_boot_set_in_the_kernel_is_gone_and_its_file_is_taken_back() {
    let machine = Machine::new();
    machine.portolan("range set 40000-50000 --yes").with_code(0);
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let text = fs::read_to_string(plan_file(&machine, 1)).unwrap();
    let other = text.replace(boot.trim(), "11111111-2222-3333-4444-555555555555");
    assert_ne!(text, other);
    fs::write(plan_file(&machine, 1), other).unwrap();
    // What the kernel has now was set by this boot, by whomever.
    let answer = machine.portolan("undo --yes --json").with_code(0);
    assert_eq!(outcomes(&answer), ["gone", "done"], "{answer}");
    assert_eq!((machine.seen().range.as_str(), machine.read(OWN)), ("40000\t50000", None));
    stands(&machine, &[(1, "undone")]);
}

#[test]
fn a_plan_of_another_namespace_is_refused_by_its_name_and_taken_back_with_it() {
    let (machine, other) = (Machine::new(), Machine::new());
    machine.portolan("range set 40000-50000 --runtime --yes").with_code(0);
    let from_other = |words: &str| {
        let mut command = other.command(program("portolan"));
        command.env("PORTOLAN_STATE", machine.state());
        Answer::of(command.args(words.split_whitespace()))
    };
    let before = other.seen();
    let name = machine.namespace.name();
    let answer = from_other("undo 1 --yes --json").with_code(1);
    assert!(answer.output.contains(&format!("--netns {name}")), "{answer}");
    let answer = from_other("undo --yes").with_code(0);
    assert!(answer.output.contains("nothing to take back here"), "{answer}");
    assert_eq!((machine.seen().range.as_str(), other.seen()), ("40000\t50000", before));
    from_other(&format!("undo 1 --yes --netns {name}")).with_code(0);
    assert_eq!(machine.seen().range, "32768\t60999");
    from_other(&format!("range set 41000-42000 --runtime --yes --netns {name}")).with_code(0);
    machine.portolan("undo --yes").with_code(0);
    assert_eq!(machine.seen().range, "32768\t60999");
}

#[test]
fn a_setting_that_somebody_else_changed_stops_the_undo_until_it_is_mended() {
    let machine = Machine::new();
    let before = machine.seen();
    machine.portolan("range set 40000-50000 --yes").with_code(0);
    machine.namespace.sysctl(RANGE, "45000 46000");
    let changed = machine.seen();
    let answer = machine.portolan("undo --yes").with_code(1);
    for part in ["45000-46000", "40000-50000", "changed meanwhile", "undo 1"] {
        assert!(answer.output.contains(part), "'{part}' is not in {answer}");
    }
    assert_eq!(machine.seen(), changed, "the file stays, as the step behind it failed");
    machine.namespace.sysctl(RANGE, "40000 50000");
    machine.portolan("undo --yes").with_code(0);
    assert_eq!(machine.seen(), before);
}

#[test]
fn a_file_that_somebody_else_changed_keeps_their_lines() {
    let machine = Machine::new();
    machine.portolan("reserve add 5432 --yes").with_code(0);
    let text = machine.read(OWN).unwrap() + "vm.swappiness = 10\n";
    machine.write(OWN, &text.replace("= 5432", "= 5432,7000"), 0o644);
    machine.portolan("undo --yes").with_code(0);
    let left = machine.read(OWN).unwrap();
    assert!(left.ends_with("net.ipv4.ip_local_reserved_ports = 7000\nvm.swappiness = 10\n"), "{left}");
    machine.portolan("range set 40000-50000 --persist --yes").with_code(0);
    machine.write(OWN, &machine.read(OWN).unwrap().replace("40000 50000", "40000 50001"), 0o644);
    let answer = machine.portolan("undo --yes").with_code(1);
    assert!(answer.output.contains("40000-50001"), "{answer}");
}

#[test]
fn a_value_that_is_back_already_counts_as_done() {
    let machine = Machine::new();
    let before = machine.seen();
    machine.portolan("range set 40000-50000 --yes").with_code(0);
    machine.namespace.sysctl(RANGE, "32768 60999");
    fs::remove_file(machine.etc(OWN)).unwrap();
    let answer = machine.portolan("undo --yes --json").with_code(0);
    assert_eq!(outcomes(&answer), ["already-so", "already-so"]);
    assert_eq!(machine.seen(), before);
    stands(&machine, &[(1, "undone")]);
}

#[test]
fn undo_takes_the_newest_plan_that_stands_and_then_the_one_before() {
    let machine = Machine::new();
    let before = machine.seen();
    machine.portolan("reserve add 5432 --yes").with_code(0);
    let one = machine.seen();
    machine.portolan("range set 40000-50000 --yes").with_code(0);
    stands(&machine, &[(1, "applied"), (2, "applied")]);
    let answer = machine.portolan("undo --yes").with_code(0);
    assert!(answer.output.starts_with("undo 2 (range set 40000-50000)   taken back"), "{answer}");
    assert_eq!(machine.seen(), one);
    stands(&machine, &[(1, "applied"), (2, "undone")]);
    machine.portolan("undo --yes").with_code(0);
    assert_eq!(machine.seen(), before);
    let answer = machine.portolan("undo --yes").with_code(0);
    assert!(answer.output.contains("nothing to take back here"), "{answer}");
    let answer = machine.portolan("undo 1 --yes").with_code(0);
    assert!(answer.output.contains("nothing of it stands"), "{answer}");
    let answer = machine.portolan("undo 3 --yes").with_code(2);
    assert!(answer.errors.contains("undo --list"), "{answer}");
}

#[test]
fn plans_on_one_file_are_undone_in_any_order_where_they_do_not_depend_on_each_other() {
    let machine = Machine::new();
    let before = machine.seen();
    machine.portolan("reserve add 5432 --yes").with_code(0);
    machine.portolan("range set 40000-50000 --yes").with_code(0);
    machine.portolan("reserve add 8080 --yes").with_code(0);
    machine.portolan("undo 1 --yes").with_code(0);
    assert_eq!(machine.reserved(), "8080");
    let text = machine.read(OWN).unwrap();
    assert!(text.contains("40000 50000") && text.contains("reserved_ports = 8080\n"), "{text}");
    machine.portolan("undo 2 --yes").with_code(0);
    machine.portolan("undo 3 --yes").with_code(0);
    assert_eq!(machine.seen(), before);
    machine.portolan("range set 40000-50000 --yes").with_code(0);
    machine.portolan("range set 41000-51000 --yes").with_code(0);
    let both = machine.seen();
    let answer = machine.portolan("undo 4 --yes").with_code(1);
    assert!(answer.output.contains("41000-51000") && answer.output.contains("40000-50000"), "{answer}");
    assert_eq!(machine.seen(), both);
    machine.portolan("undo 5 --yes").with_code(0);
    machine.portolan("undo 4 --yes").with_code(0);
    assert_eq!(machine.seen(), before);
}

#[test]
fn a_last_line_that_a_crash_cut_off_counts_as_not_written() {
    let machine = Machine::new();
    let before = machine.seen();
    machine.portolan("range set 40000-50000 --yes").with_code(0);
    let text = fs::read(plan_file(&machine, 1)).unwrap();
    let end = text.iter().rposition(|byte| *byte == b'\n').unwrap();
    fs::write(plan_file(&machine, 1), &text[..end - 9]).unwrap();
    stands(&machine, &[(1, "partly")]);
    machine.portolan("undo --yes").with_code(0);
    assert_eq!(machine.seen(), before);
    stands(&machine, &[(1, "undone")]);
    fs::write(plan_file(&machine, 2), &text[..40]).unwrap();
    let answer = machine.portolan("undo 2 --yes").with_code(1);
    assert!(answer.errors.contains("nothing was changed"), "{answer}");
}

#[test]
fn plans_that_cannot_be_read_are_listed_so_and_the_others_work() {
    let machine = Machine::new();
    let before = machine.seen();
    machine.portolan("range set 40000-50000 --yes").with_code(0);
    fs::write(plan_file(&machine, 2), "spoiled\n").unwrap();
    let newer = r#"{"at_ms":1,"event":"planned","version":99,"plan":{"steps":[{"do":"teleport"}]}}"#;
    fs::write(plan_file(&machine, 3), format!("{newer}\n")).unwrap();
    fs::create_dir(plan_file(&machine, 4)).unwrap();
    for foreign in ["7.jsonl", "notes.txt", "99999999999999999999999.jsonl", "+00008.jsonl"] {
        fs::write(machine.state().join(foreign), "foreign\n").unwrap();
    }
    stands(&machine, &[(1, "applied"), (2, "unreadable"), (3, "unreadable"), (4, "unreadable")]);
    let list = machine.portolan("undo --list").output;
    assert!(list.contains("update portolan") && list.contains("not a plain file"), "{list}");
    let answer = machine.portolan("undo 2 --yes").with_code(1);
    assert!(answer.errors.contains("line 1 is not an entry"), "{answer}");
    let answer = machine.portolan("undo --yes").with_code(0);
    assert!(answer.output.contains("plan 3 was passed over"), "{answer}");
    assert_eq!(machine.seen(), before);
    machine.portolan("reserve add 5432 --yes").with_code(0);
    assert_eq!(listed(&machine).last().unwrap().0, 5);
    let answer = machine.portolan("reserve list").with_code(0);
    assert!(answer.output.contains("portolan, plan 5") && answer.output.contains("not seen"), "{answer}");
}

#[test]
fn without_a_journal_that_can_be_written_nothing_is_changed() {
    let machine = Machine::new();
    let before = machine.seen();
    let file = machine.state().join("file");
    fs::write(&file, "").unwrap();
    for folder in [file.join("below"), PathBuf::from("/proc/portolan"), PathBuf::from("/sys/portolan")] {
        let mut command = machine.command(program("portolan"));
        command.args(["reserve", "add", "5432", "--yes"]).env("PORTOLAN_STATE", &folder);
        let answer = Answer::of(&mut command).with_code(1);
        assert!(answer.errors.contains("the journal in"), "{answer}");
        assert!(answer.errors.contains("nothing was changed"), "{answer}");
        assert_eq!(machine.seen(), before);
    }
}

#[test]
fn the_journal_is_for_its_owner_alone() {
    use std::os::unix::fs::MetadataExt;
    let machine = Machine::new();
    let mut command = machine.command(program("portolan"));
    let folder = machine.state().join("new/folder");
    command.args(["reserve", "add", "5432", "--yes"]).env("PORTOLAN_STATE", &folder);
    Answer::of(&mut command).with_code(0);
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    machine.portolan("reserve add 5433 --yes").with_code(0);
    assert_eq!(fs::metadata(plan_file(&machine, 1)).unwrap().mode() & 0o777, 0o600);
}
