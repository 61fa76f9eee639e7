//! `reserved-range`: the port is set aside.

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::range::ReservationKind;
use crate::{cause, wording};

pub(super) const RULE: Rule = Rule { id: "reserved-range", title: "the port is set aside", doc: DOC, check };

const DOC: &str = "\
The port lies in a range that an administrator set aside. On Linux that is net.ipv4.ip_local_reserved_ports: it keeps
the port out of automatic choice, so that the system gives it to no client by itself. A program that asks for this
certain port may bind it, so nothing is wrong: it is what you want for a server inside the ephemeral range.

A reservation by the system itself is another matter: a bind fails, and no program holds the port. Linux has none of
that kind; Windows has both, and tells them as administered-exclusion and excluded-range.

What to do: nothing. If the reservation is not wanted any more, portolan reserve remove takes it away. By hand, set
the list anew without it; a write replaces the whole list, so the others must stand in it. Files below /etc/sysctl.d
set it again at the next start.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question.filter(|_| !cause::is_windows(case.snapshot)) else {
        return Vec::new();
    };
    let Some(port) = question.port else { return Vec::new() };
    let mut families = question.families().iter();
    let Some(reservation) = families
        .find_map(|family| case.snapshot.reservations_of(question.transport, *family, port.number()).next())
    else {
        return Vec::new();
    };
    let by = reservation.by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
    let range = reservation.range;
    let finding = match reservation.kind {
        ReservationKind::Administered => {
            let summary = format!(
                "{port} is reserved{by}: the system gives it to nobody by itself, and a program may bind it."
            );
            Finding::new(&RULE, Severity::Note, summary)
        }
        ReservationKind::System => {
            let summary = format!(
                "{port} lies in {range}, which the system keeps for itself{by}: no program may bind it."
            );
            Finding::new(&RULE, Severity::Error, summary)
                .with_evidence(wording::trials(case.trials))
                .with_remedies([Remedy::advice("take a port outside of that range")])
        }
    };
    vec![finding.with_evidence([format!("reserved: {range}")])]
}
