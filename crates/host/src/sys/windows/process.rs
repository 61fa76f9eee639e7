//! Processes: the table of all of them, and what is known of one.
//!
//! Source: Toolhelp (`CreateToolhelp32Snapshot`), `QueryFullProcessImageNameW`, `GetProcessTimes`, `GetProcessHandleCount`,
//! `NtQueryInformationProcess` (ProcessCommandLineInformation, since Windows 8.1). What may not be seen of a process
//! stays empty: name and parent are told of every one.

use std::collections::HashMap;
use std::io;
use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle};

use portolan_core::kernel::mib;
use portolan_core::kernel::proc_maps::Module;
use portolan_core::owner::Owner;
use windows_sys::Wdk::System::Threading::{NtQueryInformationProcess, ProcessCommandLineInformation};
use windows_sys::Win32::Foundation::{FILETIME, HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, MODULEENTRY32W, Module32FirstW, Module32NextW, PROCESSENTRY32W,
    Process32FirstW, Process32NextW, TH32CS_SNAPMODULE, TH32CS_SNAPMODULE32, TH32CS_SNAPPROCESS,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetProcessHandleCount, GetProcessTimes, OpenProcess, PROCESS_ACCESS_RIGHTS,
    PROCESS_QUERY_LIMITED_INFORMATION, QueryFullProcessImageNameW,
};

use super::buffer::Buffer;
use super::token::Token;
use super::{service, wide};

/// UTF-16 units of a command line that are kept.
const COMMAND_LIMIT: usize = 4096;
/// A table without end is none.
const MOST: usize = 1 << 20;

/// A row of the table.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) name: String,
}

/// Every process.
pub(super) fn table() -> io::Result<Vec<Entry>> {
    // SAFETY: it takes no pointer.
    let raw = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) };
    if raw == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this handle, and nothing else owns it.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(raw) };
    let mut row = PROCESSENTRY32W { dwSize: size_of::<PROCESSENTRY32W>() as u32, ..Default::default() };
    let mut table = Vec::new();
    // SAFETY: the handle is open, and `row` says its own size.
    let mut more = unsafe { Process32FirstW(snapshot.as_raw_handle(), &raw mut row) };
    while more != 0 && table.len() < MOST {
        table.push(Entry {
            pid: row.th32ProcessID,
            parent: row.th32ParentProcessID,
            name: wide::text(&row.szExeFile),
        });
        // SAFETY: as above.
        more = unsafe { Process32NextW(snapshot.as_raw_handle(), &raw mut row) };
    }
    if table.is_empty() { Err(io::Error::last_os_error()) } else { Ok(table) }
}

/// The program and the libraries of a process, those of 32 bits too.
pub(super) fn modules(pid: u32) -> io::Result<Vec<Module>> {
    // SAFETY: it takes no pointer.
    let raw = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPMODULE | TH32CS_SNAPMODULE32, pid) };
    if raw == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this handle, and nothing else owns it.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(raw) };
    let mut row = MODULEENTRY32W { dwSize: size_of::<MODULEENTRY32W>() as u32, ..Default::default() };
    let mut modules = Vec::new();
    // SAFETY: the handle is open, and `row` says its own size.
    let mut more = unsafe { Module32FirstW(snapshot.as_raw_handle(), &raw mut row) };
    while more != 0 && modules.len() < MOST {
        modules.push(Module { path: wide::text(&row.szExePath), base: row.modBaseAddr as u64 });
        // SAFETY: as above.
        more = unsafe { Module32NextW(snapshot.as_raw_handle(), &raw mut row) };
    }
    Ok(modules)
}

/// A handle of a process.
pub(super) fn open(pid: u32, rights: PROCESS_ACCESS_RIGHTS) -> io::Result<OwnedHandle> {
    // SAFETY: it takes no pointer.
    let raw = unsafe { OpenProcess(rights, 0, pid) };
    if raw.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this handle, and nothing else owns it.
    Ok(unsafe { OwnedHandle::from_raw_handle(raw) })
}

/// When a process started, in units of 100 ns since 1601.
pub(super) fn started(process: &OwnedHandle) -> io::Result<u64> {
    let [created, ..] = times(process.as_raw_handle())?;
    Ok(created)
}

/// Processor time of this process, in units of 100 ns.
pub(super) fn own_processor_time() -> io::Result<u64> {
    // SAFETY: it takes nothing and gives a handle that needs no closing.
    let [_, _, kernel, user] = times(unsafe { GetCurrentProcess() })?;
    Ok(kernel.saturating_add(user))
}

/// When a process started and ended, and how long it ran in the kernel and outside of it.
fn times(process: HANDLE) -> io::Result<[u64; 4]> {
    let mut times = [FILETIME::default(); 4];
    let [created, ended, kernel, user] = &mut times;
    // SAFETY: the handle is open, and the four pointers are to live values.
    let done = unsafe {
        GetProcessTimes(process, &raw mut *created, &raw mut *ended, &raw mut *kernel, &raw mut *user)
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(times.map(|time| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)))
}

