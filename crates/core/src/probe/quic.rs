//! `quic`: whether a server speaks QUIC, and which versions.
//!
//! Source: RFC 9000 section 6 and 17.2.1 (version negotiation), section 14.1 (padding to 1,200 bytes), RFC 8999 (what
//! all versions have in common), RFC 9369 (version 2).
//! Leaves out on purpose: a handshake, and so certificates and HTTP/3: it needs keys from the first byte.

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "quic",
    aliases: &["http3", "h3"],
    title: "QUIC, on which HTTP/3 runs: the versions that the server speaks",
    doc: DOC,
    via: &[Via::Udp],
    homes: &[
        Home::new(Via::Udp, 443, "https"),
        Home::new(Via::Udp, 853, "domain-s"),
        Home::new(Via::Udp, 784, ""),
    ],
    settings: &[],
    start,
};

const DOC: &str = "\
Offers a version of QUIC that nobody speaks; a server has to answer with the versions that it does speak. Nothing is
agreed on and no connection is made, so that a certificate is not seen.

Some servers that stand behind a load balancer, and some that want a client to prove its address first, say nothing
to that; their port stays undecided.

Fields: supported_versions.
";

/// RFC 9000 section 15: versions of the form 0x?a?a?a?a are reserved to make servers negotiate.
const RESERVED: u32 = 0x1a2a_3a4a;
/// Section 14.1: smaller datagrams are passed over.
const LEAST_DATAGRAM: usize = 1200;

struct Quic {
    destination: [u8; 8],
    source: [u8; 8],
}

fn start(request: &Request) -> Box<dyn Session> {
    Box::new(Quic { destination: request.random("destination"), source: request.random("source") })
}

impl Quic {
    /// The versions; nothing where the datagram is not for us.
    fn read(&self, data: &[u8]) -> Result<Option<Vec<String>>, DecodeError> {
        let mut reader = Reader::new(data);
        let form = reader.u8("Header Form")?;
        if form & 0x80 == 0 || reader.u32_be("Version")? != 0 {
            return Ok(None);
        }
        let length = reader.u8("Destination Connection ID Length")?;
        let destination = reader.take(length.into(), "Destination Connection ID")?;
        let length = reader.u8("Source Connection ID Length")?;
        let source = reader.take(length.into(), "Source Connection ID")?;
        // The ids come back the other way round: who does not know them is somebody else.
        if destination != self.source || source != self.destination {
            return Ok(None);
        }
        if reader.is_empty() {
            return Err(Reader::error_at(reader.offset(), "Supported Version", Problem::Truncated));
        }
        let mut versions = Vec::new();
        while !reader.is_empty() {
            let version = reader.u32_be("Supported Version")?;
            // Reserved ones are there to keep readers honest.
            if version & 0x0f0f_0f0f != 0x0a0a_0a0a {
                versions.push(match version {
                    1 => "1".to_owned(),
                    0x6b33_43cf => "2".to_owned(),
                    draft if draft >> 8 == 0xff_0000 => format!("draft-{}", draft & 0xff),
                    google if google >> 24 == u32::from(b'Q') => {
                        String::from_utf8_lossy(&google.to_be_bytes()).into_owned()
                    }
                    other => format!("{other:#010x}"),
                });
            }
        }
        Ok(Some(versions))
    }
}

impl Session for Quic {
    fn hello(&mut self) -> Step {
        let ids = [&[8][..], &self.destination, &[8], &self.source].concat();
        let mut datagram = [&[0xc0][..], &RESERVED.to_be_bytes(), &ids].concat();
        datagram.resize(LEAST_DATAGRAM, 0);
        Step::Send(datagram)
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => Step::of_datagram(self.read(data).map(|versions| match versions {
                Some(versions) => {
                    let summary = format!("QUIC, version {}", versions.join(", "));
                    let fields = Fields::new().with("supported_versions", Value::list(versions));
                    Step::Done(Answer::new(PROTOCOL.id, summary, fields))
                }
                None => Step::More,
            })),
            Event::Closed { .. } | Event::Silence { .. } => Step::failed("it did not answer"),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// ngtcp2's server of Debian 12, with the ids that a rehearsal takes.
    fn reply() -> Vec<u8> {
        let request = request(&PROTOCOL, Via::Udp);
        let (source, destination) = (request.random::<8>("source"), request.random::<8>("destination"));
        [&[0xec, 0, 0, 0, 0, 8][..], &source, &[8], &destination, b"Zz\x9a\xda\0\0\0\x01"].concat()
    }

    #[test]
    fn the_versions_of_a_server_are_shown_without_the_reserved_ones() {
        let request = request(&PROTOCOL, Via::Udp);
        let more = [&reply()[..], b"\x6b\x33\x43\xcf\xff\0\0\x1dQ050"].concat();
        assert_eq!(survives(&PROTOCOL, &request, &[&reply()]).summary, "QUIC, version 1");
        assert_eq!(survives(&PROTOCOL, &request, &[&more]).summary, "QUIC, version 1, 2, draft-29, Q050");
        assert_eq!(play(&PROTOCOL, &request, &[]).sent[0].len(), 1200);
    }

    #[test]
    fn what_does_not_know_our_ids_is_passed_over() {
        let mut wrong = reply();
        wrong[7] ^= 1;
        let why = play(&PROTOCOL, &request(&PROTOCOL, Via::Udp), &[&wrong, b"\x40"]).answer.unwrap_err();
        assert_eq!(why, "it did not answer");
    }
}
