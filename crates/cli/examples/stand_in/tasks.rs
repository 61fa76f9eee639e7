//! schtasks: start-up tasks; shutdown: notes that it was asked, since the test restarts the machine.

use crate::Said;
use crate::state::State;

pub(crate) fn schtasks(state: &mut State, words: &[&str]) -> Said {
    let value = |key: &str| {
        words.iter().position(|word| word.eq_ignore_ascii_case(key)).and_then(|at| words.get(at + 1).copied())
    };
    let name = value("/TN").unwrap_or_default().to_owned();
    match words.first().copied() {
        Some("/Create") if value("/SC") == Some("ONSTART") && value("/RU") == Some("SYSTEM") => {
            state.tasks.insert(name, value("/TR").unwrap_or_default().to_owned());
            (b"SUCCESS\r\n".to_vec(), 0)
        }
        Some("/Delete") if state.tasks.remove(&name).is_some() => (b"SUCCESS\r\n".to_vec(), 0),
        Some("/Query") if state.tasks.contains_key(&name) => (name.into_bytes(), 0),
        _ => (b"ERROR: The system cannot find the file specified.\r\n".to_vec(), 1),
    }
}

pub(crate) fn shutdown(_state: &mut State, words: &[&str]) -> Said {
    if words.contains(&"/r") { (Vec::new(), 0) } else { (b"usage\r\n".to_vec(), 87) }
}
