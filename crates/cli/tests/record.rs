//! `portolan record`, end to end: what was seen is in the file, and nothing that happens to the recorder, its disk or its
//! file damages what was kept.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use portolan_core::record::What;
use portolan_core::series::Series;
use portolan_history::{Keep, Options, Query, Recorder, Store, Whose};
use portolan_testbed::{Answer, Held, Namespace, program};
use serde_json::Value;

/// A folder for a test's files, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(namespace: &Namespace) -> Self {
        let path = std::env::temp_dir().join(format!("{}.record", namespace.name()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn record(namespace: &Namespace, file: &Path, arguments: &[&str]) -> Command {
    let mut command = namespace.command(program("portolan"));
    command.args(["record", "--interval", "0.05", "--json", "--file"]).arg(file).args(arguments);
    command
}

/// A recorder that goes on.
struct Recording {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Recording {
    fn begin(namespace: &Namespace, file: &Path) -> Self {
        let mut child =
            record(namespace, file, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut begun = Self { child, lines };
        begun.until("begun");
        begun
    }

    /// What it says next of this kind.
    fn until(&mut self, event: &str) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "it ended before {event}");
            let told: Value = serde_json::from_str(&line).unwrap();
            if told["event"] == event {
                return told;
            }
        }
    }

    /// How it ended, and what it said on standard error.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut text).unwrap();
        (self.child.wait().unwrap().code(), text)
    }

    fn end(self, signal: &str) -> (Option<i32>, String) {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        self.ended()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn assert_whole(file: &Path) -> Store {
    let store = Store::read(file).unwrap();
    assert_eq!(store.check().unwrap(), Vec::<String>::new(), "{}", file.display());
    store
}

fn last_look(store: &Store) -> u64 {
    store.span().unwrap().map_or(0, |span| span.until_ms)
}

fn series(store: &Store, what: What) -> Vec<Series> {
    let span = store.span().unwrap().unwrap();
    let (since_ms, until_ms) = (span.since_ms, span.until_ms + 1);
    store.series(&Query { since_ms, until_ms, what, most: 100, points: 100_000 }).unwrap()
}

#[test]
fn what_was_seen_is_in_the_file_until_a_signal_ends_it() {
    let namespace = Namespace::new();
    let folder = Folder::new(&namespace);
    let file = folder.file("h.db");
    let _held = Held::new(&namespace, "tcp-listen 127.0.0.1:7000 connections 127.0.0.1:7001 --count 40");
    for signal in ["INT", "TERM"] {
        let recording = Recording::begin(&namespace, &file);
        assert_eq!(recording.end(signal), (Some(0), String::new()));
    }
    Answer::of(&mut record(&namespace, &file, &["--once"])).with_code(0);
    Answer::of(&mut record(&namespace, &file, &["--for", "0.2"])).with_code(0);
    let store = assert_whole(&file);
    let states = series(&store, What::State);
    let established = states.iter().find(|series| series.name == "ESTABLISHED").unwrap();
    assert!(established.points().all(|point| (point.min, point.max) == (80.0, 80.0)), "{established:?}");
    assert!(established.points().count() >= 4);
    let owners = series(&store, What::Owner);
    assert!(owners[0].name.starts_with("testbed"), "{:?}", owners[0].name);
    let towards = series(&store, What::Destination);
    assert!(towards.iter().any(|series| series.name == "127.0.0.1 to 127.0.0.1:7001"), "{towards:?}");
    assert!(!store.changes().unwrap().is_empty());
    let copy = folder.file("copy.db");
    Answer::of(&mut record(&namespace, &file, &["--copy", copy.to_str().unwrap()])).with_code(0);
    assert_eq!(last_look(&assert_whole(&copy)), last_look(&store));
}

#[test]
fn killed_two_hundred_times_it_loses_nothing_that_was_there_before() {
    let namespace = Namespace::new();
    let folder = Folder::new(&namespace);
    let (file, seen) = (folder.file("h.db"), folder.file("seen.db"));
    let _held = Held::new(&namespace, "connections 127.0.0.1:7001 --count 20");
    let mut chance: u64 = 1;
    let (mut looks, mut kept) = (0, 0);
    for round in 0..200 {
        let mut child =
            record(&namespace, &file, &[]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        if round % 2 == 1 {
            // It has kept a look by then, however slow the machine is.
            let mut line = String::new();
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        }
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis((chance >> 33) % 200));
        // The file alone, as it lies there at this moment; a copy that meets a write may be torn, and then says nothing.
        let before = fs::copy(&file, &seen).ok().and_then(|_| Store::read(&seen).ok());
        let before = before.filter(|store| store.check().is_ok_and(|wrong| wrong.is_empty()));
        let before = before.map_or(0, |store| last_look(&store));
        child.kill().unwrap();
        child.wait().unwrap();
        let Ok(store) = Store::read(&file) else {
            assert_eq!(kept, 0, "round {round}: what was there is gone");
            continue;
        };
        assert_eq!(store.check().unwrap(), Vec::<String>::new(), "round {round}");
        let now = last_look(&store);
        assert!(now >= before.max(kept), "round {round}: {now}, before {before}, {kept}");
        looks += u32::from(now > kept);
        kept = now;
    }
    assert!(looks >= 100, "only {looks} recorders came to a look: it proves too little");
    Answer::of(&mut record(&namespace, &file, &["--once"])).with_code(0);
    assert!(last_look(&assert_whole(&file)) > kept);
}

#[test]
fn of_a_full_disk_nothing_is_lost_but_what_it_could_not_hold_when_it_is_killed() {
    let namespace = Namespace::new();
    let folder = Folder::new(&namespace);
    // Waits for what it says, never for a time; the disk is filled, and emptied again.
    let script = "\
        mount -t tmpfs -o size=600k none disk && cd disk || exit 9\n\
        wait_for() { n=0; until grep -q $1 ../told; do n=$((n+1)); [ $n -lt 600 ] || exit 8; sleep 0.1; done; }\n\
        \"$0\" record --json --interval 0.05 --file h.db >../told 2>../errors & recorder=$!\n\
        wait_for begun\n\
        cat /dev/zero >filled 2>/dev/null\n\
        wait_for not-kept\n\
        \"$0\" list --json >/dev/null; cp h.db ../full.db; rm filled\n\
        wait_for kept-again\n\
        kill -KILL $recorder; wait $recorder\n\
        \"$0\" record --once --file h.db && cp h.db ../after.db";
    fs::create_dir(folder.file("disk")).unwrap();
    let mut command = namespace.command("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(program("portolan")).current_dir(&folder.0);
    let answer = Answer::of(&mut command);
    let (told, errors) =
        ["told", "errors"].map(|name| fs::read_to_string(folder.file(name)).unwrap_or_default()).into();
    assert_eq!(answer.code, Some(0), "{answer}\n{told}\n{errors}");
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |event: &str| lines.iter().filter(|told| told["event"] == event).collect::<Vec<_>>();
    let (not_kept, again) = (of("not-kept"), of("kept-again"));
    assert_eq!(not_kept.len(), 1, "it is said once: {told}");
    let text = not_kept[0]["text"].as_str().unwrap();
    assert!(text.contains("its disk is full; make room"), "{text}");
    let (full, after) = (assert_whole(&folder.file("full.db")), assert_whole(&folder.file("after.db")));
    assert!(last_look(&after) > last_look(&full));
    let waited = again[0]["text"].as_str().unwrap();
    assert!(waited.ends_with(" are kept and 0 lost"), "{waited}");
    let begun = not_kept[0]["at_ms"].as_u64().unwrap();
    let has_first = |store: &Store| series(store, What::Total)[0].points().any(|point| point.at_ms == begun);
    assert!(has_first(&after) && !has_first(&full), "the look that found the disk full waited: {told}");
}

#[test]
fn a_file_that_may_not_be_written_is_one_line_and_is_gone_on_with_when_it_may() {
    const USER: u32 = 12_345;
    let namespace = Namespace::new();
    let folder = Folder::new(&namespace);
    let file = folder.file("h.db");
    std::os::unix::fs::chown(&folder.0, Some(USER), Some(USER)).unwrap();
    let once = || {
        let mut command = namespace.command_as(USER, program("portolan"));
        Answer::of(command.args(["record", "--once", "--file"]).arg(&file))
    };
    let mode = |mode: u32| {
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    once().with_code(0);
    let before = last_look(&assert_whole(&file));
    mode(0o400);
    let refused = once().with_code(2);
    assert!(refused.errors.lines().count() == 1 && refused.errors.contains("h.db"), "{refused}");
    mode(0o600);
    assert_eq!(last_look(&assert_whole(&file)), before);
    once().with_code(0);
    assert!(last_look(&assert_whole(&file)) > before);
    // While it is recorded into, root's file keeps being written: its rights are asked for when it is opened.
    let recording = Recording::begin(&namespace, &folder.file("root.db"));
    fs::set_permissions(folder.file("root.db"), std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    assert_eq!(recording.end("TERM").0, Some(0));
    // A medium that nobody may write.
    fs::create_dir(folder.file("medium")).unwrap();
    let script = "mount -t tmpfs -o ro none medium && exec \"$0\" record --once --file medium/h.db";
    let mut command = namespace.command("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(program("portolan")).current_dir(&folder.0);
    let refused = Answer::of(&mut command).with_code(2);
    assert!(refused.errors.lines().count() == 1 && refused.errors.contains("medium/h.db"), "{refused}");
}

#[test]
fn another_file_in_its_place_is_noticed_and_gone_on_with_or_left_alone() {
    let namespace = Namespace::new();
    let folder = Folder::new(&namespace);
    let [file, other, text] = ["h.db", "other.db", "text"].map(|name| folder.file(name));
    Answer::of(&mut record(&namespace, &other, &["--once"])).with_code(0);
    let before = last_look(&assert_whole(&other));
    let mut recording = Recording::begin(&namespace, &file);
    fs::rename(&other, &file).unwrap();
    recording.until("replaced");
    fs::remove_file(&file).unwrap();
    recording.until("replaced");
    fs::write(&text, "these are not the numbers").unwrap();
    fs::rename(&text, &file).unwrap();
    let (code, errors) = recording.ended();
    assert_eq!((code, errors.lines().count()), (Some(2), 1), "{errors}");
    assert!(errors.contains("is no history of Portolan"), "{errors}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "these are not the numbers");

    Answer::of(&mut record(&namespace, &other, &["--once"])).with_code(0);
    fs::remove_file(&file).unwrap();
    let mut recording = Recording::begin(&namespace, &file);
    fs::rename(&other, &file).unwrap();
    recording.until("replaced");
    recording.end("TERM");
    assert!(last_look(&assert_whole(&file)) > before);
}

#[test]
fn a_second_recorder_is_refused_by_whatever_name_and_is_told_the_first() {
    let namespace = Namespace::new();
    let folder = Folder::new(&namespace);
    let [file, hard, soft] = ["h.db", "hard.db", "soft.db"].map(|name| folder.file(name));
    let recording = Recording::begin(&namespace, &file);
    fs::hard_link(&file, &hard).unwrap();
    std::os::unix::fs::symlink(&file, &soft).unwrap();
    let pid = recording.child.id();
    for name in [&file, &hard, &soft] {
        let refused = Answer::of(&mut record(&namespace, name, &["--once"])).with_code(1);
        assert!(refused.errors.contains("another recorder"), "{refused}");
        assert!(name == &hard || refused.errors.contains(&format!("(pid {pid})")), "{refused}");
    }
    assert_eq!(recording.end("INT").0, Some(0));
    fs::remove_file(&hard).unwrap();
    Answer::of(&mut record(&namespace, &soft, &["--once"])).with_code(0);
    assert_whole(&file);
}

#[test]
fn root_reads_a_file_that_its_owner_may_not_write_and_leaves_nothing_that_stops_the_owner() {
    const USER: u32 = 12_346;
    let namespace = Namespace::new();
    let folder = Folder::new(&namespace);
    let (own, copy) = (folder.file("own"), folder.file("copy.db"));
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(USER), Some(USER)).unwrap();
    let file = own.join("h.db");
    let once = || {
        let mut command = namespace.command_as(USER, program("portolan"));
        Answer::of(command.args(["record", "--once", "--file"]).arg(&file)).with_code(0)
    };
    let mode = |mode: u32| {
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    let files = || fs::read_dir(&own).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    once();
    mode(0o400);
    let mut history = namespace.command(program("portolan"));
    Answer::of(history.args(["history", "--file"]).arg(&file)).with_code(0);
    Answer::of(&mut record(&namespace, &file, &["--copy", copy.to_str().unwrap()])).with_code(0);
    assert_eq!(files(), ["h.db"]);
    mode(0o600);
    let before = last_look(&assert_whole(&file));
    once();
    assert!(last_look(&assert_whole(&file)) > before);
    assert_eq!(last_look(&assert_whole(&copy)), before);
    assert_eq!(files(), ["h.db"]);
}

#[test]
fn a_file_is_of_one_network_namespace_and_history_tells_of_which() {
    let (blue, green) = (Namespace::new(), Namespace::new());
    let folder = Folder::new(&blue);
    let file = folder.file("h.db");
    let path = file.to_str().unwrap();
    let held = Held::new(&blue, "tcp-listen 127.0.0.1:7000");
    let portolan = |words: &[&str]| Answer::of(Command::new(program("portolan")).args(words));
    let once = |netns: &[&str]| portolan(&[&["record", "--once", "--file", path], netns].concat());
    once(&["--netns", blue.name()]).with_code(0);
    // By its name again, by a process in it, and from within.
    once(&["--netns", blue.name()]).with_code(0);
    once(&["--netns", &held.pid().to_string()]).with_code(0);
    Answer::of(&mut record(&blue, &file, &["--once"])).with_code(0);
    let looks = last_look(&assert_whole(&file));
    let is = format!(
        "{path} is the record of the network namespace '{}' and not of the network namespace",
        blue.name()
    );
    for (netns, other) in [
        (&["--netns", green.name()][..], format!("'{}'", green.name())),
        (&[], "that portolan itself runs in".to_owned()),
    ] {
        let answer = once(netns).with_code(2);
        let expected = format!("portolan: {is} {other}; name another file with --file\n");
        assert_eq!((answer.output, answer.errors), (String::new(), expected));
    }
    assert_eq!(last_look(&assert_whole(&file)), looks, "nothing of theirs is in it");
    let told = portolan(&["history", "--file", path]).with_code(0);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let expected =
        format!("  recorded  on {}, in the network namespace '{}'\n", host.trim_end(), blue.name());
    assert!(told.output.contains(&expected), "{told}");
    let json = portolan(&["history", "--file", path, "--json"]).with_code(0).json();
    assert_eq!(json["whose"]["netns"], blue.name());
    assert!(json["whose"].get("machine").is_none() && json["whose"]["host"].is_string(), "{json:#}");
    let diary = portolan(&["history", "--file", path, "--diary", "--json"]).with_code(0).json();
    assert_eq!(diary["whose"], json["whose"]);
    for words in [&["history", "--file", path][..], &["record", "--file", path, "--copy", "/tmp/never"]] {
        let refused = portolan(&[words, &["--netns", blue.name()]].concat()).with_code(2);
        assert!(refused.errors.contains("leave --netns out"), "{refused}");
    }
    // Of another machine, whatever its namespaces are called.
    let other = Whose {
        machine: Some("0123456789abcdef0123456789abcdef".to_owned()),
        host: "elsewhere".to_owned(),
        netns: Some(blue.name().to_owned()),
        ..Whose::default()
    };
    fs::remove_file(&file).unwrap();
    let options = Options { interval_ms: 5000, pid: 1, keep: Keep::default() };
    drop(Recorder::open_of(&file, options, &other).unwrap());
    let has_id = fs::read_to_string("/etc/machine-id").is_ok_and(|id| id.trim().len() == 32);
    let answer = once(&["--netns", blue.name()]).with_code(if has_id { 2 } else { 0 });
    let expected =
        "is the record of another machine (elsewhere) and not of this one; name another file with --file";
    assert_eq!(answer.errors.contains(expected), has_id, "{answer}");
}
