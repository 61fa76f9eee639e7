//! A stand-in for `netsh.exe`, `dism.exe`, `schtasks.exe` and `shutdown.exe`, for tests under Wine: copied over the ones of
//! a test prefix's system folder, it is whichever its name says.
//!
//! It keeps its state in the file that `PORTOLAN_STAND_IN` names, so each test has a machine of its own; without that
//! variable it says nothing and ends well, as Wine's own netsh does. It prints the recorded formats in every recorded
//! language and refuses what the real ones refuse, with their exit codes.
//! Left out on purpose: services, which Wine has itself.

mod features;
mod netsh;
mod state;
mod tasks;

use std::path::Path;
use std::process::exit;

use state::{Held, State};

/// What a tool says, and its exit code.
type Said = (Vec<u8>, i32);

fn main() {
    let Some(file) = std::env::var_os("PORTOLAN_STAND_IN") else { return };
    let own = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&own).file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let held = Held::new(file.as_ref());
    let (said, code) = held.call(&name, &words, |state: &mut State| match name.as_str() {
        "netsh" => netsh::netsh(state, &words),
        "dism" => features::dism(state, &words),
        "schtasks" => tasks::schtasks(state, &words),
        "shutdown" => tasks::shutdown(state, &words),
        _ => (b"a stand-in for nothing\r\n".to_vec(), 9),
    });
    use std::io::Write as _;
    // Whoever started this may be gone.
    let _ = std::io::stdout().write_all(&said);
    exit(code)
}
