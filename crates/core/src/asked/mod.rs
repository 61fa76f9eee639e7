//! What was asked of `why`: a port as it is typed, or an error text as it was pasted.
//!
//! Source of the wordings: the programs and runtimes of `wordings.txt`, real lines of each; the C library's and
//! Windows' own messages in ten languages (`wording.rs`). A text is read for three things: which port, on which
//! side, and which code. What else it says is not understood, and need not be.
//!
//! Left out on purpose: names are not looked up (that is I/O), and a port that stands in a text without any sign
//! that it is one (a bare number among others) is not guessed.

mod call;
mod code;
mod endpoint;
mod plain;
mod scan;
mod text;
mod wording;

use std::fmt;

use crate::diagnose::Question;
use crate::kernel::error_code::ErrorCode;
use crate::kernel::services::Services;
use crate::port::Port;
use crate::socket::Transport;

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The port it is about.
    pub target: Target,
    /// What an error text told; none for a plain target.
    pub told: Option<Told>,
    /// What was taken for granted while reading it, a sentence each: for the one who asked to check.
    pub notes: Vec<String>,
}

/// The port that was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A port of this machine: may be bound to find out. The user (`uid`) is left open.
    Local(Question),
    /// A port that a connection was to reach: never to be bound.
    Remote(Remote),
}

/// The other end of a connection that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Host name or address as the text has it; none where it names the port alone.
    pub host: Option<String>,
    /// Its port.
    pub port: Port,
    /// TCP or UDP.
    pub transport: Transport,
}

/// What an error text told besides the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The system's error code, by its name, its number or the system's own message in any known language.
    pub code: Option<&'static ErrorCode>,
    /// The call that failed.
    pub call: Call,
    /// The line it was found in, at most 200 characters, as it came (whoever shows it makes it harmless).
    pub excerpt: String,
}

/// The call that an error text names; the innermost where it names several (`listen tcp :80: bind: …` is a bind).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// bind(): the port is wanted here.
    Bind,
    /// listen(), or a program's "cannot listen".
    Listen,
    /// connect(): the port is another's.
    Connect,
    /// Go's dial: a connect(), or the bind before it.
    Dial,
    /// Not named.
    Unknown,
}

/// Why a text asks nothing that can be answered; says what to type instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedError(String);

impl fmt::Display for AskedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AskedError {}

/// Reads what was asked: `8080`, `53/udp`, `127.0.0.1:8080`, `[::1]:53/udp`, `:8080`, `localhost:8080` (that is
/// 127.0.0.1), a service name that `services` knows, `any` for whichever port the system gives, or a pasted error text of one or many lines, of which the first
/// 64 KiB are read.
pub fn parse(text: &str, services: &Services) -> Result<Asked, AskedError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(AskedError("nothing was asked; type a port, as in `portolan why 8080`".into()));
    }
    match plain::as_typed(text) {
        None => text::parse(text),
        Some(typed) => plain::parse(&typed, services).or_else(|plain| match text::parse(text) {
            Err(error) if code::told(text).is_some() => Err(error),
            pasted => pasted.map_err(|_| plain),
        }),
    }
}

/// Foreign text for an error message: at most 40 characters, no control characters.
fn shortened(text: &str) -> String {
    let mut shown: String =
        text.chars().take(40).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(40).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
