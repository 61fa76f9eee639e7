//! Sockets and owners as every command shows them: the same fields in JSON, the same words in tables.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use portolan_core::cause;
use portolan_core::kernel::services::Services;
use portolan_core::owner::{Container, Owner};
use portolan_core::range::{Carrier, CarrierKind};
use portolan_core::snapshot::Snapshot;
use portolan_core::socket::{Family, OwnerState, Socket, State, Transport};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::text::shortened;

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Endpoint {
    /// The address; `0.0.0.0` and `::` stand for every address.
    pub(crate) address: IpAddr,
    /// The port; 0 for none.
    pub(crate) port: u16,
}

/// A process that holds a socket.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Owner")]
pub(crate) struct OwnerRow<'a> {
    /// Process id.
    pid: u32,
    /// Parent's process id; null when not known.
    parent: Option<u32>,
    /// Short name of the process.
    name: &'a str,
    /// Command line, arguments joined by spaces.
    command: Option<&'a str>,
    /// Path of the executable.
    executable: Option<&'a str>,
    /// Effective user id.
    uid: Option<u32>,
    /// User name.
    user: Option<&'a str>,
    /// When it started, milliseconds since 1970-01-01 UTC.
    started_ms: Option<u64>,
    /// systemd unit, or Windows services.
    unit: Option<&'a str>,
    /// Container it runs in.
    container: Option<&'a Container>,
}

impl<'a> From<&'a Owner> for OwnerRow<'a> {
    fn from(owner: &'a Owner) -> Self {
        Self {
            pid: owner.pid,
            parent: (owner.parent != 0).then_some(owner.parent),
            name: &owner.name,
            command: owner.command.as_deref(),
            executable: owner.executable.as_deref(),
            uid: owner.uid,
            user: owner.user.as_deref(),
            started_ms: owner.started_ms,
            unit: owner.unit.as_deref(),
            container: owner.container.as_ref(),
        }
    }
}

/// A process of a snapshot, for reports that outlive the look: it reads as [`Owner`] and is written as [`OwnerRow`].
#[derive(Clone, Debug)]
pub(crate) struct OwnerRef {
    snapshot: Arc<Snapshot>,
    index: usize,
}

impl OwnerRef {
    /// The process at an index of the snapshot's owners; none where a file holds nonsense.
    pub(crate) fn new(snapshot: &Arc<Snapshot>, index: u32) -> Option<Self> {
        let index = index as usize;
        (index < snapshot.owners.len()).then(|| Self { snapshot: Arc::clone(snapshot), index })
    }
}

impl Deref for OwnerRef {
    type Target = Owner;

    fn deref(&self) -> &Owner {
        &self.snapshot.owners[self.index]
    }
}

impl Serialize for OwnerRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        OwnerRow::from(&**self).serialize(serializer)
    }
}

/// One socket.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Socket")]
pub(crate) struct SocketRow<'a> {
    /// TCP or UDP.
    transport: Transport,
    /// Address family; a dual-stack socket is `ipv6`.
    family: Family,
    /// State by RFC 9293's name; `BOUND` and `UNCONNECTED` beside them.
    state: State,
    /// Local endpoint.
    local: Endpoint,
    /// Remote endpoint; null without a peer.
    remote: Option<Endpoint>,
    /// Name of the service by its registered port: the local one, or of two the lower.
    service: Option<&'a str>,
    /// Whether holders were looked for and seen.
    owner_state: OwnerState,
    /// Every process that holds it.
    owners: Vec<OwnerRow<'a>>,
    /// Inode; null for sockets without one, such as TIME_WAIT.
    inode: Option<u32>,
    /// User id of the socket itself; null when not known.
    uid: Option<u32>,
    /// Interface it is bound to.
    interface: Option<&'a str>,
    /// Bytes that wait to be read; of a listener the connections that wait to be accepted.
    receive_queue: u32,
    /// Bytes not yet acknowledged; of a listener the longest accept queue.
    send_queue: u32,
    /// Milliseconds left of the running timer, of TIME_WAIT until the port is let go; null for none.
    timer_ms: Option<u32>,
}

impl<'a> SocketRow<'a> {
    /// The row of a socket.
    pub(crate) fn new(snapshot: &'a Snapshot, services: &'a Services, socket: &Socket) -> Self {
        let origin = snapshot.origin_of(socket);
        Self {
            transport: socket.transport,
            family: socket.family,
            state: socket.state,
            local: Endpoint { address: socket.local_address(), port: socket.local_port },
            remote: has_peer(socket)
                .then(|| Endpoint { address: socket.remote_address(), port: socket.remote_port }),
            service: service_of(services, socket),
            owner_state: socket.owner_state,
            owners: snapshot.owners_of(socket).into_iter().map(OwnerRow::from).collect(),
            inode: (socket.inode != 0).then_some(socket.inode),
            uid: origin.and_then(|origin| origin.uid),
            interface: origin.and_then(|origin| origin.interface.as_deref()),
            receive_queue: socket.receive_queue,
            send_queue: socket.send_queue,
            timer_ms: (socket.timer_ms != 0).then_some(socket.timer_ms),
        }
    }
}

