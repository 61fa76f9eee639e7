//! Rehearsals: conversations against recorded or made-up replies, without a line. For tests and fuzzing.
//!
//! It drives a session as host's `exchange` does, as far as values can: what came on a stream is gathered until the
//! session takes it, datagrams are handed over one by one, and when the replies are over a stream is closed and a
//! datagram's sender is silent.
//! Left out on purpose: time and retransmission.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::answer::Answer;
use crate::probe::{Event, Protocol, Request, STEP_BUDGET, Security, Session, Step, Via};

/// How often a session is told that nothing comes any more, before it is given up.
const ENDINGS: usize = 8;

/// What a rehearsal came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// The answer; or why there is none.
    pub answer: Result<Answer, String>,
    /// What the session sent, in order.
    pub sent: Vec<Vec<u8>>,
    /// Each other line that it asked for: what carries it, and its port.
    pub lines: Vec<(Via, u16)>,
}

/// A request to 192.0.2.1 at the protocol's home (or port 9), with a fixed seed and time.
pub fn request(protocol: &Protocol, via: Via) -> Request {
    Request {
        host: "server.example".to_owned(),
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        port: protocol.homes.iter().find(|home| home.via == via).map_or(9, |home| home.port),
        via,
        settings: Vec::new(),
        seed: [7; 32],
        now_ms: 1_750_000_000_000,
    }
}

/// Plays a conversation: each reply comes when the session waits, and after the last one nothing.
pub fn play(protocol: &Protocol, request: &Request, replies: &[&[u8]]) -> Played {
    let mut session = (protocol.start)(request);
    let mut line =
        Line { via: request.via, from: SocketAddr::new(request.address, request.port), gathered: Vec::new() };
    let mut played =
        Played { answer: Err("the session waits on".to_owned()), sent: Vec::new(), lines: Vec::new() };
    let (mut replies, mut endings) = (replies.iter(), 0);
    let mut step = line.opened(session.as_mut());
    for _ in 0..STEP_BUDGET {
        step = match step {
            Step::Done(answer) => {
                played.answer = Ok(answer);
                return played;
            }
            Step::Failed(why) => {
                played.answer = Err(why);
                return played;
            }
            Step::StartTls => {
                line.via = Via::Tls;
                line.opened(session.as_mut())
            }
            Step::Reconnect { via, port } => {
                played.lines.push((via, port));
                (line.via, line.from) = (via, SocketAddr::new(request.address, port));
                line.opened(session.as_mut())
            }
            waiting => {
                if let Step::Send(bytes) = waiting {
                    played.sent.push(bytes);
                    line.gathered.clear();
                }
                match replies.next() {
                    Some(reply) => line.heard(session.as_mut(), reply),
                    None if endings == ENDINGS => return played,
                    None => {
                        endings += 1;
                        line.ended(session.as_mut())
                    }
                }
            }
        };
    }
    played
}

/// The line as the session sees it.
struct Line {
    via: Via,
    from: SocketAddr,
    gathered: Vec<u8>,
}

impl Line {
    fn opened(&mut self, session: &mut dyn Session) -> Step {
        self.gathered.clear();
        match self.via {
            Via::Tls => session.secured(&Security { version: "TLS 1.3".to_owned(), ..Security::default() }),
            _ => session.hello(),
        }
    }

    fn heard(&mut self, session: &mut dyn Session, reply: &[u8]) -> Step {
        if self.via == Via::Udp {
            return session.on(Event::Bytes { from: self.from, data: reply });
        }
        self.gathered.extend_from_slice(reply);
        session.on(Event::Bytes { from: self.from, data: &self.gathered })
    }

    fn ended(&self, session: &mut dyn Session) -> Step {
        match self.via {
            Via::Udp => session.on(Event::Silence { data: &[] }),
            _ => session.on(Event::Closed { data: &self.gathered }),
        }
    }
}

/// Proves that a session takes whatever comes: `replies` must give an answer (which is returned), streams also one byte
/// at a time; then every reply is cut at every length, changed at every byte, and replaced by noise. No play may panic,
/// never end, or give more than it got.
///
/// # Panics
/// Where the session does not hold: that is what it is for.
pub fn survives(protocol: &Protocol, request: &Request, replies: &[&[u8]]) -> Answer {
    let whole = play(protocol, request, replies);
    let answer = match &whole.answer {
        Ok(answer) => answer.clone(),
        Err(why) => panic!("{}: no answer to the whole conversation: {why}", protocol.id),
    };
    if request.via != Via::Udp {
        // Where the session waits for less than a whole reply, bytes of one reply would come after its next question.
        let bytes: Vec<&[u8]> = replies.iter().flat_map(|reply| reply.chunks(1)).collect();
        assert_eq!(play(protocol, request, &bytes).answer.as_ref(), Ok(&answer), "one byte at a time");
    }
    for (index, reply) in replies.iter().enumerate() {
        let (before, after) = (&replies[..index], replies.get(index + 1..).unwrap_or_default());
        let holds = |changed: &[u8], after: &[&[u8]]| {
            is_bounded(&play(protocol, request, &[before, &[changed], after].concat()), protocol.id);
        };
        for length in 0..reply.len() {
            holds(&reply[..length], &[]);
        }
        // Long recordings are changed at every n-th byte: a test should take no minute.
        for place in (0..reply.len()).step_by(1 + reply.len() / 2000) {
            let mut changed = reply.to_vec();
            for value in [0, 0xff, 0x7f, 0x80, reply[place] ^ 1, reply[place].wrapping_add(1)] {
                changed[place] = value;
                holds(&changed, after);
            }
        }
        let mut noise = Noise(index as u64 + 1);
        for round in 0..300 {
            let kept = reply.len() * (round % 4) / 4;
            let more = usize::from(noise.byte()) * 2;
            let changed: Vec<u8> =
                reply[..kept].iter().copied().chain((0..more).map(|_| noise.byte())).collect();
            holds(&changed, after);
        }
    }
    answer
}

/// Proves that a play ended with values of bounded size.
///
/// # Panics
/// Where it did not.
pub fn is_bounded(played: &Played, id: &str) {
    let told = match &played.answer {
        Ok(answer) => serde_json::to_string(answer).map_or(0, |json| json.len()),
        Err(why) => why.len(),
    };
    let sent: usize = played.sent.iter().map(Vec::len).sum();
    assert!(told < 4 << 20, "{id} told {told} bytes");
    assert!(sent < 1 << 20, "{id} sent {sent} bytes");
    assert!(played.lines.len() < 16, "{id} opened {} lines", played.lines.len());
}

/// Bytes that look like chance (xorshift64).
struct Noise(u64);

impl Noise {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.to_be_bytes()[3]
    }
}
