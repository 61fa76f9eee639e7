//! `ftp`: a file server's greeting, what it can do, and whether anybody may log in.
//!
//! Source: RFC 959 sections 4.1.1 and 5.4 (commands and replies), RFC 2389 (FEAT), RFC 4217 (AUTH TLS), RFC 1635
//! (anonymous).
//! Leaves out on purpose: data connections, and so lists of files.

use super::{Event, Home, Protocol, Request, Security, Session, Setting, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::line::{Reply, reply};
use crate::wire::{DecodeError, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "ftp",
    aliases: &["ftps"],
    title: "a file server: its greeting, its features, whether an anonymous user may log in",
    doc: DOC,
    via: &[Via::Tcp, Via::Tls],
    homes: &[Home::new(Via::Tcp, 21, "ftp"), Home::new(Via::Tls, 990, "ftps")],
    settings: &[Setting {
        name: "user",
        default: "anonymous",
        title: "the user to log in as, without a true password",
    }],
    start,
};

const DOC: &str = "\
Waits for the greeting, asks what the server can do (FEAT), encrypts where it offers that (AUTH TLS), and tries to
log in as anonymous, as PortQry does. No file is listed, read or written.

Fields: code and greeting; features; starttls, with starttls_problem where it was offered and did not come about;
login, whether the user was let in, and login_reply, what was said to that; system, where it was; tls.
";

const READY_IN_A_WHILE: u16 = 120;
const NEED_PASSWORD: u16 = 331;
/// What anonymous users leave for a password by custom: an address.
const PASSWORD: &str = "portolan@portolan.invalid";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Features,
    StartTls,
    User,
    Password,
    System,
}

struct Ftp {
    via: Via,
    user: String,
    stage: Stage,
    fields: Fields,
    summary: String,
}

fn start(request: &Request) -> Box<dyn Session> {
    let user = request.setting(&PROTOCOL, "user");
    let (fields, summary) = (Fields::new(), String::new());
    Box::new(Ftp { via: request.via, user, stage: Stage::Greeting, fields, summary })
}

impl Ftp {
    fn ask(&mut self, stage: Stage, command: &str) -> Step {
        self.stage = stage;
        Step::Send(format!("{command}\r\n").into_bytes())
    }

    fn read(&mut self, data: &[u8]) -> Result<Step, DecodeError> {
        let mut reader = Reader::new(data);
        let mut reply = reply(&mut reader, "reply")?;
        if self.stage == Stage::Greeting && reply.code == READY_IN_A_WHILE {
            reply = crate::wire::line::reply(&mut reader, "reply")?;
        }
        Ok(match self.stage {
            Stage::Greeting => self.greeted(&reply),
            Stage::Features => {
                let features = features(&reply);
                let offers = |name: &str| {
                    features
                        .iter()
                        .any(|line| line.to_ascii_uppercase().starts_with("AUTH") && line.contains(name))
                };
                let encrypts = offers("TLS");
                if reply.is_positive() {
                    self.fields.push("features", Value::list(features));
                }
                if self.via == Via::Tls {
                    return Ok(self.log_in());
                }
                self.fields.push("starttls", encrypts);
                if encrypts { self.ask(Stage::StartTls, "AUTH TLS") } else { self.log_in() }
            }
            Stage::StartTls if reply.is_positive() => Step::StartTls,
            Stage::StartTls => self.not_encrypted(&said(&reply)),
            Stage::User if reply.code == NEED_PASSWORD => {
                self.ask(Stage::Password, &format!("PASS {PASSWORD}"))
            }
            Stage::User | Stage::Password => {
                let user = self.user.clone();
                self.fields.push("login", reply.is_positive());
                self.fields.push("login_reply", said(&reply));
                if !reply.is_positive() {
                    return Ok(self.done());
                }
                self.summary.push_str(&format!(", lets {user} in"));
                self.ask(Stage::System, "SYST")
            }
            Stage::System => {
                if reply.is_positive() {
                    self.fields.push("system", reply.text());
                }
                self.done()
            }
        })
    }

