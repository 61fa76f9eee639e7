//! The exchange: the one driver of conversations. It carries any [`Session`] over UDP, TCP or TLS.
//!
//! One thread looks after all of them: sockets that do not block, one poll, a timer each. UDP sockets stay unconnected,
//! one for each conversation, so that an answer from another port is heard and an ICMP error is told with its
//! sender. What another host may cost is bounded: bytes (`BYTE_BUDGET` of core), steps, lines, and the time in [`Manner`].
//! Source: RFC 6298 for waits (`portolan_core::probe::RoundTrip`).
//! Left out on purpose: verdicts. What a contact means for a port is said by whoever asked.

mod conversation;
mod dialogue;
mod line;
mod tls;

pub use dialogue::{Dialogue, Heard, NotBegun, Watch};
pub use tls::seed;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portolan_core::answer::Answer;
use portolan_core::probe::{Icmp, Refusal, RoundTrip, Session, Via, tries_for};

use crate::{Error, Namespace, sys};
use conversation::Conversation;
use line::Line;

/// Most conversations under way at once; fewer where the limit of open descriptors says so.
const MOST_UNDER_WAY: usize = 1024;
/// How soon a cancellation is seen.
const LOOK_UP: Duration = Duration::from_millis(100);
/// How long a stream is waited for where nobody says otherwise: two lost packets of a connection, and a greeting that
/// looks up names first.
const STREAM_WAIT: Duration = Duration::from_secs(4);
/// How long the last try of a datagram is waited for at least: a server may have to ask others.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// A conversation ends after so many waits, whatever comes.
const WAITS_IN_ALL: u32 = 5;
/// Destinations whose round trips are remembered at once.
const MOST_DESTINATIONS: usize = 65_536;

/// How conversations are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// By how much every wait is longer than usual: 1, and 2 to be slow.
    pub patience: u32,
    /// The longest wait for one answer; none for what fits: the measured round trips for datagrams, four seconds for
    /// streams. Five times that ends a conversation.
    pub wait: Option<Duration>,
    /// Most tries a second; none for no limit.
    pub rate: Option<NonZeroU32>,
    /// Where it is asked from; port 0 stands for any. With a port, datagrams from other ports than the asked one are
    /// not heard.
    pub source: Option<SocketAddr>,
}

impl Default for Manner {
    fn default() -> Self {
        Self { patience: 1, wait: None, rate: None, source: None }
    }
}

impl Manner {
    /// How long nothing may come over a stream; at most that long.
    fn stream_wait(&self, most: Option<Duration>) -> Duration {
        let wait = self.wait.unwrap_or(STREAM_WAIT);
        wait.min(most.unwrap_or(wait)) * self.patience.max(1)
    }
}

/// A conversation to be held.
pub struct Talk {
    /// What it is known by.
    pub key: u64,
    /// The host as it was asked for: whom its certificate should name.
    pub host: String,
    /// With whom.
    pub to: SocketAddr,
    /// What carries it at its start.
    pub via: Via,
    /// How often a datagram is sent at least before silence counts; more where packets are seen to get lost.
    pub tries: u16,
    /// How far apart the tries of a datagram are at least, and how long the last one is waited for.
    pub pace: Option<Duration>,
    /// How long nothing may come over a stream, where that is shorter than the manner's wait: it may be another protocol
    /// that is spoken there. A datagram is then sent once.
    pub wait: Option<Duration>,
    /// What is said.
    pub session: Box<dyn Session>,
}

/// What the other end did, whatever it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// UDP: a datagram came. TCP: the connection came about.
    Answered,
    /// Nothing came.
    Silent,
    /// It was refused, by the other end, on the way or here.
    Refused {
        /// What kind of refusal this is.
        refusal: Refusal,
        /// The system's code.
        code: i32,
        /// The ICMP error that brought it.
        icmp: Option<Icmp>,
    },
}

/// What came of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// What it is known by.
    pub key: u64,
    /// With whom.
    pub to: SocketAddr,
    /// What the other end did on the first line.
    pub contact: Contact,
    /// From the last question to the first sign of the other end.
    pub round_trip: Option<Duration>,
    /// How often the first question was sent.
    pub tries: u16,
    /// What it told; or why nothing, for people.
    pub answer: Result<Answer, String>,
}

/// What an [`Agenda`] has next.
pub enum Next {
    /// A conversation.
    Talk(Box<Talk>),
    /// One at that moment, or when one that is under way has ended.
    At(Instant),
    /// Nothing more, unless one that is under way leads to it.
    Nothing,
}

/// Says what is to be asked, and hears what came of it.
pub trait Agenda {
    /// What is next, at this moment.
    fn next(&mut self, now: Instant) -> Next;
    /// A conversation has ended.
    fn over(&mut self, told: Told, now: Instant);
}

/// Holds every conversation of an agenda. Setting `cancel` breaks it off within a tenth of a second; what is under way
/// then is not told.
///
/// # Errors
/// The namespace cannot be entered, or the system does not let sockets be watched.
pub fn exchange(
    namespace: &Namespace,
    manner: &Manner,
    agenda: &mut (dyn Agenda + Send),
    cancel: &AtomicBool,
) -> Result<(), Error> {
    sys::within(namespace, || Engine::new(manner).run(agenda, cancel))?
}

/// What every conversation shares.
struct Shared<'a> {
    manner: &'a Manner,
    destinations: HashMap<IpAddr, Destination>,
}

/// What is known of the way to a host.
#[derive(Clone, Copy, Debug, Default)]
struct Destination {
    trips: RoundTrip,
    answered: u64,
    lost: u64,
}

