//! Towers: an interface, and how it is reached, as floors one above the other.
//!
//! Source: C706 appendices I (protocol identifiers) and L (towers); MS-RPCE section 2.2.1 (Microsoft's identifiers and
//! protocol sequences).

use std::net::Ipv4Addr;

use crate::wire::{DecodeError, Problem, Reader, uuid};

/// An interface and its address.
pub(super) struct Tower {
    pub(super) uuid: String,
    /// `4.0`.
    pub(super) version: String,
    /// `ncacn_ip_tcp`; `unknown` where the floors are not known.
    pub(super) protocol_sequence: &'static str,
    /// A host's address or name; empty where the server gives none.
    pub(super) network_address: String,
    /// A port, a pipe's or a local name.
    pub(super) endpoint: String,
}

impl Tower {
    /// As Windows writes it.
    pub(super) fn binding(&self) -> String {
        format!("{}:{}[{}]", self.protocol_sequence, self.network_address, self.endpoint)
    }

    /// The port, where it is reached at one.
    pub(super) fn port(&self) -> Option<u16> {
        match self.protocol_sequence {
            "ncacn_ip_tcp" | "ncadg_ip_udp" | "ncacn_http" => self.endpoint.parse().ok(),
            _ => None,
        }
    }
}

const UUID: u8 = 0x0d;
/// Identifiers of floor 4 (of floor 3, for local calls), and the protocol sequence.
const SEQUENCES: [(u8, &str); 8] = [
    (0x07, "ncacn_ip_tcp"),
    (0x08, "ncadg_ip_udp"),
    (0x0f, "ncacn_np"),
    (0x10, "ncalrpc"),
    (0x12, "ncacn_nb_nb"),
    (0x1f, "ncacn_http"),
    (0x16, "ncacn_at_dsp"),
    (0x0c, "ncacn_spx"),
];
const IP: u8 = 0x09;
const NETBIOS: u8 = 0x11;

/// A floor: the identifier and what belongs to it; the data.
type Floor<'a> = (u8, Reader<'a>, Reader<'a>);

fn floor<'a>(reader: &mut Reader<'a>) -> Result<Floor<'a>, DecodeError> {
    let length = reader.u16_le("floor's left length")?;
    let mut left = reader.part(length.into(), "floor's left side")?;
    let id = left.u8("protocol identifier")?;
    let length = reader.u16_le("floor's right length")?;
    Ok((id, left, reader.part(length.into(), "floor's right side")?))
}

/// Reads a tower.
pub(super) fn read(mut reader: Reader<'_>) -> Result<Tower, DecodeError> {
    let count = reader.u16_le("floor count")?;
    let start = reader.offset();
    let (id, mut left, mut right) = floor(&mut reader)?;
    if id != UUID {
        return Err(Reader::error_at(start, "floor 1", Problem::Value(id.into())));
    }
    let uuid = uuid::mixed(left.array("interface UUID")?);
    let version = format!("{}.{}", left.u16_le("major version")?, right.u16_le("minor version")?);
    // Floors 2 and 3: the encoding of the data, and whether calls have connections.
    let mut tower = Tower {
        uuid,
        version,
        protocol_sequence: "unknown",
        network_address: String::new(),
        endpoint: String::new(),
    };
    for number in 2..=count {
        let (id, _, right) = floor(&mut reader)?;
        match number {
            // A few older servers put the local name's identifier one floor further up.
            ..=3 => {}
            _ if id == IP => {
                let address = right.rest();
                tower.network_address =
                    <[u8; 4]>::try_from(address).map(|a| Ipv4Addr::from(a).to_string()).unwrap_or_default();
            }
            _ if id == NETBIOS => tower.network_address = text(right),
            _ => {
                if let Some((_, sequence)) = SEQUENCES.iter().find(|(known, _)| *known == id) {
                    tower.protocol_sequence = sequence;
                }
                tower.endpoint = match (id, right.rest()) {
                    (0x07 | 0x08 | 0x1f, &[high, low]) => u16::from_be_bytes([high, low]).to_string(),
                    _ => text(right),
                };
            }
        }
    }
    Ok(tower)
}

fn text(reader: Reader<'_>) -> String {
    String::from_utf8_lossy(reader.rest()).trim_end_matches('\0').to_owned()
}
