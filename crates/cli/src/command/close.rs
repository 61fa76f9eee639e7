//! `portolan close FILTER`: TCP connections closed one by one, while their programs live on.

use anyhow::Result;
use clap::Args;
use portolan_core::change::{Action, Plan, plan_close};
use portolan_core::socket::{Socket, Transport};
use portolan_host::{Look, OwnerSearch, SocketFilter, sys};

use crate::changing::{self, Consent};
use crate::command::{Command, Output};
use crate::exit::{Misuse, Refused};
use crate::filter::Filter;
use crate::source::Session;

/// More than this at once must be meant.
const MANY: usize = 100;

/// Close TCP connections without ending their programs; the other side sees a reset
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan close --local 10.0.0.5:51514            one connection, by its near end
  portolan close --remote 10.0.7.9:8443 --pid 812
  portolan close --port 8080 --state time-wait     the port is free at once
  portolan close --state close-wait --name worker --all

A listener is left alone: portolan free stops who holds it. UDP has no connections to close.
Exit code 0 also when nothing matches; 1 when it was refused or failed.")]
pub(crate) struct Close {
    /// Close them also when they are more than 100
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    filter: Filter,
}

impl Command for Close {
    fn run(&self, session: &Session) -> Result<Output> {
        session.needs_machine("close")?;
        self.check()?;
        let plan = self.plan(session)?;
        let connections: usize = plan.steps.iter().map(|step| closing(&step.action)).sum();
        if connections > MANY && !self.all {
            return Err(Refused(format!(
                "{connections} connections match: narrow the filter (portolan list takes the same one), or add --all"
            ))
            .into());
        }
        Ok(Output::Report(changing::change(session, &self.consent, &plan)?))
    }
}

impl Close {
    fn check(&self) -> Result<()> {
        if self.filter.is_empty() {
            let how = "say which connections: --local ADDRESS:PORT, --remote, --port, --pid, --state …; \
                       portolan list takes the same options and shows them";
            return Err(Misuse(how.into()).into());
        }
        if self.filter.transport == Some(Transport::Udp) {
            let how = "UDP has no connections to close; portolan free PORT/udp stops who holds a UDP port";
            return Err(Misuse(how.into()).into());
        }
        Ok(())
    }

    fn plan(&self, session: &Session) -> Result<Plan> {
        let sockets = SocketFilter { transport: Some(Transport::Tcp), ..self.filter.for_kernel() };
        let look = Look { sockets: Some(sockets.clone()), owners: OwnerSearch::All, ..Look::default() };
        let snapshot = session.see(look)?;
        let uids = self.filter.uids(session, &snapshot)?;
        let order = self.filter.choose(&snapshot, &uids);
        let chosen: Vec<&Socket> =
            order.iter().filter_map(|index| snapshot.sockets.get(*index as usize)).collect();
        let named = sys::connections(session.namespace(), &sockets)?;
        let title = typed(std::env::args());
        let place = sys::place(session.namespace())?;
        plan_close(&snapshot, &chosen, &named, (&title, place)).map_err(|why| Refused(why).into())
    }
}

fn closing(action: &Action) -> usize {
    match action {
        Action::CloseConnections { connections } => connections.len(),
        _ => 0,
    }
}

/// The command as it was typed, from its verb on, for the journal: what consents to it is left out.
fn typed(arguments: impl Iterator<Item = String>) -> String {
    let consent = ["--yes", "-y", "--dry-run", "--json"];
    let words = arguments.skip_while(|word| word != "close").filter(|word| !consent.contains(&word.as_str()));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_gets_the_command_without_what_consents_to_it() {
        let words = "portolan --json close --port 80 --yes --state time-wait";
        assert_eq!(typed(words.split(' ').map(str::to_owned)), "close --port 80 --state time-wait");
    }
}
