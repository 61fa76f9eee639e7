//! `record --install`, `--uninstall` and `undo`, with a real systemd, nested in namespaces that the test makes: the unit runs
//! with what it is left, sees what it has to see, and a kill at any call leaves what can be taken back.
//!
//! The unit in the nest is the one that is printed, but for a drop-in that keeps the machine's own units out.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use portolan_testbed::{Answer, NestedSystemd, program};

const UNIT: &str = "portolan-record.service";
const PLACE: &str = "/etc/systemd/system/portolan-record.service";
const FILE: &str = "/var/lib/portolan/history.db";
/// A copy that belongs to root, whoever built this: root would run it.
const PROGRAM: &str = "/run/portolan";
/// Every call by which the program changes something, or has systemd change it.
const CALLS: [&str; 9] =
    ["write", "fsync", "?rename", "?unlink", "unlinkat", "fchmod", "?vfork", "clone3", "wait4"];
/// More calls of one kind than any change makes.
const MOST: u32 = 200;
const PATIENCE: Duration = Duration::from_secs(60);

/// A systemd without a recorder. A port of another user is held in it.
fn nest() -> NestedSystemd {
    let held = "[Service]\nExecStart=/bin/sh -c 'exec setpriv --reuid 12345 --clear-groups /testbed hold tcp-listen 0.0.0.0:8080 <> /never'\n";
    let units = [("held.service", held), ("portolan-record.service.d/nest.conf", "")];
    let nest = NestedSystemd::new(&units, "held.service");
    Answer::of(nest.command("install").args(["-m", "755", "/portolan", PROGRAM])).with_code(0);
    nest
}

fn portolan(nest: &NestedSystemd, words: &str) -> Answer {
    Answer::of(nest.command(PROGRAM).args(words.split_whitespace()))
}

