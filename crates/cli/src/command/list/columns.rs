//! The columns of `list`: what each shows of a socket, and how it sorts.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::thread;

use clap::ValueEnum;
use portolan_core::kernel::services::Services;
use portolan_core::owner::Owner;
use portolan_core::snapshot::Snapshot;
use portolan_core::socket::Socket;

use crate::cells::{Cells, Column};
use crate::rows::{
    container_text, has_peer, no_owner_text, owner_state_name, owner_text, owners_text, service_of,
};
use crate::text::nearest;

/// A column of `list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Field {
    Transport,
    Family,
    State,
    Local,
    LocalAddress,
    LocalPort,
    Remote,
    RemoteAddress,
    RemotePort,
    Service,
    Owner,
    OwnerState,
    Pid,
    Name,
    Command,
    User,
    Unit,
    Container,
    Inode,
    Uid,
    Interface,
    ReceiveQueue,
    SendQueue,
    Timer,
}

impl Field {
    /// What people see when owners are not looked for.
    pub(super) const SOCKET: &[Self] =
        &[Self::Transport, Self::State, Self::Local, Self::Remote, Self::Service];
    /// What people see.
    pub(super) const WITH_OWNER: &[Self] =
        &[Self::Transport, Self::State, Self::Local, Self::Remote, Self::Service, Self::Owner];
    /// What a spreadsheet gets.
    pub(super) const CSV: &[Self] = &[
        Self::Transport,
        Self::Family,
        Self::State,
        Self::LocalAddress,
        Self::LocalPort,
        Self::RemoteAddress,
        Self::RemotePort,
        Self::Service,
        Self::OwnerState,
        Self::Pid,
        Self::Name,
        Self::Command,
        Self::User,
        Self::Unit,
        Self::Container,
        Self::Inode,
        Self::Uid,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Family => "family",
            Self::State => "state",
            Self::Local => "local",
            Self::LocalAddress => "local-address",
            Self::LocalPort => "local-port",
            Self::Remote => "remote",
            Self::RemoteAddress => "remote-address",
            Self::RemotePort => "remote-port",
            Self::Service => "service",
            Self::Owner => "owner",
            Self::OwnerState => "owner-state",
            Self::Pid => "pid",
            Self::Name => "name",
            Self::Command => "command",
            Self::User => "user",
            Self::Unit => "unit",
            Self::Container => "container",
            Self::Inode => "inode",
            Self::Uid => "uid",
            Self::Interface => "interface",
            Self::ReceiveQueue => "receive-queue",
            Self::SendQueue => "send-queue",
            Self::Timer => "timer",
        }
    }

    /// Its column in a table.
    pub(super) const fn column(self) -> Column {
        match self {
            Self::LocalPort | Self::RemotePort | Self::Inode | Self::Uid | Self::ReceiveQueue => {
                Column::numbers(self.name())
            }
            Self::SendQueue | Self::Timer => Column::numbers(self.name()),
            Self::Owner | Self::Command | Self::Unit | Self::Container => Column::prose(self.name()),
            _ => Column::words(self.name()),
        }
    }
}

/// Columns made ready to be written: the text of each owner stands once.
pub(super) struct Columns {
    fields: Vec<Field>,
    blank: &'static str,
    snapshot: Arc<Snapshot>,
    services: Arc<Services>,
    owner_texts: Vec<String>,
}

impl Columns {
    /// Columns over a snapshot; `blank` stands in a cell that has nothing to show.
    pub(super) fn new(
        fields: &[Field],
        blank: &'static str,
        snapshot: Arc<Snapshot>,
        services: Arc<Services>,
    ) -> Self {
        let owner_texts = match fields.contains(&Field::Owner) {
            true => snapshot.owners.iter().map(owner_text).collect(),
            false => Vec::new(),
        };
        Self { fields: fields.to_vec(), blank, snapshot, services, owner_texts }
    }

    /// Brings the sockets at those indexes near the processor. They lie all over memory when sorted, and to wait for
    /// each in its turn takes longer than to write its row; asked for one right after the other they come together.
    pub(super) fn fetch(&self, indexes: &[u32]) {
        let sockets = || indexes.iter().filter_map(|index| self.snapshot.sockets.get(*index as usize));
        std::hint::black_box(sockets().fold(0, |all, s| all ^ u32::from(s.local_port) ^ s.inode));
        let holders = sockets().filter_map(|s| self.snapshot.holders.get(s.first_holder as usize));
        std::hint::black_box(holders.fold(0, |all, holder| all ^ holder.owner));
    }

