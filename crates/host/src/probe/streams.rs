//! TCP ports: the sweep finds those that are open, and conversations follow while it goes on.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use portolan_core::probe::PortState;
use portolan_core::socket::Transport;

use super::searched::Searched;
use super::{Plan, Probed};
use crate::exchange::{Agenda, Next, Told, exchange};
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
        let talks = plan.ports[port].protocol.is_some() || plan.identify;
        let mut state = lock(&state);
        if verdict.state == PortState::Open && talks {
            state.open.push_back(Searched::new(target, port, verdict));
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
    let left: Vec<Searched> = state.open.drain(..).collect();
    let left: Vec<Searched> = left.into_iter().chain(state.pending.drain().map(|(_, open)| open)).collect();
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
    open: VecDeque<Searched>,
    /// Being talked to.
    pending: HashMap<u64, Searched>,
    swept: bool,
    found: &'a mut (dyn FnMut(Probed) + Send),
}

struct Streams<'a, 'b> {
    plan: &'a Plan,
    state: &'a Mutex<State<'b>>,
}

impl Agenda for Streams<'_, '_> {
    fn next(&mut self, now: Instant) -> Next {
        let mut state = lock(self.state);
        while let Some(mut open) = state.open.pop_front() {
            match open.talk(self.plan) {
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
        open.heard(self.plan, told.answer);
        // The next conversation, or the end of it: `next` says which.
        state.open.push_back(open);
    }
}
