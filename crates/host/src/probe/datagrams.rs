//! UDP ports: those whose protocol is known first, then all others; then those again whose silence proved nothing. Where
//! the likely protocols are to be tried, they follow on ports that answered and were not understood, and on those whose
//! silence is what it looks like.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use portolan_core::probe::{PortState, Reason, Verdict, Via, udp_refused};
use portolan_core::socket::Transport;

use super::doubt::{Doubt, Silence};
use super::knock::Knock;
use super::searched::Searched;
use super::{Plan, Probed};
use crate::exchange::{Agenda, Contact, Next, Talk, Told, exchange};
use crate::{Error, Namespace};

/// Tries of a port that is asked again; more where packets are seen to get lost.
const TRIES_AGAIN: u16 = 2;
/// So many ports that are to be looked into wait at most before further ports are asked.
const MOST_UNKNOWN: usize = 1024;

/// Asks every UDP port of the plan.
pub(super) fn probe(
    namespace: &Namespace,
    plan: &Plan,
    cancel: &AtomicBool,
    found: &mut (dyn FnMut(Probed) + Send),
) -> Result<(), Error> {
    let mut ports: Vec<usize> =
        (0..plan.ports.len()).filter(|&port| plan.ports[port].transport == Transport::Udp).collect();
    ports.sort_by_key(|&port| plan.ports[port].protocol.is_none());
    let mut agenda = Datagrams {
        plan,
        ports,
        next: 0,
        doubt: Doubt::default(),
        again: VecDeque::new(),
        unknown: VecDeque::new(),
        pending: HashMap::new(),
        found,
    };
    let done = exchange(namespace, &plan.exchange_manner(), &mut agenda, cancel);
    // What was not looked into to its end, because somebody broke it off.
    let Datagrams { unknown, pending, found, .. } = agenda;
    unknown.into_iter().chain(pending.into_values()).for_each(|searched| found(searched.told()));
    done
}

/// Which question to a port this is: kept in the lowest bits of its key.
const FIRST: u64 = 0;
const AGAIN: u64 = 1;
const SEARCH: u64 = 2;
const QUESTIONS: u32 = 2;

struct Datagrams<'a> {
    plan: &'a Plan,
    /// Places of UDP ports in the plan, in the order they are asked.
    ports: Vec<usize>,
    /// The next pair: hosts of the first port, hosts of the second …
    next: usize,
    doubt: Doubt,
    /// What is to be asked again: host and port by their places.
    again: VecDeque<(usize, usize)>,
    /// What is to be looked into, and what is being looked into.
    unknown: VecDeque<Searched>,
    pending: HashMap<u64, Searched>,
    found: &'a mut (dyn FnMut(Probed) + Send),
}

