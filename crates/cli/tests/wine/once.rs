//! What Wine's prefix has once: services, and the count of starts of the system. Services are Wine's own: `winnat` is made
//! of the program of its print spooler.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Instant;

use super::{INTERVAL, LIMIT, SYSTEM, install, tool};

const BOOT_KEY: &str =
    r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters";

/// What Wine's prefix has once: the service winnat, and the count of starts of the system. One test at a time.
pub(crate) struct Once {
    _one: MutexGuard<'static, ()>,
}

impl Once {
    /// WinNAT installed and running, at the first start of the system.
    pub(crate) fn new() -> Self {
        static ONE: Mutex<()> = Mutex::new(());
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        install();
        let once = Self { _one: one };
        create("winnat");
        once.start();
        once.boot(1);
        assert!(once.runs(), "Wine did not start the service winnat");
        once
    }

    pub(crate) fn start(&self) {
        tool("sc.exe", &["start", "winnat"]);
    }

    /// Installs Hyper-V's management service: with it the feature counts as on.
    pub(crate) fn with_hyperv(self) -> Self {
        create("vmms");
        self
    }

    pub(crate) fn runs(&self) -> bool {
        tool("sc.exe", &["query", "winnat"]).contains("RUNNING")
    }

    /// Has the system say that it was started so many times.
    pub(crate) fn boot(&self, number: u32) {
        tool(
            "reg.exe",
            &["add", BOOT_KEY, "/v", "BootId", "/t", "REG_DWORD", "/d", &number.to_string(), "/f"],
        );
    }
}

/// Registers a service. One that the test before has deleted is there, and can be asked, as long as another test's program
/// looks at it: it would go once that has looked.
fn create(name: &str) {
    let start = Instant::now();
    let program = ["binPath=", r"C:\windows\system32\spoolsv.exe"];
    let mut create = Command::new(Path::new(SYSTEM).join("sc.exe"));
    create.args(["create", name]).args(program).stdout(Stdio::null());
    while !create.status().unwrap().success() {
        assert!(start.elapsed() < LIMIT, "Wine does not register the service {name}");
        tool("sc.exe", &["delete", name]);
        sleep(INTERVAL);
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        tool("net.exe", &["stop", "winnat"]);
        tool("sc.exe", &["delete", "winnat"]);
        tool("sc.exe", &["delete", "vmms"]);
        tool("reg.exe", &["delete", BOOT_KEY, "/v", "BootId", "/f"]);
    }
}
