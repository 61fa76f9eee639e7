//! Names of the domain name system, with compression; and NetBIOS names, which travel inside of them.
//!
//! Source: RFC 1035 sections 3.1 and 4.1.4, RFC 4343 (escapes); RFC 1001 section 14.1 (first-level encoding).
//! Leaves out on purpose: internationalized names (the caller gives the `xn--` form) and writing compressed names.

use super::{DecodeError, Problem, Reader};

/// RFC 1035 section 3.1: with its length bytes and the root.
const LONGEST_NAME: usize = 255;
const LONGEST_LABEL: usize = 63;

/// Reads a name at the reader's place; `message` is the whole message, from which `rest` was split off, for pointers to
/// point into. A pointer must point to before the place where it stands, so that no name has an end.
/// The root is `.`; other names end without a dot. A dot, a backslash or what is not printable ASCII in a label is
/// written `\046`.
pub fn read(message: &[u8], rest: &mut Reader<'_>, field: &'static str) -> Result<String, DecodeError> {
    let (mut text, mut length) = (String::new(), 1);
    let (mut reader, mut limit) = (*rest, rest.offset());
    // How much of `rest` the name takes, once a pointer leads elsewhere.
    let mut taken = None;
    loop {
        let start = reader.offset();
        let first = reader.u8(field)?;
        let bad = |value: u8| Reader::error_at(start, field, Problem::Value(value.into()));
        match first {
            0 => break,
            1..=0x3f => {
                length += 1 + usize::from(first);
                if length > LONGEST_NAME {
                    return Err(bad(first));
                }
                let label = reader.take(first.into(), field)?;
                if !text.is_empty() {
                    text.push('.');
                }
                push_label(&mut text, label);
            }
            0xc0.. => {
                let target = usize::from(u16::from_be_bytes([first & 0x3f, reader.u8(field)?]));
                if target >= limit {
                    return Err(bad(first));
                }
                limit = target;
                // Only the first pointer lies in the name itself.
                taken = taken.or_else(|| Some(reader.offset() - rest.offset()));
                reader = Reader::new(message);
                reader.take(target, field)?;
            }
            _ => return Err(bad(first)),
        }
    }
    let taken = taken.unwrap_or_else(|| reader.offset() - rest.offset());
    rest.take(taken, field)?;
    if text.is_empty() {
        text.push('.');
    }
    Ok(text)
}

fn push_label(text: &mut String, label: &[u8]) {
    for &byte in label {
        match byte {
            b'.' | b'\\' | 0..=0x20 | 0x7f.. => text.push_str(&format!("\\{byte:03}")),
            _ => text.push(byte.into()),
        }
    }
}

/// Appends a name, as `example.com`, `example.com.` or `.`. False, and nothing appended, where it is no name: an empty
/// or too long label, too long in all, or not ASCII.
#[must_use]
pub fn write(name: &str, message: &mut Vec<u8>) -> bool {
    let mut encoded = Vec::with_capacity(name.len() + 2);
    let name = name.strip_suffix('.').unwrap_or(name);
    for label in name.split('.').filter(|_| !name.is_empty()) {
        match u8::try_from(label.len()) {
            Ok(length @ 1..) if label.len() <= LONGEST_LABEL && label.is_ascii() => encoded.push(length),
            _ => return false,
        }
        encoded.extend_from_slice(label.as_bytes());
    }
    encoded.push(0);
    let fits = encoded.len() <= LONGEST_NAME;
    if fits {
        message.extend_from_slice(&encoded);
    }
    fits
}

