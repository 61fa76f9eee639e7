//! `list --group-by`: how many sockets have each value.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use clap::ValueEnum;
use portolan_core::kernel::services::Services;
use portolan_core::snapshot::{Gap, Snapshot};
use portolan_core::socket::Socket;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::cells::{Column, Table};
use crate::report::{Block, Report};
use crate::rows::{container_text, has_peer, no_owner_text, owner_text, service_of};

/// What sockets are counted by. A socket that several processes hold counts for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Grouping {
    State,
    Transport,
    Family,
    Process,
    Name,
    User,
    Unit,
    Container,
    Port,
    Local,
    Remote,
    RemotePort,
    Service,
}

/// Groups of sockets, and what could not be seen.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Groups {
    /// What they were counted by.
    by: Grouping,
    /// The groups, the largest first.
    #[schemars(with = "Vec<Group>")]
    #[serde(serialize_with = "each")]
    groups: Arc<Vec<Group>>,
    /// What could not be seen.
    gaps: Vec<Gap>,
}

/// How many sockets have one value.
#[derive(Debug, Serialize, JsonSchema)]
struct Group {
    /// The value they share; in brackets where there is none.
    value: String,
    /// How many.
    sockets: u64,
}

fn each<S: Serializer>(groups: &Arc<Vec<Group>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(groups.iter())
}

/// Counts the sockets at these indexes.
pub(super) fn report(
    by: Grouping,
    snapshot: &Snapshot,
    services: &Services,
    order: &[u32],
    gaps: Vec<Gap>,
) -> Report {
    let mut counts: HashMap<String, u64> = HashMap::new();
    let mut value = String::new();
    for socket in order.iter().filter_map(|index| snapshot.sockets.get(*index as usize)) {
        by.each_value(snapshot, services, socket, &mut value, &mut |value| match counts.get_mut(value) {
            Some(count) => *count += 1,
            None => drop(counts.insert(value.to_owned(), 1)),
        });
    }
    let mut groups: Vec<Group> =
        counts.into_iter().map(|(value, sockets)| Group { value, sockets }).collect();
    groups.sort_by(|a, b| b.sockets.cmp(&a.sockets).then_with(|| a.value.cmp(&b.value)));
    let groups = Arc::new(groups);
    let table = || {
        let (groups, columns) =
            (Arc::clone(&groups), vec![Column::numbers("sockets"), Column::prose(by.column())]);
        Table::new(columns, groups.len(), move |row, cells| {
            cells.number(groups[row].sockets);
            cells.end();
            cells.text(&groups[row].value);
            cells.end();
        })
    };
    let mut blocks = match groups.len() {
        0 => vec![Block::Line("no socket matches".into())],
        _ => vec![Block::Table(table())],
    };
    let quiet = gaps.is_empty() && !groups.is_empty();
    if !quiet {
        blocks.push(Block::gap());
    }
    let rows = table();
    let report = Report::new(Groups { by, groups, gaps: gaps.clone() }, blocks, rows, gaps);
    if quiet { Report { gaps: None, ..report } } else { report }
}

impl Grouping {
    const fn column(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Transport => "transport",
            Self::Family => "family",
            Self::Process => "process",
            Self::Name => "name",
            Self::User => "user",
            Self::Unit => "unit",
            Self::Container => "container",
            Self::Port => "port",
            Self::Local => "local",
            Self::Remote => "remote",
            Self::RemotePort => "remote-port",
            Self::Service => "service",
        }
    }

    /// Calls back with each value that a socket counts for, written into the same text each time.
    fn each_value(
        self,
        snapshot: &Snapshot,
        services: &Services,
        socket: &Socket,
        text: &mut String,
        count: &mut dyn FnMut(&str),
    ) {
        text.clear();
        // Writing to a String cannot fail.
        let _ = match self {
            Self::State => text.write_str(socket.state.name()),
            Self::Transport => text.write_str(socket.transport.name()),
            Self::Family => text.write_str(socket.family.name()),
            Self::Port => write!(text, "{}", socket.local_port),
            Self::Local => write!(text, "{}", socket.local_address()),
            Self::Remote if has_peer(socket) => write!(text, "{}", socket.remote_address()),
            Self::RemotePort if has_peer(socket) => write!(text, "{}", socket.remote_port),
            Self::Remote | Self::RemotePort => text.write_str("(no peer)"),
            Self::Service => text.write_str(service_of(services, socket).unwrap_or("(no name)")),
            Self::Process | Self::Name | Self::User | Self::Unit | Self::Container => {
                return self.each_owner(snapshot, socket, count);
            }
        };
        count(text);
    }

    fn each_owner(self, snapshot: &Snapshot, socket: &Socket, count: &mut dyn FnMut(&str)) {
        let mut values: Vec<String> = snapshot
            .owners_of(socket)
            .into_iter()
            .map(|owner| match self {
                Self::Name => owner.name.clone(),
                Self::User => {
                    let uid = || owner.uid.map(|uid| format!("uid {uid}"));
                    owner.user.clone().or_else(uid).unwrap_or_else(|| "(not known)".to_owned())
                }
                Self::Unit => owner.unit.clone().unwrap_or_else(|| "(no unit)".to_owned()),
                Self::Container => {
                    owner.container.as_ref().map_or("(no container)".to_owned(), container_text)
                }
                _ => owner_text(owner),
            })
            .collect();
        values.sort();
        values.dedup();
        if values.is_empty() {
            values.push(format!("({})", no_owner_text(snapshot, socket)));
        }
        values.iter().for_each(|value| count(value));
    }
}
