//! The command line: options that every command takes, and the verbs. The one place that lists commands.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use portolan_host::Namespace;

use crate::command::{
    Command, budget, chart, close, completions, connect, explain, free, history, hold, list, man, pick,
    portqry, probe, range, record, reserve, resume, schema, snapshot, trace, undo, wait, watch, who, why,
};
use crate::exit::Misuse;
use crate::output::{FORMATS, Format};

/// Whose is this port, and why can't I have it? Without a command: the chart of this machine's ports
#[derive(Debug, Parser)]
#[command(
    name = "portolan",
    bin_name = "portolan",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  portolan                     the chart of this machine
  portolan why 8080            why the port does not bind, and the ways out
  portolan who 53/udp          who holds the port, and how far it is reachable
  portolan list --listening    every listener with its owner

Exit codes: 0 fine; 1 not (why: does not bind; who: nobody); 2 could not tell, or typed wrong."
)]
pub(crate) struct Portolan {
    #[command(flatten)]
    pub(crate) general: General,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

/// When to use colour. Values have no help of their own: clap would spread every page of help out for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    #[default]
    Auto,
    Always,
    Never,
}

/// Options that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct General {
    #[arg(long, global = true, value_name = "FORMAT", default_value = FORMATS[0].name, hide_default_value = true)]
    #[arg(value_parser = formats(), hide_possible_values = true, help = formats_help())]
    format: String,
    /// Short for --format json
    #[arg(long, global = true, conflicts_with = "format")]
    json: bool,
    /// Answer from a snapshot file instead of this machine (- reads it from stdin)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// Look at another network namespace: a name below /run/netns, or that of a process
    #[arg(long, global = true, value_name = "NAME|PID", value_parser = namespace)]
    pub(crate) netns: Option<Namespace>,
    /// When to use colour; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) color: Colour,
}

impl Portolan {
    /// The command line as it is meant: `budget --from ADDRESS` names an address and no file. Only then can be told what
    /// goes with a file, and with another format.
    pub(crate) fn settled(mut self) -> Result<Self, Misuse> {
        if let Some(Verb::Budget(budget)) = &mut self.verb
            && budget.source.is_none()
            && let Some(address) = self.general.from.as_ref().and_then(|from| from.to_str()?.parse().ok())
        {
            budget.source = Some(address);
            self.general.from = None;
        }
        if matches!(self.verb, Some(Verb::PortQry(_))) && self.general.format().name != FORMATS[0].name {
            let text = "portqry tells in PortQry's words alone: leave --json and --format out, or type it as in: \
                        portolan probe server -p 80 --json";
            return Err(Misuse(text.to_owned()));
        }
        let netns = self.general.netns.as_ref().map(|_| "--netns <NAME|PID>");
        let other = netns.or_else(|| match &self.verb {
            Some(Verb::Budget(budget)) => budget.needs_machine(),
            _ => None,
        });
        match (&self.general.from, other) {
            (Some(_), Some(other)) => Err(Misuse(format!(
                "the argument '--from <FILE>' cannot be used with '{other}'; leave one of them out"
            ))),
            _ => Ok(self),
        }
    }
}

impl General {
    /// The format that was asked for.
    pub(crate) fn format(&self) -> &'static Format {
        let name = if self.json { "json" } else { &self.format };
        FORMATS.iter().find(|format| format.name == name).unwrap_or(&FORMATS[0])
    }
}

fn formats() -> PossibleValuesParser {
    PossibleValuesParser::new(FORMATS.iter().map(|format| format.name))
}

fn formats_help() -> String {
    let told: Vec<String> =
        FORMATS.iter().map(|format| format!("{} ({})", format.name, format.title)).collect();
    format!("How to write the answer: {}", told.join(", "))
}

fn namespace(text: &str) -> Result<Namespace, String> {
    if let Ok(pid) = text.parse() {
        return Ok(Namespace::Of(pid));
    }
    if text.is_empty() || text == "." || text == ".." || text.contains(['/', '\0']) {
        return Err("give a name as `ip netns list` shows it, or a process id".to_owned());
    }
    Ok(Namespace::Named(text.to_owned()))
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Chart(chart::Chart),
    List(list::List),
    Who(who::Who),
    Why(why::Why),
    Range(range::Range),
    Reserve(reserve::Reserve),
    Budget(budget::Budget),
    Free(free::Free),
    Close(close::Close),
    Undo(undo::Undo),
    Resume(resume::Resume),
    Pick(pick::Pick),
    Wait(wait::Wait),
    Watch(watch::Watch),
    History(history::History),
    Trace(trace::Trace),
    Record(record::Record),
    Hold(hold::Hold),
    Probe(Box<probe::Probe>),
    #[command(name = "portqry")]
    PortQry(portqry::PortQry),
    Connect(connect::Connect),
    Explain(explain::Explain),
    Snapshot(snapshot::Take),
    Schema(schema::Print),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Verb {
    /// The command behind a verb.
    pub(crate) fn command(&self) -> &dyn Command {
        match self {
            Self::Chart(command) => command,
            Self::List(command) => command,
            Self::Who(command) => command,
            Self::Why(command) => command,
            Self::Range(command) => command,
            Self::Reserve(command) => command,
            Self::Budget(command) => command,
            Self::Free(command) => command,
            Self::Close(command) => command,
            Self::Undo(command) => command,
            Self::Resume(command) => command,
            Self::Pick(command) => command,
            Self::Wait(command) => command,
            Self::Watch(command) => command,
            Self::History(command) => command,
            Self::Trace(command) => command,
            Self::Record(command) => command,
            Self::Hold(command) => command,
            Self::Probe(command) => command.as_ref(),
            Self::PortQry(command) => command,
            Self::Connect(command) => command,
            Self::Explain(command) => command,
            Self::Snapshot(command) => command,
            Self::Schema(command) => command,
            Self::Completions(command) => command,
            Self::Man(command) => command,
        }
    }
}

#[cfg(test)]
mod tests;