    fn greeted(&mut self, reply: &Reply<'_>) -> Step {
        let text = reply.text();
        // The last line is the server's own; what stands before it is for people.
        self.summary = text.lines().last().unwrap_or_default().to_owned();
        self.fields = Fields::new().with("code", reply.code).with("greeting", text);
        if !reply.is_positive() {
            self.summary.insert_str(0, &format!("{} ", reply.code));
            return self.done();
        }
        self.ask(Stage::Features, "FEAT")
    }

    fn log_in(&mut self) -> Step {
        if self.user.is_empty() || self.user.chars().any(char::is_control) {
            return self.done();
        }
        let command = format!("USER {}", self.user);
        self.ask(Stage::User, &command)
    }

    fn not_encrypted(&mut self, why: &str) -> Step {
        self.fields.push("starttls_problem", why);
        self.done()
    }

    fn done(&mut self) -> Step {
        Step::Done(Answer::new(PROTOCOL.id, &self.summary, std::mem::take(&mut self.fields)))
    }
}

fn said(reply: &Reply<'_>) -> String {
    format!("{} {}", reply.code, reply.text())
}

/// The lines between the first and the last.
fn features(reply: &Reply<'_>) -> Vec<String> {
    let lines = reply.lines.get(1..reply.lines.len().saturating_sub(1)).unwrap_or_default();
    lines.iter().map(|line| String::from_utf8_lossy(line.trim_ascii()).into_owned()).collect()
}

impl Session for Ftp {
    fn hello(&mut self) -> Step {
        Step::More
    }

    fn secured(&mut self, _: &Security) -> Step {
        if self.stage == Stage::Greeting { Step::More } else { self.log_in() }
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match (event, self.stage) {
            (Event::Bytes { data, .. }, Stage::Greeting) => Step::of_line(self.read(data), "FTP", data),
            (Event::Bytes { data, .. }, _) => Step::of_stream(self.read(data)),
            (Event::NoLine { reason }, Stage::Greeting) => Step::failed(reason),
            (Event::NoLine { reason }, _) => self.not_encrypted(reason),
            (Event::Closed { .. } | Event::Silence { .. }, Stage::Greeting) => {
                Step::failed("it does not greet as a file server")
            }
            (Event::Closed { .. } | Event::Silence { .. }, _) => self.done(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    // vsftpd 3.0.3 of Debian 12.
    const GREETING: &[u8] = b"220 (vsFTPd 3.0.3)\r\n";
    const FEATURES: &[u8] =
        b"211-Features:\r\n EPRT\r\n EPSV\r\n MDTM\r\n PASV\r\n REST STREAM\r\n SIZE\r\n TVFS\r\n211 End\r\n";
    const PASSWORD_WANTED: &[u8] = b"331 Please specify the password.\r\n";

    #[test]
    fn an_anonymous_user_is_let_in() {
        let replies =
            [GREETING, FEATURES, PASSWORD_WANTED, b"230 Login successful.\r\n", b"215 UNIX Type: L8\r\n"];
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &replies);
        assert_eq!(answer.summary, "(vsFTPd 3.0.3), lets anonymous in");
        let json = r#"{"code":220,"greeting":"(vsFTPd 3.0.3)","features":["EPRT","EPSV","MDTM","PASV","REST STREAM","SIZE","TVFS"],"starttls":false,"login":true,"login_reply":"230 Login successful.","system":"UNIX Type: L8"}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
        let sent = play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &replies).sent.concat();
        assert_eq!(sent, b"FEAT\r\nUSER anonymous\r\nPASS portolan@portolan.invalid\r\nSYST\r\n");
    }

    #[test]
    fn nobody_is_let_in_and_a_line_is_encrypted() {
        let features = b"211-Features:\r\n AUTH SSL\r\n AUTH TLS\r\n211 End\r\n";
        let replies: [&[u8]; 4] =
            [b"120 wait\r\n220-Welcome\r\n220 Files\r\n", features, b"234 go\r\n", b"530 not you\r\n"];
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &replies);
        let json = r#"{"code":220,"greeting":"Welcome\nFiles","features":["AUTH SSL","AUTH TLS"],"starttls":true,"login":false,"login_reply":"530 not you"}"#;
        assert_eq!(
            (answer.summary.as_str(), serde_json::to_string(&answer.fields).unwrap()),
            ("Files", json.to_owned())
        );
        let full = play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[b"421 too many\r\n"]).answer.unwrap();
        assert_eq!(full.summary, "421 too many");
    }
}
