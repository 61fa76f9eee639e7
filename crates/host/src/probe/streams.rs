//! TCP ports: the sweep finds those that are open, and conversations follow while it goes on.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use portolan_core::probe::{PortState, Protocol, Search, Verdict, Via};
use portolan_core::socket::Transport;

use super::{Plan, Probed};
use crate::exchange::{Agenda, Next, Talk, Told, exchange};
use crate::sweep::{self, Found, sweep};
use crate::{Error, Namespace};

/// How soon an open port that the sweep has found is talked to.
const LOOK_UP: Duration = Duration::from_millis(10);
/// How long a server is waited for that may not speak the protocol at all, besides some round trips: many are tried one
/// after the other.
const MOMENT: Duration = Duration::from_secs(1);

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
        let talks = plan.ports[port].protocol.is_some() || plan.identify;
        let mut state = lock(&state);
        if verdict.state == PortState::Open && talks {
            state.open.push_back(Open { target, port, verdict, search: None, first_failure: None });
        } else {
            (state.found)(Probed::silent(target, port, verdict));
        }
    };
    if ports.iter().all(|&port| plan.ports[port].protocol.is_none()) && !plan.identify {
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
        (state.found)(open.told());
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
    /// What the port is, where its own protocol is not known or not spoken: a conversation after the other.
    search: Option<Search>,
    first_failure: Option<(&'static str, String)>,
}

struct Streams<'a, 'b> {
    plan: &'a Plan,
    state: &'a Mutex<State<'b>>,
}

impl Streams<'_, '_> {
    /// The conversation whose turn it is, and the longest wait in it.
    fn turn(&self, open: &mut Open) -> Option<(&'static Protocol, Via, Option<Duration>)> {
        let asked = self.plan.ports.get(open.port)?;
        let search = match (&mut open.search, asked.protocol) {
            (None, Some((protocol, via))) => return Some((protocol, via, None)),
            (Some(search), _) => search,
            (search @ None, None) if self.plan.identify => search.insert(Search::new(asked.port, None)),
            (None, None) => return None,
        };
        let attempt = search.next_attempt()?;
        let moment = MOMENT + open.verdict.round_trip.unwrap_or_default() * 4;
        Some((attempt.protocol, attempt.via, (!attempt.patient).then_some(moment)))
    }

    fn talk(&self, open: &mut Open) -> Option<Talk> {
        let (protocol, via, wait) = self.turn(open)?;
        let to: SocketAddr = self.plan.address(open.target, open.port)?;
        let session = self.plan.session(protocol, via, open.target, open.port)?;
        let host = self.plan.targets.get(open.target)?.host.clone();
        let key = (open.target * self.plan.ports.len() + open.port) as u64;
        Some(Talk { key, host, to, via, tries: 1, pace: None, wait, session })
    }
}

impl Open {
    /// What is known of it once nobody is talked to any more.
    fn told(self) -> Probed {
        let silent = Probed::silent(self.target, self.port, self.verdict);
        let tried = self.search.as_ref().map_or(0, Search::tried);
        let answer = self.search.and_then(Search::best);
        let failure = match self.first_failure {
            Some((protocol, why)) if tried > 1 => {
                Some((protocol, format!("{why}; nor were {} other conversations understood", tried - 1)))
            }
            failure => failure,
        };
        Probed { failure: failure.filter(|_| answer.is_none()), answer, ..silent }
    }
}

impl Agenda for Streams<'_, '_> {
    fn next(&mut self, now: Instant) -> Next {
        let mut state = lock(self.state);
        while let Some(mut open) = state.open.pop_front() {
            match self.talk(&mut open) {
                Some(talk) => {
                    state.pending.insert(talk.key, open);
                    return Next::Talk(Box::new(talk));
                }
                None => (state.found)(open.told()),
            }
        }
        if state.swept { Next::Nothing } else { Next::At(now + LOOK_UP) }
    }

    fn over(&mut self, told: Told, _: Instant) {
        let mut state = lock(self.state);
        let Some(mut open) = state.pending.remove(&told.key) else { return };
        let own = self.plan.ports.get(open.port).and_then(|asked| asked.protocol);
        let current = open.search.as_ref().and_then(|search| Some(search.current()?.protocol));
        let id = current.or(own.map(|(protocol, _)| protocol)).map_or("none", |protocol| protocol.id);
        match (told.answer, &mut open.search) {
            (Ok(answer), None) => {
                let silent = Probed::silent(open.target, open.port, open.verdict);
                (state.found)(Probed { answer: Some(answer), ..silent });
                return;
            }
            (Ok(answer), Some(search)) => search.answered(answer),
            (Err(why), search) => {
                open.first_failure.get_or_insert((id, why));
                if search.is_none() && !self.plan.identify {
                    (state.found)(open.told());
                    return;
                }
                let port = told.to.port();
                search.get_or_insert_with(|| Search::new(port, own));
            }
        }
        // The next conversation, or the end of it: `next` says which.
        state.open.push_back(open);
    }
}