fn told(answer: &Answer) -> String {
    answer.output.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// All that setting up changes: whether it runs, whether it is started with the system, and its file.
fn seen(nest: &NestedSystemd) -> (String, String, String, String) {
    let of = |property: &str| {
        nest.systemctl(&format!("show --property={property} --value {UNIT}")).output.trim().to_owned()
    };
    let file = Answer::of(nest.command("sh").args(["-c", &format!("cat {PLACE}; stat -c '%a %u' {PLACE}")]));
    let state = if of("ActiveState") == "active" { "runs" } else { "rests" };
    (state.to_owned(), of("UnitFileState"), of("NeedDaemonReload"), file.output)
}

/// The arguments of the recorder that runs.
fn command(nest: &NestedSystemd) -> String {
    let pid = nest.systemctl(&format!("show --property=MainPID --value {UNIT}")).output.trim().to_owned();
    let words = Answer::of(nest.command("cat").arg(format!("/proc/{pid}/cmdline"))).output;
    words.trim_end_matches('\0').replace('\0', " ")
}

#[test]
fn the_recorder_is_set_up_sees_every_owner_is_replaced_and_goes_and_its_file_stays() {
    let nest = nest();
    let plan = portolan(&nest, "record --install --dry-run").with_code(0);
    assert!(told(&plan).contains("it runs: portolan record --interval 5 --keep 2d,31d,2y"), "{plan}");
    let refused = portolan(&nest, "record --install").with_code(1);
    assert!(refused.errors.contains("add --yes"), "{refused}");
    let before = seen(&nest);
    assert_eq!((&*before.0, &*before.3), ("rests", ""));
    let done = portolan(&nest, "record --install --interval 0.2 --yes").with_code(0);
    assert!(told(&done).contains("portolan undo 1"), "{done}");
    let first = seen(&nest);
    assert_eq!((&*first.0, &*first.1, &*first.2), ("runs", "enabled", "no"), "{done}");
    let words = format!("{PROGRAM} record --interval 0.2 --keep 2d,31d,2y --max-size 256M --file {FILE}");
    assert_eq!(command(&nest), words);
    // What it is left suffices to see the owner of another user's port, and the buckets of explicit binds.
    let history = portolan(&nest, "history --by owner --json").with_code(0).json();
    let owners = history["series"].to_string();
    assert!(owners.contains("testbed (held.service)"), "{owners}");
    assert_eq!(history["gaps"], serde_json::json!([]), "{history:#}");
    let again = portolan(&nest, "record --install --interval 0.2 --yes").with_code(0);
    assert!(told(&again).contains("nothing to do: it is so already"), "{again}");

    let other = portolan(&nest, "record --install --interval 0.1 --no-owners --yes").with_code(0);
    let differs = told(&other);
    assert!(differs.contains("- ExecStart=/run/portolan record --interval 0.2"), "{other}");
    assert!(differs.contains("+ ExecStart=/run/portolan record --interval 0.1"), "{other}");
    assert!(command(&nest).contains("--interval 0.1"), "{}", command(&nest));
    portolan(&nest, "undo --yes").with_code(0);
    assert_eq!((seen(&nest), command(&nest)), (first.clone(), words), "the first one runs again");

    let held = portolan(&nest, &format!("record --once --file {FILE}")).with_code(1);
    assert!(held.errors.contains("another recorder (pid"), "{held}");
    portolan(&nest, "record --uninstall --yes").with_code(0);
    assert_eq!(seen(&nest), before);
    portolan(&nest, "history").with_code(0);
    let nothing = portolan(&nest, "record --uninstall --yes").with_code(0);
    assert!(told(&nothing).contains("nothing to do"), "{nothing}");
    portolan(&nest, "undo --yes").with_code(0);
    assert_eq!(seen(&nest), first);
    portolan(&nest, "undo 1 --yes").with_code(0);
    assert_eq!(seen(&nest), before);
}

#[test]
fn one_that_cannot_record_fails_at_once_and_what_others_changed_is_left_alone() {
    let nest = nest();
    Answer::of(nest.command("sh").args(["-c", "mkdir -p /var/lib/odd; echo numbers > /var/lib/odd/h.db"]))
        .with_code(0);
    let failed = portolan(&nest, "record --install --file /var/lib/odd/h.db --yes").with_code(1);
    assert!(told(&failed).contains("systemctl status portolan-record.service tells why"), "{failed}");
    portolan(&nest, "undo --yes").with_code(0);
    assert_eq!(seen(&nest).3, "");
    let missing = portolan(&nest, "record --install --file /nowhere/h.db --yes").with_code(1);
    assert!(missing.errors.contains("there is no folder /nowhere; make it first"), "{missing}");

    portolan(&nest, "record --install --yes").with_code(0);
    let edit = format!("sed -i 's/^Nice=.*/Nice=5/' {PLACE}");
    Answer::of(nest.command("sh").args(["-c", &edit])).with_code(0);
    let undone = portolan(&nest, "undo --yes").with_code(1);
    assert!(told(&undone).contains("is not as expected: it was changed meanwhile"), "{undone}");
    assert_eq!(seen(&nest).0, "runs");
    // Setting it up anew is another matter: what was changed is told, and replaced.
    let anew = portolan(&nest, "record --install --yes").with_code(0);
    assert!(told(&anew).contains("- Nice=5 + Nice=10"), "{anew}");
}

/// Kills a change at each call of each kind in turn, and takes it back. How often it was killed is returned.
#[track_caller]
fn killed_everywhere(nest: &NestedSystemd, cut: &str) -> u32 {
    let before = seen(nest);
    let mut kills = 0;
    for call in CALLS {
        for number in 1..=MOST {
            let mut command = nest.command("strace");
            command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
            command.args(["-e", &format!("inject={call}:signal=KILL:when={number}"), PROGRAM]);
            let answer = Answer::of(command.args(cut.split_whitespace()));
            let at = format!("{cut} at {call} {number}");
            assert!(!answer.errors.contains("panicked"), "{at}: {answer}");
            let undone = portolan(nest, "undo --yes").with_code(0);
            let until = Instant::now() + PATIENCE;
            while seen(nest) != before {
                assert!(Instant::now() < until, "{at}: {answer}\n{undone}\n{:#?}\n{before:#?}", seen(nest));
                thread::sleep(Duration::from_millis(20));
            }
            if answer.code == Some(0) {
                break;
            }
            kills += 1;
            assert!(number < MOST, "{at}: it never came to its end");
        }
    }
    kills
}

/// A recorder of which the journal knows nothing: else an undo of what was cut off before it began would take it away.
fn set_up_before(nest: &NestedSystemd) {
    let set_up = format!(
        "mkdir -p /var/lib/portolan; PORTOLAN_STATE=/run/before {PROGRAM} record --install --interval 1 --file {FILE} --yes"
    );
    Answer::of(nest.command("sh").args(["-c", &set_up])).with_code(0);
}

#[test]
fn setting_up_killed_anywhere_leaves_nothing_once_undone() {
    assert!(killed_everywhere(&nest(), "record --install --yes") > 12);
}

#[test]
fn replacing_killed_anywhere_leaves_the_first_one_running_once_undone() {
    let nest = nest();
    set_up_before(&nest);
    let first = command(&nest);
    assert!(killed_everywhere(&nest, "record --install --interval 2 --yes") > 12);
    assert_eq!(command(&nest), first);
}

#[test]
fn taking_away_killed_anywhere_leaves_it_running_once_undone() {
    let nest = nest();
    set_up_before(&nest);
    assert!(killed_everywhere(&nest, "record --uninstall --yes") > 12);
}

/// The unit that this program prints.
fn printed(program: &Path, words: &str) -> String {
    let mut command = std::process::Command::new(program);
    command.args(["record", "--install", "--print"]).args(words.split_whitespace());
    Answer::of(command.env("PORTOLAN_STATE", "/var/lib/portolan")).with_code(0).output
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit_and_little_that_it_may_do() {
    let folder = Path::new("/run").join(format!("portolan-unit-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let (path, own) = (folder.join(UNIT), folder.join("portolan"));
    fs::copy(program("portolan"), &own).unwrap();
    let analyze =
        |words: &[&str]| Answer::of(std::process::Command::new("systemd-analyze").args(words).arg(&path));
    let mut said = Vec::new();
    for words in ["", "--no-owners --interval 60", "--file /srv/h.db"] {
        fs::write(&path, printed(&own, words)).unwrap();
        said.push(analyze(&["verify", "--man=no", "--recursive-errors=no"]));
    }
    // Exposure is told in tenths: 0 for nothing, 100 for everything.
    let exposed = analyze(&["security", "--offline=yes", "--threshold=30", "--no-pager"]);
    fs::remove_dir_all(&folder).unwrap();
    for answer in said {
        assert_eq!((answer.code, answer.output.trim(), answer.errors.trim()), (Some(0), "", ""), "{answer}");
    }
    assert_eq!(exposed.code, Some(0), "{exposed}");
}

#[test]
fn where_systemd_does_not_run_it_says_so_and_what_to_do() {
    let namespace = portolan_testbed::Namespace::new();
    let mut command = namespace.command("unshare");
    let hidden = "mount -t tmpfs none /run && exec \"$0\" record --install --yes";
    command.args(["--mount", "sh", "-c", hidden]).arg(program("portolan"));
    let refused = Answer::of(&mut command).with_code(1);
    assert_eq!(refused.errors.lines().count(), 1, "{refused}");
    assert!(
        refused.errors.contains("systemd does not run here; have what starts programs here run"),
        "{refused}"
    );
    assert!(refused.errors.contains("nothing was changed"), "{refused}");
}
