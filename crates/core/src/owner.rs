//! Owners: the process that holds a socket, with what the system says of its service and its container.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A process that holds sockets. Text is kept as the system gave it (hostile, bounded when read): whoever shows it
/// makes control characters harmless.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Owner {
    /// Process id, in the pid namespace of the one who looked.
    pub pid: u32,
    /// Parent's process id; 0 when not known.
    pub parent: u32,
    /// When it started, milliseconds since 1970-01-01 UTC; with the pid it names the process for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// Short name (Linux: comm of the process, never of a thread; Windows: image name).
    pub name: String,
    /// Command line, arguments joined by one space, at most 4 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Path of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// Effective user id (Linux).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// User name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// systemd unit, or Windows service names joined by a comma.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Container it runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// How many descriptors (Linux) or handles of any kind (Windows) it has open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handles: Option<u32>,
    /// How many of the handles are sockets, bound or not (Windows).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_handles: Option<u32>,
    /// How many descriptors it may have open: RLIMIT_NOFILE (Linux).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handle_limit: Option<u64>,
}

/// A container, as its cgroup path names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// `docker`, `podman`, `containerd`, `cri-o`, `lxc`, `nspawn` …
    pub runtime: String,
    /// Its id (64 hex digits for most) or name.
    pub id: String,
}

/// One holding of a socket: which owner, through which descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "(u32, i32)", from = "(u32, i32)")]
pub struct Holder {
    /// Index into [`crate::snapshot::Snapshot::owners`].
    pub owner: u32,
    /// Descriptor number, -1 when not known.
    pub descriptor: i32,
}

impl From<Holder> for (u32, i32) {
    fn from(holder: Holder) -> Self {
        (holder.owner, holder.descriptor)
    }
}

impl From<(u32, i32)> for Holder {
    fn from((owner, descriptor): (u32, i32)) -> Self {
        Self { owner, descriptor }
    }
}

/// Where a socket comes from, as the kernel says without looking at processes. Stands once for many sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Origin {
    /// Owner's user id; not known for TIME_WAIT (the kernel says 0 there, kept as none).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// cgroup path the socket was made in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// systemd unit that this cgroup belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Container that this cgroup belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// Interface it is bound to (SO_BINDTODEVICE or a link-local scope).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}
