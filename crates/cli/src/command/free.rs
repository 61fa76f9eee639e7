//! `portolan free PORT…`: stops who holds a port, at the right level, and proves that it binds afterwards.

use std::str::FromStr;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use portolan_core::change::{
    ASK, Action, FreeAnswer, FreeRequest, Freed, Plan, ProcessEntry, SIGNALS, freed, plan_free,
};
use portolan_core::diagnose::{Outcome, Question, Reuse, Trial};
use portolan_core::port::{Port, PortRange, PortSet};
use portolan_core::snapshot::{Gap, Snapshot};
use portolan_core::socket::Transport;
use portolan_core::wording;
use portolan_host::{Look, OwnerSearch, Sections, SocketFilter, sys};
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::changing::{self, Changed, Consent};
use crate::command::{Command, Output};
use crate::exit::{Exit, Refused};
use crate::report::{Block, Line, Report, Tone};
use crate::source::Session;

/// How long a supervisor is given to start its program again: systemd waits 100 ms.
const WATCH: Duration = Duration::from_secs(1);
/// How often it is looked for meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Free a port: stop the program that holds it, its unit or its container
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan free 8080 --dry-run      what would be stopped, and what else that hits
  portolan free 8080
  portolan free 53/udp 8080 --yes
  portolan free 8080 --force        SIGKILL after 10 s for one that does not end

A holder listens or is bound; clients of a remote port of that number are never touched. A systemd
unit is stopped by systemctl, a container by docker or podman, anything else by a signal. On
Windows a service is stopped by its manager; anything else by its windows, or by Ctrl+C in its
console where nobody else is in that. Exit code 0: freed, or free already; 1: refused, failed,
or held again.")]
pub(crate) struct Free {
    /// Port, TCP unless it says otherwise: 8080, 53/udp
    #[arg(value_name = "PORT[/udp]", required = true)]
    ports: Vec<Wanted>,
    /// Signal to begin with: TERM, INT, HUP, QUIT, USR1, USR2 or KILL
    #[arg(long, value_name = "NAME", default_value = "TERM", value_parser = signal)]
    signal: String,
    /// Seconds that a process may take to end
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3600))]
    timeout: u64,
    /// Kill a process that has not ended by then (SIGKILL)
    #[arg(long)]
    force: bool,
    /// End the processes too that the holder has started
    #[arg(long)]
    tree: bool,
    /// End a program of this name although that may cut you off: sshd, systemd-resolve …
    #[arg(long, value_name = "NAME")]
    even_if_critical: Vec<String>,
    #[command(flatten)]
    consent: Consent,
}

/// A port of one transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    port: Port,
    transport: Transport,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (port, transport) = match text.split_once('/') {
            Some((port, transport)) => (port, transport.parse()?),
            None => (text, Transport::Tcp),
        };
        let port =
            port.parse().map_err(|error| format!("{error}; type a port as in: portolan free 53/udp"))?;
        Ok(Self { port, transport })
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.port, self.transport)
    }
}

fn signal(text: &str) -> Result<String, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = SIGNALS.contains(&name).then(|| name.to_owned());
    known.ok_or_else(|| format!("'{text}' is no signal to end with; use one of {}", SIGNALS.join(", ")))
}

/// What free gives.
#[derive(Debug, Serialize, JsonSchema)]
struct Answer {
    #[serde(flatten)]
    change: Changed,
    /// What became of each port; empty where nothing was done.
    ports: Vec<FreedPort>,
    /// What could not be seen.
    gaps: Vec<Gap>,
}

/// What became of a port.
#[derive(Debug, Serialize, JsonSchema)]
struct FreedPort {
    port: Port,
    transport: Transport,
    /// Whether nobody holds it now.
    free: bool,
    /// Whether it was made anew by what a supervisor started since.
    held_again: bool,
    /// Whether it binds plainly, and with SO_REUSEADDR; null where that was not tried.
    binds: Option<bool>,
    binds_with_reuse: Option<bool>,
    /// How long TIME_WAIT leftovers still keep it from a plain bind, milliseconds.
    time_wait_ms: u32,
    /// The verdict, a sentence.
    verdict: String,
    /// What to do about it; null where nothing is left to do.
    advice: Option<String>,
}

/// JSON Schema of the report.
pub(super) fn schema() -> Schema {
    schema_for!(Answer)
}

