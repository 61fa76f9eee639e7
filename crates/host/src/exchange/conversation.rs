//! One conversation: a session, its line, its timers and its budgets.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use portolan_core::answer::Answer;
use portolan_core::probe::{BYTE_BUDGET, Event, STEP_BUDGET, Security, Step, Via};
use socket2::SockRef;

use super::line::{Line, Refused, Seen, is_group, refusal_of};
use super::{Contact, Shared, Talk, Told, WAITS_IN_ALL};

/// Most lines of one conversation.
const MOST_LINES: usize = 8;
/// Looks at one line before the others have their turn.
const LOOKS: usize = 16;

pub(super) struct Conversation {
    talk: Talk,
    line: Option<Line>,
    via: Via,
    to: SocketAddr,
    /// What came of a stream since the session took it last.
    gathered: Vec<u8>,
    /// The datagram that waits for an answer, how often it was sent, and when last.
    question: Option<Vec<u8>>,
    tries: u16,
    sent_at: Instant,
    /// The last try was sent: what comes next is silence.
    last_try: bool,
    wakes_at: Instant,
    ends_at: Instant,
    bytes: usize,
    steps: usize,
    lines: usize,
    security: Option<Security>,
    /// What is told of the first line.
    contact: Option<Contact>,
    first_tries: u16,
    round_trip: Option<Duration>,
    result: Option<Result<Answer, String>>,
}

/// What is told of a conversation whose line this system refused.
pub(super) fn refused_here(talk: &Talk, error: &io::Error) -> Told {
    let (refusal, code, icmp) = refusal_of(error);
    Told {
        key: talk.key,
        to: talk.to,
        contact: Contact::Refused { refusal, code, icmp },
        round_trip: None,
        tries: 1,
        answer: Err(error.to_string()),
    }
}

