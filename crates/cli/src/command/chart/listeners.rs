//! Listeners of a machine: one row for each port and holder, with every address it listens on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use portolan_core::kernel::services::Services;
use portolan_core::snapshot::Snapshot;
use portolan_core::socket::{OwnerState, Socket, Transport};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cells::{Column, Table};
use crate::reach::Reach;
use crate::rows::{OwnerRef, OwnerRow, no_owner_text, owner_state_name, owners_text};

/// Who waits for peers on a port.
#[derive(Serialize, JsonSchema)]
pub(super) struct Listener {
    /// The port.
    port: u16,
    /// The transport.
    transport: Transport,
    /// Every address it waits on.
    addresses: Vec<IpAddr>,
    /// How far it is reachable, by these addresses.
    reach: Reach,
    /// The port's registered name.
    service: Option<String>,
    /// Whether holders were looked for and seen.
    owner_state: OwnerState,
    /// Every process that holds it.
    #[schemars(with = "Vec<OwnerRow<'static>>")]
    owners: Vec<OwnerRef>,
    /// The holders in a few words.
    #[serde(skip)]
    text: String,
}

/// The listeners of a snapshot, by port, transport and holder.
pub(super) fn of(snapshot: &Arc<Snapshot>, services: &Services) -> Vec<Listener> {
    let mut found: BTreeMap<(u16, Transport, Vec<u32>, String), Vec<&Socket>> = BTreeMap::new();
    for socket in snapshot.sockets.iter().filter(|socket| socket.is_listening()) {
        let mut owners: Vec<u32> = snapshot.holders_of(socket).iter().map(|holder| holder.owner).collect();
        owners.sort_unstable();
        owners.dedup();
        let text = match owners.is_empty() {
            true => no_owner_text(snapshot, socket),
            false => owners_text(&snapshot.owners_of(socket)),
        };
        found.entry((socket.local_port, socket.transport, owners, text)).or_default().push(socket);
    }
    let listener =
        |((port, transport, owners, text), sockets): ((u16, Transport, Vec<u32>, String), Vec<&Socket>)| {
            let mut addresses: Vec<IpAddr> = sockets.iter().map(|socket| socket.local_address()).collect();
            addresses.sort_unstable();
            addresses.dedup();
            Listener {
                port,
                transport,
                reach: Reach::of(&addresses).unwrap_or(Reach::Address),
                addresses,
                service: services.name(transport, port).map(str::to_owned),
                owner_state: sockets.first().map_or(OwnerState::NotAsked, |socket| socket.owner_state),
                owners: owners.iter().filter_map(|index| OwnerRef::new(snapshot, *index)).collect(),
                text,
            }
        };
    found.into_iter().map(listener).collect()
}

/// The listeners for people.
pub(super) fn short_table(listeners: &[Listener]) -> Table {
    let columns = [
        Column::numbers("port"),
        Column::words("transport"),
        Column::words("service"),
        Column::words("reach"),
        Column::prose("addresses"),
        Column::prose("owner"),
    ];
    let row = |listener: &Listener| {
        [
            listener.port.to_string(),
            listener.transport.to_string(),
            listener.service.clone().unwrap_or_else(|| "-".to_owned()),
            match listener.addresses.len() {
                2.. if listener.reach == Reach::Address => "some addresses".to_owned(),
                _ => listener.reach.word().to_owned(),
            },
            listener.addresses_text(),
            listener.text.clone(),
        ]
    };
    Table::of_rows(columns, listeners.iter().map(row).collect())
}

/// The listeners for a spreadsheet.
pub(super) fn table(listeners: &[Listener]) -> Table {
    let columns = [
        Column::numbers("port"),
        Column::words("transport"),
        Column::words("service"),
        Column::words("reach"),
        Column::words("addresses"),
        Column::words("owner-state"),
        Column::words("pids"),
        Column::words("owner"),
    ];
    let row = |listener: &Listener| {
        let pids: Vec<String> = listener.owners.iter().map(|owner| owner.pid.to_string()).collect();
        [
            listener.port.to_string(),
            listener.transport.to_string(),
            listener.service.clone().unwrap_or_default(),
            listener.reach.word().to_owned(),
            listener.addresses_text(),
            owner_state_name(listener.owner_state).to_owned(),
            pids.join(" "),
            listener.text.clone(),
        ]
    };
    Table::of_rows(columns, listeners.iter().map(row).collect())
}

impl Listener {
    fn addresses_text(&self) -> String {
        self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}
