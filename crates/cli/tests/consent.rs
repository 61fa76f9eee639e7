//! Whatever changes the machine, end to end: as a plain user, as a dry run, asked on a terminal, refused without one;
//! and every answer of the schema that `portolan schema` gives.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use portolan_testbed::{Answer, Machine, program};

/// A user without rights.
const NOBODY: u32 = 64_001;
/// Every command that changes settings; on [`machine`] each of them has something to do.
const CHANGES: [&str; 6] =
    ["range set 40000-50000", "range reset", "reserve add 5432", "reserve remove 8080", "undo", "undo 1"];
/// Every command about settings that only reads, with the name of its schema.
const READS: [(&str, &str); 5] = [
    ("range", "range"),
    ("range show", "range"),
    ("reserve list", "reserve"),
    ("reserve suggest", "reserve-suggest"),
    ("undo --list", "undo"),
];

/// A machine on which portolan set a range and reserved a port.
fn machine() -> Machine {
    let machine = Machine::new();
    machine.portolan("range set 41000-42000 --yes").with_code(0);
    machine.portolan("reserve add 8080 --yes --why web").with_code(0);
    machine
}

/// Every file of the journal.
fn journal(machine: &Machine) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(machine.state()).unwrap().flatten();
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

fn with(mut command: Command, words: &str) -> Command {
    command.args(words.split_whitespace());
    command
}

fn as_nobody(machine: &Machine, words: &str) -> Answer {
    Answer::of(&mut with(machine.command_as(NOBODY, program("portolan")), words))
}

#[track_caller]
fn validate(answer: &Answer, schema: &str) {
    let schema = Answer::of(Command::new(program("portolan")).args(["schema", schema])).with_code(0).json();
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("schema.json", schema).unwrap();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    if let Err(error) = schemas.validate(&answer.json(), index) {
        panic!("{error:#}\n{answer}");
    }
}

#[test]
fn a_dry_run_changes_nothing_and_shows_what_would_be_done() {
    let machine = machine();
    let before = (machine.seen(), journal(&machine));
    for words in CHANGES {
        let answer = machine.portolan(&format!("{words} --dry-run")).with_code(0);
        assert!(answer.output.contains("a dry run: nothing was changed"), "{answer}");
        assert!(answer.output.contains("root (CAP_NET_ADMIN)"), "{answer}");
        let answer = machine.portolan(&format!("{words} --dry-run --json")).with_code(0);
        validate(&answer, "change");
        let json = answer.json();
        assert_eq!((&json["dry_run"], &json["done"]), (&true.into(), &false.into()), "{answer}");
        assert_eq!(json["steps"].as_array().unwrap().len(), 2, "{answer}");
        assert!(
            json["steps"].as_array().unwrap().iter().all(|step| step["outcome"] == "planned"),
            "{answer}"
        );
        assert_eq!((machine.seen(), journal(&machine)), before, "{words}");
    }
}

#[test]
fn what_only_reads_changes_nothing_and_is_of_its_schema() {
    let machine = machine();
    let before = (machine.seen(), journal(&machine));
    for (words, schema) in READS {
        machine.portolan(words).with_code(0);
        machine.portolan(&format!("{words} --format csv")).with_code(0);
        validate(&machine.portolan(&format!("{words} --json")).with_code(0), schema);
        validate(&as_nobody(&machine, &format!("{words} --json")).with_code(0), schema);
        assert_eq!((machine.seen(), journal(&machine)), before, "{words}");
    }
}

#[test]
fn what_is_done_is_of_the_schema_too() {
    let machine = machine();
    for words in CHANGES {
        let answer = machine.portolan(&format!("{words} --yes --json")).with_code(0);
        validate(&answer, "change");
        assert_eq!(answer.json()["done"], true, "{answer}");
        let seen = machine.seen();
        // A second time there is nothing left to do, or another plan to undo; never a failure.
        validate(&machine.portolan(&format!("{words} --yes --json")).with_code(0), "change");
        if words != "undo" {
            assert_eq!(machine.seen(), seen, "{words}");
        }
        Answer::of(&mut with(machine.command(program("portolan")), "undo --yes")).with_code(0);
    }
}

