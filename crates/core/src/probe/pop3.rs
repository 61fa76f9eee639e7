//! `pop3`: a mailbox server's greeting and what it can do.
//!
//! Source: RFC 1939 section 3 (greeting, replies), RFC 2449 (CAPA), RFC 2595 section 4 (STLS), RFC 8314 (port 995).
//! Leaves out on purpose: logging in.

use super::{Event, Home, Protocol, Request, Security, Session, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::line::{block, line};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "pop3",
    aliases: &["pop", "pop3s"],
    title: "a mailbox server (POP3): its greeting, its capabilities, its certificate",
    doc: DOC,
    via: &[Via::Tcp, Via::Tls],
    homes: &[Home::new(Via::Tcp, 110, "pop3"), Home::new(Via::Tls, 995, "pop3s")],
    settings: &[],
    start,
};

const DOC: &str = "\
Waits for the greeting, asks what the server can do (CAPA), encrypts where it offers that (STLS), and asks again.
Nobody logs in.

Fields: greeting; capabilities, and capabilities_over_tls; starttls, with starttls_problem where it was offered and
did not come about; tls. A greeting of -ERR is an answer: a mailbox server that does not want us.
";

enum Stage {
    Greeting,
    Capabilities,
    StartTls,
    CapabilitiesOverTls,
}

struct Pop3 {
    via: Via,
    stage: Stage,
    fields: Fields,
    summary: String,
}

fn start(request: &Request) -> Box<dyn Session> {
    let (fields, summary) = (Fields::new(), String::new());
    Box::new(Pop3 { via: request.via, stage: Stage::Greeting, fields, summary })
}

/// A status indicator and the text behind it.
fn status<'a>(reader: &mut Reader<'a>) -> Result<(bool, &'a [u8]), DecodeError> {
    let start = reader.offset();
    let bad = |value: u8| Reader::error_at(start, "status indicator", Problem::Value(value.into()));
    if let Some(first) = reader.peek().filter(|first| !matches!(first, b'+' | b'-')) {
        return Err(bad(first));
    }
    let line = line(reader, "status indicator")?;
    match (line.strip_prefix(b"+OK"), line.strip_prefix(b"-ERR")) {
        (Some(text), _) => Ok((true, text.trim_ascii())),
        (_, Some(text)) => Ok((false, text.trim_ascii())),
        _ => Err(bad(line.first().copied().unwrap_or(0))),
    }
}

/// The reply to CAPA; nothing where the server does not know it.
fn capabilities(reader: &mut Reader<'_>) -> Result<Option<Vec<String>>, DecodeError> {
    if !status(reader)?.0 {
        return Ok(None);
    }
    let lines = block(reader, "CAPA")?;
    Ok(Some(lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()))
}

impl Pop3 {
    fn read(&mut self, data: &[u8]) -> Result<Step, DecodeError> {
        let mut reader = Reader::new(data);
        Ok(match self.stage {
            Stage::Greeting => {
                let (is_ok, text) = status(&mut reader)?;
                self.fields.push("greeting", text);
                self.summary = String::from_utf8_lossy(text).into_owned();
                if !is_ok {
                    self.summary.insert_str(0, "-ERR ");
                    return Ok(self.done());
                }
                self.stage = Stage::Capabilities;
                Step::Send(b"CAPA\r\n".to_vec())
            }
            Stage::Capabilities => {
                let capabilities = capabilities(&mut reader)?;
                let encrypts = capabilities.iter().flatten().any(|word| word.eq_ignore_ascii_case("STLS"));
                self.tell("capabilities", capabilities);
                if self.via == Via::Tls {
                    return Ok(self.done());
                }
                self.fields.push("starttls", encrypts);
                if !encrypts {
                    return Ok(self.done());
                }
                self.stage = Stage::StartTls;
                Step::Send(b"STLS\r\n".to_vec())
            }
            Stage::StartTls => match status(&mut reader)? {
                (true, _) => Step::StartTls,
                (false, text) => self.not_encrypted(&String::from_utf8_lossy(text)),
            },
            Stage::CapabilitiesOverTls => {
                let capabilities = capabilities(&mut reader)?;
                self.tell("capabilities_over_tls", capabilities);
                self.done()
            }
        })
    }

    fn tell(&mut self, name: &'static str, capabilities: Option<Vec<String>>) {
        if let Some(capabilities) = capabilities {
            self.fields.push(name, Value::list(capabilities));
        }
    }

    fn not_encrypted(&mut self, why: &str) -> Step {
        self.fields.push("starttls_problem", why);
        self.done()
    }

    fn done(&mut self) -> Step {
        Step::Done(Answer::new(PROTOCOL.id, &self.summary, std::mem::take(&mut self.fields)))
    }
}

impl Session for Pop3 {
    fn hello(&mut self) -> Step {
        Step::More
    }

    fn secured(&mut self, _: &Security) -> Step {
        match self.stage {
            Stage::Greeting => Step::More,
            _ => {
                self.stage = Stage::CapabilitiesOverTls;
                Step::Send(b"CAPA\r\n".to_vec())
            }
        }
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match (event, &self.stage) {
            (Event::Bytes { data, .. }, Stage::Greeting) => Step::of_line(self.read(data), "POP3", data),
            (Event::Bytes { data, .. }, _) => Step::of_stream(self.read(data)),
            (Event::NoLine { reason }, Stage::Greeting) => Step::failed(reason),
            (Event::NoLine { reason }, _) => self.not_encrypted(reason),
            (Event::Closed { .. } | Event::Silence { .. }, Stage::Greeting) => {
                Step::failed("it does not greet as a mailbox server")
            }
            (Event::Closed { .. } | Event::Silence { .. }, _) => self.done(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    // Dovecot 2.3.19 of Debian 12.
    const GREETING: &[u8] = b"+OK Dovecot (Debian) ready.\r\n";
    const CAPA: &[u8] =
        b"+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\nSTLS\r\nUSER\r\n\
        SASL PLAIN\r\n.\r\n";

    #[test]
    fn a_mailbox_server_tells_what_it_can_do() {
        let replies = [GREETING, CAPA, b"+OK Begin TLS negotiation now.\r\n", b"+OK\r\nTOP\r\nUSER\r\n.\r\n"];
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &replies);
        assert_eq!(answer.summary, "Dovecot (Debian) ready.");
        let json = r#"{"greeting":"Dovecot (Debian) ready.","capabilities":["CAPA","TOP","UIDL","RESP-CODES","PIPELINING","AUTH-RESP-CODE","STLS","USER","SASL PLAIN"],"starttls":true,"capabilities_over_tls":["TOP","USER"]}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
    }

    #[test]
    fn a_server_that_knows_no_capabilities_is_one_all_the_same() {
        let tcp = request(&PROTOCOL, Via::Tcp);
        let answer = play(&PROTOCOL, &tcp, &[GREETING, b"-ERR unknown\r\n"]).answer.unwrap();
        assert_eq!(answer.fields.value("starttls"), Some(&false.into()));
        assert_eq!(play(&PROTOCOL, &tcp, &[b"-ERR busy\r\n"]).answer.unwrap().summary, "-ERR busy");
        let why = play(&PROTOCOL, &tcp, &[b"* OK imap\r\n"]).answer.unwrap_err();
        assert_eq!(why, "this is not POP3: it said \"* OK imap\"");
    }
}
