//! Windows: stops and starts services, and ends exactly the process that was meant.
//!
//! Source: the service control manager, `EnumWindows`, `PostMessageW` (WM_CLOSE), `TerminateProcess`. A process with a
//! window is asked to close it, and has the time of the plan to end by itself; the window of a console counts as that of the
//! program that it was made for, which gets the console's close event. One without a window gets Ctrl+C in its console,
//! where nobody but it and what it has started is in that (`console`, [`WayToAsk`]). Left out on purpose: Ctrl+Break.

use std::collections::HashMap;
use std::io;
use std::os::windows::io::{AsRawHandle as _, OwnedHandle};
use std::time::Duration;

use portolan_core::change::{
    ASK, Action, Caller, ProcessEntry, ProcessKey, ProcessNow, TERMINATE, WayToAsk, WindowsAction,
};
use portolan_core::kernel::proc_maps::Module;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_DEPENDENT_SERVICES_RUNNING, ERROR_INVALID_PARAMETER, HWND, LPARAM,
    WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use windows_sys::Win32::System::Threading::{
    PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE, TerminateProcess,
    WaitForSingleObject,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    EnumWindows, GetWindowThreadProcessId, PostMessageW, WM_CLOSE,
};
use windows_sys::core::BOOL;

use super::{console, process, service};
use crate::Error;

/// How long a terminated process may take to end.
const AFTER_END: Duration = Duration::from_secs(5);
/// Exit code of a process that was terminated, as taskkill sets it.
const TERMINATED: u32 = 1;

/// Carries out what stops or starts something.
pub(crate) fn perform(action: &Action) -> Result<(), Error> {
    match action {
        Action::StopUnit { unit, .. } | Action::Windows(WindowsAction::StopService { name: unit }) => {
            service::stop(unit).map_err(|source| service_error("stop", unit, source))
        }
        Action::StartUnit { unit, .. } | Action::Windows(WindowsAction::StartService { name: unit }) => {
            service::start(unit).map_err(|source| service_error("start", unit, source))
        }
        Action::StopProcess { process, signal, timeout_ms, force, .. } => {
            stop_process(process, signal, Duration::from_millis(*timeout_ms), *force)
        }
        Action::StopContainer { runtime, .. } | Action::StartContainer { runtime, .. } => {
            let why = format!("portolan does not do that on Windows; use {runtime}'s own command");
            Err(Error::new("stop or start a container", io::Error::new(io::ErrorKind::Unsupported, why)))
        }
        _ => Err(Error::new(
            "carry this step out",
            io::Error::new(io::ErrorKind::Unsupported, "portolan does not do that on Windows yet"),
        )),
    }
}

fn service_error(verb: &str, name: &str, source: io::Error) -> Error {
    let advice = match source.raw_os_error().map(i32::cast_unsigned) {
        Some(ERROR_ACCESS_DENIED) => " (run as administrator)".into(),
        Some(ERROR_DEPENDENT_SERVICES_RUNNING) => {
            format!(" (`sc enumdepend {name}` names what to stop first)")
        }
        _ => String::new(),
    };
    Error::new(format!("{verb} the service {name}{advice}"), source)
}

/// Every process; one whose start may not be seen has 0 there, and cannot be stopped.
pub fn processes() -> Result<Vec<ProcessEntry>, Error> {
    let table = process::table().map_err(|source| Error::new("list processes", source))?;
    let entry = |entry: process::Entry| {
        let opened = process::open(entry.pid, PROCESS_QUERY_LIMITED_INFORMATION);
        let start = opened.and_then(|process| process::started(&process)).unwrap_or(0);
        ProcessEntry { pid: entry.pid, parent: entry.parent, start, name: entry.name }
    };
    let mut entries: Vec<ProcessEntry> = table.into_iter().map(entry).collect();
    let starts: HashMap<u32, u64> = entries.iter().map(|entry| (entry.pid, entry.start)).collect();
    for entry in &mut entries {
        // The number of a parent that has ended may belong to a later process.
        if starts.get(&entry.parent).is_none_or(|parent| *parent > entry.start && entry.start != 0) {
            entry.parent = 0;
        }
    }
    Ok(entries)
}

/// The program and the libraries that a process has in memory.
pub fn modules(pid: u32) -> Result<Vec<Module>, Error> {
    process::modules(pid).map_err(|source| Error::new(format!("see the modules of process {pid}"), source))
}

/// The one who asks.
pub fn caller() -> Caller {
    Caller { pid: std::process::id(), ..Caller::default() }
}

