//! `memcached`: the version of a cache.
//!
//! Source: memcached's doc/protocol.txt ("version", "UDP protocol").
//! Leaves out on purpose: the binary protocol, which was given up, and what is stored.

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields};
use crate::wire::line::line;
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "memcached",
    aliases: &["memcache"],
    title: "memcached: its version",
    doc: DOC,
    via: &[Via::Tcp, Via::Udp, Via::Tls],
    homes: &[Home::new(Via::Tcp, 11211, "memcache"), Home::new(Via::Udp, 11211, "memcache")],
    settings: &[],
    start,
};

const DOC: &str = "\
Asks a memcached server for its version. One that wants a password first says so; that is an answer too. A cache
that answers over UDP can be misused to flood others, with answers thousands of times as long as the question: UDP
has been off by default since version 1.5.6.

Fields: version, or error, what it said instead.
";

struct Memcached {
    via: Via,
    id: [u8; 2],
}

fn start(request: &Request) -> Box<dyn Session> {
    Box::new(Memcached { via: request.via, id: request.random("id") })
}

impl Memcached {
    fn read(&self, data: &[u8]) -> Result<Step, DecodeError> {
        let mut reader = Reader::new(data);
        if self.via == Via::Udp {
            let id = reader.array::<2>("request id")?;
            reader.take(6, "sequence number, total number of datagrams, reserved")?;
            if id != self.id {
                return Ok(Step::More);
            }
        }
        let start = reader.offset();
        let said = line(&mut reader, "reply")?;
        let answer = |summary: String, fields| Ok(Step::Done(Answer::new(PROTOCOL.id, summary, fields)));
        let text = String::from_utf8_lossy(said).into_owned();
        match said.strip_prefix(b"VERSION ") {
            Some(version) => answer(
                format!("memcached {}", String::from_utf8_lossy(version)),
                Fields::new().with("version", version),
            ),
            None if said.starts_with(b"CLIENT_ERROR ") || said.starts_with(b"SERVER_ERROR ") => {
                answer(format!("memcached, answers with an error: {text}"), Fields::new().with("error", text))
            }
            None => Err(Reader::error_at(start, "reply", Problem::Value(0))),
        }
    }
}

impl Session for Memcached {
    fn hello(&mut self) -> Step {
        let command = b"version\r\n";
        Step::Send(match self.via {
            Via::Udp => [&self.id[..], &[0, 0, 0, 1, 0, 0], command].concat(),
            _ => command.to_vec(),
        })
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } if self.via == Via::Udp => self.read(data).unwrap_or(Step::More),
            Event::Bytes { data, .. } => Step::of_line(self.read(data), "memcached", data),
            Event::Closed { .. } | Event::Silence { .. } => {
                Step::failed("it did not answer a question of memcached")
            }
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    #[test]
    fn a_cache_tells_its_version_over_tcp_and_udp() {
        // memcached 1.6.18 of Debian 12; over UDP with the id that a rehearsal takes.
        let tcp = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[b"VERSION 1.6.18\r\n"]);
        let asked = request(&PROTOCOL, Via::Udp);
        let udp = [&asked.random::<2>("id")[..], b"\0\0\0\x01\0\0VERSION 1.6.18\r\n"].concat();
        assert_eq!(survives(&PROTOCOL, &asked, &[b"\0\0", &udp]), tcp);
        assert_eq!(tcp.summary, "memcached 1.6.18");
    }

    #[test]
    fn a_refusal_is_an_answer_and_other_words_are_none() {
        let told =
            |reply: &[u8]| play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[reply]).answer.map(|a| a.summary);
        assert!(
            told(b"CLIENT_ERROR unauthenticated\r\n")
                .unwrap()
                .ends_with("error: CLIENT_ERROR unauthenticated")
        );
        assert_eq!(told(b"220 mail\r\n").unwrap_err(), "this is not memcached: it said \"220 mail\"");
    }
}
