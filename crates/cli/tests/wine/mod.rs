//! A Windows machine of a test's own, under Wine: `crates/cli/examples/stand_in` takes the place of netsh, dism, schtasks
//! and shutdown in the system folder of the Wine prefix that the test runs in, and keeps each test's state in a file.
//!
//! Wine's prefix is one for all tests and for every run of them, so a file in it is locked while a test program runs that
//! has this module: `wine_changes` and `wine_killed`, which are two since a test program has a quarter of an hour.

mod machine;
mod once;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) use machine::Machine;
pub(crate) use once::Once;

/// No command here takes longer than some seconds, even under Wine with a busy machine.
const LIMIT: Duration = Duration::from_secs(90);
const INTERVAL: Duration = Duration::from_millis(5);
const OVERRIDES: &str = r"HKCU\Software\Wine\DllOverrides";
const MANIFEST: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<assembly xmlns="urn:schemas-microsoft-com:asm.v1" manifestVersion="1.0">
  <trustInfo xmlns="urn:schemas-microsoft-com:asm.v3"><security><requestedPrivileges>
    <requestedExecutionLevel level="requireAdministrator" uiAccess="false"/>
  </requestedPrivileges></security></trustInfo>
</assembly>
"#;
const SYSTEM: &str = r"C:\windows\system32";
/// Hyper-V off and on again, for a port that its part WinNAT has.
pub(crate) const CYCLE: &str = "reserve add 1200 --cycle-hyperv --transport tcp --family ipv4 --yes --json";
/// Every name that the stand-in knows.
const TOOLS: [&str; 4] = ["netsh.exe", "dism.exe", "schtasks.exe", "shutdown.exe"];

/// Puts the stand-in into the system folder, once; the lock is held until this program ends.
fn install() {
    static INSTALLED: OnceLock<File> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let system = Path::new(SYSTEM);
        assert!(
            system.join("winecfg.exe").exists(),
            "these tests replace programs of the system folder: run them under Wine, never on Windows itself"
        );
        let lock = File::create(std::env::temp_dir().join("portolan-stand-in.lock")).unwrap();
        lock.lock().unwrap();
        let stand_in = built().join("examples").join("stand_in.exe");
        fs::create_dir_all(elevated().parent().unwrap()).unwrap();
        fs::copy(program(), elevated()).unwrap();
        fs::write(elevated().with_extension("exe.manifest"), MANIFEST).unwrap();
        let program = fs::read(&stand_in).unwrap_or_else(|error| {
            let path = stand_in.display();
            panic!("{path}: {error}: run cargo build -p portolan --example stand_in --target x86_64-pc-windows-gnu")
        });
        for name in TOOLS {
            // Wine prefers some of its own programs to a file in their place.
            tool("reg.exe", &["add", OVERRIDES, "/v", name, "/d", "native,builtin", "/f"]);
            let path = system.join(name);
            if fs::read(&path).is_ok_and(|there| there == program) {
                continue;
            }
            // A program that another test killed may have left one of these running: its file can be moved, not written.
            if path.exists() {
                fs::rename(&path, path.with_extension(format!("before-{}", std::process::id()))).unwrap();
            }
            fs::write(&path, &program).unwrap();
        }
        // Of a run that was cut off.
        tool("net.exe", &["stop", "winnat"]);
        tool("sc.exe", &["delete", "winnat"]);
        tool("sc.exe", &["delete", "vmms"]);
        lock
    });
}

/// The program: what cargo built for the test, or the one to be tried instead.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("PORTOLAN_TRIED").map_or_else(|| env!("CARGO_BIN_EXE_portolan").into(), PathBuf::from)
}

/// Where cargo puts what it builds for this target.
fn built() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

/// A copy of the program that Wine starts elevated, as a manifest beside it asks for.
pub(crate) fn elevated() -> PathBuf {
    built().join("elevated").join("portolan.exe")
}

/// What a run of the program answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.output).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The outcome of each step.
    #[track_caller]
    pub(crate) fn outcomes(&self) -> Vec<String> {
        let json = self.json();
        let steps = json["steps"].as_array().unwrap_or_else(|| panic!("{self:#?}"));
        steps.iter().map(|step| step["outcome"].as_str().unwrap().to_owned()).collect()
    }
}

fn started(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for a program's end, or ends it and fails.
#[track_caller]
pub(crate) fn finish(mut child: Child, words: &str) -> Answer {
    let stdout = read(child.stdout.take().unwrap());
    let stderr = read(child.stderr.take().unwrap());
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("{words} did not end");
        }
        sleep(INTERVAL);
    };
    let text = |bytes: std::thread::JoinHandle<Vec<u8>>| String::from_utf8(bytes.join().unwrap()).unwrap();
    Answer { code: status.code(), output: text(stdout), errors: text(stderr) }
}

fn read(mut pipe: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

pub(crate) fn tool(name: &str, words: &[&str]) -> String {
    let output = Command::new(Path::new(SYSTEM).join(name)).args(words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