/// How a process stands now. Which sockets it holds is told by the table alone, where they have no number that would
/// stay theirs: one that runs counts as holding what it is stopped for.
pub(crate) fn process_now(process: &ProcessKey) -> Result<ProcessNow, Error> {
    let look = || -> io::Result<ProcessNow> {
        let handle = match process::open(process.pid, PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE)
        {
            Err(gone) if is_gone(&gone) => return Ok(ProcessNow::Gone),
            other => other?,
        };
        if process::started(&handle)? != process.start {
            return Ok(ProcessNow::Another);
        }
        // A process that has ended is there as long as somebody has a handle of it.
        let ended = ended_within(&handle, Duration::ZERO)?;
        Ok(if ended { ProcessNow::Gone } else { ProcessNow::Holding })
    };
    look().map_err(|source| {
        Error::new(format!("look at {} (pid {}) once more", process.name, process.pid), source)
    })
}

fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ERROR_INVALID_PARAMETER.cast_signed())
}

/// Asks a process to end, waits, and with `force` terminates it. The handle is opened first and the start time read
/// through it, so a pid that was given to another process meanwhile is noticed. A process that is gone is fine.
fn stop_process(process: &ProcessKey, signal: &str, timeout: Duration, force: bool) -> Result<(), Error> {
    let doing = || format!("stop {} (pid {})", process.name, process.pid);
    let attempt = || -> io::Result<()> {
        let Some(handle) = same_process(process)? else { return Ok(()) };
        match signal {
            TERMINATE => return terminate(&handle),
            ASK => {}
            other => {
                let how = format!("Windows has no signal {other}; use TERM (ask it to close) or KILL");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, how));
            }
        }
        match ask(process)? {
            Ok(()) if ended_within(&handle, timeout)? => Ok(()),
            _ if force => terminate(&handle),
            Ok(()) => {
                let waited = timeout.as_secs_f32();
                Err(io::Error::other(format!(
                    "it still runs {waited} s after it was asked to end; --force terminates it then"
                )))
            }
            Err(why) => Err(io::Error::other(format!("{why}; --force terminates it"))),
        }
    };
    attempt().map_err(|source| {
        let denied = source.raw_os_error() == Some(ERROR_ACCESS_DENIED.cast_signed());
        let advice = if denied { ": run as administrator" } else { "" };
        Error::new(format!("{}{advice}", doing()), source)
    })
}

/// A handle of exactly that process; none when it has ended.
fn same_process(process: &ProcessKey) -> io::Result<Option<OwnedHandle>> {
    let rights = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE | PROCESS_TERMINATE;
    let handle = match process::open(process.pid, rights) {
        Err(gone) if is_gone(&gone) => return Ok(None),
        other => other?,
    };
    if process::started(&handle)? != process.start {
        return Err(io::Error::other("that pid belongs to another process by now; nothing was done to it"));
    }
    Ok((!ended_within(&handle, Duration::ZERO)?).then_some(handle))
}

fn terminate(handle: &OwnedHandle) -> io::Result<()> {
    // SAFETY: the handle is open and allows it.
    if unsafe { TerminateProcess(handle.as_raw_handle(), TERMINATED) } == 0 {
        let error = io::Error::last_os_error();
        // It may have ended by itself meanwhile, which is refused as "access denied".
        return if ended_within(handle, Duration::ZERO)? { Ok(()) } else { Err(error) };
    }
    if ended_within(handle, AFTER_END)? {
        return Ok(());
    }
    Err(io::Error::other("it still runs after it was terminated: it waits inside the kernel"))
}

