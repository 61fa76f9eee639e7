//! `hns-range`: the range that HNS sets aside for itself.

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::excluded::{self, Maker};
use crate::range::ReservationKind;
use crate::{cause, remedy};

pub(super) const RULE: Rule =
    Rule { id: "hns-range", title: "HNS keeps the port for containers", doc: DOC, check };

const DOC: &str = "\
HNS, the host network service behind Windows containers, Docker and Kubernetes, excludes a range of its own when it
starts: 50000 to 50059, with a star in netsh's list, unless the registry names another. It is an administered
exclusion, so a program may bind a port in it by number; but HNS may refuse to publish a container's port there.

The values stand below HKLM\\SYSTEM\\CurrentControlSet\\Services\\hns\\State: EnableExcludedPortRange (a DWORD, 0
turns the range off), ExcludedPortRangeStartPort and ExcludedPortRangePortCount. Portolan reads them where it may, and
otherwise goes by the numbers of the range.

What to do: for a plain program nothing. For a container, publish another port, or turn the range off with the command
given and restart Windows. Deleting the exclusion with netsh lasts only until HNS starts again.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question.filter(|_| cause::is_windows(case.snapshot)) else {
        return Vec::new();
    };
    let Some(reservation) = cause::reservation(case.snapshot, question, ReservationKind::Administered) else {
        return Vec::new();
    };
    if excluded::maker(case.snapshot, reservation) != Maker::Hns {
        return Vec::new();
    }
    let summary = format!(
        "{} is the range that HNS, the network service of containers, sets aside for itself at each start.",
        reservation.range
    );
    let known = match case.snapshot.settings.hns_excludes_range {
        Some(_) => "the registry leaves EnableExcludedPortRange on".to_owned(),
        None => "told from its numbers: the registry was not read".to_owned(),
    };
    vec![
        Finding::new(&RULE, Severity::Note, summary)
            .with_evidence([known])
            .with_remedies(
                remedy::another_port(question)
                    .map(|way| Remedy { text: format!("for a container, {}", way.text), ..way }),
            )
            .with_remedies([remedy::hns_off()]),
    ]
}