    /// Writes the row of the socket at that index.
    pub(super) fn write(&self, index: u32, cells: &mut Cells) {
        let Some(socket) = self.snapshot.sockets.get(index as usize) else { return };
        for field in &self.fields {
            self.cell(*field, socket, cells);
            cells.end();
        }
    }

    fn cell(&self, field: Field, socket: &Socket, cells: &mut Cells) {
        match field {
            Field::Transport => cells.text(socket.transport.name()),
            Field::Family => cells.text(socket.family.name()),
            Field::State => cells.text(socket.state.name()),
            Field::Local => cells.endpoint(socket.local_address(), socket.local_port),
            Field::LocalAddress => cells.address(socket.local_address()),
            Field::LocalPort => cells.number(socket.local_port.into()),
            Field::Remote if has_peer(socket) => cells.endpoint(socket.remote_address(), socket.remote_port),
            Field::RemoteAddress if has_peer(socket) => cells.address(socket.remote_address()),
            Field::RemotePort if has_peer(socket) => cells.number(socket.remote_port.into()),
            Field::Remote | Field::RemoteAddress | Field::RemotePort => cells.text(self.blank),
            Field::Service => cells.text(service_of(&self.services, socket).unwrap_or(self.blank)),
            Field::Owner => self.owner(socket, cells),
            Field::OwnerState => cells.text(owner_state_name(socket.owner_state)),
            Field::Inode if socket.inode != 0 => cells.number(socket.inode.into()),
            Field::Inode => cells.text(self.blank),
            Field::ReceiveQueue => cells.number(socket.receive_queue.into()),
            Field::SendQueue => cells.number(socket.send_queue.into()),
            Field::Timer if socket.timer_ms != 0 => {
                cells.number((socket.timer_ms / 1000).into());
                cells.text(" s");
            }
            Field::Timer => cells.text(self.blank),
            _ => {
                let text = words(field, &self.snapshot, socket);
                cells.text(if text.is_empty() { self.blank } else { &text });
            }
        }
    }

    fn owner(&self, socket: &Socket, cells: &mut Cells) {
        match self.snapshot.holders_of(socket) {
            [only] if self.owner_texts.len() > only.owner as usize => {
                cells.text(&self.owner_texts[only.owner as usize]);
            }
            [] => cells.text(&no_owner_text(&self.snapshot, socket)),
            _ => cells.text(&owners_text(&self.snapshot.owners_of(socket))),
        }
    }
}

/// What a column of owners or origins says: one value for each owner, joined by commas.
fn words(field: Field, snapshot: &Snapshot, socket: &Socket) -> String {
    let origin = snapshot.origin_of(socket);
    let value = |owner: &Owner| match field {
        Field::Pid => Some(owner.pid.to_string()),
        Field::Name => Some(owner.name.clone()),
        Field::Command => owner.command.clone(),
        Field::User => owner.user.clone().or_else(|| owner.uid.map(|uid| uid.to_string())),
        Field::Unit => owner.unit.clone(),
        Field::Container => owner.container.as_ref().map(container_text),
        _ => None,
    };
    let mut values: Vec<String> = snapshot.owners_of(socket).into_iter().filter_map(value).collect();
    values.dedup();
    if values.is_empty() {
        values.extend(match field {
            Field::User | Field::Uid => origin.and_then(|o| o.uid).map(|uid| uid.to_string()),
            Field::Unit => origin.and_then(|o| o.unit.clone()),
            Field::Container => origin.and_then(|o| o.container.as_ref()).map(container_text),
            Field::Interface => origin.and_then(|o| o.interface.clone()),
            _ => None,
        });
    }
    values.join(",")
}

/// A column to sort by, and whether backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SortKey {
    field: Field,
    backwards: bool,
}

impl FromStr for SortKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, backwards) = match text.strip_prefix('-') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let names = || Field::value_variants().iter().map(|field| field.name());
        let field = Field::value_variants().iter().find(|field| field.name() == name);
        field.map(|field| Self { field: *field, backwards }).ok_or_else(|| match nearest(name, names()) {
            Some(near) => format!("'{name}' is no column; did you mean {near}?"),
            None => format!("'{name}' is no column; use one of {}", names().collect::<Vec<_>>().join(", ")),
        })
    }
}

