//! `container-proxy`: a container runtime's proxy process carries the port.

use super::{Case, Finding, Rule, Severity};
use crate::cause::neighbours;
use crate::range::CarrierKind;
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "container-proxy", title: "the port is published for a container", doc: DOC, check };

const DOC: &str = "\
The process that holds the port (docker-proxy, rootlessport and the like) serves nothing by itself. A container runtime
started it because a container publishes this port on the host, as docker run -p or a compose file's ports asks for.
The proxy passes each connection on into the container.

Portolan finds it by the proxy's own command line, which names the port it listens on and the address it passes
to.

What to do: stop the container, or publish it on another port of the host, and start it anew. Ending the proxy
process alone leaves the runtime convinced that the port is published, and breaks the container until it is
restarted. docker ps with --filter publish= and the port lists the container by its name. Firewall rules that Docker
adds for the same port are told by carried-by-rule.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let sockets = neighbours(case.snapshot, question);
    let proxies = case.snapshot.carriers.iter().filter(|proxy| proxy.kind == CarrierKind::ContainerProxy);
    proxies
        .filter(|proxy| sockets.iter().any(|socket| socket.is_listening() && wording::carries(proxy, socket)))
        .map(|proxy| {
            let to = proxy.to.as_ref().map_or_else(|| "a container".to_owned(), Clone::clone);
            let summary = format!("{} is published for {to}.", wording::target(question));
            Finding::new(&RULE, Severity::Note, summary)
                .with_evidence([format!("carried by {}", wording::shortened(&proxy.name))])
                .with_remedies(question.port.map(|port| remedy::stop_published(case.snapshot, port.number())))
        })
        .collect()
}
