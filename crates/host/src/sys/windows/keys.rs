//! Keys that end a program that goes on: Esc and q, in the console it was started from.
//!
//! Source: `SetConsoleMode` (ENABLE_LINE_INPUT, ENABLE_ECHO_INPUT). Ctrl+C stays a request to end.

use std::io::{self, Read as _};
use std::panic;
use std::sync::{Mutex, PoisonError};
use std::thread;

use windows_sys::Win32::System::Console::{
    CONSOLE_MODE, ENABLE_ECHO_INPUT, ENABLE_LINE_INPUT, GetConsoleMode, GetStdHandle, STD_INPUT_HANDLE,
    SetConsoleMode,
};

use super::handover::{EndSignals, ask_to_end};

/// The console's mode as it was found.
static BEFORE: Mutex<Option<CONSOLE_MODE>> = Mutex::new(None);

/// The console, giving keys as they are pressed, until this is dropped.
pub struct EndKeys(());

impl EndKeys {
    /// From here on Esc and q on standard input are a request to end. None where that is no console.
    pub fn heed(_: &EndSignals) -> Option<Self> {
        let mut before = 0;
        // SAFETY: the call takes a constant.
        let stdin = unsafe { GetStdHandle(STD_INPUT_HANDLE) };
        // SAFETY: the pointer is to a live number; a handle that is none is refused.
        if unsafe { GetConsoleMode(stdin, &raw mut before) } == 0 {
            return None;
        }
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        // Where a panic ends the process nothing is dropped.
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            previous(panic);
        }));
        let keys = Self(());
        // SAFETY: the handle is the console's.
        if unsafe { SetConsoleMode(stdin, before & !(ENABLE_LINE_INPUT | ENABLE_ECHO_INPUT)) } == 0 {
            return None;
        }
        thread::spawn(read);
        Some(keys)
    }
}

impl Drop for EndKeys {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // SAFETY: the call takes a constant.
        let stdin = unsafe { GetStdHandle(STD_INPUT_HANDLE) };
        // SAFETY: the mode is one that the console had; a console that has gone refuses, and needs none.
        unsafe { SetConsoleMode(stdin, before) };
    }
}

/// Reads keys, on a thread of its own.
fn read() {
    let mut keys = [0; 64];
    while let Ok(length @ 1..) = io::stdin().read(&mut keys) {
        // Arrows and the like begin with Esc and go on, where they are given at all.
        if matches!(&keys[..length], [27] | [b'q' | b'Q', ..]) {
            ask_to_end();
        }
    }
}
