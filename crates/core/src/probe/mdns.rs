//! `mdns`: what a machine announces to its neighbours by multicast DNS.
//!
//! Source: RFC 6762 sections 5.4 (answers to the asker alone), 5.5 (queries to one machine) and 18 (messages); RFC 6763
//! section 9 (the list of services).
//! Leaves out on purpose: asking the whole network, and looking each service up.

use std::net::IpAddr;

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::{DecodeError, Problem, Reader, name};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "mdns",
    aliases: &["bonjour", "avahi", "zeroconf"],
    title: "multicast DNS: the machine's name, the services that it announces",
    doc: DOC,
    via: &[Via::Udp],
    homes: &[Home::new(Via::Udp, 5353, "mdns")],
    settings: &[],
    start,
};

const DOC: &str = "\
Asks one machine, by its address, for the services that it announces to its neighbours (DNS-SD) and for its name in
.local. Machines answer this to their own network alone, if they answer a question to their address at all; silence
from elsewhere says nothing.

Fields: name; services, such as _ipp._tcp.local.
";

const PTR: u16 = 12;
const IN: u16 = 1;
/// The top bit of a class: answer the asker alone (question), or: this is all there is (record).
const TOP_BIT: u16 = 0x8000;
const SERVICES: &str = "_services._dns-sd._udp.local";
/// The most services that are kept.
const MOST_SERVICES: usize = 500;

struct Mdns {
    /// The name of the address, which the machine's own name stands behind.
    reverse: String,
    name: Option<String>,
    services: Vec<String>,
    is_answered: bool,
}

fn start(request: &Request) -> Box<dyn Session> {
    let reverse = match request.address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let digits =
                address.octets().into_iter().rev().map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4));
            format!("{}ip6.arpa", digits.collect::<String>())
        }
    };
    Box::new(Mdns { reverse, name: None, services: Vec::new(), is_answered: false })
}

impl Mdns {
    fn read(&mut self, data: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(data);
        reader.u16_be("ID")?;
        let flags = reader.u16_be("QR to RCODE")?;
        if flags & 0x8000 == 0 {
            return Err(Reader::error_at(2, "QR", Problem::Value(flags.into())));
        }
        let (questions, answers) = (reader.u16_be("QDCOUNT")?, reader.u16_be("ANCOUNT")?);
        reader.take(4, "NSCOUNT and ARCOUNT")?;
        for _ in 0..questions {
            name::read(data, &mut reader, "QNAME")?;
            reader.take(4, "QTYPE and QCLASS")?;
        }
        self.is_answered = true;
        for _ in 0..answers {
            let owner = name::read(data, &mut reader, "NAME")?;
            let (kind, _class) = (reader.u16_be("TYPE")?, reader.u16_be("CLASS")?);
            reader.u32_be("TTL")?;
            let length = reader.u16_be("RDLENGTH")?;
            let mut rdata = reader.part(length.into(), "RDATA")?;
            if kind != PTR {
                continue;
            }
            let target = name::read(data, &mut rdata, "PTRDNAME")?;
            if owner.eq_ignore_ascii_case(SERVICES) {
                if self.services.len() < MOST_SERVICES && !self.services.contains(&target) {
                    self.services.push(target);
                }
            } else if owner.eq_ignore_ascii_case(&self.reverse) {
                self.name = self.name.take().or(Some(target));
            }
        }
        Ok(())
    }

    fn done(&self) -> Step {
        if !self.is_answered {
            return Step::failed("it did not answer");
        }
        let mut fields = Fields::new().with_some("name", self.name.as_deref());
        if !self.services.is_empty() {
            fields.push("services", Value::list(self.services.iter().map(String::as_str)));
        }
        let name = self.name.as_deref().unwrap_or("a machine");
        let services: Vec<&str> =
            self.services.iter().map(|service| service.trim_end_matches(".local")).collect();
        let summary = match services.as_slice() {
            [] => name.to_owned(),
            services => format!("{name}, announces {}", services.join(", ")),
        };
        Step::Done(Answer::new(PROTOCOL.id, summary, fields))
    }
}

impl Session for Mdns {
    fn hello(&mut self) -> Step {
        let mut message: Vec<u8> = [0, 0, 2, 0, 0, 0].map(u16::to_be_bytes).concat();
        for asked in [SERVICES, &self.reverse] {
            if !name::write(asked, &mut message) {
                return Step::failed("its address has no name to ask for");
            }
            message.extend([PTR, IN | TOP_BIT].map(u16::to_be_bytes).concat());
        }
        Step::Send(message)
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => {
                // What is no response is somebody else's. The two answers may come apart.
                let _ = self.read(data);
                if self.name.is_some() && !self.services.is_empty() { self.done() } else { Step::More }
            }
            Event::Closed { .. } | Event::Silence { .. } => self.done(),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    // avahi 0.8 of Debian 12, asked for both apart; the address is the rehearsal's.
    const LIST: &[u8] =
        b"\0\0\x84\0\0\x01\0\x01\0\0\0\0\x09_services\x07_dns-sd\x04_udp\x05local\0\0\x0c\x80\x01\
        \xc0\x0c\0\x0c\0\x01\0\0\0\x0a\0\x14\x0c_workstation\x04_tcp\xc0\x23";
    const NAME: &[u8] =
        b"\0\0\x84\0\0\x01\0\x01\0\0\0\0\x011\x012\x010\x03192\x07in-addr\x04arpa\0\0\x0c\x80\x01\
        \xc0\x0c\0\x0c\0\x01\0\0\0\x0a\0\x0b\x03lab\x05local\0";

    #[test]
    fn a_machine_tells_its_name_and_its_services() {
        let asked = request(&PROTOCOL, Via::Udp);
        let answer = survives(&PROTOCOL, &asked, &[LIST, NAME]);
        assert_eq!(answer.summary, "lab.local, announces _workstation._tcp");
        let json = r#"{"name":"lab.local","services":["_workstation._tcp.local"]}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
        assert_eq!(
            play(&PROTOCOL, &asked, &[LIST]).answer.unwrap().summary,
            "a machine, announces _workstation._tcp"
        );
    }

    #[test]
    fn both_questions_stand_in_one_message() {
        let mut asked = request(&PROTOCOL, Via::Udp);
        let sent = play(&PROTOCOL, &asked, &[]).sent.remove(0);
        assert_eq!(sent[4..6], [0, 2]);
        assert!(sent.ends_with(b"\x011\x012\x010\x03192\x07in-addr\x04arpa\0\0\x0c\x80\x01"));
        asked.address = "2001:db8::1".parse().unwrap();
        let sent = play(&PROTOCOL, &asked, &[]).sent.remove(0);
        assert!(sent.windows(10).any(|window| window == b"\x011\x010\x010\x010\x010"));
        assert!(sent.ends_with(b"\x018\x01b\x01d\x010\x011\x010\x010\x012\x03ip6\x04arpa\0\0\x0c\x80\x01"));
    }
}
