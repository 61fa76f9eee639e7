//! UUIDs as text.
//!
//! Source: RFC 9562 section 4 (the text; big-endian fields); C706 appendix A and MS-DTYP section 2.3.4.2 (Microsoft's
//! and DCE's little-endian fields).

/// A UUID whose first three fields have their low byte first, as Windows and little-endian NDR store it.
pub fn mixed(bytes: [u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    plain([[d, c, b, a, f, e, h, g], rest].concat().try_into().unwrap_or_default())
}

/// A UUID in network order.
pub fn plain(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_mappers_own_uuid_reads_the_same_in_both_orders() {
        let little = *b"\x08\x83\xaf\xe1\x1f\x5d\xc9\x11\x91\xa4\x08\x00\x2b\x14\xa0\xfa";
        let big = *b"\xe1\xaf\x83\x08\x5d\x1f\x11\xc9\x91\xa4\x08\x00\x2b\x14\xa0\xfa";
        assert_eq!(mixed(little), "e1af8308-5d1f-11c9-91a4-08002b14a0fa");
        assert_eq!(mixed(little), plain(big));
    }
}
