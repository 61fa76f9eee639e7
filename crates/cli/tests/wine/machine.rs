//! A machine with the stand-in's state, and a journal of its own.

use std::fs::{self, File};
use std::os::windows::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Instant;

use serde_json::{Value, json};

use super::{Answer, INTERVAL, LIMIT, MANIFEST, Once, SYSTEM, elevated, finish, install, program, started};

/// Of `CreateProcessW`: a console of its own, and none at all.
const CREATE_NEW_CONSOLE: u32 = 0x10;
const DETACHED_PROCESS: u32 = 0x8;

/// A machine with the stand-in's state, and a journal of its own.
pub(crate) struct Machine {
    folder: PathBuf,
    /// Whether its journal is the system's, which this prefix has once.
    of_system: bool,
}

/// Where the system's journal is.
const OF_SYSTEM: &str = r"C:\Program Files\Portolan\journal";

impl Machine {
    /// One with Windows' own dynamic ranges, an administered and a system's exclusion, that speaks this language.
    pub(crate) fn new(language: &str) -> Self {
        install();
        static COUNT: Mutex<u32> = Mutex::new(0);
        let number = {
            let mut count = COUNT.lock().unwrap_or_else(PoisonError::into_inner);
            *count += 1;
            *count
        };
        let folder = std::env::temp_dir().join(format!("portolan-machine-{}-{number}", std::process::id()));
        // Wine gives numbers of processes again: a run that was cut off may have left its folder.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let machine = Self { folder, of_system: false };
        let table = |value: Value| json!({ "ipv4 tcp": value, "ipv6 tcp": value, "ipv4 udp": value, "ipv6 udp": value });
        machine.set(&json!({
            "language": language,
            "tasks": {},
            "active": {
                "dynamic": table(json!([49152, 16384])),
                "excluded": { "ipv4 tcp": [[5357, 5357, false], [50000, 50059, true]] },
            },
            "persistent": {
                "dynamic": table(json!([49152, 16384])),
                "excluded": { "ipv4 tcp": [[50000, 50059, true]] },
            },
            "features": {
                "Microsoft-Hyper-V": "Enabled",
                "Microsoft-Hyper-V-All": "Enabled",
                "Microsoft-Hyper-V-Services": "Enabled",
                "TelnetClient": "Disabled",
            },
        }));
        machine
    }

    /// One on which WinNAT has set the ports around 1200 aside, as long as it runs.
    pub(crate) fn with_block() -> Self {
        let machine = Self::new("zh-cp936");
        machine.with("blocks", json!({ "ipv4 tcp": [[1131, 1230]] }));
        machine
    }

