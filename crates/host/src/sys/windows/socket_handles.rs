//! How many sockets processes have open: also those that are in no table, being neither bound nor connected.
//!
//! Source: NtQuerySystemInformation (SystemExtendedHandleInformation) for the handles of all processes, NtQueryObject
//! (ObjectNameInformation) for what each leads to, which is `\Device\Afd` for a socket. The name of a pipe that somebody
//! waits at does not come until that wait ends: so only what has a socket's type and rights is asked, by a thread that is
//! left to itself where it hangs.

use std::ffi::c_void;
use std::net::UdpSocket;
use std::os::windows::io::{AsRawHandle as _, AsRawSocket as _, FromRawHandle as _, OwnedHandle};
use std::sync::mpsc;
use std::time::Duration;
use std::{io, thread};

use portolan_core::kernel::system_handles;
use portolan_core::owner::Owner;
use portolan_core::snapshot::{Gap, GapReason};
use windows_sys::Wdk::Foundation::NtQueryObject;
use windows_sys::Wdk::System::SystemInformation::NtQuerySystemInformation;
use windows_sys::Win32::Foundation::{
    DUPLICATE_SAME_ACCESS, DuplicateHandle, ERROR_MORE_DATA, RtlNtStatusToDosError,
    STATUS_INFO_LENGTH_MISMATCH,
};
use windows_sys::Win32::Networking::WinSock::{SOCKADDR_STORAGE, SOCKET, WSAEINVAL, getsockname};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, PROCESS_DUP_HANDLE};

use super::buffer::Buffer;
use super::process;
use super::token::Token;

/// SystemExtendedHandleInformation.
const ALL_HANDLES: i32 = 64;
/// ObjectNameInformation.
const NAME: i32 = 1;
/// What sockets lead to.
const DEVICE: &str = r"\Device\Afd";
/// How long the handles of one process may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes into each owner how many of its handles are sockets, where they may be seen.
pub(crate) fn count(owners: &mut [Owner]) -> Vec<Gap> {
    match try_count(owners) {
        Ok(gap) => gap.into_iter().collect(),
        Err(error) => vec![gap(GapReason::Unsupported, format!("handles cannot be listed: {error}"))],
    }
}

fn gap(reason: GapReason, detail: String) -> Gap {
    Gap::new("socket handles", reason, detail)
}

fn try_count(owners: &mut [Owner]) -> io::Result<Option<Gap>> {
    if owners.is_empty() {
        return Ok(None);
    }
    let model = UdpSocket::bind("127.0.0.1:0")?;
    let table = table()?;
    let like = system_handles::like(table.bytes(), (std::process::id(), model.as_raw_socket()));
    let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut like = like
        .map_err(malformed)?
        .ok_or_else(|| io::Error::other("a socket of this program is not among them"))?;
    drop(table);
    let asked: Vec<(u32, Vec<u64>)> =
        owners.iter().map(|owner| (owner.pid, like.remove(&owner.pid).unwrap_or_default())).collect();
    let (sender, counts) = mpsc::channel();
    thread::spawn(move || {
        for (pid, handles) in asked {
            if sender.send(sockets_among(pid, &handles)).is_err() {
                return;
            }
        }
    });
    let mut unseen = 0;
    for owner in owners {
        let Ok(count) = counts.recv_timeout(PATIENCE) else {
            let detail =
                format!("a handle of process {} gave no answer; those after it were not asked", owner.pid);
            return Ok(Some(gap(GapReason::Unsupported, detail)));
        };
        owner.socket_handles = count.ok();
        unseen += u32::from(owner.socket_handles.is_none());
    }
    if unseen == 0 || Token::own().is_ok_and(|token| token.is_elevated()) {
        return Ok(None);
    }
    let detail = format!("those of {unseen} processes may not be seen");
    Ok(Some(gap(GapReason::Denied, detail).with_remedy("run as administrator")))
}

