//! Event Tracing for Windows, live: a session that a provider writes to, and whoever reads along.
//!
//! Source: `StartTraceW`, `EnableTraceEx2`, `OpenTraceW`, `ProcessTrace`, `ControlTraceW`, `QueryAllTracesW`. A session is
//! the system's and outlives the process that began it: it is stopped when it is dropped, and one whose process was
//! killed is stopped by the next one to begin. Wine begins sessions and hands out nothing: `OpenTraceW` fails there.

use std::ffi::c_void;
use std::io;
use std::mem::offset_of;
use std::thread::{self, JoinHandle};

use portolan_core::kernel::etl::Event;
use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, ERROR_SUCCESS};
use windows_sys::Win32::System::Diagnostics::Etw::{
    CONTROLTRACE_HANDLE, CloseTrace, ControlTraceW, ENABLE_TRACE_PARAMETERS,
    ENABLE_TRACE_PARAMETERS_VERSION_2, EVENT_CONTROL_CODE_ENABLE_PROVIDER, EVENT_FILTER_DESCRIPTOR,
    EVENT_FILTER_TYPE_EVENT_ID, EVENT_HEADER_FLAG_32_BIT_HEADER, EVENT_RECORD, EVENT_TRACE_CONTROL,
    EVENT_TRACE_CONTROL_FLUSH, EVENT_TRACE_CONTROL_QUERY, EVENT_TRACE_CONTROL_STOP, EVENT_TRACE_LOGFILEW,
    EVENT_TRACE_PROPERTIES, EVENT_TRACE_REAL_TIME_MODE, EnableTraceEx2, OpenTraceW,
    PROCESS_TRACE_MODE_EVENT_RECORD, PROCESS_TRACE_MODE_REAL_TIME, PROCESSTRACE_HANDLE, ProcessTrace,
    QueryAllTracesW, StartTraceW, WNODE_FLAG_TRACED_GUID,
};
use windows_sys::core::GUID;

use super::buffer::error;
use super::wide;

/// Units of a session's name and of its file's, with their zeros: no system has longer ones.
const NAME: usize = 1025;
/// Sessions that a system can have.
const MOST_SESSIONS: usize = 64;
/// `Wnode.ClientContext`: times are the system's.
const SYSTEM_TIME: u32 = 2;
/// TRACE_LEVEL_INFORMATION.
const INFORMATION: u8 = 4;
/// What `OpenTraceW` gives when it fails.
const INVALID: u64 = u64::MAX;

/// What is told of a session, with room for its names.
#[repr(C)]
struct Properties {
    told: EVENT_TRACE_PROPERTIES,
    name: [u16; NAME],
    file: [u16; NAME],
}

impl Properties {
    fn new() -> Box<Self> {
        let mut told = EVENT_TRACE_PROPERTIES::default();
        told.Wnode.BufferSize = size_of::<Self>() as u32;
        told.Wnode.Flags = WNODE_FLAG_TRACED_GUID;
        told.LoggerNameOffset = offset_of!(Self, name) as u32;
        told.LogFileNameOffset = offset_of!(Self, file) as u32;
        Box::new(Self { told, name: [0; NAME], file: [0; NAME] })
    }

    fn pointer(&mut self) -> *mut EVENT_TRACE_PROPERTIES {
        (&raw mut *self).cast()
    }
}

/// A session; its end is the value's.
pub(super) struct Session(CONTROLTRACE_HANDLE);

