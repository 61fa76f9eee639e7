//! Functions that not every Windows has: looked up by name in a system library that is loaded already.
//!
//! Source: `GetProcAddress`, `GetModuleHandleW`. The types of the functions are the caller's word.

use std::ffi::CStr;

use windows_sys::Win32::Foundation::FARPROC;
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};

use super::wide;

/// A function of a library; none where either is missing.
pub(super) fn function(library: &str, name: &CStr) -> FARPROC {
    let library = wide::zero_ended(library);
    // SAFETY: the name ends with a zero and lives through the call.
    let module = unsafe { GetModuleHandleW(library.as_ptr()) };
    if module.is_null() {
        return None;
    }
    // SAFETY: the module was found just now and is linked to this program, so it stays; the name ends with a zero.
    unsafe { GetProcAddress(module, name.as_ptr().cast()) }
}