fn ended_within(handle: &OwnedHandle, time: Duration) -> io::Result<bool> {
    // The largest number would stand for "for ever".
    let milliseconds = u32::try_from(time.as_millis()).unwrap_or(u32::MAX).min(u32::MAX - 1);
    // SAFETY: the handle is open and allows waiting.
    match unsafe { WaitForSingleObject(handle.as_raw_handle(), milliseconds) } {
        WAIT_OBJECT_0 => Ok(true),
        WAIT_TIMEOUT => Ok(false),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How a process would be asked to end, as a plan tells it.
pub fn how_asked(process: &ProcessKey, processes: &[ProcessEntry]) -> Option<String> {
    Some(way_to_ask(process.pid, processes).told(process.pid, processes))
}

fn way_to_ask(pid: u32, processes: &[ProcessEntry]) -> WayToAsk {
    let has_window = windows(pid, false);
    let console = || console::members(pid).map_err(|error| error.to_string());
    WayToAsk::of(pid, has_window, if has_window { Ok(Vec::new()) } else { console() }, processes)
}

/// Asks a process to end; why it could not be asked.
fn ask(process: &ProcessKey) -> io::Result<Result<(), String>> {
    let processes = processes().map_err(|error| error.source)?;
    Ok(match way_to_ask(process.pid, &processes) {
        WayToAsk::Window => {
            windows(process.pid, true);
            Ok(())
        }
        WayToAsk::Console(mut members) => {
            // The console is found by the one that is meant.
            members.retain(|member| *member != process.pid);
            members.insert(0, process.pid);
            console::press(&members)
                .map_err(|error| format!("Ctrl+C could not be sent to its console: {error}"))
        }
        WayToAsk::None(why) => Err(why),
    })
}

/// A process, whether its windows are asked to close, and whether it has one.
struct Search {
    pid: u32,
    close: bool,
    any: bool,
}

/// Whether a process has windows; with `close` each is asked to close.
fn windows(pid: u32, close: bool) -> bool {
    let mut search = Search { pid, close, any: false };
    // SAFETY: the function below gets that pointer back, while `search` lives, and nothing else refers to it meanwhile.
    unsafe { EnumWindows(Some(window), (&raw mut search).expose_provenance().cast_signed()) };
    search.any
}

/// One window. 1 goes on to the next.
unsafe extern "system" fn window(window: HWND, search: LPARAM) -> BOOL {
    let pointer = std::ptr::with_exposed_provenance_mut::<Search>(search.cast_unsigned());
    // SAFETY: EnumWindows hands back the pointer that `windows` gave, which leads to a live value.
    let search = unsafe { &mut *pointer };
    let mut pid = 0;
    // SAFETY: `pid` is where the function may write.
    unsafe { GetWindowThreadProcessId(window, &raw mut pid) };
    if pid == search.pid {
        // SAFETY: a message without pointers; a window that is gone makes it fail, no more.
        search.any |= !search.close || unsafe { PostMessageW(window, WM_CLOSE, 0, 0) } != 0;
    }
    1
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that waits for its input to end, killed when dropped.
    struct Waiting(Child);

    impl Waiting {
        fn new() -> Self {
            let program = super::super::command::system_folder().unwrap().join("cmd.exe");
            let mut command = Command::new(program);
            Self(command.arg("/k").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
        }

        fn key(&self) -> ProcessKey {
            let found = processes().unwrap().into_iter().find(|entry| entry.pid == self.0.id()).unwrap();
            assert_eq!(found.parent, std::process::id());
            ProcessKey { pid: found.pid, start: found.start, name: found.name }
        }
    }

    impl Drop for Waiting {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn stop(process: &ProcessKey, signal: &str, force: bool) -> Result<(), Error> {
        let (signal, process) = (signal.to_owned(), process.clone());
        perform(&Action::StopProcess { process, sockets: Vec::new(), signal, timeout_ms: 200, force })
    }

    #[test]
    fn a_process_without_a_window_ends_by_force_only() {
        let mut waiting = Waiting::new();
        let key = waiting.key();
        assert_eq!(process_now(&key).unwrap(), ProcessNow::Holding);
        let error = stop(&key, ASK, false).unwrap_err().to_string();
        assert!(error.ends_with("--force terminates it"), "{error}");
        assert!(waiting.0.try_wait().unwrap().is_none());
        stop(&key, ASK, true).unwrap();
        assert_eq!(waiting.0.wait().unwrap().code(), Some(1));
        assert_eq!(process_now(&key).unwrap(), ProcessNow::Gone);
        stop(&key, TERMINATE, false).unwrap();
    }

    #[test]
    fn a_pid_that_belongs_to_another_process_is_left_alone() {
        let mut waiting = Waiting::new();
        let earlier = ProcessKey { start: waiting.key().start - 1, ..waiting.key() };
        assert_eq!(process_now(&earlier).unwrap(), ProcessNow::Another);
        let error = stop(&earlier, TERMINATE, true).unwrap_err().to_string();
        assert!(error.contains("another process by now"), "{error}");
        assert!(waiting.0.try_wait().unwrap().is_none());
    }

    #[test]
    fn a_signal_that_windows_does_not_have_is_refused() {
        let waiting = Waiting::new();
        let error = stop(&waiting.key(), "USR1", true).unwrap_err().to_string();
        assert!(error.contains("Windows has no signal USR1"), "{error}");
    }
}
