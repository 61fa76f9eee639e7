//! A start line and header fields, as HTTP, SIP and SSDP write them.
//!
//! Source: RFC 9112 sections 2.1, 4 and 5; RFC 3261 sections 7.2 and 7.3 (the same shape).
//! Leaves out on purpose: folded lines (obsolete; what follows the fold is passed over) and SIP's short names of fields,
//! which nobody sends in a response that is asked for once.

use super::line::line;
use super::{DecodeError, Problem, Reader};

/// The most fields that are kept.
const MOST_FIELDS: usize = 256;

/// A start line and its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The first line.
    pub start: &'a [u8],
    fields: Vec<(&'a [u8], &'a [u8])>,
}

/// What a status line says: `HTTP/1.1 200 OK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    /// `HTTP/1.1`.
    pub version: &'a [u8],
    /// From 100 to 999.
    pub code: u16,
    /// `OK`; may be empty.
    pub reason: &'a [u8],
}

impl<'a> Head<'a> {
    /// Reads up to the empty line, which is passed over.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let start = line(reader, "start-line")?;
        let mut fields = Vec::new();
        loop {
            let field = line(reader, "field-line")?;
            if field.is_empty() {
                return Ok(Self { start, fields });
            }
            let colon = field.iter().position(|&byte| byte == b':');
            let split = colon.and_then(|place| field.split_at_checked(place));
            if let Some((name, [b':', value @ ..])) = split
                && !field.starts_with(b" ")
                && !field.starts_with(b"\t")
                && fields.len() < MOST_FIELDS
            {
                fields.push((name.trim_ascii(), value.trim_ascii()));
            }
        }
    }

    /// The first value of a field; names are the same in any case.
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// Every value of a field.
    pub fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        self.fields
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| *value)
    }

    /// The start line as a status line.
    pub fn status(&self) -> Result<Status<'a>, DecodeError> {
        let bad = |value: u64| Reader::error_at(0, "status-line", Problem::Value(value));
        let mut words = self.start.splitn(3, |&byte| byte == b' ');
        let (version, code) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let number = |code: &[u8]| std::str::from_utf8(code).ok().and_then(|code| code.parse().ok());
        let code = number(code).filter(|code| (100..=999).contains(code)).ok_or(bad(code.len() as u64))?;
        Ok(Status { version, code, reason: words.next().unwrap_or_default().trim_ascii() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name_whatever_its_case() {
        let bytes =
            b"HTTP/1.1 404 Not Found\r\nserver: x\r\nVia : a\r\n folded: no\r\nvia:b\r\nodd\r\n\r\nbody";
        let mut reader = Reader::new(bytes);
        let head = Head::read(&mut reader).unwrap();
        assert_eq!(head.status(), Ok(Status { version: b"HTTP/1.1", code: 404, reason: b"Not Found" }));
        assert_eq!((head.value("Server"), head.value("folded")), (Some(&b"x"[..]), None));
        assert_eq!(head.values("VIA").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(reader.rest(), b"body");
    }

    #[test]
    fn a_status_line_without_a_code_is_none() {
        let status =
            |start: &'static [u8]| Head { start, fields: Vec::new() }.status().map(|status| status.code);
        assert_eq!(status(b"SIP/2.0 200"), Ok(200));
        for bad in [&b""[..], b"HTTP/1.1", b"HTTP/1.1 20x OK", b"HTTP/1.1 99 x", b"HTTP/1.1 70000 x"] {
            assert!(status(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_cut_head_waits() {
        let whole = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n";
        for length in 0..whole.len() {
            let error = Head::read(&mut Reader::new(&whole[..length])).unwrap_err();
            assert_eq!(error.problem, Problem::Truncated);
        }
    }
}
