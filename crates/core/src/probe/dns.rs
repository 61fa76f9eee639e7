//! `dns`: whether a name server answers, and as what.
//!
//! Source: RFC 1035 section 4 (messages; over TCP with a length before each), RFC 2929 (codes), RFC 4892 section 2
//! (`version.bind` in the class CH). Names of fields are RFC 1035's.
//! Leaves out on purpose: EDNS, DNSSEC, and following referrals: this asks a server about itself.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Event, Home, Protocol, Request, Session, Setting, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::{DecodeError, Reader, name};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "dns",
    aliases: &["domain"],
    title: "a name server: its answer, its flags, its version",
    doc: DOC,
    via: &[Via::Udp, Via::Tcp],
    homes: &[Home::new(Via::Udp, 53, "domain"), Home::new(Via::Tcp, 53, "domain")],
    settings: &[
        Setting { name: "name", default: "", title: "the name to ask for; without it, the root's servers" },
        Setting {
            name: "type",
            default: "A",
            title: "the type to ask for: A, AAAA, NS, SOA, MX, TXT, CNAME, PTR, SRV",
        },
    ],
    start,
};

const DOC: &str = "\
Asks a name server one question, and then for its version. Any answer proves that a name server works there, also
a negative one: NXDOMAIN, or REFUSED from a server that does not answer strangers.

Without a name to ask for it asks for the servers of the root, and tells the server not to ask others for it: that
costs it nothing and leaves the house to nobody. With --set name=www.example.com (and --set type=MX) it asks for
that, and lets the server look it up.

Fields: rcode; authoritative and recursion_available; truncated where the answer did not fit a datagram; answers,
each with name, type, ttl and data; version, where the server tells it (version.bind).
";

const HEADER: usize = 12;
const IN: u16 = 1;
const CH: u16 = 3;
const TXT: u16 = 16;
const RECURSION_DESIRED: u16 = 0x0100;
/// The most records that are shown of an answer.
const MOST_ANSWERS: usize = 64;

const TYPES: [(&str, u16); 9] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", TXT),
    ("AAAA", 28),
    ("SRV", 33),
];
const RCODES: [&str; 11] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET",
    "NOTAUTH", "NOTZONE",
];

struct Dns {
    via: Via,
    id: u16,
    /// The question, without its id; what is wrong with it where it cannot be asked.
    question: Result<Vec<u8>, String>,
    /// The first answer, once it came: what is asked then is the version.
    first: Option<Message>,
}

struct Message {
    rcode: String,
    fields: Fields,
    /// The first text of the answers.
    text: Option<String>,
}

fn start(request: &Request) -> Box<dyn Session> {
    Box::new(Dns {
        via: request.via,
        id: u16::from_be_bytes(request.random("id")),
        question: question(&request.setting(&PROTOCOL, "name"), &request.setting(&PROTOCOL, "type")),
        first: None,
    })
}

fn question(asked: &str, kind: &str) -> Result<Vec<u8>, String> {
    let (asked, kind, flags) =
        if asked.is_empty() { (".", "NS", 0) } else { (asked, kind, RECURSION_DESIRED) };
    let code = TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(kind)).map(|(_, code)| *code);
    let code = code.ok_or_else(|| {
        format!("'{kind}' is no type to ask for; use one of {}", TYPES.map(|t| t.0).join(", "))
    })?;
    query(flags, asked, code, IN).ok_or_else(|| format!("'{asked}' is no domain name"))
}

/// A message with one question, from its flags on.
fn query(flags: u16, asked: &str, kind: u16, class: u16) -> Option<Vec<u8>> {
    let mut message: Vec<u8> = [flags, 1, 0, 0, 0].iter().flat_map(|word| word.to_be_bytes()).collect();
    let fits = name::write(asked, &mut message);
    message.extend([kind, class].iter().flat_map(|word| word.to_be_bytes()));
    fits.then_some(message)
}

impl Dns {
    fn ask(&self, question: &[u8]) -> Step {
        let message = [&self.id.to_be_bytes(), question].concat();
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        Step::Send(if self.via == Via::Udp {
            message
        } else {
            [&length.to_be_bytes()[..], &message].concat()
        })
    }

    /// What is asked after the first answer, or the end.
    fn heard(&mut self, message: Message) -> Step {
        if self.first.is_some() {
            return self.done(message.text);
        }
        self.first = Some(message);
        self.id = self.id.wrapping_add(1);
        match query(0, "version.bind", TXT, CH) {
            Some(question) => self.ask(&question),
            None => self.done(None),
        }
    }

    fn done(&mut self, version: Option<String>) -> Step {
        let Some(first) = self.first.take() else { return Step::failed("it did not answer") };
        let summary = match &version {
            Some(version) => format!("{version} ({})", first.rcode),
            None => format!("a name server ({})", first.rcode),
        };
        Step::Done(Answer::new(PROTOCOL.id, summary, first.fields.with_some("version", version)))
    }

