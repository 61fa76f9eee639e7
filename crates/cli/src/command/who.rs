//! `portolan who PORT…`: everyone who holds a port, what carries it, and how far it is reachable.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use portolan_core::kernel::services::Services;
use portolan_core::port::{PortRange, PortSet};
use portolan_core::range::Carrier;
use portolan_core::snapshot::{Gap, Snapshot};
use portolan_core::socket::{OwnerState, Socket, State, Transport};
use portolan_host::{Look, OwnerSearch, Sections, SocketFilter};
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::cells::{Column, Table};
use crate::command::{Command, Output};
use crate::exit::Exit;
use crate::reach::{Firewall, Reach};
use crate::report::{Block, Line, Report, Tone};
use crate::rows::{OwnerRef, carrier_text, container_text, no_owner_text, owner_text};
use crate::source::Session;
use crate::text::{counted, moment, span};

/// Show who holds a port, and how far it is reachable
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan who 8080
  portolan who 53/udp 80 443
  portolan who 8000-8100/tcp

Exit code 1 when nobody holds a port that was asked for.")]
pub(crate) struct Who {
    /// Port or range, of both transports or of one: 8080, 53/udp, 8000-8100
    #[arg(value_name = "PORT", required = true)]
    ports: Vec<Wanted>,
    /// Stop at the first holder found of each socket: quicker, and others may share it
    #[arg(long)]
    first: bool,
}

/// Ports that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    ports: PortRange,
    transport: Option<Transport>,
}

impl Wanted {
    fn takes(&self, transport: Transport, port: u16) -> bool {
        self.ports.contains(port) && self.transport.is_none_or(|wanted| wanted == transport)
    }
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (ports, transport) = match text.split_once('/') {
            Some((ports, transport)) => (ports, Some(transport.parse()?)),
            None => (text, None),
        };
        let ports =
            ports.parse().map_err(|error| format!("{error}; type a port as in: portolan who 53/udp"))?;
        Ok(Self { ports, transport })
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.transport {
            Some(transport) => write!(f, "{}/{transport}", self.ports),
            None => self.ports.fmt(f),
        }
    }
}

/// What who gives.
#[derive(Serialize, JsonSchema)]
struct Answer {
    /// Every port that was asked for and that something holds or carries, for each transport.
    ports: Vec<PortUse>,
    /// What was asked for and nobody holds, as it was typed.
    nobody: Vec<String>,
    /// What could not be seen.
    gaps: Vec<Gap>,
}

/// Who uses a port of one transport.
#[derive(Serialize, JsonSchema)]
struct PortUse {
    /// The port.
    port: u16,
    /// The transport.
    transport: Transport,
    /// Its registered name.
    service: Option<String>,
    /// How far its listeners are reachable, by the addresses they are bound to; null without a listener.
    reach: Option<Reach>,
    /// What the local firewall does with traffic for it; null without a listener.
    firewall: Option<Firewall>,
    /// Everyone who holds a socket on it, listeners first.
    holders: Vec<Holding>,
    /// What takes its traffic on behalf of others.
    carriers: Vec<Carrier>,
}

/// One holder, and the sockets it holds on the port.
#[derive(Serialize, JsonSchema)]
struct Holding {
    /// The process; null where there is none, or none to be seen.
    #[schemars(with = "Option<crate::rows::OwnerRow<'static>>")]
    owner: Option<OwnerRef>,
    /// Whether holders were looked for and seen.
    owner_state: OwnerState,
    /// In a few words who it is.
    text: String,
    /// Addresses it waits for peers on.
    listening: Vec<IpAddr>,
    /// Addresses it is bound to without listening.
    bound: Vec<IpAddr>,
    /// Its other sockets on this local port, counted by state.
    connections: BTreeMap<State, u64>,
}

/// JSON Schema of the report.
pub(super) fn schema() -> Schema {
    schema_for!(Answer)
}

impl Command for Who {
    fn run(&self, session: &Session) -> Result<Output> {
        let ports: PortSet = self.ports.iter().map(|wanted| wanted.ports).collect();
        let first = self.ports[0].transport;
        let transport = first.filter(|_| self.ports.iter().all(|wanted| wanted.transport == first));
        let snapshot = session.see(Look {
            sockets: Some(SocketFilter { transport, local_ports: Some(ports), ..SocketFilter::default() }),
            owners: if self.first { OwnerSearch::First } else { OwnerSearch::All },
            sections: Sections { carriers: true, firewall: true, ..Sections::default() },
            ..Look::default()
        })?;
        Ok(Output::Report(report(&self.ports, &snapshot, &session.services())))
    }
}

