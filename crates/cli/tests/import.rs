//! `snapshot --import`, end to end: what others send becomes a file that every reading command takes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A directory of this test's own, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portolan-import-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind in /tmp must not hide the test's own failure.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn recording(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/recordings").join(name);
    path.to_str().unwrap().to_owned()
}

fn portolan(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.args(arguments).env("LC_ALL", "C.UTF-8").env("NO_COLOR", "1");
    command
}

fn run(arguments: &[&str]) -> Output {
    portolan(arguments).output().unwrap()
}

#[track_caller]
fn answer(arguments: &[&str], code: i32) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json(arguments: &[&str], code: i32) -> Value {
    serde_json::from_str(&answer(&[arguments, &["--json"]].concat(), code)).unwrap()
}

/// What a run that is misuse says: exit code 2, one line on stderr, nothing on stdout.
#[track_caller]
fn misuse(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
    text
}

#[test]
fn a_customers_files_answer_who_and_why() {
    let scratch = Scratch::new("osaka");
    let file = scratch.path("osaka.json");
    let netstat = recording("windows/netstat-anobq-ja-cp932.txt");
    let netsh = recording("windows/excludedportrange-en-hyperv.txt");
    let tasks = recording("windows/tasklist-svc-en.txt");
    let kept = json(&["snapshot", "--import", &netstat, &netsh, &tasks, "--out", &file], 0);
    assert_eq!(kept["sockets"], 13);
    let formats: Vec<&str> =
        kept["imported"].as_array().unwrap().iter().map(|one| one["format"].as_str().unwrap()).collect();
    assert_eq!(formats, ["netstat -ano (Windows)", "netsh show excludedportrange", "tasklist"]);

    let list = json(&["list", "--from", &file], 0);
    assert_eq!(list["sockets"].as_array().unwrap().len(), 13);
    let who = json(&["who", "8080", "--from", &file], 0);
    assert!(who.to_string().contains("node.exe"), "{who}");
    let set_aside = json(&["why", "49700", "--from", &file], 1);
    assert_eq!((&set_aside["bindable"], &set_aside["error"]), (&Value::Null, &Value::Null));
    assert!(set_aside.to_string().contains("49671-49770"), "{set_aside}");
    let held = json(&["why", "127.0.0.1:8080", "--from", &file], 1);
    assert!(held["bindable"].is_null() && held.to_string().contains("node.exe"), "{held}");
    let administered = json(&["why", "50020", "--from", &file], 2);
    assert!(administered["bindable"].is_null());
    assert!(
        administered["findings"].as_array().unwrap().iter().all(|finding| finding["severity"] != "error")
    );
    let chart = answer(&["--from", &file], 0);
    assert!(chart.contains("50000-50059") && chart.contains("not seen"), "{chart}");
}

#[test]
fn the_report_says_what_was_recognised_where() {
    let scratch = Scratch::new("report");
    let session = recording("windows/session-ja-cp932.txt");
    let shown = answer(&["snapshot", "--import", &session, "--out", &scratch.path("a.json")], 0);
    assert!(shown.starts_with("kept 13 sockets of 5 owners in "), "{shown}");
    let line = shown.lines().find(|line| line.contains("netsh show dynamicport")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[0], "session-ja-cp932.txt");
    assert!(shown.contains("ask for the output of"), "{shown}");
}

#[test]
fn standard_input_is_read_and_standard_output_written() {
    let listing = std::fs::read(recording("linux/ss-tuanp-6.1.txt")).unwrap();
    let mut child = portolan(&["snapshot", "--import", "-", "--out", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&listing).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let snapshot: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(snapshot["sockets"].as_array().unwrap().len(), 15);
    assert_eq!(snapshot["host"]["system"], "linux");
}

#[test]
fn a_file_in_which_nothing_is_recognised_is_refused_and_nothing_is_kept() {
    let scratch = Scratch::new("letter");
    let (letter, out) = (scratch.path("letter.txt"), scratch.path("out.json"));
    std::fs::write(&letter, "Dear support,\x1b[2J\nit does not work.\n").unwrap();
    let netstat = recording("windows/netstat-ano-en.txt");
    let line = misuse(&["snapshot", "--import", &netstat, &letter, "--out", &out]);
    assert!(line.contains("letter.txt") && line.contains("netstat -ano") && !line.contains('\x1b'), "{line}");
    assert!(!Path::new(&out).exists());
    let line =
        misuse(&["snapshot", "--import", &netstat, &recording("linux/ss-tuanp-6.1.txt"), "--out", &out]);
    assert!(line.contains("another system"), "{line}");
    assert!(misuse(&["snapshot", "--import", "/no/such.txt", "--out", &out]).contains("/no/such.txt"));
    // Linux opens a folder and refuses to read it, Windows refuses to open it.
    let line = misuse(&["snapshot", "--import", "/", "--out", &out]);
    assert!(line.contains("cannot read /") || line.contains("cannot open /"), "{line}");
}

#[test]
fn an_import_looks_at_no_machine() {
    let netstat = recording("windows/netstat-ano-en.txt");
    assert!(misuse(&["snapshot", "--import", &netstat, "--out", "-", "--from", "x"]).contains("--from"));
    assert!(misuse(&["snapshot", "--import", &netstat, "--out", "-", "--netns", "x"]).contains("--netns"));
    misuse(&["snapshot", "--import", "--out", "x"]);
}

#[test]
fn names_of_hostile_programs_are_harmless_on_a_terminal() {
    let scratch = Scratch::new("hostile");
    let (listing, file) = (scratch.path("ss.txt"), scratch.path("ss.json"));
    let row = "tcp LISTEN 0 1 0.0.0.0:1 0.0.0.0:* users:((\"x\u{1b}[2J\u{202e}\",pid=7,fd=3))\n";
    std::fs::write(&listing, row).unwrap();
    answer(&["snapshot", "--import", &listing, "--out", &file], 0);
    for arguments in [&["list", "--from", &file][..], &["who", "1", "--from", &file], &["--from", &file]] {
        let shown = answer(arguments, 0);
        assert!(!shown.contains(['\u{1b}', '\u{202e}']) && shown.contains("pid 7"), "{shown}");
    }
}

#[test]
fn a_process_without_a_name_is_shown_by_its_id() {
    let scratch = Scratch::new("nameless");
    let file = scratch.path("a.json");
    answer(&["snapshot", "--import", &recording("windows/netstat-ano-en.txt"), "--out", &file], 0);
    let shown = answer(&["who", "8080", "--from", &file], 0);
    assert!(shown.contains("a process (pid 7312)") && shown.contains("tasklist /svc"), "{shown}");
}
