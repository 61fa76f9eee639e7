//! `portolan reserve`, end to end: merged with what others reserve, with notes, and what ought to be reserved.
#![cfg(target_os = "linux")]

use portolan_testbed::{Answer, Held, Machine, program};
use serde_json::{Value, json};

const OWN: &str = "sysctl.d/60-portolan.conf";
const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";

fn list(machine: &Machine) -> Vec<Value> {
    let mut json = machine.portolan("reserve list --json").with_code(0).json();
    serde_json::from_value(json["reservations"].take()).unwrap()
}

/// The reservation that begins with this port.
#[track_caller]
fn of(machine: &Machine, port: u16) -> Value {
    let all = list(machine);
    let found = all.iter().find(|range| range["ports"][0] == port);
    found.unwrap_or_else(|| panic!("{port} is not in {all:#?}")).clone()
}

#[track_caller]
fn warnings(answer: &Answer) -> String {
    answer.json()["warnings"].to_string()
}

#[test]
fn ports_are_added_beside_what_others_reserve_in_the_kernel_and_in_files() {
    let machine = Machine::new();
    machine.write("sysctl.d/50-db.conf", &format!("{RESERVED} = 7000,7001\n"), 0o644);
    machine.reserve(&["7000-7001".into(), "9000".into()]);
    let answer = machine.portolan("reserve add 5432 8000-8100 7001 --yes --json").with_code(0);
    assert!(answer.output.contains("repeat 7000-7001 of other files"), "{answer}");
    assert_eq!(machine.reserved(), "5432,7000-7001,8000-8100,9000");
    assert!(machine.read(OWN).unwrap().ends_with(&format!("{RESERVED} = 5432,7000-7001,8000-8100\n")));
    let again = machine.portolan("reserve add 5432 --yes").with_code(0);
    assert!(again.output.contains("nothing to do"), "{again}");
    let told = warnings(&machine.portolan("reserve remove 7000 --dry-run --json").with_code(0));
    assert!(told.contains("/etc/sysctl.d/50-db.conf reserves 7000"), "{told}");
    machine.portolan("reserve remove 5432 8000-8100 --yes").with_code(0);
    assert_eq!((machine.reserved().as_str(), machine.read(OWN)), ("7000-7001,9000", None));
    let nothing = machine.portolan("reserve remove 5432 --yes").with_code(0);
    assert!(nothing.output.contains("nothing to do"), "{nothing}");
}

#[test]
fn one_of_the_two_lists_is_changed_alone_where_that_is_asked() {
    let machine = Machine::new();
    machine.portolan("reserve add 5432 --runtime --yes").with_code(0);
    assert_eq!((machine.reserved().as_str(), machine.read(OWN)), ("5432", None));
    machine.portolan("reserve add 8080 --persist --yes").with_code(0);
    assert_eq!(machine.reserved(), "5432");
    assert_eq!(of(&machine, 8080)["runtime"], false);
    assert_eq!(of(&machine, 5432)["files"], json!([]));
    machine.portolan("reserve remove 8080 --persist --yes").with_code(0);
    machine.portolan("reserve remove 5432 --runtime --yes").with_code(0);
    assert_eq!((machine.reserved().as_str(), machine.read(OWN)), ("", None));
}

#[test]
fn the_list_tells_who_made_each_why_and_which_listeners_it_covers() {
    let machine = Machine::new();
    let _held = Held::new(&machine.namespace, "tcp-listen 0.0.0.0:8080 tcp-listen 127.0.0.1:8081");
    machine.write("sysctl.d/50-db.conf", &format!("{RESERVED} = 7000\n"), 0o644);
    machine.reserve(&["7000".into(), "9000".into()]);
    let mut command = machine.command(program("portolan"));
    command.args(["reserve", "add", "8080-8090", "--yes", "--why", "the web's own, größer"]);
    Answer::of(&mut command).with_code(0);
    let ours = of(&machine, 8080);
    assert_eq!(ours["by"], "portolan, plan 1");
    assert_eq!(ours["why"], "the web's own, größer");
    assert_eq!(ours["listeners"], json!([8080, 8081]));
    assert_eq!(ours["files"], json!(["/etc/sysctl.d/60-portolan.conf"]));
    assert_eq!(of(&machine, 7000)["by"], "/etc/sysctl.d/50-db.conf");
    assert_eq!((&of(&machine, 9000)["by"], &of(&machine, 9000)["files"]), (&Value::Null, &json!([])));
    let table = machine.portolan("reserve").with_code(0).output;
    for part in ["8080-8090", "größer", "50-db.conf", "not known", "8080, 8081"] {
        assert!(table.contains(part), "'{part}' is not in {table}");
    }
    // What a plan stopped reserving, and somebody reserves again, is not the first plan's any more.
    machine.portolan("reserve remove 8080-8090 --yes").with_code(0);
    machine.reserve_beside("8080");
    assert_eq!((&of(&machine, 8080)["by"], &of(&machine, 8080)["why"]), (&Value::Null, &Value::Null));
    machine.portolan("undo --yes").with_code(0);
    assert_eq!(of(&machine, 8080)["by"], "portolan, plan 1");
}

