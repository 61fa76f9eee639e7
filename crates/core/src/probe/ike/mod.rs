//! `ike`: a key exchange daemon (IPsec, VPN): which versions it speaks, and what it chooses.
//!
//! Source: RFC 7296 sections 1.2, 3 (version 2); RFC 2408 section 3, RFC 2409 section 5 and appendix A (version 1); IANA's
//! registries of both (transforms, groups, notify messages). Names of fields are the RFCs'.
//! Leaves out on purpose: everything after the first answer: no keys are made, and nobody is authenticated. Aggressive
//! mode, and IKE inside of UDP 4500, are not tried.

mod v1;
mod v2;

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "ike",
    aliases: &["isakmp", "ipsec"],
    title: "a key exchange daemon (VPN): its versions, and what it chooses",
    doc: DOC,
    via: &[Via::Udp],
    homes: &[Home::new(Via::Udp, 500, "isakmp")],
    settings: &[],
    start,
};

const DOC: &str = "\
Sends the first message of a key exchange, in version 2 and then in version 1, with a broad choice
of methods, and shows what the daemon chooses or why it refuses. NO_PROPOSAL_CHOSEN proves a daemon
that has no connection for this computer, or wants other methods. Many gateways answer only to the
peers that they know: silence is no proof that there is none. Nothing is left behind but an exchange
that was begun and is forgotten after some seconds.

Fields: ikev2 and ikev1, each where it was answered, with exchange_type, security_association (the
chosen methods), or notify (why not), and vendor_ids; of version 2 also notifications, what the
daemon can do beside.
";

/// A payload that a message carries: its type and content.
type Payload<'a> = (u8, Reader<'a>);

const HEADER: usize = 28;
/// The most payloads of a message.
const MOST_PAYLOADS: usize = 64;

struct Ike {
    /// Our half of the exchange's name, other ones for each version: also what a stranger would have to guess.
    spi: [[u8; 8]; 2],
    nonce: [u8; 32],
    /// What stands for a public key: any number will do, as long as nobody computes with it.
    public: [u8; 256],
    is_second: bool,
    fields: Fields,
    told: Vec<String>,
}

fn start(request: &Request) -> Box<dyn Session> {
    Box::new(Ike {
        spi: [request.random("IKE SPI of version 2"), request.random("Initiator Cookie of version 1")],
        nonce: request.random("Nonce Data"),
        public: request.random("Key Exchange Data"),
        is_second: false,
        fields: Fields::new(),
        told: Vec::new(),
    })
}

impl Session for Ike {
    fn hello(&mut self) -> Step {
        Step::Send(v2::first_message(&self.spi[0], &self.public, &self.nonce))
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            // Whatever cannot be read may come from anybody.
            Event::Bytes { data, .. } => match self.read(data) {
                Ok(true) => self.next(),
                Ok(false) | Err(_) => Step::More,
            },
            Event::Closed { .. } | Event::Silence { .. } => self.next(),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

impl Ike {
    fn next(&mut self) -> Step {
        if !self.is_second {
            self.is_second = true;
            return Step::Send(v1::first_message(&self.spi[1]));
        }
        if self.told.is_empty() {
            return Step::failed("it did not answer: no daemon, or one that answers to known peers alone");
        }
        Step::Done(Answer::new(PROTOCOL.id, self.told.join("; "), std::mem::take(&mut self.fields)))
    }

    /// True where it is the answer to the open question.
    fn read(&mut self, data: &[u8]) -> Result<bool, DecodeError> {
        let mut reader = Reader::new(data);
        let spi: [u8; 8] = reader.array("Initiator's SPI")?;
        let responder: [u8; 8] = reader.array("Responder's SPI")?;
        let first = reader.u8("Next Payload")?;
        let (version, exchange) = (reader.u8("Version")?, reader.u8("Exchange Type")?);
        let flags = reader.u8("Flags")?;
        reader.take(4, "Message ID")?;
        let length = reader.u32_be("Length")? as usize;
        let rest = length.checked_sub(HEADER);
        let body = reader
            .part(rest.ok_or(Reader::error_at(24, "Length", Problem::Value(length as u64)))?, "payloads")?;
        let which = usize::from(self.is_second);
        // Whoever says everything back has answered nothing.
        let is_echo = match version >> 4 {
            2 => flags & v2::RESPONSE == 0,
            _ => responder == [0; 8] && exchange == v1::MAIN_MODE,
        };
        if spi != self.spi[which] || is_echo {
            return Ok(false);
        }
        // A daemon may answer version 2 with its own highest version, and nothing else.
        let (name, fields, line) = match version >> 4 {
            2 => ("ikev2", v2::fields(exchange, &payloads(first, body)?)?, "IKEv2"),
            1 => ("ikev1", v1::fields(exchange, &payloads(first, body)?)?, "IKEv1"),
            _ => return Ok(false),
        };
        let chosen = fields.text("security_association").or(fields.text("notify")).unwrap_or("answered");
        self.told.push(format!("{line}: {chosen}"));
        self.fields.push(name, fields);
        Ok(true)
    }
}

/// The payloads of a message, each with the type of the next one before its length; both versions have them alike.
fn payloads<'a>(mut kind: u8, mut body: Reader<'a>) -> Result<Vec<Payload<'a>>, DecodeError> {
    let mut found = Vec::new();
    while kind != 0 && !body.is_empty() && found.len() < MOST_PAYLOADS {
        let next = body.u8("Next Payload")?;
        body.u8("Critical bit")?;
        let start = body.offset();
        let length = body.u16_be("Payload Length")?;
        let content = usize::from(length).checked_sub(4);
        let content =
            content.ok_or(Reader::error_at(start, "Payload Length", Problem::Value(length.into())))?;
        found.push((kind, body.part(content, "payload")?));
        kind = next;
    }
    Ok(found)
}

