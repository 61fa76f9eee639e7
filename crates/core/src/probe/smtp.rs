//! `smtp`: a mail server's greeting, what it can do, and whether it encrypts.
//!
//! Source: RFC 5321 sections 3.1, 3.2 and 4.1.1.1 (greeting, EHLO), RFC 3207 (STARTTLS), RFC 8314 (port 465).
//! Leaves out on purpose: sending mail, and asking for recipients.

use super::{Event, Home, Protocol, Request, Security, Session, Setting, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::line::{Reply, reply};
use crate::wire::{DecodeError, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "smtp",
    aliases: &["mail", "submission", "smtps"],
    title: "a mail server: its greeting, its extensions, its certificate",
    doc: DOC,
    via: &[Via::Tcp, Via::Tls],
    homes: &[
        Home::new(Via::Tcp, 25, "smtp"),
        Home::new(Via::Tcp, 587, "submission"),
        Home::new(Via::Tls, 465, "submissions"),
        Home::new(Via::Tls, 465, "smtps"),
    ],
    settings: &[Setting { name: "name", default: "portolan.invalid", title: "the name to say hello with" }],
    start,
};

const DOC: &str = "\
Waits for the greeting, says hello (EHLO), shows what the server offers, encrypts where it offers that (STARTTLS),
and says hello again, since many servers offer passwords only then. No mail is sent and no address is asked for.

It says hello as portolan.invalid, a name that nobody can have: --set name=mail.example.com says another one, where
a server is particular about it. A greeting of 554 or 421 is an answer too: a mail server that does not want us.

Fields: code and greeting; domain, by which the server calls itself; extensions, and extensions_over_tls; starttls,
with starttls_problem where it was offered and did not come about; tls.
";

enum Stage {
    Greeting,
    Hello,
    StartTls,
    HelloOverTls,
}

struct Smtp {
    via: Via,
    name: String,
    stage: Stage,
    fields: Fields,
    summary: String,
}

fn start(request: &Request) -> Box<dyn Session> {
    let name = request.setting(&PROTOCOL, "name");
    let (fields, summary) = (Fields::new(), String::new());
    Box::new(Smtp { via: request.via, name, stage: Stage::Greeting, fields, summary })
}

impl Smtp {
    fn say_hello(&self) -> Step {
        Step::Send(format!("EHLO {}\r\n", self.name).into_bytes())
    }

    fn read(&mut self, data: &[u8]) -> Result<Step, DecodeError> {
        let reply = reply(&mut Reader::new(data), "reply")?;
        Ok(match self.stage {
            Stage::Greeting => self.greeted(&reply),
            Stage::Hello => {
                let extensions = extensions(&reply);
                let encrypts = extensions.iter().any(|word| word.eq_ignore_ascii_case("STARTTLS"));
                self.hello_answered(&reply, "extensions", extensions);
                if self.via == Via::Tls || !reply.is_positive() {
                    return Ok(self.done());
                }
                self.fields.push("starttls", encrypts);
                if !encrypts {
                    return Ok(self.done());
                }
                self.stage = Stage::StartTls;
                Step::Send(b"STARTTLS\r\n".to_vec())
            }
            Stage::StartTls if reply.is_positive() => Step::StartTls,
            Stage::StartTls => self.not_encrypted(&format!("{} {}", reply.code, reply.text())),
            Stage::HelloOverTls => {
                self.hello_answered(&reply, "extensions_over_tls", extensions(&reply));
                self.done()
            }
        })
    }

    fn greeted(&mut self, reply: &Reply<'_>) -> Step {
        let text = reply.text();
        self.summary = text.lines().next().unwrap_or_default().to_owned();
        self.fields = Fields::new().with("code", reply.code).with("greeting", text);
        if !reply.is_positive() {
            self.summary = format!("{} {}", reply.code, self.summary);
            return self.done();
        }
        if !self.name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Step::failed(format!("'{}' is no name to say hello with", self.name));
        }
        self.stage = Stage::Hello;
        self.say_hello()
    }

    fn hello_answered(&mut self, reply: &Reply<'_>, name: &'static str, extensions: Vec<String>) {
        if !reply.is_positive() {
            self.fields.push("hello_refused", format!("{} {}", reply.code, reply.text()));
            return;
        }
        if self.fields.value("domain").is_none() {
            let domain = reply.lines.first().and_then(|line| line.split(|&byte| byte == b' ').next());
            self.fields.push("domain", domain.unwrap_or_default());
        }
        self.fields.push(name, Value::list(extensions));
    }

    fn not_encrypted(&mut self, why: &str) -> Step {
        self.fields.push("starttls_problem", why);
        self.done()
    }

    fn done(&mut self) -> Step {
        Step::Done(Answer::new(PROTOCOL.id, &self.summary, std::mem::take(&mut self.fields)))
    }
}

