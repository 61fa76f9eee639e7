//! `tls`: which TLS a server speaks, and whose certificate it shows.
//!
//! Source: RFC 8446 and RFC 5246; the handshake itself is the driver's. A server that the driver cannot agree with is
//! asked once more with a hello of our own, which also servers of 1999 understand (`wire/tls.rs`).
//! Leaves out on purpose: trying every version and suite in turn, and anything that would need the old ciphers.

use super::{Event, Home, Protocol, Request, Security, Session, Step, Via};
use crate::answer::{Answer, Fields};
use crate::wire::DecodeError;
use crate::wire::tls::{ServerFlight, client_hello, server_flight};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "tls",
    aliases: &["ssl"],
    title: "the version of TLS, and the certificate: names, issuer, end, problems of its chain",
    doc: DOC,
    via: &[Via::Tls],
    homes: &[
        Home::new(Via::Tls, 853, "domain-s"),
        Home::new(Via::Tls, 994, "ircs"),
        Home::new(Via::Tls, 2376, "docker-s"),
        Home::new(Via::Tls, 6514, "syslog-tls"),
    ],
    settings: &[],
    start,
};

const DOC: &str = "\
Agrees on an encrypted line as a browser would, and shows what was agreed on and which certificates the server sent:
whom they name, who issued them, until when they count, and why the chain is not to be trusted where it is not.
A certificate with a problem is shown all the same: an answer is an answer.

Servers that only speak what nobody should use any more (SSL 3.0, TLS 1.0 and 1.1, or ciphers without forward
secrecy) are asked a second time in their own words, up to their certificate; nothing is encrypted then. The answer
says so under problem.

Fields: tls, with version, cipher_suite, protocol, problem, certificate and chain; each certificate with subject,
subject_alt_names, issuer, not_before, not_after, days_left, serial_number, public_key, signature_algorithm.
";

struct Tls {
    request: Request,
    /// Why the driver could not agree with the server, once that is known.
    refused: Option<String>,
}

fn start(request: &Request) -> Box<dyn Session> {
    Box::new(Tls { request: request.clone(), refused: None })
}

impl Tls {
    fn read(&self, data: &[u8]) -> Result<Step, DecodeError> {
        let refused = self.refused.clone().unwrap_or_default();
        Ok(match server_flight(data)? {
            ServerFlight::Alert(alert) => Step::failed(format!("{refused}; to an old hello it says {alert}")),
            ServerFlight::Hello { version, cipher_suite, chain } => {
                let problem = match version.as_str() {
                    "TLS 1.2" => format!("{refused}; it agrees on {cipher_suite}"),
                    _ => format!("it speaks no newer version than {version}, which nobody should use"),
                };
                let security =
                    Security { version, cipher: cipher_suite, chain, problem: Some(problem), protocol: None };
                let fields = Fields::new().with("tls", security.fields(self.request.now_ms));
                Step::Done(Answer::new(PROTOCOL.id, security.summary(self.request.now_ms), fields))
            }
        })
    }
}

impl Session for Tls {
    fn hello(&mut self) -> Step {
        Step::Send(client_hello(self.request.random("hello"), &self.request.host))
    }

    fn secured(&mut self, security: &Security) -> Step {
        // The driver adds the fields.
        Step::Done(Answer::new(PROTOCOL.id, security.summary(self.request.now_ms), Fields::new()))
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match (event, &self.refused) {
            (Event::NoLine { reason }, None) => {
                self.refused = Some(reason.to_owned());
                Step::Reconnect { via: Via::Tcp, port: self.request.port }
            }
            (Event::NoLine { .. }, Some(refused)) => Step::failed(refused.as_str()),
            (Event::Bytes { data, .. }, _) => Step::of_line(self.read(data), "TLS", data),
            (Event::Closed { .. } | Event::Silence { .. }, Some(refused)) => Step::failed(refused.as_str()),
            (Event::Closed { .. } | Event::Silence { .. }, None) => Step::failed("it did not answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// What `openssl s_server -tls1 -cipher ALL:@SECLEVEL=0` of OpenSSL 3.0 answers to our hello.
    const OLD: &[u8] = include_bytes!("../../tests/recordings/probe/tls-1.0-openssl-3.0.bin");

    #[test]
    fn a_server_of_1999_is_understood_in_its_own_words() {
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[OLD]);
        assert_eq!(
            answer.summary,
            "TLS 1.0, CN=Größe, emailAddress=a@b, until 2066-11-12, it speaks no newer version than TLS 1.0, which \
             nobody should use"
        );
        let Some(crate::answer::Value::Fields(tls)) = answer.fields.value("tls") else {
            panic!("{answer:?}")
        };
        assert_eq!(tls.text("cipher_suite"), Some("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"));
    }

    #[test]
    fn a_line_that_did_not_come_about_is_tried_again_the_old_way_and_its_reason_kept() {
        let request = request(&PROTOCOL, Via::Tls);
        let mut session = start(&request);
        let reconnect = Step::Reconnect { via: Via::Tcp, port: request.port };
        assert_eq!(session.on(Event::NoLine { reason: "protocol_version" }), reconnect);
        let Step::Send(hello) = session.hello() else { panic!("no hello") };
        assert!(hello.windows(14).any(|window| window == b"server.example"), "the name is told");
        let alert = Event::Bytes { from: ([192, 0, 2, 1], 1).into(), data: &[21, 3, 1, 0, 2, 2, 70] };
        let why = "protocol_version; to an old hello it says protocol_version";
        assert_eq!(session.on(alert), Step::failed(why));
        assert_eq!(session.on(Event::Closed { data: &[] }), Step::failed("protocol_version"));
    }

    #[test]
    fn what_the_driver_agreed_on_is_the_answer() {
        let answer = play(&PROTOCOL, &request(&PROTOCOL, Via::Tls), &[]).answer.unwrap();
        assert_eq!((answer.summary.as_str(), answer.fields.is_empty()), ("TLS 1.3", true));
    }

    #[test]
    fn what_is_no_tls_is_shown() {
        let played = play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[b"SSH-2.0-x\r\n"]);
        assert_eq!(played.answer.unwrap_err(), "this is not TLS: it said \"SSH-2.0-x\"");
    }
}
