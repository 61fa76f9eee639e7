//! Ends, and what comes after: the console's requests to end, and running another program in our place.
//!
//! Source: `SetConsoleCtrlHandler` (Ctrl+C, Ctrl+Break, the window closed, sign-out, shutdown), Winsock's listen. Windows
//! cannot turn a process into another program: it is started, waited for, and its exit code is ours. Nor does it pass
//! sockets by number, so handing them over is refused.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::io::AsRawSocket as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use windows_sys::Win32::Networking::WinSock::{SOMAXCONN, listen as listen_on};
use windows_sys::Win32::System::Console::SetConsoleCtrlHandler;
use windows_sys::core::BOOL;

use super::bind::BoundSocket;

/// Longer than any boot.
const NO_LIMIT: Duration = Duration::from_secs(u32::MAX as u64);

/// Whether the console asked this process to end.
static ASKED: Mutex<bool> = Mutex::new(false);
static CHANGED: Condvar = Condvar::new();

/// The console's requests to end, kept from ending this process so that it can be asked for them.
pub struct EndSignals(());

impl EndSignals {
    /// From here on this process does not end by them. (A closed window or a shutdown gives it some seconds more.)
    pub fn block() -> io::Result<Self> {
        // SAFETY: the handler is a function, which lives as long as the process.
        match unsafe { SetConsoleCtrlHandler(Some(asked_to_end), 1) } {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(Self(())),
        }
    }

    /// Runs a program to its end, without input and with its output on standard error. The console asks it too.
    pub fn run(&self, program: &OsStr, arguments: &[OsString]) -> io::Result<ExitStatus> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(io::stderr());
        command.status()
    }

    /// Waits until one comes, at most that long; whether one came.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<bool> {
        let until = Instant::now() + limit.unwrap_or(NO_LIMIT).min(NO_LIMIT);
        let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if std::mem::take(&mut *asked) {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            asked = CHANGED.wait_timeout(asked, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Runs on a thread that Windows makes; 1 says that nobody else needs to act.
unsafe extern "system" fn asked_to_end(_event: u32) -> BOOL {
    ask_to_end();
    1
}

/// Asks this process to end, as the console does.
pub(super) fn ask_to_end() {
    *ASKED.lock().unwrap_or_else(PoisonError::into_inner) = true;
    CHANGED.notify_all();
}

/// Lets a bound TCP socket listen.
pub(crate) fn listen(socket: &BoundSocket) -> io::Result<()> {
    // SAFETY: the socket is open; no pointer is handed over.
    match unsafe { listen_on(socket.as_raw_socket() as usize, SOMAXCONN as i32) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// There is no limit to raise.
pub(crate) fn allow_descriptors(_sockets: usize) {}

/// Lets the ports go, runs a program and ends with its exit code. Returns only where that failed.
pub(crate) fn become_program(
    program: &OsStr,
    arguments: &[OsString],
    passed: &[(BoundSocket, String)],
    let_go: Vec<BoundSocket>,
) -> io::Error {
    if !passed.is_empty() {
        let why = "Windows does not pass sockets to programs by number; leave --pass out";
        return io::Error::new(io::ErrorKind::Unsupported, why);
    }
    // Ctrl+C is the program's to answer, as it would be had it taken our place.
    let _signals = match EndSignals::block() {
        Ok(signals) => signals,
        Err(error) => return error,
    };
    drop(let_go);
    match Command::new(program).args(arguments).status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    }
}
