//! `portolan pick`: ports that are free now and likely to stay free.

use std::hash::{BuildHasher as _, RandomState};

use anyhow::Result;
use clap::Args;
use portolan_core::pick::{self, Reason, Taken, Wanted};
use portolan_core::port::{Port, PortRange, PortSet};
use portolan_core::snapshot::{Gap, Snapshot};
use portolan_host::hold::{Several, hold_first};
use portolan_host::{Look, SocketFilter, sys};
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::cells::{Column, Table};
use crate::command::{Command, Output};
use crate::exit::Exit;
use crate::report::{Block, Report};
use crate::source::Session;
use crate::text::counted;
use crate::typed::Transports;

/// Pick ports that are free now and likely to stay free, a line each
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan pick
  server --port $(portolan pick --near 8080)
  portolan pick --count 3 --range 20000-29999

Such a port is held by no socket of any family, is not reserved, not known for a service, and no
client is given it by the system, since it lies outside of the ephemeral range. All of them are
bound at once before one is printed. What firewall rules redirect is not looked at: portolan why
PORT tells.
Exit code 1, and no port, when there are fewer than asked for.")]
pub(crate) struct Pick {
    /// How many
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    count: u16,
    /// Out of these ports
    #[arg(long, value_name = "FIRST-LAST", default_value_t = PortRange::ALL)]
    range: PortRange,
    /// As near as can be to this port, instead of anywhere
    #[arg(long, value_name = "PORT")]
    near: Option<Port>,
    /// Free for which transport
    #[arg(long, value_name = "WHICH", value_enum, default_value = "both")]
    transport: Transports,
    /// Out of the ephemeral range too: a client may be given the port a moment later
    #[arg(long)]
    ephemeral: bool,
}

/// What pick gives.
#[derive(Serialize, JsonSchema)]
struct Picked {
    /// The ports, the best first. Where there are fewer than asked for, those that there are.
    ports: Vec<u16>,
    /// How many were asked for.
    asked: u16,
    /// Ports of the range that were not offered; each counts once, for the first reason that applies.
    left_out: Vec<LeftOut>,
    /// Ports that were tried and did not bind.
    refused: u32,
    /// What could not be seen.
    gaps: Vec<Gap>,
}

/// Ports that were not offered.
#[derive(Serialize, JsonSchema)]
struct LeftOut {
    /// Why.
    why: Reason,
    /// How many.
    ports: u32,
}

/// JSON Schema of the report.
pub(super) fn schema() -> Schema {
    schema_for!(Picked)
}

impl Command for Pick {
    fn run(&self, session: &Session) -> Result<Output> {
        session.needs_machine("pick")?;
        let wanted = Wanted {
            transports: self.transport.list().to_vec(),
            range: self.range,
            near: self.near.map(u16::from),
            ephemeral: self.ephemeral,
        };
        let seen = seen(session, &wanted)?;
        let taken = pick::taken(&seen, &wanted, &session.services());
        // The standard library seeds its hash tables from the system's random numbers.
        let random = RandomState::new().hash_one(());
        let candidates = pick::candidates(&wanted, &taken, random);
        let found = hold_first(session.namespace(), &wanted.transports, &candidates, self.count.into())?;
        Ok(Output::Report(self.report(found, &taken, seen.gaps)))
    }
}

/// The settings, and the sockets on ports that may be offered: the rest of a busy machine's sockets lie in the
/// ephemeral range, and the kernel leaves them out.
fn seen(session: &Session, wanted: &Wanted) -> Result<Snapshot> {
    let mut gaps = Vec::new();
    let set = sys::settings(session.namespace())?.into_value(&mut gaps);
    let mut snapshot = Snapshot {
        ranges: set.ranges,
        reservations: set.reservations,
        settings: set.settings,
        ..Snapshot::default()
    };
    let mut ports = PortSet::from(wanted.range);
    if !wanted.ephemeral {
        ports.subtract(&pick::ephemeral(&snapshot, wanted));
    }
    let transport = match wanted.transports[..] {
        [one] => Some(one),
        _ => None,
    };
    let filter = SocketFilter { transport, local_ports: Some(ports), ..SocketFilter::default() };
    let sockets = session.see(Look { sockets: Some(filter), ..Look::default() })?;
    snapshot.sockets.clone_from(&sockets.sockets);
    gaps.extend_from_slice(&sockets.gaps);
    Ok(Snapshot { gaps, ..snapshot })
}

