//! The mapper's calls over UDP: connectionless PDUs.
//!
//! Source: C706 sections 12.5 (PDUs) and 10.2 (the protocol). The call is idempotent (appendix O), so that a server needs
//! to know nothing of the client, and repeating a question does no harm. There was no server to try this with: Samba,
//! Wine and impacket take calls over streams alone. The tests put what Samba's mapper said over TCP into such PDUs.

use std::collections::BTreeMap;

use super::{EPT_LOOKUP, Heard, MAPPER};
use crate::wire::{DecodeError, Problem, Reader};

const REQUEST: u8 = 0;
const RESPONSE: u8 = 2;
const FAULT: u8 = 3;
const WORKING: u8 = 4;
const REJECT: u8 = 6;
const FACK: u8 = 9;
/// PF_LAST_FRAG, PF_FRAG, PF_NO_FACK and PF_IDEMPOTENT.
const LAST: u8 = 0x02;
const FRAG: u8 = 0x04;
const NO_FACK: u8 = 0x08;
const IDEMPOTENT: u8 = 0x20;
/// The most fragments of one answer.
const MOST_FRAGMENTS: usize = 64;

pub(super) struct Datagram {
    /// Which conversation this is; it is also what a stranger would have to guess.
    activity: [u8; 16],
    seqnum: u32,
    fragments: BTreeMap<u16, Vec<u8>>,
    last: Option<u16>,
}

impl Datagram {
    pub(super) const fn new(activity: [u8; 16]) -> Self {
        Self { activity, seqnum: 0, fragments: BTreeMap::new(), last: None }
    }

    pub(super) fn call(&mut self, input: &[u8]) -> Vec<u8> {
        self.seqnum += 1;
        self.fragments.clear();
        self.last = None;
        self.pdu(REQUEST, IDEMPOTENT, 0, input)
    }

    fn pdu(&self, kind: u8, flags: u8, fragment: u16, body: &[u8]) -> Vec<u8> {
        let [low, high] = 0_u16.to_le_bytes();
        // Version 4; integers with the low byte first, ASCII, IEEE; no object.
        let head = [4, kind, flags, 0, 0x10, 0, 0, high];
        [
            &head[..],
            &[0; 16],
            &MAPPER,
            &self.activity,
            // server_boot is not known yet; interface version 3.
            &[0; 4],
            &3_u32.to_le_bytes(),
            &self.seqnum.to_le_bytes(),
            &EPT_LOOKUP.to_le_bytes(),
            // No hints.
            &[0xff; 4],
            &(body.len() as u16).to_le_bytes(),
            &fragment.to_le_bytes(),
            &[0, low],
            body,
        ]
        .concat()
    }

    pub(super) fn hear(&mut self, data: &[u8]) -> Result<Heard, DecodeError> {
        let mut reader = Reader::new(data);
        let version = reader.u8("rpc_vers")?;
        let (kind, flags) = (reader.u8("ptype")?, reader.u8("flags1")?);
        reader.u8("flags2")?;
        let [order, _, _] = reader.array("drep")?;
        if version != 4 || order >> 4 != 1 {
            return Err(Reader::error_at(0, "rpc_vers or drep", Problem::Value(version.into())));
        }
        reader.take(33, "serial_hi to if_id")?;
        let activity: [u8; 16] = reader.array("act_id")?;
        reader.take(8, "server_boot and if_vers")?;
        let seqnum = reader.u32_le("seqnum")?;
        reader.take(6, "opnum to ahint")?;
        let (length, fragment) = (reader.u16_le("len")?, reader.u16_le("fragnum")?);
        reader.take(2, "auth_proto and serial_lo")?;
        let mut body = reader.part(length.into(), "body")?;
        if activity != self.activity || seqnum != self.seqnum {
            return Ok(Heard::Nothing);
        }
        match kind {
            RESPONSE if flags & FRAG == 0 => Ok(Heard::Output(body.rest().to_vec())),
            RESPONSE => Ok(self.fragment(flags, fragment, body.rest())),
            FAULT | REJECT => {
                Ok(Heard::Refused(format!("it refuses the call (status {:#010x})", body.u32_le("status")?)))
            }
            WORKING => Ok(Heard::Nothing),
            _ => Ok(Heard::Nothing),
        }
    }

    fn fragment(&mut self, flags: u8, number: u16, bytes: &[u8]) -> Heard {
        if self.fragments.len() < MOST_FRAGMENTS {
            self.fragments.insert(number, bytes.to_vec());
        }
        if flags & LAST != 0 {
            self.last = Some(number);
        }
        let is_whole =
            self.last.is_some_and(|last| (0..=last).all(|number| self.fragments.contains_key(&number)));
        if is_whole {
            return Heard::Output(std::mem::take(&mut self.fragments).into_values().flatten().collect());
        }
        match flags & NO_FACK {
            0 => Heard::Reply(self.pdu(FACK, 0, number, &[])),
            _ => Heard::Nothing,
        }
    }
}
