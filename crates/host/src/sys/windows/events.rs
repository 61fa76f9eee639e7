//! Entries of the System event log that tell of ports running out, as counters.
//!
//! Source: `EvtQuery`, `EvtNext`; events of the provider Tcpip: 4227 (a connection could not reuse an endpoint that was
//! still in TIME_WAIT), 4231 (no TCP port left to give), 4265 and 4266 (the same of UDP). Those of the last day count, and
//! when the last one was (`EvtRender` of its system properties).

use std::io;

use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, ERROR_NO_MORE_ITEMS};
use windows_sys::Win32::System::EventLog::{
    EVT_HANDLE, EVT_VARIANT, EvtClose, EvtCreateRenderContext, EvtNext, EvtQuery, EvtQueryChannelPath,
    EvtQueryReverseDirection, EvtRender, EvtRenderContextSystem, EvtRenderEventValues, EvtSystemTimeCreated,
    EvtVarTypeFileTime,
};

use super::buffer::Buffer;
use super::wide;

/// The events that are counted.
pub(super) const EVENTS: [u32; 4] = [4227, 4231, 4265, 4266];
/// Of one kind; more say no more.
const MOST: u64 = 10_000;
/// Milliseconds that the log may take for a batch.
const PATIENCE: u32 = 2000;

/// A handle of the event log.
struct Handle(EVT_HANDLE);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is open and owned by this value alone.
        unsafe { EvtClose(self.0) };
    }
}

/// How often such an event was written within the last day, and when last, FILETIME.
pub(super) fn count(event: u32) -> io::Result<(u64, Option<u64>)> {
    let day = 24 * 60 * 60 * 1000;
    matching(
        &format!(
            "*[System[Provider[@Name='Tcpip'] and EventID={event} and TimeCreated[timediff(@SystemTime) <= {day}]]]"
        ),
        MOST,
    )
}

/// Whether the log has anything at all: a Windows that runs has written something.
pub(super) fn is_empty() -> io::Result<bool> {
    matching("*", 1).map(|(count, _)| count == 0)
}

/// How many events of the System log a query finds, and when the newest of them was written.
fn matching(query: &str, most: u64) -> io::Result<(u64, Option<u64>)> {
    let (channel, query) = (wide::zero_ended("System"), wide::zero_ended(query));
    let flags = EvtQueryChannelPath | EvtQueryReverseDirection;
    // SAFETY: 0 stands for this machine; both texts end with a zero.
    let results = unsafe { EvtQuery(0, channel.as_ptr(), query.as_ptr(), flags) };
    if results == 0 {
        return Err(io::Error::last_os_error());
    }
    let results = Handle(results);
    let (mut count, mut newest) = (0, None);
    while count < most {
        let mut events = [0; 64];
        let mut returned = 0;
        // SAFETY: the handle is open, and `events` has room for as many handles as is said.
        let more = unsafe {
            EvtNext(results.0, events.len() as u32, events.as_mut_ptr(), PATIENCE, 0, &raw mut returned)
        };
        if more == 0 {
            let error = io::Error::last_os_error();
            let is_end = error.raw_os_error() == Some(ERROR_NO_MORE_ITEMS.cast_signed());
            return if is_end { Ok((count, newest)) } else { Err(error) };
        }
        let events: Vec<Handle> = events.iter().take(returned as usize).map(|event| Handle(*event)).collect();
        // The newest come first.
        if let (0, Some(first)) = (count, events.first()) {
            newest = written_at(first).ok();
        }
        count += u64::from(returned);
    }
    Ok((count, newest))
}

/// When an event was written, FILETIME.
fn written_at(event: &Handle) -> io::Result<u64> {
    // SAFETY: no paths are asked for; the context of system properties takes none.
    let context = unsafe { EvtCreateRenderContext(0, std::ptr::null(), EvtRenderContextSystem) };
    if context == 0 {
        return Err(io::Error::last_os_error());
    }
    let context = Handle(context);
    let buffer = Buffer::filled(|pointer, size| {
        let (length, mut properties) = (*size, 0);
        // SAFETY: both handles are open; the buffer has that length, and the two numbers are where it may write.
        let done = unsafe {
            EvtRender(
                context.0,
                event.0,
                EvtRenderEventValues,
                length,
                pointer,
                &raw mut *size,
                &raw mut properties,
            )
        };
        if done != 0 {
            return 0;
        }
        io::Error::last_os_error().raw_os_error().map_or(ERROR_INSUFFICIENT_BUFFER, i32::cast_unsigned)
    })?;
    let place = usize::try_from(EvtSystemTimeCreated).unwrap_or(0) * size_of::<EVT_VARIANT>();
    let missing = || io::Error::other("the event has no time");
    let pointer = buffer.at::<EVT_VARIANT>(place).ok_or_else(missing)?;
    // SAFETY: the buffer holds a value for each system property, aligned; its type says which field is in use.
    let value = unsafe { &*pointer };
    if value.Type != EvtVarTypeFileTime.cast_unsigned() {
        return Err(missing());
    }
    // SAFETY: as above.
    Ok(unsafe { value.Anonymous.FileTimeVal })
}
