//! `reserved-ports-without-effect`: the registry's ReservedPorts, which Windows no longer reads.

use super::{Case, Finding, Rule, Severity};
use crate::cause;
use crate::port::PortSet;
use crate::range::ReservationKind;
use crate::{change, remedy};

pub(super) const RULE: Rule = Rule {
    id: "reserved-ports-without-effect",
    title: "ReservedPorts in the registry has no effect",
    doc: DOC,
    check,
};

const DOC: &str = "\
The registry has a value ReservedPorts below HKLM\\SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters. Windows
2000, XP and Server 2003 kept the ports listed there from clients. Since Vista nothing reads it: the ports are given
away as if it were not there. Many guides still name it, and it survives upgrades, so somebody may believe these ports
to be safe.

What replaced it is an excluded port range: netsh int ipv4 add excludedportrange protocol=tcp startport=N
numberofports=N, which netsh then lists with a star.

What to do: exclude those ports that a server of yours needs and that lie in the dynamic range, with portolan reserve
add. Then delete the value, so that it misleads nobody. A port outside the dynamic range needs neither.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let snapshot = case.snapshot;
    let Some(listed) =
        snapshot.settings.reserved_ports_value.as_ref().filter(|_| cause::is_windows(snapshot))
    else {
        return Vec::new();
    };
    let mut unkept: PortSet = listed.iter().copied().collect();
    for reservation in snapshot.reservations.iter().filter(|r| r.kind == ReservationKind::Administered) {
        unkept.remove_range(reservation.range);
    }
    if let Some(question) = case.question {
        let asked = question.port.filter(|port| unkept.contains(port.number()));
        unkept = asked.map(crate::port::PortRange::single).into_iter().collect();
    }
    if unkept.is_empty() {
        return Vec::new();
    }
    let ports = change::list(&unkept.ranges());
    let summary =
        format!("ReservedPorts in the registry names {ports}, and has had no effect since Windows Vista.");
    vec![
        Finding::new(&RULE, Severity::Warning, summary)
            .with_evidence([format!("ReservedPorts says {}", change::list(listed))])
            .with_remedies([remedy::reserve_ports(&unkept)]),
    ]
}
