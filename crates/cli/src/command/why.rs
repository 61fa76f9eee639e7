//! `portolan why TARGET`: may I have this port, and if not, why not, and what can be done.

use std::net::IpAddr;

use anyhow::Result;
use clap::Args;
use portolan_core::asked::{self, Asked, Call, Remote, Target};
use portolan_core::diagnose::{
    Case, Finding, Outcome, Question, Severity, Trial, diagnose, refusal, verdict,
};
use portolan_core::kernel::error_code;
use portolan_core::port::{Port, PortRange, PortSet};
use portolan_core::snapshot::Gap;
use portolan_core::socket::Transport;
use portolan_host::{Look, OwnerSearch, Sections, SocketFilter};
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::advice;
use crate::command::{Command, Output};
use crate::exit::Exit;
use crate::report::{Block, Line, Report, Tone};
use crate::source::Session;

/// Say why a port does not bind, and what to do about it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan why 8080
  portolan why 127.0.0.1:53/udp
  portolan why any                     is a port left for bind(0)?
  portolan why 80 --user www-data
  portolan why \"listen tcp 0.0.0.0:8080: bind: address already in use\"

Nothing is disturbed: the port is bound for a moment and let go, and where even that could take
something from a running service the socket table answers.
Exit codes: 0 it binds; 1 it does not; 2 could not tell.")]
pub(crate) struct Why {
    // Not a doc comment: rustdoc would read the brackets as links.
    #[arg(
        help = "[ADDRESS:]PORT[/udp], or the error message that a program gave, as it is",
        value_name = "TARGET",
        required = true
    )]
    target: Vec<String>,
    /// Ask for this user, by name or id
    #[arg(long, value_name = "USER")]
    user: Option<String>,
}

/// What why says.
#[derive(Debug, Serialize, JsonSchema)]
struct Answer {
    /// What was asked about.
    target: AskedPort,
    /// Whether it binds, without options; null when that could not be told or was not tried.
    bindable: Option<bool>,
    /// What the system answered; null when it binds or was not tried.
    error: Option<Code>,
    /// Each bind that was tried.
    trials: Vec<Trial>,
    /// What was found, the most severe first.
    findings: Vec<Finding>,
    /// What could not be seen.
    gaps: Vec<Gap>,
}

/// The port that was asked about.
#[derive(Debug, Serialize, JsonSchema)]
struct AskedPort {
    /// TCP or UDP.
    transport: Transport,
    /// The port; null for any.
    port: Option<Port>,
    /// The local address; null for all.
    address: Option<IpAddr>,
    /// Whether the port is another machine's, so that nothing was tried here.
    remote: bool,
    /// The other machine, where it was named.
    host: Option<String>,
    /// The error that a pasted message told.
    told: Option<Code>,
    /// What was taken for granted while the question was read.
    notes: Vec<String>,
}

/// A system's error code.
#[derive(Debug, Serialize, JsonSchema)]
struct Code {
    /// Its name: `EADDRINUSE`.
    name: String,
    /// The system's number.
    code: i32,
}

impl Code {
    /// The code with its meaning: `address already in use (EADDRINUSE 98)`.
    fn text(&self) -> String {
        let meaning = error_code::by_name(&self.name).map_or("the system refused", |known| known.meaning);
        format!("{meaning} ({} {})", self.name, self.code)
    }
}

/// What came of a question.
struct Found {
    trials: Vec<Trial>,
    findings: Vec<Finding>,
    gaps: Vec<Gap>,
    is_file: bool,
}

/// JSON Schema of the report.
pub(super) fn schema() -> Schema {
    schema_for!(Answer)
}

impl Command for Why {
    fn run(&self, session: &Session) -> Result<Output> {
        let asked = asked::parse(&self.target.join(" "), &session.services())?;
        let question = match &asked.target {
            Target::Remote(remote) => return Ok(Output::Report(remote_report(&asked, remote))),
            Target::Local(question) => question,
        };
        let uid = self.user.as_deref().map(|user| session.uid_of(user)).transpose()?;
        let question = Question { uid: uid.or(question.uid), ..question.clone() };
        let snapshot = session.see(look(&question))?;
        let trials = session.try_bind(&question, &snapshot)?;
        let findings = diagnose(&Case::asked(&snapshot, &question, &trials));
        let found = Found { trials, findings, gaps: snapshot.gaps.clone(), is_file: session.is_file() };
        Ok(Output::Report(report(&asked, &question, found)))
    }
}

/// What is needed to answer: the sockets of that port, or all where any port is asked for.
fn look(question: &Question) -> Look {
    Look {
        sockets: Some(SocketFilter {
            transport: Some(question.transport),
            local_ports: question.port.map(|port| PortSet::from(PortRange::single(port))),
            ..SocketFilter::default()
        }),
        owners: OwnerSearch::All,
        sections: Sections { settings: true, carriers: true, ..Sections::default() },
        ..Look::default()
    }
}

