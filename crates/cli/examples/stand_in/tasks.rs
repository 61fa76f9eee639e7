//! schtasks: start-up tasks, kept as their XML; shutdown: notes that it was asked, since the test restarts the machine.

use crate::Said;
use crate::state::State;

pub(crate) fn schtasks(state: &mut State, words: &[&str]) -> Said {
    let value = |key: &str| {
        words.iter().position(|word| word.eq_ignore_ascii_case(key)).and_then(|at| words.get(at + 1).copied())
    };
    let name = value("/TN").unwrap_or_default().to_owned();
    match words.first().copied() {
        Some("/Create") if words.contains(&"/F") => match value("/XML").map(task) {
            Some(Ok(xml)) => {
                state.tasks.insert(name, xml);
                (b"SUCCESS\r\n".to_vec(), 0)
            }
            _ => (b"ERROR: The task XML is malformed.\r\n".to_vec(), 1),
        },
        Some("/Delete") if words.contains(&"/F") && state.tasks.remove(&name).is_some() => {
            (b"SUCCESS\r\n".to_vec(), 0)
        }
        Some(verb @ ("/Run" | "/End")) if state.tasks.contains_key(&name) => {
            state.asked.push((verb.to_owned(), name));
            (b"SUCCESS\r\n".to_vec(), 0)
        }
        Some("/Query") if state.tasks.contains_key(&name) => (name.into_bytes(), 0),
        _ => (b"ERROR: The system cannot find the file specified.\r\n".to_vec(), 1),
    }
}

/// The text of a file in UTF-16 with its mark, that says of itself what it is.
fn task(path: &str) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let Some((0xfeff, text)) = units.split_first() else { return Err("no mark".into()) };
    let text = String::from_utf16(text).map_err(|error| error.to_string())?;
    let is_whole = text.starts_with("<?xml version=\"1.0\" encoding=\"UTF-16\"?>\n<Task ")
        && text.ends_with("</Task>\n")
        && text.contains("<BootTrigger>");
    if is_whole { Ok(text) } else { Err("no start-up task".into()) }
}

pub(crate) fn shutdown(_state: &mut State, words: &[&str]) -> Said {
    if words.contains(&"/r") { (Vec::new(), 0) } else { (b"usage\r\n".to_vec(), 87) }
}