/// Whether a socket has a remote endpoint.
pub(crate) fn has_peer(socket: &Socket) -> bool {
    socket.remote_port != 0 || !socket.remote_address().is_unspecified()
}

/// The registered name of the service a socket takes part in. Of a connection's two ports the lower is the
/// server's, nearly always: clients' ports come from the ephemeral range.
pub(crate) fn service_of<'a>(services: &'a Services, socket: &Socket) -> Option<&'a str> {
    let port = match socket.remote_port {
        0 => socket.local_port,
        remote => remote.min(socket.local_port),
    };
    services.name(socket.transport, port)
}

/// A process in a few words: `nginx (pid 812, nginx.service)`.
pub(crate) fn owner_text(owner: &Owner) -> String {
    // Listings that were imported may tell no names.
    let name = if owner.name.is_empty() { "a process".into() } else { shortened(&owner.name, 64) };
    let mut text = format!("{name} (pid {}", owner.pid);
    if let Some(place) = place(owner) {
        text.push_str(", ");
        text.push_str(&place);
    }
    text.push(')');
    text
}

/// The container or the unit a process runs in, in a few words.
fn place(owner: &Owner) -> Option<String> {
    match (&owner.container, &owner.unit) {
        (Some(container), _) => Some(container_text(container)),
        (None, unit) => unit.as_deref().map(|unit| shortened(unit, 64)),
    }
}

/// A container as its runtime's tools name it: `docker 3f2a9c01b7de`.
pub(crate) fn container_text(container: &Container) -> String {
    let id = &container.id;
    let hex = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    format!("{} {}", container.runtime, if hex { id[..12].to_owned() } else { shortened(id, 64) })
}

/// Several processes in a few words: `nginx (pid 812 and 3 more, nginx.service)`.
pub(crate) fn owners_text(owners: &[&Owner]) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut told: Vec<&Owner> = Vec::new();
    for owner in owners {
        let alike = |other: &&Owner| other.name == owner.name && place(other) == place(owner);
        if told.iter().any(alike) {
            continue;
        }
        told.push(owner);
        let more = owners.iter().filter(|other| alike(other)).count() - 1;
        let text = owner_text(owner);
        texts.push(match more {
            0 => text,
            _ => text.replacen(
                &format!("(pid {}", owner.pid),
                &format!("(pid {} and {more} more", owner.pid),
                1,
            ),
        });
    }
    texts.join(", ")
}

/// What to say of a socket without a visible process.
pub(crate) fn no_owner_text(snapshot: &Snapshot, socket: &Socket) -> String {
    match socket.owner_state {
        OwnerState::NotAsked => "not asked".to_owned(),
        OwnerState::Nobody if cause::is_unaccepted(snapshot, socket) => "not accepted yet".to_owned(),
        OwnerState::Nobody => "no process".to_owned(),
        OwnerState::Kernel => "the kernel".to_owned(),
        OwnerState::Seen => "gone meanwhile".to_owned(),
        OwnerState::Hidden => match snapshot.origin_of(socket).map(|o| (o.uid, o.unit.as_deref())) {
            Some((_, Some(unit))) => format!("not visible ({})", shortened(unit, 64)),
            Some((Some(uid), None)) => format!("not visible (uid {uid})"),
            _ => "not visible".to_owned(),
        },
    }
}

/// An owner state as JSON names it.
pub(crate) const fn owner_state_name(state: OwnerState) -> &'static str {
    match state {
        OwnerState::NotAsked => "not-asked",
        OwnerState::Seen => "seen",
        OwnerState::Nobody => "nobody",
        OwnerState::Kernel => "kernel",
        OwnerState::Hidden => "hidden",
    }
}

/// What carries a port for others, in a sentence.
pub(crate) fn carrier_text(carrier: &Carrier) -> String {
    let kind = match carrier.kind {
        CarrierKind::SocketUnit => "systemd's socket unit",
        CarrierKind::DnatRule => "the firewall's DNAT rule",
        CarrierKind::ContainerProxy => "a container's proxy",
        CarrierKind::PortProxy => "a port-proxy rule",
        CarrierKind::HttpSys => "the HTTP driver, http.sys",
    };
    let to = carrier.to.as_ref().map(|to| format!(" for {to}")).unwrap_or_default();
    format!("{kind} {}{to}", shortened(&carrier.name, 200))
}