    fn read(&mut self, data: &[u8]) -> Result<Step, DecodeError> {
        let mut reader = Reader::new(data);
        if self.via != Via::Udp {
            let length = reader.u16_be("length")?;
            reader = Reader::new(reader.take(length.into(), "message")?);
        }
        Ok(match message(reader, self.id)? {
            Some(message) => self.heard(message),
            // Not for us: late, or made up by somebody who does not know the number.
            None => Step::More,
        })
    }
}

impl Session for Dns {
    fn hello(&mut self) -> Step {
        match &self.question {
            Ok(question) => self.ask(question),
            Err(why) => Step::failed(why.as_str()),
        }
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } if self.via == Via::Udp => Step::of_datagram(self.read(data)),
            Event::Bytes { data, .. } => Step::of_stream(self.read(data)),
            // Whoever answers once and not to the second question is a name server all the same.
            Event::Closed { .. } | Event::Silence { .. } => self.done(None),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

/// An answer to the question of this id; nothing where it belongs to another one.
fn message(mut reader: Reader<'_>, expected: u16) -> Result<Option<Message>, DecodeError> {
    let whole = reader.rest();
    let (id, flags) = (reader.u16_be("ID")?, reader.u16_be("QR to RCODE")?);
    if id != expected || flags & 0x8000 == 0 {
        return Ok(None);
    }
    let questions = reader.u16_be("QDCOUNT")?;
    let answers = reader.u16_be("ANCOUNT")?;
    reader.take(HEADER - 8, "NSCOUNT and ARCOUNT")?;
    for _ in 0..questions {
        name::read(whole, &mut reader, "QNAME")?;
        reader.take(4, "QTYPE and QCLASS")?;
    }
    let rcode = RCODES
        .get(usize::from(flags & 0xf))
        .map_or_else(|| format!("RCODE {}", flags & 0xf), |r| (*r).into());
    let truncated = flags & 0x0200 != 0;
    let mut fields = Fields::new()
        .with("rcode", rcode.as_str())
        .with("authoritative", flags & 0x0400 != 0)
        .with("recursion_available", flags & 0x0080 != 0)
        .with_some("truncated", truncated.then_some(true));
    let (mut records, mut text) = (Vec::new(), None);
    for _ in 0..answers {
        let (record, said) = match record(whole, &mut reader) {
            Ok(record) => record,
            // A truncated answer may end anywhere.
            Err(_) if truncated => break,
            Err(error) => return Err(error),
        };
        text = text.or(said);
        if records.len() < MOST_ANSWERS {
            records.push(record);
        }
    }
    if !records.is_empty() {
        fields.push("answers", Value::list(records));
    }
    Ok(Some(Message { rcode, fields, text }))
}

/// A resource record, and its first text where it is one.
fn record(whole: &[u8], reader: &mut Reader<'_>) -> Result<(Fields, Option<String>), DecodeError> {
    let name = name::read(whole, reader, "NAME")?;
    let (kind, _class) = (reader.u16_be("TYPE")?, reader.u16_be("CLASS")?);
    let (ttl, length) = (reader.u32_be("TTL")?, reader.u16_be("RDLENGTH")?);
    let data = reader.part(length.into(), "RDATA")?;
    let shown = rdata(whole, kind, data)?;
    let text = (kind == TXT).then(|| shown.clone());
    let known = TYPES.iter().find(|(_, code)| *code == kind).map(|(name, _)| (*name).to_owned());
    let known = known.unwrap_or_else(|| format!("TYPE{kind}"));
    Ok((Fields::new().with("name", name).with("type", known).with("ttl", ttl).with("data", shown), text))
}

/// A record's data as zone files write it; unknown types in hexadecimal.
fn rdata(whole: &[u8], kind: u16, mut data: Reader<'_>) -> Result<String, DecodeError> {
    let kind = TYPES.iter().find(|(_, code)| *code == kind).map_or("", |(name, _)| *name);
    let name = |data: &mut Reader<'_>, field| name::read(whole, data, field);
    Ok(match kind {
        "A" => Ipv4Addr::from(data.array::<4>("ADDRESS")?).to_string(),
        "AAAA" => Ipv6Addr::from(data.array::<16>("AAAA address")?).to_string(),
        "NS" | "CNAME" | "PTR" => name(&mut data, "NSDNAME, CNAME or PTRDNAME")?,
        "MX" => format!("{} {}", data.u16_be("PREFERENCE")?, name(&mut data, "EXCHANGE")?),
        "SOA" => {
            let (server, mailbox) = (name(&mut data, "MNAME")?, name(&mut data, "RNAME")?);
            format!("{server} {mailbox} {}", data.u32_be("SERIAL")?)
        }
        "SRV" => {
            let (priority, weight) = (data.u16_be("Priority")?, data.u16_be("Weight")?);
            format!("{priority} {weight} {} {}", data.u16_be("Port")?, name(&mut data, "Target")?)
        }
        "TXT" => {
            let mut text = Vec::new();
            while !data.is_empty() {
                let length = data.u8("character-string length")?;
                text.extend_from_slice(data.take(length.into(), "TXT-DATA")?);
            }
            String::from_utf8_lossy(&text).into_owned()
        }
        _ => Value::hex(data.rest()).to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// The answer's header, with the ids that the sessions of a rehearsal take.
    fn reply(which: u16, flags: u16, questions: &[u8], answers: u16, records: &[u8]) -> Vec<u8> {
        let id = u16::from_be_bytes(request(&PROTOCOL, Via::Udp).random("id")).wrapping_add(which);
        let counts = [id, flags, u16::from(!questions.is_empty()), answers, 0, 0];
        [&counts.map(u16::to_be_bytes).concat()[..], questions, records].concat()
    }

    /// `version.bind CH TXT "dnsmasq-2.90"`, as dnsmasq of Debian 12 gives it.
    fn version() -> Vec<u8> {
        let question = b"\x07version\x04bind\0\0\x10\0\x03";
        reply(1, 0x8580, question, 1, b"\xc0\x0c\0\x10\0\x03\0\0\0\0\0\x0d\x0cdnsmasq-2.90")
    }

    #[test]
    fn any_answer_is_an_answer_and_the_version_comes_with_it() {
        let refused = reply(0, 0x8005, b"\0\0\x02\0\x01", 0, b"");
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Udp), &[&refused, &version()]);
        assert_eq!(answer.summary, "dnsmasq-2.90 (REFUSED)");
        let json = r#"{"rcode":"REFUSED","authoritative":false,"recursion_available":false,"version":"dnsmasq-2.90"}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
    }

    #[test]
    fn over_tcp_each_message_has_its_length() {
        let framed = |message: Vec<u8>| [&(message.len() as u16).to_be_bytes()[..], &message].concat();
        let (first, second) = (framed(reply(0, 0x8000, b"", 0, b"")), framed(version()));
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[&first, &second]);
        assert_eq!(answer.summary, "dnsmasq-2.90 (NOERROR)");
        let sent = play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[&first, &second]).sent;
        assert!(sent.iter().all(|bytes| usize::from(bytes[1]) + 2 == bytes.len()));
    }

    #[test]
    fn a_name_is_asked_for_and_its_records_are_shown() {
        let mut request = request(&PROTOCOL, Via::Udp);
        request.settings = vec![("name".into(), "example.com".into()), ("type".into(), "mx".into())];
        let question = b"\x07example\x03com\0\0\x0f\0\x01";
        let records = b"\xc0\x0c\0\x0f\0\x01\0\0\x0e\x10\0\x09\0\x0a\x04mail\xc0\x0c\
            \xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x07\xc0\x0c\0\x63\0\x01\0\0\0\x3c\0\x02\x01\xff";
        let first = reply(0, 0x8580, question, 3, records);
        let answer = survives(&PROTOCOL, &request, &[&first]);
        assert_eq!(answer.summary, "a name server (NOERROR)");
        let Some(Value::List(answers)) = answer.fields.value("answers") else { panic!("{answer:?}") };
        let shown: Vec<String> = answers.iter().map(Value::to_string).collect();
        assert_eq!(
            shown,
            [
                "name example.com, type MX, ttl 3600, data 10 mail.example.com",
                "name example.com, type A, ttl 60, data 192.0.2.7",
                "name example.com, type TYPE99, ttl 60, data 01:ff",
            ]
        );
        assert_eq!(
            &play(&PROTOCOL, &request, &[&first]).sent[0][2..],
            b"\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x0f\0\x01"
        );
    }

    #[test]
    fn what_is_not_for_us_is_passed_over_and_nothing_is_no_answer() {
        let request = request(&PROTOCOL, Via::Udp);
        let late = reply(7, 0x8000, b"", 0, b"");
        assert!(play(&PROTOCOL, &request, &[&late, &reply(0, 0x8000, b"", 0, b"")]).answer.is_ok());
        assert_eq!(play(&PROTOCOL, &request, &[&late]).answer.unwrap_err(), "it did not answer");
        let truncated = reply(0, 0x8200, b"", 1, b"\x03cut");
        let answer = play(&PROTOCOL, &request, &[&truncated]).answer.unwrap();
        assert_eq!(answer.fields.value("truncated"), Some(&Value::Flag(true)));
    }

    #[test]
    fn a_name_that_is_none_is_refused_before_anything_is_sent() {
        for (name, kind, why) in [("a..b", "A", "is no domain name"), ("a", "ANY", "use one of A, NS")] {
            let mut request = request(&PROTOCOL, Via::Udp);
            request.settings = vec![("name".into(), name.into()), ("type".into(), kind.into())];
            let played = play(&PROTOCOL, &request, &[]);
            assert!(played.answer.unwrap_err().contains(why) && played.sent.is_empty());
        }
    }
}
