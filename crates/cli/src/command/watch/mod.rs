//! `portolan watch`: what opens, closes and changes state, as it happens.
//!
//! What changed between two looks is told by `portolan_core::changes`; how it is shown stands in `show.rs`. Here are the
//! looks, the pauses, and the end.

mod condition;
mod show;

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use portolan_core::census::States;
use portolan_core::changes::{Changes, Comparison, between, keep_owners};
use portolan_core::snapshot::{Gap, GapReason, Snapshot};
use portolan_core::socket::Socket;
use portolan_host::sys::{EndKeys, EndSignals};
use portolan_host::{Look, OwnerSearch, SocketFilter};

use crate::command::{Command, News, Output, Stream, Tell};
use crate::exit::{Exit, Refused};
use crate::filter::Filter;
use crate::log::Log;
use crate::source::Session;
use crate::typed::seconds;
use condition::{Condition, Tally};
use show::{Batch, Event};

pub(super) use show::schema;

/// Where the help tells how long and what then.
const HOW: &str = "How to watch";
/// Looks are not taken more often.
const LEAST_INTERVAL: Duration = Duration::from_millis(50);
/// A day.
const LONGEST_INTERVAL: Duration = Duration::from_secs(86_400);

/// Watch what opens, closes and changes state, a line each
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  portolan watch --port 8080
  portolan watch --name 'nginx*' --json --log nginx.jsonl
  portolan watch --state close-wait --until 'close-wait>100' --exec notify-send 'it leaks'
  portolan watch --port 5432 --until 'listen>=1' --for 30 && start-the-rest

It looks once an interval: what opens and closes between two looks is not seen. A connection
that comes to a state of --state, or leaves it, is a change. JSON is an object for each look that
saw a change, on a line of its own.
--until counts what there is now (sockets, and each state) and what happened since the beginning
(opened, closed, changed), compared by > >= < <= = !=. So closed>=1 waits until a socket closes,
listen=0 until nobody listens, and state:closed>=1 for one in the state CLOSED.
Esc, q (on a terminal) and Ctrl+C end it.
Exit codes: 0 ended, and what --until waits for was reached; 1 it was not; 2 could not tell,
or typed wrong.")]
pub(crate) struct Watch {
    #[command(flatten)]
    filter: Filter,
    /// Leave owners out; much faster where there are many processes
    #[arg(long, help_heading = HOW, conflicts_with_all = ["pid", "name"])]
    no_owners: bool,
    /// Seconds from one look to the next
    #[arg(long, help_heading = HOW, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// End after that many seconds
    #[arg(long = "for", help_heading = HOW, value_name = "SECONDS", value_parser = seconds)]
    time: Option<Duration>,
    /// End when this holds: 'established>100', 'listen=0', 'opened>=1'
    #[arg(long, help_heading = HOW, value_name = "CONDITION")]
    until: Option<Condition>,
    #[command(flatten, next_help_heading = HOW)]
    log: Log,
    // As an attribute: it is long, and in a doc comment it would be broken over lines.
    #[arg(
        long,
        help_heading = HOW,
        value_name = "PROGRAM ARG…",
        num_args = 1..,
        allow_hyphen_values = true,
        help = "Run this when --until is reached, or else whenever something changed; its output goes to stderr; \
                it must come last"
    )]
    exec: Vec<OsString>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = seconds(text)?;
    match (LEAST_INTERVAL..=LONGEST_INTERVAL).contains(&interval) {
        true => Ok(interval),
        false => Err(format!("'{text}' is no interval to look at; type 0.05 to 86400 seconds")),
    }
}

impl Command for Watch {
    fn run(&self, session: &Session) -> Result<Output> {
        session.needs_machine("watch")?;
        let log = self.log.open()?;
        let (watch, session) = (self.clone(), session.clone());
        Ok(Output::Stream(Stream { run: Box::new(move |tell| watch.follow(&session, tell)), log }))
    }
}

/// One look, and which of its sockets match.
struct Seen {
    snapshot: Arc<Snapshot>,
    wanted: Vec<bool>,
}

impl Seen {
    fn has(&self, index: u32) -> bool {
        self.wanted.get(index as usize).copied().unwrap_or(false)
    }

    fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.snapshot.sockets.iter().zip(&self.wanted).filter(|(_, wanted)| **wanted).map(|(s, _)| s)
    }

    fn states(&self) -> States {
        let mut states = States::default();
        self.sockets().for_each(|socket| states.add(socket.state));
        states
    }

    /// What it did not see, without the details, which change from look to look.
    fn unseen(&self) -> BTreeSet<String> {
        let name = |gap: &Gap| format!("{} {:?}", gap.what, gap.reason);
        // A process that ended while it was read is nothing to tell again and again.
        let matters = |gap: &&Gap| gap.what != "owners" || gap.reason != GapReason::Changed;
        self.snapshot.gaps.iter().filter(matters).map(name).collect()
    }
}

impl Watch {
    /// Looks; `keep` gives sockets owners that this look did not see, before it is told which of them match.
    fn look(&self, session: &Session, keep: impl FnOnce(&mut Snapshot)) -> Result<Seen> {
        let owners = if self.no_owners { OwnerSearch::None } else { OwnerSearch::All };
        // Every state: what leaves one that is wanted has changed, and not gone.
        let sockets = SocketFilter { states: BTreeSet::new(), ..self.filter.for_kernel() };
        let mut snapshot = session.see(Look { sockets: Some(sockets), owners, ..Look::default() })?;
        keep(Arc::make_mut(&mut snapshot));
        let uids: HashSet<u32> = self.filter.uids(session, &snapshot)?;
        let mut wanted = vec![false; snapshot.sockets.len()];
        for index in self.filter.choose(&snapshot, &uids) {
            wanted[index as usize] = true;
        }
        Ok(Seen { snapshot, wanted })
    }

