//! The façade: a few typed functions for each system, returning values. Nothing above it knows a system.
//!
//! Another system is a folder beside `linux` with the same functions, and an arm here; the compiler then lists
//! what is missing.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;

#[cfg(not(target_os = "linux"))]
compile_error!("portolan reads Linux so far; another system needs a folder beside sys/linux");

use portolan_core::owner::{Holder, Origin, Owner};
use portolan_core::snapshot::Reading;
use portolan_core::socket::Socket;

use crate::{Error, Namespace, OwnerSearch, SocketFilter};

pub(crate) use system::bind::{Refusal, SYSTEM, as_user, try_bind};
pub use system::change::place;
pub(crate) use system::change::{effective_uid, observe, perform, private_folder, sweep, sync_folder};
pub(crate) use system::namespace::within;

/// Sockets and where they come from.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    /// Sockets without holders; `origin` is an index into `origins`.
    pub sockets: Vec<Socket>,
    /// Where they come from.
    pub origins: Vec<Origin>,
}

/// Who holds sockets.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    /// Which owner, through which descriptor: those of one socket stand together.
    pub holders: Vec<Holder>,
    /// The processes, each once, by rising pid.
    pub owners: Vec<Owner>,
}

/// The sockets of a namespace that the filter lets through. Fails where the namespace cannot be entered, or where
/// nothing can be read at all.
pub fn sockets(namespace: &Namespace, filter: &SocketFilter) -> Result<Reading<Sockets>, Error> {
    system::sockets::read(namespace, filter)
}

/// Who holds these sockets: writes `first_holder`, `holder_count` and `owner_state` into them.
pub fn holdings(sockets: &mut [Socket], origins: &[Origin], search: OwnerSearch) -> Reading<Holdings> {
    system::owners::find(sockets, origins, search)
}
