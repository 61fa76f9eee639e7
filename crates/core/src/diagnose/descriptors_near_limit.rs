//! `descriptors-near-limit`: a process has nearly as many descriptors open as it may.

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::census::User;
use crate::owner::Owner;
use crate::{limits, remedy, wording};

pub(super) const RULE: Rule = Rule {
    id: "descriptors-near-limit",
    title: "a process is near its limit of open descriptors",
    doc: DOC,
    check,
};

const DOC: &str = "\
Each socket is a descriptor, and a process may have so many open (RLIMIT_NOFILE; systemd: LimitNOFILE; ulimit -n).
At the limit socket and accept fail with EMFILE (\"too many open files\"): connections are refused though ports are
free. The whole system has a limit too (fs.file-max), at which everything fails with ENFILE.

What to do: look for a leak first, such as sockets in CLOSE_WAIT or BOUND. A limit that suits the work is the second
thing, and holds from the next start on.
";

/// From these shares on, in percent.
const NEAR: u64 = 80;
const FULL: u64 = 95;

fn check(case: &Case<'_>) -> Vec<Finding> {
    if case.census.is_none() {
        return Vec::new();
    }
    let near =
        case.snapshot.owners.iter().enumerate().filter_map(|(index, owner)| process(case, index, owner));
    near.take(5).chain(whole_system(case)).collect()
}

fn process(case: &Case<'_>, index: usize, owner: &Owner) -> Option<Finding> {
    let (open, limit) = (u64::from(owner.handles?), owner.handle_limit.filter(|limit| *limit > 0)?);
    let percent = open.saturating_mul(100) / limit;
    let severity = severity(percent)?;
    let summary = format!("{} has {open} of {limit} descriptors open.", wording::process(owner));
    let user = User::Process(u32::try_from(index).ok()?);
    let usage = case.census?.users.iter().find(|usage| usage.user == user)?;
    let sockets = wording::counted((usage.tcp.total() + usage.udp) as usize, "socket");
    Some(
        Finding::new(&RULE, severity, summary)
            .with_evidence([format!("{sockets} of this network namespace among them")])
            .with_remedies([Remedy::advice("look for a leak: sockets in CLOSE_WAIT or BOUND")])
            .with_remedies(remedy::raise_descriptors(case.snapshot, owner)),
    )
}

fn whole_system(case: &Case<'_>) -> Option<Finding> {
    let files = limits::limit(case.snapshot, "open-files")?;
    let severity = severity(files.percent()?)?;
    let summary = format!("The whole system has {} of {} files open.", files.used?, files.max?);
    Some(Finding::new(&RULE, severity, summary))
}

fn severity(percent: u64) -> Option<Severity> {
    match percent {
        FULL.. => Some(Severity::Error),
        NEAR.. => Some(Severity::Warning),
        _ => None,
    }
}
