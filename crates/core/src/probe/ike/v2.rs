//! Version 2: IKE_SA_INIT.
//!
//! Source: RFC 7296 sections 3.3 (proposals), 3.4 (key exchange), 3.10 (notify); IANA's IKEv2 parameters.

use super::{GROUPS, Payload, message, named};
use crate::answer::{Fields, Value};
use crate::wire::{DecodeError, Reader};

const SECURITY_ASSOCIATION: u8 = 33;
const KEY_EXCHANGE: u8 = 34;
const NONCE: u8 = 40;
const NOTIFY: u8 = 41;
const VENDOR_ID: u8 = 43;
const IKE_SA_INIT: u8 = 34;
const VERSION: u8 = 0x20;
const INITIATOR: u8 = 0x08;
/// The flag of answers.
pub(super) const RESPONSE: u8 = 0x20;
/// Transform types.
const ENCR: u8 = 1;
const PRF: u8 = 2;
const INTEG: u8 = 3;
const D_H: u8 = 4;
const MODP_2048: u16 = 14;
/// Notify messages below this one are errors.
const FIRST_STATUS: u16 = 16384;

const ENCRYPTIONS: [(u16, &str); 8] = [
    (2, "DES"),
    (3, "3DES"),
    (12, "AES_CBC"),
    (13, "AES_CTR"),
    (18, "AES_GCM_8"),
    (19, "AES_GCM_12"),
    (20, "AES_GCM_16"),
    (28, "CHACHA20_POLY1305"),
];
const PRFS: [(u16, &str); 6] = [
    (1, "PRF_HMAC_MD5"),
    (2, "PRF_HMAC_SHA1"),
    (4, "PRF_AES128_XCBC"),
    (5, "PRF_HMAC_SHA2_256"),
    (6, "PRF_HMAC_SHA2_384"),
    (7, "PRF_HMAC_SHA2_512"),
];
const INTEGRITIES: [(u16, &str); 6] = [
    (1, "HMAC_MD5_96"),
    (2, "HMAC_SHA1_96"),
    (5, "AES_XCBC_96"),
    (12, "HMAC_SHA2_256_128"),
    (13, "HMAC_SHA2_384_192"),
    (14, "HMAC_SHA2_512_256"),
];
const NOTIFICATIONS: [(u16, &str); 17] = [
    (1, "UNSUPPORTED_CRITICAL_PAYLOAD"),
    (4, "INVALID_IKE_SPI"),
    (5, "INVALID_MAJOR_VERSION"),
    (7, "INVALID_SYNTAX"),
    (14, "NO_PROPOSAL_CHOSEN"),
    (17, "INVALID_KE_PAYLOAD"),
    (24, "AUTHENTICATION_FAILED"),
    (16388, "NAT_DETECTION_SOURCE_IP"),
    (16389, "NAT_DETECTION_DESTINATION_IP"),
    (16390, "COOKIE"),
    (16404, "MULTIPLE_AUTH_SUPPORTED"),
    (16406, "REDIRECT_SUPPORTED"),
    (16418, "CHILDLESS_IKEV2_SUPPORTED"),
    (16430, "IKEV2_FRAGMENTATION_SUPPORTED"),
    (16431, "SIGNATURE_HASH_ALGORITHMS"),
    (16435, "USE_PPK"),
    (16438, "INTERMEDIATE_EXCHANGE_SUPPORTED"),
];

/// The wish for an association: two proposals, with separate integrity protection and without.
pub(super) fn first_message(spi: &[u8; 8], public: &[u8; 256], nonce: &[u8; 32]) -> Vec<u8> {
    let groups = [14, 2, 5, 15, 16, 19, 20, 31].map(|group| (D_H, group, None));
    let prfs = [5, 6, 7, 2].map(|prf| (PRF, prf, None));
    let separate = [(ENCR, 12, Some(256)), (ENCR, 12, Some(128)), (ENCR, 3, None)];
    let integrities = [12, 13, 14, 2].map(|integrity| (INTEG, integrity, None));
    let combined = [(ENCR, 20, Some(256)), (ENCR, 20, Some(128))];
    let first = [&separate[..], &prfs, &integrities, &groups].concat();
    let second = [&combined[..], &prfs, &groups].concat();
    let proposals = [proposal(1, false, &first), proposal(2, true, &second)].concat();
    let key = [&MODP_2048.to_be_bytes()[..], &[0, 0], public].concat();
    let payloads = [(SECURITY_ASSOCIATION, proposals), (KEY_EXCHANGE, key), (NONCE, nonce.to_vec())];
    message(spi, VERSION, IKE_SA_INIT, INITIATOR, &payloads)
}

