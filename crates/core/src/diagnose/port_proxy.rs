//! `port-proxy`: a port-proxy rule of Windows passes the port on.

use super::{Case, Finding, Rule, Severity};
use crate::cause::neighbours;
use crate::range::CarrierKind;
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "port-proxy", title: "a port-proxy rule passes the port on", doc: DOC, check };

const DOC: &str = "\
The process that holds the port is svchost with the service iphlpsvc, and serves nothing by itself. It listens because
of a port-proxy rule, made with netsh interface portproxy add, and passes each connection on to another address and
port. Such rules are often left over from a guide that made a program in WSL or a virtual machine reachable, and they
outlive restarts.

Portolan finds them with netsh interface portproxy show all, and matches them with the socket by address and port. A
rule without a socket does nothing: the service iphlpsvc is stopped then, or the port was taken when it started.

What to do: take the rule away with the command offered; it has to name the address and the port as they stand in the
list. Stopping iphlpsvc would free the port as well, and take IPv6 transition and other rules along.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let sockets = neighbours(case.snapshot, question);
    let rules = case.snapshot.carriers.iter().filter(|carrier| carrier.kind == CarrierKind::PortProxy);
    rules
        .filter_map(|rule| {
            let carried =
                |socket: &&&crate::socket::Socket| socket.is_listening() && wording::carries(rule, socket);
            let socket = sockets.iter().find(carried)?;
            let to = rule.to.as_deref().unwrap_or("another place");
            let summary = format!("{} is passed on to {to} by a port-proxy rule.", wording::target(question));
            Some(
                Finding::new(&RULE, Severity::Note, summary)
                    .with_evidence([format!(
                        "rule {}: {} to {to}",
                        wording::shortened(&rule.name),
                        socket.local()
                    )])
                    .with_remedies(remedy::release(case.snapshot, question, &[socket])),
            )
        })
        .collect()
}
