//! `postgresql`: whether a database server encrypts, how it wants to know who one is, or what it says instead.
//!
//! Source: PostgreSQL 17's manual, chapter 53 ("Frontend/Backend Protocol"), sections 53.2.1, 53.2.12, 53.7 and 53.8.
//! Leaves out on purpose: passwords. Without one a server tells its version only to those whom it trusts.

use super::{Event, Home, Protocol, Request, Security, Session, Setting, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "postgresql",
    aliases: &["postgres", "pgsql"],
    title: "PostgreSQL: whether it encrypts, how it authenticates, its version where it tells it",
    doc: DOC,
    via: &[Via::Tcp],
    homes: &[Home::new(Via::Tcp, 5432, "postgresql"), Home::new(Via::Tcp, 6432, "")],
    settings: &[
        Setting { name: "user", default: "portolan", title: "the user to begin as" },
        Setting { name: "database", default: "postgres", title: "the database to ask for" },
    ],
    start,
};

const DOC: &str = "\
Asks a server to encrypt the line (SSLRequest), and then begins a session as the user portolan, without a
password. The server says how it wants to know who one is, or why it does not let one in (no entry in pg_hba.conf,
no such database, too many clients): each is an answer. Only where it trusts everybody it tells its version.

Fields: ssl, whether it encrypts, with ssl_problem where that did not come about; authentication (scram-sha-256,
md5, password, trust …) and channel_binding; server_version and other parameters, where it trusts; severity, code
and message, where it refuses; tls.
";

const SSL_REQUEST: u32 = 80_877_103;
const PROTOCOL_3_0: u32 = 196_608;
/// The longest message that is waited for; none before a query is as long.
const LONGEST_MESSAGE: u32 = 64 * 1024;
/// What is kept of what a server tells whom it trusts.
const PARAMETERS: [&str; 5] =
    ["server_version", "server_encoding", "TimeZone", "in_hot_standby", "is_superuser"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Ssl,
    Startup,
}

struct Postgresql {
    user: String,
    database: String,
    stage: Stage,
    fields: Fields,
}

fn start(request: &Request) -> Box<dyn Session> {
    let setting = |name| request.setting(&PROTOCOL, name).replace('\0', "");
    let (user, database) = (setting("user"), setting("database"));
    Box::new(Postgresql { user, database, stage: Stage::Ssl, fields: Fields::new() })
}

impl Postgresql {
    fn begin(&mut self) -> Step {
        self.stage = Stage::Startup;
        let mut content = PROTOCOL_3_0.to_be_bytes().to_vec();
        for text in ["user", &self.user, "database", &self.database, "application_name", "portolan"] {
            content.extend_from_slice(text.as_bytes());
            content.push(0);
        }
        content.push(0);
        Step::Send([&(content.len() as u32 + 4).to_be_bytes()[..], &content].concat())
    }

    fn read(&mut self, data: &[u8]) -> Result<Step, DecodeError> {
        let mut reader = Reader::new(data);
        if self.stage == Stage::Ssl {
            let encrypts = match reader.peek() {
                Some(b'S') => true,
                Some(b'N') => false,
                // Servers before 7.4, and poolers that want no strangers, answer with an error.
                Some(b'E') => return self.refused(&mut reader),
                _ => {
                    return Err(Reader::error_at(
                        0,
                        "SSL response",
                        Problem::Value(data.first().copied().unwrap_or(0).into()),
                    ));
                }
            };
            self.fields.push("ssl", encrypts);
            return Ok(if encrypts { Step::StartTls } else { self.begin() });
        }
        match reader.peek() {
            Some(b'R') => self.authentication(reader),
            Some(b'v') => {
                message(&mut reader)?;
                self.authentication(reader)
            }
            Some(b'E') => self.refused(&mut reader),
            other => Err(Reader::error_at(0, "message type", Problem::Value(other.unwrap_or(0).into()))),
        }
    }

    fn authentication(&mut self, mut reader: Reader<'_>) -> Result<Step, DecodeError> {
        let (kind, mut body) = message(&mut reader)?;
        if kind == b'E' {
            return Ok(self.error(body));
        }
        let method = body.u32_be("authentication")?;
        let name = match method {
            0 => return self.trusted(reader),
            2 => "kerberos".to_owned(),
            3 => "password".to_owned(),
            5 => "md5".to_owned(),
            7 => "gss".to_owned(),
            9 => "sspi".to_owned(),
            10 => {
                let mechanisms = body.rest().split(|&byte| byte == 0).filter(|name| !name.is_empty());
                let (bound, plain): (Vec<String>, Vec<String>) = mechanisms
                    .map(|name| String::from_utf8_lossy(name).to_ascii_lowercase())
                    .partition(|name| name.ends_with("-plus"));
                // The same mechanism, bound to the encrypted line.
                if !bound.is_empty() {
                    self.fields.push("channel_binding", true);
                }
                plain.join(", ")
            }
            other => format!("method {other}"),
        };
        let fields = std::mem::take(&mut self.fields).with("authentication", name.as_str());
        Ok(Step::Done(Answer::new(PROTOCOL.id, format!("PostgreSQL, wants {name}"), fields)))
    }

