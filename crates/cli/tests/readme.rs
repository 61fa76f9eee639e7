//! The README says nothing that the program does not know: every command in it is typed as it stands.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;

use portolan_core::record::Entry;
use portolan_history::{Keep, Options, Recorder};
use portolan_testbed::{Answer, Namespace, program};

/// Commands that change the machine.
const CHANGING: [&str; 8] =
    ["range set", "range reset", "reserve add", "reserve remove", "undo", "resume", "free", "close"];

/// Every `portolan …` of a text: between backticks, and at the start of a line of a block, without its comment.
fn commands(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2).filter(|quoted| !quoted.contains('\n'));
    let lines = text.lines().map(|line| line.split("  #").next().unwrap_or(line));
    let mut found: Vec<String> = quoted
        .chain(lines)
        .map(str::trim)
        .filter(|text| text.starts_with("portolan"))
        .map(str::to_owned)
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Something recorded, for the commands that tell of it.
fn record(state: &Path) {
    fs::create_dir(state).unwrap();
    let options = Options { interval_ms: 5000, pid: 1, keep: Keep::default() };
    let mut recorder = Recorder::open(&state.join("history.db"), options).unwrap();
    recorder.append(&Entry { at_ms: 1_795_651_200_000, ..Entry::default() }).unwrap();
}

#[test]
fn every_command_of_the_readme_is_known() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let commands = commands(&fs::read_to_string(readme).unwrap());
    assert!(commands.len() > 20, "{commands:?}");
    let namespace = Namespace::new();
    let file = std::env::temp_dir().join(format!("{}.readme", namespace.name()));
    let mailed = std::env::temp_dir().join(format!("{}.mailed", namespace.name()));
    fs::create_dir(&mailed).unwrap();
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/recordings/windows");
    for (name, recording) in [
        ("netstat.txt", "netstat-anobq-ja-cp932.txt"),
        ("netsh.txt", "excludedportrange-en-hyperv.txt"),
        ("ports.etl", "winsock-afd-written.etl"),
    ] {
        fs::copy(recordings.join(recording), mailed.join(name)).unwrap();
    }
    let state = mailed.join("state");
    record(&state);
    for typed in commands {
        // Words in capitals stand for something of the reader's.
        let line = typed
            .replace("portolan", &format!("'{}'", program("portolan").display()))
            .replace("FILE", file.to_str().unwrap())
            .replace("RULE", "free")
            .replace("SHELL", "bash")
            .replace("…the whole line…", "listen tcp :8080: bind: address already in use");
        // Settings of a namespace would do no harm, but their files below /etc are the machine's own.
        let changes = CHANGING.iter().any(|verb| typed.starts_with(&format!("portolan {verb}")));
        let reads = typed.ends_with("--list") || typed.contains("--dry-run");
        let line = if changes && !reads { format!("{line} --dry-run") } else { line };
        let mut command = namespace.command("bash");
        command.args(["-c", &line]).current_dir(&mailed);
        // The journal of changes is the machine's own; what was recorded is this test's.
        if typed.starts_with("portolan history") {
            command.env("PORTOLAN_STATE", &state);
        }
        let answer = Answer::of(&mut command);
        assert!(matches!(answer.code, Some(0 | 1)), "{typed}: {answer}");
    }
    fs::remove_file(file).unwrap();
    fs::remove_dir_all(mailed).unwrap();
}
