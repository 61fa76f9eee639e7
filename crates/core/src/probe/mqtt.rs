//! `mqtt`: whether a message broker lets one in, and what it is.
//!
//! Source: OASIS MQTT 5.0 sections 2.1, 2.2, 3.1 to 3.3 and 3.8, 3.9; MQTT 3.1.1 section 3.2 (older brokers).
//! Leaves out on purpose: passwords, and subscribing to anything but the broker's own version.

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "mqtt",
    aliases: &[],
    title: "a message broker (MQTT): whether it lets one in, its version",
    doc: DOC,
    via: &[Via::Tcp, Via::Tls],
    homes: &[Home::new(Via::Tcp, 1883, "mqtt"), Home::new(Via::Tls, 8883, "secure-mqtt")],
    settings: &[],
    start,
};

const DOC: &str = "\
Introduces itself to a message broker without a name and a password, in MQTT 5 and, where the broker does not know
that, in MQTT 3.1.1. Being refused is an answer too. Where it is let in, it asks for the broker's version (the
topic $SYS/broker/version), which Mosquitto and others tell. Nothing is published.

Fields: protocol_version (5, or 4 for 3.1.1); reason_code and reason; maximum_qos, retain_available,
receive_maximum, maximum_packet_size, server_keep_alive, where the broker tells them; version.
";

const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const SUBACK: u8 = 0x90;
const VERSION_TOPIC: &[u8] = b"$SYS/broker/version";
const LONGEST_PACKET: u32 = 64 * 1024;

const REASONS: [(u8, &str); 12] = [
    (0x00, "success"),
    (0x80, "unspecified error"),
    (0x84, "unsupported protocol version"),
    (0x85, "client identifier not valid"),
    (0x86, "bad user name or password"),
    (0x87, "not authorized"),
    (0x88, "server unavailable"),
    (0x89, "server busy"),
    (0x8a, "banned"),
    (0x9c, "use another server"),
    (0x9d, "server moved"),
    (0x9f, "connection rate exceeded"),
];
/// MQTT 3.1.1, table 3.1.
const RETURN_CODES: [&str; 6] = [
    "success",
    "unacceptable protocol version",
    "identifier rejected",
    "server unavailable",
    "bad user name or password",
    "not authorized",
];

struct Mqtt {
    request: Request,
    version: u8,
    /// What the broker said to our introduction, once it did.
    fields: Option<Fields>,
    summary: String,
}

fn start(request: &Request) -> Box<dyn Session> {
    Box::new(Mqtt { request: request.clone(), version: 5, fields: None, summary: String::new() })
}

/// A packet of this first byte; ours are shorter than 128 bytes.
fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    [&[first, content.len() as u8][..], &content].concat()
}

/// The next packet: its first byte and its content.
fn next<'a>(reader: &mut Reader<'a>) -> Result<(u8, Reader<'a>), DecodeError> {
    let start = reader.offset();
    let first = reader.u8("control packet type")?;
    if !matches!(first & 0xf0, CONNACK | PUBLISH | SUBACK | 0xe0) {
        return Err(Reader::error_at(start, "control packet type", Problem::Value(first.into())));
    }
    let length = variable(reader, "Remaining Length")?;
    if length > LONGEST_PACKET {
        return Err(Reader::error_at(start + 1, "Remaining Length", Problem::Value(length.into())));
    }
    Ok((first, reader.part(length as usize, "packet")?))
}

/// A Variable Byte Integer (section 1.5.5).
fn variable(reader: &mut Reader<'_>, field: &'static str) -> Result<u32, DecodeError> {
    let (start, mut value) = (reader.offset(), 0);
    for shift in [0, 7, 14, 21] {
        let byte = reader.u8(field)?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Reader::error_at(start, field, Problem::Value(value.into())))
}

impl Mqtt {
    fn introduce(&self) -> Vec<u8> {
        let keep_alive = [0, 60];
        match self.version {
            5 => packet(0x10, &[b"\0\x04MQTT\x05\x02", &keep_alive, &[0], &[0, 0]]),
            version => packet(0x10, &[b"\0\x04MQTT", &[version, 2], &keep_alive, &[0, 0]]),
        }
    }

    fn read(&mut self, data: &[u8]) -> Result<Step, DecodeError> {
        let mut reader = Reader::new(data);
        loop {
            let (first, content) = next(&mut reader)?;
            match (first & 0xf0, self.fields.is_some()) {
                (CONNACK, false) => return self.introduced(content),
                (PUBLISH, true) => {
                    if let Some(version) = self.published(first, content).map_err(no_longer_cut)? {
                        return Ok(self.done(Some(version)));
                    }
                }
                (_, true) => {}
                _ => return Err(Reader::error_at(0, "control packet type", Problem::Value(first.into()))),
            }
        }
    }

    fn introduced(&mut self, mut content: Reader<'_>) -> Result<Step, DecodeError> {
        content.u8("Connect Acknowledge Flags").map_err(no_longer_cut)?;
        let code = content.u8("Connect Reason Code").map_err(no_longer_cut)?;
        if self.version == 5 && matches!(code, 0x01 | 0x84) {
            self.version = 4;
            return Ok(Step::Reconnect { via: self.request.via, port: self.request.port });
        }
        let reason = match self.version {
            5 => REASONS.iter().find(|(known, _)| *known == code).map(|(_, reason)| *reason),
            _ => RETURN_CODES.get(usize::from(code)).copied(),
        };
        let mut fields = Fields::new()
            .with("protocol_version", self.version)
            .with("reason_code", code)
            .with_some("reason", reason);
        if self.version == 5 && !content.is_empty() {
            properties(content, &mut fields).map_err(no_longer_cut)?;
        }
        self.summary = match (code, reason) {
            (0, _) => "an MQTT broker, lets anybody in".to_owned(),
            (_, Some(reason)) => format!("an MQTT broker, lets nobody in without more: {reason}"),
            (code, None) => format!("an MQTT broker, lets nobody in without more: reason {code}"),
        };
        self.fields = Some(fields);
        if code != 0 {
            return Ok(self.done(None));
        }
        let no_properties: &[u8] = if self.version == 5 { &[0] } else { &[] };
        let length = [0, VERSION_TOPIC.len() as u8];
        Ok(Step::Send(packet(0x82, &[&[0, 1], no_properties, &length, VERSION_TOPIC, &[0]])))
    }

