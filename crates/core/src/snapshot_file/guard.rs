//! A reader that lets no string of unreasonable length through: serde_json collects a whole string before anyone can
//! look at its length, so the bound has to stand in front of it.
//!
//! It follows only what is needed to know whether a byte stands inside a string; whether the text is JSON is
//! serde_json's to say.

use std::{error, fmt, io};

/// The longest string, in bytes as it stands in the file. The longest that is written is a command line of 4 KiB,
/// 24 KiB when every byte of it needs an escape.
pub(super) const MAX_STRING: usize = 64 << 10;

/// The error of a string beyond [`MAX_STRING`].
#[derive(Debug)]
pub(super) struct StringTooLong {
    /// The line it begins in.
    pub(super) line: usize,
}

impl fmt::Display for StringTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a string is longer than {MAX_STRING} bytes")
    }
}

impl error::Error for StringTooLong {}

/// Passes bytes on while their strings stay short.
pub(super) struct Guard<R> {
    input: R,
    /// Bytes of the string so far; none outside of strings.
    string: Option<usize>,
    escaped: bool,
    line: usize,
}

impl<R: io::Read> Guard<R> {
    pub(super) const fn new(input: R) -> Self {
        Self { input, string: None, escaped: false, line: 1 }
    }

    fn check(&mut self, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes {
            match &mut self.string {
                None if *byte == b'"' => self.string = Some(0),
                None => self.line += usize::from(*byte == b'\n'),
                Some(_) if *byte == b'"' && !self.escaped => self.string = None,
                Some(length) => {
                    *length += 1;
                    self.escaped = *byte == b'\\' && !self.escaped;
                    if *length > MAX_STRING {
                        return Err(io::Error::other(StringTooLong { line: self.line }));
                    }
                }
            }
        }
        Ok(())
    }
}

impl<R: io::Read> io::Read for Guard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.check(buffer.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}
