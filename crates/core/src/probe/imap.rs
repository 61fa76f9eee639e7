//! `imap`: a mailbox server's greeting, what it can do, and what it calls itself.
//!
//! Source: RFC 9051 sections 6.1.1 (CAPABILITY), 6.2.1 (STARTTLS), 7.1 (greetings and states), RFC 2971 (ID).
//! Leaves out on purpose: logging in; literals, which no server sends before that.

use super::{Event, Home, Protocol, Request, Security, Session, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::line::{line, may_begin};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "imap",
    aliases: &["imap4", "imaps"],
    title: "a mailbox server (IMAP): its greeting, its capabilities, its name, its certificate",
    doc: DOC,
    via: &[Via::Tcp, Via::Tls],
    homes: &[
        Home::new(Via::Tcp, 143, "imap"),
        Home::new(Via::Tcp, 143, "imap2"),
        Home::new(Via::Tls, 993, "imaps"),
    ],
    settings: &[],
    start,
};

const DOC: &str = "\
Waits for the greeting, asks what the server can do (CAPABILITY) and, where it offers that, what it is (ID),
encrypts where it offers that (STARTTLS), and asks again what it can do. Nobody logs in.

Fields: greeting; capabilities, and capabilities_over_tls; id, what the server says of itself; starttls, with
starttls_problem where it was offered and did not come about; tls. A greeting of BYE is an answer: a mailbox server
that does not want us.
";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Capabilities,
    Id,
    StartTls,
    CapabilitiesOverTls,
}

struct Imap {
    via: Via,
    stage: Stage,
    encrypts: bool,
    fields: Fields,
    summary: String,
}

fn start(request: &Request) -> Box<dyn Session> {
    let (fields, summary) = (Fields::new(), String::new());
    Box::new(Imap { via: request.via, stage: Stage::Greeting, encrypts: false, fields, summary })
}

/// The answer to a command: its untagged lines, and how it ended.
struct Response<'a> {
    untagged: Vec<&'a [u8]>,
    is_ok: bool,
    text: &'a [u8],
}

/// Reads up to the line with our tag.
fn response<'a>(data: &'a [u8]) -> Result<Response<'a>, DecodeError> {
    let (mut reader, mut untagged) = (Reader::new(data), Vec::new());
    loop {
        let start = reader.offset();
        let line = line(&mut reader, "response")?;
        if let Some(untagged_line) = line.strip_prefix(b"* ") {
            untagged.push(untagged_line);
        } else if let Some(text) = line.strip_prefix(b"p1 ") {
            return Ok(Response { untagged, is_ok: text.starts_with(b"OK"), text });
        } else {
            let first = line.first().copied().unwrap_or(0);
            return Err(Reader::error_at(start, "response", Problem::Value(first.into())));
        }
    }
}

impl Response<'_> {
    /// The words behind `* CAPABILITY`.
    fn capabilities(&self) -> Vec<String> {
        let lists = self.untagged.iter().filter_map(|line| line.strip_prefix(b"CAPABILITY "));
        let words = lists.flat_map(|list| list.split(|&byte| byte == b' ')).filter(|word| !word.is_empty());
        words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    /// The pairs of `* ID ("name" "Dovecot")`.
    fn id(&self) -> Option<Fields> {
        let list = self.untagged.iter().find_map(|line| line.strip_prefix(b"ID ("))?;
        let strings = strings(list.strip_suffix(b")").unwrap_or(list));
        let mut fields = Fields::new();
        let (pairs, _) = strings.as_chunks();
        for [name, value] in pairs {
            fields.push_foreign(name, value.as_slice());
        }
        (!fields.is_empty()).then_some(fields)
    }
}

/// Quoted strings and words, with backslashes taken off.
fn strings(list: &[u8]) -> Vec<Vec<u8>> {
    let (mut strings, mut rest) = (Vec::new(), list.iter().copied().peekable());
    while let Some(first) = rest.next() {
        let mut string = Vec::new();
        match first {
            b' ' => continue,
            b'"' => loop {
                match rest.next() {
                    Some(b'\\') => string.extend(rest.next()),
                    Some(b'"') | None => break,
                    Some(byte) => string.push(byte),
                }
            },
            _ => {
                string.push(first);
                while let Some(byte) = rest.next_if(|&byte| byte != b' ') {
                    string.push(byte);
                }
            }
        }
        strings.push(string);
    }
    strings
}

impl Imap {
    fn ask(&mut self, stage: Stage, command: &str) -> Step {
        self.stage = stage;
        Step::Send(format!("p1 {command}\r\n").into_bytes())
    }

