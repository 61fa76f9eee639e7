//! `banner`: what a server says by itself when somebody connects.
//!
//! Source: no specification; SMTP, FTP, SSH, POP3, IMAP, NNTP and many others greet first.
//! Leaves out on purpose: saying anything, and guessing the protocol behind the words.

use super::{Event, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields, Value};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "banner",
    aliases: &["greeting"],
    title: "what the server says by itself",
    doc: DOC,
    via: &[Via::Tcp, Via::Tls],
    homes: &[],
    settings: &[],
    start,
};

const DOC: &str = "\
Connects, says nothing, and shows what the server says first. Servers of mail, files, news and remote login greet
whoever connects, often with their name and version; web servers and most databases wait for the client and show
nothing here, which says nothing about whether they work.

What is printable is shown as text, with control characters made visible; anything else as hexadecimal digits. At
most 4,096 characters are kept.

Fields: banner (the text), or bytes (hexadecimal) where it is no text.
";

/// Enough to know a server by.
const ENOUGH: usize = 4096;

struct Banner;

fn start(_: &Request) -> Box<dyn Session> {
    Box::new(Banner)
}

impl Session for Banner {
    fn hello(&mut self) -> Step {
        Step::More
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } if is_whole(data) || data.len() >= ENOUGH => told(data),
            Event::Bytes { .. } => Step::More,
            Event::Closed { data } | Event::Silence { data } if !data.is_empty() => told(data),
            Event::Closed { .. } => Step::failed("it closed the connection without a word"),
            Event::Silence { .. } => Step::failed("it says nothing by itself"),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

/// Whether a greeting ends here: with a line, and not with one that says that another follows (`220-`, RFC 5321
/// section 4.2.1, also FTP and NNTP).
fn is_whole(data: &[u8]) -> bool {
    let Some(lines) = data.strip_suffix(b"\n") else { return false };
    let last = lines.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
    !matches!(last, [a, b, c, b'-', ..] if [a, b, c].iter().all(|byte| byte.is_ascii_digit()))
}

fn told(data: &[u8]) -> Step {
    let data = data.get(..ENOUGH).unwrap_or(data);
    let is_text = std::str::from_utf8(data).is_ok_and(|text| {
        text.chars().all(|c| !c.is_control() || matches!(c, '\r' | '\n' | '\t' | '\u{1b}'))
    });
    let (name, value) = if is_text { ("banner", Value::from(data)) } else { ("bytes", Value::hex(data)) };
    let summary = value.to_string();
    Step::Done(Answer::new(PROTOCOL.id, summary, Fields::new().with(name, value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    #[test]
    fn a_greeting_is_shown_as_text() {
        let request = request(&PROTOCOL, Via::Tcp);
        // OpenSSH 9.2p1 of Debian 12, as it greets.
        let answer = survives(&PROTOCOL, &request, &[b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7\r\n"]);
        assert_eq!(answer.summary, "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7");
        assert_eq!(answer.fields.text("banner"), Some(answer.summary.as_str()));
        let several = survives(&PROTOCOL, &request, &[b"220-welcome\r\n220 \x1b[2Jftp\r\n"]);
        assert_eq!(several.fields.text("banner"), Some("220-welcome\n220 \\u{1b}[2Jftp"));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_digits() {
        let answer =
            play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[&[0x4a, 0, 0, 0, 0xff]]).answer.unwrap();
        assert_eq!(answer.fields.text("bytes"), Some("4a:00:00:00:ff"));
    }

    #[test]
    fn silence_and_a_closed_line_are_told_apart() {
        let request = request(&PROTOCOL, Via::Tcp);
        assert_eq!(
            play(&PROTOCOL, &request, &[]).answer.unwrap_err(),
            "it closed the connection without a word"
        );
        let mut session = start(&request);
        assert_eq!(session.on(Event::Silence { data: &[] }), Step::failed("it says nothing by itself"));
    }
}