#[test]
fn a_plain_user_is_refused_with_the_privilege_that_is_missing() {
    let machine = machine();
    let before = machine.seen();
    let home = machine.state().parent().unwrap().join(format!("home-{NOBODY}"));
    for words in CHANGES.into_iter().filter(|words| !words.starts_with("undo")) {
        for only in ["", " --runtime", " --persist"] {
            let answer = as_nobody(&machine, &format!("{words}{only} --yes")).with_code(1);
            let line = &answer.errors;
            assert!(line.contains("needs root") && line.contains("nothing was changed"), "{answer}");
            assert_eq!(line.lines().count(), 1, "{answer}");
            as_nobody(&machine, &format!("{words}{only} --dry-run")).with_code(0);
        }
    }
    // Somebody else's journal is not theirs to undo; their own is empty.
    let answer = as_nobody(&machine, "undo --yes").with_code(0);
    assert!(answer.output.contains("nothing to take back here"), "{answer}");
    assert_eq!(fs::read_dir(home).unwrap().count(), 0, "no journal was begun");
    assert_eq!(machine.seen(), before);
    for entry in fs::read_dir(machine.state()).unwrap().flatten() {
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let mut command = with(machine.command_as(NOBODY, program("portolan")), "undo 1 --yes");
    let answer = Answer::of(command.env("PORTOLAN_STATE", machine.state())).with_code(1);
    assert!(answer.errors.contains("needs root"), "{answer}");
    assert_eq!(machine.seen(), before);
}

#[test]
fn a_journal_out_of_reach_is_a_gap_for_the_list_and_a_refusal_for_undo() {
    let machine = machine();
    fs::set_permissions(machine.state(), fs::Permissions::from_mode(0o700)).unwrap();
    let ask = |words: &str| {
        let mut command = with(machine.command_as(NOBODY, program("portolan")), words);
        Answer::of(command.env("PORTOLAN_STATE", machine.state()))
    };
    let list = ask("reserve list").with_code(0);
    assert!(list.output.contains("8080") && list.output.contains("who reserved"), "{list}");
    assert!(list.output.contains("run as root"), "{list}");
    for words in ["undo --yes", "undo 1 --yes", "undo --list"] {
        let answer = ask(words);
        assert!(
            matches!(answer.code, Some(1 | 2)) && answer.errors.contains("Permission denied"),
            "{answer}"
        );
    }
}

#[test]
fn a_file_of_settings_out_of_reach_is_a_gap() {
    let machine = machine();
    machine.write("sysctl.d/99-secret.conf", "net.ipv4.ip_local_port_range = 1024 65000\n", 0o600);
    for words in ["range show", "reserve list"] {
        let answer = as_nobody(&machine, words).with_code(0);
        assert!(answer.output.contains("99-secret.conf"), "{answer}");
        assert!(!machine.portolan(words).output.contains("Permission denied"), "{words}");
    }
}

#[test]
fn without_a_terminal_and_without_yes_nothing_is_done() {
    let machine = machine();
    let before = (machine.seen(), journal(&machine));
    for words in CHANGES {
        let answer = machine.portolan(words).with_code(1);
        assert!(answer.errors.contains("--yes") && answer.errors.contains("--dry-run"), "{answer}");
        assert_eq!((machine.seen(), journal(&machine)), before, "{words}");
    }
}

#[test]
fn on_a_terminal_it_shows_the_plan_and_asks_and_only_a_yes_does_it() {
    for words in CHANGES {
        let machine = machine();
        let before = (machine.seen(), journal(&machine));
        for no in ["n\n", "\n", "yess\n", "\u{4}"] {
            let command = with(machine.command(program("portolan")), words);
            let answer = Answer::on_terminal(command, no).with_code(1);
            assert!(answer.output.contains("Do it? [y/N]"), "{answer}");
            assert!(
                answer.output.contains("kernel: ") && answer.output.contains("nothing was changed"),
                "{answer}"
            );
            assert_eq!((machine.seen(), journal(&machine)), before, "{words} {no:?}");
        }
        let command = with(machine.command(program("portolan")), words);
        Answer::on_terminal(command, "y\n").with_code(0);
        assert_ne!(machine.seen(), before.0, "{words}");
    }
}