    /// The server lets us in: what it tells up to ReadyForQuery.
    fn trusted(&self, mut reader: Reader<'_>) -> Result<Step, DecodeError> {
        let mut fields = self.fields.clone().with("authentication", "trust");
        loop {
            let (kind, mut body) = message(&mut reader)?;
            match kind {
                b'S' => {
                    let (name, value) = (body.until(0, "name")?, body.until(0, "value")?);
                    if let Some(name) = PARAMETERS.into_iter().find(|known| known.as_bytes() == name) {
                        fields.push(name, value);
                    }
                }
                b'E' => {
                    let (told, message) = error_fields(body);
                    fields.push("refused", told);
                    return Ok(Step::Done(Answer::new(
                        PROTOCOL.id,
                        format!("PostgreSQL: {message}"),
                        fields,
                    )));
                }
                b'Z' => {
                    let version = fields.text("server_version").unwrap_or("of an unknown version");
                    let summary = format!("PostgreSQL {version}, lets {} in without a password", self.user);
                    return Ok(Step::Done(Answer::new(PROTOCOL.id, summary, fields)));
                }
                _ => {}
            }
        }
    }

    fn refused(&mut self, reader: &mut Reader<'_>) -> Result<Step, DecodeError> {
        let (_, body) = message(reader)?;
        Ok(self.error(body))
    }

    fn error(&mut self, body: Reader<'_>) -> Step {
        let (told, message) = error_fields(body);
        let mut fields = std::mem::take(&mut self.fields);
        for name in ["severity", "code", "message"] {
            if let Some(value) = told.value(name) {
                fields.push(name, Value::clone(value));
            }
        }
        Step::Done(Answer::new(PROTOCOL.id, format!("PostgreSQL: {message}"), fields))
    }
}

/// The next message: its type and content. Content that lies about itself is not waited for.
fn message<'a>(reader: &mut Reader<'a>) -> Result<(u8, Reader<'a>), DecodeError> {
    let start = reader.offset();
    let kind = reader.u8("message type")?;
    let length = reader.u32_be("message length")?;
    if !(4..=LONGEST_MESSAGE).contains(&length) {
        return Err(Reader::error_at(start + 1, "message length", Problem::Value(length.into())));
    }
    Ok((kind, reader.part(length as usize - 4, "message")?))
}

/// ErrorResponse (section 53.8): its fields, and the text for people.
fn error_fields(mut body: Reader<'_>) -> (Fields, String) {
    let (mut fields, mut text) = (Fields::new(), String::new());
    while let (Ok(kind @ 1..), Ok(value)) = (body.u8("field type"), body.until(0, "field value")) {
        match kind {
            b'S' => fields.push("severity", value),
            b'C' => fields.push("code", value),
            b'M' => {
                text = String::from_utf8_lossy(value).into_owned();
                fields.push("message", value);
            }
            _ => {}
        }
    }
    (fields, text)
}

impl Session for Postgresql {
    fn hello(&mut self) -> Step {
        Step::Send([8, SSL_REQUEST].map(u32::to_be_bytes).concat())
    }

    fn secured(&mut self, _: &Security) -> Step {
        self.begin()
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match (event, self.stage) {
            (Event::Bytes { data, .. }, _) => Step::of_line(self.read(data), "PostgreSQL", data),
            (Event::NoLine { reason }, Stage::Ssl) if !self.fields.is_empty() => {
                let fields = std::mem::take(&mut self.fields).with("ssl_problem", reason);
                Step::Done(Answer::new(
                    PROTOCOL.id,
                    "PostgreSQL, but the encryption that it offers fails",
                    fields,
                ))
            }
            (Event::NoLine { reason }, _) => Step::failed(reason),
            (Event::Closed { .. } | Event::Silence { .. }, _) if !self.fields.is_empty() => {
                let fields = std::mem::take(&mut self.fields);
                Step::Done(Answer::new(PROTOCOL.id, "PostgreSQL", fields))
            }
            (Event::Closed { .. } | Event::Silence { .. }, _) => {
                Step::failed("it did not answer a question of PostgreSQL")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    // PostgreSQL 15 of Debian 12.
    const SCRAM: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";
    const ERROR: &[u8] = b"E\0\0\0\x83SFATAL\0VFATAL\0C0A000\0Munsupported frontend protocol 4.0: server supports 3.0 to 3.0\0\
        Fpostmaster.c\0L2220\0RProcessStartupPacket\0\0";

    #[test]
    fn a_server_says_how_it_wants_to_know_who_one_is() {
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[b"S", SCRAM]);
        assert_eq!(answer.summary, "PostgreSQL, wants scram-sha-256");
        assert_eq!(
            serde_json::to_string(&answer.fields).unwrap(),
            r#"{"ssl":true,"authentication":"scram-sha-256"}"#
        );
        let sent = play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[b"N", SCRAM]).sent;
        assert_eq!(sent[0], [0, 0, 0, 8, 4, 210, 22, 47]);
        assert_eq!(sent[1].len(), usize::from(sent[1][3]));
    }

    #[test]
    fn a_refusal_is_an_answer() {
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[b"N", ERROR]);
        assert_eq!(
            answer.summary,
            "PostgreSQL: unsupported frontend protocol 4.0: server supports 3.0 to 3.0"
        );
        assert_eq!(answer.fields.text("code"), Some("0A000"));
        assert!(play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[ERROR]).answer.is_ok());
    }

    #[test]
    fn who_trusts_everybody_tells_its_version() {
        // Built after section 53.7: AuthenticationOk, ParameterStatus, BackendKeyData, ReadyForQuery.
        let trust = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x18server_version\x0015.1\0S\0\0\0\x09x\0yz\0K\0\0\0\x0c\0\0\0\0\0\0\0\0Z\0\0\0\x05I";
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[b"N", trust]);
        assert_eq!(answer.summary, "PostgreSQL 15.1, lets portolan in without a password");
        let why = play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[b"HTTP/1.1 400 x"]).answer.unwrap_err();
        assert_eq!(why, "this is not PostgreSQL: it said \"HTTP/1.1 400 x\"");
    }
}
