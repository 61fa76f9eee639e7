//! How far a long command is, on a terminal's standard error: one line, written over itself and gone at the end.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nothing is shown of what is done sooner.
const FIRST: Duration = Duration::from_millis(500);
const WIDTH: u64 = 30;

/// A bar.
pub(crate) struct Progress {
    whole: u64,
    done: AtomicU64,
    good: AtomicU64,
    started: Instant,
    shown: bool,
}

impl Progress {
    /// A bar of so many steps; nothing is shown where nobody looks.
    pub(crate) fn new(whole: u64) -> Self {
        let (done, good) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { whole, done, good, started: Instant::now(), shown: io::stderr().is_terminal() }
    }

    /// One step more; whether it counts as found.
    pub(crate) fn step(&self, good: bool) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.good.fetch_add(u64::from(good), Ordering::Relaxed);
    }

    /// Shows how far it is.
    pub(crate) fn draw(&self) {
        if self.shown && self.started.elapsed() >= FIRST {
            // Where stderr is gone there is nobody left to tell.
            let _ = write!(io::stderr(), "\r{}", self.line());
        }
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        if self.shown && self.started.elapsed() >= FIRST {
            let _ = write!(io::stderr(), "\r{:1$}\r", "", self.line().chars().count());
        }
    }

    fn line(&self) -> String {
        let (done, good) = (self.done.load(Ordering::Relaxed), self.good.load(Ordering::Relaxed));
        let part = done.saturating_mul(WIDTH).checked_div(self.whole).unwrap_or(WIDTH).min(WIDTH);
        let bar: String = (0..WIDTH).map(|place| if place < part { '#' } else { '-' }).collect();
        format!("[{bar}] {done} of {}, {good} open   ", self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_as_steps_are_done() {
        let progress = Progress::new(10);
        (0..5).for_each(|step| progress.step(step == 0));
        assert_eq!(progress.line(), "[###############---------------] 5 of 10, 1 open   ");
        assert!(Progress::new(0).line().starts_with("[######"));
    }
}
