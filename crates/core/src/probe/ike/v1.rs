//! Version 1: the first message of main mode.
//!
//! Source: RFC 2408 sections 3.3 to 3.6, 3.14 (attributes, proposals, notifications); RFC 2409 appendix A (numbers);
//! RFC 3706 and RFC 3947 (vendor IDs).

use super::{GROUPS, Payload, message, named};
use crate::answer::{Fields, Value};
use crate::wire::{DecodeError, Reader};

const SECURITY_ASSOCIATION: u8 = 1;
const NOTIFICATION: u8 = 11;
const VENDOR_ID: u8 = 13;
pub(super) const MAIN_MODE: u8 = 2;
const VERSION: u8 = 0x10;
/// Attributes of a transform, all in the short form.
const ENCRYPTION: u16 = 1;
const HASH: u16 = 2;
const AUTHENTICATION: u16 = 3;
const GROUP: u16 = 4;
const LIFE_TYPE: u16 = 11;
const LIFE_DURATION: u16 = 12;
const KEY_LENGTH: u16 = 14;

const EXCHANGES: [(u16, &str); 3] = [(2, "Identity Protection"), (4, "Aggressive"), (5, "Informational")];
const ENCRYPTIONS: [(u16, &str); 4] = [(1, "DES_CBC"), (5, "3DES_CBC"), (7, "AES_CBC"), (8, "CAMELLIA_CBC")];
const HASHES: [(u16, &str); 5] = [(1, "MD5"), (2, "SHA"), (4, "SHA2_256"), (5, "SHA2_384"), (6, "SHA2_512")];
const METHODS: [(u16, &str); 4] = [
    (1, "pre-shared key"),
    (2, "DSS signatures"),
    (3, "RSA signatures"),
    (65001, "XAUTH and a pre-shared key"),
];
const NOTIFICATIONS: [(u16, &str); 9] = [
    (1, "INVALID_PAYLOAD_TYPE"),
    (5, "INVALID_MAJOR_VERSION"),
    (7, "INVALID_EXCHANGE_TYPE"),
    (14, "NO_PROPOSAL_CHOSEN"),
    (15, "BAD_PROPOSAL_SYNTAX"),
    (16, "PAYLOAD_MALFORMED"),
    (18, "INVALID_ID_INFORMATION"),
    (24, "AUTHENTICATION_FAILED"),
    (30, "UNEQUAL_PAYLOAD_LENGTHS"),
];
const VENDORS: [(&[u8], &str); 5] = [
    (b"\xaf\xca\xd7\x13\x68\xa1\xf1\xc9\x6b\x86\x96\xfc\x77\x57", "Dead Peer Detection"),
    (b"\x4a\x13\x1c\x81\x07\x03\x58\x45\x5c\x57\x28\xf2\x0e\x95\x45\x2f", "NAT traversal (RFC 3947)"),
    (b"\x09\x00\x26\x89\xdf\xd6\xb7\x12", "XAUTH"),
    (b"\x12\xf5\xf2\x8c\x45\x71\x68\xa9\x70\x2d\x9f\xe2\x74\xcc\x01\x00", "Cisco Unity"),
    (b"\x40\x48\xb7\xd5\x6e\xbc\xe8\x85\x25\xe7\xde\x7f\x00\xd6\xc2\xd3", "fragmentation"),
];