    fn read(&mut self, data: &[u8]) -> Result<Step, DecodeError> {
        if self.stage == Stage::Greeting {
            return self.greeted(data);
        }
        let response = response(data)?;
        Ok(match self.stage {
            Stage::Greeting | Stage::Capabilities => {
                let capabilities = response.capabilities();
                let offers = |name: &str| capabilities.iter().any(|word| word.eq_ignore_ascii_case(name));
                let tells_id = offers("ID");
                self.encrypts = offers("STARTTLS");
                self.fields.push("capabilities", Value::list(capabilities));
                if self.via == Via::Tcp {
                    self.fields.push("starttls", self.encrypts);
                }
                if tells_id { self.ask(Stage::Id, "ID NIL") } else { self.encrypt() }
            }
            Stage::Id => {
                if let Some(id) = response.id() {
                    self.fields.push("id", id);
                }
                self.encrypt()
            }
            Stage::StartTls if response.is_ok => Step::StartTls,
            Stage::StartTls => self.not_encrypted(&String::from_utf8_lossy(response.text)),
            Stage::CapabilitiesOverTls => {
                self.fields.push("capabilities_over_tls", Value::list(response.capabilities()));
                self.done()
            }
        })
    }

    fn greeted(&mut self, data: &[u8]) -> Result<Step, DecodeError> {
        let bad = Reader::error_at(0, "greeting", Problem::Value(0));
        if !may_begin(data, b"* ") {
            return Err(bad);
        }
        let line = line(&mut Reader::new(data), "greeting")?;
        let greeting = line.strip_prefix(b"* ").unwrap_or(line);
        if ![&b"OK"[..], b"PREAUTH", b"BYE"].iter().any(|word| greeting.starts_with(word)) {
            return Err(bad);
        }
        self.fields.push("greeting", greeting);
        let text = String::from_utf8_lossy(greeting);
        // Behind `OK` and the list of capabilities in brackets stands what is meant for people.
        let words = text.strip_prefix("OK ").unwrap_or(&text);
        let words =
            words.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map_or(words, |(_, text)| text);
        self.summary = words.to_owned();
        if greeting.starts_with(b"BYE") {
            return Ok(self.done());
        }
        Ok(self.ask(Stage::Capabilities, "CAPABILITY"))
    }

    fn encrypt(&mut self) -> Step {
        match (self.via, self.encrypts) {
            (Via::Tcp, true) => self.ask(Stage::StartTls, "STARTTLS"),
            _ => self.done(),
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

impl Session for Imap {
    fn hello(&mut self) -> Step {
        Step::More
    }

    fn secured(&mut self, _: &Security) -> Step {
        match self.stage {
            Stage::Greeting => Step::More,
            _ => self.ask(Stage::CapabilitiesOverTls, "CAPABILITY"),
        }
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match (event, self.stage) {
            (Event::Bytes { data, .. }, Stage::Greeting) => Step::of_line(self.read(data), "IMAP", data),
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
    const GREETING: &[u8] =
        b"* OK [CAPABILITY IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ STARTTLS \
        AUTH=PLAIN] Dovecot (Debian) ready.\r\n";
    const LIST: &[u8] =
        b"* CAPABILITY IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ STARTTLS AUTH=PLAIN\r\n\
        p1 OK Pre-login capabilities listed, post-login capabilities have more.\r\n";
    const ID: &[u8] = b"* ID (\"name\" \"Dovecot\")\r\np1 OK ID completed.\r\n";

    #[test]
    fn a_mailbox_server_tells_what_it_can_do_and_what_it_is() {
        let over_tls = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\np1 OK done\r\n";
        let replies = [GREETING, LIST, ID, b"p1 OK Begin TLS negotiation now.\r\n", over_tls];
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &replies);
        assert_eq!(answer.summary, "Dovecot (Debian) ready.");
        let shown: Vec<String> =
            answer.fields.iter().skip(1).map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            shown,
            [
                "capabilities: IMAP4rev1, SASL-IR, LOGIN-REFERRALS, ID, ENABLE, IDLE, LITERAL+, STARTTLS, AUTH=PLAIN",
                "starttls: yes",
                "id: name Dovecot",
                "capabilities_over_tls: IMAP4rev1, AUTH=PLAIN",
            ]
        );
        survives(&PROTOCOL, &request(&PROTOCOL, Via::Tls), &[GREETING, LIST, ID]);
    }

    #[test]
    fn a_refusal_is_an_answer_and_another_protocol_is_none() {
        let tcp = request(&PROTOCOL, Via::Tcp);
        assert_eq!(play(&PROTOCOL, &tcp, &[b"* BYE busy\r\n"]).answer.unwrap().summary, "BYE busy");
        let refused =
            play(&PROTOCOL, &tcp, &[GREETING, b"* CAPABILITY STARTTLS\r\np1 OK\r\n", b"p1 NO no\r\n"]);
        assert_eq!(refused.answer.unwrap().fields.text("starttls_problem"), Some("NO no"));
        let why = play(&PROTOCOL, &tcp, &[b"+OK pop\r\n"]).answer.unwrap_err();
        assert_eq!(why, "this is not IMAP: it said \"+OK pop\"");
    }

    #[test]
    fn strings_are_read_with_their_escapes() {
        assert_eq!(strings(b"\"a\\\"b\" NIL  \"\" \"cut"), [&b"a\"b"[..], b"NIL", b"", b"cut"]);
    }
}
