//! One engine of a sweep: begins connections, hears of their ends, asks silent ports again, and settles verdicts.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use portolan_core::probe::{Icmp, PortState, Reason, Refusal, Verdict, tcp_refused};

use portolan_core::diagnose::Reuse;
use portolan_core::socket::Transport;

use super::destinations::Destinations;
use super::limited::{Limits, Silence};
use super::pace::Pace;
use super::pair::Pair;
use super::{Found, Shared};
use crate::Error;
use crate::sys::{self, Begun, Connecting, Connector, Outcome};

/// Verdicts that are handed over in one go.
const HANDFUL: usize = 256;
/// Tries that are begun before ends and waits are looked at again.
const ROUND: usize = 512;
/// So many answers at once, one after the other, and the machine itself is what limits: other cores help.
const STREAK: u32 = 1024;
/// The longest wait before cancelling is looked at again.
const LOOK_UP: Duration = Duration::from_millis(50);
/// Senders of errors of which it is remembered whether they are this machine.
const MOST_SENDERS: usize = 1024;
/// A connection may meet itself that often before its port is known to be nobody's.
const MEETINGS: u8 = 3;
/// It may meet others of ours that often before that is given up: where few local ports are left, it may again and again.
const MEETINGS_WITH_OTHERS: u8 = 100;
/// A port of a host that has not answered yet is looked at after these times, in case a neighbour has told the round
/// trip meanwhile; the last is the end. Until then the system repeats the question itself (after 1, 2, 3 s; before Linux
/// 6.5 after 1 and 3), so that the answer may take that long, and a neighbour that is not there is found out (3 s).
const LOOKS: [Duration; 3] =
    [Duration::from_millis(150), Duration::from_secs(1), Duration::from_millis(4200)];
/// Before the system asks again by itself.
const ONCE: Duration = Duration::from_millis(950);
/// How long the system may have no room for a try before that is the port's verdict.
const NO_ROOM_FOR: Duration = Duration::from_secs(10);

/// A connection under way.
struct Slot {
    key: u64,
    pair: Pair,
    connecting: Connecting,
    /// Its own end, where that and the target are this machine's.
    own: Option<SocketAddr>,
    since: Instant,
    /// No answer of its host had been measured when it began.
    blind: bool,
}

/// One engine.
pub(super) struct Engine<'a, 's> {
    shared: &'a Shared<'s>,
    /// Which of the engines this is.
    number: usize,
    connector: Connector,
    pace: Pace,
    destinations: Destinations,
    limits: Limits,
    /// Senders of errors that are or are not this machine.
    own: HashMap<IpAddr, bool>,
    /// Connections under way; a key is the place here, and above it a number that no other try has.
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    next_try: u32,
    /// When the waits end, of tries that may be over by then.
    waits: BinaryHeap<Reverse<(Instant, u64)>>,
    /// To be asked again, before new ones.
    again: VecDeque<Pair>,
    fresh: VecDeque<Pair>,
    ended: bool,
    found: Vec<Found>,
    tries: u64,
    streak: u32,
    ready: Vec<u64>,
}

impl<'a, 's> Engine<'a, 's> {
    pub(super) fn new(shared: &'a Shared<'s>) -> Result<Self, Error> {
        Ok(Self {
            shared,
            number: shared.engines.fetch_add(1, Ordering::Relaxed),
            connector: Connector::new(shared.manner.source)?,
            pace: Pace::new(shared.manner.rate, Instant::now()),
            destinations: Destinations::default(),
            limits: Limits::default(),
            own: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            next_try: 0,
            waits: BinaryHeap::new(),
            again: VecDeque::new(),
            fresh: VecDeque::new(),
            ended: false,
            found: Vec::with_capacity(HANDFUL),
            tries: 0,
            streak: 0,
            ready: Vec::new(),
        })
    }

    /// Works until no target is left, or the sweep is cancelled. `more` is called at most once, when other
    /// engines would help.
    pub(super) fn run(&mut self, more: &mut dyn FnMut()) -> Result<(), Error> {
        let mut alone = self.shared.manner.rate.is_none();
        while !self.shared.is_cancelled() {
            self.begin_some();
            if alone && self.streak >= STREAK {
                alone = false;
                more();
            }
            self.shared.deliver(&mut self.found, &mut self.tries);
            let now = Instant::now();
            if self.is_over() && !self.limits.sample(now) {
                break;
            }
            let limit = self.next_event(now).saturating_duration_since(now).min(LOOK_UP);
            self.connector.wait(limit, &mut self.ready)?;
            self.hear();
            self.expire();
        }
        self.shared.under_way.fetch_sub(self.under_way(), Ordering::Relaxed);
        for (pair, icmp) in self.limits.held() {
            self.doubtful(pair, icmp);
        }
        self.shared.deliver(&mut self.found, &mut self.tries);
        Ok(())
    }