fn proposal(number: u8, is_last: bool, transforms: &[(u8, u16, Option<u16>)]) -> Vec<u8> {
    let count = transforms.len();
    let body: Vec<u8> = transforms
        .iter()
        .enumerate()
        .flat_map(|(index, &(kind, id, bits))| {
            // Attribute 14, in the short form: the key's length.
            let attribute = bits.map_or_else(Vec::new, |bits| [0x800e, bits].map(u16::to_be_bytes).concat());
            let more = if index + 1 < count { 3 } else { 0 };
            let length = ((8 + attribute.len()) as u16).to_be_bytes();
            [&[more, 0][..], &length, &[kind, 0], &id.to_be_bytes(), &attribute].concat()
        })
        .collect();
    let length = ((8 + body.len()) as u16).to_be_bytes();
    [&[if is_last { 0 } else { 2 }, 0][..], &length, &[number, 1, 0, count as u8], &body].concat()
}

/// What an answer says.
pub(super) fn fields(exchange: u8, payloads: &[Payload<'_>]) -> Result<Fields, DecodeError> {
    let name = if exchange == IKE_SA_INIT { "IKE_SA_INIT".to_owned() } else { exchange.to_string() };
    let mut fields = Fields::new().with("exchange_type", name);
    let (mut beside, mut vendors) = (Vec::new(), Vec::new());
    for &(kind, mut content) in payloads {
        match kind {
            SECURITY_ASSOCIATION => fields.push("security_association", chosen(content)?),
            NOTIFY => {
                let (_protocol, size) = (content.u8("Protocol ID")?, content.u8("SPI Size")?);
                let number = content.u16_be("Notify Message Type")?;
                content.take(size.into(), "SPI")?;
                let name = named(&NOTIFICATIONS, number);
                if number >= FIRST_STATUS {
                    beside.push(name);
                    continue;
                }
                // It would agree with a key of this group.
                if number == 17 {
                    fields.push("wanted_group", named(&GROUPS, content.u16_be("D-H Group Num")?));
                }
                fields.push("notify", name);
            }
            VENDOR_ID => vendors.push(Value::hex(content.rest())),
            _ => {}
        }
    }
    Ok(fields
        .with_some("notifications", (!beside.is_empty()).then(|| Value::list(beside)))
        .with_some("vendor_ids", (!vendors.is_empty()).then(|| Value::list(vendors))))
}

/// The transforms of the one proposal that an answer has.
fn chosen(mut reader: Reader<'_>) -> Result<String, DecodeError> {
    reader.take(6, "proposal")?;
    let (size, count) = (reader.u8("SPI Size")?, reader.u8("Num Transforms")?);
    reader.take(size.into(), "SPI")?;
    let mut names = Vec::new();
    for _ in 0..count {
        reader.take(2, "Last Substruc")?;
        let length = usize::from(reader.u16_be("Transform Length")?);
        let mut transform = reader.part(length.saturating_sub(4), "transform")?;
        let kind = transform.u8("Transform Type")?;
        transform.u8("reserved")?;
        let id = transform.u16_be("Transform ID")?;
        let known: &[(u16, &str)] = match kind {
            ENCR => &ENCRYPTIONS,
            PRF => &PRFS,
            INTEG => &INTEGRITIES,
            D_H => &GROUPS,
            _ => &[],
        };
        let mut name = named(known, id);
        if !transform.is_empty() && transform.u16_be("Attribute Type")? == 0x800e {
            name.push_str(&format!("_{}", transform.u16_be("Key Length")?));
        }
        names.push(name);
    }
    Ok(names.join(", "))
}
