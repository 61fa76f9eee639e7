//! What every command that changes something does the same way: show the plan, ask, carry it out, tell.
//!
//! Nothing is changed without `--yes` or a yes typed on a terminal, and `--dry-run` changes nothing at all.

use std::ffi::OsString;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use portolan_core::change::{Action, NetshStore, Next, Place, Plan, Record, Scope, Step, StepState, Stores};
use portolan_core::socket::{Family, Transport};
use portolan_host::apply::{Ending, Outcome, Report as StepReport, Run, apply, permitted};
use portolan_host::journal::{Found, Journal};
use portolan_host::sys::EndSignals;
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::cells::{Column, Table};
use crate::exit::{Exit, Refused};
use crate::output::{FORMATS, Surface};
use crate::report::{Block, Line, Report, Tone};
use crate::source::Session;

/// Of so many plans, the newest, is asked whether they were cut off.
const REMEMBERED: usize = 16;

/// Options of every command that changes something.
#[derive(Clone, Debug, Args)]
pub(crate) struct Consent {
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do it without asking
    #[arg(long, short, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
}

/// Which of the two values is changed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Where {
    /// Change the running kernel alone: gone after a restart
    #[arg(long, conflicts_with = "persist")]
    runtime: bool,
    /// Change the file alone: from the next start on
    #[arg(long)]
    persist: bool,
}

/// Which of Windows' tables are changed; on Linux there is one of each.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Tables {
    /// For one transport alone (Windows)
    #[arg(long, value_name = "tcp|udp")]
    transport: Option<Transport>,
    /// For one family alone (Windows)
    #[arg(long, value_name = "ipv4|ipv6", value_parser = family)]
    family: Option<Family>,
}

fn family(text: &str) -> Result<Family, String> {
    Family::ALL
        .into_iter()
        .find(|family| family.name() == text)
        .ok_or_else(|| format!("'{text}' is no family; use ipv4 or ipv6"))
}

impl Tables {
    /// Refuses a part where there is one setting for all.
    pub(crate) fn whole(self, what: &str) -> Result<(), Refused> {
        match (self.transport, self.family) {
            (None, None) => Ok(()),
            _ => Err(Refused(format!(
                "Linux has one {what} for TCP and UDP, IPv4 and IPv6: leave --transport and --family out"
            ))),
        }
    }

    /// Windows' tables, and for how long they are changed.
    pub(crate) fn scope(self, stores: Where) -> Result<Scope, Refused> {
        if stores.persist {
            let why =
                "Windows sets at once what it keeps: leave --persist out (--runtime: until the next restart)";
            return Err(Refused(why.into()));
        }
        Ok(Scope {
            transports: self.transport.map_or(Transport::ALL.to_vec(), |one| vec![one]),
            families: self.family.map_or(Family::ALL.to_vec(), |one| vec![one]),
            store: if stores.runtime { NetshStore::Active } else { NetshStore::Persistent },
        })
    }
}

impl From<Where> for Stores {
    fn from(given: Where) -> Self {
        match given {
            Where { runtime: true, .. } => Self::Runtime,
            Where { persist: true, .. } => Self::Persist,
            _ => Self::Both,
        }
    }
}

/// What is planned or done.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Changed {
    /// Number in the journal, for `portolan undo`; none where nothing was done.
    pub(crate) id: Option<u64>,
    /// Whether only the plan was asked for.
    pub(crate) dry_run: bool,
    /// Whether every step is done.
    pub(crate) done: bool,
    /// The steps in order.
    pub(crate) steps: Vec<ChangedStep>,
    /// What should be known.
    pub(crate) warnings: Vec<String>,
    /// What could not be seen or told afterwards, or is left to do.
    pub(crate) notes: Vec<String>,
}

/// A step of a plan.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ChangedStep {
    /// What is done, for people.
    pub(crate) action: String,
    /// What takes it back; none for what cannot be taken back.
    pub(crate) inverse: Option<String>,
    /// What it affects besides.
    pub(crate) effects: Vec<String>,
    /// The privilege it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) privilege: Option<String>,
    /// What came of it.
    pub(crate) outcome: ChangedOutcome,
    /// The system's answer where it failed, or why there was nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ChangedOutcome {
    /// Not begun.
    Planned,
    /// Done and, where that can be, read back.
    Done,
    /// It was so already.
    AlreadySo,
    /// Refused or failed.
    Failed,
    /// Begun, and done once the system has restarted.
    Waiting,
    /// Nothing to take back any more.
    Gone,
}

