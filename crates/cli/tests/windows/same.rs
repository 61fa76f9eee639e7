//! The same from a `cmd` line as elsewhere: every reading command ends with the code that is promised for every system, and
//! writes JSON that the program's own schema, which is one for both systems, describes.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::described::assert_described;
use super::stop::{Holder, command};
use super::{Scratch, free_port, listener, portolan, program, run};

/// Runs a line of `cmd` in which `portolan` stands for the program.
fn typed(line: &str, scratch: &Scratch) -> (Option<i32>, String) {
    let mut command = Command::new("cmd");
    let path =
        format!("{};{}", program().parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    command.args(["/d", "/c", line]).env("PATH", path).env("PORTOLAN_STATE", scratch.path("state"));
    command.stdin(Stdio::null());
    let output = run(command);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn from_cmd_every_reading_command_gives_the_promised_code_and_json_that_the_schema_describes() {
    let scratch = Scratch::new("same");
    let (_listener, address) = listener();
    let (held, free) = (address.port().to_string(), free_port());
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let waited = unused.local_addr().unwrap().port();
    let lines = [
        ("chart", "--json".to_owned(), 0),
        ("list", "list --listening --json".to_owned(), 0),
        ("who", format!("who {held} --json"), 0),
        ("who", format!("who {free} --json"), 1),
        ("why", format!("why {address} --json"), 1),
        ("why", format!("why {free} --json"), 0),
        ("pick", "pick --count 3 --json".to_owned(), 0),
        ("wait", format!("wait {waited} --for listening --timeout 20 --json"), 0),
        ("wait", format!("wait {waited} --for free --timeout 0 --json"), 1),
        ("hold", format!("hold {free} --for 0 --json"), 0),
        ("snapshot", format!("snapshot --out {} --json", scratch.path("seen.json")), 0),
        ("who", format!("who {held} --from {} --json", scratch.path("seen.json")), 0),
        ("explain", "explain held-by-process --json".to_owned(), 0),
    ];
    for (command, words, code) in lines {
        let (ended, output) = typed(&format!("portolan {words}"), &scratch);
        assert_eq!(ended, Some(code), "portolan {words}: {output}");
        assert_described(&program(), command, &output);
    }
    let mut holder = Holder::of(command("plain"));
    let (ended, output) =
        typed(&format!("portolan free {} --yes --force --timeout 1 --json", holder.port), &scratch);
    assert_eq!(ended, Some(0), "{output}");
    assert_described(&program(), "free", &output);
    assert!(!holder.lives());
    let (ended, output) = typed(&format!("portolan free {} --yes --json", holder.port), &scratch);
    assert_eq!(ended, Some(0), "it is free already: {output}");
    assert_eq!(typed(&format!("portolan free {held}"), &scratch).0, Some(1), "nobody said yes");
    for misuse in ["who", "why 70000", "list --port x", "no-such-command", "pick --count 0"] {
        assert_eq!(typed(&format!("portolan {misuse}"), &scratch).0, Some(2), "portolan {misuse}");
    }
}

/// Listings of excluded ranges, recorded on two machines.
const CAPTURED: &[u8] = include_bytes!("../../../core/tests/recordings/windows/excludedportrange-en.txt");
const WITH_HYPERV: &[u8] =
    include_bytes!("../../../core/tests/recordings/windows/excludedportrange-en-hyperv.txt");

/// What `portolan why PORT` says of what somebody sent: its exit code, and the finding of a rule.
fn why_of_sent(listing: &[u8], port: u16, rule: &str, scratch: &Scratch) -> (Option<i32>, Value) {
    let (sent, seen) = (scratch.path("sent.txt"), scratch.path(&format!("{port}.json")));
    std::fs::write(&sent, listing).unwrap();
    let (ended, output) = typed(&format!("portolan snapshot --import {sent} --out {seen} --json"), scratch);
    assert_eq!(ended, Some(0), "{output}");
    let (ended, output) = typed(&format!("portolan why {port} --from {seen} --json"), scratch);
    assert_described(&program(), "why", &output);
    let answer: Value = serde_json::from_str(&output).unwrap();
    let mut findings = answer["findings"].as_array().unwrap().iter();
    let finding = findings.find(|finding| finding["rule"] == rule);
    (ended, finding.unwrap_or_else(|| panic!("no {rule}: {answer:#}")).clone())
}

#[test]
fn from_cmd_a_captured_table_names_who_set_a_port_aside_and_the_ways_out() {
    let scratch = Scratch::new("captured");
    let (ended, finding) = why_of_sent(CAPTURED, 1200, "excluded-range", &scratch);
    let said = finding.to_string();
    for part in ["1131-1230", "most likely made by WinNAT", "not administered"] {
        assert!(said.contains(part), "{part} is not in {finding:#}");
    }
    let ways = finding["remedies"].to_string();
    let places = ["portolan pick", "--restart-winnat", "portolan range reset", "--cycle-hyperv"]
        .map(|way| ways.find(way).unwrap_or_else(|| panic!("{way} is not in {finding:#}")));
    assert!(places.is_sorted(), "the mildest comes first: {finding:#}");
    assert_eq!(ended, Some(1));

    let (ended, finding) = why_of_sent(WITH_HYPERV, 50020, "administered-exclusion", &scratch);
    let said = finding.to_string();
    for part in ["a program that asks for 50020 may bind it", "what may still refuse it: HNS"] {
        assert!(said.contains(part), "{part} is not in {finding:#}");
    }
    assert_eq!((ended, &finding["severity"]), (Some(2), &"note".into()), "a listing has not tried it");
}

#[test]
fn tracing_where_nothing_hands_events_out_is_refused_with_what_works_anyway() {
    let output = run(portolan(&["trace", "--for", "3"]));
    let errors = String::from_utf8(output.stderr).unwrap();
    // A real Windows traces for an administrator; Wine's event tracing hands nothing out.
    if output.status.code() == Some(0) {
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("Event Tracing for Windows"), "{said}");
        return;
    }
    assert_eq!((output.status.code(), errors.trim_end().lines().count()), (Some(2), 1), "{errors}");
    assert!(errors.contains("administrator") || errors.contains("--from FILE.etl"), "{errors}");
}
