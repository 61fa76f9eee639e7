//! `portolan wait PORT|HOST:PORT --for …`: until a port is listened on, closed, or free.
//!
//! A port of this machine is asked for from the kernel's table or by a bind; another host's by connecting. What is to
//! be asked and what the answers mean stands in `target.rs` and `look.rs`; here are the pauses between.

mod look;
mod target;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, ValueEnum};
use portolan_core::socket::Transport;
use portolan_host::sys;
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use look::{Looker, Seen, SeenState};
use target::Target;

use crate::cells::{Column, Table};
use crate::command::{Command, Output};
use crate::exit::{Exit, Misuse};
use crate::report::{Block, Line, Report, Tone};
use crate::source::Session;
use crate::typed::seconds;

/// At most 20 questions a second.
const PAUSE: Duration = Duration::from_millis(50);
/// Each pause is so many times as long as the question before it kept a processor busy: below one per cent.
const IDLENESS: u32 = 150;
/// A service that answers is not connected to more often than that.
const PAUSE_AFTER_CONNECTION: Duration = Duration::from_millis(250);
/// Where no answer came, the name is resolved anew, and a name server is not asked more often than that.
const PAUSE_AFTER_NOTHING: Duration = Duration::from_secs(1);

/// Wait until a port is listened on, closed, or free
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan wait 8080 --for free --timeout 60      until it binds: TIME_WAIT is waited for too
  portolan wait 5432 --for listening && start-the-rest
  portolan wait db.example:5432 --for listening --timeout 30
  portolan wait 53/udp --for closed

listening: somebody listens, on whatever address. closed: nobody listens. free: nobody holds the
port, and it binds on every address without options. Of another host only a connection tells:
refused is closed and free; no answer is neither.
Exit codes: 0 reached; 1 not reached within the timeout; 2 could not tell, or typed wrong.")]
pub(crate) struct Wait {
    // As an attribute: in a doc comment the brackets would be links.
    #[arg(value_name = "PORT|HOST:PORT", help = "PORT[/udp] of this machine, or HOST:PORT, [ADDRESS]:PORT")]
    target: String,
    /// What for
    #[arg(long = "for", value_name = "WHAT", value_enum)]
    wanted: Goal,
    /// Give up after that many seconds; without it, never
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// tcp or udp; tcp when not said
    #[arg(long, value_name = "tcp|udp")]
    transport: Option<Transport>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Goal {
    Free,
    Listening,
    Closed,
}

impl Goal {
    const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Listening => "listening",
            Self::Closed => "closed",
        }
    }

    /// Whether that is what was waited for. Of another host, closed is all that can be seen of free.
    fn is_met(self, seen: SeenState, local: bool) -> bool {
        match self {
            Self::Listening => seen == SeenState::Listening,
            Self::Closed => seen == SeenState::Closed,
            Self::Free if local => seen == SeenState::Free,
            Self::Free => seen == SeenState::Closed,
        }
    }
}

/// What wait gives.
#[derive(Serialize, JsonSchema)]
struct Waited {
    /// What was waited for, as it was understood: `8080/tcp`, `db:5432/tcp`.
    target: String,
    /// The state that was waited for.
    r#for: Goal,
    /// Whether it came.
    reached: bool,
    /// How long it took, in milliseconds.
    waited_ms: u64,
    /// What was seen last.
    last_seen: SeenState,
    /// Who or what that is, where that is known.
    detail: Option<String>,
    /// How many times the system was asked.
    queries: u64,
}

/// JSON Schema of the report.
pub(super) fn schema() -> Schema {
    schema_for!(Waited)
}

impl Command for Wait {
    fn run(&self, session: &Session) -> Result<Output> {
        session.needs_machine("wait")?;
        let target = Target::parse(&self.target, self.transport).map_err(Misuse)?;
        let started = Instant::now();
        let until = self.timeout.and_then(|timeout| started.checked_add(timeout));
        let left = || until.map(|until| until.saturating_duration_since(Instant::now()));
        let mut looker = Looker::new(session, &target);
        let mut queries = 0;
        loop {
            let busy = sys::processor_time();
            let seen = looker.look(self.wanted, left())?;
            queries += 1;
            let reached = self.wanted.is_met(seen.state, target.is_local());
            if reached || left().is_some_and(|left| left.is_zero()) {
                let waited = started.elapsed();
                let seen = if reached { seen } else { looker.explained(seen) };
                return Ok(Output::Report(self.report(&target, reached, waited, seen, queries)));
            }
            let busy = sys::processor_time().saturating_sub(busy);
            let pause = pause(seen.state, target.is_local()).max(busy * IDLENESS);
            thread::sleep(left().map_or(pause, |left| pause.min(left)));
        }
    }
}