    fn under_way(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn is_over(&self) -> bool {
        self.ended
            && self.again.is_empty()
            && self.fresh.is_empty()
            && self.under_way() == 0
            && self.limits.next().is_none()
    }

    fn has_room(&self) -> bool {
        self.shared.under_way.load(Ordering::Relaxed) < self.shared.room
    }

    /// When something is to be done without any news.
    fn next_event(&self, now: Instant) -> Instant {
        let wait = self.waits.peek().map(|Reverse((until, _))| *until);
        let idle = self.again.is_empty() && self.fresh.is_empty() && self.ended;
        let begin = (!idle && self.has_room()).then(|| self.pace.next(now));
        [wait, begin, self.limits.next()].into_iter().flatten().min().unwrap_or(now + LOOK_UP)
    }

    /// Begins what pace and room allow.
    fn begin_some(&mut self) {
        let mut now = Instant::now();
        for _ in 0..ROUND {
            if !self.has_room() || self.shared.is_cancelled() {
                break;
            }
            let Some(pair) = self.next_pair(now) else { break };
            if !self.pace.begins(now) {
                self.again.push_front(pair);
                break;
            }
            now = self.begin(pair, now);
            if self.found.len() >= HANDFUL {
                self.shared.deliver(&mut self.found, &mut self.tries);
            }
        }
    }

    fn next_pair(&mut self, now: Instant) -> Option<Pair> {
        if let Some(pair) = self.again.pop_front().or_else(|| self.fresh.pop_front()) {
            return Some(pair);
        }
        if let Some(pair) = self.limits.due(now) {
            return Some(pair);
        }
        self.ended = self.ended || !self.shared.take(&mut self.fresh);
        self.fresh.pop_front()
    }

    /// Makes one try; returns the time after it.
    fn begin(&mut self, mut pair: Pair, now: Instant) -> Instant {
        self.tries += 1;
        pair.tries = pair.tries.saturating_add(1);
        let address = pair.target.ip();
        self.limits.asked(address, now);
        let place = self.free.pop().unwrap_or(u32::MAX);
        let place = if place == u32::MAX { self.slots.len() as u32 } else { place };
        let key = u64::from(self.next_try) << 32 | u64::from(place);
        self.next_try = self.next_try.wrapping_add(1);
        let look = self.destinations.at(address).may_be_at_once();
        self.shared.meetings.asks(self.number, pair.target);
        let begun = self.connector.begin(key, pair.target, look);
        let after = Instant::now();
        if place as usize == self.slots.len() {
            self.slots.push(None);
        }
        match begun {
            Begun::UnderWay(connecting) => self.is_under_way(pair, connecting, key, now),
            Begun::Connected(connecting) => {
                self.over_at_once(place, address);
                self.came_about(pair, connecting.own(), after - now, after);
            }
            Begun::Over(outcome) => {
                self.over_at_once(place, address);
                self.settle(pair, outcome, after - now, after);
            }
            Begun::NoRoom(code) => {
                self.free.push(place);
                self.no_room(pair, code, after);
            }
        }
        self.shared.meetings.has_asked(self.number);
        after
    }

    /// A try was over when its call returned.
    fn over_at_once(&mut self, place: u32, address: IpAddr) {
        self.free.push(place);
        self.pace.over_at_once();
        self.streak += 1;
        self.destinations.at(address).was_at_once(true);
    }

    /// A try that was begun then has to be waited for.
    fn is_under_way(&mut self, mut pair: Pair, connecting: Connecting, key: u64, since: Instant) {
        pair.no_room_since = None;
        self.streak = 0;
        let destination = self.destinations.at(pair.target.ip());
        destination.was_at_once(false);
        let own = (destination.is_own != Some(false)).then(|| connecting.own()).flatten();
        let is_own = own.is_some_and(|own| own.ip() == pair.target.ip());
        destination.is_own = Some(is_own);
        let own = own.filter(|_| is_own);
        if let Some(own) = own {
            self.shared.meetings.under_way(own, pair.target);
        }
        let blind = !pair.once && destination.trips.smoothed().is_none();
        let wait = match destination.trips.wait(pair.tries - 1) {
            _ if blind => LOOKS[0],
            wait if pair.once => wait.min(ONCE),
            wait => wait,
        };
        self.waits.push(Reverse((since + wait * self.patience(), key)));
        self.slots[key as u32 as usize] = Some(Slot { key, pair, connecting, own, since, blind });
        self.shared.under_way.fetch_add(1, Ordering::Relaxed);
        self.forget_waits();
    }

    /// The system had no room: the try did not happen. Where that lasts, it is the verdict.
    fn no_room(&mut self, mut pair: Pair, code: i32, now: Instant) {
        self.tries -= 1;
        pair.tries -= 1;
        self.pace.no_room(now);
        let since = *pair.no_room_since.get_or_insert(now);
        if now.duration_since(since) < NO_ROOM_FOR {
            // Behind the others: what it lacks may be its destination's alone, such as local ports.
            self.again.push_back(pair);
        } else {
            self.found(pair, PortState::Undecided, Reason::System { code }, None);
        }
    }

    /// Looks at the connections that have news.
    fn hear(&mut self) {
        let now = Instant::now();
        for at in 0..self.ready.len() {
            let key = self.ready[at];
            let Some(slot) = self.slots.get(key as u32 as usize).and_then(Option::as_ref) else { continue };
            let round_trip = now - slot.since;
            if slot.key == key
                && let Some(outcome) = self.connector.outcome(&slot.connecting, slot.pair.target)
                && let Some(slot) = self.leave(key, round_trip)
            {
                self.over(&slot, Some(outcome), round_trip, now);
            }
        }
        self.ready.clear();
    }

    /// Ends the waits that are over.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((until, key))) = self.waits.peek().copied()
            && until <= now
        {
            self.waits.pop();
            let Some(slot) = self.slots.get(key as u32 as usize).and_then(Option::as_ref) else { continue };
            if slot.key != key {
                continue;
            }
            // The answer may have come since the last look.
            let outcome = self.connector.outcome(&slot.connecting, slot.pair.target);
            let elapsed = now - slot.since;
            if outcome.is_none()
                && let Some(longer) = self.longer(slot, elapsed)
            {
                self.waits.push(Reverse((now + longer, key)));
                continue;
            }
            let Some(slot) = self.leave(key, elapsed) else { continue };
            self.over(&slot, outcome, elapsed, now);
        }
    }