    fn follow(&self, session: &Session, tell: Tell<'_>) -> Result<Exit> {
        let signals = EndSignals::block().context("cannot wait for signals")?;
        let keys = EndKeys::heed(&signals);
        let started = Instant::now();
        let until = self.time.and_then(|time| started.checked_add(time));
        let (mut watching, mut batch) = Watching::begin(self, session)?;
        batch.by_key = keys.is_some();
        let mut next = started;
        loop {
            batch.reached = self.until.as_ref().map(|until| until.holds(&watching.tally));
            let (reached, has_changes) = (batch.reached == Some(true), batch.has_changes());
            if batch.is_worth_telling() {
                tell(News::Report(batch.report(self.until.as_ref())))?;
            }
            if reached || (self.until.is_none() && has_changes) {
                self.execute(&signals, tell)?;
            }
            let now = Instant::now();
            if reached {
                return Ok(Exit::Fine);
            } else if until.is_some_and(|until| until <= now) {
                return self.out_of_time();
            }
            next = (next + self.interval).max(now);
            let wake = until.map_or(next, |until| until.min(next));
            if signals.wait(Some(wake.saturating_duration_since(now))).context("cannot wait for signals")? {
                return Ok(if self.until.is_some() { Exit::Not } else { Exit::Fine });
            }
            batch = watching.go_on()?;
        }
    }

    fn out_of_time(&self) -> Result<Exit> {
        match (&self.until, self.time) {
            (Some(until), Some(time)) => {
                let time = time.as_secs_f64();
                Err(Refused(format!("{until} was not reached in {time} s; leave --for out to wait on"))
                    .into())
            }
            _ => Ok(Exit::Fine),
        }
    }

    /// Runs what `--exec` names, and tells where it did not end well.
    fn execute(&self, signals: &EndSignals, tell: Tell<'_>) -> Result<()> {
        let Some((program, arguments)) = self.exec.split_first() else { return Ok(()) };
        let shown = program.to_string_lossy();
        let status = signals
            .run(program, arguments)
            .with_context(|| format!("cannot run {shown}; give --exec a program and its arguments"))?;
        if !status.success() {
            tell(News::Aside(format!("{shown} ended with {status}")))?;
        }
        Ok(())
    }
}

/// What is known between two looks.
struct Watching<'a> {
    watch: &'a Watch,
    session: &'a Session,
    /// The look that the next one is held against.
    before: Seen,
    tally: Tally,
    /// What was told not to be seen.
    unseen: BTreeSet<String>,
    /// Sockets that have their owners from the look before, by inode.
    kept: HashSet<u32>,
}

impl<'a> Watching<'a> {
    fn begin(watch: &'a Watch, session: &'a Session) -> Result<(Self, Batch)> {
        let before = watch.look(session, |_| ())?;
        let tally = Tally { states: before.states(), ..Tally::default() };
        let unseen = before.unseen();
        let batch = Batch {
            gaps: before.snapshot.gaps.clone(),
            ..Batch::new(Event::Begun, &before.snapshot, &before.snapshot, session.services(), &tally)
        };
        Ok((Self { watch, session, before, tally, unseen, kept: HashSet::new() }, batch))
    }

    /// Looks again.
    fn go_on(&mut self) -> Result<Batch> {
        let (before, kept) = (&self.before.snapshot, &mut self.kept);
        let now = self.watch.look(self.session, |now| keep_owners(before, now, kept))?;
        let comparison = between(&self.before.snapshot, &now.snapshot);
        // Where no socket matches nobody looks for owners: what was not seen of them is not seen now.
        let owners = self.unseen.iter().filter(|name| name.starts_with("owners ")).cloned();
        let unseen: BTreeSet<String> = now.unseen().into_iter().chain(owners).collect();
        let gaps_changed = unseen != self.unseen;
        self.unseen = unseen;
        let changes = match &comparison {
            Comparison::Changes(changes) => self.wanted(changes, &now),
            Comparison::Interrupted | Comparison::Anew => Changes::default(),
        };
        if comparison != Comparison::Interrupted {
            self.tally.states = now.states();
        }
        self.tally.opened += changes.opened.len() as u64;
        self.tally.closed += changes.closed.len() as u64;
        self.tally.changed += changes.changed.len() as u64;
        let event = match comparison {
            Comparison::Changes(_) => Event::Changes,
            Comparison::Interrupted => Event::Interrupted,
            Comparison::Anew => Event::Anew,
        };
        let services = self.session.services();
        let batch = Batch {
            changes,
            gaps: if gaps_changed { now.snapshot.gaps.clone() } else { Vec::new() },
            gaps_changed,
            ..Batch::new(event, &self.before.snapshot, &now.snapshot, services, &self.tally)
        };
        if event != Event::Interrupted {
            self.before = now;
        }
        Ok(batch)
    }

    /// The changes of sockets that match, or did.
    fn wanted(&self, changes: &Changes, now: &Seen) -> Changes {
        let pick = |indexes: &[u32], seen: &Seen| indexes.iter().copied().filter(|i| seen.has(*i)).collect();
        Changes {
            opened: pick(&changes.opened, now),
            closed: pick(&changes.closed, &self.before),
            changed: changes
                .changed
                .iter()
                .copied()
                .filter(|(then, later)| self.before.has(*then) || now.has(*later))
                .collect(),
        }
    }
}