/// The wish for an association: each combination of what is common.
pub(super) fn first_message(cookie: &[u8; 8]) -> Vec<u8> {
    let ciphers: [&[(u16, u16)]; 3] =
        [&[(ENCRYPTION, 7), (KEY_LENGTH, 256)], &[(ENCRYPTION, 7), (KEY_LENGTH, 128)], &[(ENCRYPTION, 5)]];
    let mut transforms = Vec::new();
    for cipher in ciphers {
        for hash in [4, 2] {
            for method in [1, 3] {
                for group in [14, 2] {
                    let rest = [
                        (HASH, hash),
                        (AUTHENTICATION, method),
                        (GROUP, group),
                        (LIFE_TYPE, 1),
                        (LIFE_DURATION, 28_800),
                    ];
                    transforms.push([cipher, &rest].concat());
                }
            }
        }
    }
    let count = transforms.len();
    let body: Vec<u8> = transforms
        .iter()
        .enumerate()
        .flat_map(|(index, attributes)| {
            let attributes: Vec<u8> = attributes
                .iter()
                .flat_map(|&(kind, value)| [0x8000 | kind, value].map(u16::to_be_bytes).concat())
                .collect();
            let more = if index + 1 < count { 3 } else { 0 };
            let length = ((8 + attributes.len()) as u16).to_be_bytes();
            // KEY_IKE.
            [&[more, 0][..], &length, &[index as u8 + 1, 1, 0, 0], &attributes].concat()
        })
        .collect();
    let length = ((8 + body.len()) as u16).to_be_bytes();
    // DOI and situation of IPsec; one proposal, of ISAKMP itself, without an SPI.
    let association = [&[0, 0, 0, 1, 0, 0, 0, 1, 0, 0][..], &length, &[1, 1, 0, count as u8], &body].concat();
    message(cookie, VERSION, MAIN_MODE, 0, &[(SECURITY_ASSOCIATION, association)])
}

/// What an answer says.
pub(super) fn fields(exchange: u8, payloads: &[Payload<'_>]) -> Result<Fields, DecodeError> {
    let mut fields = Fields::new().with("exchange_type", named(&EXCHANGES, exchange.into()));
    let mut vendors = Vec::new();
    for &(kind, mut content) in payloads {
        match kind {
            SECURITY_ASSOCIATION => fields.push("security_association", chosen(content)?),
            NOTIFICATION => {
                content.take(4, "Domain of Interpretation")?;
                content.take(2, "Protocol-ID and SPI Size")?;
                fields.push("notify", named(&NOTIFICATIONS, content.u16_be("Notify Message Type")?));
            }
            VENDOR_ID => {
                let bytes = content.rest();
                // The last two bytes of some are a version.
                let known = VENDORS.iter().find(|(begin, _)| bytes.starts_with(begin));
                vendors.push(known.map_or_else(|| Value::hex(bytes), |(_, name)| Value::from(*name)));
            }
            _ => {}
        }
    }
    Ok(fields.with_some("vendor_ids", (!vendors.is_empty()).then(|| Value::list(vendors))))
}

/// The one transform of the one proposal that an answer has.
fn chosen(mut reader: Reader<'_>) -> Result<String, DecodeError> {
    reader.take(8, "Domain of Interpretation and Situation")?;
    reader.take(6, "proposal")?;
    let size = reader.u8("SPI Size")?;
    reader.u8("# of Transforms")?;
    reader.take(size.into(), "SPI")?;
    reader.take(8, "transform")?;
    let (mut names, mut bits) = ([const { None }; 4], None);
    while !reader.is_empty() {
        let (kind, value) = (reader.u16_be("Attribute Type")?, reader.u16_be("Attribute Value")?);
        // The long form has a length there.
        if kind & 0x8000 == 0 {
            reader.take(value.into(), "Attribute Value")?;
            continue;
        }
        let (place, known): (usize, &[(u16, &str)]) = match kind & 0x7fff {
            ENCRYPTION => (0, &ENCRYPTIONS),
            HASH => (1, &HASHES),
            AUTHENTICATION => (2, &METHODS),
            GROUP => (3, &GROUPS),
            KEY_LENGTH => {
                bits = Some(value);
                continue;
            }
            _ => continue,
        };
        names[place] = Some(named(known, value));
    }
    if let ([Some(cipher), ..], Some(bits)) = (&mut names, bits) {
        cipher.push_str(&format!("_{bits}"));
    }
    Ok(names.into_iter().flatten().collect::<Vec<_>>().join(", "))
}
