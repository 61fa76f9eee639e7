//! A reader of foreign bytes with which a length check cannot be forgotten: every step is checked, and an error
//! names the field as its specification does, with its offset in the whole message.
//!
//! Leaves out on purpose: seeking back. What is needed twice is split off as a reader of its own.

use std::fmt;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The message ends before this field does.
    Truncated,
    /// The field holds a value that means nothing.
    Value(u64),
}

/// Foreign bytes that could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The field, by the name that its header or RFC gives it.
    pub field: &'static str,
    /// Where it starts, in bytes (in a text: in lines) from the start of the message.
    pub offset: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, offset, problem } = self;
        match problem {
            Problem::Truncated => write!(f, "the message ends before {field} (offset {offset}) does"),
            Problem::Value(value) => write!(f, "{field} (offset {offset}) is {value}, which means nothing"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Reads from the front of a slice, and knows how far it came.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// A reader of a whole message.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset: 0 }
    }

    /// How many bytes of the message were read.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// An error about a field that starts at `offset`.
    pub const fn error_at(offset: usize, field: &'static str, problem: Problem) -> DecodeError {
        DecodeError { field, offset, problem }
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                self.offset += length;
                Ok(taken)
            }
            None => Err(Self::error_at(self.offset, field, Problem::Truncated)),
        }
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk() {
            Some((taken, rest)) => {
                self.rest = rest;
                self.offset += N;
                Ok(*taken)
            }
            None => Err(Self::error_at(self.offset, field, Problem::Truncated)),
        }
    }

    /// A reader of the next `length` bytes, which keeps counting from the start of the whole message.
    pub fn part(&mut self, length: usize, field: &'static str) -> Result<Self, DecodeError> {
        let offset = self.offset;
        Ok(Self { rest: self.take(length, field)?, offset })
    }

    /// Leaves out up to `length` bytes: padding, which the last element may lack.
    pub fn skip_padding(&mut self, length: usize) {
        let length = length.min(self.rest.len());
        self.rest = self.rest.get(length..).unwrap_or_default();
        self.offset += length;
    }

    /// One byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array(field).map(u8::from_ne_bytes)
    }

    /// The next byte, which stays.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// All that is left.
    pub const fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// A number of 16 bits in network order.
    pub fn u16_be(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// A number of 24 bits in network order.
    pub fn u24_be(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// A number of 32 bits in network order.
    pub fn u32_be(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// A number of 64 bits in network order.
    pub fn u64_be(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// A number of 16 bits, the low byte first.
    pub fn u16_le(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// A number of 24 bits, the low byte first.
    pub fn u24_le(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    /// A number of 32 bits, the low byte first.
    pub fn u32_le(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// A number of 64 bits, the low byte first.
    pub fn u64_le(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// The bytes before the next `end`, which is passed over: a text that ends with a zero, a line.
    pub fn until(&mut self, end: u8, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.rest.iter().position(|&byte| byte == end);
        let length = length.ok_or(Self::error_at(self.offset, field, Problem::Truncated))?;
        let taken = self.take(length, field)?;
        self.skip_padding(1);
        Ok(taken)
    }

    /// A number of 16 bits in this host's order, as its kernel writes.
    pub fn u16_host(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_ne_bytes)
    }

    /// A number of 32 bits in this host's order.
    pub fn u32_host(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_ne_bytes)
    }

    /// A number of 64 bits in this host's order.
    pub fn u64_host(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_ne_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_field_and_counts_from_the_start_of_the_message() {
        let mut reader = Reader::new(&[1, 2, 3, 4, 5]);
        assert_eq!(reader.u16_be("head"), Ok(0x0102));
        let mut part = reader.part(2, "body").unwrap();
        assert_eq!(part.u8("first"), Ok(3));
        assert_eq!(
            part.u16_host("second").unwrap_err().to_string(),
            "the message ends before second (offset 3) does"
        );
        assert_eq!(part.remaining(), 1, "a failed step takes nothing");
        assert_eq!((part.peek(), part.rest()), (Some(4), &[4][..]));
        reader.skip_padding(9);
        assert!(reader.is_empty());
        assert_eq!(reader.offset(), 5);
    }

    #[test]
    fn numbers_are_read_in_either_order() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        let reader = || Reader::new(&bytes);
        assert_eq!((reader().u16_be("x"), reader().u16_le("x")), (Ok(0x0102), Ok(0x0201)));
        assert_eq!((reader().u24_be("x"), reader().u24_le("x")), (Ok(0x01_0203), Ok(0x03_0201)));
        assert_eq!((reader().u32_be("x"), reader().u32_le("x")), (Ok(0x0102_0304), Ok(0x0403_0201)));
        assert_eq!(reader().u64_be("x"), Ok(0x0102_0304_0506_0708));
        assert_eq!(reader().u64_le("x"), Ok(0x0807_0605_0403_0201));
    }

    #[test]
    fn a_text_is_read_to_its_end_and_no_further() {
        let mut reader = Reader::new(b"one\0two");
        assert_eq!(reader.until(0, "name"), Ok(&b"one"[..]));
        assert_eq!(reader.until(0, "name").unwrap_err().offset, 4);
        assert_eq!(reader.rest(), b"two");
    }
}
