//! `reuseport-of-other-user`: a shared port may be joined only by the same user.

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::cause::{self, Role, in_the_way};
use crate::socket::Socket;
use crate::wording;

pub(super) const RULE: Rule =
    Rule { id: "reuseport-of-other-user", title: "the shared port is another user's", doc: DOC, check };

const DOC: &str = "\
Several sockets share the port through SO_REUSEPORT, and they belong to another user than the one who asks. The system
lets only sockets of the same effective user id join such a group, so that nobody can steal a part of a service's
connections. A bind with SO_REUSEPORT therefore fails with EADDRINUSE, exactly as one without it. That counts for root
as well: being root is being another user here.

Portolan sees the user ids of the sockets in the kernel's table and compares them with yours, or with the one given by
--user. It does not try a bind with SO_REUSEPORT, since a successful one would take connections from the running
service. A single socket does not show whether it set SO_REUSEPORT; this rule speaks only where two sockets in one
place prove it.

What to do: run your program as that user, or ask the running service for the port as for any other held port.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let Some(asker) = cause::asker(case.snapshot, question) else { return Vec::new() };
    let listeners = in_the_way(case, &[Role::Listener]);
    let uid = |socket: &Socket| case.snapshot.origin_of(socket).and_then(|origin| origin.uid);
    let shared =
        |socket: &&&Socket| listeners.iter().filter(|other| other.local() == socket.local()).count() > 1;
    let theirs =
        listeners.iter().filter(shared).find_map(|s| uid(s).filter(|uid| *uid != asker).map(|u| (s, u)));
    let Some((socket, uid)) = theirs else { return Vec::new() };
    let summary = format!(
        "{} is shared through SO_REUSEPORT by sockets of user id {uid}: user id {asker} may not join them.",
        socket.local()
    );
    vec![
        Finding::new(&RULE, Severity::Warning, summary)
            .with_evidence(wording::sockets(&[socket], case.snapshot))
            .with_remedies([Remedy::advice(format!("run your program as user id {uid} to join them"))]),
    ]
}