/// The time of day, in milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Conversation {
    /// Begins it on a line that was opened.
    pub(super) fn begin(talk: Talk, line: Line, shared: &mut Shared<'_>, now: Instant) -> Self {
        let mut conversation = Self {
            line: Some(line),
            via: talk.via,
            to: talk.to,
            gathered: Vec::new(),
            question: None,
            tries: 1,
            sent_at: now,
            last_try: false,
            wakes_at: now + shared.manner.stream_wait(talk.wait),
            ends_at: now + shared.manner.stream_wait(talk.wait) * WAITS_IN_ALL,
            bytes: 0,
            steps: 0,
            lines: 1,
            security: None,
            contact: None,
            first_tries: 1,
            round_trip: None,
            result: None,
            talk,
        };
        if conversation.via == Via::Udp {
            let step = conversation.talk.session.hello();
            conversation.apply(step, shared, now);
        }
        conversation
    }

    /// When it is to be woken.
    pub(super) fn wakes_at(&self) -> Instant {
        self.wakes_at.min(self.ends_at)
    }

    /// What is watched, and whether for room to write.
    pub(super) fn socket(&self) -> Option<(SockRef<'_>, bool)> {
        self.line.as_ref().map(Line::socket)
    }

    /// What came of it, once it has ended.
    pub(super) fn told(&mut self) -> Option<Told> {
        let answer = self.result.take()?;
        Some(Told {
            key: self.talk.key,
            to: self.talk.to,
            contact: self.contact.unwrap_or(Contact::Silent),
            round_trip: self.round_trip,
            tries: self.first_tries,
            answer,
        })
    }

    /// Its time has come: another try, silence, or the end.
    pub(super) fn wake(&mut self, shared: &mut Shared<'_>, now: Instant) {
        if now >= self.ends_at {
            let step = self.talk.session.on(Event::Closed { data: &self.gathered });
            self.close(step, "it did not come to an end in time");
        } else if self.via == Via::Udp && !self.last_try {
            self.tries += 1;
            self.first_tries = if self.contact.is_none() { self.tries } else { self.first_tries };
            self.ask(shared, now);
        } else if !self.is_up() {
            // A stream that does not come about.
            self.no_line("no answer", Contact::Silent, shared, now);
        } else {
            self.wakes_at = now + shared.manner.stream_wait(self.talk.wait);
            let step = self.talk.session.on(Event::Silence { data: &self.gathered });
            self.apply(step, shared, now);
        }
    }

    /// Whether the present line has shown itself to be one.
    fn is_up(&self) -> bool {
        self.via == Via::Udp || self.line.as_ref().is_some_and(Line::is_up)
    }

    /// Something came.
    pub(super) fn ready(&mut self, shared: &mut Shared<'_>, now: Instant) {
        for _ in 0..LOOKS {
            let Some(line) = self.line.as_mut().filter(|_| self.result.is_none()) else { return };
            match line.look() {
                Seen::Nothing => return,
                Seen::Datagram(from, data) => self.datagram(from, &data, shared, now),
                Seen::Up => self.up(shared, now),
                Seen::Secured(security) => {
                    let step = self.talk.session.secured(&security);
                    self.security = Some(security);
                    self.wakes_at = now + shared.manner.stream_wait(self.talk.wait);
                    self.apply(step, shared, now);
                }
                Seen::Bytes(bytes) => self.heard(&bytes, shared, now),
                Seen::Closed => {
                    self.line = None;
                    let step = self.talk.session.on(Event::Closed { data: &self.gathered });
                    self.after_closed(step, "it closed the connection", shared, now);
                }
                Seen::Refused(refused) => self.refused(refused, shared, now),
                Seen::NotSecured(why) => self.no_line(&why, Contact::Answered, shared, now),
            }
        }
    }

    fn datagram(&mut self, from: SocketAddr, data: &[u8], shared: &mut Shared<'_>, now: Instant) {
        if from.ip().to_canonical() != self.to.ip().to_canonical() && !is_group(self.to.ip()) {
            return;
        }
        self.note(Contact::Answered, shared, now);
        let step = self.talk.session.on(Event::Bytes { from, data });
        self.apply(step, shared, now);
    }

    fn up(&mut self, shared: &mut Shared<'_>, now: Instant) {
        self.note(Contact::Answered, shared, now);
        self.wakes_at = now + shared.manner.stream_wait(self.talk.wait);
        let step = if self.via == Via::Tls { Step::StartTls } else { self.talk.session.hello() };
        self.apply(step, shared, now);
    }

    fn heard(&mut self, bytes: &[u8], shared: &mut Shared<'_>, now: Instant) {
        self.bytes += bytes.len();
        self.gathered.extend_from_slice(bytes);
        self.wakes_at = now + shared.manner.stream_wait(self.talk.wait);
        if self.bytes > BYTE_BUDGET {
            self.line = None;
            let step = self.talk.session.on(Event::Closed { data: &self.gathered });
            self.after_closed(step, "it sends without an end", shared, now);
        } else {
            let step = self.talk.session.on(Event::Bytes { from: self.to, data: &self.gathered });
            self.apply(step, shared, now);
        }
    }

    /// The first sign of the other end.
    fn note(&mut self, contact: Contact, shared: &mut Shared<'_>, now: Instant) {
        if self.contact.is_none() {
            let after = now.saturating_duration_since(self.sent_at);
            self.contact = Some(contact);
            self.round_trip = Some(after);
            if self.via == Via::Udp {
                shared.heard(self.to.ip(), self.tries, after);
            }
        }
    }

    fn refused(&mut self, (refusal, code, icmp): Refused, shared: &mut Shared<'_>, now: Instant) {
        // Whoever has answered before speaks the protocol, whatever becomes of a later packet.
        let why = match icmp {
            Some(icmp) => icmp.meaning(),
            None if code == 0 => "refused".to_owned(),
            None => io::Error::from_raw_os_error(code).to_string(),
        };
        self.no_line(&why, Contact::Refused { refusal, code, icmp }, shared, now);
    }

    /// A line did not come about, or broke. The first one's refusal is the end; of others the session decides.
    fn no_line(&mut self, why: &str, contact: Contact, shared: &mut Shared<'_>, now: Instant) {
        let first = self.contact.is_none();
        if contact == Contact::Silent {
            self.contact.get_or_insert(contact);
        } else {
            self.note(contact, shared, now);
        }
        self.line = None;
        if first && self.lines == 1 && contact != Contact::Answered {
            self.result = Some(Err(why.to_owned()));
            return;
        }
        let step = self.talk.session.on(Event::NoLine { reason: why });
        self.after_closed(step, why, shared, now);
    }

    /// What a session says once the line is gone: it may open another one, or it has ended.
    fn after_closed(&mut self, step: Step, why: &str, shared: &mut Shared<'_>, now: Instant) {
        match step {
            Step::Reconnect { .. } => self.apply(step, shared, now),
            step => self.close(step, why),
        }
    }

    /// The end: with what the session makes of it, or for that reason.
    fn close(&mut self, step: Step, why: &str) {
        self.line = None;
        self.result = Some(match step {
            Step::Done(answer) => Ok(self.with_security(answer)),
            Step::Failed(why) => Err(why),
            _ => Err(why.to_owned()),
        });
    }

    fn with_security(&self, mut answer: Answer) -> Answer {
        if let Some(security) = &self.security {
            answer.fields.push("tls", security.fields(now_ms()));
        }
        answer
    }

    /// Does what the session wants.
    fn apply(&mut self, step: Step, shared: &mut Shared<'_>, now: Instant) {
        self.steps += 1;
        if self.steps > STEP_BUDGET {
            return self.close(Step::More, "it does not come to an end");
        }
        match step {
            Step::Done(_) | Step::Failed(_) => self.close(step, ""),
            Step::More => {}
            Step::Send(bytes) => {
                self.gathered.clear();
                if self.via == Via::Udp {
                    self.question = Some(bytes);
                    (self.tries, self.last_try) = (1, false);
                    return self.ask(shared, now);
                }
                if let Some(line) = &mut self.line {
                    self.wakes_at = now + shared.manner.stream_wait(self.talk.wait);
                    // A stream tells its refusals when it is read from.
                    let _ = line.send(&bytes);
                }
            }
            Step::StartTls => {
                self.gathered.clear();
                self.wakes_at = now + shared.manner.stream_wait(self.talk.wait);
                let begun = match &mut self.line {
                    Some(line) => line.encrypt(&self.talk.host),
                    None => Err("the connection is closed".to_owned()),
                };
                if let Err(why) = begun {
                    self.no_line(&why, Contact::Answered, shared, now);
                }
            }
            Step::Reconnect { via, port } => self.reconnect(via, port, shared, now),
        }
    }

    fn reconnect(&mut self, via: Via, port: u16, shared: &mut Shared<'_>, now: Instant) {
        self.lines += 1;
        self.gathered.clear();
        self.line = None;
        if self.lines > MOST_LINES || port == 0 {
            return self.close(Step::More, "it leads from one connection to the next");
        }
        self.contact.get_or_insert(Contact::Silent);
        (self.via, self.to) = (via, SocketAddr::new(self.to.ip(), port));
        (self.question, self.last_try) = (None, via != Via::Udp);
        self.wakes_at = now + shared.manner.stream_wait(self.talk.wait);
        match Line::open(via, shared.manner.source, self.to) {
            Ok(line) => {
                self.line = Some(line);
                if via == Via::Udp {
                    let step = self.talk.session.hello();
                    self.apply(step, shared, now);
                }
            }
            Err(error) => self.no_line(&error.to_string(), Contact::Answered, shared, now),
        }
    }

    /// Sends the question, once more or for the first time.
    fn ask(&mut self, shared: &mut Shared<'_>, now: Instant) {
        let (wait, last) = shared.datagram_wait(&self.talk, self.tries);
        (self.wakes_at, self.last_try, self.sent_at) = (now + wait, last, now);
        if let (Some(line), Some(question)) = (&mut self.line, &self.question)
            && let Err(refused) = line.send(question)
        {
            self.refused(refused, shared, now);
        }
    }
}