fn extensions(reply: &Reply<'_>) -> Vec<String> {
    reply.lines.iter().skip(1).map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

impl Session for Smtp {
    fn hello(&mut self) -> Step {
        Step::More
    }

    fn secured(&mut self, _: &Security) -> Step {
        match self.stage {
            Stage::Greeting => Step::More,
            _ => {
                self.stage = Stage::HelloOverTls;
                self.say_hello()
            }
        }
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match (event, &self.stage) {
            (Event::Bytes { data, .. }, Stage::Greeting) => Step::of_line(self.read(data), "SMTP", data),
            (Event::Bytes { data, .. }, _) => Step::of_stream(self.read(data)),
            (Event::NoLine { reason }, Stage::Greeting) => Step::failed(reason),
            (Event::NoLine { reason }, _) => self.not_encrypted(reason),
            (Event::Closed { .. } | Event::Silence { .. }, Stage::Greeting) => {
                Step::failed("it does not greet as a mail server")
            }
            (Event::Closed { .. } | Event::Silence { .. }, _) => self.done(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    // OpenSMTPD 6.8 of Debian 12.
    const GREETING: &[u8] = b"220 mail.lab.test ESMTP OpenSMTPD\r\n";
    const HELLO: &[u8] =
        b"250-mail.lab.test Hello portolan.invalid [127.0.0.1], pleased to meet you\r\n250-8BITMIME\r\n\
        250-ENHANCEDSTATUSCODES\r\n250-SIZE 36700160\r\n250-DSN\r\n250-STARTTLS\r\n250 HELP\r\n";
    const READY: &[u8] = b"220 2.0.0 Ready to start TLS\r\n";
    const HELLO_OVER_TLS: &[u8] =
        b"250-mail.lab.test Hello portolan.invalid [127.0.0.1], pleased to meet you\r\n\
        250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-SIZE 36700160\r\n250-DSN\r\n250 HELP\r\n";

    #[test]
    fn a_mail_server_is_asked_what_it_offers_before_and_after_it_encrypts() {
        let replies = [GREETING, HELLO, READY, HELLO_OVER_TLS];
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &replies);
        assert_eq!(answer.summary, "mail.lab.test ESMTP OpenSMTPD");
        let json = r#"{"code":220,"greeting":"mail.lab.test ESMTP OpenSMTPD","domain":"mail.lab.test","extensions":["8BITMIME","ENHANCEDSTATUSCODES","SIZE 36700160","DSN","STARTTLS","HELP"],"starttls":true,"extensions_over_tls":["8BITMIME","ENHANCEDSTATUSCODES","SIZE 36700160","DSN","HELP"]}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
        let sent = play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &replies).sent;
        assert_eq!(sent, [&b"EHLO portolan.invalid\r\n"[..], b"STARTTLS\r\n", b"EHLO portolan.invalid\r\n"]);
        let secure = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tls), &[GREETING, HELLO_OVER_TLS]);
        assert_eq!(secure.fields.value("starttls"), None);
    }

    #[test]
    fn a_server_that_does_not_want_us_or_does_not_encrypt_is_a_server() {
        let fields = |replies: &[&[u8]]| {
            let answer = play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), replies).answer.unwrap();
            serde_json::to_string(&answer.fields).unwrap()
        };
        assert_eq!(fields(&[b"554 go away\r\n"]), r#"{"code":554,"greeting":"go away"}"#);
        assert!(fields(&[GREETING, b"502 what?\r\n"]).ends_with(r#""hello_refused":"502 what?"}"#));
        assert!(
            fields(&[GREETING, b"250 x\r\n"]).ends_with(r#""domain":"x","extensions":[],"starttls":false}"#)
        );
        let refused = fields(&[GREETING, HELLO, b"454 4.7.0 not now\r\n"]);
        assert!(refused.ends_with(r#""starttls":true,"starttls_problem":"454 4.7.0 not now"}"#));
        let mut session = start(&request(&PROTOCOL, Via::Tcp));
        for data in [GREETING, HELLO, READY] {
            session.on(Event::Bytes { from: ([192, 0, 2, 1], 25).into(), data });
        }
        let Step::Done(answer) = session.on(Event::NoLine { reason: "handshake_failure" }) else {
            panic!("done")
        };
        assert_eq!(answer.fields.text("starttls_problem"), Some("handshake_failure"));
    }

    #[test]
    fn what_is_no_mail_server_is_said() {
        let why =
            |replies: &[&[u8]]| play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), replies).answer.unwrap_err();
        assert_eq!(why(&[b"SSH-2.0-x\r\n"]), "this is not SMTP: it said \"SSH-2.0-x\"");
        assert_eq!(why(&[]), "it does not greet as a mail server");
    }
}