impl Pick {
    fn report(&self, found: Several, taken: &Taken, gaps: Vec<Gap>) -> Report {
        let Several { ports, held, refused } = found;
        // All of them were bound at once; from here on they are free again.
        drop(held);
        let enough = ports.len() == usize::from(self.count);
        let mut aside = Vec::new();
        if !enough {
            aside.push(self.too_few(ports.len(), taken, refused));
        }
        aside.extend(gaps.iter().map(|gap| format!("not seen: {}: {}", gap.what, gap.detail)));
        let shown = if enough { &ports[..] } else { &[] };
        let blocks = shown.iter().map(|port| Block::Line(port.to_string().into())).collect();
        let rows =
            Table::of_rows([Column::numbers("port")], shown.iter().map(|port| [port.to_string()]).collect());
        let left_out = taken.counts().iter().map(|&(why, ports)| LeftOut { why, ports }).collect();
        let body = Picked { ports, asked: self.count, left_out, refused, gaps };
        let exit = if enough { Exit::Fine } else { Exit::Not };
        Report { exit, aside, gaps: None, ..Report::new(body, blocks, rows, Vec::new()) }
    }

    fn too_few(&self, found: usize, taken: &Taken, refused: u32) -> String {
        let mut why: Vec<String> =
            taken.counts().iter().map(|(reason, ports)| format!("{ports} {}", reason.words())).collect();
        if refused > 0 {
            why.push(format!("{refused} did not bind"));
        }
        let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join(", ")) };
        let ephemeral = taken.counts().iter().any(|(reason, _)| *reason == Reason::Ephemeral);
        let way = if ephemeral { "take another --range, or add --ephemeral" } else { "take another --range" };
        let asked = u64::from(self.count);
        let first = match found {
            0 => format!("no port of {} can be offered", self.range),
            _ => format!(
                "{found} of the {} asked for can be offered in {}",
                counted(asked, "port"),
                self.range
            ),
        };
        format!("{first}{why}: {way}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{machine, services, valid_json, written};
    use portolan_core::snapshot::GapReason;

    fn told(count: u16, ports: &[u16], gaps: Vec<Gap>) -> Report {
        let range = "8079-8090".parse().unwrap();
        let pick = Pick { count, range, near: None, transport: Transports::Both, ephemeral: false };
        let wanted = Wanted { transports: Vec::new(), range, near: None, ephemeral: false };
        let taken = pick::taken(&machine(), &wanted, &services());
        pick.report(Several { ports: ports.to_vec(), held: Vec::new(), refused: 1 }, &taken, gaps)
    }

    #[test]
    fn ports_stand_alone_on_their_lines_and_what_was_not_seen_beside_them() {
        let report = told(2, &[8079, 8084], vec![Gap::new("reservations", GapReason::Denied, "EACCES")]);
        assert_eq!((written(&report, "table").as_str(), report.exit), ("8079\n8084\n", Exit::Fine));
        assert_eq!(report.aside, ["not seen: reservations: EACCES"]);
        let value = valid_json(&report, "pick");
        assert_eq!(value["ports"], serde_json::json!([8079, 8084]));
        assert_eq!(value["left_out"][0]["why"], "well-known");
    }

    #[test]
    fn too_few_are_no_output_and_one_line_with_the_reasons() {
        let report = told(3, &[8079], Vec::new());
        assert_eq!((written(&report, "table").as_str(), report.exit), ("", Exit::Not));
        let line = "1 of the 3 ports asked for can be offered in 8079-8090 (7 known for a service, 1 did not bind): \
                    take another --range";
        assert_eq!(report.aside, [line]);
        assert_eq!(valid_json(&report, "pick")["ports"], serde_json::json!([8079]));
    }
}
