//! TCP ports: the sweep finds those that are open, and conversations follow while it goes on.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use portolan_core::probe::{PortState, Protocol, Verdict, Via};
use portolan_core::socket::Transport;

use super::{Plan, Probed};
use crate::exchange::{Agenda, Next, Talk, Told, exchange};
use crate::sweep::{self, Found, sweep};
use crate::{Error, Namespace};

/// How soon an open port that the sweep has found is talked to.
const LOOK_UP: Duration = Duration::from_millis(10);

/// Asks every TCP port of the plan.
pub(super) fn probe(
    namespace: &Namespace,
    plan: &Plan,
    cancel: &AtomicBool,
    found: &mut (dyn FnMut(Probed) + Send),
) -> Result<(), Error> {
    let ports: Vec<usize> =
        (0..plan.ports.len()).filter(|&port| plan.ports[port].transport == Transport::Tcp).collect();
    let hosts = plan.targets.len();
    // Hosts of the first port, hosts of the second …: neighbours in time are different hosts.
    let pair = |index: u64| {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        Some((index % hosts, *ports.get(index.checked_div(hosts)?)?))
    };
    let state = Mutex::new(State { open: VecDeque::new(), pending: HashMap::new(), swept: false, found });
    let mut targets = (0_u64..).map_while(|index| {
        let (target, port) = pair(index)?;
        plan.address(target, port)
    });
    let manner = sweep::Manner {
        least_tries: plan.tcp_tries,
        patience: plan.patience.max(1),
        rate: plan.rate,
        source: plan.source,
        ..sweep::Manner::default()
    };
    let mut heard = |Found { index, verdict, .. }: Found| {
        let Some((target, port)) = pair(index) else { return };
        let talks = plan.ports[port].protocol.is_some() || !plan.likely.is_empty();
        let mut state = lock(&state);
        if verdict.state == PortState::Open && talks {
            state.open.push_back(Open { target, port, verdict, next_likely: None, first_failure: None });
        } else {
            (state.found)(Probed::silent(target, port, verdict));
        }
    };
    if ports.iter().all(|&port| plan.ports[port].protocol.is_none()) && plan.likely.is_empty() {
        // Nobody is talked to.
        return sweep(namespace, &manner, &mut targets, cancel, &mut heard).map(drop);
    }
    let swept = thread::scope(|scope| {
        let talking = scope.spawn(|| {
            exchange(namespace, &plan.exchange_manner(), &mut Streams { plan, state: &state }, cancel)
        });
        let swept = sweep(namespace, &manner, &mut targets, cancel, &mut heard);
        lock(&state).swept = true;
        let talked = talking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        swept.and(talked)
    });
    // What was found open and not talked to any more, because somebody broke it off.
    let mut state = lock(&state);
    let left: Vec<Open> = state.open.drain(..).collect();
    let left: Vec<Open> = left.into_iter().chain(state.pending.drain().map(|(_, open)| open)).collect();
    for open in left {
        (state.found)(Probed::silent(open.target, open.port, open.verdict));
    }
    swept
}

fn lock<'a, 'b>(state: &'a Mutex<State<'b>>) -> MutexGuard<'a, State<'b>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What both threads look at.
struct State<'a> {
    /// Found open, to be talked to.
    open: VecDeque<Open>,
    /// Being talked to.
    pending: HashMap<u64, Open>,
    swept: bool,
    found: &'a mut (dyn FnMut(Probed) + Send),
}

struct Open {
    target: usize,
    port: usize,
    verdict: Verdict,
    /// Which of the likely protocols is tried; none for the port's own.
    next_likely: Option<usize>,
    first_failure: Option<(&'static str, String)>,
}

struct Streams<'a, 'b> {
    plan: &'a Plan,
    state: &'a Mutex<State<'b>>,
}

impl Streams<'_, '_> {
    /// The protocol whose turn it is for a port.
    fn protocol(&self, open: &Open) -> Option<(&'static Protocol, Via)> {
        let own = self.plan.ports.get(open.port)?.protocol;
        match (open.next_likely, own) {
            (None, Some(own)) => Some(own),
            (likely, _) => {
                let protocol = *self.plan.likely.get(likely.unwrap_or(0))?;
                let via = *protocol.via.iter().find(|via| via.transport() == Transport::Tcp)?;
                Some((protocol, via))
            }
        }
    }

    fn talk(&self, open: &Open) -> Option<Talk> {
        let (protocol, via) = self.protocol(open)?;
        let to: SocketAddr = self.plan.address(open.target, open.port)?;
        let session = self.plan.session(protocol, via, open.target, open.port)?;
        let host = self.plan.targets.get(open.target)?.host.clone();
        let key = (open.target * self.plan.ports.len() + open.port) as u64;
        Some(Talk { key, host, to, via, tries: 1, pace: None, session })
    }
}

impl Agenda for Streams<'_, '_> {
    fn next(&mut self, now: Instant) -> Next {
        let mut state = lock(self.state);
        while let Some(open) = state.open.pop_front() {
            match self.talk(&open) {
                Some(talk) => {
                    state.pending.insert(talk.key, open);
                    return Next::Talk(Box::new(talk));
                }
                None => (state.found)(Probed {
                    failure: open.first_failure,
                    ..Probed::silent(open.target, open.port, open.verdict)
                }),
            }
        }
        if state.swept { Next::Nothing } else { Next::At(now + LOOK_UP) }
    }

    fn over(&mut self, told: Told, _: Instant) {
        let mut state = lock(self.state);
        let Some(mut open) = state.pending.remove(&told.key) else { return };
        let id = self.protocol(&open).map_or("none", |(protocol, _)| protocol.id);
        match told.answer {
            Ok(answer) => {
                let silent = Probed::silent(open.target, open.port, open.verdict);
                (state.found)(Probed { answer: Some(answer), ..silent });
            }
            Err(why) => {
                open.first_failure.get_or_insert((id, why));
                let own = self.plan.ports.get(open.port).is_some_and(|asked| asked.protocol.is_some());
                open.next_likely = Some(match open.next_likely {
                    Some(index) => index + 1,
                    None if own => 0,
                    None => 1,
                });
                // The next likely protocol, or the end of it: `next` says which.
                state.open.push_back(open);
            }
        }
    }
}
