//! What a tracepoint's record looks like, as tracefs tells in `events/GROUP/NAME/format`.
//!
//! Source: Documentation/trace/events.rst. Left out on purpose: `print fmt`, which says how the kernel would print it.

use std::collections::BTreeMap;

/// One tracepoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// Its number, as perf_event_open(2) takes it.
    pub id: u64,
    /// Where each field lies in the record, and how long it is, bytes.
    pub fields: BTreeMap<String, (usize, usize)>,
}

impl Format {
    /// Reads a format file; none where it tells no number.
    pub fn parse(text: &str) -> Option<Self> {
        let mut format = Self::default();
        let mut id = None;
        for line in text.lines() {
            if let Some(number) = line.strip_prefix("ID:") {
                id = number.trim().parse().ok();
            } else if let Some(field) = line.trim().strip_prefix("field:") {
                format.fields.extend(parse_field(field));
            }
        }
        format.id = id?;
        Some(format)
    }

    /// Whether a field lies there and has that length.
    pub fn has(&self, name: &str, offset: usize, size: usize) -> bool {
        self.fields.get(name) == Some(&(offset, size))
    }
}

/// `__u8 saddr[4];  offset:32;  size:4;  signed:0;`, with tabs for the blanks.
fn parse_field(text: &str) -> Option<(String, (usize, usize))> {
    let mut parts = text.split(';').map(str::trim);
    let declared = parts.next()?;
    let name = declared.rsplit([' ', '*']).next()?;
    let name = name.split('[').next()?;
    let mut number = |key: &str| parts.next()?.strip_prefix(key)?.parse().ok();
    let (offset, size) = (number("offset:")?, number("size:")?);
    Some((name.to_owned(), (offset, size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux 6.18.
    const RECORDED: &str = "\
name: sys_enter_connect
ID: 2230
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;

\tfield:int fd;\toffset:16;\tsize:8;\tsigned:0;
\tfield:struct sockaddr * uservaddr;\toffset:24;\tsize:8;\tsigned:0;
\tfield:__u8 saddr[4];\toffset:32;\tsize:4;\tsigned:0;

print fmt: \"fd: 0x%08lx\", ((unsigned long)(REC->fd))
";

    #[test]
    fn fields_are_found_by_their_names() {
        let format = Format::parse(RECORDED).unwrap();
        assert_eq!((format.id, format.fields.len()), (2230, 4));
        assert!(format.has("fd", 16, 8) && format.has("uservaddr", 24, 8) && format.has("saddr", 32, 4));
        assert!(!format.has("fd", 16, 4) && !format.has("addrlen", 32, 8));
    }

    #[test]
    fn what_is_cut_is_read_as_far_as_it_goes() {
        for length in 0..RECORDED.len() {
            let read = Format::parse(&RECORDED[..length]);
            assert!(read.is_none_or(|format| format.fields.len() <= 4));
        }
        assert_eq!(Format::parse("ID: many\n"), None);
        assert_eq!(
            Format::parse("ID: 7\nfield:int x;\toffset:y;\n"),
            Some(Format { id: 7, ..Format::default() })
        );
    }
}