/// JSON Schema of every change.
pub(crate) fn schema() -> Schema {
    schema_for!(Changed)
}

impl ChangedOutcome {
    fn words(self) -> (Tone, &'static str) {
        match self {
            Self::Planned => (Tone::Plain, "planned"),
            Self::Done => (Tone::Good, "done"),
            Self::AlreadySo => (Tone::Good, "already so"),
            Self::Failed => (Tone::Bad, "failed"),
            Self::Waiting => (Tone::Warning, "waits"),
            Self::Gone => (Tone::Faint, "gone"),
        }
    }
}

impl Changed {
    /// A plan, nothing of it done yet.
    pub(crate) fn planned(plan: &Plan) -> Self {
        let step = |step: &Step| ChangedStep {
            action: step.action.to_string(),
            inverse: step.inverse.as_ref().map(ToString::to_string),
            effects: step.effects.clone(),
            privilege: step.action.privilege().map(str::to_owned),
            outcome: ChangedOutcome::Planned,
            detail: None,
        };
        Self {
            id: None,
            dry_run: false,
            done: false,
            steps: plan.steps.iter().map(step).collect(),
            warnings: plan.warnings.clone(),
            notes: Vec::new(),
        }
    }

    /// Notes what came of a step of an undo, whose steps stand in the order in which they are taken back.
    pub(crate) fn take_back(&mut self, record: &Record, told: &StepReport) {
        if let Some(place) = record.to_undo().iter().position(|step| *step == told.step) {
            self.take(&StepReport { step: place, ..told.clone() });
        }
    }

    /// Notes what came of a step.
    pub(crate) fn take(&mut self, told: &StepReport) {
        let Some(step) = self.steps.get_mut(told.step) else { return };
        (step.outcome, step.detail) = match &told.outcome {
            Outcome::Done => (ChangedOutcome::Done, None),
            Outcome::AlreadySo => (ChangedOutcome::AlreadySo, None),
            Outcome::Failed(why) => (ChangedOutcome::Failed, Some(why.clone())),
            Outcome::Waiting(why) => (ChangedOutcome::Waiting, Some(why.clone())),
            Outcome::Gone(why) => (ChangedOutcome::Gone, Some(why.clone())),
        };
    }

    /// Whether it goes on after a restart of the system.
    pub(crate) fn waits(&self) -> bool {
        self.steps.iter().any(|step| step.outcome == ChangedOutcome::Waiting)
    }

    /// The report: the steps and what came of them.
    pub(crate) fn report(self, heading: Line) -> Report {
        let exit = if self.done || self.dry_run || self.waits() { Exit::Fine } else { Exit::Not };
        let mut blocks = vec![Block::Line(heading), Block::gap()];
        blocks.extend(self.blocks());
        if let Some(id) = self.id.filter(|_| self.steps.iter().any(|step| step.inverse.is_some())) {
            let back = Line::new().and(Tone::Command, format!("portolan undo {id}"));
            blocks.push(Block::entry("to undo", back));
        }
        let columns = [Column::words("step"), Column::words("outcome"), Column::prose("detail")];
        let row = |step: &ChangedStep| {
            [step.action.clone(), step.outcome.words().1.to_owned(), step.detail.clone().unwrap_or_default()]
        };
        let rows = Table::of_rows(columns, self.steps.iter().map(row).collect());
        Report { exit, gaps: None, ..Report::new(self, blocks, rows, Vec::new()) }
    }

    /// The steps, warnings and notes for people.
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            let label = if index == 0 { "steps" } else { "" };
            let (tone, outcome) = step.outcome.words();
            let mut line = Line::new().plain(format!("{}  {}", index + 1, step.action));
            if step.outcome != ChangedOutcome::Planned {
                line = line.plain("  ").and(tone, outcome);
            }
            blocks.push(Block::Entry { label, hang: 3, text: line });
            let mut below: Vec<String> = step.effects.clone();
            if step.inverse.is_none() {
                below.push("cannot be taken back".into());
            }
            below.extend(step.detail.clone());
            blocks.extend(below.into_iter().map(|text| Block::Entry {
                label: "",
                hang: 3,
                text: Line::new().and(Tone::Faint, format!("   {text}")),
            }));
        }
        let mut needs: Vec<String> = self.steps.iter().filter_map(|step| step.privilege.clone()).collect();
        needs.dedup();
        if self.steps.iter().all(|step| step.outcome == ChangedOutcome::Planned) {
            blocks.extend(labelled("needs", Tone::Plain, &needs));
        }
        blocks.extend(labelled("know", Tone::Warning, &self.warnings));
        blocks.extend(labelled("note", Tone::Plain, &self.notes));
        blocks
    }
}

