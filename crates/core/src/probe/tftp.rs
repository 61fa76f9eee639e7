//! `tftp`: whether a server of files answers; whether it has a file, and how long that is.
//!
//! Source: RFC 1350 (messages, errors), RFC 2347 (options), RFC 2349 (tsize). Answers come from another port.
//! Leaves out on purpose: reading the file, and writing.

use std::net::IpAddr;

use super::{Event, Home, Protocol, Request, Session, Setting, Step, Via};
use crate::answer::{Answer, Fields};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "tftp",
    aliases: &[],
    title: "a server of boot files: whether it answers, and has a file",
    doc: DOC,
    via: &[Via::Udp],
    homes: &[Home::new(Via::Udp, 69, "tftp")],
    settings: &[Setting {
        name: "path",
        default: "portolan-asks-whether-you-are-there",
        title: "the file to ask for",
    }],
    start,
};

const DOC: &str = "\
Asks a TFTP server to read a file. Without --set path=FILE it is a file that no server has, and the refusal is
the answer: the server is there. With a file's name it tells whether the server has it, and how long it is.
Nothing is read: the server gives up after some seconds, as with any client that goes away.

The server answers from another port than the one that was asked, which is why simple firewalls let the question
through and not the answer.

Fields: opcode (DATA, OACK or ERROR); error_code and error_message; tsize, the file's length in bytes, where the
server tells it; port, from which it answered.
";

const ERRORS: [&str; 9] = [
    "not defined",
    "file not found",
    "access violation",
    "disk full",
    "illegal operation",
    "unknown transfer ID",
    "file already exists",
    "no such user",
    "option refused",
];

struct Tftp {
    address: IpAddr,
    path: String,
}

fn start(request: &Request) -> Box<dyn Session> {
    Box::new(Tftp { address: request.address, path: request.setting(&PROTOCOL, "path") })
}

impl Session for Tftp {
    fn hello(&mut self) -> Step {
        if self.path.is_empty() || self.path.contains('\0') || self.path.len() > 400 {
            return Step::failed("this is no name of a file; give one with --set path=FILE");
        }
        // RRQ; the length is asked for with 0.
        Step::Send([b"\0\x01", self.path.as_bytes(), b"\0octet\0tsize\x000\0"].concat())
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { from, data } if from.ip().to_canonical() == self.address.to_canonical() => {
                read(data, from.port()).map_or(Step::More, Step::Done)
            }
            Event::Bytes { .. } => Step::More,
            Event::Closed { .. } | Event::Silence { .. } => Step::failed("it did not answer"),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

fn read(data: &[u8], port: u16) -> Result<Answer, DecodeError> {
    let mut reader = Reader::new(data);
    let fields = Fields::new();
    let (summary, fields) = match reader.u16_be("Opcode")? {
        3 => {
            reader.u16_be("Block #")?;
            ("it sends the file".to_owned(), fields.with("opcode", "DATA"))
        }
        5 => {
            let code = reader.u16_be("ErrorCode")?;
            // Some leave out the zero at the end.
            let said = reader.until(0, "ErrMsg").unwrap_or(reader.rest());
            let known =
                ERRORS.get(usize::from(code)).map_or_else(|| code.to_string(), |name| (*name).to_owned());
            let message = String::from_utf8_lossy(said).into_owned();
            let fields = fields.with("opcode", "ERROR").with("error_code", code);
            (known, fields.with_some("error_message", (!message.is_empty()).then_some(message)))
        }
        6 => {
            let mut size = None;
            while !reader.is_empty() {
                let (name, value) = (reader.until(0, "option")?, reader.until(0, "value")?);
                if name.eq_ignore_ascii_case(b"tsize") {
                    size = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
                }
            }
            let summary = size
                .map_or_else(|| "it has the file".to_owned(), |size| format!("the file has {size} bytes"));
            (summary, fields.with("opcode", "OACK").with_some("tsize", size))
        }
        other => return Err(Reader::error_at(0, "Opcode", Problem::Value(other.into()))),
    };
    Ok(Answer::new(PROTOCOL.id, summary, fields.with("port", port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    #[test]
    fn a_refusal_and_a_files_length_are_answers_from_another_port() {
        let mut request = request(&PROTOCOL, Via::Udp);
        // atftpd 0.8.0 of Debian 12.
        let answer = survives(&PROTOCOL, &request, &[b"\0\x05\0\x01File not found\0"]);
        let json = r#"{"opcode":"ERROR","error_code":1,"error_message":"File not found","port":69}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
        request.settings = vec![("path".into(), "f.txt".into())];
        let answer = survives(&PROTOCOL, &request, &[b"\0\x06tsize\x006\0"]);
        assert_eq!(answer.summary, "the file has 6 bytes");
        assert_eq!(play(&PROTOCOL, &request, &[]).sent, [b"\0\x01f.txt\0octet\0tsize\x000\0"]);
        let mut session = start(&request);
        let error = b"\0\x05\0\x01\0";
        let from = |port, data| Event::Bytes { from: (request.address, port).into(), data };
        assert!(matches!(session.on(from(50_489, error)), Step::Done(_)), "another port");
        let stranger = Event::Bytes { from: ([192, 0, 2, 2], 69).into(), data: error };
        assert_eq!(session.on(stranger), Step::More);
    }
}
