//! `portolan hold PORT…`: keeps ports by binding them, for a while or for a command.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use portolan_core::diagnose::Reuse;
use portolan_core::port::{PortRange, PortSet};
use portolan_core::remedy;
use portolan_core::socket::Transport;
use portolan_host::hold::{Held, become_program, hold};
use portolan_host::sys::EndSignals;
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::cells::{Column, Table};
use crate::command::{After, Command, Output};
use crate::exit::{Exit, Refused};
use crate::report::{Block, Line, Report};
use crate::source::Session;
use crate::typed::{Transports, seconds};

/// Keep ports by binding them, without listening: until Ctrl+C, for a time, or for a command
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan hold 8080                          until Ctrl+C
  portolan hold 8080 8443 --for 30
  portolan hold 8080 -- server --port 8080    let go in the instant the server begins
  portolan hold 8080 --pass -- server         handed to it as systemd does: descriptors from 3 on

Exit code 1, and nothing is held, when one of the ports cannot be had. With a command: its own
exit code.")]
pub(crate) struct Hold {
    /// Ports and ranges
    #[arg(required = true, value_name = "PORT|FIRST-LAST")]
    ports: Vec<PortRange>,
    /// On this address alone, instead of on all of both families
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// For which transport
    #[arg(long, value_name = "WHICH", value_enum, default_value = "tcp")]
    transport: Transports,
    /// For that many seconds
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds, conflicts_with = "command")]
    time: Option<Duration>,
    /// Hand the sockets to the command, TCP ones listening, as sd_listen_fds(3) says
    #[arg(long, requires = "command")]
    pass: bool,
    /// Run this in place of portolan, with the same process id
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What is held.
#[derive(Serialize, JsonSchema)]
struct Holding {
    /// Every port that is held.
    held: Vec<HeldPort>,
    /// For how many milliseconds; null until a signal, or for a command.
    for_ms: Option<u64>,
}

/// A port that is held.
#[derive(Serialize, JsonSchema)]
struct HeldPort {
    port: u16,
    transport: Transport,
    /// On which address; `::` is every address of both families.
    address: IpAddr,
}

/// JSON Schema of the report.
pub(super) fn schema() -> Schema {
    schema_for!(Holding)
}

impl Command for Hold {
    fn run(&self, session: &Session) -> Result<Output> {
        session.needs_machine("hold")?;
        let held = self.hold(session)?;
        let report = self.report(&held);
        let after: After = match self.command.split_first() {
            Some((program, arguments)) => {
                let (program, arguments, pass) = (program.clone(), arguments.to_vec(), self.pass);
                Box::new(move || Err(become_program(&program, &arguments, held, pass).into()))
            }
            None => {
                // Before anything is told: whoever reads it may send the signal at once.
                let signals = EndSignals::block().context("cannot wait for signals")?;
                let time = self.time;
                Box::new(move || {
                    signals.wait(time).context("cannot wait for signals")?;
                    drop(held);
                    Ok(Exit::Fine)
                })
            }
        };
        Ok(Output::Then(report, after))
    }
}

impl Hold {
    /// Every port, or none.
    fn hold(&self, session: &Session) -> Result<Vec<Held>> {
        let mut seen = PortSet::new();
        let mut wanted = Vec::new();
        for port in self.ports.iter().flat_map(|range| range.ports()).map(u16::from) {
            if !seen.contains(port) {
                seen.insert(port);
                wanted.extend(self.transport.list().iter().map(|transport| (*transport, port)));
            }
        }
        // A server's own option, as systemd sets it: without it the port could not be had again for a minute.
        let reuse = if self.pass { Reuse::ReuseAddress } else { Reuse::Plain };
        hold(session.namespace(), self.address, &wanted, reuse)?.map_err(|refused| {
            let why = session.in_place(remedy::why(refused.transport, refused.port, self.address));
            Refused(format!("{}; nothing is held; see: {why}", refused.error)).into()
        })
    }

    fn report(&self, held: &[Held]) -> Report {
        let until = match (self.command.first(), self.time) {
            (Some(command), _) if self.pass => format!("passed to {}", command.to_string_lossy()),
            (Some(command), _) => format!("until {} begins", command.to_string_lossy()),
            (None, Some(time)) => format!("for {} s", time.as_secs_f64()),
            (None, None) => "until Ctrl+C".to_owned(),
        };
        let port = |held: &Held| HeldPort {
            port: held.address.port(),
            transport: held.transport,
            address: held.address.ip(),
        };
        let ports: Vec<HeldPort> = held.iter().map(port).collect();
        let mut blocks: Vec<Block> = held
            .iter()
            .map(|held| {
                let name = format!("{}/{}", held.address.port(), held.transport);
                Block::Line(Line::new().strong(name).plain(format!("   held on {}", place(held.address))))
            })
            .collect();
        blocks.push(Block::Line(until.clone().into()));
        let mut aside = Vec::new();
        if !self.command.is_empty() {
            // Standard output is the command's.
            blocks.clear();
            let names: Vec<String> = ports.iter().map(|p| format!("{}/{}", p.port, p.transport)).collect();
            let place = held.first().map(|held| place(held.address)).unwrap_or_default();
            aside.push(format!("{} held on {place}, {until}", names.join(", ")));
        }
        let columns = [Column::numbers("port"), Column::words("transport"), Column::words("address")];
        let row = |p: &HeldPort| [p.port.to_string(), p.transport.to_string(), p.address.to_string()];
        let rows = Table::of_rows(columns, ports.iter().map(row).collect());
        let for_ms = self.time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let body = Holding { held: ports, for_ms };
        Report { aside, gaps: None, ..Report::new(body, blocks, rows, Vec::new()) }
    }
}

/// An address in words.
fn place(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V6(v6) if v6.is_unspecified() => "every address, IPv4 and IPv6".to_owned(),
        IpAddr::V4(v4) if v4.is_unspecified() => "every IPv4 address".to_owned(),
        other => other.to_string(),
    }
}
