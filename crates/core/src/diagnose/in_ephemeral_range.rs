//! `in-ephemeral-range`: the system may give the port to any client.

use super::{Case, Finding, Question, Rule, Severity};
use crate::cause::{is_reserved, is_windows};
use crate::port::{PortRange, PortSet};
use crate::range::ReservationKind;
use crate::snapshot::Snapshot;
use crate::socket::{Socket, State, Transport};
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "in-ephemeral-range", title: "the system may give the port to any client", doc: DOC, check };

const DOC: &str = "\
The port lies in the ephemeral range (Linux: net.ipv4.ip_local_port_range, 32768 to 60999 unless set otherwise;
Windows: the dynamic port range, 49152 to 65535) and is not reserved. From that range the system takes the local ports
of outgoing connections and of programs that ask for any port. So a server that wants this certain port starts well a
hundred times and fails once, when some client happens to have it: see outgoing-connection for what that looks like.

On the chart this rule counts the TCP listeners inside the range. Some of them asked for any port and are right there;
the table does not show which.

What to do: choose a port below the range, or reserve this one (Linux: net.ipv4.ip_local_reserved_ports; Windows: an
administered exclusion). A reserved port is never given away by itself, and a server may still bind it. portolan reserve
add keeps what is reserved already, and makes it last over a restart.
";

const ADMINISTERED: ReservationKind = ReservationKind::Administered;

fn check(case: &Case<'_>) -> Vec<Finding> {
    match case.question {
        Some(question) => asked(case.snapshot, question).into_iter().collect(),
        None => whole_host(case.snapshot).into_iter().collect(),
    }
}

fn asked(snapshot: &Snapshot, question: &Question) -> Option<Finding> {
    let port = question.port?;
    let exposed = |family: &&crate::socket::Family| {
        let range = snapshot.range_of(question.transport, **family);
        range.is_some_and(|range| range.range.contains(port.number()))
            && snapshot.reservations_of(question.transport, **family, port.number()).next().is_none()
    };
    let family = question.families().iter().find(exposed)?;
    let range = snapshot.range_of(question.transport, *family)?.range;
    let name = name(snapshot);
    let summary = format!(
        "{port} lies in the {name} {range}: the system may give it to any client, and a server on it will \
         fail to start some day."
    );
    let reserve = remedy::reserve(snapshot, &PortSet::from(PortRange::single(port)));
    Some(
        Finding::new(&RULE, Severity::Warning, summary)
            .with_evidence([format!("{port} is not among the reserved ports")])
            .with_remedies([reserve]),
    )
}

/// The range by the name its system gives it.
fn name(snapshot: &Snapshot) -> &'static str {
    if is_windows(snapshot) { "dynamic port range" } else { "ephemeral range" }
}

fn whole_host(snapshot: &Snapshot) -> Option<Finding> {
    let exposed = |socket: &&Socket| {
        socket.transport == Transport::Tcp
            && socket.state == State::Listen
            && snapshot
                .range_of(socket.transport, socket.family)
                .is_some_and(|range| range.range.contains(socket.local_port))
            && !is_reserved(snapshot, socket.transport, &[socket.family], socket.local_port, ADMINISTERED)
    };
    let mut listeners: Vec<&Socket> = snapshot.sockets.iter().filter(exposed).collect();
    listeners.sort_by_key(|socket| socket.local_port);
    let range = snapshot.range_of(Transport::Tcp, listeners.first()?.family)?.range;
    let mut ports = PortSet::new();
    listeners.iter().for_each(|socket| ports.insert(socket.local_port));
    let list: Vec<String> = ports.ranges().iter().take(5).map(ToString::to_string).collect();
    let more = if ports.ranges().len() > 5 { " and more" } else { "" };
    let (subject, verb) = match ports.len() {
        1 => ("A listener's port lies".to_owned(), "is"),
        count => (format!("{count} ports of listeners lie"), "are"),
    };
    let summary = format!(
        "{subject} inside the {} {range} and {verb} not reserved: {}{more}.",
        name(snapshot),
        list.join(", ")
    );
    Some(
        Finding::new(&RULE, Severity::Warning, summary)
            .with_evidence(wording::sockets(&listeners, snapshot))
            .with_remedies([remedy::reserve(snapshot, &ports)]),
    )
}
