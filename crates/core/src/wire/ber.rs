//! ASN.1's basic encoding, as LDAP, SNMP, Kerberos and X.509 use it: elements of tag, length and content.
//!
//! Source: ITU-T X.690 section 8. An element's length is checked against what is there, so that a stream that is not
//! complete yet gives [`Problem::Truncated`].
//! Leaves out on purpose: tags above 30, which none of them uses, and indefinite lengths, which all of them forbid.

use super::{DecodeError, Problem, Reader};

/// BOOLEAN.
pub const BOOLEAN: u8 = 0x01;
/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// BIT STRING.
pub const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// NULL.
pub const NULL: u8 = 0x05;
/// OBJECT IDENTIFIER.
pub const OBJECT_IDENTIFIER: u8 = 0x06;
/// ENUMERATED.
pub const ENUMERATED: u8 = 0x0a;
/// SEQUENCE and SEQUENCE OF.
pub const SEQUENCE: u8 = 0x30;
/// SET and SET OF.
pub const SET: u8 = 0x31;

/// The tag of `[n]`: context-specific and primitive.
pub const fn context(number: u8) -> u8 {
    0x80 | number
}

/// The tag of `[n]` around other elements: context-specific and constructed.
pub const fn context_of(number: u8) -> u8 {
    0xa0 | number
}

/// The tag of `[APPLICATION n]` around other elements.
pub const fn application(number: u8) -> u8 {
    0x60 | number
}

/// The next element, whatever it is: its tag and its content.
pub fn any<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<(u8, Reader<'a>), DecodeError> {
    let start = reader.offset();
    let bad = |value: u8| Reader::error_at(start, field, Problem::Value(value.into()));
    let mut ahead = *reader;
    let tag = ahead.u8(field)?;
    if tag & 0x1f == 0x1f {
        return Err(bad(tag));
    }
    let length = match ahead.u8(field)? {
        short @ 0..=0x7f => usize::from(short),
        long @ 0x81..=0x84 => {
            let bytes = ahead.take(usize::from(long & 0x7f), field)?;
            bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte))
        }
        other => return Err(bad(other)),
    };
    let content = ahead.part(length, field)?;
    *reader = ahead;
    Ok((tag, content))
}

/// The content of the next element, which must have this tag.
pub fn element<'a>(reader: &mut Reader<'a>, tag: u8, field: &'static str) -> Result<Reader<'a>, DecodeError> {
    let start = reader.offset();
    let mut ahead = *reader;
    // A wrong tag shows before the rest is there.
    let found = ahead.u8(field)?;
    if found != tag {
        return Err(Reader::error_at(start, field, Problem::Value(found.into())));
    }
    any(reader, field).map(|(_, content)| content)
}

/// The content of the next element where it has this tag; nothing is read where it has another, or where there is none.
pub fn optional<'a>(
    reader: &mut Reader<'a>,
    tag: u8,
    field: &'static str,
) -> Result<Option<Reader<'a>>, DecodeError> {
    match reader.peek() {
        Some(found) if found == tag => any(reader, field).map(|(_, content)| Some(content)),
        _ => Ok(None),
    }
}

/// A whole number of at most 64 bits from an element's content.
pub fn number(mut content: Reader<'_>, field: &'static str) -> Result<i64, DecodeError> {
    let (start, length) = (content.offset(), content.remaining());
    if !(1..=8).contains(&length) {
        return Err(Reader::error_at(start, field, Problem::Value(length as u64)));
    }
    let bytes = content.take(length, field)?;
    let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    Ok(bytes.iter().fold(sign, |value, &byte| value << 8 | i64::from(byte)))
}

/// The next INTEGER, of at most 64 bits.
pub fn integer(reader: &mut Reader<'_>, field: &'static str) -> Result<i64, DecodeError> {
    number(element(reader, INTEGER, field)?, field)
}

/// The next OCTET STRING.
pub fn octets<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], DecodeError> {
    Ok(element(reader, OCTET_STRING, field)?.rest())
}

/// An object identifier from an element's content, as `1.3.6.1`.
pub fn oid(content: Reader<'_>, field: &'static str) -> Result<String, DecodeError> {
    let start = content.offset();
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0_u64;
    let mut open = true;
    for &byte in content.rest() {
        if arc >> 57 != 0 {
            return Err(Reader::error_at(start, field, Problem::Value(arc)));
        }
        arc = arc << 7 | u64::from(byte & 0x7f);
        open = byte & 0x80 != 0;
        if !open {
            match arcs.is_empty() {
                true => arcs.extend([(arc / 40).min(2), arc - (arc / 40).min(2) * 40]),
                false => arcs.push(arc),
            }
            arc = 0;
        }
    }
    if open {
        return Err(Reader::error_at(start, field, Problem::Truncated));
    }
    Ok(arcs.iter().map(u64::to_string).collect::<Vec<_>>().join("."))
}

