//! `telnet`: what a terminal server asks for, and what it shows before a login.
//!
//! Source: RFC 854 (commands), RFC 855 (options), RFC 1143 (refusing is always right); IANA's telnet options.
//! Leaves out on purpose: agreeing to any option, and typing.

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::telnet::{DO, DONT, IAC, Stretch, WILL, WONT, stretch};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "telnet",
    aliases: &[],
    title: "a terminal server: its options, its words before a login",
    doc: DOC,
    via: &[Via::Tcp, Via::Tls],
    homes: &[Home::new(Via::Tcp, 23, "telnet"), Home::new(Via::Tls, 992, "telnets")],
    settings: &[],
    start,
};

const DOC: &str = "\
Refuses every option that the server asks for or offers, as a plain terminal would, and shows what the server then
says, up to its question for a name or until it falls silent. Nothing is typed.

Fields: do (options that the server wants us to use), will (options that it offers to use itself), text.
To type yourself: portolan connect HOST 23.
";

/// The most text that is kept.
const MOST_TEXT: usize = 4096;
/// The most rounds of options before what there is must do.
const MOST_ROUNDS: usize = 64;

const OPTIONS: [(u8, &str); 17] = [
    (0, "binary"),
    (1, "echo"),
    (3, "suppress-go-ahead"),
    (5, "status"),
    (6, "timing-mark"),
    (24, "terminal-type"),
    (25, "end-of-record"),
    (31, "window-size"),
    (32, "terminal-speed"),
    (33, "remote-flow-control"),
    (34, "linemode"),
    (35, "x-display-location"),
    (36, "environ"),
    (37, "authentication"),
    (38, "encrypt"),
    (39, "new-environ"),
    (44, "com-port-control"),
];

#[derive(Default)]
struct Telnet {
    rounds: usize,
    wanted: Vec<u8>,
    offered: Vec<u8>,
    text: Vec<u8>,
}

fn start(_: &Request) -> Box<dyn Session> {
    Box::<Telnet>::default()
}

impl Telnet {
    /// Takes a stretch over, and says what is to be refused of it. An option is refused once: who asks again does not
    /// listen.
    fn take(&mut self, stretch: Stretch) -> Vec<u8> {
        let mut refusals = Vec::new();
        for (verb, option) in stretch.commands {
            let (known, refusal) = match verb {
                DO => (&mut self.wanted, WONT),
                WILL => (&mut self.offered, DONT),
                _ => continue,
            };
            if !known.contains(&option) {
                known.push(option);
                refusals.extend([IAC, refusal, option]);
            }
        }
        self.text.extend(stretch.text);
        self.text.truncate(MOST_TEXT);
        refusals
    }

    fn heard(&mut self, data: &[u8]) -> Step {
        let found = stretch(data);
        let asks = |text: &[u8]| [&b":"[..], b">", b"#", b"$", b"%"].iter().any(|end| text.ends_with(end));
        let is_end = self.text.len() + found.text.len() >= MOST_TEXT
            || (found.commands.is_empty() && asks(found.text.trim_ascii_end()));
        let is_new = |&(verb, option): &(u8, u8)| match verb {
            DO => !self.wanted.contains(&option),
            WILL => !self.offered.contains(&option),
            _ => false,
        };
        if !is_end && (found.cut_at.is_some() || !found.commands.iter().any(is_new)) {
            return Step::More;
        }
        let refusals = self.take(found);
        self.rounds += 1;
        if is_end || self.rounds > MOST_ROUNDS {
            return self.done();
        }
        Step::Send(refusals)
    }

    fn done(&mut self) -> Step {
        let options = |codes: &[u8]| {
            let name = |code: &u8| OPTIONS.iter().find(|(known, _)| known == code).map(|(_, name)| *name);
            Value::list(
                codes.iter().map(|code| name(code).map_or_else(|| format!("option {code}"), str::to_owned)),
            )
        };
        let mut fields = Fields::new();
        for (name, codes) in [("do", &self.wanted), ("will", &self.offered)] {
            if !codes.is_empty() {
                fields.push(name, options(codes));
            }
        }
        let text = self.text.trim_ascii();
        if !text.is_empty() {
            fields.push("text", text);
        }
        if fields.is_empty() {
            return Step::failed("it neither asks for options nor says a word");
        }
        let last = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).rfind(|line| !line.is_empty());
        let summary = last.map_or("a terminal server".into(), String::from_utf8_lossy);
        Step::Done(Answer::new(PROTOCOL.id, summary, fields))
    }
}

impl Session for Telnet {
    fn hello(&mut self) -> Step {
        Step::More
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => self.heard(data),
            Event::Closed { data } | Event::Silence { data } => {
                self.take(stretch(data));
                self.done()
            }
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// telnetd of GNU inetutils 2.4 (Debian 12), as it goes on when everything is refused.
    const TELNETD: [&[u8]; 5] = [
        b"\xff\xfb%\xff\xfb&\xff\xfd\x18\xff\xfd \xff\xfd#\xff\xfd'\xff\xfd$",
        b"\xff\xfb\x03\xff\xfd\x01\xff\xfd\"\xff\xfd\x1f\xff\xfb\x05\xff\xfd!",
        b"\xff\xfb\x01\xff\xfd\x06\xff\xfd\x00\r\nLinux 6.18.44-fc-v769 (localhost) (pts/0)\r\n\r\n",
        b"\xff\xfb\x03\xff\xfb\x01",
        b"vm login: ",
    ];

    #[test]
    fn every_option_is_refused_once_and_the_words_are_shown() {
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &TELNETD);
        assert_eq!(answer.summary, "vm login:");
        assert_eq!(
            answer.fields.text("text"),
            Some("Linux 6.18.44-fc-v769 (localhost) (pts/0)\n\nvm login:")
        );
        let shown = |name| answer.fields.value(name).map(Value::to_string).unwrap_or_default();
        assert_eq!(shown("will"), "authentication, encrypt, suppress-go-ahead, status, echo");
        assert!(
            shown("do")
                .starts_with("terminal-type, terminal-speed, x-display-location, new-environ, environ")
        );
        let sent = play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &TELNETD).sent;
        assert_eq!(sent[0], b"\xff\xfe%\xff\xfe&\xff\xfc\x18\xff\xfc \xff\xfc#\xff\xfc'\xff\xfc$");
        assert_eq!(sent.len(), 3, "what was refused is not refused again");
    }

    #[test]
    fn subnegotiations_and_doubled_bytes_are_understood() {
        let found = stretch(b"a\xff\xff\xff\xfa\x18\x01\xff\xf0b\xff\xf9c\xff\xfa\x18");
        assert_eq!((found.text, found.commands, found.cut_at.is_some()), (b"a\xffbc".to_vec(), vec![], true));
    }

    #[test]
    fn silence_is_no_terminal_server() {
        let why = play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[]).answer.unwrap_err();
        assert_eq!(why, "it neither asks for options nor says a word");
    }
}
