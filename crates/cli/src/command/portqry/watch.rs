//! `-wport`, `-wpid`: a port or a process of this machine, looked at again and again; what changes is told.
//!
//! Source: Microsoft's article "Using the PortQry command-line tool". Esc and Ctrl+C end it, and the log is whole. Where
//! the input is no terminal of this program's alone, the first Esc in it ends it.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use portolan_host::sys::{self, EndKeys, EndSignals};
use portolan_host::{Namespace, look};

use super::arguments::Watched;
use super::log::Teller;
use super::{local, now, sockets};

/// How soon Esc is seen.
const LOOK_UP: Duration = Duration::from_millis(100);
const ESCAPE: u8 = 0x1b;

/// A watch.
pub(super) struct Watch<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) whom: Watched,
    pub(super) every: Duration,
    pub(super) verbose: bool,
}

impl Watch<'_> {
    /// Watches until Esc or Ctrl+C.
    ///
    /// # Errors
    /// This machine's sockets cannot be seen, or the log cannot be written.
    pub(super) fn run(&self, teller: &mut Teller) -> Result<()> {
        let signals = EndSignals::block().context("cannot wait for signals")?;
        // A terminal gives each key as it is pressed, and a signal for Esc, until the watch ends.
        let keys = EndKeys::heed(&signals);
        let escaped = if keys.is_some() { Arc::default() } else { escape() };
        let whom = match self.whom {
            Watched::Port(port) => format!("port: {port}"),
            Watched::Process(pid) => format!("process ID: {pid}"),
        };
        teller.say(&format!(
            "\nWatching {whom}\n\nChecking for changes every {} seconds\nEsc or Ctrl+C ends it\n",
            self.every.as_secs()
        ))?;
        let modules: Option<&local::Modules<'_>> = if self.verbose { Some(&super::modules) } else { None };
        let mut before: Option<Vec<local::Mapping>> = None;
        loop {
            let seen = look(&sockets(self.namespace))?;
            let mappings = local::mappings(&seen, Some(self.whom));
            match &before {
                None => {
                    let nobody = match self.whom {
                        Watched::Process(pid) if !runs(pid) => {
                            format!("No process has the ID {pid}: what it opens is told if one gets it\n\n")
                        }
                        _ => String::new(),
                    };
                    let told = local::watched(&seen, self.whom, modules);
                    teller.say(&format!("\n{}\n\n{nobody}{told}", now()))?;
                }
                Some(before) => {
                    let changes = local::changes(before, &mappings);
                    if !changes.is_empty() {
                        let whole = match self.verbose {
                            true => format!("\n{}", local::watched(&seen, self.whom, modules)),
                            false => String::new(),
                        };
                        teller.say(&format!("\n{}\n\n{changes}{whole}", now()))?;
                    }
                }
            }
            before = Some(mappings);
            let until = Instant::now() + self.every;
            while Instant::now() < until {
                let left = until.saturating_duration_since(Instant::now()).min(LOOK_UP);
                if signals.wait(Some(left)).context("cannot wait for signals")?
                    || escaped.load(Ordering::Relaxed)
                {
                    return teller.say(&format!("\n{}\n\nThe watch has ended\n", now()));
                }
            }
        }
    }
}

/// Whether a process of that id runs; taken for granted where the system does not list them.
fn runs(pid: u32) -> bool {
    sys::processes().map_or(true, |all| all.iter().any(|process| process.pid == pid))
}

/// Becomes true with the first Esc of the input; the end of the input is none.
fn escape() -> Arc<AtomicBool> {
    let escaped = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&escaped);
    // It ends with the program.
    thread::spawn(move || {
        if io::stdin().lock().bytes().map_while(Result::ok).any(|byte| byte == ESCAPE) {
            told.store(true, Ordering::Relaxed);
        }
    });
    escaped
}