impl Shared<'_> {
    /// How long the try of that number (from 1) waits, and whether it is the last.
    fn datagram_wait(&self, talk: &Talk, try_number: u16) -> (Duration, bool) {
        let known = self.destinations.get(&talk.to.ip()).copied().unwrap_or_default();
        let tries = if talk.wait.is_some() { 1 } else { tries_for(talk.tries, known.answered, known.lost) };
        let last = try_number >= tries;
        let wait = known.trips.wait(try_number.saturating_sub(1));
        let wait = if last { wait.max(LAST_WAIT) } else { wait };
        let wait = wait.min(self.manner.wait.unwrap_or(Duration::MAX)) * self.manner.patience.max(1);
        (wait.max(talk.pace.unwrap_or_default()), last)
    }

    /// A sign of a host came on that try, after that time.
    fn heard(&mut self, from: IpAddr, try_number: u16, after: Duration) {
        if self.destinations.len() >= MOST_DESTINATIONS {
            self.destinations.clear();
        }
        let known = self.destinations.entry(from).or_default();
        known.answered += 1;
        known.lost += u64::from(try_number.saturating_sub(1));
        if try_number == 1 {
            known.trips.add(after);
        }
    }
}

struct Engine<'a> {
    shared: Shared<'a>,
    room: usize,
    under_way: Vec<Conversation>,
    /// What found no room for its socket.
    waiting: Option<Talk>,
    /// When the next packet may go, where there is a rate.
    next_packet: Instant,
}

impl<'a> Engine<'a> {
    fn new(manner: &'a Manner) -> Self {
        // With room for what the rest of the program has open.
        sys::allow_descriptors(MOST_UNDER_WAY + 64);
        Self {
            shared: Shared { manner, destinations: HashMap::new() },
            room: MOST_UNDER_WAY,
            under_way: Vec::new(),
            waiting: None,
            next_packet: Instant::now(),
        }
    }

    fn run(&mut self, agenda: &mut dyn Agenda, cancel: &AtomicBool) -> Result<(), Error> {
        while !cancel.load(Ordering::Relaxed) {
            let mut now = Instant::now();
            let more = self.fill(agenda, now);
            now = Instant::now();
            for conversation in
                self.under_way.iter_mut().filter(|conversation| conversation.wakes_at() <= now)
            {
                conversation.wake(&mut self.shared, now);
            }
            self.hand_out(agenda, now);
            if self.under_way.is_empty() && more.is_none() {
                // What just ended may have led to another.
                match agenda.next(now) {
                    Next::Nothing => return Ok(()),
                    Next::Talk(talk) => self.begin(*talk, agenda, now),
                    Next::At(_) => {}
                }
            }
            self.listen(more)?;
        }
        Ok(())
    }

    /// Begins what the agenda has, as far as there is room; when it is to be asked again.
    fn fill(&mut self, agenda: &mut dyn Agenda, now: Instant) -> Option<Instant> {
        while self.under_way.len() < self.room {
            if let Some(talk) = self.waiting.take() {
                self.begin(talk, agenda, now);
                continue;
            }
            if self.shared.manner.rate.is_some() && self.next_packet > now {
                return Some(self.next_packet);
            }
            match agenda.next(now) {
                Next::Talk(talk) => self.begin(*talk, agenda, now),
                Next::At(moment) => return Some(moment),
                Next::Nothing => return None,
            }
        }
        Some(now + LOOK_UP)
    }

    fn begin(&mut self, talk: Talk, agenda: &mut dyn Agenda, now: Instant) {
        if let Some(rate) = self.shared.manner.rate {
            // Each conversation counts for the tries that it may need.
            let tries = if talk.via == Via::Udp { u32::from(talk.tries.max(1)) } else { 2 };
            self.next_packet = self.next_packet.max(now) + Duration::from_secs(1) / rate.get() * tries;
        }
        match Line::open(talk.via, self.shared.manner.source, talk.to) {
            Ok(line) => self.under_way.push(Conversation::begin(talk, line, &mut self.shared, now)),
            // Fewer at once, and this one as soon as another has let go of its socket.
            Err(error) if sys::is_no_room(&error) && !self.under_way.is_empty() => {
                self.room = self.under_way.len();
                self.waiting = Some(talk);
            }
            Err(error) => agenda.over(conversation::refused_here(&talk, &error), now),
        }
    }

    /// Hands out what has ended.
    fn hand_out(&mut self, agenda: &mut dyn Agenda, now: Instant) {
        let mut index = 0;
        while let Some(conversation) = self.under_way.get_mut(index) {
            match conversation.told() {
                Some(told) => {
                    agenda.over(told, now);
                    self.under_way.swap_remove(index);
                }
                None => index += 1,
            }
        }
    }

    /// Waits for what comes, at most until the next timer.
    fn listen(&mut self, more: Option<Instant>) -> Result<(), Error> {
        let now = Instant::now();
        let timers = self.under_way.iter().map(Conversation::wakes_at).chain(more);
        let limit = timers.map(|at| at.saturating_duration_since(now)).min().unwrap_or(LOOK_UP).min(LOOK_UP);
        let sockets: Vec<_> = self.under_way.iter().filter_map(Conversation::socket).collect();
        if sockets.is_empty() {
            std::thread::sleep(limit);
            return Ok(());
        }
        let ready = sys::ready(&sockets, limit).map_err(|source| Error::new("wait for answers", source))?;
        let now = Instant::now();
        let listening = self.under_way.iter_mut().filter(|conversation| conversation.socket().is_some());
        for (conversation, _) in listening.zip(ready).filter(|(_, ready)| *ready) {
            conversation.ready(&mut self.shared, now);
        }
        Ok(())
    }
}
