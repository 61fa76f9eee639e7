//! `snmp`: what a device says it is, with a community, and its engine, without one.
//!
//! Source: RFC 1157 and RFC 3416 (messages, errors), RFC 3418 (the system group), RFC 3412 section 6 and RFC 3414
//! sections 2.4, 4 (discovery), RFC 3411 section 5 (SnmpEngineID). Names of fields are the RFCs'.
//! Leaves out on purpose: logging in as a user of version 3, and reading anything but the system group.

use super::{Event, Home, Protocol, Request, Session, Setting, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::{DecodeError, Reader, ber};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "snmp",
    aliases: &[],
    title: "a device's description, name and running time; its SNMPv3 engine",
    doc: DOC,
    via: &[Via::Udp],
    homes: &[Home::new(Via::Udp, 161, "snmp")],
    settings: &[Setting { name: "community", default: "public", title: "the community to ask with" }],
    start,
};

const DOC: &str = "\
Asks an SNMP agent for its system group (version 2c, and version 1 where that is not answered) with the
community `public`, or with the one of --set community=NAME, and then for its version 3 engine, which agents
tell without any secret. An agent that does not know the community stays silent; where the engine is told, the
agent is there and the community is wrong, or this computer is not allowed.

Fields: version (1 or 2c) and community, where they were answered; sysDescr, sysObjectID, sysName and sysUpTime,
in hundredths of a second, in snake_case; error_status where the agent refused; engine_id, engine_enterprise
(the maker's number), engine_boots and engine_time_s of version 3.
";

/// The instances that are asked for: RFC 3418's system group.
const ASKED: [(u32, &str); 4] = [(1, "sys_descr"), (2, "sys_object_id"), (3, "sys_up_time"), (5, "sys_name")];
const ERRORS: [&str; 6] = ["noError", "tooBig", "noSuchName", "badValue", "readOnly", "genErr"];
const GET: u8 = 0xa0;
const RESPONSE: u8 = 0xa2;
const REPORT: u8 = 0xa8;
const TIME_TICKS: u8 = 0x43;
/// msgVersion and its name: what is asked, in this order.
const V2C: (i64, &str) = (1, "2c");
const V1: (i64, &str) = (0, "1");
const V3: i64 = 3;
/// msgFlags: reportable, neither authenticated nor encrypted; the user-based security model.
const REPORTABLE: &[u8] = &[4];
const USER_BASED: i64 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    V2c,
    V3,
    V1,
}

struct Snmp {
    community: String,
    id: i64,
    asked: Asked,
    system: Option<Fields>,
    engine: Option<Fields>,
    summary: String,
}

fn start(request: &Request) -> Box<dyn Session> {
    Box::new(Snmp {
        community: request.setting(&PROTOCOL, "community"),
        id: i64::from(u32::from_be_bytes(request.random("request-id")) >> 2),
        asked: Asked::V2c,
        system: None,
        engine: None,
        summary: String::new(),
    })
}