fn labelled(label: &'static str, tone: Tone, lines: &[String]) -> Vec<Block> {
    let entry = |(index, text): (usize, &String)| {
        Block::entry(if index == 0 { label } else { "" }, Line::new().and(tone, text.as_str()))
    };
    lines.iter().enumerate().map(entry).collect()
}

/// The whole way of a change: nothing to do, a dry run, or asked and done.
pub(crate) fn change(session: &Session, consent: &Consent, plan: &Plan) -> Result<Report> {
    change_and(session, consent, plan, |_| Ok(()))
}

/// The same, and a look at how it stands afterwards.
pub(crate) fn change_and(
    session: &Session,
    consent: &Consent,
    plan: &Plan,
    look: impl FnOnce(&mut Changed) -> Result<()>,
) -> Result<Report> {
    let title = Line::new().strong(plan.title.clone());
    if plan.steps.is_empty() {
        let changed = Changed { done: true, ..Changed::planned(plan) };
        return Ok(changed.report(title.plain("   nothing to do: it is so already")));
    }
    let mut changed = carry_out(session, consent, plan)?;
    if !changed.dry_run {
        look(&mut changed)?;
    }
    let end = match (changed.dry_run, changed.done) {
        (true, _) => "   a dry run: nothing was changed",
        (_, true) => "   done",
        _ if changed.waits() => "   waits for a restart",
        (_, false) => "   not done",
    };
    Ok(changed.report(title.plain(end)))
}

/// Shows the plan, asks, and carries it out, unless only the plan was wanted.
pub(crate) fn carry_out(session: &Session, consent: &Consent, plan: &Plan) -> Result<Changed> {
    let mut changed = Changed::planned(plan);
    if consent.dry_run {
        changed.dry_run = true;
        return Ok(changed);
    }
    permitted(session.namespace(), plan.steps.iter().map(|step| &step.action)).map_err(nothing_changed)?;
    if !consent.yes {
        ask(&plan.title, &changed)?;
    }
    let journal = session.journal()?;
    let mut signals = Signals::of(plan)?;
    let run =
        Run { tell: &mut |told| changed.take(told), broken_off: &mut || signals.came(), restarts: false };
    let applied = journal.lock().and_then(|lock| apply((&journal, &lock), session.namespace(), plan, run));
    let (id, ending) = applied.map_err(nothing_changed)?;
    changed.id = Some(id);
    changed.done = ending == Ending::Done;
    signals.note(&mut changed);
    Ok(changed)
}

/// What comes next of a plan that was begun and has not come to its end; none for any other.
pub(crate) fn interrupted(record: &Record) -> Option<Action> {
    match record.next() {
        Next::Do(_, action) if record.steps.iter().any(|state| *state != StepState::Waiting) => Some(action),
        _ => None,
    }
}

/// Ctrl+C and its kin while a plan is carried out in which something is to be done whatever happens.
pub(crate) struct Signals {
    blocked: Option<EndSignals>,
    came: bool,
}

impl Signals {
    /// They are kept from ending this process where the plan has such a step: else it ends at once, as people expect.
    pub(crate) fn of(plan: &Plan) -> Result<Self> {
        let keeps = plan.steps.iter().any(|step| step.always);
        let blocked = keeps.then(EndSignals::block).transpose().context("cannot wait for Ctrl+C")?;
        Ok(Self { blocked, came: false })
    }

    /// Whether one came by now.
    pub(crate) fn came(&mut self) -> bool {
        self.came |=
            self.blocked.as_ref().is_some_and(|signals| signals.wait(Some(Duration::ZERO)).unwrap_or(false));
        self.came
    }

