//! The handles of every process of a Windows, decoded from their bytes, and which of them may be sockets.
//!
//! Source: SYSTEM_HANDLE_INFORMATION_EX, which NtQuerySystemInformation fills for SystemExtendedHandleInformation (64):
//! two words, of which the first is the number of rows, then rows of 40 bytes, here those of 64 bits. Rows do not name
//! what a handle leads to. A socket is a File, and Winsock opens each of them with the same rights: so those are
//! candidates that have type and rights of a socket of one's own.

use std::collections::BTreeMap;

use crate::wire::{DecodeError, Reader};

/// A handle of some process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Handle {
    pid: u64,
    value: u64,
    access: u32,
    kind: u16,
}

fn handle(reader: &mut Reader<'_>) -> Result<Handle, DecodeError> {
    reader.u64_le("Object")?;
    let (pid, value) = (reader.u64_le("UniqueProcessId")?, reader.u64_le("HandleValue")?);
    let access = reader.u32_le("GrantedAccess")?;
    reader.u16_le("CreatorBackTraceIndex")?;
    let kind = reader.u16_le("ObjectTypeIndex")?;
    reader.take(8, "HandleAttributes")?;
    Ok(Handle { pid, value, access, kind })
}

/// The other handles that are what `own`, a socket's of the process `pid`, is: those of each process, by its id. None
/// where the table does not have `own`.
///
/// # Errors
/// The table ends before its rows do.
pub fn like(bytes: &[u8], (pid, own): (u32, u64)) -> Result<Option<BTreeMap<u32, Vec<u64>>>, DecodeError> {
    let mut model = None;
    let is_own = |row: &Handle| (row.pid, row.value) == (pid.into(), own);
    each(bytes, |row| {
        if is_own(&row) {
            model = Some((row.access, row.kind));
        }
    })?;
    let Some(model) = model else { return Ok(None) };
    let mut like = BTreeMap::<u32, Vec<u64>>::new();
    each(bytes, |row| {
        if (row.access, row.kind) == model
            && !is_own(&row)
            && let Ok(pid) = u32::try_from(row.pid)
        {
            like.entry(pid).or_default().push(row.value);
        }
    })?;
    Ok(Some(like))
}

fn each(bytes: &[u8], mut told: impl FnMut(Handle)) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    let rows = reader.u64_le("NumberOfHandles")?;
    reader.u64_le("Reserved")?;
    for _ in 0..rows {
        told(handle(&mut reader)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: (u32, u16) = (0x0016_019f, 37);

    fn table(rows: &[(u64, u64, (u32, u16))]) -> Vec<u8> {
        let mut bytes = [(rows.len() as u64).to_le_bytes(), [0; 8]].concat();
        for (pid, value, (access, kind)) in rows {
            bytes.extend(0xffff_9a0e_1234_5678_u64.to_le_bytes());
            bytes.extend([pid.to_le_bytes(), value.to_le_bytes()].concat());
            bytes.extend(access.to_le_bytes());
            bytes.extend([[0; 2], kind.to_le_bytes()].concat());
            bytes.extend([2, 0, 0, 0, 0, 0, 0, 0]);
        }
        bytes
    }

    #[test]
    fn handles_with_type_and_rights_of_a_socket_are_told_by_process() {
        // A pipe has other rights, an event another type.
        let (pipe, event) = ((0x0012_019f, 37), (0x0016_019f, 16));
        let bytes = table(&[
            (4, 8, SOCKET),
            (900, 0x1f4, pipe),
            (900, 0x1f8, SOCKET),
            (900, 0x1fc, event),
            (77, 0x40, SOCKET),
            (900, 0x204, SOCKET),
        ]);
        let like = |own| like(&bytes, own).unwrap();
        let expected = BTreeMap::from([(4, vec![8]), (900, vec![0x1f8, 0x204])]);
        assert_eq!(like((77, 0x40)), Some(expected));
        assert_eq!(like((77, 0x44)), None);
        for length in 0..bytes.len() {
            assert!(super::like(&bytes[..length], (77, 0x40)).is_err());
        }
        // More rows than there are bytes for.
        assert!(super::like(&[0xff; 64], (77, 0x40)).is_err());
    }
}
