//! A dialogue between standard input, or a script, and the other end.
//!
//! Source: RFC 854 (the end of a line is CR LF). One thread reads standard input, since that cannot be waited for
//! together with a socket everywhere; it reads on only when what it read before is sent.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use portolan_core::text::Shown;
use portolan_core::wire::telnet::Refuser;
use portolan_host::exchange::{Dialogue, Heard, Watch};
use portolan_host::sys::EndSignals;

use super::script::{Act, Script};
use crate::exit::{Exit, Refused};

/// How soon Ctrl+C is seen, and the end of standard input.
const LOOK_UP: Duration = Duration::from_millis(50);
/// How much is read at once.
const CHUNK: usize = 8 * 1024;
/// How much of what was heard is kept for the next text that is expected.
const MOST_HEARD: usize = 1 << 20;

/// What both threads look at.
struct Shared {
    near: Mutex<Near>,
    /// What was to be sent is on its way.
    room: Condvar,
}

/// This end.
struct Near {
    dialogue: Dialogue,
    /// None where bytes go as they are.
    telnet: Option<Refuser>,
    /// The last byte that was typed: a line's end is not ended twice.
    last: u8,
    /// When standard input ended.
    ended: Option<Instant>,
}

impl Near {
    /// Sends what was typed.
    fn say(&mut self, text: &[u8]) {
        let Some(telnet) = &self.telnet else {
            self.dialogue.send(text);
            return;
        };
        let mut lines = Vec::with_capacity(text.len() + 16);
        for &byte in text {
            if byte == b'\n' && self.last != b'\r' {
                lines.push(b'\r');
            }
            lines.push(byte);
            self.last = byte;
        }
        self.dialogue.send(&telnet.told(&lines));
    }

    /// What came, without what telnet has in it, which is answered.
    fn heard(&mut self) -> Heard {
        match (self.dialogue.heard(), &mut self.telnet) {
            (Heard::Bytes(bytes), Some(telnet)) => {
                let (text, refusals) = telnet.take(&bytes);
                if !refusals.is_empty() {
                    self.dialogue.send(&refusals);
                }
                Heard::Bytes(text)
            }
            (heard, _) => heard,
        }
    }
}

impl Shared {
    fn near(&self) -> MutexGuard<'_, Near> {
        self.near.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A dialogue under way.
pub(super) struct Talk {
    shared: Arc<Shared>,
    watch: Watch,
    script: Script,
    /// Whether a script speaks, and no person.
    is_scripted: bool,
    timeout: Duration,
    /// Since when the script waits.
    since: Instant,
    /// When the other end said something.
    last_heard: Option<Instant>,
    /// What the other end said since the last text that was expected.
    heard: Vec<u8>,
    /// For a terminal; none where bytes are handed on as they are.
    shown: Option<Shown>,
}

impl Talk {
    pub(super) fn new(dialogue: Dialogue, script: Script, raw: bool, timeout: Duration) -> Result<Self> {
        let watch = dialogue.watch()?;
        let telnet = (!raw).then(Refuser::default);
        let near = Near { dialogue, telnet, last: 0, ended: None };
        Ok(Self {
            shared: Arc::new(Shared { near: Mutex::new(near), room: Condvar::new() }),
            watch,
            is_scripted: !script.is_empty(),
            script,
            timeout,
            since: Instant::now(),
            last_heard: None,
            heard: Vec::new(),
            shown: io::stdout().is_terminal().then(Shown::default),
        })
    }

    /// Talks until either end has ended, the script is through, or somebody breaks it off.
    pub(super) fn run(mut self, signals: &EndSignals) -> Result<Exit> {
        if !self.is_scripted {
            let shared = Arc::clone(&self.shared);
            // It may wait for a key for ever: it ends with the program.
            thread::spawn(move || read_input(&shared));
        }
        let exit = self.talk(signals);
        self.shared.near().dialogue.hang_up();
        exit
    }

