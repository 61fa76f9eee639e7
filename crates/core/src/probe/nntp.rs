//! `nntp`: a news server's greeting and what it can do.
//!
//! Source: RFC 3977 sections 5.1 (greeting) and 5.2 (CAPABILITIES), RFC 4642 (STARTTLS).
//! Leaves out on purpose: reading and posting news.

use super::{Event, Home, Protocol, Request, Security, Session, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::line::{block, reply};
use crate::wire::{DecodeError, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "nntp",
    aliases: &["news", "nntps"],
    title: "a news server: its greeting, whether it takes posts, its capabilities",
    doc: DOC,
    via: &[Via::Tcp, Via::Tls],
    homes: &[Home::new(Via::Tcp, 119, "nntp"), Home::new(Via::Tls, 563, "nntps")],
    settings: &[],
    start,
};

const DOC: &str = "\
Waits for the greeting, asks what the server can do (CAPABILITIES), encrypts where it offers that (STARTTLS), and
asks again. Older servers do not know the question; their greeting is the answer then.

Fields: code and greeting; posting, whether the greeting says that posts are taken; capabilities, and
capabilities_over_tls; starttls, with starttls_problem where it was offered and did not come about; tls.
";

const POSTING_ALLOWED: u16 = 200;
const POSTING_PROHIBITED: u16 = 201;
const CAPABILITY_LIST: u16 = 101;
const CONTINUE_WITH_TLS: u16 = 382;

enum Stage {
    Greeting,
    Capabilities,
    StartTls,
    CapabilitiesOverTls,
}

struct Nntp {
    via: Via,
    stage: Stage,
    fields: Fields,
    summary: String,
}

fn start(request: &Request) -> Box<dyn Session> {
    let (fields, summary) = (Fields::new(), String::new());
    Box::new(Nntp { via: request.via, stage: Stage::Greeting, fields, summary })
}

/// The reply to CAPABILITIES; nothing where the server does not know it.
fn capabilities(reader: &mut Reader<'_>) -> Result<Option<Vec<String>>, DecodeError> {
    if reply(reader, "reply")?.code != CAPABILITY_LIST {
        return Ok(None);
    }
    let lines = block(reader, "CAPABILITIES")?;
    Ok(Some(lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()))
}

impl Nntp {
    fn read(&mut self, data: &[u8]) -> Result<Step, DecodeError> {
        let mut reader = Reader::new(data);
        Ok(match self.stage {
            Stage::Greeting => {
                let reply = reply(&mut reader, "greeting")?;
                self.summary = reply.text();
                self.fields = Fields::new().with("code", reply.code).with("greeting", reply.text());
                if ![POSTING_ALLOWED, POSTING_PROHIBITED].contains(&reply.code) {
                    self.summary.insert_str(0, &format!("{} ", reply.code));
                    return Ok(self.done());
                }
                self.fields.push("posting", reply.code == POSTING_ALLOWED);
                self.stage = Stage::Capabilities;
                Step::Send(b"CAPABILITIES\r\n".to_vec())
            }
            Stage::Capabilities => {
                let capabilities = capabilities(&mut reader)?;
                let encrypts =
                    capabilities.iter().flatten().any(|word| word.eq_ignore_ascii_case("STARTTLS"));
                self.tell("capabilities", capabilities);
                if self.via == Via::Tls {
                    return Ok(self.done());
                }
                self.fields.push("starttls", encrypts);
                if !encrypts {
                    return Ok(self.done());
                }
                self.stage = Stage::StartTls;
                Step::Send(b"STARTTLS\r\n".to_vec())
            }
            Stage::StartTls => match reply(&mut reader, "reply")? {
                reply if reply.code == CONTINUE_WITH_TLS => Step::StartTls,
                reply => self.not_encrypted(&format!("{} {}", reply.code, reply.text())),
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

impl Session for Nntp {
    fn hello(&mut self) -> Step {
        Step::More
    }

    fn secured(&mut self, _: &Security) -> Step {
        match self.stage {
            Stage::Greeting => Step::More,
            _ => {
                self.stage = Stage::CapabilitiesOverTls;
                Step::Send(b"CAPABILITIES\r\n".to_vec())
            }
        }
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match (event, &self.stage) {
            (Event::Bytes { data, .. }, Stage::Greeting) => Step::of_line(self.read(data), "NNTP", data),
            (Event::Bytes { data, .. }, _) => Step::of_stream(self.read(data)),
            (Event::NoLine { reason }, Stage::Greeting) => Step::failed(reason),
            (Event::NoLine { reason }, _) => self.not_encrypted(reason),
            (Event::Closed { .. } | Event::Silence { .. }, Stage::Greeting) => {
                Step::failed("it does not greet as a news server")
            }
            (Event::Closed { .. } | Event::Silence { .. }, _) => self.done(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// leafnode 1.12 of Debian 12, which knows no capabilities.
    const LEAFNODE: &[u8] =
        b"200 Leafnode NNTP Daemon, version 1.12.0 running at news.lab-lr.org (my fqdn: news.lab-lr.org)\r\n";

    #[test]
    fn an_old_news_server_greets_and_knows_no_capabilities() {
        let replies = [LEAFNODE, b"500 Unknown command\r\n"];
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &replies);
        assert!(answer.summary.starts_with("Leafnode NNTP Daemon, version 1.12.0"));
        assert_eq!(answer.fields.value("posting"), Some(&true.into()));
        assert_eq!(answer.fields.value("capabilities"), None);
    }

    #[test]
    fn a_new_one_tells_them_and_encrypts() {
        // The example of RFC 3977 section 5.2.3, with RFC 4642's capability.
        let list =
            b"101 Capability list:\r\nVERSION 2\r\nREADER\r\nSTARTTLS\r\nLIST ACTIVE NEWSGROUPS\r\n.\r\n";
        let replies: [&[u8]; 4] =
            [b"201 no posts\r\n", list, b"382 go\r\n", b"101 list\r\nVERSION 2\r\n.\r\n"];
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &replies);
        let json = r#"{"code":201,"greeting":"no posts","posting":false,"capabilities":["VERSION 2","READER","STARTTLS","LIST ACTIVE NEWSGROUPS"],"starttls":true,"capabilities_over_tls":["VERSION 2"]}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
        let refused =
            play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[b"502 you may not\r\n"]).answer.unwrap();
        assert_eq!(refused.summary, "502 you may not");
    }
}
