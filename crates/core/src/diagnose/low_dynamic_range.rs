//! `low-dynamic-range`: Windows' dynamic range begins low, and WinNAT's blocks fall on ports that programs use.

use super::{Case, Finding, Rule, Severity};
use crate::excluded::{self, LowRange, Maker};
use crate::range::ReservationKind;
use crate::snapshot::Snapshot;
use crate::socket::{Family, Transport};
use crate::{cause, remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "low-dynamic-range", title: "the dynamic range begins too low", doc: DOC, check };

const DOC: &str = "\
Windows gives clients their ports from the dynamic range: 49152 to 65535 since Vista. On some machines it begins at
1024 or 1025, set by an old tool, an installer or a tuning guide. Nothing fails by that alone. But WinNAT (Hyper-V,
WSL, Docker) takes its blocks of 100 from the same range, and with such a beginning they fall on the ports that
programs use: 1433, 3000, 3306, 5432, 8080. Each start of Windows moves them.

That is the root behind many findings of excluded-range. Where the range itself could not be read, Portolan infers it:
a block below 49152 can have come from nowhere else.

What to do: set the range back, for all four of tcp and udp, IPv4 and IPv6, and restart Windows, or restart WinNAT. If
a wider range was set on purpose, because ports ran out, begin it above the ports that your programs use.
";

/// A range that begins below this is worth a note even before WinNAT has taken a block.
const VERY_LOW: u16 = 10_000;

fn check(case: &Case<'_>) -> Vec<Finding> {
    let snapshot = case.snapshot;
    if !cause::is_windows(snapshot) {
        return Vec::new();
    }
    let Some(question) = case.question else {
        return Transport::ALL
            .into_iter()
            .find_map(|t| finding(snapshot, t, &Family::ALL))
            .into_iter()
            .collect();
    };
    let block = cause::reservation(snapshot, question, ReservationKind::System)
        .filter(|reservation| excluded::maker(snapshot, reservation) == Maker::WinNat);
    block.and_then(|_| finding(snapshot, question.transport, question.families())).into_iter().collect()
}

fn finding(snapshot: &Snapshot, transport: Transport, families: &[Family]) -> Option<Finding> {
    let low = excluded::low_range(snapshot, transport, families)?;
    let blocks: Vec<String> =
        excluded::blocks_below_default(snapshot, transport).map(|block| block.range.to_string()).collect();
    let (severity, summary) = match (&low, blocks.len()) {
        (LowRange::Seen(range), 0) if range.range.first() < VERY_LOW => (
            Severity::Note,
            format!(
                "The dynamic {transport} range {} begins low: WinNAT's blocks would fall on ports that programs use.",
                range.range
            ),
        ),
        (LowRange::Seen(_), 0) => return None,
        (LowRange::Seen(range), _) => (
            Severity::Warning,
            format!(
                "The dynamic {transport} range starts at {}, so WinNAT's blocks fall on ports that programs use.",
                range.range.first()
            ),
        ),
        (LowRange::Inferred(first), _) => (
            Severity::Warning,
            format!(
                "The dynamic {transport} range starts, or started, at {first} or below, so WinNAT's blocks fall on \
                 ports that programs use."
            ),
        ),
    };
    let shown = blocks.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    let more = if blocks.len() > 5 { format!(" and {} more", blocks.len() - 5) } else { String::new() };
    let inferred = matches!(low, LowRange::Inferred(_))
        .then(|| "inferred from the blocks: the range itself was not read".to_owned());
    let count = wording::counted(blocks.len(), "block");
    let counted = (!blocks.is_empty()).then(|| format!("{count} below 49152: {shown}{more}"));
    Some(
        Finding::new(&RULE, severity, summary)
            .with_evidence(counted)
            .with_evidence(inferred)
            .with_remedies([remedy::back_to_default()]),
    )
}