    /// A try that was under way is over; none for silence.
    fn over(&mut self, slot: &Slot, outcome: Option<Outcome>, round_trip: Duration, now: Instant) {
        if let (Some(own), false) = (slot.own, outcome == Some(Outcome::Connected)) {
            self.shared.meetings.ended(own, slot.pair.target);
        }
        match outcome {
            Some(Outcome::Connected) => self.came_about(slot.pair, slot.own, round_trip, now),
            Some(outcome) => self.settle(slot.pair, outcome, round_trip, now),
            None => self.silent(slot.pair, now),
        }
    }

    /// A connection came about, and is still open: with a server, with itself or with another one of ours.
    fn came_about(&mut self, mut pair: Pair, own: Option<SocketAddr>, round_trip: Duration, now: Instant) {
        let own = own.filter(|own| own.ip() == pair.target.ip());
        let met_itself = own.is_some_and(|own| own.port() == pair.target.port());
        if !own.is_some_and(|own| self.shared.meetings.met(self.number, own, pair.target)) && !met_itself {
            self.settle(pair, Outcome::Connected, round_trip, now);
            return;
        }
        if met_itself {
            pair.met_itself += 1;
        } else {
            pair.met_others += 1;
        }
        if pair.met_itself >= MEETINGS {
            self.found(pair, PortState::Closed, Reason::MetItself, Some(round_trip));
        } else if pair.met_others >= MEETINGS_WITH_OTHERS {
            self.found(pair, PortState::Undecided, Reason::MetItself, None);
        } else {
            pair.tries -= 1;
            self.again.push_back(pair);
        }
    }

    /// How much longer a blind try is to wait, where it is.
    fn longer(&self, slot: &Slot, elapsed: Duration) -> Option<Duration> {
        let trips = self.destinations.known(slot.pair.target.ip())?.trips;
        let until = match trips.smoothed() {
            _ if !slot.blind => return None,
            Some(_) => trips.wait(slot.pair.tries - 1) * self.patience(),
            None => {
                let looks = if sys::REPEATS { &LOOKS[..] } else { &LOOKS[..2] };
                looks.iter().map(|look| *look * self.patience()).find(|look| *look > elapsed)?
            }
        };
        until.checked_sub(elapsed).filter(|left| !left.is_zero())
    }

