//! `excluded-range`: Windows set the port aside at run time, so that nobody may bind it.

use super::{Case, Finding, Question, Remedy, Rule, Severity, verdict};
use crate::excluded::{self, Maker};
use crate::range::{Reservation, ReservationKind};
use crate::snapshot::{ComponentState, Snapshot};
use crate::socket::Family;
use crate::{cause, remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "excluded-range", title: "Windows has set the port aside", doc: DOC, check };

const DOC: &str = "\
A part of Windows has set a range of ports aside. A bind inside it fails with WSAEACCES (10013), access denied,
although no program holds the port: netstat shows nobody. netsh int ipv4 show excludedportrange protocol=tcp lists the
range without a star, and not even an administrator may delete it.

Mostly WinNAT made it, the address translation of Hyper-V, WSL and Docker. It takes blocks of 100 ports from the
dynamic range, other ones after each start of Windows, so a port works for weeks and fails one morning. 5357 alone is
Web Services on Devices. Windows does not tell who made a range: Portolan goes by its size and place, and says likely.

What to do, mildest first: take another port. Stop WinNAT, exclude the port for good, start WinNAT: it then goes
elsewhere. Where the dynamic range begins low (see low-dynamic-range), set it back and restart Windows. As a last
resort turn Hyper-V off, exclude the port, and turn it on again: two restarts.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question.filter(|_| cause::is_windows(case.snapshot)) else {
        return Vec::new();
    };
    if verdict(case.trials) == Some(true) {
        return Vec::new();
    }
    match cause::reservation(case.snapshot, question, ReservationKind::System) {
        Some(reservation) => vec![finding(case, question, reservation)],
        None => unread(case, question).into_iter().collect(),
    }
}

fn finding(case: &Case<'_>, question: &Question, reservation: &Reservation) -> Finding {
    let snapshot = case.snapshot;
    let maker = excluded::maker(snapshot, reservation);
    let summary = format!(
        "{} lies in {}, which is set aside by the system, not by an administrator: a bind is denied (WSAEACCES 10013).",
        wording::target(question),
        reservation.range
    );
    let holder = cause::neighbours(snapshot, question).is_empty();
    Finding::new(&RULE, Severity::Error, summary)
        .with_evidence(holder.then(|| "no program holds the port".to_owned()))
        .with_evidence([made_by(&maker), listed(reservation)])
        .with_evidence(component(snapshot, &maker))
        .with_evidence(wording::trials(case.trials))
        .with_remedies(ways_out(snapshot, question, &maker))
}

fn made_by(maker: &Maker) -> String {
    match maker {
        Maker::WinNat => format!(
            "most likely made by {}: it takes blocks of 100 from the dynamic range, other ones after each start",
            maker.name()
        ),
        Maker::Unknown => format!("made by {}", maker.name()),
        Maker::Named(name) => format!("made by {name}"),
        _ => format!("most likely made by {}", maker.name()),
    }
}

fn listed(reservation: &Reservation) -> String {
    let transport = reservation.transport.map_or("tcp and udp", |transport| transport.name());
    let family = reservation.family.map_or(String::new(), |family| format!(" {}", family.name()));
    format!("excluded: {} for {transport}{family}, not administered", reservation.range)
}

/// How the likely maker stands, where somebody looked.
fn component(snapshot: &Snapshot, maker: &Maker) -> Option<String> {
    let state = snapshot.component("winnat").filter(|_| *maker == Maker::WinNat)?;
    Some(match state {
        ComponentState::Running => "the service winnat runs".to_owned(),
        ComponentState::Stopped => {
            "the service winnat does not run now: the block may be left over, or another service's".to_owned()
        }
        ComponentState::Changing => "the service winnat starts or stops at this moment".to_owned(),
        ComponentState::Absent => return None,
    })
}

fn ways_out(snapshot: &Snapshot, question: &Question, maker: &Maker) -> Vec<Remedy> {
    let mut ways: Vec<Remedy> = remedy::another_port(question).into_iter().collect();
    match maker {
        Maker::WinNat => {
            ways.extend(remedy::keep_over_winnat(question));
            if excluded::low_range(snapshot, question.transport, question.families()).is_some() {
                ways.push(remedy::back_to_default());
            }
            if snapshot.component("hyper-v") != Some(ComponentState::Absent) {
                ways.extend(remedy::cycle_hyperv(question));
            }
        }
        Maker::WebServices => ways.push(Remedy::command(
            "see which program registered it with the HTTP driver",
            "netsh http show servicestate view=requestq",
        )),
        _ => ways.push(Remedy::advice(
            "find who made it: stop the services of virtual machines, containers and VPNs in turn, and see when the \
             range goes",
        )),
    }
    ways
}

/// Denied, nobody seen, and the ranges could not be read: the likely cause is said, as a likely one.
fn unread(case: &Case<'_>, question: &Question) -> Option<Finding> {
    let unexplained =
        cause::is_denied(case) && excluded::unread(case.snapshot) && cause::denied_beside(case).is_empty();
    if !unexplained {
        return None;
    }
    let family = if question.families() == [Family::Ipv6] { "ipv6" } else { "ipv4" };
    let summary = format!(
        "{} is denied (WSAEACCES 10013) and nobody is seen to hold it: most likely it lies in an excluded range, but \
         those could not be read.",
        wording::target(question)
    );
    Some(
        Finding::new(&RULE, Severity::Error, summary)
            .with_evidence(wording::trials(case.trials))
            .with_remedies(remedy::another_port(question))
            .with_remedies([Remedy::command(
                "see the excluded ranges",
                format!("netsh int {family} show excludedportrange protocol={}", question.transport),
            )]),
    )
}
