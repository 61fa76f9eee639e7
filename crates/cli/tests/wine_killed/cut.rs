//! A plan, cut off at every call of a tool of the system.
//!
//! The plan is killed once as it begins. From there each call is reached by `resume`, which does a plan's steps by the same
//! code as the command that made it. Between two calls that only read nothing changes, so a kill before a call stands for one
//! after the call before it; a call that changes something is killed before its work and after it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::wine::{Answer, Machine, Once, program, tool};

/// Where Windows keeps what is to be moved or removed with the next start.
const PENDING: [&str; 3] =
    [r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager", "/v", "PendingFileRenameOperations"];

/// A plan on a machine.
pub(crate) struct Case<'a> {
    /// What there is before.
    pub(crate) machine: &'a dyn Fn() -> Machine,
    /// What is typed.
    pub(crate) words: &'a str,
    /// The system, where the plan has it restart, twice.
    pub(crate) once: Option<&'a Once>,
}

/// A part of a plan, from one start of the system to the next.
struct Stage {
    begin: Saved,
    calls: usize,
    /// Calls that change something.
    wrote_at: Vec<usize>,
}

/// A machine as it was at a moment.
struct Saved {
    boot: u32,
    state: Value,
    /// The journal's folder. A program in it is a copy of the one that is tested, and counts as empty.
    files: BTreeMap<PathBuf, Vec<u8>>,
}

fn is_program(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "exe")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

impl Saved {
    fn of(machine: &Machine, boot: u32) -> Self {
        let read = |path: PathBuf| {
            let bytes = if is_program(&path) { Vec::new() } else { fs::read(&path).unwrap() };
            (path, bytes)
        };
        let files = files(&machine.journal()).into_iter().map(read).collect();
        Self { boot, state: machine.state(), files }
    }

    /// Brings it back, and the start of the system in which it was.
    fn restore(&self, machine: &Machine, once: Option<&Once>) {
        machine.set(&self.state);
        for path in files(&machine.journal()) {
            if !self.files.contains_key(&path) {
                fs::remove_file(&path).unwrap();
            }
        }
        for (path, bytes) in &self.files {
            match is_program(path) {
                true if !path.exists() => drop(fs::copy(program(), path).unwrap()),
                true => {}
                false => fs::write(path, bytes).unwrap(),
            }
        }
        once.into_iter().for_each(|once| once.boot(self.boot));
    }
}

