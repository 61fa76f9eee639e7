//! `kernel-held`: the kernel itself opened the socket, so no process holds it.

use super::{Case, Finding, Question, Remedy, Rule, Severity};
use crate::cause::{self, Role, in_the_way};
use crate::range::CarrierKind;
use crate::socket::{OwnerState, Socket};
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "kernel-held", title: "the kernel itself holds the port", doc: DOC, check };

const DOC: &str = "\
A part of the kernel opened this socket by itself. No process has it, so no tool can name a pid, and there is nothing
to kill. It is neither a leak nor an intruder: usual ones are the NFS server on port 2049 and its lock manager,
WireGuard (51820/udp unless set otherwise), VXLAN (4789/udp or 8472/udp), L2TP, and iSCSI or SMB targets.

On Windows it is PID 4, mostly the HTTP driver http.sys: programs register URLs with it (IIS, WinRM on 5985, printers
and devices on 5357), and netsh http show servicestate names them.

Portolan says this only where the socket is proven to be the kernel's own. A socket whose process merely could not be
seen is reported by holder-hidden instead.

What to do: stop what made the kernel open it. That is a service for NFS, an interface for a tunnel: ip -details link
shows tunnels with their ports, wg shows WireGuard's. The port is free as soon as the interface is gone or the server
has stopped.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let mut sockets = in_the_way(case, &[Role::Listener, Role::Bound, Role::Outgoing, Role::LeftBehind]);
    sockets.retain(|socket| socket.owner_state == OwnerState::Kernel);
    if sockets.is_empty() {
        return Vec::new();
    }
    if cause::is_windows(case.snapshot) {
        return vec![on_windows(case, question, &sockets)];
    }
    let remedy = match question.port.map(u16::from) {
        Some(2049) => Remedy::command("stop the NFS server", "sudo systemctl stop nfs-server.service"),
        _ => Remedy::command("see which tunnels use which port", "ip -details link show"),
    };
    let summary = format!("{} is held by the kernel itself, not by a program.", wording::target(question));
    vec![
        Finding::new(&RULE, Severity::Error, summary)
            .with_evidence(wording::sockets(&sockets, case.snapshot))
            .with_evidence(wording::trials(case.trials))
            .with_remedies(remedy::another_port(question))
            .with_remedies([remedy]),
    ]
}

fn on_windows(case: &Case<'_>, question: &Question, sockets: &[&Socket]) -> Finding {
    let carriers = case.snapshot.carriers.iter().filter(|carrier| carrier.kind == CarrierKind::HttpSys);
    let urls: Vec<_> =
        carriers.filter(|c| sockets.iter().any(|socket| wording::carries(c, socket))).collect();
    let mut programs: Vec<String> = urls.iter().filter_map(|url| url.to.clone()).collect();
    programs.sort_unstable();
    programs.dedup();
    let target = wording::target(question);
    let summary = match programs.is_empty() {
        true => format!("{target} is held by the kernel itself (PID 4), mostly the HTTP driver http.sys."),
        false => {
            format!(
                "{target} is held by the HTTP driver http.sys (PID 4) for {}.",
                wording::listed(&programs)
            )
        }
    };
    let lines = urls.iter().take(10).map(|url| format!("registered: {}", wording::shortened(&url.name)));
    Finding::new(&RULE, Severity::Error, summary)
        .with_evidence(wording::sockets(sockets, case.snapshot))
        .with_evidence(lines)
        .with_evidence(wording::trials(case.trials))
        .with_remedies(remedy::another_port(question))
        .with_remedies([Remedy::command(
            "see which program registered URLs on the port, and stop that one",
            "netsh http show servicestate view=requestq",
        )])
}