impl Command for Free {
    fn run(&self, session: &Session) -> Result<Output> {
        session.needs_machine("free")?;
        let before = session.see(Look {
            sockets: Some(SocketFilter::default()),
            owners: OwnerSearch::All,
            sections: Sections { carriers: true, ..Sections::default() },
            ..Look::default()
        })?;
        let names: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
        let title = format!("free {}", names.join(" "));
        let said = (title.as_str(), sys::place(session.namespace())?);
        let processes = sys::processes()?;
        let report = match plan_free(&before, &processes, &sys::caller(), &self.request(), said) {
            FreeAnswer::Refused(reasons) => {
                return Err(Refused(format!("{title}: {}", reasons.join("; "))).into());
            }
            FreeAnswer::Free { .. } => {
                let ports = self.outcome(session, &before, &before)?;
                let change = Changed {
                    done: true,
                    dry_run: self.consent.dry_run,
                    ..Changed::planned(&nothing(&title))
                };
                let notes = carried(&before, &self.ports);
                report(Changed { notes, ..change }, ports, &before, &title, "free already")
            }
            FreeAnswer::Plan(mut plan) => {
                tell_how_asked(&mut plan, &processes);
                self.carry_out(session, &before, &plan)?
            }
        };
        Ok(Output::Report(report))
    }
}

/// Says of each process how it is asked to end, where the step itself does not.
fn tell_how_asked(plan: &mut Plan, processes: &[ProcessEntry]) {
    for step in &mut plan.steps {
        if let Action::StopProcess { process, signal, .. } = &step.action
            && signal == ASK
        {
            step.effects.extend(sys::how_asked(process, processes));
        }
    }
}

/// A plan without steps.
fn nothing(title: &str) -> Plan {
    Plan {
        title: title.into(),
        note: None,
        place: Default::default(),
        steps: Vec::new(),
        warnings: Vec::new(),
    }
}

impl Free {
    fn request(&self) -> FreeRequest {
        FreeRequest {
            ports: self.ports.iter().map(|wanted| (wanted.transport, wanted.port)).collect(),
            signal: self.signal.clone(),
            timeout_ms: self.timeout * 1000,
            force: self.force,
            tree: self.tree,
            even_if_critical: self.even_if_critical.clone(),
        }
    }

    fn carry_out(&self, session: &Session, before: &Arc<Snapshot>, plan: &Plan) -> Result<Report> {
        let change = changing::carry_out(session, &self.consent, plan)?;
        if change.dry_run {
            return Ok(report(change, Vec::new(), before, &plan.title, "a dry run: nothing was changed"));
        }
        let after = self.watch(session, change.done && may_be_restarted(plan))?;
        let mut ports = self.outcome(session, before, &after)?;
        if !change.done {
            // The step that failed says what to do.
            ports.iter_mut().for_each(|port| port.advice = None);
        }
        let end = match ports.iter().all(|port| port.free) {
            true => "freed",
            false => "not freed",
        };
        Ok(report(change, ports, &after, &plan.title, end))
    }

    /// Looks at the ports once more; where a supervisor may start the program again, until somebody holds one of them or
    /// the time is over.
    fn watch(&self, session: &Session, longer: bool) -> Result<Arc<Snapshot>> {
        let until = Instant::now() + if longer { WATCH } else { Duration::ZERO };
        let ports: PortSet = self.ports.iter().map(|wanted| PortRange::single(wanted.port)).collect();
        loop {
            let sockets = SocketFilter { local_ports: Some(ports.clone()), ..SocketFilter::default() };
            let look = Look { sockets: Some(sockets), owners: OwnerSearch::All, ..Look::default() };
            let seen = session.see(look)?;
            let held = seen.sockets.iter().any(|socket| {
                let asked = |wanted: &Wanted| {
                    (wanted.transport, wanted.port.number()) == (socket.transport, socket.local_port)
                };
                socket.is_holding() && self.ports.iter().any(asked)
            });
            if held || Instant::now() >= until {
                return Ok(seen);
            }
            sleep(LOOK_EVERY);
        }
    }

    /// What became of each port, proven by binding it where nobody holds it.
    fn outcome(&self, session: &Session, before: &Snapshot, after: &Snapshot) -> Result<Vec<FreedPort>> {
        let processes = sys::processes()?;
        let outcome = |wanted: &Wanted| {
            let Wanted { port, transport } = *wanted;
            Ok(match freed((before, after), &processes, (transport, port)) {
                Freed::Held { again, verdict, advice } => FreedPort {
                    held_again: again,
                    advice: Some(advice),
                    ..FreedPort::new(wanted, false, verdict)
                },
                Freed::Free { time_wait_ms, connections } => {
                    let question = Question { transport, port: Some(port), address: None, uid: None };
                    let trials = session.try_bind(&question, after)?;
                    FreedPort::let_go(wanted, &trials, time_wait_ms, connections)
                }
            })
        };
        self.ports.iter().map(outcome).collect()
    }
}

