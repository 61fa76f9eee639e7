//! `privileged-port`: below the unprivileged start, and the one who asks may not.

use super::{Case, Finding, Remedy, Rule, Severity, verdict};
use crate::cause;
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "privileged-port", title: "the port needs a privilege", doc: DOC, check };

const DOC: &str = "\
Ports below net.ipv4.ip_unprivileged_port_start (1024 unless set otherwise) may be bound only by a process with the
capability CAP_NET_BIND_SERVICE, in practice by root. Anybody else gets EACCES, permission denied, even while the
port is free. Portolan reads the setting's real value in the network namespace in question and the capability of
the one who asks; with --user it binds as that user.

When the port binds for you but would not for others, this is a note: a service that runs as its own user needs
one of the ways below.

Windows has no privileged ports: there this rule never speaks.

What to do, mildest first: take a port above the limit and let a proxy or a firewall rule forward to it; start the
service through systemd with AmbientCapabilities=CAP_NET_BIND_SERVICE or a socket unit; give the program's file the
capability with setcap; or lower the limit for everybody with sysctl. Running the whole service as root works too,
and is the worst of them.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let (Some(question), snapshot) = (case.question, case.snapshot) else { return Vec::new() };
    let Some(port) = question.port.map(u16::from) else { return Vec::new() };
    let Some(start) = cause::privileged_below(snapshot, port) else { return Vec::new() };
    let able = cause::may_bind_privileged(snapshot, question);
    let denied = matches!(cause::refused(case.trials), Some((_, "bind", "EACCES", _)));
    let severity = match verdict(case.trials) {
        Some(true) => Severity::Note,
        Some(false) if denied && !able => Severity::Error,
        None if case.trials.is_empty() && !able => Severity::Warning,
        _ => return Vec::new(),
    };
    let summary = match severity {
        Severity::Note => format!("{port} lies below {start}: a program without privileges may not bind it."),
        _ => format!("{port} lies below {start}, and the one who asks may not bind such ports."),
    };
    let asker = cause::asker(snapshot, question).map_or_else(String::new, |uid| format!(" (user id {uid})"));
    let capability = if able { "has" } else { "does not have" };
    let note = severity == Severity::Note;
    let finding = Finding::new(&RULE, severity, summary).with_evidence([
        format!("net.ipv4.ip_unprivileged_port_start is {start}"),
        format!("the one who asks{asker} {capability} CAP_NET_BIND_SERVICE"),
    ]);
    if note {
        return vec![finding];
    }
    vec![finding.with_evidence(wording::trials(case.trials)).with_remedies(ways_out(case, port, start))]
}

fn ways_out(case: &Case<'_>, port: u16, start: u32) -> Vec<Remedy> {
    let above = u16::try_from(8000 + u32::from(port)).unwrap_or(u16::MAX);
    vec![
        Remedy::command(format!("take a port from {start} up"), format!("portolan pick --near {above}")),
        Remedy::advice("in its systemd unit: AmbientCapabilities=CAP_NET_BIND_SERVICE"),
        Remedy::advice(
            "give its file the capability: sudo setcap cap_net_bind_service=+ep and the program's path",
        ),
        remedy::set(
            case.snapshot,
            format!("let everybody bind from {port} up, until the next restart"),
            "net.ipv4.ip_unprivileged_port_start",
            &port.to_string(),
        ),
    ]
}
