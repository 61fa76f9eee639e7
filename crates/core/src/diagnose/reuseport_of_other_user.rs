//! `reuseport-of-other-user`: a shared port may be joined only by the same user.

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::cause::{self, Role, in_the_way};
use crate::socket::Socket;
use crate::wording;

pub(super) const RULE: Rule = Rule {
    id: "reuseport-of-other-user",
    title: "the port is another user's, and cannot be shared",
    doc: DOC,
    check,
};

const DOC: &str = "\
The port belongs to another user than the one who asks, and so SO_REUSEPORT is no way to share it. The system lets only
sockets of the same effective user id join a group of sockets on one port, so that nobody can steal a part of a
service's connections. A bind with SO_REUSEPORT fails with EADDRINUSE, exactly as one without it. That counts for root
as well: being root is being another user here.

Portolan compares the user id of the sockets in the kernel's table with yours, or with the one given by --user. It does
not try a bind with SO_REUSEPORT, since a server that then listened would take connections from the running service.
Two sockets in one place prove that they share it: then this is a warning. A single socket does not show whether
it set the option: then it is a note, for users other than root.

What to do: run your program as that user, or get the port freed as any other held port.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let Some(asker) = cause::asker(case.snapshot, question) else { return Vec::new() };
    let listeners = in_the_way(case, &[Role::Listener]);
    let other_user = |socket: &Socket| {
        let uid = case.snapshot.origin_of(socket).and_then(|origin| origin.uid);
        uid.filter(|uid| *uid != asker)
    };
    let shared =
        |socket: &Socket| listeners.iter().filter(|other| other.local() == socket.local()).count() > 1;
    let theirs = listeners.iter().filter_map(|socket| Some((*socket, other_user(socket)?)));
    let Some((socket, uid)) = theirs.max_by_key(|(socket, _)| shared(socket)) else { return Vec::new() };
    let (severity, summary) = if shared(socket) {
        let who = format!("is shared through SO_REUSEPORT by sockets of user id {uid}");
        (Severity::Warning, format!("{} {who}: user id {asker} may not join them.", socket.local()))
    } else if asker != 0 {
        let who = format!("belongs to user id {uid}");
        (
            Severity::Note,
            format!("{} {who}: user id {asker} cannot share it by SO_REUSEPORT.", socket.local()),
        )
    } else {
        return Vec::new();
    };
    vec![
        Finding::new(&RULE, severity, summary)
            .with_evidence([wording::socket(socket, case.snapshot)])
            .with_remedies([Remedy::advice(format!("run your program as user id {uid}"))]),
    ]
}