impl Datagrams<'_> {
    fn talk(&self, target: usize, port: usize, is_again: bool) -> Option<Talk> {
        let to = self.plan.address(target, port)?;
        let session = match self.plan.ports.get(port)?.protocol {
            Some((protocol, via)) => self.plan.session(protocol, via, target, port)?,
            None => Box::new(Knock),
        };
        let host = self.plan.targets.get(target)?.host.clone();
        let tries = if is_again { TRIES_AGAIN.min(self.plan.udp_tries) } else { self.plan.udp_tries };
        let key = self.plan.key(target, port) << QUESTIONS | if is_again { AGAIN } else { FIRST };
        Some(Talk { key, host, to, via: Via::Udp, tries, pace: None, wait: None, session })
    }

    /// The next likely protocol of a port.
    fn search(&mut self) -> Option<Talk> {
        while let Some(mut searched) = self.unknown.pop_front() {
            match searched.talk(self.plan) {
                Some(talk) => {
                    self.pending.insert(talk.key, searched);
                    return Some(Talk { key: talk.key << QUESTIONS | SEARCH, ..talk });
                }
                None => (self.found)(searched.told()),
            }
        }
        None
    }

    /// What a likely protocol came to.
    fn searched(&mut self, mut searched: Searched, told: Told) {
        let Told { to, contact, answer, round_trip, .. } = told;
        let was_silent = searched.verdict.state != PortState::Open;
        match contact {
            Contact::Answered => {
                if was_silent {
                    let (state, reason) = (PortState::Open, Reason::Answer);
                    searched.verdict = Verdict { state, reason, round_trip, ..searched.verdict };
                }
                searched.heard(self.plan, answer);
            }
            // Its earlier refusals were lost or eaten by a limit.
            Contact::Refused { refusal, code, icmp: Some(icmp) } if was_silent => {
                let (state, reason) = udp_refused(to.ip(), refusal, code, Some(icmp));
                searched.verdict = Verdict { state, reason, round_trip, ..searched.verdict };
                (self.found)(searched.told());
                return;
            }
            Contact::Refused { .. } | Contact::Silent => {}
        }
        self.unknown.push_back(searched);
    }

    fn again(&mut self, now: Instant) -> Next {
        let mut soonest = None;
        for _ in 0..self.again.len().min(64) {
            let Some((target, port)) = self.again.pop_front() else { break };
            let Some(address) = self.plan.targets.get(target).map(|target| target.address) else { continue };
            match self.doubt.ask_again(address, now) {
                Ok(()) => {
                    let pace = self.doubt.pace(address);
                    let Some(talk) = self.talk(target, port, true) else { continue };
                    return Next::Talk(Box::new(Talk { pace, ..talk }));
                }
                Err(when) => {
                    self.again.push_back((target, port));
                    soonest = Some(when);
                }
            }
        }
        soonest.map_or(Next::Nothing, Next::At)
    }

    fn verdict(&mut self, to: SocketAddr, told: &Told, is_again: bool) -> Option<(PortState, Reason)> {
        Some(match told.contact {
            Contact::Answered => (PortState::Open, Reason::Answer),
            Contact::Refused { refusal, code, icmp } => udp_refused(to.ip(), refusal, code, icmp),
            Contact::Silent if is_again => (PortState::OpenFiltered, Reason::Timeout),
            Contact::Silent => match self.doubt.silence(to.ip()) {
                Silence::Plain => (PortState::OpenFiltered, Reason::Timeout),
                Silence::Again => return None,
                Silence::Doubtful(icmp) => (PortState::Undecided, Reason::LimitedIcmp(icmp)),
            },
        })
    }
}

impl Agenda for Datagrams<'_> {
    fn next(&mut self, now: Instant) -> Next {
        if self.unknown.len() >= MOST_UNKNOWN
            && let Some(talk) = self.search()
        {
            return Next::Talk(Box::new(talk));
        }
        let hosts = self.plan.targets.len();
        while let Some(&port) = self.ports.get(self.next.checked_div(hosts).unwrap_or(usize::MAX)) {
            let target = self.next % hosts;
            self.next += 1;
            if let Some(talk) = self.talk(target, port, false) {
                return Next::Talk(Box::new(talk));
            }
        }
        match self.again(now) {
            Next::Talk(talk) => Next::Talk(talk),
            later => self.search().map_or(later, |talk| Next::Talk(Box::new(talk))),
        }
    }

    fn over(&mut self, told: Told, now: Instant) {
        let (key, question) = (told.key >> QUESTIONS, told.key & ((1 << QUESTIONS) - 1));
        if let Contact::Refused { icmp: Some(icmp), .. } = told.contact {
            self.doubt.seen(told.to.ip(), icmp, now);
        }
        if question == SEARCH {
            if let Some(searched) = self.pending.remove(&key) {
                self.searched(searched, told);
            }
            return;
        }
        let is_again = question == AGAIN;
        let (target, port) = (key as usize / self.plan.ports.len(), key as usize % self.plan.ports.len());
        if is_again {
            self.doubt.answered_again(told.to.ip());
        }
        let Some((state, reason)) = self.verdict(told.to, &told, is_again) else {
            self.again.push_back((target, port));
            return;
        };
        let verdict = Verdict { state, reason, round_trip: told.round_trip, tries: told.tries };
        let (answer, failure) = match told.answer {
            Ok(answer) => (Some(answer), None),
            Err(why) if told.contact == Contact::Answered => (None, Some((self.plan.protocol_id(port), why))),
            Err(_) => (None, None),
        };
        let probed = Probed { target, port, verdict, answer, failure };
        let may_be_open = matches!(state, PortState::Open | PortState::OpenFiltered);
        if self.plan.identify && may_be_open && probed.answer.is_none() {
            self.unknown.push_back(Searched::after(probed));
        } else {
            (self.found)(probed);
        }
    }
}
