//! `many-handles`: a process of Windows has very many handles open.

use super::{Case, Finding, Remedy, Rule, Severity};
use crate::{cause, wording};

pub(super) const RULE: Rule =
    Rule { id: "many-handles", title: "a process has very many handles open", doc: DOC, check };

const DOC: &str = "\
On Windows a socket is a handle, and there is no limit that one would notice: a program that leaks sockets shows by
thousands of handles. Over 3,000 is suspicious, but for System, lsass, store and sqlservr, which have as many by
nature; over 10,000 is severe.

The count is of all kinds of handles: files, events and threads are among them, so it is a sign and no proof. How many
of them are sockets, bound or not, is told where it may be seen (as administrator).

What to do: see which of its sockets grow (CLOSE_WAIT, BOUND), then mend or restart the program.
";

const SUSPICIOUS: u32 = 3_000;
const SEVERE: u32 = 10_000;
/// These have many by nature.
const EXEMPT: [&str; 4] = ["system", "lsass", "store", "sqlservr"];

fn check(case: &Case<'_>) -> Vec<Finding> {
    if case.census.is_none() || !cause::is_windows(case.snapshot) {
        return Vec::new();
    }
    let mut many: Vec<_> = case
        .snapshot
        .owners
        .iter()
        .filter_map(|owner| Some((owner.handles.filter(|count| *count > SUSPICIOUS)?, owner)))
        .filter(|(_, owner)| {
            let name = owner.name.to_ascii_lowercase();
            !EXEMPT.contains(&name.strip_suffix(".exe").unwrap_or(&name))
        })
        .collect();
    many.sort_by_key(|(count, owner)| (std::cmp::Reverse(*count), owner.pid));
    let finding = |(count, owner): (u32, &crate::owner::Owner)| {
        let severity = if count > SEVERE { Severity::Error } else { Severity::Warning };
        let of_sockets =
            owner.socket_handles.map_or_else(String::new, |sockets| format!(", {sockets} of them sockets"));
        let summary = format!("{} has {count} handles open{of_sockets}.", wording::process(owner));
        let see = format!("portolan list --pid {} --group-by state", owner.pid);
        Finding::new(&RULE, severity, summary)
            .with_remedies([Remedy::command("see its sockets by state", see)])
    };
    many.into_iter().take(5).map(finding).collect()
}