/// The least pause after what was seen.
fn pause(seen: SeenState, local: bool) -> Duration {
    match seen {
        SeenState::Listening if !local => PAUSE_AFTER_CONNECTION,
        SeenState::Unresolved | SeenState::Unreachable | SeenState::NoAnswer => PAUSE_AFTER_NOTHING,
        _ => PAUSE,
    }
}

impl Wait {
    fn report(&self, target: &Target, reached: bool, waited: Duration, seen: Seen, queries: u64) -> Report {
        let time = format!("{:.1} s", waited.as_secs_f64());
        let goal = self.wanted.name();
        let line = Line::new().strong(target.to_string());
        let line = if reached {
            line.plain(" is ").and(Tone::Good, goal).plain(format!("   after {time}"))
        } else {
            let last = seen.detail.as_deref().unwrap_or(seen.state.words());
            line.plain(" is ").and(Tone::Bad, format!("not {goal}")).plain(format!(" after {time}: {last}"))
        };
        let body = Waited {
            target: target.to_string(),
            r#for: self.wanted,
            reached,
            waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
            last_seen: seen.state,
            detail: seen.detail,
            queries,
        };
        let columns = ["target", "for", "reached", "waited-ms", "last-seen", "detail"].map(Column::words);
        let row = [
            body.target.clone(),
            goal.to_owned(),
            reached.to_string(),
            body.waited_ms.to_string(),
            seen.state.words().to_owned(),
            body.detail.clone().unwrap_or_default(),
        ];
        let rows = Table::of_rows(columns, vec![row]);
        let exit = if reached { Exit::Fine } else { Exit::Not };
        Report { exit, gaps: None, ..Report::new(body, vec![Block::Line(line)], rows, Vec::new()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{valid_json, written};

    fn told(target: &str, reached: bool, state: SeenState, detail: Option<&str>) -> Report {
        let target = Target::parse(target, None).unwrap();
        let wait = Wait { target: target.to_string(), wanted: Goal::Free, timeout: None, transport: None };
        let seen = Seen { state, detail: detail.map(str::to_owned) };
        wait.report(&target, reached, Duration::from_millis(1250), seen, 3)
    }

    #[test]
    fn the_verdict_is_one_line() {
        let free = told("8080", true, SeenState::Free, None);
        assert_eq!(
            (written(&free, "table").as_str(), free.exit),
            ("8080/tcp is free   after 1.2 s\n", Exit::Fine)
        );
        let held = told("53/udp", false, SeenState::Held, Some("held by named (pid 5)"));
        let text = "53/udp is not free after 1.2 s: held by named (pid 5)\n";
        assert_eq!((written(&held, "table").as_str(), held.exit), (text, Exit::Not));
        let open = told("db:80", false, SeenState::Listening, None);
        assert_eq!(written(&open, "table"), "db:80/tcp is not free after 1.2 s: somebody listens\n");
    }

    #[test]
    fn machines_get_what_was_seen_last_and_how_often_was_asked() {
        let value = valid_json(&told("8080", false, SeenState::TimeWait, Some("a\u{1b}b")), "wait");
        assert_eq!((&value["last_seen"], &value["queries"]), (&"time-wait".into(), &3.into()));
        assert_eq!((&value["for"], &value["waited_ms"]), (&"free".into(), &1250.into()));
    }

    #[test]
    fn closed_is_all_that_can_be_seen_of_free_elsewhere() {
        assert!(Goal::Free.is_met(SeenState::Closed, false) && !Goal::Free.is_met(SeenState::Closed, true));
        for nothing in [SeenState::NoAnswer, SeenState::Unreachable, SeenState::Unresolved] {
            assert!(
                ![Goal::Free, Goal::Closed, Goal::Listening].iter().any(|goal| goal.is_met(nothing, false))
            );
        }
    }
}