fn report(wanted: &[Wanted], snapshot: &Arc<Snapshot>, services: &Services) -> Report {
    let ports = uses(wanted, snapshot, services);
    let held =
        |wanted: &&Wanted| ports.iter().any(|used| wanted.takes(used.transport, used.port) && used.is_held());
    let nobody: Vec<String> = wanted.iter().filter(|w| !held(w)).map(ToString::to_string).collect();
    let mut blocks: Vec<Block> = ports.iter().flat_map(|used| used.blocks(snapshot)).collect();
    for wanted in wanted.iter().filter(|w| !ports.iter().any(|used| w.takes(used.transport, used.port))) {
        let head = Line::new().strong(wanted.to_string());
        blocks.push(Block::Line(head.plain("   nobody holds it, as far as can be seen")));
        blocks.push(Block::gap());
    }
    let exit = if nobody.is_empty() { Exit::Fine } else { Exit::Not };
    let rows = rows(&ports);
    let gaps = snapshot.gaps.clone();
    let answer = Answer { ports, nobody, gaps: gaps.clone() };
    Report { exit, ..Report::new(answer, blocks, rows, gaps) }
}

/// Every port that was asked for and is used, in rising order.
fn uses(wanted: &[Wanted], snapshot: &Arc<Snapshot>, services: &Services) -> Vec<PortUse> {
    let mut sockets: BTreeMap<(u16, Transport), Vec<&Socket>> = BTreeMap::new();
    for socket in &snapshot.sockets {
        if wanted.iter().any(|wanted| wanted.takes(socket.transport, socket.local_port)) {
            sockets.entry((socket.local_port, socket.transport)).or_default().push(socket);
        }
    }
    for carrier in &snapshot.carriers {
        for wanted in wanted.iter().filter(|wanted| wanted.ports.overlaps(carrier.ports)) {
            // A rule for all ports is told once for a range, not once a port.
            let first = carrier.ports.first().max(wanted.ports.first());
            if wanted.takes(carrier.transport, first) {
                sockets.entry((first, carrier.transport)).or_default();
            }
        }
    }
    let used = |((port, transport), sockets): ((u16, Transport), Vec<&Socket>)| {
        let listening: Vec<IpAddr> =
            sockets.iter().filter(|s| s.is_listening()).map(|s| s.local_address()).collect();
        let carriers = snapshot.carriers.iter();
        PortUse {
            port,
            transport,
            service: services.name(transport, port).map(str::to_owned),
            reach: Reach::of(&listening),
            firewall: (!listening.is_empty()).then(|| Firewall::of(snapshot, transport, port)),
            holders: holdings(&sockets, snapshot),
            carriers: carriers
                .filter(|c| c.transport == transport && c.ports.contains(port))
                .cloned()
                .collect(),
        }
    };
    sockets.into_iter().map(used).collect()
}

/// The sockets of one port by who holds them: listeners first, then who is bound, then the rest.
fn holdings(sockets: &[&Socket], snapshot: &Arc<Snapshot>) -> Vec<Holding> {
    let mut found: BTreeMap<(Option<u32>, String), Holding> = BTreeMap::new();
    for socket in sockets {
        let mut owners: Vec<Option<u32>> =
            snapshot.holders_of(socket).iter().map(|holder| Some(holder.owner)).collect();
        owners.sort_unstable();
        owners.dedup();
        if owners.is_empty() {
            owners.push(None);
        }
        for index in owners {
            let owner = index.and_then(|index| OwnerRef::new(snapshot, index));
            let text =
                owner.as_ref().map_or_else(|| no_owner_text(snapshot, socket), |owner| owner_text(owner));
            let holding = found.entry((index, text.clone())).or_insert_with(|| Holding {
                owner,
                owner_state: socket.owner_state,
                text,
                listening: Vec::new(),
                bound: Vec::new(),
                connections: BTreeMap::new(),
            });
            holding.add(socket);
        }
    }
    let mut holdings: Vec<Holding> = found.into_values().collect();
    holdings.sort_by_key(|holding| (holding.listening.is_empty(), holding.bound.is_empty()));
    holdings
}

impl Holding {
    fn add(&mut self, socket: &Socket) {
        let address = socket.local_address();
        let addresses = match socket.state {
            _ if socket.is_listening() => &mut self.listening,
            State::Bound => &mut self.bound,
            state => {
                *self.connections.entry(state).or_default() += 1;
                return;
            }
        };
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }

    /// What it does with the port.
    fn deed(&self) -> String {
        let list =
            |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut deeds = Vec::new();
        if !self.listening.is_empty() {
            deeds.push(format!("listens on {}", list(&self.listening)));
        }
        if !self.bound.is_empty() {
            deeds.push(format!("is bound to {} and does not listen", list(&self.bound)));
        }
        if !self.connections.is_empty() {
            let counts: Vec<String> =
                self.connections.iter().map(|(state, count)| format!("{count} {state}")).collect();
            let total = self.connections.values().sum();
            deeds.push(format!("{} ({})", counted(total, "connection"), counts.join(", ")));
        }
        deeds.join("; ")
    }

