//! Keys that end a program that goes on: Esc and q, on the terminal it was started from.
//!
//! Source: termios(3), tty(4) on background processes, setpgid(2). Left out on purpose: the terminal's raw mode, in
//! which lines would not begin at the left and Ctrl+C would be a key. SIGKILL lets nobody restore the terminal; nor does SIGQUIT
//! that another process sends.

use std::io::{self, Read as _};
use std::panic;
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::process::{Signal, getpgrp, getpid, kill_process};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
};

use super::handover::{EndSignals, block};

/// What Ctrl+\ is where it is no signal.
const CTRL_BACKSLASH: u8 = 28;

/// The terminal's mode as it was found.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal, giving keys as they are pressed, until this is dropped.
pub struct EndKeys(());

impl EndKeys {
    /// From here on Esc and q on standard input are a signal to end. None where that is no terminal, or belongs to
    /// another program at the moment.
    pub fn heed(_: &EndSignals) -> Option<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).ok().filter(|_| is_ours())?;
        let mut by_key = before.clone();
        by_key.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        // Ctrl+\ would end this process before it restores anything: it becomes a key too.
        by_key.special_codes[SpecialCodeIndex::VQUIT] = 0;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        // Where a panic ends the process nothing is dropped.
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            previous(panic);
        }));
        let keys = Self(());
        tcsetattr(&stdin, OptionalActions::Now, &by_key).ok()?;
        thread::spawn(read);
        Some(keys)
    }
}

impl Drop for EndKeys {
    fn drop(&mut self) {
        restore();
    }
}

/// Whether the terminal listens to this process: it does not to one in the background.
fn is_ours() -> bool {
    tcgetpgrp(io::stdin()).map_or(true, |group| group == getpgrp())
}

fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before.filter(|_| is_ours()) {
        // A terminal that has gone needs no mode.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

/// Reads keys, on a thread of its own, until one of them ends the program.
fn read() {
    // In the background reading then fails, where it would stop the whole program.
    if block(&[libc::SIGTTIN]).is_err() {
        return;
    }
    let mut keys = [0; 64];
    loop {
        match io::stdin().read(&mut keys) {
            // Arrows and the like begin with Esc and go on.
            Ok(length @ 1..) if matches!(&keys[..length], [27] | [b'q' | b'Q' | CTRL_BACKSLASH, ..]) => {
                // What waits for signals wakes up as by Ctrl+C.
                let _ = kill_process(getpid(), Signal::INT);
            }
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
        }
    }
}