fn report(asked: &Asked, question: &Question, found: Found) -> Report {
    let Found { trials, findings, gaps, is_file } = found;
    let bindable = verdict(&trials);
    let error = refusal(&trials).map(|(name, code)| Code { name: name.to_owned(), code });
    let fails = findings.iter().any(|finding| finding.severity == Severity::Error);
    let exit = match bindable {
        Some(true) => Exit::Fine,
        Some(false) => Exit::Not,
        None if fails => Exit::Not,
        None => Exit::Unclear,
    };
    let verdict = match bindable {
        Some(true) => Line::new().and(Tone::Good, "free").plain(": it binds"),
        Some(false) => {
            let code = error.as_ref().map(|code| format!(": {}", code.text()));
            Line::new().and(Tone::Bad, "cannot be bound").plain(code.unwrap_or_default())
        }
        None => untold(&trials, is_file, fails),
    };
    let head = Line::new().strong(named(question)).plain("   ").joined(verdict);
    let mut blocks = vec![Block::Line(head), Block::gap()];
    blocks.extend(told(asked));
    blocks.extend(advice::blocks(&findings));
    let rows = advice::rows(&findings);
    let target = AskedPort {
        transport: question.transport,
        port: question.port,
        address: question.address,
        remote: false,
        host: None,
        told: told_code(asked),
        notes: asked.notes.clone(),
    };
    let answer = Answer { target, bindable, error, trials, findings, gaps: gaps.clone() };
    Report { exit, ..Report::new(answer, blocks, rows, gaps) }
}

/// The question in a few words: `8080/tcp on every address`.
fn named(question: &Question) -> String {
    let port = question.port.map_or("any port".to_owned(), |port| port.to_string());
    let address = question.address.map_or("every address".to_owned(), |address| address.to_string());
    format!("{port}/{} on {address}", question.transport)
}

/// The verdict where no trial gave one.
fn untold(trials: &[Trial], is_file: bool, fails: bool) -> Line {
    if is_file && fails {
        return Line::new().and(Tone::Bad, "would not bind").plain(": by the snapshot; nothing was tried");
    }
    if is_file {
        return "nothing in the snapshot keeps it from binding; nothing was tried".into();
    }
    let reason = trials.iter().find_map(|trial| match &trial.outcome {
        Outcome::NotTried { reason } => Some(format!(": {reason}")),
        _ => None,
    });
    Line::new().and(Tone::Warning, "could not tell").plain(reason.unwrap_or_default())
}

fn told_code(asked: &Asked) -> Option<Code> {
    let code = asked.told.as_ref()?.code?;
    Some(Code { name: code.name.to_owned(), code: code.code })
}

/// What a pasted message told, and what was taken for granted while reading it.
fn told(asked: &Asked) -> Vec<Block> {
    let mut blocks = Vec::new();
    if let Some(code) = told_code(asked) {
        blocks.push(Block::entry("message", format!("said: {}", code.text())));
    }
    let note = |(index, note): (usize, &String)| {
        Block::entry(if index == 0 { "read as" } else { "" }, note.as_str())
    };
    blocks.extend(asked.notes.iter().enumerate().map(note));
    blocks
}

/// The answer where the text names another machine's port: nothing here can be bound for it.
fn remote_report(asked: &Asked, remote: &Remote) -> Report {
    let host = remote.host.as_deref().unwrap_or("another machine");
    let code = told_code(asked);
    let meaning = code.as_ref().map(|code| format!(": {}", code.text())).unwrap_or_default();
    let head = Line::new()
        .strong(format!("{}/{}", remote.port, remote.transport))
        .plain(format!(" of {host}   "))
        .and(Tone::Warning, "a remote port")
        .plain(meaning);
    let call = match asked.told.as_ref().map(|told| told.call) {
        Some(Call::Dial) => "dial",
        _ => "connect",
    };
    let why =
        format!("the message is about a {call} to that port, not about binding it here: nothing was tried");
    let way = |number, text: String, command| Block::Entry {
        label: if number == 1 { "ways out" } else { "" },
        hang: 3,
        text: Line::new().strong(format!("{number}  ")).plain(text).and(Tone::Command, command),
    };
    let (port, transport) = (remote.port, remote.transport);
    let mut blocks = vec![Block::Line(head), Block::gap(), Block::entry("why", why)];
    blocks.extend(told(&Asked { told: None, ..asked.clone() }));
    let list = format!("   portolan list --remote-port {port} --transport {transport}");
    blocks.push(way(1, "see this machine's connections to it".to_owned(), list));
    blocks.push(way(
        2,
        format!("on {host} itself, ask who listens"),
        format!("   portolan who {port}/{transport}"),
    ));
    let target = AskedPort {
        transport,
        port: Some(port),
        address: None,
        remote: true,
        host: remote.host.clone(),
        told: told_code(asked),
        notes: asked.notes.clone(),
    };
    let answer = Answer {
        target,
        bindable: None,
        error: code,
        trials: Vec::new(),
        findings: Vec::new(),
        gaps: Vec::new(),
    };
    Report { exit: Exit::Unclear, gaps: None, ..Report::new(answer, blocks, advice::rows(&[]), Vec::new()) }
}

#[cfg(test)]
mod tests;
