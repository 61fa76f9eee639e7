//! The mapper's calls over TCP: connection-oriented PDUs.
//!
//! Source: C706 section 12.6; MS-RPCE section 2.2.2. Fragments of a call's output are put together.

use super::{EPT_LOOKUP, Heard, MAPPER, NDR};
use crate::wire::{DecodeError, Problem, Reader};

const REQUEST: u8 = 0;
const RESPONSE: u8 = 2;
const FAULT: u8 = 3;
const BIND: u8 = 11;
const BIND_ACK: u8 = 12;
const BIND_NAK: u8 = 13;
/// PFC_FIRST_FRAG and PFC_LAST_FRAG.
const WHOLE: u8 = 3;
const LAST: u8 = 2;
/// The longest fragment that we take, and send.
const FRAGMENT: u16 = 5840;

#[derive(Default)]
pub(super) struct Stream {
    call: u32,
}

fn pdu(kind: u8, call: u32, body: &[u8]) -> Vec<u8> {
    let length = (16 + body.len()) as u16;
    // Version 5.0; integers with the low byte first, ASCII, IEEE; no authentication.
    [&[5, 0, kind, WHOLE, 0x10, 0, 0, 0], &length.to_le_bytes()[..], &[0, 0], &call.to_le_bytes(), body]
        .concat()
}

/// The wish to speak with the endpoint mapper.
pub(super) fn bind() -> Vec<u8> {
    let size = FRAGMENT.to_le_bytes();
    let one_context = [1, 0, 0, 0, 0, 0, 1, 0];
    let body =
        [&size[..], &size, &[0; 4], &one_context, &MAPPER, &[3, 0, 0, 0], &NDR, &[2, 0, 0, 0]].concat();
    pdu(BIND, 0, &body)
}

impl Stream {
    pub(super) fn call(&mut self, input: &[u8]) -> Vec<u8> {
        self.call += 1;
        let head = [&(input.len() as u32).to_le_bytes()[..], &[0, 0], &EPT_LOOKUP.to_le_bytes()].concat();
        pdu(REQUEST, self.call, &[head, input.to_vec()].concat())
    }

    /// Everything that came since the last call; cut where more must come.
    pub(super) fn hear(&self, data: &[u8]) -> Result<Heard, DecodeError> {
        let mut reader = Reader::new(data);
        let mut output = Vec::new();
        loop {
            let start = reader.offset();
            let bad = |field, value: u64| Reader::error_at(start, field, Problem::Value(value));
            let (version, _) = (reader.u8("rpc_vers")?, reader.u8("rpc_vers_minor")?);
            if version != 5 {
                return Err(bad("rpc_vers", version.into()));
            }
            let (kind, flags) = (reader.u8("PTYPE")?, reader.u8("pfc_flags")?);
            let order: [u8; 4] = reader.array("packed_drep")?;
            if order[0] >> 4 != 1 {
                return Err(bad("packed_drep", order[0].into()));
            }
            let length = reader.u16_le("frag_length")?;
            reader.u16_le("auth_length")?;
            let call = reader.u32_le("call_id")?;
            let length = usize::from(length).checked_sub(16).ok_or(bad("frag_length", length.into()))?;
            let body = reader.part(length, "fragment")?;
            if call != self.call {
                continue;
            }
            // What is cut inside of a whole fragment will never be there.
            let part = self.part(kind, body).map_err(|error| bad(error.field, 0))?;
            match part {
                Heard::Output(bytes) => output.extend(bytes),
                other => return Ok(other),
            }
            if flags & LAST != 0 {
                return Ok(Heard::Output(output));
            }
        }
    }

    fn part(&self, kind: u8, mut body: Reader<'_>) -> Result<Heard, DecodeError> {
        Ok(match kind {
            RESPONSE => {
                body.take(8, "alloc_hint to cancel_count")?;
                Heard::Output(body.rest().to_vec())
            }
            FAULT => {
                body.take(8, "alloc_hint to cancel_count")?;
                Heard::Refused(format!("it refuses the call (status {:#010x})", body.u32_le("status")?))
            }
            BIND_ACK => {
                body.take(8, "max_xmit_frag to assoc_group_id")?;
                let length = body.u16_le("port_any_t length")?;
                body.take(length.into(), "port_any_t")?;
                body.skip_padding((length as usize + 2).next_multiple_of(4) - (length as usize + 2));
                body.take(4, "n_results")?;
                match body.u16_le("result")? {
                    0 => Heard::Bound,
                    _ => Heard::Refused("it speaks RPC, and has no endpoint mapper".to_owned()),
                }
            }
            BIND_NAK => {
                let reason = body.u16_le("provider_reject_reason")?;
                Heard::Refused(format!("it refuses to speak RPC with us (reason {reason})"))
            }
            _ => Heard::Nothing,
        })
    }
}