    fn blocks(&self, taken_ms: u64) -> Vec<Block> {
        let below = |text: String| Block::Entry { label: "", hang: 2, text: Line::from(text) };
        let mut blocks = vec![Block::Entry {
            label: "holder",
            hang: 2,
            text: Line::new().strong(self.text.as_str()).plain(format!("   {}", self.deed())),
        }];
        let Some(owner) = &self.owner else { return blocks };
        if let Some(command) = &owner.command {
            blocks.push(below(format!("  command    {command}")));
        }
        if let Some(user) = owner.user.clone().or_else(|| owner.uid.map(|uid| format!("uid {uid}"))) {
            blocks.push(below(format!("  user       {user}")));
        }
        if let Some(started) = owner.started_ms {
            let age = taken_ms.saturating_sub(started);
            blocks.push(below(format!("  since      {} ({})", moment(started), span(age))));
        }
        if let Some(unit) = &owner.unit {
            blocks.push(below(format!("  unit       {unit}")));
        }
        if let Some(container) = &owner.container {
            blocks.push(below(format!("  container  {}", container_text(container))));
        }
        blocks
    }
}

impl PortUse {
    /// Whether anything but leftovers is there.
    fn is_held(&self) -> bool {
        !self.carriers.is_empty()
            || self.holders.iter().any(|holding| {
                !holding.listening.is_empty()
                    || !holding.bound.is_empty()
                    || holding.connections.keys().any(|state| *state != State::TimeWait)
            })
    }

    fn blocks(&self, snapshot: &Snapshot) -> Vec<Block> {
        let service = self.service.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let head = Line::new().strong(format!("{}/{}", self.port, self.transport)).plain(service);
        let mut blocks = vec![Block::Line(head.plain("   ").and(Tone::Plain, self.verdict()))];
        for holding in &self.holders {
            blocks.extend(holding.blocks(snapshot.taken_ms));
        }
        for carrier in &self.carriers {
            blocks.push(Block::Entry { label: "carrier", hang: 2, text: Line::from(carrier_text(carrier)) });
        }
        if let Some(reach) = self.reach {
            blocks.push(Block::entry("reachable", reach.phrase()));
        }
        if let Some(firewall) = &self.firewall {
            blocks.push(Block::entry("firewall", firewall.phrase()));
            let rule =
                |rule: &String| Block::Entry { label: "", hang: 2, text: Line::from(format!("  {rule}")) };
            blocks.extend(firewall.rules.iter().map(rule));
        }
        blocks.push(Block::gap());
        blocks
    }

    fn verdict(&self) -> String {
        let holders: Vec<&str> =
            self.holders.iter().filter(|h| h.owner.is_some()).map(|h| h.text.as_str()).collect();
        match (holders.len(), self.holders.first()) {
            (1, _) => format!("held by {}", holders[0]),
            (2.., _) => format!("held by {} processes", holders.len()),
            (0, _) if !self.is_held() => "no process holds it; old connections linger".to_owned(),
            (0, Some(holding)) => format!("held; its owner: {}", holding.text),
            (0, None) => "held by no socket, carried for others".to_owned(),
        }
    }
}

fn rows(ports: &[PortUse]) -> Table {
    let columns = [
        Column::numbers("port"),
        Column::words("transport"),
        Column::words("reach"),
        Column::words("owner-state"),
        Column::numbers("pid"),
        Column::words("name"),
        Column::prose("command"),
        Column::words("user"),
        Column::prose("unit"),
        Column::prose("container"),
        Column::prose("use"),
    ];
    let state = |state: OwnerState| crate::rows::owner_state_name(state).to_owned();
    let row = |used: &PortUse, holding: &Holding| {
        let text =
            |pick: fn(&OwnerRef) -> Option<String>| holding.owner.as_ref().and_then(pick).unwrap_or_default();
        [
            used.port.to_string(),
            used.transport.to_string(),
            used.reach.map(|reach| reach.word().to_owned()).unwrap_or_default(),
            state(holding.owner_state),
            text(|owner| Some(owner.pid.to_string())),
            text(|owner| Some(owner.name.clone())),
            text(|owner| owner.command.clone()),
            text(|owner| owner.user.clone()),
            text(|owner| owner.unit.clone()),
            text(|owner| owner.container.as_ref().map(container_text)),
            holding.deed(),
        ]
    };
    let carried = |used: &PortUse, carrier: &Carrier| {
        let mut cells: [String; 11] = Default::default();
        cells[0] = used.port.to_string();
        cells[1] = used.transport.to_string();
        cells[10] = carrier_text(carrier);
        cells
    };
    let mut table = Vec::new();
    for used in ports {
        table.extend(used.holders.iter().map(|holding| row(used, holding)));
        table.extend(used.carriers.iter().map(|carrier| carried(used, carrier)));
    }
    Table::of_rows(columns, table)
}

#[cfg(test)]
mod tests;
