//! The program as a whole, where the machine it runs on does not matter: exit codes, broken pipes, colours, files.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn portolan(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.args(arguments).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env("LC_ALL", "C.UTF-8");
    command
}

fn run(arguments: &[&str]) -> Output {
    portolan(arguments).output().unwrap()
}

/// What a run that is misuse says: exit code 2, one line on stderr, nothing on stdout.
fn misuse(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
    text
}

/// A directory of this test's own, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portolan-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn what_is_typed_wrong_gets_one_line_and_exit_code_2() {
    for (arguments, expected) in [
        (&["why", "0x50"][..], "portolan why"),
        (&["why", "70000"], "70000"),
        (&["who", "0"], "ports are 1 to 65535"),
        (&["who", "80-20"], "20-80"),
        (&["list", "--state", "sleeping"], "is no state"),
        (&["list", "--columns", "remot"], "'remote'"),
        (&["explain", "no-such-rule-at-all"], "portolan explain"),
        (&["--from", "/nonexistent/snapshot.json"], "portolan snapshot --out FILE"),
        (&["lst"], "'list'"),
        (&["why"], "portolan why <TARGET>"),
        (&["schema", "lst"], "chart, list, who"),
        (&["man", "lst"], "portolan man list"),
    ] {
        let line = misuse(arguments);
        assert!(line.contains(expected), "{arguments:?}: {line}");
    }
}

#[test]
fn a_file_that_is_no_snapshot_gets_one_line_and_exit_code_2() {
    let scratch = Scratch::new("hostile");
    let whole = scratch.0.join("whole.json").to_str().unwrap().to_owned();
    assert!(run(&["snapshot", "--out", &whole]).status.success());
    let text = std::fs::read(&whole).unwrap();
    let cut = scratch.file("cut.json", &text[..text.len() / 2]);
    let empty = scratch.file("empty.json", b"");
    let other = scratch.file("other.json", b"{\"schema\": 999999}");
    let escape = scratch.file("escape.json", b"\"\x1b[2J\"");
    for file in [&cut, &empty, &other, &escape] {
        for verb in ["chart", "list"] {
            let line = misuse(&["--from", file, verb]);
            assert!(line.contains("cannot read the snapshot") && !line.contains('\x1b'), "{line}");
        }
    }
}

#[test]
fn a_snapshot_is_never_replaced_unasked_nor_left_in_parts() {
    let scratch = Scratch::new("keep");
    let file = scratch.file("kept.json", b"mine");
    assert!(misuse(&["snapshot", "--out", &file]).contains("--force"));
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    assert!(run(&["snapshot", "--out", &file, "--force"]).status.success());
    assert!(run(&["--from", &file]).status.success());
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 1);
    let nowhere = scratch.0.join("missing/kept.json");
    assert!(misuse(&["snapshot", "--out", nowhere.to_str().unwrap()]).contains("cannot write"));
}

#[test]
fn a_snapshot_goes_through_a_pipe() {
    let snapshot = run(&["snapshot", "--out", "-"]);
    assert!(snapshot.status.success());
    let mut list = portolan(&["list", "--from", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    list.stdin.take().unwrap().write_all(&snapshot.stdout).unwrap();
    let output = list.wait_with_output().unwrap();
    assert!(output.status.success());
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(value["sockets"].is_array());
}

#[test]
fn a_reader_that_leaves_ends_the_program_quietly() {
    for arguments in [&["schema"][..], &["man"], &["completions", "bash"], &["explain"], &["--help"]] {
        let mut child = portolan(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut complaint = String::new();
        child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments:?}: {complaint}");
        assert_eq!(complaint, "", "{arguments:?}");
    }
}

#[test]
fn colours_are_for_terminals_unless_asked_for() {
    let escapes = |command: &mut Command| command.output().unwrap().stdout.contains(&0x1b);
    assert!(!escapes(&mut portolan(&["explain"])));
    assert!(escapes(&mut portolan(&["explain", "--color", "always"])));
    assert!(escapes(portolan(&["explain"]).env("CLICOLOR_FORCE", "1")));
    assert!(!escapes(portolan(&["explain"]).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1")));
    assert!(!escapes(portolan(&["explain", "--color", "never"]).env("CLICOLOR_FORCE", "1")));
}

#[test]
fn the_manual_is_written_to_a_directory_and_one_page_to_stdout() {
    let scratch = Scratch::new("man");
    let directory = scratch.0.join("man1");
    assert!(run(&["man", "--out", directory.to_str().unwrap()]).status.success());
    let page = std::fs::read(directory.join("portolan-why.1")).unwrap();
    assert_eq!(run(&["man", "why"]).stdout, page);
}
