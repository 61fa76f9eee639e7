//! `portolan record`: looks again and again, and keeps what it saw in one file for `history`.
//!
//! What is kept of a look is decided in `portolan_core::record`, how it is kept in `portolan_history`. Here are the
//! looks, the pauses, what is said meanwhile, and what is done when the file cannot be written: it is tried again with
//! every look, which waits meanwhile, and nothing that was kept is lost.

mod looks;
mod pool;
mod recording;
mod set_up;
mod show;
mod typed;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use portolan_history::{Keep, Kind, Options, Store};
use portolan_host::recording::Held;
use portolan_host::sys::{self, EndSignals};

use crate::changing::Consent;
use crate::command::{Command, News, Output, Stream, Tell};
use crate::exit::{Exit, Misuse};
use crate::source::Session;
use crate::typed::seconds;
use looks::Looks;
use recording::{Kept, Recording};
use show::{Event, Happened};

pub(super) use show::schema;

/// Where the help tells how.
const HOW: &str = "How to record";
const SYSTEM: &str = "By the system";
const LEAST_INTERVAL: Duration = Duration::from_millis(50);
const LONGEST_INTERVAL: Duration = Duration::from_secs(86_400);

/// Record who uses the ports and how much room is left, for portolan history
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  portolan record                          every 5 seconds, until Ctrl+C
  portolan record --interval 60 --for 86400
  portolan record --once                   one look, as for cron
  portolan record --copy before.db         a copy of what was recorded, also while it goes on
  portolan record --install --interval 60  by the system, from now on and after each start
  portolan history --since 24h             what came of it

The file is SQLite's, in WAL mode. Between two looks it is whole by itself and may be copied as
it is; --copy is whole at any moment. Looks are rolled up to minutes and hours, with their least,
mean and most. Time in which nobody looked is a gap and no zero. A file has one recorder, and is of
one network namespace of one machine; another one is refused. While the file cannot be written (a
full disk, no rights) it is tried again with each look, and up to 240 looks wait in memory; of a
recorder that is killed these and at most the last look are lost.
To take little, who holds a known socket is looked up anew within a minute, and BOUND sockets,
where there were none, within 30 seconds.
--install makes a unit of systemd's, or a task of Windows' Task Scheduler, with the options typed
beside it; it shows its plan and asks first, and portolan undo takes it back.
Exit codes: 0 ended; 1 another recorder has the file, or --install was refused; 2 it could not be
written or looked at, or typed wrong.")]
pub(crate) struct Record {
    /// The file; without it history.db beside the journal of changes
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Seconds from one look to the next
    #[arg(long, help_heading = HOW, value_name = "SECONDS", default_value = "5", value_parser = interval)]
    interval: Duration,
    /// How long looks, minutes and hours are kept: 12h, 31d, 2y
    #[arg(long, help_heading = HOW, value_name = "LOOKS,MINUTES,HOURS", default_value = "2d,31d,2y", value_parser = typed::keep)]
    keep: Keep,
    /// How large the file may become; then the oldest goes first
    #[arg(long, help_heading = HOW, value_name = "SIZE", default_value = "256M", value_parser = typed::size)]
    max_size: u64,
    /// Leave owners out; cheaper where there are many processes
    #[arg(long, help_heading = HOW)]
    no_owners: bool,
    /// End after that many seconds
    #[arg(long = "for", help_heading = HOW, value_name = "SECONDS", value_parser = seconds)]
    time: Option<Duration>,
    /// Look once and end
    #[arg(long, help_heading = HOW, conflicts_with = "time")]
    once: bool,
    /// Record nothing: copy what was recorded to a new file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["once", "time"])]
    copy: Option<PathBuf>,
    /// Have the system record with these options, now and after each start
    #[arg(long, help_heading = SYSTEM, conflicts_with_all = ["once", "time", "copy"])]
    install: bool,
    /// Take that back; what was recorded stays
    #[arg(long, help_heading = SYSTEM, conflicts_with_all = ["install", "once", "time", "copy"])]
    uninstall: bool,
    /// Print the unit, or the task, and do nothing
    #[arg(long, help_heading = SYSTEM, requires = "install", conflicts_with_all = ["dry_run", "yes"])]
    print: bool,
    #[command(flatten)]
    consent: Consent,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = seconds(text)?;
    match (LEAST_INTERVAL..=LONGEST_INTERVAL).contains(&interval) {
        true => Ok(interval),
        false => Err(format!("'{text}' is no interval to look at; type 0.05 to 86400 seconds")),
    }
}

