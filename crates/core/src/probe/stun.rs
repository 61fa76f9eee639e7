//! `stun`: under which address a server sees us, and what it is.
//!
//! Source: RFC 8489 sections 5, 6 and 14 (messages and attributes), 6.2.2 (over TCP), RFC 5780 (OTHER-ADDRESS).
//! Leaves out on purpose: TURN's allocations, which need a password.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "stun",
    aliases: &["turn"],
    title: "STUN: the address under which the server sees us, its software",
    doc: DOC,
    via: &[Via::Udp, Via::Tcp, Via::Tls],
    homes: &[
        Home::new(Via::Udp, 3478, "stun"),
        Home::new(Via::Tcp, 3478, "stun"),
        Home::new(Via::Tls, 5349, "stuns"),
        Home::new(Via::Udp, 3478, "turn"),
        Home::new(Via::Tcp, 3478, "turn"),
        Home::new(Via::Tls, 5349, "turns"),
    ],
    settings: &[],
    start,
};

const DOC: &str = "\
Asks a server for telephony and video meetings under which address it sees us (a binding request): that is the
address that an address translation on the way gave this machine. TURN servers answer it too.

Fields: mapped_address; software, what the server calls itself; other_address, where it has a second one;
error_code and reason, where it refuses.
";

const COOKIE: u32 = 0x2112_a442;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

struct Stun {
    via: Via,
    transaction: [u8; 12],
}

fn start(request: &Request) -> Box<dyn Session> {
    Box::new(Stun { via: request.via, transaction: request.random("transaction") })
}

impl Stun {
    fn read(&self, data: &[u8]) -> Result<Step, DecodeError> {
        let mut reader = Reader::new(data);
        let kind = reader.u16_be("message type")?;
        if ![BINDING_SUCCESS, BINDING_ERROR].contains(&kind) {
            return Err(Reader::error_at(0, "message type", Problem::Value(kind.into())));
        }
        let length = reader.u16_be("message length")?;
        let cookie = reader.u32_be("magic cookie")?;
        if cookie != COOKIE || reader.take(12, "transaction ID")? != self.transaction {
            return Err(Reader::error_at(4, "magic cookie", Problem::Value(cookie.into())));
        }
        let mut attributes = reader.part(length.into(), "attributes")?;
        let (mut mapped, mut fields) = (None, Fields::new());
        while !attributes.is_empty() {
            let (kind, length) =
                (attributes.u16_be("attribute type")?, attributes.u16_be("attribute length")?);
            let mut value = attributes.part(length.into(), "attribute value")?;
            attributes.skip_padding((4 - usize::from(length) % 4) % 4);
            match kind {
                // XOR-MAPPED-ADDRESS goes before MAPPED-ADDRESS, which some devices rewrite on the way.
                0x0020 => mapped = Some(self.address(&mut value, true)?),
                0x0001 => mapped = mapped.or(Some(self.address(&mut value, false)?)),
                0x802c => fields.push("other_address", self.address(&mut value, false)?.to_string()),
                0x8022 => fields.push("software", value.rest()),
                0x0009 => {
                    value.u16_be("reserved")?;
                    let code = u16::from(value.u8("class")? & 7) * 100 + u16::from(value.u8("number")?);
                    fields.push("error_code", code);
                    fields.push("reason", value.rest());
                }
                _ => {}
            }
        }
        let software = fields.text("software").unwrap_or("a STUN server").to_owned();
        let summary = match (mapped, fields.value("error_code")) {
            (Some(mapped), _) => format!("{software}, sees us as {mapped}"),
            (None, Some(code)) => format!("{software}, refuses with {code}"),
            (None, None) => software,
        };
        let mut told = Fields::new().with_some("mapped_address", mapped.map(|mapped| mapped.to_string()));
        for name in ["software", "other_address", "error_code", "reason"] {
            if let Some(value) = fields.value(name) {
                told.push(name, value.clone());
            }
        }
        Ok(Step::Done(Answer::new(PROTOCOL.id, summary, told)))
    }

    fn address(&self, value: &mut Reader<'_>, is_mixed: bool) -> Result<SocketAddr, DecodeError> {
        value.u8("reserved")?;
        let start = value.offset();
        let family = value.u8("Family")?;
        let cookie = COOKIE.to_be_bytes();
        let mask: Vec<u8> = [&cookie[..], &self.transaction].concat();
        let mask = |bytes: &mut [u8]| {
            if is_mixed {
                bytes.iter_mut().zip(&mask).for_each(|(byte, mask)| *byte ^= mask);
            }
        };
        let mut port = value.array::<2>("Port")?;
        mask(&mut port);
        let address = match family {
            1 => {
                let mut address = value.array::<4>("Address")?;
                mask(&mut address);
                IpAddr::V4(Ipv4Addr::from(address))
            }
            2 => {
                let mut address = value.array::<16>("Address")?;
                mask(&mut address);
                IpAddr::V6(Ipv6Addr::from(address))
            }
            other => return Err(Reader::error_at(start, "Family", Problem::Value(other.into()))),
        };
        Ok(SocketAddr::new(address, u16::from_be_bytes(port)))
    }
}

impl Session for Stun {
    fn hello(&mut self) -> Step {
        let head = [&BINDING_REQUEST.to_be_bytes()[..], &[0, 0], &COOKIE.to_be_bytes()].concat();
        Step::Send([&head[..], &self.transaction].concat())
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            // A datagram that is none of ours may come from anybody.
            Event::Bytes { data, .. } if self.via == Via::Udp => self.read(data).unwrap_or(Step::More),
            Event::Bytes { data, .. } => Step::of_line(self.read(data), "STUN", data),
            Event::Closed { .. } | Event::Silence { .. } => Step::failed("it did not answer"),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// Coturn 4.6.1 of Debian 12, with the transaction that a rehearsal takes.
    fn reply() -> Vec<u8> {
        let transaction = request(&PROTOCOL, Via::Udp).random::<12>("transaction");
        let attributes = b"\0\x20\0\x08\0\x01\x9d\xf9\x5e\x12\xa4\x43\0\x01\0\x08\0\x01\xbc\xeb\x7f\0\0\x01\
            \x80\x2b\0\x08\0\x01\x0d\x96\x7f\0\0\x01\x80\x22\0\x14Coturn-4.6.1 'Gorst'";
        [&b"\x01\x01\0\x3c\x21\x12\xa4\x42"[..], &transaction, attributes].concat()
    }

    #[test]
    fn our_address_as_the_server_sees_it_is_shown() {
        for via in [Via::Udp, Via::Tcp] {
            let answer = survives(&PROTOCOL, &request(&PROTOCOL, via), &[&reply()]);
            assert_eq!(answer.summary, "Coturn-4.6.1 'Gorst', sees us as 127.0.0.1:48363");
            assert_eq!(answer.fields.text("mapped_address"), Some("127.0.0.1:48363"));
        }
    }

    #[test]
    fn a_refusal_is_an_answer_and_a_strange_datagram_is_none() {
        let transaction = request(&PROTOCOL, Via::Udp).random::<12>("transaction");
        let refused =
            [&b"\x01\x11\0\x0c\x21\x12\xa4\x42"[..], &transaction, b"\0\x09\0\x07\0\0\x04\x01who\0"].concat();
        let request = request(&PROTOCOL, Via::Udp);
        let answer = survives(&PROTOCOL, &request, &[b"\x01\x01", &refused]);
        assert_eq!(answer.summary, "a STUN server, refuses with 401");
        let mut strange = reply();
        strange[9] ^= 1;
        assert!(play(&PROTOCOL, &request, &[&strange]).answer.is_err());
    }
}
