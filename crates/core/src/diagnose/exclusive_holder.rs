//! `exclusive-holder`: Windows denies access because the holder set SO_EXCLUSIVEADDRUSE.

use super::{Case, Finding, Rule, Severity};
use crate::socket::Socket;
use crate::{cause, remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "exclusive-holder", title: "the holder keeps the port for itself alone", doc: DOC, check };

const DOC: &str = "\
Windows answered access denied (WSAEACCES, 10013) instead of address in use, and a program does hold the port. That is
what a bind meets beside a socket with SO_EXCLUSIVEADDRUSE: the holder wants the port on every address for itself.
Without that option Windows would let 127.0.0.1 be bound beside 0.0.0.0 (see shadowed).

The option cannot be seen from outside. The code and the holder prove it only where the holder is the same user: for
another user's socket Windows gives the same code (see other-user-socket), and this rule says when the users could not
be compared.

What to do: stop the holder, or take another port. SO_REUSEADDR does not get past such a holder. After it has stopped,
its accepted connections can keep the port until the last of them has ended, since the option holds for them as well.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let beside = cause::denied_beside(case);
    let sockets: Vec<&Socket> =
        beside.iter().filter(|(_, other)| *other != Some(true)).map(|(socket, _)| *socket).collect();
    let Some(first) = sockets.first() else { return Vec::new() };
    let holder = wording::holder(first, case.snapshot);
    let sure = beside.iter().all(|(_, other)| *other == Some(false));
    let summary = if sure {
        format!("{holder} holds {} exclusively (SO_EXCLUSIVEADDRUSE): access is denied.", first.local())
    } else {
        format!(
            "{holder} holds {}, exclusively (SO_EXCLUSIVEADDRUSE) or as another user: access is denied.",
            first.local()
        )
    };
    vec![
        Finding::new(&RULE, Severity::Error, summary)
            .with_evidence(wording::sockets(&sockets, case.snapshot))
            .with_evidence(wording::trials(case.trials))
            .with_remedies(remedy::another_port(question))
            .with_remedies(remedy::release(case.snapshot, question, &sockets)),
    ]
}