    /// Says so in the report.
    pub(crate) fn note(&self, changed: &mut Changed) {
        if self.came && !changed.done {
            changed.notes.push("broken off by Ctrl+C: what was stopped was started again".into());
        }
    }
}

/// The refusal for an error that came before the first step.
pub(crate) fn nothing_changed(error: portolan_host::Error) -> Refused {
    Refused(format!("{error}; nothing was changed"))
}

/// Shows the plan on standard error and waits for a yes. Without a terminal nobody can say it.
pub(crate) fn ask(title: &str, changed: &Changed) -> Result<()> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        let how = "this changes the machine and there is no terminal to ask on: \
                   add --yes to do it, --dry-run to see the plan";
        return Err(Refused(how.into()).into());
    }
    let mut blocks = vec![Block::Line(Line::new().strong(title.to_owned())), Block::gap()];
    blocks.extend(changed.blocks());
    let plan = Report { gaps: None, ..Report::new((), blocks, Table::of_rows([], Vec::new()), Vec::new()) };
    let surface = Surface { width: None, colour: false, unicode: true };
    let mut errors = io::stderr();
    (FORMATS[0].write)(&plan, &surface, &mut errors, &mut io::sink()).context("cannot show the plan")?;
    write!(errors, "Do it? [y/N] ").and_then(|()| errors.flush()).context("cannot ask")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Refused("nothing was changed".into()).into())
    }
}

/// The journal's folder: `PORTOLAN_STATE`, or for an administrator the system's, or below the user's state folder.
pub(crate) fn journal(
    variable: impl Fn(&str) -> Option<OsString>,
    of_system: Option<PathBuf>,
) -> Result<Journal> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = given("PORTOLAN_STATE")
        .or(of_system)
        .or_else(|| {
            given("XDG_STATE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("portolan"))
        })
        .or_else(|| given("LOCALAPPDATA").map(|folder| folder.join("portolan")))
        .or_else(|| given("HOME").map(|home| home.join(".local/state/portolan")));
    folder
        .map(Journal::new)
        .ok_or_else(|| Refused("there is no folder for the journal: set PORTOLAN_STATE to one".into()).into())
}

/// Whether `PORTOLAN_STATE` names the journal's folder.
pub(crate) fn journal_is_given() -> bool {
    std::env::var_os("PORTOLAN_STATE").is_some_and(|value| !value.is_empty())
}

/// The plan that was cut off after it had stopped something, and before it started that again, as one line with what to
/// type. A journal that cannot be read, or is in use now, tells nothing.
pub(crate) fn reminder(journals: &[Journal], here: &Place) -> Option<String> {
    journals.iter().find_map(|journal| {
        let mut newest = journal.newest(REMEMBERED).ok()?.into_iter();
        let (id, action) =
            newest.find_map(|Found { id, record }| Some((id, record.ok()?.left_stopped(here)?)))?;
        (!journal.is_in_use()).then(|| {
            format!(
                "plan {id} was cut off and has still to {action}: type portolan resume {id} to go on, \
                 portolan undo {id} to take it back"
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_lies_where_the_user_says_or_where_such_users_keep_theirs() {
        let folder = |set: &[(&str, &str)], is_root: bool| {
            let find =
                |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
            journal(find, is_root.then(|| "/var/lib/portolan".into()))
                .map(|journal| journal.folder().to_owned())
                .ok()
        };
        let home = ("HOME", "/home/a");
        // On Windows a path is absolute only with its drive.
        let absolute = std::env::temp_dir();
        let below_absolute = absolute.join("portolan");
        let (absolute, below_absolute) = (absolute.to_str().unwrap(), below_absolute.to_str().unwrap());
        for (set, is_root, expected) in [
            (&[home][..], true, Some("/var/lib/portolan")),
            (&[home], false, Some("/home/a/.local/state/portolan")),
            (&[home, ("XDG_STATE_HOME", absolute)], false, Some(below_absolute)),
            (&[home, ("XDG_STATE_HOME", "relative")], false, Some("/home/a/.local/state/portolan")),
            (&[home, ("PORTOLAN_STATE", "/s")], true, Some("/s")),
            (&[home, ("PORTOLAN_STATE", "")], true, Some("/var/lib/portolan")),
            (&[], false, None),
        ] {
            assert_eq!(folder(set, is_root), expected.map(PathBuf::from), "{set:?} {is_root}");
        }
    }
}
