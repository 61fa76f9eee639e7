//! How a program of Windows can be asked to end: by its windows, or by its console where nobody else is asked along.
//!
//! Source: `WM_CLOSE`, `GenerateConsoleCtrlEvent`. Ctrl+C reaches every program of a console. It is sent where these are
//! the one that is meant and what it has started, and nobody else: not to a console that a shell shares. Left out on
//! purpose: Ctrl+Break to one group of a console, since which groups there are cannot be seen, and for a number that
//! leads none the system asks all.

use super::ProcessEntry;
use crate::wording::listed;

/// A way to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WayToAsk {
    /// Its windows are asked to close.
    Window,
    /// Ctrl+C in its console, which reaches exactly these processes: it, and what it has started.
    Console(Vec<u32>),
    /// It cannot be asked, for this reason.
    None(String),
}

impl WayToAsk {
    /// The way for a process: whether it has a window, and whose its console is besides (an error for none that can be
    /// looked at). `processes` are all.
    pub fn of(
        pid: u32,
        has_window: bool,
        console: Result<Vec<u32>, String>,
        processes: &[ProcessEntry],
    ) -> Self {
        let members = match console {
            _ if has_window => return Self::Window,
            Ok(members) if members.contains(&pid) => members,
            Ok(_) => return Self::None("it has no window, and is in no console".into()),
            Err(why) => {
                return Self::None(format!("it has no window, and its console cannot be asked: {why}"));
            }
        };
        let others: Vec<String> = members
            .iter()
            .filter(|member| **member != pid && !descends(processes, **member, pid))
            .map(|member| named(processes, *member))
            .collect();
        if others.is_empty() {
            return Self::Console(members);
        }
        Self::None(format!(
            "it has no window, and shares its console with {}, which Ctrl+C there would reach too",
            listed(&others)
        ))
    }

    /// What a plan says of it, for a process of that number.
    pub fn told(&self, pid: u32, processes: &[ProcessEntry]) -> String {
        match self {
            Self::Window => "asked by its window (WM_CLOSE)".into(),
            Self::Console(members) => {
                let along: Vec<String> = members
                    .iter()
                    .filter(|member| **member != pid)
                    .map(|member| named(processes, *member))
                    .collect();
                match along.is_empty() {
                    true => "asked by Ctrl+C in its console, where nobody else is".into(),
                    false => format!(
                        "asked by Ctrl+C in its console, which reaches what it has started too: {}",
                        listed(&along)
                    ),
                }
            }
            Self::None(why) => format!("cannot be asked: {why}; --force terminates it"),
        }
    }
}

fn named(processes: &[ProcessEntry], pid: u32) -> String {
    let name = processes.iter().find(|process| process.pid == pid).map_or("?", |process| &process.name);
    format!("{name} (pid {pid})")
}

/// Whether a process was started by another, or by one that was.
fn descends(processes: &[ProcessEntry], pid: u32, ancestor: u32) -> bool {
    let parent = |pid: u32| processes.iter().find(|process| process.pid == pid).map(|process| process.parent);
    let mut next = parent(pid);
    // A table that was read while processes came and went may have a ring.
    for _ in 0..processes.len() {
        match next {
            Some(pid) if pid == ancestor => return true,
            Some(pid) if pid != 0 => next = parent(pid),
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// cmd (4) has started web (8), which has started worker (12) and helper (16) of it.
    fn processes() -> Vec<ProcessEntry> {
        [(4, 0, "cmd.exe"), (8, 4, "web.exe"), (12, 8, "worker.exe"), (16, 12, "helper.exe")]
            .map(|(pid, parent, name)| ProcessEntry { pid, parent, start: 1, name: name.into() })
            .into()
    }

    fn way(has_window: bool, console: Result<Vec<u32>, String>) -> String {
        WayToAsk::of(8, has_window, console, &processes()).told(8, &processes())
    }

    #[test]
    fn a_window_comes_first() {
        assert_eq!(way(true, Err("gone".into())), "asked by its window (WM_CLOSE)");
    }

    #[test]
    fn a_console_of_its_own_gets_ctrl_c() {
        assert_eq!(way(false, Ok(vec![8])), "asked by Ctrl+C in its console, where nobody else is");
        assert_eq!(
            way(false, Ok(vec![8, 16, 12])),
            "asked by Ctrl+C in its console, which reaches what it has started too: helper.exe (pid 16) and \
             worker.exe (pid 12)"
        );
    }

    #[test]
    fn a_console_that_others_share_is_left_alone() {
        let shared = way(false, Ok(vec![4, 8, 12]));
        assert!(shared.contains("shares its console with cmd.exe (pid 4), which Ctrl+C there"), "{shared}");
        assert!(shared.ends_with("--force terminates it"), "{shared}");
        assert!(way(false, Ok(vec![8, 99])).contains("? (pid 99)"), "one that came since is nobody's child");
        assert!(way(false, Ok(Vec::new())).contains("is in no console"));
        assert!(way(false, Err("access denied".into())).contains("cannot be asked: access denied"));
    }

    #[test]
    fn a_ring_of_parents_ends() {
        let ring =
            [(4, 8), (8, 4)].map(|(pid, parent)| ProcessEntry { pid, parent, start: 1, name: "x".into() });
        assert!(!descends(&ring, 4, 99));
    }
}
