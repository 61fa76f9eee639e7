//! `refused-by-policy`: EPERM or EACCES, and no other cause.

use super::{Case, Finding, Question, Remedy, Rule, Severity};
use crate::cause;
use crate::range::ReservationKind;
use crate::{excluded, remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "refused-by-policy", title: "a security policy refuses the port", doc: DOC, check };

const DOC: &str = "\
The system refused the bind with EPERM or EACCES, although the port is not privileged for the one who asks. So
something above the ordinary rules decided: SELinux (a confined service may bind only ports labelled for it),
AppArmor, Landlock, a BPF program on the control group, as systemd's SocketBindDeny= and container runtimes use it, or
a seccomp filter.

On Windows it is WSAEACCES where no excluded range and no holder explains it: a filter driver of security software, or
the rules of an app container.

The refusal counts for the program, the user and the control group that asked. Portolan's trial runs in your shell's
group, so a service may be refused where your shell is not, and the other way round.

What to do: read what the kernel and the security module wrote about it at that moment. With SELinux, semanage port -l
shows which ports a type may bind, and semanage port -a adds one. With systemd, systemctl show on the unit with -p
SocketBindDeny tells. Do not turn the module off: it names the rule that has to change.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    if cause::is_denied(case) {
        return on_windows(case, question).into_iter().collect();
    }
    let Some((address, "bind", name @ ("EPERM" | "EACCES"), code)) = cause::refused(case.trials) else {
        return Vec::new();
    };
    let start = question.port.and_then(|port| cause::privileged_below(case.snapshot, port.number()));
    let unknown = case.snapshot.settings.unprivileged_port_start.is_none();
    let privilege = start.is_some() && !cause::may_bind_privileged(case.snapshot, question);
    if name == "EACCES" && (privilege || unknown) {
        return Vec::new();
    }
    let families = question.families();
    let kept = |port: crate::port::Port| {
        let kind = ReservationKind::System;
        cause::is_reserved(case.snapshot, question.transport, families, port.number(), kind)
    };
    if question.port.is_some_and(kept) {
        return Vec::new();
    }
    let summary = format!(
        "{} is refused on {address} by a security policy: {name} ({code}), and no other cause is left.",
        wording::target(question)
    );
    let selinux = question.port.map(|port| {
        Remedy::command(
            "with SELinux, see who may bind it",
            format!("sudo semanage port -l | grep -w {port}"),
        )
    });
    vec![
        Finding::new(&RULE, Severity::Error, summary)
            .with_evidence(wording::trials(case.trials))
            .with_remedies([remedy::read_refusals(case.snapshot)])
            .with_remedies(selinux),
    ]
}

/// WSAEACCES, and neither a range that is set aside nor a holder explains it.
fn on_windows(case: &Case<'_>, question: &Question) -> Option<Finding> {
    let (address, _, name, code) = cause::refused(case.trials)?;
    let kept = cause::reservation(case.snapshot, question, ReservationKind::System).is_some();
    if kept || excluded::unread(case.snapshot) || !cause::denied_beside(case).is_empty() {
        return None;
    }
    let summary = format!(
        "{} is refused on {address}: {name} ({code}), and neither an excluded range nor a holder explains it.",
        wording::target(question)
    );
    Some(
        Finding::new(&RULE, Severity::Error, summary)
            .with_evidence(wording::trials(case.trials))
            .with_remedies([Remedy::command("ask again: it may have gone meanwhile", remedy::ask_again(question))])
            .with_remedies([Remedy::advice(
                "look at what filters the network: security software, an app container's rules, a VPN's driver",
            )]),
    )
}
