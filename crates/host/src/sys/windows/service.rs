//! Services: which process runs which, how one stands, and stopping and starting them.
//!
//! Source: the service control manager's `EnumServicesStatusExW`, `QueryServiceStatusEx`, `ControlService`,
//! `StartServiceW`. Left out on purpose: drivers, but for asking how one stands by its name.

use std::collections::HashMap;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use portolan_core::snapshot::ComponentState;
use windows_sys::Win32::Foundation::ERROR_SERVICE_DOES_NOT_EXIST;
use windows_sys::Win32::System::Services::{
    CloseServiceHandle, ControlService, ENUM_SERVICE_STATUS_PROCESSW, EnumServicesStatusExW, OpenSCManagerW,
    OpenServiceW, QueryServiceStatusEx, SC_ENUM_PROCESS_INFO, SC_HANDLE, SC_MANAGER_CONNECT,
    SC_MANAGER_ENUMERATE_SERVICE, SC_STATUS_PROCESS_INFO, SERVICE_ACTIVE, SERVICE_CONTROL_STOP,
    SERVICE_PAUSED, SERVICE_QUERY_STATUS, SERVICE_RUNNING, SERVICE_START, SERVICE_STATUS,
    SERVICE_STATUS_PROCESS, SERVICE_STOP, SERVICE_STOPPED, SERVICE_WIN32, StartServiceW,
};

use super::buffer::Buffer;
use super::wide;

/// How long a service may take to stop or to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked meanwhile.
const INTERVAL: Duration = Duration::from_millis(50);

/// A handle of the service control manager.
struct Handle(SC_HANDLE);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is open and owned by this value alone.
        unsafe { CloseServiceHandle(self.0) };
    }
}

fn manager(rights: u32) -> io::Result<Handle> {
    // SAFETY: null pointers stand for this machine and its active database.
    let handle = unsafe { OpenSCManagerW(std::ptr::null(), std::ptr::null(), rights) };
    if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Handle(handle)) }
}

fn service(name: &str, rights: u32) -> io::Result<Handle> {
    let manager = manager(SC_MANAGER_CONNECT)?;
    let name = wide::zero_ended(name);
    // SAFETY: the manager's handle is open; the name ends with a zero.
    let handle = unsafe { OpenServiceW(manager.0, name.as_ptr(), rights) };
    if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Handle(handle)) }
}

/// The names of running services by their processes, in the order of their names.
pub(super) fn by_process() -> io::Result<HashMap<u32, Vec<String>>> {
    let manager = manager(SC_MANAGER_ENUMERATE_SERVICE)?;
    let mut count = 0;
    let buffer = Buffer::filled(|pointer, size| {
        let (length, mut missing, mut resume) = (*size, 0, 0);
        // SAFETY: the handle is open, the buffer has that length, and the other pointers are to live numbers.
        let done = unsafe {
            EnumServicesStatusExW(
                manager.0,
                SC_ENUM_PROCESS_INFO,
                SERVICE_WIN32,
                SERVICE_ACTIVE,
                pointer.cast(),
                length,
                &raw mut missing,
                &raw mut count,
                &raw mut resume,
                std::ptr::null(),
            )
        };
        if done != 0 {
            return 0;
        }
        *size = length.saturating_add(missing);
        io::Error::last_os_error().raw_os_error().unwrap_or_default().cast_unsigned()
    })?;
    let mut services: HashMap<u32, Vec<String>> = HashMap::new();
    for index in 0..count as usize {
        let offset = index.saturating_mul(size_of::<ENUM_SERVICE_STATUS_PROCESSW>());
        let Some(pointer) = buffer.at::<ENUM_SERVICE_STATUS_PROCESSW>(offset) else { break };
        // SAFETY: the function has filled so many entries, and this one lies in the buffer, aligned.
        let entry = unsafe { &*pointer };
        // SAFETY: the name lies in the buffer and ends with a zero.
        let name = unsafe { wide::pointed(entry.lpServiceName) };
        services.entry(entry.ServiceStatusProcess.dwProcessId).or_default().push(name);
    }
    services.values_mut().for_each(|names| names.sort_unstable());
    Ok(services)
}

