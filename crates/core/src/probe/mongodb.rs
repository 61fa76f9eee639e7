//! `mongodb`: the version of a MongoDB server, and its part in a replica set.
//!
//! Source: MongoDB's wire protocol (OP_MSG), its commands hello and buildInfo, and the BSON specification 1.1.
//! Leaves out on purpose: logging in, and types of BSON that neither answer holds (they are passed over by their length).

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "mongodb",
    aliases: &["mongo"],
    title: "MongoDB: its version, its replica set, whether it takes writes",
    doc: DOC,
    via: &[Via::Tcp, Via::Tls],
    homes: &[
        Home::new(Via::Tcp, 27017, "mongodb"),
        Home::new(Via::Tcp, 27018, ""),
        Home::new(Via::Tcp, 27019, ""),
    ],
    settings: &[],
    start,
};

const DOC: &str = "\
Asks a MongoDB server, or one that speaks its protocol, for its part in a replica set (hello) and for its version
(buildInfo). Both are answered before anybody logs in.

Fields: of the server's own, version, isWritablePrimary, secondary, setName, primary, me, hosts, minWireVersion,
maxWireVersion, readOnly, msg (isdbgrid: a router of a cluster); errmsg, where it refuses.
";

const OP_MSG: i32 = 2013;
const LONGEST_MESSAGE: u32 = 1 << 20;
const DEEPEST: usize = 8;
const KEPT: [&str; 11] = [
    "isWritablePrimary",
    "secondary",
    "setName",
    "primary",
    "me",
    "hosts",
    "minWireVersion",
    "maxWireVersion",
    "readOnly",
    "msg",
    "errmsg",
];

struct Mongodb {
    /// What hello told.
    fields: Option<Fields>,
}

fn start(_: &Request) -> Box<dyn Session> {
    Box::new(Mongodb { fields: None })
}

/// A command to the database admin, as an OP_MSG with one document.
fn command(name: &str, request_id: i32) -> Vec<u8> {
    let number = [&[0x10], name.as_bytes(), &[0], &1_i32.to_le_bytes()[..]].concat();
    let database = [&b"\x02$db\0"[..], &6_i32.to_le_bytes(), b"admin\0"].concat();
    let content = [number, database, vec![0]].concat();
    let document = [&(content.len() as i32 + 4).to_le_bytes()[..], &content].concat();
    let length = 16 + 4 + 1 + document.len() as i32;
    let head = [length, request_id, 0, OP_MSG, 0].map(i32::to_le_bytes).concat();
    [&head[..], &[0], &document].concat()
}

/// The document of the answer to a request.
fn reply(data: &[u8], request_id: u32) -> Result<Vec<(&[u8], Value)>, DecodeError> {
    let mut reader = Reader::new(data);
    let bad = |offset, field, value: u32| Err(Reader::error_at(offset, field, Problem::Value(value.into())));
    let length = reader.u32_le("messageLength")?;
    if !(26..=LONGEST_MESSAGE).contains(&length) {
        return bad(0, "messageLength", length);
    }
    let mut body = reader.part(length as usize - 4, "message")?;
    body.u32_le("requestID")?;
    let (response_to, code) = (body.u32_le("responseTo")?, body.u32_le("opCode")?);
    if response_to != request_id {
        return bad(8, "responseTo", response_to);
    }
    if code != OP_MSG as u32 {
        return bad(12, "opCode", code);
    }
    body.u32_le("flagBits")?;
    let kind = body.u8("section kind")?;
    if kind != 0 {
        return bad(20, "section kind", kind.into());
    }
    // What is cut inside a whole message does not get longer by waiting.
    document(&mut body, 0).map_err(|error| Reader::error_at(error.offset, error.field, Problem::Value(0)))
}

/// A document: its elements by name.
fn document<'a>(reader: &mut Reader<'a>, depth: usize) -> Result<Vec<(&'a [u8], Value)>, DecodeError> {
    let start = reader.offset();
    let length = reader.u32_le("document length")? as usize;
    if length < 5 || depth > DEEPEST {
        return Err(Reader::error_at(start, "document length", Problem::Value(length as u64)));
    }
    let mut content = reader.part(length - 4, "document")?;
    let mut elements = Vec::new();
    loop {
        let kind = content.u8("element type")?;
        if kind == 0 {
            return Ok(elements);
        }
        let name = content.until(0, "e_name")?;
        elements.push((name, element(&mut content, kind, depth)?));
    }
}

