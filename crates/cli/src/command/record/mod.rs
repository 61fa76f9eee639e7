//! `portolan record`: looks again and again, and keeps what it saw in one file for `history`.
//!
//! What is kept of a look is decided in `portolan_core::record`, how it is kept in `portolan_history`. Here are the
//! looks, the pauses, what is said meanwhile, and what is done when the file cannot be written: it is tried again with
//! every look, and nothing that was kept is lost.

mod looks;
mod set_up;
mod show;
mod typed;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use portolan_core::record::Entry;
use portolan_history::{Appended, Keep, Kind, Options, Recorder, Store};
use portolan_host::recording::Held;
use portolan_host::sys::{self, EndSignals};

use crate::changing::Consent;
use crate::command::{Command, News, Output, Stream, Tell};
use crate::exit::{Exit, Misuse, Refused};
use crate::source::Session;
use crate::typed::seconds;
use looks::Looks;
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
mean and most. Time in which nobody looked is a gap and no zero. A file has one recorder; another
one is refused. While the file cannot be written (a full disk, no rights) it is tried again with
each look; of a recorder that is killed at most the last look is lost.
To take little, who holds a known socket is looked up anew within a minute, and BOUND sockets,
where there were none, within 15 seconds.
--install makes a unit of systemd's, or a task of Windows' Task Scheduler, with the options typed
beside it; it shows its plan and asks first, and portolan undo takes it back.
Exit codes: 0 ended; 1 another recorder has the file; 2 it could not be written or looked at, or
typed wrong.")]
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

/// How the attempt to keep a look went.
enum Kept {
    /// It is in the file.
    Kept(Appended),
    /// It is not; the next one may be.
    Not(portolan_history::Error),
}

/// The file while it is recorded into.
struct Recording<'a> {
    record: &'a Record,
    file: &'a Path,
    // Closed before the lock is let go.
    recorder: Option<Recorder>,
    held: Held,
}

impl<'a> Recording<'a> {
    fn begin(record: &'a Record, file: &'a Path) -> Result<Self> {
        let held = hold(file)?;
        let recorder = Recorder::open(file, record.options())?;
        Ok(Self { record, file, recorder: Some(recorder), held })
    }

    /// Keeps a look. A file that could not be written is opened anew: what was wrong with it may be over.
    fn keep(&mut self, entry: &Entry) -> Kept {
        let mut recorder = match self.recorder.take() {
            Some(recorder) => recorder,
            None => match Recorder::open(self.file, self.record.options()) {
                Ok(recorder) => recorder,
                Err(error) => return Kept::Not(error),
            },
        };
        match recorder.append(entry) {
            Ok(appended) => {
                self.recorder = Some(recorder);
                Kept::Kept(appended)
            }
            Err(error) => Kept::Not(error),
        }
    }

    /// Whether another file lies there now, or none: then recording goes on in that one, or a new one.
    fn follow_path(&mut self) -> Result<bool> {
        if self.held.stands() {
            return Ok(false);
        }
        self.recorder = None;
        self.held = hold(self.file)?;
        self.recorder = Some(Recorder::open(self.file, self.record.options())?);
        Ok(true)
    }
}

/// The file's lock; refuses where another recorder has it, and says which.
fn hold(file: &Path) -> Result<Held> {
    if let Some(held) = Held::new(file)? {
        return Ok(held);
    }
    let other = Store::read(file).and_then(|store| store.span()).ok().flatten();
    let who = other.map_or_else(String::new, |span| format!(" (pid {})", span.run.pid));
    Err(Refused(format!(
        "another recorder{who} has {}: end that one, or name another file with --file",
        file.display()
    ))
    .into())
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
        let mut recording = Recording::begin(self, file)?;
        let mut looks = Looks::new(session, self.no_owners);
        let mut trouble = Trouble::default();
        let mut next = started;
        let mut is_first = true;
        loop {
            let entry = looks.look()?;
            if recording.follow_path()? {
                tell(News::Report(Happened::new(Event::Replaced, entry.at_ms, file).report()))?;
            }
            let kept = recording.keep(&entry);
            if let Kept::Not(error) = &kept
                && (is_first || matches!(error.kind, Kind::Damaged | Kind::Foreign | Kind::Newer))
            {
                return Err(error.clone().into());
            }
            if std::mem::take(&mut is_first) && !self.once {
                let begun = Happened::new(Event::Begun, entry.at_ms, file);
                tell(News::Report(begun.with_interval(self.interval).with_gaps(&entry.gaps).report()))?;
                sys::tell_started();
            }
            for news in trouble.told(&kept, entry.at_ms, file) {
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
        Ok(if trouble.missed > 0 { Exit::Unclear } else { Exit::Fine })
    }
}

/// Looks that could not be kept.
#[derive(Default)]
struct Trouble {
    missed: u64,
    told: Option<Kind>,
}

impl Trouble {
    /// What a look has to tell: what came and went, and that the file cannot be written, or can again.
    fn told(&mut self, kept: &Kept, at_ms: u64, file: &Path) -> Vec<Happened> {
        let happened = |event| Happened::new(event, at_ms, file);
        let appended = match kept {
            Kept::Not(error) => {
                self.missed += 1;
                // Once, and again where the reason is another.
                let is_new = self.told.replace(error.kind) != Some(error.kind);
                let news =
                    happened(Event::NotKept).with_text(format!("{error}; it is tried again with each look"));
                return is_new.then_some(news).into_iter().collect();
            }
            Kept::Kept(appended) => appended,
        };
        let mut news = Vec::new();
        if self.told.take().is_some() {
            news.push(happened(Event::KeptAgain).with_missed(std::mem::take(&mut self.missed)));
        }
        news.extend(appended.clock_back_ms.map(|ms| happened(Event::ClockBack).with_ms(ms)));
        let finding = |event, found: &portolan_core::record::Found| happened(event).with_finding(found);
        news.extend(appended.told.went.iter().map(|found| finding(Event::FindingWent, found)));
        news.extend(appended.told.came.iter().map(|found| finding(Event::FindingCame, found)));
        news
    }
}