    fn patience(&self) -> u32 {
        self.shared.manner.patience.max(1)
    }

    /// Takes a connection out, which is so old, with the system's own repeats counted; dropping it hangs up.
    fn leave(&mut self, key: u64, elapsed: Duration) -> Option<Slot> {
        let place = key as u32;
        let mut slot = self.slots.get_mut(place as usize)?.take()?;
        if elapsed >= LOOKS[1] {
            let repeats = slot.connecting.repeats();
            self.pace.repeated(repeats);
            self.tries += u64::from(repeats);
            slot.pair.tries = slot.pair.tries.saturating_add(repeats);
        }
        self.free.push(place);
        self.shared.under_way.fetch_sub(1, Ordering::Relaxed);
        Some(slot)
    }

    /// A try that got no answer in its time: another one, or the verdict.
    fn silent(&mut self, pair: Pair, now: Instant) {
        let least = self.shared.manner.least_tries.max(1);
        if pair.asked_alone == 0 && pair.tries < self.destinations.at(pair.target.ip()).tries(least) {
            self.again.push_back(pair);
            return;
        }
        let destination = *self.destinations.at(pair.target.ip());
        if let (Some(icmp), false) = (destination.no_way, destination.is_there) {
            // What was said of the host holds for each of its ports: this one's error was held back.
            self.found(pair, PortState::Unreachable, Reason::LimitedIcmp(icmp), None);
            return;
        }
        match self.limits.silent(pair, now) {
            Silence::Plain => self.found(pair, PortState::Filtered, Reason::Timeout, None),
            Silence::Later => {}
            Silence::Doubtful(icmp) => self.doubtful(pair, icmp),
        }
    }

    /// A silent port, while others came back as that error: were there one, it would tell a filter as well; or that
    /// no way leads there.
    fn doubtful(&mut self, pair: Pair, icmp: Icmp) {
        let state = if icmp.is_prohibition() { PortState::Filtered } else { PortState::Undecided };
        self.found(pair, state, Reason::LimitedIcmp(icmp), None);
    }

    fn settle(&mut self, pair: Pair, outcome: Outcome, round_trip: Duration, now: Instant) {
        let address = pair.target.ip();
        let (state, reason) = match outcome {
            Outcome::Connected => (PortState::Open, Reason::SynAck),
            Outcome::Refused { refusal: Refusal::TimedOut, icmp: None, .. } => {
                self.silent(pair, now);
                return;
            }
            Outcome::Refused { refusal, code, icmp } => {
                let (state, reason) = tcp_refused(refusal, code, icmp);
                if let Some(icmp) = icmp {
                    let own = icmp.from.is_some_and(|from| self.is_own(from));
                    for pair in self.limits.seen(address, icmp, own, now) {
                        self.silent(pair, now);
                    }
                    // A host that says so of itself is there: what it rejects with is one port's.
                    if state == PortState::Unreachable && icmp.from != Some(address) {
                        self.destinations.at(address).no_way = Some(icmp);
                    }
                }
                (state, reason)
            }
        };
        let answered = !matches!(reason, Reason::System { .. });
        if answered {
            let destination = self.destinations.at(address);
            destination.answered(pair.tries, round_trip);
            destination.is_there |= matches!(reason, Reason::SynAck | Reason::Reset);
            self.pace.answered(pair.tries, now);
        }
        self.found(pair, state, reason, answered.then_some(round_trip));
    }

    /// Whether that is an address of this machine: one that can be bound.
    fn is_own(&mut self, address: IpAddr) -> bool {
        if self.own.len() > MOST_SENDERS {
            self.own.clear();
        }
        let bindable = || {
            let at = SocketAddr::new(address, 0);
            sys::try_bind(Transport::Tcp, at, None, Reuse::Plain).is_ok()
        };
        *self.own.entry(address).or_insert_with(bindable)
    }

    fn found(&mut self, pair: Pair, state: PortState, reason: Reason, round_trip: Option<Duration>) {
        let verdict = Verdict { state, reason, round_trip, tries: pair.tries };
        self.found.push(Found { index: pair.index, target: pair.target, verdict });
    }

    /// Throws away the waits of tries that are over, where they are many.
    fn forget_waits(&mut self) {
        if self.waits.len() > 4 * self.slots.len() + 1024 {
            let slots = &self.slots;
            self.waits.retain(|Reverse((_, key))| {
                slots.get(*key as u32 as usize).and_then(Option::as_ref).is_some_and(|slot| slot.key == *key)
            });
        }
    }
}
