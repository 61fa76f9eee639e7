//! `held-by-several`: several sockets share one endpoint, by SO_REUSEPORT or, for UDP, SO_REUSEADDR.

use super::{Case, Finding, Rule, Severity};
use crate::cause::{self, Role, in_the_way};
use crate::socket::{Socket, Transport};
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "held-by-several", title: "several sockets share the port", doc: DOC, check };

const DOC: &str = "\
Several sockets are bound to the very same address and port. With TCP that happens only when each of them set
SO_REUSEPORT before bind: the system then deals new connections out among them. With UDP it is SO_REUSEPORT too, or
SO_REUSEADDR, as programs for multicast (mDNS on 5353, for one) do.

Two sockets in one place are the proof; the system does not show these options of a socket. A bind without the
option fails. One with SO_REUSEPORT succeeds only for the same user as the first socket's (see
reuseport-of-other-user), and then takes a part of the service's traffic. That is why Portolan never tries it.

Windows has no SO_REUSEPORT: there each of them set SO_REUSEADDR, and which one gets a connection is undefined.

To get the port for yourself, every one of the sockets has to go: stop the service or services named here. To join
the group on purpose, run your program as the same user, with SO_REUSEPORT set before bind.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let listeners = in_the_way(case, &[Role::Listener]);
    let mut groups: Vec<Vec<&Socket>> = Vec::new();
    for socket in listeners {
        match groups.iter_mut().find(|group| group[0].local() == socket.local()) {
            Some(group) => group.push(socket),
            None => groups.push(vec![socket]),
        }
    }
    groups.retain(|group| group.len() > 1);
    let option = match question.transport {
        _ if cause::is_windows(case.snapshot) => "SO_REUSEADDR",
        Transport::Tcp => "SO_REUSEPORT",
        Transport::Udp => "SO_REUSEPORT or SO_REUSEADDR",
    };
    let finding = |group: Vec<&Socket>| {
        let mut holders: Vec<String> = group.iter().map(|s| wording::holder(s, case.snapshot)).collect();
        holders.sort_unstable();
        holders.dedup();
        let summary = format!(
            "{} is held by {} that share {} through {option}: {}.",
            wording::target(question),
            wording::counted(group.len(), "socket"),
            group[0].local(),
            wording::listed(&holders)
        );
        Finding::new(&RULE, Severity::Error, summary)
            .with_evidence(wording::sockets(&group, case.snapshot))
            .with_evidence(wording::trials(case.trials))
            .with_remedies(remedy::another_port(question))
            .with_remedies(remedy::release(case.snapshot, question, &group))
    };
    groups.into_iter().map(finding).collect()
}
