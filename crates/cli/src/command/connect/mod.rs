//! `portolan connect HOST PORT`: what telnet was used for: to type at a port, or to let a script do it.
//!
//! The connection is host's dialogue; what is sent and shown stands in `talk.rs`, what a script does in `script.rs`.
//! Left out on purpose: a terminal that sends each key as it is typed, and telnet's own options: each is refused.

mod script;
mod talk;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use portolan_core::port::Port;
use portolan_core::probe::Refusal;
use portolan_core::socket::Transport;
use portolan_host::connect::resolve;
use portolan_host::exchange::{Dialogue, NotBegun};
use portolan_host::sys::EndSignals;
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::cells::{Column, Table};
use crate::command::{After, Command, Output};
use crate::exit::{Exit, Misuse, Refused};
use crate::report::Report;
use crate::source::Session;
use crate::text::nearest;
use crate::typed::{seconds, zone_hint};
use script::Script;
use talk::Talk;

/// How long a name server is waited for.
const RESOLVING: Duration = Duration::from_secs(15);

/// Talk to a port: type at it, as with telnet, or let a script do it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan connect mail.example 25                       type; Ctrl+C or the end of input ends it
  portolan connect web.example 443 --tls
  portolan connect db 6379 --send PING --expect +PONG    exit code 0 when it says so
  portolan connect mail 25 --expect 220 --send 'HELO me' --expect 250 --send QUIT
  printf 'GET / HTTP/1.0\\n\\n' | portolan connect web.example 80

Lines go out with the ends that internet protocols want (CR LF), and options of telnet are refused;
--raw sends and shows bytes as they are. On a terminal control characters are shown and never
obeyed. --send and --expect are done in the order typed; their texts know \\n, \\r, \\t, \\\\ and
\\x1b. After the end of input, or the last --send, the other end may still finish; --timeout says
within how long in all.
Exit codes: 0 talked, and heard all that was expected; 1 refused, no answer, or not heard to the
end; 2 could not tell.")]
pub(crate) struct Connect {
    /// A name or an address
    #[arg(value_name = "HOST")]
    host: String,
    /// A TCP port, or a service's name
    #[arg(value_name = "PORT")]
    port: String,
    /// Encrypt from the first byte; what is wrong with the certificate is told, and stops nothing
    #[arg(long)]
    tls: bool,
    /// Bytes as they are: line ends as typed, nothing of telnet
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    script: Script,
    /// How long is waited: for the connection, for each expected text, and for all that comes after the end of input
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    timeout: Duration,
}

/// Who was reached; on standard output what the other end says comes behind it.
#[derive(Serialize, JsonSchema)]
struct Connected {
    host: String,
    address: SocketAddr,
    /// How it is encrypted, where that was asked for.
    tls: Option<Tls>,
}

#[derive(Serialize, JsonSchema)]
struct Tls {
    version: String,
    cipher: String,
    /// What is wrong with the certificate, for people.
    problem: Option<String>,
}

/// JSON Schema of the report.
pub(super) fn schema() -> Schema {
    schema_for!(Connected)
}

impl Command for Connect {
    fn run(&self, session: &Session) -> Result<Output> {
        session.needs_machine("connect")?;
        let port = self.port(session)?;
        let signals = EndSignals::block().context("cannot wait for signals")?;
        let (address, dialogue) = self.reach(session, port, &signals)?;
        let report = self.report(address, &dialogue);
        let (script, raw, timeout) = (self.script.clone(), self.raw, self.timeout);
        let after: After = Box::new(move || Talk::new(dialogue, script, raw, timeout)?.run(&signals));
        Ok(Output::Then(report, after))
    }
}

impl Connect {
    fn port(&self, session: &Session) -> Result<u16, Misuse> {
        let text = &self.port;
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return text.parse().map(Port::number).map_err(|error| Misuse(format!("{error}")));
        }
        let services = session.services();
        services.port(Transport::Tcp, text).map(Port::number).ok_or_else(|| {
            let names = services.names().map(|(_, _, name)| name);
            let hint =
                nearest(text, names).map_or_else(String::new, |name| format!("; did you mean {name}?"));
            Misuse(format!("'{text}' names no TCP port{hint}; ports are 1 to 65535"))
        })
    }

    /// A connection with the first of the host's addresses that takes one.
    fn reach(&self, session: &Session, port: u16, signals: &EndSignals) -> Result<(SocketAddr, Dialogue)> {
        let host = self.host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&self.host);
        let addresses = resolve(session.namespace(), host, port, RESOLVING)
            .with_context(|| format!("nobody was asked; type a host that portolan probe {host} finds"))
            .map_err(|error| Misuse(format!("{:#}", error.root_cause())))?;
        let cancel = || signals.wait(Some(Duration::ZERO)).unwrap_or(false);
        let mut last = None;
        for address in addresses {
            let namespace = session.namespace();
            match Dialogue::begin(namespace, host, address, self.tls, self.timeout, &cancel)? {
                Ok(dialogue) => return Ok((address, dialogue)),
                Err(NotBegun::Cancelled) => return Err(Refused("broken off".to_owned()).into()),
                Err(why) => last = Some((address, why)),
            }
        }
        let Some((address, why)) = last else {
            return Err(Misuse(format!("'{}' has no address", self.host)).into());
        };
        let see = format!("see: portolan probe {} -p {port}", self.host);
        let why = match why {
            NotBegun::Refused { refusal: Refusal::Refused, icmp: None, .. } => {
                format!("{address} refuses the connection: nobody listens there; {see}")
            }
            NotBegun::Refused { icmp: Some(icmp), .. } => {
                let from = icmp.from.map_or_else(String::new, |from| format!(" from {from}"));
                format!("{address} cannot be reached: {}{from}; {see}", icmp.meaning())
            }
            NotBegun::Refused { refusal: Refusal::NoWay, error, .. } => {
                let hint = zone_hint(host, address.ip());
                if let Some(hint) = hint {
                    return Err(Misuse(hint).into());
                }
                return Err(Misuse(format!("no way leads to {address}: {error}; {see}")).into());
            }
            NotBegun::Refused { error, .. } => format!("{address} cannot be reached: {error}; {see}"),
            NotBegun::NotSecured(why) => {
                format!("{address} takes connections, and no TLS: {why}; leave --tls out, or {see} --as tls")
            }
            NotBegun::Silent | NotBegun::Cancelled => {
                format!("no answer from {address} within {} s; {see}", self.timeout.as_secs_f64())
            }
        };
        Err(Refused(why).into())
    }

    fn report(&self, address: SocketAddr, dialogue: &Dialogue) -> Report {
        let tls = dialogue.security().map(|security| Tls {
            version: security.version.clone(),
            cipher: security.cipher.clone(),
            problem: security.problem.clone(),
        });
        let mut aside = Vec::new();
        if self.script.is_empty() {
            aside.push(format!("connected to {address}; Ctrl+C ends it"));
        }
        if let Some(problem) = tls.as_ref().and_then(|tls| tls.problem.as_ref()) {
            aside.push(format!("the certificate: {problem}"));
        }
        let columns = ["host", "address", "tls"].map(Column::words);
        let version = tls.as_ref().map_or_else(String::new, |tls| tls.version.clone());
        let rows = Table::of_rows(columns, vec![[self.host.clone(), address.to_string(), version]]);
        let body = Connected { host: self.host.clone(), address, tls };
        Report { exit: Exit::Fine, aside, gaps: None, ..Report::new(body, Vec::new(), rows, Vec::new()) }
    }
}
