//! What a plan must do whatever happens is done after a failure and after the person broke off, and going on brings the
//! rest: on a kernel's own setting, in a network namespace, with a journal on disk.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use portolan_core::change::{Action, Plan, Record, Standing, Step, Store};
use portolan_core::port::PortRange;
use portolan_host::apply::{Ending, Outcome, Run, apply, go_on, undo};
use portolan_host::journal::Journal;
use portolan_host::sys::EndSignals;
use portolan_host::{Namespace, sys};

const RANGE: &str = "net.ipv4.ip_local_port_range";

fn set(from: &str, to: &str) -> Step {
    let range = |text: &str| Some(text.parse::<PortRange>().unwrap());
    Step::new(Action::SetRange { store: Store::Runtime, from: range(from), to: range(to) })
}

/// A namespace, and a journal in a folder that goes with it.
struct Place {
    namespace: portolan_testbed::Namespace,
    folder: PathBuf,
}

impl Place {
    fn new() -> Self {
        let namespace = portolan_testbed::Namespace::new();
        let folder = std::env::temp_dir().join(format!("{}.journal", namespace.name()));
        Self { namespace, folder }
    }

    fn there(&self) -> Namespace {
        Namespace::Named(self.namespace.name().to_owned())
    }

    /// Carries out: the range is "stopped" (moved away), something is done, and it is brought back whatever happens.
    fn apply(&self, middle: Step, breaks_before: usize) -> (Ending, Vec<(usize, bool)>) {
        let mut asked = 0;
        self.apply_asking(middle, &mut || {
            asked += 1;
            asked > breaks_before
        })
    }

    /// The same; before each step it is asked whether the person broke off.
    fn apply_asking(
        &self,
        middle: Step,
        broken_off: &mut dyn FnMut() -> bool,
    ) -> (Ending, Vec<(usize, bool)>) {
        let back = set("40000-50000", "32768-60999").whatever_happens();
        let steps = vec![set("32768-60999", "40000-50000"), middle, back];
        let place = sys::place(&self.there()).unwrap();
        let plan = Plan { title: "test".into(), place, steps, ..Plan::default() };
        let mut told = Vec::new();
        let journal = Journal::new(&self.folder);
        let lock = journal.lock().unwrap();
        let run = Run {
            tell: &mut |report| told.push((report.step, !matches!(report.outcome, Outcome::Failed(_)))),
            broken_off,
            restarts: false,
        };
        let (_, ending) = apply((&journal, &lock), &self.there(), &plan, run).unwrap();
        (ending, told)
    }

    fn record(&self) -> Record {
        Journal::new(&self.folder).record(1).unwrap().record.unwrap()
    }

    fn range(&self) -> String {
        self.namespace.read_sysctl(RANGE)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn reserve() -> Step {
    let ports = vec!["5432".parse().unwrap()];
    Step::new(Action::Reserve { store: Store::Runtime, ports, kept: Vec::new() })
}

#[test]
fn after_a_failed_step_what_was_moved_comes_back() {
    let place = Place::new();
    // Somebody else's range: the middle step finds another than it expects.
    let (ending, told) = place.apply(set("1024-2024", "1024-3024"), usize::MAX);
    assert_eq!((ending, told), (Ending::BrokenOff, vec![(0, true), (1, false), (2, true)]));
    assert_eq!(place.range(), "32768\t60999");
    assert_eq!(place.record().to_undo(), [] as [usize; 0], "it took itself back");
}

#[test]
fn broken_off_before_any_step_what_was_moved_comes_back_and_going_on_does_the_rest() {
    for breaks_before in 0..3 {
        let place = Place::new();
        let (ending, told) = place.apply(reserve(), breaks_before);
        assert_eq!(ending, Ending::BrokenOff);
        assert_eq!(place.range(), "32768\t60999", "broken off before step {breaks_before}: {told:?}");
        let journal = Journal::new(&place.folder);
        let lock = journal.lock().unwrap();
        let run = Run { tell: &mut |_| {}, broken_off: &mut || false, restarts: false };
        let record = place.record();
        let ending = go_on((&journal, &lock), &place.there(), (1, &record), run);
        assert_eq!((ending, place.record().standing()), (Ending::Done, Standing::Applied), "{breaks_before}");
        assert_eq!(place.namespace.read_sysctl("net.ipv4.ip_local_reserved_ports"), "5432");
        let here = sys::place(&place.there()).unwrap();
        let record = place.record();
        assert!(undo((&journal, &lock), &place.there(), &here, (1, &record), &mut |_| {}));
        assert_eq!(place.namespace.read_sysctl("net.ipv4.ip_local_reserved_ports"), "");
        assert_eq!(place.range(), "32768\t60999", "{breaks_before}");
    }
}

/// Set where this program was started by a test, to be pressed Ctrl+C on.
const PRESSED: &str = "PORTOLAN_TEST_PRESSED";

/// Not a test: what the next one starts, by its name, in a process of its own. It says when the range is moved, waits there
/// for Ctrl+C, and says what came of it.
#[test]
#[ignore = "a program for the next test"]
fn waits_for_ctrl_c() {
    if std::env::var_os(PRESSED).is_none() {
        return;
    }
    let signals = EndSignals::block().unwrap();
    let place = Place::new();
    let mut asked = 0;
    let (ending, told) = place.apply_asking(reserve(), &mut || {
        asked += 1;
        if asked < 2 {
            return false;
        }
        println!("\nmoved: {}", place.range());
        signals.wait(Some(Duration::from_secs(60))).unwrap()
    });
    println!("\nended: {ending:?} {told:?} {}", place.range());
}

#[test]
fn ctrl_c_does_not_end_it_before_what_was_moved_is_back() {
    // The harness of tests has threads besides, which would take the signal; the program has none when it blocks it.
    let mut command = Command::new("env");
    command.arg("--block-signal=INT").arg(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "waits_for_ctrl_c", "--nocapture"]);
    command.env(PRESSED, "1").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said = |what: &str| lines.find_map(|line| line.strip_prefix(what).map(str::to_owned));
    assert_eq!(said("moved: ").as_deref(), Some("40000\t50000"));
    let pid = process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let expected = "BrokenOff [(0, true), (2, true)] 32768\t60999";
    assert_eq!(said("ended: ").as_deref(), Some(expected));
    assert!(process.wait().unwrap().success());
}
