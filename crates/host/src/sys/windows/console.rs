//! Consoles of other processes: who is in one, and Ctrl+C in it.
//!
//! Source: `AttachConsole`, `GetConsoleProcessList`, `GenerateConsoleCtrlEvent`. A process is in one console at most and
//! would lose its own, so a helper does it: this program once more, without a console, by the word [`HELPER`]. Ctrl+C is
//! sent only where everybody in the console is one of those that were named; somebody who comes in between the look and
//! the event is asked along. A process that was started as a group of its own ignores Ctrl+C, unless it says otherwise.

use std::ffi::OsString;
use std::io;
use std::os::windows::process::CommandExt as _;
use std::process::{Command, Stdio};

use windows_sys::Win32::Foundation::{ERROR_GEN_FAILURE, ERROR_INVALID_HANDLE, ERROR_MORE_DATA};
use windows_sys::Win32::System::Console::{
    AttachConsole, CTRL_C_EVENT, GenerateConsoleCtrlEvent, GetConsoleProcessList, SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::Threading::DETACHED_PROCESS;

/// The first argument of the helper; nothing that a person types.
const HELPER: &str = "console-helper";
/// More processes in one console are not looked at.
const MOST: usize = 1024;

/// The processes in the console of a process; none where it is in no console.
pub(super) fn members(pid: u32) -> io::Result<Vec<u32>> {
    ask_helper(&["list".into(), pid.to_string()])
}

/// Ctrl+C in the console of the first of these processes, where nobody else is in it.
pub(super) fn press(pids: &[u32]) -> io::Result<()> {
    let mut words = vec!["press".to_owned()];
    words.extend(pids.iter().map(u32::to_string));
    let others = ask_helper(&words)?;
    match others.is_empty() {
        true => Ok(()),
        false => Err(io::Error::other("another process has come into its console meanwhile")),
    }
}

/// Runs the helper; the numbers that it writes.
fn ask_helper(words: &[String]) -> io::Result<Vec<u32>> {
    let output = Command::new(std::env::current_exe()?)
        .arg(HELPER)
        .args(words)
        .creation_flags(DETACHED_PROCESS)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers = text.strip_prefix(HELPER).map(str::split_whitespace);
    let unclear = || io::Error::other("this program could not be started once more to look at it");
    let mut numbers = numbers.ok_or_else(unclear)?.map(|word| word.parse::<u32>().map_err(|_| unclear()));
    match numbers.next().ok_or_else(unclear)?? {
        0 => numbers.collect(),
        code => Err(io::Error::from_raw_os_error(code.cast_signed())),
    }
}

/// Does the helper's work where this process was started as one, and says what it is to write: its word, a code, and
/// process ids: those in the console, or those in whose presence nothing was sent.
pub fn console_helper(mut arguments: impl Iterator<Item = OsString>) -> Option<String> {
    arguments.by_ref().nth(1).filter(|first| first.to_str() == Some(HELPER))?;
    let verb = arguments.next()?;
    let pids: Vec<u32> = arguments.map_while(|pid| pid.to_str()?.parse().ok()).collect();
    let (code, pids) = match (verb.to_str()?, pids.first()) {
        ("list", Some(pid)) => answer(attached(*pid)),
        ("press", Some(_)) => answer(press_attached(&pids)),
        _ => return None,
    };
    let pids: String = pids.iter().map(|pid| format!(" {pid}")).collect();
    Some(format!("{HELPER} {code}{pids}\n"))
}

fn answer(found: io::Result<Vec<u32>>) -> (u32, Vec<u32>) {
    found.map_or_else(
        |error| (error.raw_os_error().map_or(ERROR_GEN_FAILURE, i32::cast_unsigned), Vec::new()),
        |pids| (0, pids),
    )
}

/// Goes into the console of a process; who else is there. Nobody where it has none.
fn attached(pid: u32) -> io::Result<Vec<u32>> {
    // SAFETY: it takes no pointer.
    if unsafe { AttachConsole(pid) } == 0 {
        let error = io::Error::last_os_error();
        // A process of another user is refused as well, and stays an error.
        let has_none = error.raw_os_error() == Some(ERROR_INVALID_HANDLE.cast_signed());
        return if has_none { Ok(Vec::new()) } else { Err(error) };
    }
    let mut pids = vec![0; MOST];
    // SAFETY: the list has the length that is handed over.
    let count = unsafe { GetConsoleProcessList(pids.as_mut_ptr(), MOST as u32) } as usize;
    if count == 0 {
        return Err(io::Error::last_os_error());
    }
    if count > MOST {
        return Err(io::Error::from_raw_os_error(ERROR_MORE_DATA.cast_signed()));
    }
    pids.truncate(count);
    pids.retain(|pid| *pid != std::process::id());
    Ok(pids)
}

/// Ctrl+C for everybody in the console of the first; nobody is asked where one is in it who is not named, and those are
/// the answer.
fn press_attached(named: &[u32]) -> io::Result<Vec<u32>> {
    let Some(first) = named.first() else { return Ok(Vec::new()) };
    let others: Vec<u32> = match attached(*first)? {
        nobody if nobody.is_empty() => {
            return Err(io::Error::from_raw_os_error(ERROR_INVALID_HANDLE.cast_signed()));
        }
        members => members.into_iter().filter(|member| !named.contains(member)).collect(),
    };
    if !others.is_empty() {
        return Ok(others);
    }
    // SAFETY: no function is handed over: this process ignores Ctrl+C from here on.
    if unsafe { SetConsoleCtrlHandler(None, 1) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it takes no pointer; 0 stands for everybody in this console.
    match unsafe { GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(Vec::new()),
    }
}