    fn file(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    /// The stand-in's state. One that is just being written is read again.
    pub(crate) fn state(&self) -> Value {
        let start = Instant::now();
        loop {
            match serde_json::from_slice(&fs::read(self.file()).unwrap()) {
                Ok(state) => return state,
                Err(error) => assert!(start.elapsed() < LIMIT, "{error}"),
            }
            sleep(INTERVAL);
        }
    }

    /// Held, nobody else changes the state: no stand-in, no other thread of the test.
    fn lock(&self) -> File {
        let lock = File::create(self.file().with_extension("lock")).unwrap();
        lock.lock().unwrap();
        lock
    }

    pub(crate) fn set(&self, state: &Value) {
        fs::write(self.file(), state.to_string()).unwrap();
    }

    /// Changes the state.
    pub(crate) fn with(&self, key: &str, value: Value) -> &Self {
        let _lock = self.lock();
        let mut state = self.state();
        state[key] = value;
        self.set(&state);
        self
    }

    /// Everything that a plan may change, to be compared.
    pub(crate) fn seen(&self) -> Value {
        let state = self.state();
        // What was added and deleted again leaves an empty list.
        let excluded = |store: &str| {
            let mut tables = state[store]["excluded"].clone();
            let rows = tables.as_object_mut().unwrap();
            rows.retain(|_, rows| rows.as_array().is_some_and(|rows| !rows.is_empty()));
            // What was deleted and added again stands last.
            rows.values_mut().for_each(|rows| rows.as_array_mut().unwrap().sort_by_key(Value::to_string));
            tables
        };
        json!({
            "active": [state["active"]["dynamic"], excluded("active")],
            "persistent": [state["persistent"]["dynamic"], excluded("persistent")],
            "features": state["features"],
            "tasks": state["tasks"],
        })
    }

    /// What is excluded for good in the table that the dances are about.
    pub(crate) fn excluded(&self) -> Value {
        self.state()["persistent"]["excluded"]["ipv4 tcp"].clone()
    }

    /// What changed something, as the tools were called, since the last time this was asked.
    pub(crate) fn log(&self) -> Vec<String> {
        let log = self.state()["log"].as_array().cloned().unwrap_or_default();
        self.with("log", json!([]));
        log.iter().map(|line| line.as_str().unwrap().to_owned()).collect()
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(elevated());
        command.args(words.split_whitespace());
        self.prepared(command)
    }

    fn prepared(&self, mut command: Command) -> Command {
        command.env("PORTOLAN_STAND_IN", self.file()).stdin(Stdio::null());
        match self.of_system {
            true => command.env_remove("PORTOLAN_STATE"),
            false => command.env("PORTOLAN_STATE", self.journal()),
        };
        command
    }

    /// The folder of the journal.
    pub(crate) fn journal(&self) -> PathBuf {
        if self.of_system { OF_SYSTEM.into() } else { self.folder.join("journal") }
    }

    /// The same with the system's journal, empty.
    pub(crate) fn with_the_system_s_journal(mut self, _once: &Once) -> Self {
        let _ = fs::remove_dir_all(OF_SYSTEM);
        self.of_system = true;
        self
    }

    /// Does what the task scheduler does when the system has started: runs each task's program, elevated as SYSTEM is.
    /// How each ended.
    pub(crate) fn start_up(&self) -> Vec<Answer> {
        self.tasks().into_iter().map(|task| finish(started(task), "a start-up task")).collect()
    }

    /// What the start-up tasks run.
    pub(crate) fn tasks(&self) -> Vec<Command> {
        let tasks = self.state()["tasks"].as_object().unwrap().clone();
        tasks.values().map(|task| self.command_of_task(task)).collect()
    }

    /// What a task runs, elevated as SYSTEM is.
    pub(crate) fn command_of_task(&self, task: &Value) -> Command {
        let task = task.as_str().unwrap();
        let of = |tag: &str| {
            let (_, rest) = task.split_once(&format!("<{tag}>")).unwrap();
            rest.split_once("</").unwrap().0.replace("&quot;", "\"")
        };
        let program = PathBuf::from(of("Command").replace('"', ""));
        assert!(program.starts_with(OF_SYSTEM), "{program:?}");
        // Wine starts elevated what asks for it.
        fs::write(program.with_extension("exe.manifest"), MANIFEST).unwrap();
        let mut command = Command::new(program);
        command.raw_arg(of("Arguments"));
        self.prepared(command)
    }

    /// What schtasks asked the scheduler's service for since the last time: /Run or /End, and which task.
    pub(crate) fn asked_of_the_scheduler(&self) -> Vec<(String, String)> {
        let _lock = self.lock();
        let mut state = self.state();
        let asked: Vec<_> = serde_json::from_value(state["asked"].take()).unwrap_or_default();
        if !asked.is_empty() {
            state["asked"] = json!([]);
            self.set(&state);
        }
        asked
    }

    /// Runs the program to its end, with words as on a command line without quotes.
    #[track_caller]
    pub(crate) fn portolan(&self, words: &str) -> Answer {
        finish(started(self.command(words)), words)
    }

    /// Starts the program.
    pub(crate) fn begin(&self, words: &str) -> Child {
        started(self.command(words))
    }

    /// The same in a window that is not elevated.
    #[track_caller]
    pub(crate) fn portolan_of_a_user(&self, words: &str) -> Answer {
        let mut command = Command::new(program());
        command.args(words.split_whitespace());
        finish(started(self.prepared(command)), words)
    }

    /// The same, elevated and typed in cmd.
    #[track_caller]
    pub(crate) fn cmd(&self, words: &str) -> Answer {
        let mut command = Command::new(Path::new(SYSTEM).join("cmd.exe"));
        command.arg("/c").arg(elevated()).args(words.split_whitespace());
        finish(started(self.prepared(command)), words)
    }

    /// Runs the program in a console of its own, elevated, until the stand-in's call of that number; has Ctrl+C pressed
    /// in that console, lets the call go, and waits for the end. None where it came to its end before.
    #[track_caller]
    pub(crate) fn pressed_at(&self, call: usize, works_first: bool, words: &str) -> Option<Answer> {
        let mut command = self.command(words);
        command.creation_flags(CREATE_NEW_CONSOLE);
        let mut child = self.stalls_at(call, works_first, command);
        let start = Instant::now();
        while !self.folder.join("state.stalled").exists() {
            if child.try_wait().unwrap().is_some() {
                self.let_go();
                return None;
            }
            assert!(start.elapsed() < LIMIT, "{words}: neither stalled nor ended");
            sleep(INTERVAL);
        }
        let pid = child.id().to_string();
        let mut press = Command::new(program());
        press.args(["console-helper", "press", &pid]).creation_flags(DETACHED_PROCESS);
        let press = press.output().unwrap();
        let pressed = String::from_utf8_lossy(&press.stdout);
        assert_eq!(pressed.trim(), "console-helper 0", "nobody but the program is in its console");
        self.let_go();
        Some(finish(child, words))
    }

    /// Runs the program until the stand-in's call of that number, where it is killed; the answer of one that came to its
    /// end before.
    #[track_caller]
    pub(crate) fn killed_at(&self, call: usize, works_first: bool, words: &str) -> Option<Answer> {
        self.killed_in(call, works_first, self.command(words))
    }

    /// The same of another command.
    #[track_caller]
    pub(crate) fn killed_in(&self, call: usize, works_first: bool, command: Command) -> Option<Answer> {
        let mut child = self.stalls_at(call, works_first, command);
        let stalled = self.folder.join("state.stalled");
        let start = Instant::now();
        let answer = loop {
            if stalled.exists() {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            if child.try_wait().unwrap().is_some() {
                break Some(finish(child, "what was to be killed"));
            }
            assert!(start.elapsed() < LIMIT, "call {call}: neither stalled nor ended");
            sleep(INTERVAL);
        };
        self.let_go();
        answer
    }

    /// Restarts the machine: what waits for a restart takes effect.
    pub(crate) fn restart(&self, once: &Once, boot: u32) {
        let mut state = self.state();
        for word in state["features"].as_object_mut().unwrap().values_mut() {
            match word.as_str() {
                Some("Enable Pending") => *word = json!("Enabled"),
                Some("Disable Pending") => *word = json!("Disabled"),
                _ => {}
            }
        }
        if state["features"]["Microsoft-Hyper-V"] == "Disabled" {
            state["stuck"] = json!(false);
            state["blocks"] = json!({});
        }
        self.set(&state);
        once.boot(boot);
    }

    /// How many calls of the stand-in a run makes.
    #[track_caller]
    pub(crate) fn calls_of(&self, words: &str) -> usize {
        self.with("calls", json!(0));
        self.portolan(words).with_code(0);
        usize::try_from(self.state()["calls"].as_u64().unwrap()).unwrap()
    }

    fn stalls_at(&self, call: usize, works_first: bool, command: Command) -> Child {
        for extension in ["stalled", "let-go"] {
            let _ = fs::remove_file(self.file().with_extension(extension));
        }
        self.with("calls", json!(0)).with("stalls_at", json!(call)).with("works_first", json!(works_first));
        started(command)
    }

    /// Lets a call that stands still go, and waits until nobody holds the state.
    fn let_go(&self) {
        fs::write(self.file().with_extension("let-go"), "").unwrap();
        self.with("stalls_at", json!(0));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A folder that stays behind must not hide the test's own failure.
        let _ = fs::remove_dir_all(&self.folder);
        if self.of_system {
            let _ = fs::remove_dir_all(Path::new(OF_SYSTEM).parent().unwrap());
        }
    }
}