    fn talk(&mut self, signals: &EndSignals) -> Result<Exit> {
        loop {
            if self.is_scripted && self.act() {
                return Ok(Exit::Fine);
            }
            let (heard, full) = {
                let mut near = self.shared.near();
                (near.heard(), near.dialogue.is_full())
            };
            if !full {
                self.shared.room.notify_all();
            }
            let is_quiet = matches!(heard, Heard::Nothing);
            match heard {
                Heard::Bytes(text) => {
                    self.last_heard = Some(Instant::now());
                    // Whoever reads on no longer has heard enough.
                    if self.show(&text).is_err() {
                        return Ok(Exit::Fine);
                    }
                }
                Heard::Closed => return self.over("the other end closed the connection"),
                Heard::Nothing => {}
            }
            // Also while the other end never pauses.
            if signals.wait(Some(Duration::ZERO)).unwrap_or(false) {
                return self.over("broken off");
            }
            let left = self.left();
            if left.is_some_and(|left| left.is_zero()) {
                return self.out_of_time();
            }
            if is_quiet {
                self.watch.wait(full, left.unwrap_or(LOOK_UP).min(LOOK_UP))?;
            }
        }
    }

    /// How long is waited on; none for as long as somebody types.
    fn left(&self) -> Option<Duration> {
        let since = match (self.is_scripted, self.shared.near().ended) {
            (true, _) => Some(self.since),
            (false, ended) => ended,
        };
        since.map(|since| (since + self.timeout).saturating_duration_since(Instant::now()))
    }

    /// Does what the script can do now; whether it has heard all that it wanted to hear.
    fn act(&mut self) -> bool {
        loop {
            match self.script.0.front() {
                Some(Act::Send(text)) => {
                    let mut near = self.shared.near();
                    let line = if near.telnet.is_some() { [text, &b"\n"[..]].concat() } else { text.clone() };
                    near.say(&line);
                    if self.script.0.len() == 1 {
                        // The answer to the last line is still shown.
                        near.dialogue.finish();
                    }
                }
                Some(Act::Expect(text)) => {
                    match self.heard.windows(text.len()).position(|window| window == text) {
                        Some(at) => drop(self.heard.drain(..at + text.len())),
                        None => return false,
                    }
                    if self.script.0.len() == 1 {
                        return true;
                    }
                }
                None => return false,
            }
            self.script.0.pop_front();
            self.since = Instant::now();
        }
    }

    fn show(&mut self, text: &[u8]) -> io::Result<()> {
        if self.is_scripted {
            self.heard.extend_from_slice(text);
            let beyond = self.heard.len().saturating_sub(MOST_HEARD);
            self.heard.drain(..beyond);
        }
        let mut out = io::stdout().lock();
        match &mut self.shown {
            Some(shown) => out.write_all(shown.take(text).as_bytes())?,
            None => out.write_all(text)?,
        }
        out.flush()
    }

    /// How it ends where the time is over: badly too where the other end has not said all.
    fn out_of_time(&self) -> Result<Exit> {
        let seconds = self.timeout.as_secs_f64();
        let still_talks = self.last_heard.is_some_and(|heard| heard.elapsed() < self.timeout / 4);
        if self.script.is_empty() && still_talks {
            let after = if self.is_scripted { "the last line" } else { "the end of input" };
            return Err(Refused(format!(
                "{seconds} s after {after} are over, and the other end still talks; --timeout waits longer"
            ))
            .into());
        }
        self.over(&format!("{seconds} s are over"))
    }

    /// How it ends where nothing more comes: badly where the script still waits.
    fn over(&self, why: &str) -> Result<Exit> {
        match self.script.0.front() {
            Some(Act::Expect(text)) => {
                let text = String::from_utf8_lossy(text);
                let text = text.escape_debug();
                Err(Refused(format!("{why}, and '{text}' was not heard; --timeout waits longer")).into())
            }
            _ => Ok(Exit::Fine),
        }
    }
}

/// Sends what is typed, until its end.
fn read_input(shared: &Shared) {
    let mut chunk = [0; CHUNK];
    loop {
        let length = match io::stdin().lock().read(&mut chunk) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        let mut near = shared.near();
        while near.dialogue.is_full() {
            near = shared.room.wait(near).unwrap_or_else(PoisonError::into_inner);
        }
        match chunk.get(..length) {
            Some(text) if !text.is_empty() => near.say(text),
            _ => {
                near.dialogue.finish();
                near.ended = Some(Instant::now());
                return;
            }
        }
    }
}
