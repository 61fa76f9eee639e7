//! `sip`: whether a telephony server answers, and what it is.
//!
//! Source: RFC 3261 sections 7, 8.1.1 and 11 (OPTIONS), RFC 3581 (rport: the answer comes back the way it went).
//! Leaves out on purpose: registering and calling.

use super::{Event, Home, Protocol, Request, Session, Setting, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::head::Head;
use crate::wire::line::may_begin;
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "sip",
    aliases: &["sips"],
    title: "a telephony server: its answer, its software, what it allows",
    doc: DOC,
    via: &[Via::Udp, Via::Tcp, Via::Tls],
    homes: &[
        Home::new(Via::Udp, 5060, "sip"),
        Home::new(Via::Tcp, 5060, "sip"),
        Home::new(Via::Tls, 5061, "sip-tls"),
        Home::new(Via::Tls, 5061, "sips"),
    ],
    settings: &[Setting {
        name: "user",
        default: "",
        title: "the user to ask about; without it, the server itself",
    }],
    start,
};

const DOC: &str = "\
Asks a telephony server what it can do (OPTIONS). Every answer proves that one works there: also 404, 405 and 401,
which many servers give to strangers. Nobody is called and nothing is registered.

Fields: status, reason; server, what it calls itself; allow, supported and accept, where it tells them.
";

struct Sip {
    via: Via,
    call: String,
    message: Result<String, String>,
}

fn start(request: &Request) -> Box<dyn Session> {
    let hex = |bytes: [u8; 8]| bytes.map(|byte| format!("{byte:02x}")).concat();
    let (call, tag, branch) =
        (hex(request.random("call")), hex(request.random("tag")), hex(request.random("branch")));
    let host = if request.host.contains(':') { format!("[{}]", request.host) } else { request.host.clone() };
    let user = request.setting(&PROTOCOL, "user");
    let target = if user.is_empty() { host.clone() } else { format!("{user}@{host}") };
    let target = format!("sip:{target}:{}", request.port);
    let carried = match request.via {
        Via::Udp => "UDP",
        Via::Tcp => "TCP",
        Via::Tls => "TLS",
    };
    let is_word = target.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte));
    let message = format!(
        "OPTIONS {target} SIP/2.0\r\nVia: SIP/2.0/{carried} portolan.invalid;branch=z9hG4bK{branch};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:portolan@portolan.invalid>;tag={tag}\r\nTo: <{target}>\r\n\
         Call-ID: {call}@portolan.invalid\r\nCSeq: 1 OPTIONS\r\nContact: <sip:portolan@portolan.invalid>\r\n\
         Accept: application/sdp\r\nUser-Agent: portolan\r\nContent-Length: 0\r\n\r\n"
    );
    let message = if is_word { Ok(message) } else { Err(format!("'{target}' is nobody to ask about")) };
    Box::new(Sip { via: request.via, call, message })
}

impl Sip {
    /// The answer; nothing while only a provisional one came, or one for somebody else.
    fn read(&self, data: &[u8]) -> Result<Option<Answer>, DecodeError> {
        if !may_begin(data, b"SIP/2.0 ") {
            return Err(Reader::error_at(0, "Status-Line", Problem::Value(0)));
        }
        let mut reader = Reader::new(data);
        let (head, status) = loop {
            let head = Head::read(&mut reader)?;
            let status = head.status()?;
            let is_ours = head
                .value("Call-ID")
                .or(head.value("i"))
                .is_some_and(|id| id.starts_with(self.call.as_bytes()));
            if is_ours && status.code >= 200 {
                break (head, status);
            }
            if self.via == Via::Udp {
                return Ok(None);
            }
        };
        let words = |name: &str| {
            let lists = head.values(name).flat_map(|list| list.split(|&byte| byte == b','));
            let words: Vec<&[u8]> = lists.map(<[u8]>::trim_ascii).filter(|word| !word.is_empty()).collect();
            (!words.is_empty()).then(|| Value::list(words))
        };
        let server = head.value("Server").or(head.value("User-Agent"));
        let fields = Fields::new()
            .with("status", status.code)
            .with("reason", status.reason)
            .with_some("server", server)
            .with_some("allow", words("Allow"))
            .with_some("supported", words("Supported"))
            .with_some("accept", words("Accept"));
        let server = server.map_or("a telephony server".into(), String::from_utf8_lossy);
        let summary = format!("{server} ({} {})", status.code, String::from_utf8_lossy(status.reason));
        Ok(Some(Answer::new(PROTOCOL.id, summary, fields)))
    }
}

impl Session for Sip {
    fn hello(&mut self) -> Step {
        match &self.message {
            Ok(message) => Step::Send(message.clone().into_bytes()),
            Err(why) => Step::failed(why.as_str()),
        }
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        let step = |answer: Option<Answer>| answer.map_or(Step::More, Step::Done);
        match event {
            Event::Bytes { data, .. } if self.via == Via::Udp => self.read(data).map_or(Step::More, step),
            Event::Bytes { data, .. } => Step::of_line(self.read(data).map(step), "SIP", data),
            Event::Closed { .. } | Event::Silence { .. } => Step::failed("it did not answer"),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// kamailio 5.6.3 of Debian 12, with the call that a rehearsal takes.
    fn reply(status: &str) -> Vec<u8> {
        let call =
            request(&PROTOCOL, Via::Udp).random::<8>("call").map(|byte| format!("{byte:02x}")).concat();
        format!(
            "SIP/2.0 {status}\r\nVia: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bKx;rport=40630;received=127.0.0.1\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:x>;tag=9dd61ff61e802d8e2bef5f14621ef3c2.7c8b30ac\r\n\
             Call-ID: {call}@portolan.invalid\r\nCSeq: 1 OPTIONS\r\nServer: kamailio (5.6.3 (x86_64/linux))\r\n\
             Allow: INVITE, ACK\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes()
    }

    #[test]
    fn a_telephony_server_tells_what_it_is() {
        for via in [Via::Udp, Via::Tcp, Via::Tls] {
            let answer =
                survives(&PROTOCOL, &request(&PROTOCOL, via), &[&reply("100 Trying"), &reply("200 OK")]);
            assert_eq!(answer.summary, "kamailio (5.6.3 (x86_64/linux)) (200 OK)");
            assert_eq!(answer.fields.value("allow"), Some(&Value::list(["INVITE", "ACK"])));
        }
    }

    #[test]
    fn who_is_asked_about_stands_in_the_question_and_nothing_else() {
        let mut asked = request(&PROTOCOL, Via::Udp);
        asked.settings = vec![("user".into(), "1000".into())];
        let sent = play(&PROTOCOL, &asked, &[b"SIP/2.0 200 OK\r\nCall-ID: other\r\n\r\n"]);
        assert_eq!(sent.answer.unwrap_err(), "it did not answer");
        assert!(
            sent.sent[0].starts_with(b"OPTIONS sip:1000@server.example:5060 SIP/2.0\r\nVia: SIP/2.0/UDP ")
        );
        asked.settings = vec![("user".into(), "a\r\nX: y".into())];
        assert!(play(&PROTOCOL, &asked, &[]).sent.is_empty());
    }
}
