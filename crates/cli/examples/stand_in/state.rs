//! The state of a test's machine: a file, locked while a call reads and changes it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Said;

/// Longer than any test waits.
const LIMIT: Duration = Duration::from_secs(120);
const INTERVAL: Duration = Duration::from_millis(5);

/// An excluded range: first port, last port, whether administered.
pub(crate) type Exclusion = (u16, u16, bool);

/// One of netsh's stores, by tables such as `ipv4 tcp`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Store {
    /// Dynamic ranges: first port and count.
    pub(crate) dynamic: BTreeMap<String, (u16, u32)>,
    /// Excluded ranges.
    #[serde(default)]
    pub(crate) excluded: BTreeMap<String, Vec<Exclusion>>,
}

/// The machine.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    /// Of the recordings: `en`, `de-cp850`.
    pub(crate) language: String,
    pub(crate) active: Store,
    pub(crate) persistent: Store,
    /// Blocks that WinNAT has while it runs, by tables.
    pub(crate) blocks: BTreeMap<String, Vec<(u16, u16)>>,
    /// Blocks that stay until Hyper-V was off for a start.
    pub(crate) stuck: bool,
    /// Ports in use: nothing may be excluded there.
    pub(crate) in_use: Vec<u16>,
    /// Whether setting IPv4's dynamic range sets IPv6's too.
    pub(crate) coupled: bool,
    /// Optional features with dism's word for their state.
    pub(crate) features: BTreeMap<String, String>,
    /// Start-up tasks: their XML.
    pub(crate) tasks: BTreeMap<String, String>,
    /// What the scheduler's service is asked for: `/Run` or `/End`, and which task. The test is that service.
    pub(crate) asked: Vec<(String, String)>,
    /// netsh says nothing, and ends well.
    pub(crate) silent: bool,
    /// The call by that number, from 1, that refuses with exit code 1.
    pub(crate) fails_at: usize,
    /// The call by that number that waits to be let go, and then, like one that was ended, does nothing.
    pub(crate) stalls_at: usize,
    /// Whether it does its work before it waits.
    pub(crate) works_first: bool,
    /// Calls so far.
    pub(crate) calls: usize,
    /// Those of them, by number, that may have changed something.
    pub(crate) wrote_at: Vec<usize>,
    /// What changed something, as typed.
    pub(crate) log: Vec<String>,
}

/// The file of a machine.
pub(crate) struct Held {
    path: PathBuf,
}

impl Held {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    fn beside(&self, extension: &str) -> PathBuf {
        self.path.with_extension(extension)
    }

    /// Reads the state, lets `work` change it, and writes it back.
    pub(crate) fn call(&self, name: &str, words: &[&str], work: impl FnOnce(&mut State) -> Said) -> Said {
        let lock = File::create(self.beside("lock")).expect("the test's folder can be written");
        lock.lock().expect("a file can be locked");
        let text = fs::read(&self.path).expect("the test wrote a state");
        let mut state: State = serde_json::from_slice(&text).expect("the test wrote a state");
        state.calls += 1;
        let (fails, stalls) = (state.calls == state.fails_at, state.calls == state.stalls_at);
        let said = match (fails, stalls && !state.works_first) {
            (true, _) => (b"Wait, no.\r\n".to_vec(), 1),
            (_, true) => (Vec::new(), 1),
            _ => work(&mut state),
        };
        const VERBS: [&str; 6] = ["set", "add", "delete", "/r", "/Create", "/Delete"];
        let changes = |word: &&str| VERBS.contains(word) || word.ends_with("able-Feature");
        if words.iter().any(changes) {
            state.log.push(format!("{name} {}", words.join(" ")));
            state.wrote_at.push(state.calls);
        }
        fs::write(&self.path, serde_json::to_vec(&state).expect("it is plain data")).expect("as before");
        drop(lock);
        if stalls {
            self.stall();
        }
        said
    }

    /// Tells the test that this call stands still, and waits to be let go.
    fn stall(&self) {
        fs::write(self.beside("stalled"), "").expect("the test's folder can be written");
        let start = Instant::now();
        while !self.beside("let-go").exists() && start.elapsed() < LIMIT {
            sleep(INTERVAL);
        }
    }
}
