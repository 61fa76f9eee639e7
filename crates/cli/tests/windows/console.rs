//! `free` on programs without a window: asked by Ctrl+C where their console is their own, told of and left alone where it
//! is not. And Ctrl+C pressed in the console of the program itself.
//!
//! Wine makes a console where a process is started with one of its own; a test program has none.

use std::os::windows::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use portolan_host::sys::EndSignals;

use super::stop::{Holder, command, free, told};
use super::{LIMIT, Scratch, free_port, portolan};

/// Of `CreateProcessW`: a console of its own, and none at all.
const CREATE_NEW_CONSOLE: u32 = 0x10;
const DETACHED_PROCESS: u32 = 0x8;
/// What a program that was asked ends with.
const ASKED: i32 = 42;

/// Ends a program that holds a port once its console asks it to.
pub(super) fn end_when_asked() {
    let signals = EndSignals::block().unwrap();
    std::thread::spawn(move || {
        if signals.wait(Some(LIMIT)).unwrap() {
            std::process::exit(ASKED);
        }
    });
}

/// A program that holds a port in a console of its own, and ends when it is asked; with `parent` in its ways it has a
/// child there.
fn in_own_console(how: &str) -> Holder {
    let mut command = command(how);
    command.creation_flags(CREATE_NEW_CONSOLE);
    Holder::of(command)
}

#[test]
fn a_program_in_a_console_of_its_own_is_asked_by_ctrl_c() {
    let scratch = Scratch::new("free-console");
    let mut holder = in_own_console("polite");
    let plan = told(&free(&scratch, holder.port, "--dry-run"), 0);
    assert!(plan.contains("asked by Ctrl+C in its console, where nobody else is"), "{plan}");
    assert!(holder.lives());
    told(&free(&scratch, holder.port, "--yes"), 0);
    assert_eq!(holder.process.wait().unwrap().code(), Some(ASKED), "it ended by itself");
}

#[test]
fn what_it_has_started_in_its_console_is_named_and_asked_along() {
    let scratch = Scratch::new("free-console-child");
    let mut holder = in_own_console("polite parent");
    let plan = told(&free(&scratch, holder.port, "--dry-run"), 0);
    let named =
        format!("which reaches what it has started too: {} (pid {})", super::own_name(), holder.child);
    assert!(plan.contains(&named), "{plan}");
    told(&free(&scratch, holder.port, "--yes"), 0);
    assert_eq!(holder.process.wait().unwrap().code(), Some(ASKED));
}

#[test]
fn a_program_whose_console_others_share_is_told_of_and_left_alone() {
    let scratch = Scratch::new("free-shared");
    // The holder is the child of the one that the console was made for, which holds nothing.
    let mut parent = in_own_console("idle with-holder");
    let plan = told(&free(&scratch, parent.port, "--dry-run"), 0);
    let shared = format!("shares its console with {} (pid {})", super::own_name(), parent.process.id());
    assert!(plan.contains(&shared), "{plan}");
    let refused = told(&free(&scratch, parent.port, "--yes --timeout 1"), 1);
    assert!(refused.contains(&shared) && refused.contains("--force terminates it"), "{refused}");
    assert!(parent.lives() && std::net::TcpListener::bind(("127.0.0.1", parent.port)).is_err());
    told(&free(&scratch, parent.port, "--yes --force --timeout 1"), 0);
    assert!(parent.lives(), "its parent was not meant");
}

#[test]
fn a_program_that_does_not_heed_ctrl_c_is_terminated_by_force_alone() {
    let scratch = Scratch::new("free-deaf");
    let mut holder = in_own_console("deaf");
    let refused = told(&free(&scratch, holder.port, "--yes --timeout 1"), 1);
    assert!(refused.contains("it still runs 1 s after it was asked to end"), "{refused}");
    assert!(holder.lives());
    told(&free(&scratch, holder.port, "--yes --force --timeout 1"), 0);
    assert_eq!(holder.process.wait().unwrap().code(), Some(1), "it was terminated");
}

/// Starts the program in a console of its own.
fn started(words: &[&str]) -> Child {
    let mut command = portolan(words);
    command.creation_flags(CREATE_NEW_CONSOLE).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Presses Ctrl+C in the console of a program.
fn press(child: &Child) {
    let mut helper = Command::new(super::program());
    helper.args(["console-helper", "press", &child.id().to_string()]).creation_flags(DETACHED_PROCESS);
    let output = helper.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "console-helper 0");
}

#[test]
fn ctrl_c_ends_what_waits_with_its_own_exit_code() {
    let port = free_port();
    for (words, code) in [(&["watch", "--port", &port, "--interval", "0.1"][..], 0), (&["hold", &port], 0)] {
        let mut child = started(words);
        std::thread::sleep(Duration::from_secs(3));
        assert!(child.try_wait().unwrap().is_none(), "{words:?} waits");
        press(&child);
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < LIMIT, "{words:?} did not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(status.code(), Some(code), "{words:?}");
    }
}
