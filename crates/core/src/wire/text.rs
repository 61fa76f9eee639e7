//! Text of a code page that nobody tells: what stands in it as ASCII, whatever else surrounds it.
//!
//! Source: the Unicode Standard, section 23.8 (byte order marks). Windows' console programs write in the console's OEM
//! code page (437, 850, 866, 932, 936, 949 …), PowerShell's `>` in UTF-16 with a mark, editors in UTF-8 with or
//! without one.
//! Left out on purpose: guessing an OEM code page. ASCII reads the same in all of them; what is not ASCII and not UTF-8
//! becomes U+FFFD. In the double-byte pages a second byte may look like an ASCII letter or bracket, never like a digit,
//! a space, `:` or `*`.

use std::borrow::Cow;

/// The bytes as text: UTF-16 where a mark or zero bytes show it, UTF-8 where it is valid, else with U+FFFD for each byte
/// that is not known. Never fails; a cut UTF-16 unit ends as U+FFFD.
pub fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes).into(),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes).into(),
        [1..=255, 0, 1..=255, 0, ..] => utf16(bytes, u16::from_le_bytes).into(),
        [0, 1..=255, 0, 1..=255, ..] => utf16(bytes, u16::from_be_bytes).into(),
        _ => String::from_utf8_lossy(bytes),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let (units, rest) = bytes.as_chunks();
    let mut text: String = char::decode_utf16(units.iter().map(|pair| unit(*pair)))
        .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    if !rest.is_empty() {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_with_and_without_a_mark_reads_the_same() {
        let text = "Начало : 49152\r\n";
        let units: Vec<u16> = text.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        assert_eq!(decoded(text.as_bytes()), text);
        assert_eq!(decoded(&[b"\xef\xbb\xbf", text.as_bytes()].concat()), text);
        assert_eq!(decoded(&[b"\xff\xfe", &little[..]].concat()), text);
        assert_eq!(decoded(&[b"\xfe\xff", &big[..]].concat()), text);
    }

    #[test]
    fn utf16_without_a_mark_is_seen_by_its_zero_bytes() {
        assert_eq!(decoded(b"T\0C\0P\0"), "TCP");
        assert_eq!(decoded(b"\0T\0C\0P"), "TCP");
    }

    #[test]
    fn an_unknown_code_page_keeps_its_ascii() {
        // Code page 850: ABHÖREN.
        assert_eq!(decoded(b"TCP 0.0.0.0:135 ABH\x99REN 4"), "TCP 0.0.0.0:135 ABH\u{fffd}REN 4");
    }

    #[test]
    fn a_cut_unit_is_seen() {
        assert_eq!(decoded(b"\xff\xfeT\0C"), "T\u{fffd}");
        assert_eq!(decoded(b"\xff\xfe\x00\xd8"), "\u{fffd}");
    }
}