/// An element of this tag around the parts, one after the other.
pub fn write(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = vec![tag];
    let be = length.to_be_bytes();
    let digits = be.get(length.leading_zeros() as usize / 8..).unwrap_or_default();
    match length {
        0..=0x7f => bytes.push(length as u8),
        _ => {
            bytes.push(0x80 | digits.len() as u8);
            bytes.extend_from_slice(digits);
        }
    }
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

/// A whole number under this tag ([`INTEGER`], [`ENUMERATED`], a context's), in the fewest bytes.
pub fn write_number(tag: u8, number: i64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let spare = |pair: &[u8]| {
        matches!(pair, [0, next] if *next < 0x80) || matches!(pair, [0xff, next] if *next >= 0x80)
    };
    let first = bytes.windows(2).take_while(|pair| spare(pair)).count();
    write(tag, &[bytes.get(first..).unwrap_or_default()])
}

/// An OCTET STRING.
pub fn write_octets(bytes: &[u8]) -> Vec<u8> {
    write(OCTET_STRING, &[bytes])
}

/// An OBJECT IDENTIFIER of at least two arcs.
pub fn write_oid(arcs: &[u32]) -> Vec<u8> {
    let (first, rest) = arcs.split_at(arcs.len().min(2));
    let head = first.iter().fold(0_u64, |head, &arc| head * 40 + u64::from(arc));
    let mut content = Vec::new();
    for arc in std::iter::once(head).chain(rest.iter().map(|&arc| arc.into())) {
        let groups = (64 - arc.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let more = if group > 0 { 0x80 } else { 0 };
            content.push(more | (arc >> (7 * group)) as u8 & 0x7f);
        }
    }
    write(OBJECT_IDENTIFIER, &[&content])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_the_fewest_bytes_and_read_back() {
        for (number, content) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0, 0x80]),
            (-128, &[0x80]),
            (-129, &[0xff, 0x7f]),
            (i64::MAX, &[0x7f, 255, 255, 255, 255, 255, 255, 255]),
            (i64::MIN, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            let bytes = write_number(INTEGER, number);
            assert_eq!(&bytes[2..], content);
            assert_eq!(integer(&mut Reader::new(&bytes), "n"), Ok(number));
        }
        assert!(integer(&mut Reader::new(&[2, 0]), "n").is_err());
        assert!(integer(&mut Reader::new(&[2, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1]), "n").is_err());
    }

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        for (length, header) in [(0, 2), (127, 2), (128, 3), (255, 3), (256, 4), (70_000, 5)] {
            let content = vec![7; length];
            let bytes = write_octets(&content);
            assert_eq!(bytes.len(), header + length);
            assert_eq!(octets(&mut Reader::new(&bytes), "s"), Ok(&content[..]));
            for cut in [0, 1, header - 1, bytes.len().saturating_sub(1)] {
                if cut < bytes.len() {
                    let error = octets(&mut Reader::new(&bytes[..cut]), "s").unwrap_err();
                    assert_eq!(error.problem, Problem::Truncated);
                }
            }
        }
        for bad in [&[0x04, 0x80, 0, 0][..], &[0x04, 0x85, 0, 0, 0, 0, 1, 1], &[0x1f, 1, 1], &[0x05, 0]] {
            let error = octets(&mut Reader::new(bad), "s").unwrap_err();
            assert!(matches!(error.problem, Problem::Value(_)), "{bad:?}");
        }
        assert_eq!(
            any(&mut Reader::new(&[0x04, 0x84, 255, 255, 255, 255]), "s").unwrap_err().problem,
            Problem::Truncated
        );
    }

    #[test]
    fn object_identifiers_are_written_and_read() {
        // sysDescr.0; X.690 section 8.19.5's example; large first arcs.
        for (arcs, content, text) in [
            (&[1, 3, 6, 1, 2, 1, 1, 1, 0][..], &[0x2b, 6, 1, 2, 1, 1, 1, 0][..], "1.3.6.1.2.1.1.1.0"),
            (&[2, 100, 3], &[0x81, 0x34, 3], "2.100.3"),
            (&[1, 3, 311, 21], &[0x2b, 0x82, 0x37, 21], "1.3.311.21"),
        ] {
            let bytes = write_oid(arcs);
            assert_eq!(&bytes[2..], content);
            let content = element(&mut Reader::new(&bytes), OBJECT_IDENTIFIER, "oid").unwrap();
            assert_eq!(oid(content, "oid").as_deref(), Ok(text));
        }
        assert!(oid(Reader::new(&[]), "oid").is_err());
        assert!(oid(Reader::new(&[0x80]), "oid").is_err());
        assert!(oid(Reader::new(&[0xff; 20]), "oid").is_err());
    }

    #[test]
    fn an_optional_element_is_left_where_another_stands() {
        let bytes = [write(context(0), &[b"a"]), write(context_of(1), &[&write_number(INTEGER, 5)])].concat();
        let mut reader = Reader::new(&bytes);
        assert!(optional(&mut reader, context_of(1), "x").unwrap().is_none());
        assert_eq!(optional(&mut reader, context(0), "x").unwrap().unwrap().rest(), b"a");
        let mut inner = element(&mut reader, context_of(1), "y").unwrap();
        assert_eq!(integer(&mut inner, "n"), Ok(5));
        assert!(optional(&mut reader, context(0), "x").unwrap().is_none());
    }
}
