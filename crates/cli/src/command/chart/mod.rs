//! `portolan` alone: the chart of a machine's ports: ranges, reservations, listeners with owners, room left, findings.

mod listeners;
mod room;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use portolan_core::census::Census;
use portolan_core::diagnose::{Case, Finding, diagnose};
use portolan_core::kernel::services::Services;
use portolan_core::port::{PortRange, PortSet};
use portolan_core::range::{EphemeralRange, Reservation};
use portolan_core::snapshot::{Gap, Host, Snapshot};
use portolan_core::socket::State;
use portolan_host::{Look, OwnerSearch, Sections, SocketFilter};
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::advice;
use crate::command::{Command, Output};
use crate::report::{Block, Line, Report, Shade, Strip, Tone};
use crate::source::Session;
use crate::text::{counted, grouped, moment};
use listeners::Listener;
use room::Room;

/// Draw the chart: what portolan does without a command
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  portolan
  portolan --from before.json
  portolan chart --json")]
pub(crate) struct Chart {}

/// How many destinations, those with the least room, findings may speak of.
const DESTINATIONS: usize = 20;

/// The chart as data.
#[derive(Serialize, JsonSchema)]
struct Sheet {
    /// When it was seen, milliseconds since 1970-01-01 UTC.
    taken_ms: u64,
    /// Whose machine.
    host: Host,
    /// How many sockets in each state.
    sockets: BTreeMap<State, u64>,
    /// The ranges the system gives ports from by itself.
    ranges: Vec<EphemeralRange>,
    /// Ports set aside.
    reservations: Vec<Reservation>,
    /// Below this port a program needs a privilege to bind; null when it could not be read.
    unprivileged_port_start: Option<u32>,
    /// Who waits for peers, one row for each port and holder.
    listeners: Vec<Listener>,
    /// The room left in the ephemeral ranges.
    room: Vec<Room>,
    /// What was found, the most severe first.
    findings: Vec<Finding>,
    /// What could not be seen.
    gaps: Vec<Gap>,
}

/// JSON Schema of the report.
pub(super) fn schema() -> Schema {
    schema_for!(Sheet)
}

impl Command for Chart {
    fn run(&self, session: &Session) -> Result<Output> {
        let snapshot = session.see(Look {
            sockets: Some(SocketFilter::default()),
            owners: OwnerSearch::All,
            sections: Sections { firewall: false, buckets: false, ..Sections::ALL },
            ..Look::default()
        })?;
        Ok(Output::Report(report(&snapshot, &session.services())))
    }
}

fn report(snapshot: &Arc<Snapshot>, services: &Services) -> Report {
    let mut sockets = BTreeMap::new();
    for socket in &snapshot.sockets {
        *sockets.entry(socket.state).or_default() += 1;
    }
    let sheet = Sheet {
        taken_ms: snapshot.taken_ms,
        host: snapshot.host.clone(),
        sockets,
        ranges: snapshot.ranges.clone(),
        reservations: snapshot.reservations.clone(),
        unprivileged_port_start: snapshot.settings.unprivileged_port_start,
        listeners: listeners::of(snapshot, services),
        room: room::of(snapshot),
        findings: diagnose(&Case::host(snapshot, &Census::of(snapshot, DESTINATIONS))),
        gaps: snapshot.gaps.clone(),
    };
    let blocks = sheet.blocks(snapshot);
    let rows = listeners::table(&sheet.listeners);
    let gaps = sheet.gaps.clone();
    Report::new(sheet, blocks, rows, gaps)
}

impl Sheet {
    fn blocks(&self, snapshot: &Snapshot) -> Vec<Block> {
        let mut blocks = vec![Block::Line(self.headline()), Block::gap()];
        blocks.push(Block::Picture(self.strips(snapshot)));
        blocks.extend(self.legend());
        if !self.room.is_empty() {
            blocks.push(Block::gap());
        }
        blocks.extend(self.room.iter().enumerate().map(|(index, room)| Block::Entry {
            label: if index == 0 { "room left" } else { "" },
            hang: 6,
            text: room.line(),
        }));
        blocks.push(Block::gap());
        blocks.push(match self.listeners.is_empty() {
            true => Block::Line("nobody listens, as far as can be seen".into()),
            false => Block::Table(listeners::short_table(&self.listeners)),
        });
        blocks.push(Block::gap());
        let findings = advice::blocks(&self.findings);
        if !findings.is_empty() {
            blocks.extend(findings);
            blocks.push(Block::gap());
        }
        blocks
    }

    fn headline(&self) -> Line {
        let name = if self.host.name.is_empty() { "this machine" } else { &self.host.name };
        let total: u64 = self.sockets.values().sum();
        let counts = [State::Listen, State::Established, State::TimeWait]
            .map(|state| format!("{} {state}", grouped(self.sockets.get(&state).copied().unwrap_or(0))));
        let when = if self.taken_ms == 0 { String::new() } else { format!("   {}", moment(self.taken_ms)) };
        Line::new()
            .strong(name)
            .plain(format!("   {} ({})", counted(total, "socket"), counts.join(", ")))
            .and(Tone::Faint, when)
    }

    fn strips(&self, snapshot: &Snapshot) -> Vec<Strip> {
        let mut strips = Vec::new();
        let mut coverage = |label, ports: PortSet| {
            if !ports.is_empty() {
                strips.push(Strip { label, ports, shade: Shade::Coverage });
            }
        };
        coverage("ephemeral", self.ranges.iter().map(|range| range.range).collect());
        coverage("reserved", self.reservations.iter().map(|reservation| reservation.range).collect());
        coverage("privileged", self.privileged().into_iter().collect());
        let (mut listening, mut used) = (PortSet::new(), PortSet::new());
        for socket in &snapshot.sockets {
            if socket.is_listening() { &mut listening } else { &mut used }.insert(socket.local_port);
        }
        strips.push(Strip { label: "listening", ports: listening, shade: Shade::Amount });
        strips.push(Strip { label: "in use", ports: used, shade: Shade::Amount });
        strips
    }

