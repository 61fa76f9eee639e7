//! Text as Windows takes and gives it: UTF-16 with a zero at its end.

use windows_sys::Win32::Globalization::{CP_OEMCP, MultiByteToWideChar};

/// Longer texts are cut off: no name that Windows hands out has more.
const LONGEST: usize = 32 << 10;

/// Text to hand to Windows.
pub(super) fn zero_ended(text: &str) -> Vec<u16> {
    text.encode_utf16().filter(|unit| *unit != 0).chain([0]).collect()
}

/// Text up to its zero, or all of it; what is no UTF-16 becomes replacement characters.
pub(super) fn text(units: &[u16]) -> String {
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(units.get(..end).unwrap_or_default())
}

/// Text in the code page of the system's console programs (OEM); what is not known there becomes a replacement character.
pub(super) fn of_console(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    if bytes.is_empty() {
        return String::new();
    }
    // No code page makes more UTF-16 units of a text than it has bytes.
    let mut units = vec![0_u16; bytes.len()];
    let (from, to) = (bytes.len() as i32, units.len() as i32);
    // SAFETY: both texts have the lengths that are handed over, and neither is written while it is read.
    let length = unsafe { MultiByteToWideChar(CP_OEMCP, 0, bytes.as_ptr(), from, units.as_mut_ptr(), to) };
    text(units.get(..usize::try_from(length).unwrap_or(0)).unwrap_or_default())
}

/// The text that a pointer leads to; empty for a null pointer.
///
/// # Safety
/// The pointer is null, or leads to UTF-16 units with a zero at their end.
pub(super) unsafe fn pointed(first: *const u16) -> String {
    if first.is_null() {
        return String::new();
    }
    let mut units = Vec::new();
    while units.len() < LONGEST {
        // SAFETY: every unit up to here was not the zero, so this one is still part of the text.
        let next = unsafe { first.add(units.len()) };
        // SAFETY: as above.
        let unit = unsafe { next.read_unaligned() };
        if unit == 0 {
            break;
        }
        units.push(unit);
    }
    String::from_utf16_lossy(&units)
}
