//! A port that may be talked to more than once: its own protocol, then the likely ones, until one is understood.

use std::time::Duration;

use portolan_core::answer::Answer;
use portolan_core::probe::{Protocol, Search, Verdict, Via};

use super::{NO_PROTOCOL, Plan, Probed};
use crate::exchange::Talk;

/// How long a server is waited for that may not speak the protocol at all, besides some round trips: many are tried one
/// after the other.
const MOMENT: Duration = Duration::from_secs(1);

/// A port, and what is known of it so far.
pub(super) struct Searched {
    target: usize,
    port: usize,
    pub(super) verdict: Verdict,
    /// Its own protocol has had its turn, or it has none.
    own_is_over: bool,
    /// What was told in its own protocol.
    own: Option<Answer>,
    /// What the port is, where its own protocol is not known or not spoken.
    search: Option<Search>,
    first_failure: Option<(&'static str, String)>,
}

impl Searched {
    /// A port, by its places in the plan, that nobody has talked to yet.
    pub(super) const fn new(target: usize, port: usize, verdict: Verdict) -> Self {
        Self { target, port, verdict, own_is_over: false, own: None, search: None, first_failure: None }
    }

    /// A port that did not tell anything in its own protocol.
    pub(super) fn after(probed: Probed) -> Self {
        let Probed { target, port, verdict, failure, .. } = probed;
        Self { own_is_over: true, first_failure: failure, ..Self::new(target, port, verdict) }
    }

    /// The conversation whose turn it is, and the longest wait in it.
    fn turn(&mut self, plan: &Plan) -> Option<(&'static Protocol, Via, Option<Duration>)> {
        let asked = plan.ports.get(self.port)?;
        if !std::mem::replace(&mut self.own_is_over, true)
            && let Some((protocol, via)) = asked.protocol
        {
            return Some((protocol, via, None));
        }
        if self.own.is_some() || !plan.identify {
            return None;
        }
        let new = || Search::new(asked.transport, asked.port, asked.protocol);
        let attempt = self.search.get_or_insert_with(new).next_attempt()?;
        let moment = MOMENT + self.verdict.round_trip.unwrap_or_default() * 4;
        Some((attempt.protocol, attempt.via, (!attempt.patient).then_some(moment)))
    }

    /// The next conversation; none where all are over.
    pub(super) fn talk(&mut self, plan: &Plan) -> Option<Talk> {
        let (protocol, via, wait) = self.turn(plan)?;
        let to = plan.address(self.target, self.port)?;
        let session = plan.session(protocol, via, self.target, self.port)?;
        let host = plan.targets.get(self.target)?.host.clone();
        let key = plan.key(self.target, self.port);
        Some(Talk { key, host, to, via, tries: 1, pace: None, wait, session })
    }

    /// What came of the last conversation.
    pub(super) fn heard(&mut self, plan: &Plan, answer: Result<Answer, String>) {
        match (answer, &mut self.search) {
            (Ok(answer), Some(search)) => search.answered(answer),
            (Ok(answer), None) => self.own = Some(answer),
            (Err(why), search) => {
                let current = search.as_ref().and_then(|search| Some(search.current()?.protocol.id));
                let own = || plan.protocol_id(self.port);
                self.first_failure.get_or_insert_with(|| (current.unwrap_or_else(own), why));
            }
        }
    }

    /// What is known of it once nobody is talked to any more.
    pub(super) fn told(self) -> Probed {
        let silent = Probed::silent(self.target, self.port, self.verdict);
        let tried = self.search.as_ref().map_or(0, Search::tried);
        let answer = self.own.or(self.search.and_then(Search::best));
        let failure = self.first_failure.filter(|_| answer.is_none()).map(|(protocol, why)| {
            match tried.saturating_sub(usize::from(protocol != NO_PROTOCOL)) {
                0 => (protocol, why),
                others => (protocol, format!("{why}; nor were {others} other conversations understood")),
            }
        });
        Probed { failure, answer, ..silent }
    }
}
