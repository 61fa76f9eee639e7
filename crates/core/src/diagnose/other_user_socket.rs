//! `other-user-socket`: Windows denies access because another user's program holds the port.

use super::{Case, Finding, Rule, Severity};
use crate::{cause, remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "other-user-socket", title: "another user's program holds the port", doc: DOC, check };

const DOC: &str = "\
Windows answered access denied (WSAEACCES, 10013), and the program that holds the port runs as another user. Since
Windows Server 2003 a socket is guarded by its user: nobody else may bind beside it or take its port over, whatever
options both set. The same two programs run by one user could stand beside each other, one on 0.0.0.0 and one on
127.0.0.1.

Services are the usual case: they run as LOCAL SERVICE, NETWORK SERVICE or SYSTEM, and you are somebody else. An
administrator is another user here too; being one does not help.

Portolan compares the holder's user with the one who asked. Where it could not read one of them, exclusive-holder says
so instead.

What to do: take another port, stop the holder, or run your program as that user if both belong together.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let beside = cause::denied_beside(case);
    let Some((socket, _)) = beside.into_iter().find(|(_, other)| *other == Some(true)) else {
        return Vec::new();
    };
    let owners = case.snapshot.owners_of(socket);
    let user = owners.iter().find_map(|owner| owner.user.as_deref()).unwrap_or_default();
    let asker = case.snapshot.host.user.as_deref().unwrap_or_default();
    let summary = format!(
        "{} of user {user} holds {}: access is denied to {asker}.",
        wording::holder(socket, case.snapshot),
        socket.local()
    );
    vec![
        Finding::new(&RULE, Severity::Error, summary)
            .with_evidence(wording::sockets(&[socket], case.snapshot))
            .with_evidence(wording::trials(case.trials))
            .with_remedies(remedy::another_port(question))
            .with_remedies(remedy::release(case.snapshot, question, &[socket])),
    ]
}
