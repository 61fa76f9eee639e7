//! Bad input, end to end: one clear line with what to type, exit code 2, no panic; whatever a file holds.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::PathBuf;

use portolan_testbed::{Answer, Held, Namespace, program};

/// One line on standard error, nothing on standard output, exit code 2.
#[track_caller]
fn refused(answer: &Answer) -> String {
    let answer = answer.clone().with_code(2);
    assert_eq!(answer.output, "", "{answer}");
    assert_eq!(answer.errors.lines().count(), 1, "{answer}");
    assert!(!answer.errors.contains("panicked"), "{answer}");
    assert!(!answer.errors.chars().any(|c| c.is_control() && c != '\n'), "{answer:?}");
    answer.errors
}

#[track_caller]
fn refuses(namespace: &Namespace, arguments: &[&str], hint: &str) {
    let answer = Answer::of(namespace.command(program("portolan")).args(arguments));
    let line = refused(&answer);
    assert!(line.contains(hint), "{arguments:?}: '{hint}' is not in: {line}");
}

/// A file of this test's own, gone at its end.
struct File(PathBuf);

impl File {
    fn new(namespace: &Namespace, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("{}.snapshot", namespace.name()));
        fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // A file that stays behind in /tmp must not hide the test's own failure.
        let _ = fs::remove_file(&self.0);
    }
}

fn snapshot(namespace: &Namespace) -> String {
    let mut command = namespace.command(program("portolan"));
    Answer::of(command.args(["snapshot", "--out", "-"])).with_code(0).output
}

#[test]
fn impossible_ports_are_refused() {
    let namespace = Namespace::new();
    for (port, hint) in
        [("0", "1"), ("70000", "65535"), ("80-20", "20-80"), ("-1", ""), ("http:", ""), ("", "")]
    {
        // why asks about one port, so that the right order of a range is no help there.
        refuses(&namespace, &["why", "--", port], hint.strip_prefix("20-").unwrap_or(hint));
        refuses(&namespace, &["who", "--", port], hint);
    }
    for (port, hint) in [("0", "1"), ("70000", "65535"), ("80-20", "20-80"), ("80,", "")] {
        refuses(&namespace, &["list", "--port", port], hint);
    }
}

#[test]
fn unknown_words_are_refused_with_the_known_ones() {
    let namespace = Namespace::new();
    for (arguments, hint) in [
        (&["list", "--state", "sleeping"][..], "listen"),
        (&["list", "--transport", "sctp"], "udp"),
        (&["list", "--family", "ipv5"], "ipv4"),
        (&["list", "--address", "10.0.0.0/33"], "10.0.0.0/33"),
        (&["list", "--user", "no-such-user-here"], "no-such-user-here"),
        (&["list", "--format", "yaml"], "json"),
        (&["list", "--group-by", "colour"], "state"),
        (&["explain", "no-such-rule"], "portolan explain"),
        (&["why", "what is going on"], "portolan why"),
        (&["why", "8080/sctp"], "udp"),
        (&["who"], "portolan who"),
        (&["frobnicate"], "--help"),
        (&["list", "--netns", "no-such-namespace"], "ip netns"),
    ] {
        refuses(&namespace, arguments, hint);
    }
}

#[test]
fn a_snapshot_that_is_none_is_refused() {
    let namespace = Namespace::new();
    let nested = "[".repeat(100_000);
    let long = format!("{{\"schema\":1,\"program\":\"{}\"", "x".repeat(1_000_000));
    for content in ["", "{", "null", "[]", "hello", "\u{0}\u{1}\u{2}", "{\"schema\":1}}", &nested, &long] {
        let file = File::new(&namespace, content.as_bytes());
        refuses(&namespace, &["list", "--from", file.path()], "snapshot");
    }
    let file = File::new(&namespace, &[0xff, 0xfe, 0x00, 0x80]);
    refuses(&namespace, &["list", "--from", file.path()], "snapshot");
    refuses(&namespace, &["list", "--from", "/no/such/file"], "portolan snapshot --out");
    refuses(&namespace, &["list", "--from", "/"], "snapshot");
    refuses(&namespace, &["list", "--from", "/dev/zero"], "snapshot");
}

#[test]
fn a_snapshot_of_a_newer_schema_is_refused() {
    let namespace = Namespace::new();
    let text = snapshot(&namespace);
    let newer = text.replacen("\"schema\":", "\"schema\":99", 1);
    assert_ne!(text, newer);
    let file = File::new(&namespace, newer.as_bytes());
    refuses(&namespace, &["list", "--from", file.path()], "schema 99");
}

#[test]
fn a_snapshot_cut_anywhere_is_refused() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "connections 127.0.0.1:8080 --count 3 udp [::1]:53");
    let text = snapshot(&namespace);
    let whole = text.trim_end().len();
    assert!(whole > 1000, "{text}");
    for length in (0..whole).step_by(whole / 150).chain([whole - 1]) {
        let file = File::new(&namespace, &text.as_bytes()[..length]);
        let answer =
            Answer::of(namespace.command(program("portolan")).args(["why", "8080", "--from", file.path()]));
        refused(&answer);
    }
}

#[test]
fn a_snapshot_with_hostile_values_is_refused_or_shown_harmless() {
    let namespace = Namespace::new();
    let held = Held::new(&namespace, "--name harbour connections 127.0.0.1:8080 --count 3 udp [::1]:53");
    let text = snapshot(&namespace);
    drop(held);
    // Every number once as one that no count, port or index may be.
    let digits: Vec<usize> = text.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at).collect();
    for at in digits.iter().step_by(digits.len() / 100) {
        let hostile = format!("{}99999999999{}", &text[..*at], &text[at + 1..]);
        let file = File::new(&namespace, hostile.as_bytes());
        let answer = Answer::of(namespace.command(program("portolan")).args(["list", "--from", file.path()]));
        assert!(matches!(answer.code, Some(0 | 2)), "{answer}");
        assert!(!answer.errors.contains("panicked"), "{answer}");
    }
    let coloured = text.replace("harbour", "\\u001b[2Jharbour\\u0007");
    assert_ne!(text, coloured);
    let file = File::new(&namespace, coloured.as_bytes());
    for command in [&["list"][..], &["who", "8080"], &["why", "8080"], &[]] {
        let answer =
            Answer::of(namespace.command(program("portolan")).args(command).args(["--from", file.path()]));
        assert!(answer.output.contains("harbour"), "{answer}");
        assert!(!answer.output.contains(['\u{1b}', '\u{7}']), "{answer}");
    }
}
