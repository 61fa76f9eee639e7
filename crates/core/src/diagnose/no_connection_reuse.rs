//! `no-connection-reuse`: a client that closes its connections itself fills the range with TIME_WAIT.

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::census::Towards;
use crate::socket::State;
use crate::{cause, remedy};

pub(super) const RULE: Rule = Rule {
    id: "no-connection-reuse",
    title: "a client opens and closes connections instead of reusing them",
    doc: DOC,
    check,
};

const DOC: &str = "\
The side that closes a TCP connection first keeps it for 60 s in TIME_WAIT (Windows: 30 to 240 s), and with it the
local port for that destination. A client that opens a connection for each request and closes it has, at 470
requests a second, every port of Linux' range in TIME_WAIT. No process holds them: whose they were is told from the
live connections to the same destination.

What to do: keep connections open and reuse them (HTTP keep-alive, connection pools; nginx: keepalive in the
upstream block); let the server close first; spread over addresses. net.ipv4.tcp_tw_reuse = 1 lets the kernel reuse
them after a second, where both sides use timestamps. tcp_fin_timeout does not shorten TIME_WAIT.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(census) = case.census else { return Vec::new() };
    census.towards.iter().filter(|towards| piles_up(towards)).take(3).map(|t| finding(case, t)).collect()
}

/// Half of the ports are gone, and half of what is gone is TIME_WAIT that cannot be reused.
fn piles_up(towards: &Towards) -> bool {
    let left = &towards.left;
    let given = left.ports - left.reserved;
    let waiting = towards.states.of(State::TimeWait).min(left.used);
    left.room.max * 2 <= given && waiting * 2 >= left.used && waiting * 4 >= given
}

fn finding(case: &Case<'_>, towards: &Towards) -> Finding {
    let snapshot = case.snapshot;
    let waiting = towards.states.of(State::TimeWait);
    let client = towards.likely_client(snapshot);
    let who = client.as_deref().unwrap_or("A client here");
    let summary = format!(
        "{who} closed its connections to {} first: {waiting} of {} ports are in TIME_WAIT.",
        towards.tuple.destination, towards.left.ports
    );
    let inferred = match client {
        Some(_) => "whose they were is inferred: it alone has live connections there",
        None => "whose they were cannot be told: no one program alone has live connections there",
    };
    let rate = (!cause::is_windows(snapshot))
        .then(|| format!("about {} are closed each second, since each lasts 60 s", waiting.div_ceil(60)));
    let reuse = (!cause::is_windows(snapshot) && snapshot.settings.tcp_tw_reuse != Some(1)).then(|| {
        remedy::set(
            snapshot,
            "let the kernel reuse them after a second, until the next restart",
            "net.ipv4.tcp_tw_reuse",
            "1",
        )
    });
    Finding::new(&RULE, Severity::Warning, summary)
        .with_evidence([inferred.to_owned()])
        .with_evidence(rate)
        .with_remedies([Remedy::advice("keep connections open and reuse them (keep-alive, a pool)")])
        .with_remedies([Remedy::advice("spread over more source or destination addresses")])
        .with_remedies(reuse)
}
