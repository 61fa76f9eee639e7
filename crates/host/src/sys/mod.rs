//! The façade: a few typed functions for each system, returning values.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;

pub(crate) use system::bind::{Refusal, SYSTEM, as_user, bound, try_bind};
pub(crate) use system::change::{effective_uid, observe, perform, private_folder, sweep, sync_folder};
pub use system::change::{place, range_now, reserved_now};
pub(crate) use system::namespace::within;
pub use system::stop::processes;

use std::collections::BTreeMap;

use portolan_core::kernel::services::Services;
use portolan_core::range::{Carrier, EphemeralRange, FirewallRule, Reservation};
use portolan_core::snapshot::{Host, LocalAddress, Reading, Settings};

use crate::{Error, Namespace};

/// What is set about ports, in one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// Ephemeral ranges, up to four.
    pub ranges: Vec<EphemeralRange>,
    /// Ports set aside, in rising order.
    pub reservations: Vec<Reservation>,
    /// Other settings.
    pub settings: Settings,
    /// Addresses.
    pub addresses: Vec<LocalAddress>,
}

/// A user who may ask for a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Login name, where there is one.
    pub name: Option<String>,
    /// User id.
    pub uid: u32,
    /// Primary group's id.
    pub gid: u32,
    /// Other groups' ids.
    pub groups: Vec<u32>,
}

/// Ranges, reservations, settings and addresses of a namespace. Fails where it cannot be entered.
pub fn settings(namespace: &Namespace) -> Result<Reading<HostSettings>, Error> {
    within(namespace, system::settings::settings)
}

/// Counters of a namespace, by the kernel's names. Fails where it cannot be entered.
pub fn counters(namespace: &Namespace) -> Result<Reading<BTreeMap<String, u64>>, Error> {
    within(namespace, system::counters::counters)
}

/// What carries ports of a namespace for others. Fails where it cannot be entered.
pub fn carriers(namespace: &Namespace) -> Result<Reading<Vec<Carrier>>, Error> {
    within(namespace, system::carriers::carriers)
}

/// Firewall rules for what comes into a namespace, none where they could not be read whole. Fails where the
/// namespace cannot be entered.
pub fn firewall(namespace: &Namespace) -> Result<Reading<Option<Vec<FirewallRule>>>, Error> {
    within(namespace, system::firewall::firewall)
}

/// The host, and the namespace that is looked at. Fails where it cannot be entered.
pub fn host(namespace: &Namespace) -> Result<Host, Error> {
    within(namespace, system::host::host)
}

/// Names of ports; none where the system has no list.
pub fn services() -> Services {
    system::host::services()
}

/// The user of a name or number.
pub fn user(name_or_uid: &str) -> Result<Identity, Error> {
    system::user::user(name_or_uid)
}