impl Session {
    /// Begins one that hands its events out and keeps no file.
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let mut properties = Properties::new();
        properties.told.Wnode.ClientContext = SYSTEM_TIME;
        properties.told.LogFileMode = EVENT_TRACE_REAL_TIME_MODE;
        properties.told.LogFileNameOffset = 0;
        properties.told.BufferSize = 64;
        properties.told.MaximumBuffers = 128;
        properties.told.FlushTimer = 1;
        let name = wide::zero_ended(name);
        let mut handle = CONTROLTRACE_HANDLE::default();
        // SAFETY: the name ends with a zero, `properties` says its own size, and `handle` is where the function may write.
        let code = unsafe { StartTraceW(&raw mut handle, name.as_ptr(), properties.pointer()) };
        done(code).map(|()| Self(handle))
    }

    /// Lets a provider write these of its events to the session, and no others.
    pub(super) fn enable(&self, provider: [u8; 16], events: &[u16]) -> io::Result<()> {
        // EVENT_FILTER_EVENT_ID: whether they are let in, a reserved byte, how many, which.
        let mut filter = vec![1, events.len() as u16];
        filter.extend(events);
        let mut filter = EVENT_FILTER_DESCRIPTOR {
            Ptr: filter.as_ptr().expose_provenance() as u64,
            Size: size_of_val(&filter[..]) as u32,
            Type: EVENT_FILTER_TYPE_EVENT_ID,
        };
        let parameters = ENABLE_TRACE_PARAMETERS {
            Version: ENABLE_TRACE_PARAMETERS_VERSION_2,
            EnableFilterDesc: &raw mut filter,
            FilterDescCount: 1,
            ..Default::default()
        };
        let provider = guid(provider);
        // SAFETY: the session runs; every pointer is to a live value, and the filter says its own size.
        let code = unsafe {
            EnableTraceEx2(
                self.0,
                &raw const provider,
                EVENT_CONTROL_CODE_ENABLE_PROVIDER,
                INFORMATION,
                u64::MAX,
                0,
                0,
                &raw const parameters,
            )
        };
        done(code)
    }

    /// Hands out what was written up to now, and says how many events were lost since the beginning.
    pub(super) fn flush(&self) -> io::Result<u64> {
        control(self.0, EVENT_TRACE_CONTROL_FLUSH)?;
        let properties = control(self.0, EVENT_TRACE_CONTROL_QUERY)?;
        Ok(u64::from(properties.told.EventsLost))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have been stopped by another.
        let _ = control(self.0, EVENT_TRACE_CONTROL_STOP);
    }
}

fn control(session: CONTROLTRACE_HANDLE, what: EVENT_TRACE_CONTROL) -> io::Result<Box<Properties>> {
    let mut properties = Properties::new();
    // SAFETY: a session that is gone is an error; `properties` says its own size and where names may be written.
    let code = unsafe { ControlTraceW(session, std::ptr::null(), properties.pointer(), what) };
    match code {
        // The names did not fit; they are not asked for.
        ERROR_MORE_DATA => Ok(properties),
        code => done(code).map(|()| properties),
    }
}

/// Names of the sessions that run.
pub(super) fn sessions() -> io::Result<Vec<String>> {
    let mut all: Vec<Box<Properties>> = (0..MOST_SESSIONS).map(|_| Properties::new()).collect();
    let mut pointers: Vec<*mut EVENT_TRACE_PROPERTIES> = all.iter_mut().map(|one| one.pointer()).collect();
    let mut count = 0;
    // SAFETY: each of so many pointers is to a value that says its own size; `count` is where the function may write.
    let code = unsafe { QueryAllTracesW(pointers.as_mut_ptr(), pointers.len() as u32, &raw mut count) };
    if code != ERROR_SUCCESS && code != ERROR_MORE_DATA {
        return Err(error(code));
    }
    Ok(all.iter().take(count as usize).map(|one| wide::text(&one.name)).collect())
}

/// Stops a session by its name: one that another process left.
pub(super) fn stop(name: &str) -> io::Result<()> {
    let mut properties = Properties::new();
    let name = wide::zero_ended(name);
    let nobody = CONTROLTRACE_HANDLE::default();
    // SAFETY: without a handle the name counts, which ends with a zero; `properties` says its own size.
    let code =
        unsafe { ControlTraceW(nobody, name.as_ptr(), properties.pointer(), EVENT_TRACE_CONTROL_STOP) };
    done(code)
}