/// Payloads one after the other, each with its header; the first one's type is returned beside them.
fn chained(payloads: &[(u8, Vec<u8>)]) -> (u8, Vec<u8>) {
    let kinds = payloads.iter().skip(1).map(|(kind, _)| *kind).chain([0]);
    let bytes = payloads.iter().zip(kinds).flat_map(|((_, content), next)| {
        [&[next, 0][..], &((content.len() + 4) as u16).to_be_bytes(), content].concat()
    });
    (payloads.first().map_or(0, |(kind, _)| *kind), bytes.collect())
}

/// A message: its header and its payloads.
fn message(spi: &[u8; 8], version: u8, exchange: u8, flags: u8, payloads: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let (first, body) = chained(payloads);
    let length = ((HEADER + body.len()) as u32).to_be_bytes();
    [&spi[..], &[0; 8], &[first, version, exchange, flags], &[0; 4], &length, &body].concat()
}

/// The name that a registry gives a number; the number itself where it has none.
fn named(known: &[(u16, &str)], number: u16) -> String {
    let found = known.iter().find(|(code, _)| *code == number);
    found.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

/// Diffie-Hellman groups, the same numbers in both versions.
const GROUPS: [(u16, &str); 13] = [
    (1, "MODP_768"),
    (2, "MODP_1024"),
    (5, "MODP_1536"),
    (14, "MODP_2048"),
    (15, "MODP_3072"),
    (16, "MODP_4096"),
    (17, "MODP_6144"),
    (18, "MODP_8192"),
    (19, "ECP_256"),
    (20, "ECP_384"),
    (21, "ECP_521"),
    (31, "CURVE_25519"),
    (32, "CURVE_448"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Value;
    use crate::rehearsal::{play, request, survives};

    fn recording(name: &str) -> &'static [u8] {
        match name {
            "v2" => include_bytes!("../../../tests/recordings/probe/ike-v2-refused.bin"),
            "v1" => include_bytes!("../../../tests/recordings/probe/ike-v1-refused.bin"),
            "v2 agreed" => include_bytes!("../../../tests/recordings/probe/ike-v2-agreed.bin"),
            _ => include_bytes!("../../../tests/recordings/probe/ike-v1-agreed.bin"),
        }
    }

    #[test]
    fn a_daemon_without_a_connection_for_us_says_so_in_both_versions() {
        let request = request(&PROTOCOL, Via::Udp);
        let answer = survives(&PROTOCOL, &request, &[recording("v2"), recording("v1")]);
        assert_eq!(answer.summary, "IKEv2: NO_PROPOSAL_CHOSEN; IKEv1: NO_PROPOSAL_CHOSEN");
        let json = r#"{"ikev2":{"exchange_type":"IKE_SA_INIT","notify":"NO_PROPOSAL_CHOSEN"},"ikev1":{"exchange_type":"Informational","notify":"NO_PROPOSAL_CHOSEN"}}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
    }

    #[test]
    fn what_a_daemon_chooses_is_shown() {
        let request = request(&PROTOCOL, Via::Udp);
        let answer = survives(&PROTOCOL, &request, &[recording("v2 agreed"), recording("v1 agreed")]);
        let chosen = "IKEv2: AES_CBC_256, HMAC_SHA2_256_128, PRF_HMAC_SHA2_256, MODP_2048; \
                      IKEv1: AES_CBC_256, SHA2_256, pre-shared key, MODP_2048";
        assert_eq!(answer.summary, chosen);
        let Some(Value::Fields(v2)) = answer.fields.value("ikev2") else { panic!("{answer:?}") };
        assert!(
            v2.value("notifications")
                .is_some_and(|list| list.to_string().contains("MULTIPLE_AUTH_SUPPORTED"))
        );
        let Some(Value::Fields(v1)) = answer.fields.value("ikev1") else { panic!("{answer:?}") };
        assert!(v1.value("vendor_ids").is_some_and(|list| list.to_string().contains("Dead Peer Detection")));
    }

    #[test]
    fn who_says_everything_back_is_no_daemon() {
        let request = request(&PROTOCOL, Via::Udp);
        let asked = play(&PROTOCOL, &request, &[]).sent;
        let asked: Vec<&[u8]> = asked.iter().map(Vec::as_slice).collect();
        let echoed = play(&PROTOCOL, &request, &asked);
        assert!(echoed.answer.unwrap_err().starts_with("it did not answer"));
    }

    #[test]
    fn one_version_is_enough_and_strangers_are_passed_over() {
        let request = request(&PROTOCOL, Via::Udp);
        let answer = play(&PROTOCOL, &request, &[recording("v2")]).answer.unwrap();
        assert_eq!(answer.summary, "IKEv2: NO_PROPOSAL_CHOSEN");
        let silent = play(&PROTOCOL, &request, &[recording("v1")]);
        assert!(silent.answer.unwrap_err().starts_with("it did not answer"));
        assert!(silent.sent.iter().all(|sent| sent.len() < 1200), "it fits every path");
    }
}