impl Case<'_> {
    fn last_boot(&self) -> u32 {
        if self.once.is_some() { 3 } else { 1 }
    }

    /// Cuts it off everywhere; how often.
    pub(crate) fn cut_everywhere(&self) -> usize {
        if self.words.contains("--go-on") {
            // The one plan that leaves a program behind: the others, which run beside it, keep away from its list.
            tool("reg.exe", &[&["delete"][..], &PENDING, &["/f"]].concat());
        }
        let machine = (self.machine)();
        let before = machine.seen();
        let stages = self.stages(&machine);
        let after = machine.seen();
        assert_ne!(after, before, "{}", self.words);
        let mut kills = 0;
        for stage in &stages {
            for call in 1..=stage.calls {
                for works_first in [false, true] {
                    if works_first && !stage.wrote_at.contains(&call) {
                        continue;
                    }
                    stage.begin.restore(&machine, self.once);
                    let boot = stage.begin.boot;
                    let at = format!("{}: start {boot}, call {call}, {works_first}", self.words);
                    self.kill(&machine, call, works_first, &at);
                    let cut = Saved::of(&machine, boot);
                    self.resume(&machine, &cut, (&before, &after), &at);
                    self.undo(&machine, &cut, &before, &at);
                    kills += 1;
                }
            }
        }
        kills
    }

    /// Plays it through; what it was at the beginning of each part.
    fn stages(&self, machine: &Machine) -> Vec<Stage> {
        let first = machine.calls_of(&self.words.replace("--yes", "--dry-run")) + 1;
        assert!(machine.killed_at(first, false, self.words).is_none(), "{} has {first} calls", self.words);
        let mut stages = Vec::new();
        for boot in 1..=self.last_boot() {
            if boot > 1 {
                self.restart(machine, boot);
            }
            let begin = Saved::of(machine, boot);
            machine.with("calls", json!(0)).with("wrote_at", json!([]));
            self.go_on(machine, boot > 1, "uncut");
            let state = machine.state();
            let numbers = |value: &Value| -> Vec<usize> { serde_json::from_value(value.clone()).unwrap() };
            let calls = state["calls"].as_u64().unwrap() as usize;
            stages.push(Stage { begin, calls, wrote_at: numbers(&state["wrote_at"]) });
        }
        self.nothing_is_left(machine, "uncut");
        stages
    }

    fn restart(&self, machine: &Machine, boot: u32) {
        machine.restart(self.once.unwrap(), boot);
    }

    /// By hand, or by the start-up task where the system has just started and there is one.
    fn go_on(&self, machine: &Machine, has_started: bool, at: &str) -> Vec<Answer> {
        let by_itself = if has_started { machine.start_up() } else { Vec::new() };
        let answers =
            if by_itself.is_empty() { vec![machine.portolan("resume 1 --yes --json")] } else { by_itself };
        assert!(answers.iter().all(|answer| answer.code == Some(0)), "{at}: {answers:#?}");
        answers
    }

    fn kill(&self, machine: &Machine, call: usize, works_first: bool, at: &str) {
        let answer = match machine.tasks().pop() {
            Some(task) => machine.killed_in(call, works_first, task),
            None => machine.killed_at(call, works_first, "resume 1 --yes --json"),
        };
        assert!(answer.is_none(), "{at}: it ended before: {answer:#?}");
    }

    /// The rest of the plan, and then all of it back.
    fn resume(&self, machine: &Machine, cut: &Saved, (before, after): (&Value, &Value), at: &str) {
        let answers = self.go_on(machine, false, at);
        for boot in cut.boot + 1..=self.last_boot() {
            self.restart(machine, boot);
            self.go_on(machine, true, at);
        }
        assert_eq!(machine.seen(), *after, "{at}, resumed: {answers:#?}");
        self.nothing_is_left(machine, &format!("{at}, resumed"));
        let undone = machine.portolan("undo 1 --yes --json").with_code(0);
        assert_eq!(machine.seen(), *before, "{at}, resumed and taken back: {undone:#?}");
        self.nothing_is_left(machine, &format!("{at}, resumed and taken back"));
    }

    /// What was done of it, back; and no task that goes on with it all the same.
    fn undo(&self, machine: &Machine, cut: &Saved, before: &Value, at: &str) {
        cut.restore(machine, self.once);
        let undone = machine.portolan("undo 1 --yes --json").with_code(0);
        if self.once.is_some() {
            self.restart(machine, cut.boot + 1);
            assert_eq!(machine.tasks().len(), 0, "{at}");
        }
        assert_eq!(machine.seen(), *before, "{at}, taken back: {undone:#?}");
        self.nothing_is_left(machine, &format!("{at}, taken back"));
    }

    /// The journal's folder has the journal alone. A program that has removed its own task goes with the next start.
    fn nothing_is_left(&self, machine: &Machine, at: &str) {
        let is_left = |path: &PathBuf| {
            let extension = path.extension().unwrap_or_default();
            extension != "jsonl" && extension != "manifest" && path.file_stem().unwrap() != "lock"
        };
        for path in files(&machine.journal()).into_iter().filter(is_left) {
            let pending = tool("reg.exe", &[&["query"][..], &PENDING].concat());
            assert!(pending.contains(path.to_str().unwrap()), "{at}: {path:?} stays; {pending}");
            fs::remove_file(&path).unwrap();
            tool("reg.exe", &[&["delete"][..], &PENDING, &["/f"]].concat());
        }
    }
}