impl Command for Record {
    fn run(&self, session: &Session) -> Result<Output> {
        session.needs_machine("record")?;
        if self.install || self.uninstall {
            return set_up::run(self, session);
        }
        if self.consent.dry_run || self.consent.yes {
            return Err(Misuse("--dry-run and --yes go with --install or --uninstall".into()).into());
        }
        let file = match &self.file {
            Some(file) => file.clone(),
            None => session.history()?,
        };
        if let Some(to) = &self.copy {
            if session.namespace().typed().is_some() {
                return Err(Misuse("--copy copies all of a file: leave --netns out".into()).into());
            }
            return copy(&file, to);
        }
        let (record, session) = (self.clone(), session.clone());
        let run = move |tell: Tell<'_>| record.follow(&session, &file, tell);
        Ok(Output::Stream(Stream { run: Box::new(run), log: None }))
    }
}

/// Copies what was recorded.
fn copy(file: &Path, to: &Path) -> Result<Output> {
    let shown = to.display();
    if to.exists() {
        return Err(Misuse(format!("{shown} is there already: name another file")).into());
    }
    let store = Store::read(file)?;
    // Made for its owner alone, as the file itself is.
    let _held = Held::new(to)?;
    store.copy(to)?;
    let span = store.span()?;
    Ok(Output::Report(Happened::new(Event::Copied, span.map_or(0, |span| span.until_ms), to).report()))
}

impl Record {
    fn options(&self) -> Options {
        Options {
            interval_ms: u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX),
            pid: std::process::id(),
            keep: Keep { bytes: self.max_size, ..self.keep },
        }
    }

    fn follow(&self, session: &Session, file: &Path, tell: Tell<'_>) -> Result<Exit> {
        let signals = EndSignals::block().context("cannot wait for signals")?;
        let started = Instant::now();
        let until = self.time.and_then(|time| started.checked_add(time));
        let mut recording = Recording::begin(self, session, file)?;
        let mut looks = Looks::new(session, self.no_owners);
        let mut trouble = Trouble::default();
        let mut next = started;
        let mut is_first = true;
        loop {
            let entry = looks.look()?;
            let at_ms = entry.at_ms;
            if recording.follow_path()? {
                tell(News::Report(Happened::new(Event::Replaced, at_ms, file).report()))?;
            }
            let begun = is_first.then(|| Happened::new(Event::Begun, at_ms, file).with_gaps(&entry.gaps));
            let kept = recording.keep(entry);
            if let Kept::Not(error) = &kept
                && (begun.is_some()
                    || matches!(error.kind, Kind::Damaged | Kind::Foreign | Kind::Anothers | Kind::Newer))
            {
                return Err(error.clone().into());
            }
            is_first = false;
            if let Some(begun) = begun
                && !self.once
            {
                tell(News::Report(begun.with_interval(self.interval).report()))?;
                sys::tell_started();
            }
            for news in trouble.told(&kept, at_ms, file) {
                tell(News::Report(news.report()))?;
            }
            let now = Instant::now();
            if self.once || until.is_some_and(|until| until <= now) {
                break;
            }
            next = (next + self.interval).max(now);
            let wake = until.map_or(next, |until| until.min(next));
            if signals.wait(Some(wake.saturating_duration_since(now))).context("cannot wait for signals")? {
                break;
            }
        }
        Ok(if recording.any_lacking() { Exit::Unclear } else { Exit::Fine })
    }
}

/// What was said of a file that cannot be written.
#[derive(Default)]
struct Trouble(Option<Kind>);

impl Trouble {
    /// What a look has to tell: what came and went, and that the file cannot be written, or can again.
    fn told(&mut self, kept: &Kept, at_ms: u64, file: &Path) -> Vec<Happened> {
        let happened = |event| Happened::new(event, at_ms, file);
        let (appended, lost) = match kept {
            Kept::Not(error) => {
                // Once, and again where the reason is another.
                let is_new = self.0.replace(error.kind) != Some(error.kind);
                let news =
                    happened(Event::NotKept).with_text(format!("{error}; it is tried again with each look"));
                return is_new.then_some(news).into_iter().collect();
            }
            Kept::Kept { appended, lost } => (appended, *lost),
        };
        let mut news = Vec::new();
        if self.0.take().is_some() {
            // The last one is that of now.
            news.push(happened(Event::KeptAgain).with_looks(appended.len().saturating_sub(1), lost));
        }
        for appended in appended {
            // A look that waited tells of its own time.
            let happened = |event| Happened::new(event, appended.at_ms, file);
            let finding = |event, found: &portolan_core::record::Found| happened(event).with_finding(found);
            news.extend(appended.clock_back_ms.map(|ms| happened(Event::ClockBack).with_ms(ms)));
            news.extend(appended.told.went.iter().map(|found| finding(Event::FindingWent, found)));
            news.extend(appended.told.came.iter().map(|found| finding(Event::FindingCame, found)));
        }
        news
    }
}