#[test]
fn a_plan_of_another_namespace_made_nothing_here() {
    let (machine, other) = (Machine::new(), Machine::new());
    let mut command = other.command(program("portolan"));
    command.args(["reserve", "add", "8080", "--runtime", "--yes"]).env("PORTOLAN_STATE", machine.state());
    Answer::of(&mut command).with_code(0);
    machine.reserve(&["8080".into()]);
    assert_eq!(of(&machine, 8080)["by"], Value::Null);
}

#[test]
fn a_later_file_wins_whole_after_a_restart_and_that_is_told() {
    let machine = Machine::new();
    machine.write("sysctl.conf", &format!("{RESERVED} = 7000\n"), 0o644);
    let told = warnings(&machine.portolan("reserve add 5432 --yes --json").with_code(0));
    assert!(told.contains("/etc/sysctl.conf") && told.contains("without 5432"), "{told}");
    assert_eq!(of(&machine, 5432)["files"], json!([]), "it does not come back after a restart");
    assert_eq!(of(&machine, 7000)["files"], json!(["/etc/sysctl.conf"]));
}

#[test]
fn a_note_is_one_harmless_line() {
    let machine = Machine::new();
    let before = machine.seen();
    let long = "x".repeat(201);
    for note in ["a\nb", "\u{1b}[2J", "a\tb", "\u{9b}31m", &long] {
        let mut command = machine.command(program("portolan"));
        command.args(["reserve", "add", "5432", "--yes", "--why", note]);
        let answer = Answer::of(&mut command).with_code(2);
        assert!(answer.errors.contains("one line of at most 200 characters"), "{answer}");
        assert!(!answer.errors.contains('\u{1b}'), "{answer:?}");
        assert_eq!(machine.seen(), before);
    }
    let mut command = machine.command(program("portolan"));
    command.args(["reserve", "add", "5432", "--yes", "--why", "\u{202e}drawkcab"]);
    Answer::of(&mut command).with_code(0);
    assert!(!machine.portolan("reserve list").output.contains('\u{202e}'));
}

#[test]
fn impossible_ports_are_refused_with_what_to_type() {
    let machine = Machine::new();
    let before = machine.seen();
    for (words, why) in [
        ("reserve add 0 --yes", "1 to 65535"),
        ("reserve add 70000 --yes", "65535"),
        ("reserve add 90-80 --yes", "80-90"),
        ("reserve add --yes", "PORT"),
        ("reserve remove http --yes", "not a port number"),
    ] {
        let answer = machine.portolan(words).with_code(2);
        assert!(answer.errors.contains(why) && answer.errors.lines().count() == 1, "{answer}");
    }
    assert_eq!(machine.seen(), before);
}

#[test]
fn a_listener_inside_the_range_is_suggested_until_it_is_reserved_as_the_command_says() {
    let machine = Machine::new();
    let _held = Held::new(
        &machine.namespace,
        "tcp-listen 0.0.0.0:50051 tcp-listen [::1]:40000 tcp-listen 0.0.0.0:80 udp 0.0.0.0:45000",
    );
    let json = machine.portolan("reserve suggest --json").with_code(0).json();
    let expected = json!([{ "port": 40000, "by": "testbed" }, { "port": 50051, "by": "testbed" }]);
    assert_eq!(json["suggestions"], expected);
    let file = machine.state().join("seen.json");
    machine.portolan(&format!("snapshot --out {}", file.display())).with_code(0);
    let from = machine.portolan(&format!("reserve suggest --json --from {}", file.display())).with_code(0);
    assert_eq!(from.json()["suggestions"], expected);
    let text = machine.portolan("reserve suggest").with_code(0).output;
    let command =
        text.lines().find_map(|line| line.split_once("portolan ")).unwrap_or_else(|| panic!("{text}")).1;
    machine.portolan(&format!("{command} --yes")).with_code(0);
    let text = machine.portolan("reserve suggest").with_code(0).output;
    assert!(text.starts_with("nothing"), "{text}");
}