/// Who takes events: each with its time, FILETIME.
type Take = Box<dyn FnMut(u64, &Event<'_>) + Send>;

/// Whoever reads a session along, in a thread of its own.
pub(super) struct Consumer {
    handle: PROCESSTRACE_HANDLE,
    thread: Option<JoinHandle<()>>,
}

impl Consumer {
    /// Begins to read a session along.
    pub(super) fn start(name: &str, take: Take) -> io::Result<Self> {
        let mut name = wide::zero_ended(name);
        let context = Box::into_raw(Box::new(take));
        let mut told = EVENT_TRACE_LOGFILEW { LoggerName: name.as_mut_ptr(), ..Default::default() };
        told.Anonymous1.ProcessTraceMode = PROCESS_TRACE_MODE_REAL_TIME | PROCESS_TRACE_MODE_EVENT_RECORD;
        told.Anonymous2.EventRecordCallback = Some(hear);
        told.Context = context.cast();
        // SAFETY: the name ends with a zero, and `told` is as the function wants it.
        let handle = unsafe { OpenTraceW(&raw mut told) };
        let context = context.expose_provenance();
        if handle.Value == INVALID {
            let error = io::Error::last_os_error();
            reclaim(context);
            return Err(error);
        }
        let thread = thread::spawn(move || {
            // SAFETY: one handle that is open; without times everything is handed out. It returns when the session ends.
            unsafe { ProcessTrace(&raw const handle, 1, std::ptr::null(), std::ptr::null()) };
            reclaim(context);
        });
        Ok(Self { handle, thread: Some(thread) })
    }

    /// Whether nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and closed here alone.
        unsafe { CloseTrace(self.handle) };
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed there.
            let _ = thread.join();
        }
    }
}

/// Frees what `Consumer::start` handed over.
fn reclaim(context: usize) {
    let context: *mut Take = std::ptr::with_exposed_provenance_mut(context);
    // SAFETY: it was made by `Box::into_raw`, and nobody uses it any more: no event is handed out by now.
    drop(unsafe { Box::from_raw(context) });
}

/// Called for each event.
unsafe extern "system" fn hear(record: *mut EVENT_RECORD) {
    // SAFETY: the system hands over a record that lives through the call, or nothing.
    let Some(record) = (unsafe { record.as_ref() }) else { return };
    // SAFETY: the context is the one that was handed over, which lives until no event is handed out any more; events are
    // handed out one after another.
    let Some(take) = (unsafe { record.UserContext.cast::<Take>().as_mut() }) else { return };
    let header = &record.EventHeader;
    let data: *const c_void = record.UserData;
    let data = match usize::from(record.UserDataLength) {
        0 => &[][..],
        // SAFETY: the record has so many bytes of data, which live through the call.
        length => unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) },
    };
    let event = Event {
        time: header.TimeStamp.cast_unsigned(),
        thread: header.ThreadId,
        process: header.ProcessId,
        provider: bytes(header.ProviderId),
        id: header.EventDescriptor.Id,
        version: header.EventDescriptor.Version,
        pointer_size: if u32::from(header.Flags) & EVENT_HEADER_FLAG_32_BIT_HEADER != 0 { 4 } else { 8 },
        data,
    };
    take(event.time, &event);
}

fn guid(bytes: [u8; 16]) -> GUID {
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    GUID {
        data1: u32::from_le_bytes([a, b, c, d]),
        data2: u16::from_le_bytes([e, f]),
        data3: u16::from_le_bytes([g, h]),
        data4: rest,
    }
}

fn bytes(guid: GUID) -> [u8; 16] {
    let [a, b, c, d] = guid.data1.to_le_bytes();
    let ([e, f], [g, h]) = (guid.data2.to_le_bytes(), guid.data3.to_le_bytes());
    let [i, j, k, l, m, n, o, p] = guid.data4;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

fn done(code: u32) -> io::Result<()> {
    if code == ERROR_SUCCESS { Ok(()) } else { Err(error(code)) }
}