impl Session for Snmp {
    fn hello(&mut self) -> Step {
        self.ask(V2C.0)
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => match self.read(data) {
                Ok(true) => self.next(),
                // Anybody can send a datagram: the true answer may still come.
                Ok(false) | Err(_) => Step::More,
            },
            Event::Closed { .. } | Event::Silence { .. } => self.next(),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

impl Snmp {
    fn ask(&mut self, version: i64) -> Step {
        self.id += 1;
        let number = |value| ber::write_number(ber::INTEGER, value);
        let list = ASKED.map(|(arc, _)| {
            let oid = ber::write_oid(&[1, 3, 6, 1, 2, 1, 1, arc, 0]);
            ber::write(ber::SEQUENCE, &[&oid, &ber::write(ber::NULL, &[])])
        });
        let list = if version == V3 { Vec::new() } else { list.concat() };
        let bindings = ber::write(ber::SEQUENCE, &[&list]);
        let pdu = ber::write(GET, &[&number(self.id), &number(0), &number(0), &bindings]);
        let rest = if version == V3 {
            let header =
                [&number(self.id)[..], &number(65_507), &ber::write_octets(REPORTABLE), &number(USER_BASED)];
            let none = ber::write_octets(b"");
            let user = ber::write(ber::SEQUENCE, &[&none, &number(0), &number(0), &none, &none, &none]);
            let scoped = ber::write(ber::SEQUENCE, &[&none, &none, &pdu]);
            [ber::write(ber::SEQUENCE, &header), ber::write_octets(&user), scoped].concat()
        } else {
            [ber::write_octets(self.community.as_bytes()), pdu].concat()
        };
        Step::Send(ber::write(ber::SEQUENCE, &[&number(version), &rest]))
    }

    /// The next question, or the end. The engine is asked for before version 1: it is told more often.
    fn next(&mut self) -> Step {
        match (self.asked, &self.system) {
            (Asked::V2c, _) => {
                self.asked = Asked::V3;
                self.ask(V3)
            }
            (Asked::V3, None) => {
                self.asked = Asked::V1;
                self.ask(V1.0)
            }
            _ => self.done(),
        }
    }

    fn done(&mut self) -> Step {
        let (system, engine) = (self.system.take(), self.engine.take());
        if system.is_none() && engine.is_none() {
            return Step::failed("it did not answer: no agent, or none for this community and this computer");
        }
        if system.is_none() {
            self.summary =
                format!("an SNMPv3 agent, which does not answer the community '{}'", self.community);
        }
        let mut fields = system.unwrap_or_default();
        for (name, value) in engine.iter().flat_map(Fields::iter) {
            fields.push_foreign(name.as_bytes(), value.clone());
        }
        Step::Done(Answer::new(PROTOCOL.id, &self.summary, fields))
    }

    /// True where it is the answer to the open question.
    fn read(&mut self, data: &[u8]) -> Result<bool, DecodeError> {
        let mut message = ber::element(&mut Reader::new(data), ber::SEQUENCE, "SNMPMessage")?;
        let version = ber::integer(&mut message, "version")?;
        match self.asked {
            Asked::V3 if version == V3 => self.engine(message),
            Asked::V2c if version == V2C.0 => self.system(message, V2C.1),
            Asked::V1 if version == V1.0 => self.system(message, V1.1),
            _ => Ok(false),
        }
    }

    fn system(&mut self, mut message: Reader<'_>, version: &'static str) -> Result<bool, DecodeError> {
        ber::octets(&mut message, "community")?;
        let mut pdu = ber::element(&mut message, RESPONSE, "GetResponse-PDU")?;
        if ber::integer(&mut pdu, "request-id")? != self.id {
            return Ok(false);
        }
        let status = ber::integer(&mut pdu, "error-status")?;
        ber::integer(&mut pdu, "error-index")?;
        let mut fields = Fields::new().with("version", version).with("community", self.community.as_str());
        self.summary = format!("an SNMPv{version} agent");
        if status != 0 {
            let name = usize::try_from(status).ok().and_then(|status| ERRORS.get(status));
            fields.push("error_status", name.map_or_else(|| status.to_string(), |name| (*name).to_owned()));
        }
        let mut list = ber::element(&mut pdu, ber::SEQUENCE, "variable-bindings")?;
        while !list.is_empty() && status == 0 {
            let mut binding = ber::element(&mut list, ber::SEQUENCE, "VarBind")?;
            let name = ber::oid(ber::element(&mut binding, ber::OBJECT_IDENTIFIER, "name")?, "name")?;
            let known = ASKED.iter().find(|(arc, _)| name == format!("1.3.6.1.2.1.1.{arc}.0"));
            let (tag, value) = ber::any(&mut binding, "value")?;
            if let Some((field, value)) = known.map(|(_, field)| *field).zip(shown(tag, value)?) {
                if field == "sys_descr" {
                    self.summary = value.to_string();
                }
                fields.push(field, value);
            }
        }
        self.system = Some(fields);
        Ok(true)
    }

    fn engine(&mut self, mut message: Reader<'_>) -> Result<bool, DecodeError> {
        let mut header = ber::element(&mut message, ber::SEQUENCE, "msgGlobalData")?;
        if ber::integer(&mut header, "msgID")? != self.id {
            return Ok(false);
        }
        let mut parameters = ber::element(&mut message, ber::OCTET_STRING, "msgSecurityParameters")?;
        let mut user = ber::element(&mut parameters, ber::SEQUENCE, "UsmSecurityParameters")?;
        let id = ber::octets(&mut user, "msgAuthoritativeEngineID")?;
        let boots = ber::integer(&mut user, "msgAuthoritativeEngineBoots")?;
        let time = ber::integer(&mut user, "msgAuthoritativeEngineTime")?;
        let mut scoped = ber::element(&mut message, ber::SEQUENCE, "msgData")?;
        ber::octets(&mut scoped, "contextEngineID")?;
        ber::octets(&mut scoped, "contextName")?;
        let (kind, _) = ber::any(&mut scoped, "PDU")?;
        if kind != REPORT && kind != RESPONSE {
            return Ok(false);
        }
        // The first bit says that a format follows the maker's number.
        let enterprise = Reader::new(id).u32_be("enterprise").map(|number| number & 0x7fff_ffff);
        self.engine = Some(
            Fields::new()
                .with("engine_id", Value::hex(id))
                .with_some("engine_enterprise", enterprise.ok())
                .with("engine_boots", boots)
                .with("engine_time_s", time),
        );
        Ok(true)
    }
}

/// A variable's value; none where the agent says that it has no such thing.
fn shown(tag: u8, content: Reader<'_>) -> Result<Option<Value>, DecodeError> {
    Ok(match tag {
        ber::OCTET_STRING => Some(content.rest().into()),
        ber::OBJECT_IDENTIFIER => Some(ber::oid(content, "value")?.into()),
        ber::INTEGER | TIME_TICKS => Some(ber::number(content, "value")?.into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    const SYSTEM: &[u8] = include_bytes!("../../tests/recordings/probe/snmp-v2c.bin");
    const ENGINE: &[u8] = include_bytes!("../../tests/recordings/probe/snmp-v3.bin");

    #[test]
    fn the_system_group_and_the_engine_are_told() {
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Udp), &[SYSTEM, ENGINE]);
        assert_eq!(answer.summary, "Portolan test router, software 1.2");
        let json = r#"{"version":"2c","community":"public","sys_descr":"Portolan test router, software 1.2","sys_object_id":"1.3.6.1.4.1.8072.3.2.10","sys_up_time":6290,"sys_name":"router","engine_id":"80:00:1f:88:80:4a:ca:af:69:1b:3c:02:6b:00:00:00:00","engine_enterprise":8072,"engine_boots":1,"engine_time_s":63}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
    }

    #[test]
    fn an_agent_that_keeps_silent_to_the_community_is_found_by_its_engine() {
        let request = request(&PROTOCOL, Via::Udp);
        let mut session = start(&request);
        assert!(matches!(session.hello(), Step::Send(_)));
        assert!(matches!(session.on(Event::Silence { data: &[] }), Step::Send(_)), "the engine is asked for");
        let heard = session.on(Event::Bytes { from: ([192, 0, 2, 1], 161).into(), data: ENGINE });
        assert!(matches!(heard, Step::Send(_)), "version 1 is tried last");
        let Step::Done(answer) = session.on(Event::Silence { data: &[] }) else { panic!("an answer") };
        assert_eq!(answer.summary, "an SNMPv3 agent, which does not answer the community 'public'");
        assert_eq!(play(&PROTOCOL, &request, &[]).sent.len(), 3);
        assert!(play(&PROTOCOL, &request, &[]).answer.unwrap_err().starts_with("it did not answer"));
    }

    #[test]
    fn a_question_is_what_snmpget_sends() {
        // `snmpget -d -v1 -c public HOST` of net-snmp 5.9.3 with the same four instances, but for the number.
        let mut session = Snmp {
            community: "public".into(),
            id: 0,
            asked: Asked::V1,
            system: None,
            engine: None,
            summary: String::new(),
        };
        let Step::Send(sent) = session.ask(V1.0) else { panic!("it asks") };
        let head = b"\x30\x50\x02\x01\0\x04\x06public\xa0\x43\x02\x01\x01\x02\x01\0\x02\x01\0\x30\x38";
        assert_eq!(&sent[..head.len()], head);
        assert_eq!(&sent[head.len()..][..14], b"\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x01\0\x05\0");
    }
}