/// The handles of all processes.
fn table() -> io::Result<Buffer> {
    Buffer::filled(|buffer, size| {
        let length = *size;
        // SAFETY: the buffer has the length that is handed over, and `size` is where the function may write.
        let status = unsafe { NtQuerySystemInformation(ALL_HANDLES, buffer, length, &raw mut *size) };
        if status == STATUS_INFO_LENGTH_MISMATCH {
            // It says what it needs, if at all, before others have opened more.
            *size = (*size).max(length.saturating_mul(2));
            return ERROR_MORE_DATA;
        }
        // SAFETY: it takes a number.
        unsafe { RtlNtStatusToDosError(status) }
    })
}

/// How many of these handles of a process are sockets. What was closed since is none.
fn sockets_among(pid: u32, handles: &[u64]) -> io::Result<u32> {
    let process = process::open(pid, PROCESS_DUP_HANDLE)?;
    let is_one = |handle: &u64| copy(&process, *handle).is_ok_and(|handle| is_socket(&handle));
    let count = handles.iter().filter(|handle| is_one(handle)).count();
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// A handle of this process to what that handle of another one leads to.
fn copy(process: &OwnedHandle, handle: u64) -> io::Result<OwnedHandle> {
    let from: *mut c_void = std::ptr::with_exposed_provenance_mut(handle as usize);
    let mut copy = std::ptr::null_mut();
    // SAFETY: it takes nothing and gives a handle that needs no closing.
    let own = unsafe { GetCurrentProcess() };
    // SAFETY: the process' handle is open, the other one is a number to the function, and `copy` is where it may write.
    let done = unsafe {
        DuplicateHandle(process.as_raw_handle(), from, own, &raw mut copy, 0, 0, DUPLICATE_SAME_ACCESS)
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this handle, and nothing else owns it.
    Ok(unsafe { OwnedHandle::from_raw_handle(copy) })
}

fn is_socket(handle: &OwnedHandle) -> bool {
    const LENGTH: u32 = 1 << 10;
    let mut name = Buffer::new(LENGTH as usize);
    let mut used = 0;
    // SAFETY: the handle is open, and the buffer has the length that is handed over.
    let status =
        unsafe { NtQueryObject(handle.as_raw_handle(), NAME, name.pointer().cast(), LENGTH, &raw mut used) };
    match name.counted_text(LENGTH as usize).filter(|_| status == 0) {
        // Wine's sockets have no name; there nothing waits for a pipe.
        Some(name) if name.is_empty() => is_known_to_winsock(handle),
        Some(name) => name.get(..DEVICE.len()).is_some_and(|start| start.eq_ignore_ascii_case(DEVICE)),
        None => false,
    }
}

/// Asks for its address, which a socket that is not bound lacks and what is no socket cannot be asked for.
fn is_known_to_winsock(handle: &OwnedHandle) -> bool {
    let (mut address, mut length) = (SOCKADDR_STORAGE::default(), size_of::<SOCKADDR_STORAGE>() as i32);
    let socket = handle.as_raw_handle().expose_provenance() as SOCKET;
    // SAFETY: the handle is open, and the address has the length that is handed over.
    let failed = unsafe { getsockname(socket, (&raw mut address).cast(), &raw mut length) };
    failed == 0 || io::Error::last_os_error().raw_os_error() == Some(WSAEINVAL)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn own_count() -> u32 {
        let mut owners = [Owner { pid: std::process::id(), ..Owner::default() }];
        assert_eq!(count(&mut owners), []);
        owners[0].socket_handles.unwrap()
    }

    #[test]
    fn sockets_are_counted_also_those_that_are_not_bound_and_files_are_not() {
        // Tests beside this one open sockets too: many are needed to be told from theirs.
        const MANY: u32 = 200;
        let before = own_count();
        let new = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let sockets: Vec<_> = (0..MANY).map(|_| new()).collect();
        let files: Vec<_> =
            (0..MANY).map(|_| std::fs::File::open(std::env::current_exe().unwrap())).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let now = own_count();
        assert!(now.abs_diff(before + MANY) < MANY / 4, "{before}, then {now}");
        drop((sockets, files, listener));
        let after = own_count();
        assert!(after.abs_diff(before) < MANY / 4, "{before}, and {after} at the end");
    }

    #[test]
    fn a_process_that_is_not_there_has_no_count() {
        let mut owners = [Owner { pid: u32::MAX - 2, ..Owner::default() }];
        let _ = count(&mut owners);
        assert_eq!(owners[0].socket_handles, None);
    }
}
