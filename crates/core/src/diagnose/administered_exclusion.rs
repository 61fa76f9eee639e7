//! `administered-exclusion`: an administrator excluded the port from automatic choice; a bind by number works.

use super::{Case, Finding, Rule, Severity};
use crate::excluded::{self, Maker};
use crate::range::ReservationKind;
use crate::{cause, remedy, wording};

pub(super) const RULE: Rule = Rule {
    id: "administered-exclusion",
    title: "the port is excluded from automatic choice",
    doc: DOC,
    check,
};

const DOC: &str = "\
The port lies in an administered exclusion: netsh int ipv4 show excludedportrange marks it with a star. Windows gives
such a port to nobody by itself: not to clients, not to WinNAT's blocks. A program that asks for this very number may
bind it. So the exclusion does no harm, and is what keeps a server's port safe inside the dynamic range.

One part of Windows may refuse it all the same: HNS, the network service of containers, declines to publish a
container's port (docker run -p) that lies inside an exclusion. Then the message names the port and access
permissions, though a plain program binds it.

What to do: nothing, for a plain program. For a container publish another port, or take the exclusion away with
portolan reserve remove and the range as it stands: Windows deletes an exclusion only by exactly the start and the
number of ports that it was added with. See hns-range for HNS' own range.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question.filter(|_| cause::is_windows(case.snapshot)) else {
        return Vec::new();
    };
    let kind = ReservationKind::Administered;
    let (Some(reservation), Some(port)) = (cause::reservation(case.snapshot, question, kind), question.port)
    else {
        return Vec::new();
    };
    let maker = excluded::maker(case.snapshot, reservation);
    let summary = format!(
        "{} lies in {}, an administered exclusion: a program that asks for {port} may bind it, and nobody else is given \
         it.",
        wording::target(question),
        reservation.range
    );
    let remove = (maker != Maker::Hns).then(|| remedy::remove_exclusion(reservation.range));
    vec![
        Finding::new(&RULE, Severity::Note, summary)
            .with_evidence([
                format!("made by {}", maker.name()),
                "what may still refuse it: HNS, when a container is to publish the port (docker run -p)"
                    .to_owned(),
            ])
            .with_remedies(remove),
    ]
}
