//! `socket-unit`: systemd holds the port for a service that it starts when somebody connects.

use super::{Case, Finding, Rule, Severity};
use crate::cause::{Role, in_the_way};
use crate::range::CarrierKind;
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "socket-unit", title: "systemd holds the port for a service", doc: DOC, check };

const DOC: &str = "\
The port belongs to a systemd socket unit. Process 1 opens it at boot, and starts the service behind it when the first
client comes; the service then inherits the open socket. So the port is held even while the service does not run,
and stopping the service alone does not free it: systemd keeps the socket, and starts the service again for the
next client.

Portolan finds it by asking which socket units listen where, and by seeing that process 1 holds the socket.

What to do: stop the socket unit, which frees the port until the next boot. To free it for good, disable the unit with
systemctl disable and its name. If a service of that unit runs, it holds a copy of the socket and must be stopped
as well; then held-by-process names it. To keep the service and move it, change ListenStream= or ListenDatagram=
with systemctl edit.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let held = in_the_way(case, &[Role::Listener, Role::Bound]);
    let units = case.snapshot.carriers.iter().filter(|unit| unit.kind == CarrierKind::SocketUnit);
    units
        .filter_map(|unit| {
            let sockets: Vec<_> = held.iter().copied().filter(|s| wording::carries(unit, s)).collect();
            let to = unit.to.as_ref().map_or_else(String::new, |service| format!(" for {service}"));
            let summary = format!("{} is held by systemd{to}: {}.", wording::target(question), unit.name);
            (!sockets.is_empty()).then(|| {
                Finding::new(&RULE, Severity::Error, summary)
                    .with_evidence(wording::sockets(&sockets, case.snapshot))
                    .with_evidence(wording::trials(case.trials))
                    .with_remedies([remedy::stop_unit(case.snapshot, &unit.name)])
            })
        })
        .collect()
}