/// With as many rows in a half, to start a thread takes less than it saves.
const WORTH_THREAD: usize = 8192;

/// Sorts sockets by the keys, and by transport, family, local port, address and remote endpoint among equals.
pub(super) fn sort(order: &mut Vec<u32>, keys: &[SortKey], snapshot: &Snapshot, services: &Services) {
    let socket = |index: &u32| snapshot.sockets[*index as usize];
    let mut keyed: Vec<(u128, u32)> =
        order.iter().map(|index| (position(&snapshot.sockets[*index as usize]), *index)).collect();
    let compare = |(a, first): &(u128, u32), (b, second): &(u128, u32)| {
        a.cmp(b).then_with(|| {
            let (a, b) = (socket(first), socket(second));
            whole_position(&a).cmp(&whole_position(&b)).then(first.cmp(second))
        })
    };
    // Two halves at once; the stable sort finds two sorted runs and merges them.
    let middle = keyed.len() / 2;
    if middle > WORTH_THREAD {
        let (left, right) = keyed.split_at_mut(middle);
        thread::scope(|scope| {
            scope.spawn(|| left.sort_unstable_by(compare));
            right.sort_unstable_by(compare);
        });
    }
    keyed.sort_by(compare);
    order.clear();
    order.extend(keyed.iter().map(|(_, index)| *index));
    drop(keyed);
    for key in keys.iter().rev() {
        let compare = |a: &u32, b: &u32| key.field.compare(&socket(a), &socket(b));
        if key.field.is_words() {
            let text = |index: &u32| match key.field {
                Field::Service => service_of(services, &socket(index)).unwrap_or_default().to_owned(),
                Field::Owner => owners_text(&snapshot.owners_of(&socket(index))),
                field => words(field, snapshot, &socket(index)),
            };
            order.sort_by_cached_key(|index| natural(&text(index)));
        } else {
            order.sort_by(compare);
        }
        if key.backwards {
            order.reverse();
        }
    }
}

/// Texts that begin with a number sort by it.
fn natural(text: &str) -> (u64, String) {
    let digits: String = text.chars().take_while(char::is_ascii_digit).take(18).collect();
    (digits.parse().unwrap_or(u64::MAX), text.to_lowercase())
}

impl Field {
    const fn is_words(self) -> bool {
        matches!(
            self,
            Self::Service
                | Self::Owner
                | Self::Pid
                | Self::Name
                | Self::Command
                | Self::User
                | Self::Unit
                | Self::Container
                | Self::Uid
                | Self::Interface
        )
    }

    fn compare(self, a: &Socket, b: &Socket) -> Ordering {
        match self {
            Self::Transport => a.transport.cmp(&b.transport),
            Self::Family => a.family.cmp(&b.family),
            Self::State => a.state.name().cmp(b.state.name()),
            Self::Local => a.local().cmp(&b.local()),
            Self::LocalAddress => a.local_address().cmp(&b.local_address()),
            Self::LocalPort => a.local_port.cmp(&b.local_port),
            Self::Remote => a.remote().cmp(&b.remote()),
            Self::RemoteAddress => a.remote_address().cmp(&b.remote_address()),
            Self::RemotePort => a.remote_port.cmp(&b.remote_port),
            Self::OwnerState => a.owner_state.cmp(&b.owner_state),
            Self::Inode => a.inode.cmp(&b.inode),
            Self::ReceiveQueue => a.receive_queue.cmp(&b.receive_queue),
            Self::SendQueue => a.send_queue.cmp(&b.send_queue),
            Self::Timer => a.timer_ms.cmp(&b.timer_ms),
            _ => Ordering::Equal,
        }
    }
}

/// The usual place of a socket as one number: whole for IPv4, down to the local address's first bits for IPv6.
fn position(socket: &Socket) -> u128 {
    let head =
        (socket.transport as u128) << 17 | (socket.family as u128) << 16 | u128::from(socket.local_port);
    let tail = match (socket.local_address(), socket.remote_address()) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            u128::from(local.to_bits()) << 78
                | u128::from(remote.to_bits()) << 46
                | u128::from(socket.remote_port) << 30
        }
        (IpAddr::V6(local), _) => local.to_bits() >> 18,
        (IpAddr::V4(_), IpAddr::V6(_)) => 0,
    };
    head << 110 | tail
}

fn whole_position(socket: &Socket) -> (IpAddr, IpAddr, u16) {
    (socket.local_address(), socket.remote_address(), socket.remote_port)
}