    /// The version, where that is what was published.
    fn published(&self, first: u8, mut content: Reader<'_>) -> Result<Option<String>, DecodeError> {
        let length = content.u16_be("Topic Name length")?;
        let topic = content.take(length.into(), "Topic Name")?;
        if first & 0x06 != 0 {
            content.u16_be("Packet Identifier")?;
        }
        if self.version == 5 {
            let length = variable(&mut content, "Property Length")?;
            content.take(length as usize, "Properties")?;
        }
        Ok((topic == VERSION_TOPIC).then(|| String::from_utf8_lossy(content.rest()).into_owned()))
    }

    fn done(&mut self, version: Option<String>) -> Step {
        let Some(fields) = self.fields.take() else {
            return Step::failed("it did not answer as a message broker");
        };
        if let Some(version) = &version {
            self.summary = format!("{version}, lets anybody in");
        }
        Step::Done(Answer::new(PROTOCOL.id, &self.summary, fields.with_some("version", version)))
    }
}

/// What is cut inside a whole packet does not get longer by waiting.
fn no_longer_cut(error: DecodeError) -> DecodeError {
    Reader::error_at(error.offset, error.field, Problem::Value(0))
}

/// The properties of CONNACK (section 3.2.2.3) that tell something of the broker.
fn properties(mut content: Reader<'_>, fields: &mut Fields) -> Result<(), DecodeError> {
    let length = variable(&mut content, "Property Length")?;
    let mut properties = content.part(length as usize, "Properties")?;
    while !properties.is_empty() {
        let start = properties.offset();
        let text = |properties: &mut Reader<'_>| {
            let length = properties.u16_be("property length")?;
            properties.take(length.into(), "property").map(drop)
        };
        match properties.u8("property identifier")? {
            0x11 => drop(properties.u32_be("Session Expiry Interval")?),
            0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => text(&mut properties)?,
            0x13 => fields.push("server_keep_alive", properties.u16_be("Server Keep Alive")?),
            0x21 => fields.push("receive_maximum", properties.u16_be("Receive Maximum")?),
            0x22 => drop(properties.u16_be("Topic Alias Maximum")?),
            0x24 => fields.push("maximum_qos", properties.u8("Maximum QoS")?),
            0x25 => fields.push("retain_available", properties.u8("Retain Available")? != 0),
            0x26 => {
                text(&mut properties)?;
                text(&mut properties)?;
            }
            0x27 => fields.push("maximum_packet_size", properties.u32_be("Maximum Packet Size")?),
            0x28..=0x2a => drop(properties.u8("availability")?),
            other => {
                return Err(Reader::error_at(start, "property identifier", Problem::Value(other.into())));
            }
        }
    }
    Ok(())
}

impl Session for Mqtt {
    fn hello(&mut self) -> Step {
        Step::Send(self.introduce())
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => Step::of_line(self.read(data), "MQTT", data),
            // Brokers of before MQTT 5 may close the line on what they do not know.
            Event::Closed { data: [] } if self.version == 5 && self.fields.is_none() => {
                self.version = 4;
                Step::Reconnect { via: self.request.via, port: self.request.port }
            }
            Event::Closed { .. } | Event::Silence { .. } => self.done(None),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    // Mosquitto 2.0.11 of Debian 12.
    const CONNACK: &[u8] =
        b"\x20\x35\0\x00\x32\x22\0\x0a\x12\0\x29auto-B497AFD1-399F-44A4-1938-9B305CC3E17C\x21\0\x14";
    const VERSION: &[u8] = b"\x90\x04\0\x01\0\0\x31\x2e\0\x13$SYS/broker/version\0mosquitto version 2.0.11";

    #[test]
    fn a_broker_that_lets_anybody_in_tells_its_version() {
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[CONNACK, VERSION]);
        assert_eq!(answer.summary, "mosquitto version 2.0.11, lets anybody in");
        let json = r#"{"protocol_version":5,"reason_code":0,"reason":"success","receive_maximum":20,"version":"mosquitto version 2.0.11"}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
    }

    #[test]
    fn an_older_broker_is_asked_in_its_own_words_and_a_refusal_is_an_answer() {
        let request = request(&PROTOCOL, Via::Tcp);
        let played = play(&PROTOCOL, &request, &[b"\x20\x02\0\x01", b"\x20\x02\0\x05"]);
        assert_eq!(played.lines, [(Via::Tcp, 1883)]);
        assert_eq!(played.sent[1], b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0");
        assert_eq!(
            played.answer.unwrap().summary,
            "an MQTT broker, lets nobody in without more: not authorized"
        );
        let silent = play(&PROTOCOL, &request, &[CONNACK]).answer.unwrap();
        assert_eq!(silent.summary, "an MQTT broker, lets anybody in");
        let why = play(&PROTOCOL, &request, &[b"SSH-2.0-x\r\n"]).answer.unwrap_err();
        assert_eq!(why, "this is not MQTT: it said \"SSH-2.0-x\"");
    }
}
