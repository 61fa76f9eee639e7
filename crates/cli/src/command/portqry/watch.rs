//! `-wport`, `-wpid`: a port or a process of this machine, looked at again and again; what changes is told.
//!
//! Source: Microsoft's article "Using the PortQry command-line tool". Esc ends it; a terminal that hands over whole lines
//! wants Enter as well. Ctrl+C ends it too, and the log is whole.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use portolan_host::sys::EndSignals;
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
        let escaped = escape();
        let whom = match self.whom {
            Watched::Port(port) => format!("port: {port}"),
            Watched::Process(pid) => format!("process ID: {pid}"),
        };
        teller.say(&format!(
            "\nWatching {whom}\n\nChecking for changes every {} seconds\nEsc and Enter, or Ctrl+C, end it\n",
            self.every.as_secs()
        ))?;
        let modules: Option<&local::Modules<'_>> = if self.verbose { Some(&super::modules) } else { None };
        let mut before: Option<Vec<local::Mapping>> = None;
        loop {
            let seen = look(&sockets(self.namespace))?;
            let mappings = local::mappings(&seen, Some(self.whom));
            match &before {
                None => {
                    teller.say(&format!("\n{}\n\n{}", now(), local::watched(&seen, self.whom, modules)))?
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
