//! Values of the registry, below HKEY_LOCAL_MACHINE.
//!
//! Source: `RegGetValueW`. A value that is not there is none; one of another type than asked for is an error.

use std::io;

use windows_sys::Win32::Foundation::{ERROR_FILE_NOT_FOUND, ERROR_SUCCESS};
use windows_sys::Win32::System::Registry::{
    HKEY_LOCAL_MACHINE, REG_ROUTINE_FLAGS, RRF_RT_REG_DWORD, RRF_RT_REG_MULTI_SZ, RegGetValueW,
};

use super::buffer::{Buffer, error};
use super::wide;

/// A number.
pub(super) fn number(key: &str, value: &str) -> io::Result<Option<u32>> {
    let Some(buffer) = read(key, value, RRF_RT_REG_DWORD)? else { return Ok(None) };
    Ok(buffer.bytes().first_chunk().map(|bytes| u32::from_le_bytes(*bytes)))
}

/// A list of texts.
pub(super) fn texts(key: &str, value: &str) -> io::Result<Option<Vec<String>>> {
    let Some(buffer) = read(key, value, RRF_RT_REG_MULTI_SZ)? else { return Ok(None) };
    let units: Vec<u16> =
        buffer.bytes().as_chunks().0.iter().map(|bytes: &[u8; 2]| u16::from_le_bytes(*bytes)).collect();
    Ok(Some(units.split(|unit| *unit == 0).filter(|text| !text.is_empty()).map(wide::text).collect()))
}

fn read(key: &str, value: &str, kind: REG_ROUTINE_FLAGS) -> io::Result<Option<Buffer>> {
    let (key, value) = (wide::zero_ended(key), wide::zero_ended(value));
    let mut code = ERROR_SUCCESS;
    let buffer = Buffer::filled(|pointer, size| {
        // SAFETY: both names end with a zero; the buffer has the size that stands in `size`.
        code = unsafe {
            RegGetValueW(
                HKEY_LOCAL_MACHINE,
                key.as_ptr(),
                value.as_ptr(),
                kind,
                std::ptr::null_mut(),
                pointer,
                &raw mut *size,
            )
        };
        code
    });
    match (buffer, code) {
        (Ok(buffer), _) => Ok(Some(buffer)),
        (Err(_), ERROR_FILE_NOT_FOUND) => Ok(None),
        (Err(_), code) => Err(error(code)),
    }
}
