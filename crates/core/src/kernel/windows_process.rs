//! Which processes a trace of Windows tells of: their number, their program, and where the kernel keeps them.
//!
//! Source: the class Process_TypeGroup1 of the kernel's own logger (group 3; types 1 start, 3 and 4 those that run when a
//! trace begins and ends); the manifest of Microsoft-Windows-Kernel-Process (1 ProcessStart, 15 ProcessRundown). A trace
//! has them where whoever recorded it asked for them. Left out on purpose: ends of processes, command lines, and forms of
//! the data that are not known here.

use super::etl::{Event, SystemEvent};
use crate::wire::{DecodeError, Reader};

/// {22FB2CD6-0E7B-422B-A0C7-2FAD1FD0E716}, as it stands in memory.
pub const PROVIDER: [u8; 16] = *b"\xd6\x2c\xfb\x22\x7b\x0e\x2b\x42\xa0\xc7\x2f\xad\x1f\xd0\xe7\x16";

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Where the kernel keeps it (EPROCESS), where it is told.
    pub object: Option<u64>,
    /// Its program's name without its folder, of at most 64 characters: hostile text.
    pub program: String,
}

/// A process that the kernel's logger tells of; nothing where the event is about something else.
///
/// # Errors
/// The data ends before its fields do.
pub fn of_kernel(event: &SystemEvent<'_>) -> Result<Option<Process>, DecodeError> {
    let is_known = event.group == 3 && matches!(event.kind, 1 | 3 | 4) && (2..=5).contains(&event.version);
    if !is_known {
        return Ok(None);
    }
    let mut reader = Reader::new(event.data);
    let pointer = |reader: &mut Reader<'_>, field| match event.pointer_size {
        4 => reader.u32_le(field).map(u64::from),
        _ => reader.u64_le(field),
    };
    let object = pointer(&mut reader, "UniqueProcessKey")?;
    let pid = reader.u32_le("ProcessId")?;
    reader.take(12, "ParentId")?;
    if event.version >= 3 {
        pointer(&mut reader, "DirectoryTableBase")?;
    }
    if event.version >= 4 {
        reader.u32_le("Flags")?;
    }
    // TOKEN_USER (two pointers) and a SID behind it, or four bytes of nothing.
    let mut ahead = reader;
    if ahead.u32_le("UserSID")? == 0 {
        reader.take(4, "UserSID")?;
    } else {
        reader.take(2 * usize::from(event.pointer_size) + 1, "UserSID")?;
        let authorities = reader.u8("SubAuthorityCount")?;
        reader.take(6 + 4 * usize::from(authorities), "SubAuthority")?;
    }
    let name = reader.until(0, "ImageFileName")?;
    Ok(Some(Process { pid, object: Some(object), program: program(&String::from_utf8_lossy(name)) }))
}

/// A process that Microsoft-Windows-Kernel-Process tells of; nothing where the event is about something else.
///
/// # Errors
/// The data ends before its fields do.
pub fn of_provider(event: &Event<'_>) -> Result<Option<Process>, DecodeError> {
    let has_flags = match (event.id, event.version) {
        (1, 0) => false,
        (1, 1 | 2) | (15, 0) => true,
        _ => return Ok(None),
    };
    let mut reader = Reader::new(event.data);
    let pid = reader.u32_le("ProcessID")?;
    reader.take(16, "CreateTime")?;
    if has_flags {
        reader.u32_le("Flags")?;
    }
    let mut units = Vec::new();
    loop {
        match reader.u16_le("ImageName")? {
            0 => break,
            unit => units.push(unit),
        }
    }
    Ok(Some(Process { pid, object: None, program: program(&String::from_utf16_lossy(&units)) }))
}

/// A path's last part.
fn program(path: &str) -> String {
    path.rsplit('\\').next().unwrap_or_default().chars().take(64).collect()
}
