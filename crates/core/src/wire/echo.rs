//! ICMP echo, of both versions: the question, and the answer to it.
//!
//! Source: RFC 792 (echo), RFC 4443 section 4, RFC 1071 (checksum), RFC 791 (the header before what a raw IPv4 socket
//! receives). The data is a token alone, by which the answers to others' questions are told from ours. Left out on
//! purpose: checking an answer's checksum, which the kernel does, and ICMP errors, which it queues.

use super::{DecodeError, Problem, Reader};
use crate::socket::Family;

const ECHO_V4: u8 = 8;
const REPLY_V4: u8 = 0;
const ECHO_V6: u8 = 128;
const REPLY_V6: u8 = 129;

/// A question, or the answer to it: they differ in nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Whose it is; a Linux datagram socket puts its own in.
    pub identifier: u16,
    /// Which of the questions it is.
    pub sequence: u16,
    /// What comes back as it was sent.
    pub token: u64,
}

/// The question. For IPv6 its checksum is zero: the kernel, which knows the addresses, adds it up over what is there.
pub fn request(family: Family, echo: &Echo) -> [u8; 16] {
    let mut bytes = [0; 16];
    let kind = if family == Family::Ipv4 { ECHO_V4 } else { ECHO_V6 };
    bytes[0] = kind;
    bytes[4..6].copy_from_slice(&echo.identifier.to_be_bytes());
    bytes[6..8].copy_from_slice(&echo.sequence.to_be_bytes());
    bytes[8..].copy_from_slice(&echo.token.to_be_bytes());
    if family == Family::Ipv6 {
        return bytes;
    }
    let sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    bytes[2..4].copy_from_slice(&(!folded as u16).to_be_bytes());
    bytes
}

/// The answer in an ICMP message; none where it is another kind of message, or one with other data than a token.
///
/// # Errors
/// The message is cut off.
pub fn reply(family: Family, message: &[u8]) -> Result<Option<Echo>, DecodeError> {
    let mut reader = Reader::new(message);
    let kind = reader.u8("type")?;
    reader.take(1 + 2, "checksum")?;
    let expected = if family == Family::Ipv4 { REPLY_V4 } else { REPLY_V6 };
    if kind != expected {
        return Ok(None);
    }
    let (identifier, sequence) = (reader.u16_be("identifier")?, reader.u16_be("sequence number")?);
    if reader.remaining() != size_of::<u64>() {
        return Ok(None);
    }
    Ok(Some(Echo { identifier, sequence, token: reader.u64_be("data")? }))
}

/// What stands behind the header of an IPv4 packet.
///
/// # Errors
/// The header is cut off, or its length lies.
pub fn behind_ipv4_header(packet: &[u8]) -> Result<&[u8], DecodeError> {
    let mut reader = Reader::new(packet);
    let first = reader.u8("Version, IHL")?;
    let length = usize::from(first & 0xf) * 4;
    if first >> 4 != 4 || length < 20 {
        return Err(Reader::error_at(0, "Version, IHL", Problem::Value(first.into())));
    }
    reader.take(length - 1, "Options")?;
    Ok(reader.rest())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: Echo = Echo { identifier: 0x1234, sequence: 3, token: 0xffff_0102_0304_fffe };

    #[test]
    fn a_question_has_the_checksum_that_its_sum_needs() {
        let bytes = request(Family::Ipv4, &ECHO);
        let sum = bytes.chunks(2).fold(0_u32, |sum, pair| {
            let sum = sum + u32::from(u16::from_be_bytes([pair[0], pair[1]]));
            (sum & 0xffff) + (sum >> 16)
        });
        assert_eq!(sum, 0xffff);
        assert_eq!((bytes[0], request(Family::Ipv6, &ECHO)[..4].to_vec()), (8, vec![128, 0, 0, 0]));
    }

    #[test]
    fn an_answer_is_read_and_a_question_or_another_message_is_none() {
        for (family, kind) in [(Family::Ipv4, 0), (Family::Ipv6, 129)] {
            let mut bytes = request(family, &ECHO);
            assert_eq!(reply(family, &bytes).unwrap(), None);
            bytes[0] = kind;
            assert_eq!(reply(family, &bytes).unwrap(), Some(ECHO));
            assert_eq!(reply(family, &[&bytes[..], &[0]].concat()).unwrap(), None, "someone else's data");
            for length in 0..bytes.len() {
                assert!(!matches!(reply(family, &bytes[..length]), Ok(Some(_))), "{length}");
            }
        }
    }

    #[test]
    fn a_header_that_is_cut_off_or_lies_is_an_error() {
        let mut packet = vec![0x46];
        packet.resize(24, 0);
        packet.extend([1, 2]);
        assert_eq!(behind_ipv4_header(&packet).unwrap(), [1, 2]);
        for length in 0..24 {
            assert!(behind_ipv4_header(&packet[..length]).is_err(), "{length}");
        }
        for first in [0x44, 0x65, 0] {
            packet[0] = first;
            assert!(behind_ipv4_header(&packet).is_err(), "{first}");
        }
    }
}
