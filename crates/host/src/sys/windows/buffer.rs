//! Memory for functions that fill a buffer and say how large it should have been.

use std::ffi::c_void;
use std::io;

use windows_sys::Win32::Foundation::{
    ERROR_BUFFER_OVERFLOW, ERROR_INSUFFICIENT_BUFFER, ERROR_MORE_DATA, UNICODE_STRING,
};

use super::wide;

/// A table may grow between two calls.
const ATTEMPTS: u32 = 8;
/// More is not asked for: some million sockets.
const LARGEST: u32 = 512 << 20;

/// A filled buffer, aligned for every structure of Windows.
pub(super) struct Buffer {
    words: Vec<u64>,
    length: usize,
}

impl Buffer {
    /// One of so many zero bytes.
    pub(super) fn new(length: usize) -> Self {
        Self { words: vec![0; length.div_ceil(8)], length }
    }

    /// What `call` fills. It gets the buffer and its size in bytes, changes the size to the one it needs or has used, and
    /// gives an error code.
    pub(super) fn filled(mut call: impl FnMut(*mut c_void, &mut u32) -> u32) -> io::Result<Self> {
        let mut size = 16 << 10;
        for _ in 0..ATTEMPTS {
            let mut buffer = Self::new(size as usize);
            let mut used = size;
            match call(buffer.pointer().cast(), &mut used) {
                0 => {
                    buffer.length = buffer.length.min(used as usize);
                    return Ok(buffer);
                }
                ERROR_INSUFFICIENT_BUFFER | ERROR_BUFFER_OVERFLOW | ERROR_MORE_DATA if used <= LARGEST => {
                    // Somewhat more than what was enough a moment ago.
                    size = used.max(size).saturating_add(used / 8).saturating_add(1024);
                }
                code => return Err(error(code)),
            }
        }
        Err(io::Error::other("it grew faster than it could be read"))
    }

    /// Where it begins.
    pub(super) fn pointer(&mut self) -> *mut u8 {
        self.words.as_mut_ptr().cast()
    }

    /// What is in it.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `words` holds at least `length` bytes, all of them initialised; u8 has no alignment of its own.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.length) }
    }

    /// The text of the UNICODE_STRING that it begins with, which lies behind it in the same buffer; at most so many units
    /// of UTF-16. Wherever its pointer leads, only bytes of the buffer are read.
    pub(super) fn counted_text(&self, limit: usize) -> Option<String> {
        // SAFETY: the buffer begins with this structure, aligned.
        let text = unsafe { &*self.at::<UNICODE_STRING>(0)? };
        if text.Length == 0 {
            return Some(String::new());
        }
        let from = text.Buffer.addr().checked_sub(self.bytes().as_ptr().addr())?;
        let bytes = self.bytes().get(from..from.checked_add(text.Length.into())?)?;
        let units = bytes.as_chunks().0.iter().map(|bytes: &[u8; 2]| u16::from_le_bytes(*bytes));
        Some(wide::text(&units.take(limit).collect::<Vec<u16>>()))
    }

    /// Where an element of `T` stands, if it lies inside and is aligned.
    pub(super) fn at<T>(&self, offset: usize) -> Option<*const T> {
        let inside = offset.checked_add(size_of::<T>()).is_some_and(|end| end <= self.length);
        let pointer = self.bytes().get(offset..)?.as_ptr().cast::<T>();
        (inside && pointer.is_aligned()).then_some(pointer)
    }
}

/// An error code of Windows as an error.
pub(super) fn error(code: u32) -> io::Error {
    io::Error::from_raw_os_error(code.cast_signed())
}