    fn privileged(&self) -> Option<PortRange> {
        let start = self.unprivileged_port_start?;
        PortRange::new(1, u16::try_from(start.checked_sub(1)?).ok()?).ok()
    }

    fn legend(&self) -> Vec<Block> {
        let mut ephemeral: Vec<PortRange> = self.ranges.iter().map(|range| range.range).collect();
        ephemeral.sort_unstable();
        ephemeral.dedup();
        let joined = |ranges: Vec<PortRange>| {
            const SHOWN: usize = 8;
            let mut texts: Vec<String> = ranges.iter().take(SHOWN).map(ToString::to_string).collect();
            if ranges.len() > SHOWN {
                texts.push(format!("and {} more", ranges.len() - SHOWN));
            }
            texts.join(", ")
        };
        let reserved: PortSet = self.reservations.iter().map(|reservation| reservation.range).collect();
        let mut told = Vec::new();
        if !ephemeral.is_empty() {
            told.push(format!("ephemeral {}: given to clients", joined(ephemeral)));
        }
        if !reserved.is_empty() {
            told.push(format!("reserved {}: kept from that", joined(reserved.ranges())));
        }
        if let Some(range) = self.privileged() {
            told.push(format!("privileged {range}: need a right to bind"));
        }
        if told.is_empty() {
            return Vec::new();
        }
        vec![Block::entry("", Line::new().and(Tone::Faint, told.join("; ")))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{machine, services, valid_json, written, written_on};
    use crate::output::Surface;

    #[test]
    fn the_chart_shows_ranges_room_listeners_and_gaps() {
        insta::assert_snapshot!(written(&report(&machine(), &services()), "table"), @r"
        web1   11 sockets (5 LISTEN, 3 ESTABLISHED, 1 TIME_WAIT)   2026-03-01 10:00:00 UTC

                      0       8192    16384   24576   32768   40960   49152      65535
          ephemeral   ································███████████████████████████▒····
          reserved    ················································▒···············
          privileged  █·······························································
          listening   ▂    ▁ ▁▁
          in use      ▁                                      ▂   ▁
                    ephemeral 32768-60999: given to clients; reserved 50000-50099: kept from that;
                    privileged 1-1023: need a right to bind

          room left tcp   28,129 of 28,232 ports of 32768-60999: 3 in use, 100 reserved, 1 socket in
                          TIME_WAIT
                    udp   28,132 of 28,232 ports of 32768-60999: 0 in use, 100 reserved

        PORT  TRANSPORT  SERVICE     REACH        ADDRESSES   OWNER
          53  udp        domain      all          0.0.0.0     not visible (systemd-resolved.service)
          80  tcp        http        all          0.0.0.0 ::  nginx (pid 70 and 2 more, nginx.service)
        5432  tcp        postgresql  loopback     127.0.0.1   postgres (pid 60, postgresql.service)
        8080  tcp        http-alt    one address  10.0.0.5    ev\u{1b}]0;il\u{7},\u{202e}x (pid 90)
        9000  tcp        -           loopback     ::1         node (pid 80, docker 3f2a9c01b7de)

          note      holder-hidden   The holder of 1 socket could not be seen, 1 of them listening.
                      udp UNCONNECTED 0.0.0.0:53, held by a process of user id 101 in
                      systemd-resolved.service that could not be seen
          ways out  1  see them   sudo portolan

          not seen  owners: 1 socket's holder is not visible; run as root
        ");
    }

    #[test]
    fn the_chart_is_plain_ascii_where_need_be() {
        let surface = Surface { width: Some(80), colour: false, unicode: false };
        let (text, _) = written_on(&report(&machine(), &services()), "table", surface);
        assert!(text.is_ascii(), "{text}");
    }

    #[test]
    fn the_chart_is_data_too() {
        let value = valid_json(&report(&machine(), &services()), "chart");
        assert_eq!(value["room"][0]["left"], 28232 - 100 - 3);
        assert_eq!(value["listeners"].as_array().unwrap().len(), 5);
        assert_eq!(value["sockets"]["LISTEN"], 5);
    }

    #[test]
    fn listeners_are_rows_for_a_spreadsheet() {
        insta::assert_snapshot!(written(&report(&machine(), &services()), "csv"), @r#"
        port,transport,service,reach,addresses,owner_state,pids,owner
        53,udp,domain,all,0.0.0.0,hidden,,not visible (systemd-resolved.service)
        80,tcp,http,all,0.0.0.0 ::,seen,70 71 72,"nginx (pid 70 and 2 more, nginx.service)"
        5432,tcp,postgresql,loopback,127.0.0.1,seen,60,"postgres (pid 60, postgresql.service)"
        8080,tcp,http-alt,one address,10.0.0.5,seen,90,"ev\u{1b}]0;il\u{7},\u{202e}x (pid 90)"
        9000,tcp,,loopback,::1,seen,80,"node (pid 80, docker 3f2a9c01b7de)"
        "#);
    }

    #[test]
    fn a_machine_of_which_nothing_was_seen_is_charted_too() {
        let nothing = Arc::new(Snapshot::default());
        insta::assert_snapshot!(written(&report(&nothing, &services()), "table"), @r"
        this machine   0 sockets (0 LISTEN, 0 ESTABLISHED, 0 TIME_WAIT)

                      0       8192    16384   24576   32768   40960   49152      65535
          listening
          in use

        nobody listens, as far as can be seen

          not seen  nothing
        ");
    }
}