/// The value of an element; what has no place in an answer becomes an empty text.
fn element(content: &mut Reader<'_>, kind: u8, depth: usize) -> Result<Value, DecodeError> {
    let start = content.offset();
    let size = match kind {
        0x02 | 0x0d | 0x0e => {
            let length = content.u32_le("string length")? as usize;
            let text = content.take(length, "string")?;
            return Ok(Value::from(text.strip_suffix(b"\0").unwrap_or(text)));
        }
        0x03 => {
            document(content, depth + 1)?;
            0
        }
        0x04 => return Ok(Value::list(document(content, depth + 1)?.into_iter().map(|(_, value)| value))),
        0x05 => content.u32_le("binary length")? as usize + 1,
        0x06 | 0x0a | 0x7f | 0xff => 0,
        0x07 => 12,
        0x08 => return Ok(Value::from(content.u8("boolean")? != 0)),
        0x10 => return Ok(Value::from(i64::from(content.u32_le("int32")?.cast_signed()))),
        0x12 => return Ok(Value::from(content.u64_le("int64")?.cast_signed())),
        0x01 | 0x09 | 0x11 => 8,
        0x13 => 16,
        other => return Err(Reader::error_at(start, "element type", Problem::Value(other.into()))),
    };
    content.take(size, "element")?;
    Ok(Value::Text(String::new()))
}

impl Mongodb {
    fn read(&mut self, data: &[u8]) -> Result<Step, DecodeError> {
        if self.fields.is_some() {
            let told = reply(data, 2)?;
            let version = told.into_iter().find(|(name, _)| *name == b"version").map(|(_, value)| value);
            return Ok(self.done(version));
        }
        let told = reply(data, 1)?;
        let mut fields = Fields::new();
        for kept in KEPT {
            if let Some((_, value)) = told.iter().find(|(name, _)| *name == kept.as_bytes()) {
                fields.push(kept, value.clone());
            }
        }
        self.fields = Some(fields);
        Ok(Step::Send(command("buildInfo", 2)))
    }

    fn done(&mut self, version: Option<Value>) -> Step {
        let Some(fields) = self.fields.take() else {
            return Step::failed("it did not answer a question of MongoDB");
        };
        let mut summary =
            version.as_ref().map_or_else(|| "MongoDB".to_owned(), |version| format!("MongoDB {version}"));
        if let Some(set) = fields.text("setName") {
            summary.push_str(&format!(", of the replica set {set}"));
        }
        Step::Done(Answer::new(PROTOCOL.id, summary, fields.with_some("version", version)))
    }
}

impl Session for Mongodb {
    fn hello(&mut self) -> Step {
        Step::Send(command("hello", 1))
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => Step::of_line(self.read(data), "MongoDB", data),
            Event::Closed { .. } | Event::Silence { .. } => self.done(None),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    // Documents encoded by python3-bson 3.11 (PyMongo's own encoder), in OP_MSG after the specification, with what
    // MongoDB 7 documents for hello and buildInfo: no server was at hand.
    const HELLO: &[u8] = include_bytes!("../../tests/recordings/probe/mongodb-hello.bin");
    const BUILD_INFO: &[u8] = include_bytes!("../../tests/recordings/probe/mongodb-build-info.bin");

    #[test]
    fn a_server_tells_its_version_and_its_part_in_a_set() {
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[HELLO, BUILD_INFO]);
        assert_eq!(answer.summary, "MongoDB 7.0.14, of the replica set rs0");
        let json = r#"{"isWritablePrimary":true,"secondary":false,"setName":"rs0","primary":"lab:27017","me":"lab:27017","hosts":["lab:27017","lab2:27017"],"minWireVersion":0,"maxWireVersion":21,"readOnly":false,"version":"7.0.14"}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
        assert_eq!(
            play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[HELLO]).answer.unwrap().fields.value("version"),
            None
        );
    }

    #[test]
    fn a_question_is_a_message_with_one_document() {
        // What python3-bson makes of {"hello": 1, "$db": "admin"}, behind its head.
        let head = b"\x34\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0";
        let document = b"\x1f\0\0\0\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0";
        assert_eq!(command("hello", 1), [&head[..], document].concat());
    }

    #[test]
    fn what_is_no_server_of_it_is_said() {
        let why =
            play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[b"HTTP/1.0 200 OK\r\n"]).answer.unwrap_err();
        assert_eq!(why, "this is not MongoDB: it said \"HTTP/1.0 200 OK\"");
    }
}