/// Whether something may start again what the plan stops: a unit or a container that was stopped stays so.
fn may_be_restarted(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| matches!(step.action, Action::StopProcess { .. }))
}

/// What takes the traffic of a port that nobody holds.
fn carried(snapshot: &Snapshot, ports: &[Wanted]) -> Vec<String> {
    let carries = |wanted: &Wanted| {
        let carriers = snapshot.carriers.iter();
        let mut of_port =
            carriers.filter(|c| c.transport == wanted.transport && c.ports.contains(wanted.port.into()));
        let carrier = of_port.next()?;
        let to = carrier.to.as_ref().map_or_else(String::new, |to| format!(" to {to}"));
        Some(format!("no socket holds {wanted}, but its traffic is carried{to} by {}", carrier.name))
    };
    ports.iter().filter_map(carries).collect()
}

impl FreedPort {
    fn new(wanted: &Wanted, free: bool, verdict: String) -> Self {
        Self {
            port: wanted.port,
            transport: wanted.transport,
            free,
            held_again: false,
            binds: None,
            binds_with_reuse: None,
            time_wait_ms: 0,
            verdict,
            advice: None,
        }
    }

    fn let_go(wanted: &Wanted, trials: &[Trial], time_wait_ms: u32, connections: usize) -> Self {
        let (plain, reuse) = (binds(trials, Reuse::Plain), binds(trials, Reuse::ReuseAddress));
        let port = wanted.port;
        let (verdict, advice) = match (plain, reuse) {
            (Some(true), Some(true)) => (format!("{wanted} binds, plainly and with SO_REUSEADDR"), None),
            (Some(true), _) => (format!("{wanted} binds"), None),
            (_, reuse) if wanted.transport == Transport::Tcp && (time_wait_ms > 0 || connections > 0) => {
                let now =
                    if reuse == Some(true) { "binds with SO_REUSEADDR now, plainly " } else { "binds " };
                let (when, state) = match connections {
                    0 => (
                        format!("in {} (TIME_WAIT)", wording::duration(time_wait_ms.into())),
                        " --state time-wait",
                    ),
                    n => (format!("when its {} ended", has_or_have(n)), ""),
                };
                let close = format!("portolan close --port {port}{state} does not wait");
                (format!("{wanted} {now}{when}"), Some(close))
            }
            _ => {
                let why = wording::trials(trials).join("; ");
                (format!("nobody holds {wanted}, and still: {why}"), Some(format!("portolan why {wanted}")))
            }
        };
        Self {
            binds: plain,
            binds_with_reuse: reuse,
            time_wait_ms,
            advice,
            ..Self::new(wanted, true, verdict)
        }
    }

    fn block(&self, first: bool) -> [Option<Block>; 2] {
        let tone = if self.free { Tone::Good } else { Tone::Bad };
        let label = if first { "ports" } else { "" };
        let verdict = Block::entry(label, Line::new().and(tone, self.verdict.clone()));
        [Some(verdict), self.advice.as_ref().map(|advice| Block::entry("", advice.as_str()))]
    }
}

fn has_or_have(connections: usize) -> String {
    let noun = wording::counted(connections, "connection");
    format!("{noun} {}", if connections == 1 { "has" } else { "have" })
}

/// Whether every trial of that kind bound; none where none was made.
fn binds(trials: &[Trial], reuse: Reuse) -> Option<bool> {
    let mut tried = trials
        .iter()
        .filter(|trial| trial.reuse == reuse && !matches!(trial.outcome, Outcome::NotTried { .. }))
        .peekable();
    tried.peek()?;
    Some(tried.all(|trial| trial.outcome == Outcome::Bound))
}

fn report(change: Changed, ports: Vec<FreedPort>, seen: &Snapshot, title: &str, end: &str) -> Report {
    let heading = Line::new().strong(title).plain(format!("   {end}"));
    let mut report = change.clone().report(heading);
    let told = ports.iter().enumerate().flat_map(|(index, port)| port.block(index == 0));
    report.blocks.extend(told.flatten());
    if ports.iter().any(|port| !port.free) {
        report.exit = Exit::Not;
    }
    report.gaps = Some(seen.gaps.clone());
    report.body = Box::new(Answer { change, ports, gaps: seen.gaps.clone() });
    report
}
