//! `record` on Windows: what was seen is in the file, one recorder has it, and a copy of it is whole.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use portolan_core::record::What;
use portolan_history::{Query, Store};

use super::{Scratch, complains, json, listener, portolan, says};

#[test]
fn what_was_seen_is_in_the_file_which_has_one_recorder_and_may_be_copied() {
    let scratch = Scratch::new("record");
    let (_listener, _) = listener();
    let [name, plain, copied] = ["h.db", "plain.db", "copy.db"].map(|name| scratch.path(name));
    says(&["record", "--once", "--file", &name], 0);
    let mut child = portolan(&["record", "--interval", "0.2", "--json", "--file", &name])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"begun\""), "{line}");
    let refused = complains(&["record", "--once", "--file", &name], 1);
    assert!(refused.contains(&format!("another recorder (pid {})", child.id())), "{refused}");
    assert_eq!(json(&["record", "--file", &name, "--copy", &copied], 0)["event"], "copied");
    child.kill().unwrap();
    child.wait().unwrap();
    says(&["record", "--once", "--file", &name], 0);
    fs::copy(&name, &plain).unwrap();
    for file in [&name, &plain, &copied] {
        let store = Store::read(Path::new(file)).unwrap();
        assert_eq!(store.check().unwrap(), Vec::<String>::new());
        let span = store.span().unwrap().unwrap();
        let (since_ms, until_ms) = (span.since_ms, span.until_ms + 1);
        let query = Query { since_ms, until_ms, what: What::State, most: 100, points: 10_000 };
        let states = store.series(&query).unwrap();
        let listening = states.iter().find(|series| series.name == "LISTEN").unwrap();
        assert!(listening.points().all(|point| point.min >= 1.0), "{listening:?}");
    }
}