/// A NetBIOS name as one label: each half of its 16 bytes is a letter from A on. The name is cut to 15 characters, put
/// into capitals and filled with spaces (`*` alone: with zeros); `suffix` is the 16th byte, what kind of name it is.
pub fn netbios(name: &str, suffix: u8) -> [u8; 32] {
    let mut plain = if name == "*" { [0; 16] } else { [b' '; 16] };
    for (place, byte) in plain.iter_mut().take(15).zip(name.bytes()) {
        *place = byte.to_ascii_uppercase();
    }
    plain[15] = suffix;
    std::array::from_fn(|index| {
        let byte = plain[index / 2];
        b'A' + if index % 2 == 0 { byte >> 4 } else { byte & 0xf }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(message: &[u8], offset: usize) -> Result<(String, usize), DecodeError> {
        let mut reader = Reader::new(message);
        reader.take(offset, "before")?;
        let name = read(message, &mut reader, "NAME")?;
        Ok((name, reader.offset()))
    }

    #[test]
    fn names_are_read_with_their_pointers() {
        // RFC 1035 section 4.1.4's own example: F.ISI.ARPA, FOO.F.ISI.ARPA, ARPA, the root.
        let mut message = vec![0; 20];
        message.extend(b"\x01F\x03ISI\x04ARPA\0");
        message.resize(40, 0);
        message.extend(b"\x03FOO\xc0\x14");
        message.resize(64, 0);
        message.extend(b"\xc0\x1a");
        message.resize(92, 0);
        message.push(0);
        // A pointer to a name that itself ends in a pointer.
        message.extend(b"\x01G\xc0\x28");
        assert_eq!(at(&message, 93), Ok(("G.FOO.F.ISI.ARPA".into(), 97)));
        assert_eq!(at(&message, 20), Ok(("F.ISI.ARPA".into(), 32)));
        assert_eq!(at(&message, 40), Ok(("FOO.F.ISI.ARPA".into(), 46)));
        assert_eq!(at(&message, 64), Ok(("ARPA".into(), 66)));
        assert_eq!(at(&message, 92), Ok((".".into(), 93)));
        assert_eq!(at(b"\x04a.\\\x1b\0", 0), Ok(("a\\046\\092\\027".into(), 6)));
    }

    #[test]
    fn loops_forward_pointers_and_endless_names_are_refused() {
        for message in [&b"\xc0\x00"[..], b"\x01a\xc0\x00", b"\xc0\x02\x00", b"\x40", b"\x80", b"\xff\xff"] {
            assert!(at(message, 0).is_err(), "{message:?}");
        }
        // Two pointers to each other, seen from both.
        let mutual = b"\xc0\x02\xc0\x00";
        assert!(at(mutual, 0).is_err() && at(mutual, 2).is_err());
        // Long names: 127 labels of one byte are the most.
        let longest = [&b"\x01a".repeat(127)[..], &[0]].concat();
        assert_eq!(at(&longest, 0).unwrap().0.len(), 253);
        assert!(at(&[&b"\x01a".repeat(128)[..], &[0]].concat(), 0).is_err());
        for length in 0..longest.len() {
            assert_eq!(at(&longest[..length], 0).unwrap_err().problem, Problem::Truncated);
        }
    }

    #[test]
    fn names_are_written_as_they_are_read() {
        for name in ["example.com", "a", ".", "version.bind"] {
            let mut message = Vec::new();
            assert!(write(name, &mut message));
            assert_eq!(at(&message, 0), Ok((name.to_owned(), message.len())));
        }
        let mut message = Vec::new();
        assert!(write("example.com.", &mut message) && at(&message, 0).unwrap().0 == "example.com");
        for name in ["a..b", ".a", "größe", &"x".repeat(64), &["x"; 128].join(".")] {
            let mut message = vec![1];
            assert!(!write(name, &mut message) && message == [1], "{name}");
        }
    }

    #[test]
    fn netbios_names_are_letters_from_a_on() {
        // RFC 1001 section 14.1: "The NetBIOS name".
        assert_eq!(&netbios("The NetBIOS name", b'e'), b"FEEIEFCAEOEFFEECEJEPFDCAEOEBENGF");
        assert_eq!(&netbios("*", 0), b"CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(&netbios("dc1", 0x20), b"EEEDDBCACACACACACACACACACACACACA");
    }
}
