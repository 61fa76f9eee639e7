//! UDP ports: those whose protocol is known first, then all others; then those again whose silence proved nothing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use portolan_core::probe::{PortState, Reason, Verdict, Via, udp_refused};
use portolan_core::socket::Transport;

use super::doubt::{Doubt, Silence};
use super::knock::Knock;
use super::{Plan, Probed};
use crate::exchange::{Agenda, Contact, Next, Talk, Told, exchange};
use crate::{Error, Namespace};

/// Tries of a port that is asked again; more where packets are seen to get lost.
const TRIES_AGAIN: u16 = 2;

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
    let mut agenda =
        Datagrams { plan, ports, next: 0, doubt: Doubt::default(), again: VecDeque::new(), found };
    exchange(namespace, &plan.exchange_manner(), &mut agenda, cancel)
}

struct Datagrams<'a> {
    plan: &'a Plan,
    /// Places of UDP ports in the plan, in the order they are asked.
    ports: Vec<usize>,
    /// The next pair: hosts of the first port, hosts of the second …
    next: usize,
    doubt: Doubt,
    /// What is to be asked again: host and port by their places.
    again: VecDeque<(usize, usize)>,
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
        // Whether it is asked again is kept in the key's lowest bit.
        let key = ((target * self.plan.ports.len() + port) as u64) << 1 | u64::from(is_again);
        Some(Talk { key, host, to, via: Via::Udp, tries, pace: None, wait: None, session })
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

    fn verdict(
        &mut self,
        to: SocketAddr,
        told: &Told,
        is_again: bool,
        now: Instant,
    ) -> Option<(PortState, Reason)> {
        Some(match told.contact {
            Contact::Answered => (PortState::Open, Reason::Answer),
            Contact::Refused { refusal, code, icmp } => {
                if let Some(icmp) = icmp {
                    self.doubt.seen(to.ip(), icmp, now);
                }
                udp_refused(to.ip(), refusal, code, icmp)
            }
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
        let hosts = self.plan.targets.len();
        while let Some(&port) = self.ports.get(self.next.checked_div(hosts).unwrap_or(usize::MAX)) {
            let target = self.next % hosts;
            self.next += 1;
            if let Some(talk) = self.talk(target, port, false) {
                return Next::Talk(Box::new(talk));
            }
        }
        self.again(now)
    }

    fn over(&mut self, told: Told, now: Instant) {
        let (pair, is_again) = ((told.key >> 1) as usize, told.key & 1 == 1);
        let (target, port) = (pair / self.plan.ports.len(), pair % self.plan.ports.len());
        if is_again {
            self.doubt.answered_again(told.to.ip());
        }
        let Some((state, reason)) = self.verdict(told.to, &told, is_again, now) else {
            self.again.push_back((target, port));
            return;
        };
        let verdict = Verdict { state, reason, round_trip: told.round_trip, tries: told.tries };
        let protocol =
            self.plan.ports.get(port).and_then(|asked| asked.protocol).map_or("none", |(p, _)| p.id);
        let (answer, failure) = match told.answer {
            Ok(answer) => (Some(answer), None),
            Err(why) if told.contact == Contact::Answered => (None, Some((protocol, why))),
            Err(_) => (None, None),
        };
        (self.found)(Probed { target, port, verdict, answer, failure });
    }
}
