//! Lines, and what protocols of text make of them: numbered replies, and blocks that end with a dot.
//!
//! Source: RFC 5321 section 4.2.1 (replies of several lines), RFC 959 section 4.2 (the same in FTP, where lines between
//! need no code), RFC 3977 section 3.1.1 (multi-line data blocks; the same in POP3, RFC 1939 section 3).
//! Leaves out on purpose: IMAP's literals, which a line announces.

use super::{DecodeError, Problem, Reader};
use crate::text;

/// The longest line that is waited for, in bytes: eight times what RFC 5321 and RFC 3977 allow.
pub const LONGEST_LINE: usize = 8192;

/// The next line, without its end: CR LF, or LF alone.
pub fn line<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], DecodeError> {
    let start = reader.offset();
    let line = reader.until(b'\n', field).and_then(|line| match line.len() {
        0..=LONGEST_LINE => Ok(line),
        length => Err(Reader::error_at(start, field, Problem::Value(length as u64))),
    });
    match line {
        Err(DecodeError { problem: Problem::Truncated, .. }) if reader.remaining() > LONGEST_LINE => {
            Err(Reader::error_at(start, field, Problem::Value(reader.remaining() as u64)))
        }
        line => line.map(|line| line.strip_suffix(b"\r").unwrap_or(line)),
    }
}

/// A numbered reply: `250-mail.example`, `250 STARTTLS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// Its code, from 0 to 999.
    pub code: u16,
    /// Its lines, without the code.
    pub lines: Vec<&'a [u8]>,
}

impl Reply<'_> {
    /// Its lines as text, one below the other.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lines.join(&b'\n')).into_owned()
    }

    /// Whether the code says yes: 2xx.
    pub const fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }
}

/// The next reply, of one line or of several.
pub fn reply<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<Reply<'a>, DecodeError> {
    let start = reader.offset();
    // A wrong first byte shows before the line is there.
    if let Some(first) = reader.peek().filter(|first| !first.is_ascii_digit()) {
        return Err(Reader::error_at(start, field, Problem::Value(first.into())));
    }
    let first = line(reader, field)?;
    let bad =
        || Reader::error_at(start, field, Problem::Value(u64::from(first.first().copied().unwrap_or(0))));
    let (digits, rest) = first.split_at_checked(3).ok_or_else(bad)?;
    let code = digits.iter().try_fold(0_u16, |code, digit| {
        digit.is_ascii_digit().then(|| code * 10 + u16::from(digit - b'0')).ok_or_else(bad)
    })?;
    let mut lines = Vec::new();
    match rest {
        [] => lines.push(rest),
        [b' ', text @ ..] => lines.push(text),
        [b'-', text @ ..] => {
            lines.push(text);
            loop {
                let next = line(reader, field)?;
                match next.strip_prefix(digits) {
                    Some([b' ', text @ ..]) => break lines.push(text),
                    Some([]) => break,
                    Some([b'-', text @ ..]) => lines.push(text),
                    _ => lines.push(next),
                }
            }
        }
        _ => return Err(bad()),
    }
    Ok(Reply { code, lines })
}

/// The lines before one that is a dot alone; a second dot at a line's start is taken off.
pub fn block<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<Vec<&'a [u8]>, DecodeError> {
    let mut lines = Vec::new();
    loop {
        match line(reader, field)? {
            b"." => return Ok(lines),
            line => lines.push(line.strip_prefix(b".").unwrap_or(line)),
        }
    }
}

/// Whether what came so far may be the beginning of `expected`, or begins with it.
pub fn may_begin(data: &[u8], expected: &[u8]) -> bool {
    data.iter().zip(expected).all(|(byte, expected)| byte == expected)
}

/// Why something is not what was expected, with what it is instead: `this is not SSH: it said "220 mail"`.
pub fn unlike(protocol: &str, data: &[u8]) -> String {
    let first = data.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let is_text = first.iter().all(|&byte| byte >= 0x20 || matches!(byte, b'\r' | b'\t'));
    match (first.is_empty(), is_text) {
        (true, _) => format!("this is not {protocol}"),
        (_, true) => format!("this is not {protocol}: it said \"{}\"", text::foreign(first, 80)),
        (_, false) => {
            let digits: Vec<String> = data.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
            format!("this is not {protocol}: it sent {}", digits.join(":"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<(u16, String, usize), DecodeError> {
        let mut reader = Reader::new(bytes);
        reply(&mut reader, "reply").map(|reply| (reply.code, reply.text(), reader.remaining()))
    }

    #[test]
    fn a_reply_ends_with_the_line_that_says_so() {
        assert_eq!(read(b"220 mail ESMTP\r\nrest"), Ok((220, "mail ESMTP".into(), 4)));
        assert_eq!(read(b"250-a\r\n250-b c\r\n250 d\r\n"), Ok((250, "a\nb c\nd".into(), 0)));
        // FTP: lines between stand as they are, and may look like another reply.
        assert_eq!(
            read(b"211-Features:\r\n EPRT\r\n212 no\n211 End\r\n"),
            Ok((211, "Features:\n EPRT\n212 no\nEnd".into(), 0))
        );
        assert_eq!(read(b"250\r\n"), Ok((250, String::new(), 0)));
        assert_eq!(read(b"250-a\r\n250\r\n"), Ok((250, "a".into(), 0)));
    }

    #[test]
    fn what_is_cut_waits_and_what_is_no_reply_does_not() {
        for cut in [&b""[..], b"2", b"220 mail", b"220-mail\r\n", b"220-mail\r\n220 "] {
            assert_eq!(read(cut).unwrap_err().problem, Problem::Truncated, "{cut:?}");
        }
        for bad in [&b"SSH"[..], b"22\r\n", b"22x y\r\n", b"220x\r\n", &[b'2'; LONGEST_LINE + 1]] {
            assert!(matches!(read(bad).unwrap_err().problem, Problem::Value(_)), "{bad:?}");
        }
    }

    #[test]
    fn a_block_ends_with_a_dot_alone() {
        let mut reader = Reader::new(b"USER\r\n..x\r\n.\r\n+OK");
        assert_eq!(block(&mut reader, "CAPA"), Ok(vec![&b"USER"[..], b".x"]));
        assert_eq!(reader.rest(), b"+OK");
        assert_eq!(block(&mut Reader::new(b"USER\r\n."), "CAPA").unwrap_err().problem, Problem::Truncated);
    }

    #[test]
    fn what_came_instead_is_told_and_made_harmless() {
        assert_eq!(unlike("SSH", b"220 mail\r\nmore"), "this is not SSH: it said \"220 mail\"");
        assert_eq!(unlike("SSH", b"\x15\x03\x01\0"), "this is not SSH: it sent 15:03:01:00");
        assert_eq!(unlike("SSH", b""), "this is not SSH");
        assert!(may_begin(b"SS", b"SSH-") && may_begin(b"SSH-2", b"SSH-") && !may_begin(b"220", b"SSH-"));
    }
}