/// Describes processes; what many of them share is read once.
pub(super) struct Describer {
    table: HashMap<u32, Entry>,
    services: HashMap<u32, Vec<String>>,
}

impl Describer {
    /// One that has read the tables of processes and of services.
    pub(super) fn new() -> io::Result<Self> {
        let table = table()?.into_iter().map(|entry| (entry.pid, entry)).collect();
        Ok(Self { table, services: service::by_process().unwrap_or_default() })
    }

    /// Whether there is such a process.
    pub(super) fn knows(&self, pid: u32) -> bool {
        self.table.contains_key(&pid)
    }

    /// The processes that were started by that one, which may have ended.
    pub(super) fn children(&self, pid: u32) -> Vec<&Entry> {
        let mut children: Vec<&Entry> =
            self.table.values().filter(|entry| entry.parent == pid && entry.pid != pid).collect();
        children.sort_unstable_by_key(|entry| entry.pid);
        children
    }

    /// Describes a process of the table.
    pub(super) fn describe(&self, pid: u32) -> Owner {
        let mut owner = Owner { pid, ..Owner::default() };
        if let Some(entry) = self.table.get(&pid) {
            (owner.parent, owner.name) = (entry.parent, entry.name.clone());
        }
        owner.unit = self.services.get(&pid).map(|names| names.join(","));
        if let Ok(process) = open(pid, PROCESS_QUERY_LIMITED_INFORMATION) {
            owner.started_ms = started(&process).ok().and_then(mib::unix_ms);
            owner.executable = executable(&process);
            owner.command = command_line(&process);
            owner.handles = handles(&process);
            owner.user = Token::of(process.as_raw_handle()).ok().and_then(|token| token.user());
        }
        owner
    }
}

/// How many handles a process has open; none where it may not be seen. Every process has some: Wine's 0 is no count.
fn handles(process: &OwnedHandle) -> Option<u32> {
    let mut count = 0;
    // SAFETY: the handle is open, and `count` is where the function may write.
    let done = unsafe { GetProcessHandleCount(process.as_raw_handle(), &raw mut count) };
    (done != 0 && count > 0).then_some(count)
}

/// The name of a process' program without its folder; none where it may not be seen, or is gone.
pub(super) fn program(pid: u32) -> Option<String> {
    path(pid)?.rsplit('\\').next().map(str::to_owned)
}

/// The path of a process' program; none where it may not be seen, or is gone.
pub(super) fn path(pid: u32) -> Option<String> {
    executable(&open(pid, PROCESS_QUERY_LIMITED_INFORMATION).ok()?)
}

fn executable(process: &OwnedHandle) -> Option<String> {
    let mut path = vec![0_u16; 32 << 10];
    let mut length = path.len() as u32;
    // SAFETY: the handle is open, and the text has the length that is handed over.
    let done =
        unsafe { QueryFullProcessImageNameW(process.as_raw_handle(), 0, path.as_mut_ptr(), &raw mut length) };
    (done != 0).then(|| wide::text(&path))
}

/// The command line; none where it may not be seen.
fn command_line(process: &OwnedHandle) -> Option<String> {
    // The longest one has 64 KiB.
    let mut buffer = Buffer::new(66 << 10);
    let mut used = 0;
    // SAFETY: the handle is open, and the buffer has the length that is handed over.
    let status = unsafe {
        NtQueryInformationProcess(
            process.as_raw_handle(),
            ProcessCommandLineInformation,
            buffer.pointer().cast(),
            66 << 10,
            &raw mut used,
        )
    };
    if status != 0 {
        return None;
    }
    buffer.counted_text(COMMAND_LIMIT).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_described_with_all_there_is_to_know() {
        let describer = Describer::new().unwrap();
        let pid = std::process::id();
        assert!(describer.knows(pid) && !describer.knows(pid + 1));
        let owner = describer.describe(pid);
        let path = std::env::current_exe().unwrap();
        assert_eq!(owner.executable.as_deref(), path.to_str());
        assert_eq!(Some(owner.name.as_str()), path.file_name().and_then(|name| name.to_str()));
        let started = owner.started_ms.unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        assert!(u128::from(started) <= now && u128::from(started) + 600_000 > now, "{started} {now}");
        assert!(owner.user.is_some());
        assert_eq!(owner.unit, None);
        assert_ne!(owner.handles, Some(0), "a count that is not known is none");
    }

    #[test]
    fn a_process_that_is_not_there_is_its_number_alone() {
        let owner = Describer::new().unwrap().describe(u32::MAX - 2);
        assert_eq!(owner, Owner { pid: u32::MAX - 2, ..Owner::default() });
    }
}