/// How a service or driver stands, as SERVICE_RUNNING and its like; none where it is not installed.
fn state(name: &str) -> io::Result<Option<u32>> {
    match service(name, SERVICE_QUERY_STATUS) {
        Ok(service) => status(&service).map(|status| Some(status.dwCurrentState)),
        Err(error) if error.raw_os_error() == Some(ERROR_SERVICE_DOES_NOT_EXIST.cast_signed()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How a service or driver stands.
pub(super) fn component(name: &str) -> io::Result<ComponentState> {
    Ok(match state(name)? {
        None => ComponentState::Absent,
        Some(SERVICE_RUNNING) => ComponentState::Running,
        Some(SERVICE_STOPPED | SERVICE_PAUSED) => ComponentState::Stopped,
        Some(_) => ComponentState::Changing,
    })
}

fn status(service: &Handle) -> io::Result<SERVICE_STATUS_PROCESS> {
    let mut status = SERVICE_STATUS_PROCESS::default();
    let (length, mut needed) = (size_of::<SERVICE_STATUS_PROCESS>() as u32, 0);
    // SAFETY: the handle is open, and `status` has the length that is handed over.
    let done = unsafe {
        QueryServiceStatusEx(
            service.0,
            SC_STATUS_PROCESS_INFO,
            (&raw mut status).cast(),
            length,
            &raw mut needed,
        )
    };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(status) }
}

/// Stops a service and waits for its end. One that does not run is fine.
pub(super) fn stop(name: &str) -> io::Result<()> {
    let service = service(name, SERVICE_STOP | SERVICE_QUERY_STATUS)?;
    if settled(&service)? == SERVICE_STOPPED {
        return Ok(());
    }
    let mut told = SERVICE_STATUS::default();
    // SAFETY: the handle is open and `told` is where the function may write.
    if unsafe { ControlService(service.0, SERVICE_CONTROL_STOP, &raw mut told) } == 0 {
        return Err(io::Error::last_os_error());
    }
    until(&service, SERVICE_STOPPED)
}

/// Starts a service and waits until it runs. One that runs already is fine.
pub(super) fn start(name: &str) -> io::Result<()> {
    let service = service(name, SERVICE_START | SERVICE_QUERY_STATUS)?;
    if settled(&service)? == SERVICE_RUNNING {
        return Ok(());
    }
    // SAFETY: the handle is open, and there are no arguments.
    if unsafe { StartServiceW(service.0, 0, std::ptr::null()) } == 0 {
        return Err(io::Error::last_os_error());
    }
    until(&service, SERVICE_RUNNING)
}

/// How a service stands once it is neither starting nor stopping, when it takes no orders.
fn settled(service: &Handle) -> io::Result<u32> {
    asked_until(service, |state| matches!(state, SERVICE_STOPPED | SERVICE_RUNNING | SERVICE_PAUSED))
}

fn until(service: &Handle, wanted: u32) -> io::Result<()> {
    match asked_until(service, |state| state == wanted || state == SERVICE_STOPPED)? {
        state if state == wanted => Ok(()),
        _ => Err(io::Error::other("it ended while it was starting; see the System event log")),
    }
}

/// Asks how a service stands until it is as wanted.
fn asked_until(service: &Handle, is_wanted: impl Fn(u32) -> bool) -> io::Result<u32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let state = status(service)?.dwCurrentState;
        if is_wanted(state) {
            return Ok(state);
        }
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it still is not there after 60 s"));
        }
        thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_services_are_known_by_their_processes() {
        let services = by_process().unwrap();
        assert!(!services.is_empty());
        assert!(services.iter().all(|(pid, names)| *pid != 0 && names.iter().all(|name| !name.is_empty())));
        let name = services.values().flatten().next().unwrap();
        assert_eq!(state(name).unwrap(), Some(SERVICE_RUNNING));
    }

    #[test]
    fn a_service_that_is_not_installed_is_none_to_ask_and_an_error_to_stop() {
        assert_eq!(state("portolan-no-such-service").unwrap(), None);
        assert_eq!(
            stop("portolan-no-such-service").unwrap_err().raw_os_error(),
            Some(ERROR_SERVICE_DOES_NOT_EXIST.cast_signed())
        );
    }
}
