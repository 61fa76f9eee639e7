//! The façade: a few typed functions for each system, returning values. Nothing above it knows a system.
//!
//! Another system is a folder beside `linux` with the same functions, and an arm here; the compiler then lists
//! what is missing. What a folder gives under one name (`BoundSocket`) is a type of its system: nothing above relies
//! on more than that it can be dropped.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;

#[cfg(target_os = "windows")]
mod windows;
#[cfg(target_os = "windows")]
use windows as system;

#[cfg(not(any(target_os = "linux", target_os = "windows")))]
compile_error!("portolan reads Linux and Windows; another system needs a folder beside sys/linux");

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portolan_core::kernel::services::Services;
use portolan_core::owner::{Holder, Origin, Owner};
use portolan_core::port::{PortRange, PortSet};
use portolan_core::probe::{Icmp, Refusal as Refused};
use portolan_core::range::{Carrier, EphemeralRange, FirewallRule, Reservation};
use portolan_core::snapshot::{Component, Gap, Host, LocalAddress, Reading, Settings};
use portolan_core::socket::Socket;

use crate::{Error, Namespace, OwnerSearch, SocketFilter};

pub use system::bind::SYSTEM;
pub(crate) use system::bind::{BoundSocket, REUSE_TAKES_OVER, as_user, bound, try_bind};
pub use system::change::{effective_uid, place, range_now, reserved_now};
pub(crate) use system::change::{
    features_before, file_before, observe, perform, permitted, private_file, private_folder,
    restore_features, restore_file, sync_folder,
};
pub use system::close::connections;
pub(crate) use system::connecting::{Connecting, Connector, REPEATS, connections_at_once};
pub use system::console::console_helper;
pub(crate) use system::echo::{ECHO_REMEDY, echo};
pub use system::handover::EndSignals;
pub(crate) use system::handover::{allow_descriptors, become_program, listen};
pub use system::host::processor_time;
pub use system::keys::EndKeys;
pub(crate) use system::lines::{hear_errors, is_no_room, is_under_way, queued_error, ready, refusal};
pub(crate) use system::names::name_of;
pub(crate) use system::namespace::within;
pub(crate) use system::recording::{hold_file, is_at};
pub(crate) use system::route::route;
pub use system::set_up::{recorder_can_be_set_up, recorder_now, recorder_place, recorder_text, tell_started};
pub use system::start_up::{is_administrator, system_journal};
pub use system::stop::{caller, how_asked, modules, processes};
pub use system::trace::Tracer;

/// Why a bind did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The call that was refused: `socket`, `setsockopt`, `bind`.
    pub(crate) call: &'static str,
    /// The system's number.
    pub(crate) code: i32,
    /// The system does not have this address family at all.
    pub(crate) no_such_family: bool,
}

/// What a connection that was begun has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It came about; the other end may have hung up since.
    Connected,
    /// It was refused, by the other end, on the way or here.
    Refused {
        /// What kind of refusal this is.
        refusal: Refused,
        /// The system's code.
        code: i32,
        /// The ICMP error that brought it.
        icmp: Option<Icmp>,
    },
}

/// What beginning a connection has come to.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It has come about already; it is hung up when that is dropped.
    Connected(Connecting),
    /// It is over already: anything but [`Outcome::Connected`].
    Over(Outcome),
    /// It is under way.
    UnderWay(Connecting),
    /// This system has no room now (descriptors, memory, local ports), by its code.
    NoRoom(i32),
}

/// How echo requests are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EchoPlan {
    /// How many.
    pub(crate) count: u16,
    /// From which address of this machine; none for what the system chooses.
    pub(crate) source: Option<IpAddr>,
    /// How far apart.
    pub(crate) apart: Duration,
    /// How long the last is waited for.
    pub(crate) wait: Duration,
    /// By what answers are known.
    pub(crate) token: u64,
}

/// What came back of echo requests to one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Echoes {
    /// How many were sent, or tried to.
    pub sent: u16,
    /// Round trips, as they came.
    pub answers: Vec<Duration>,
    /// ICMP errors that came instead.
    pub errors: Vec<Icmp>,
    /// This system refused to send, with that code.
    pub refused: Option<i32>,
}

/// What is set about ports, in one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// Ephemeral ranges, up to four.
    pub ranges: Vec<EphemeralRange>,
    /// Ports set aside, in rising order.
    pub reservations: Vec<Reservation>,
    /// Other settings.
    pub settings: Settings,
    /// Parts of the system that set ports aside (Windows).
    pub components: Vec<Component>,
    /// Addresses.
    pub addresses: Vec<LocalAddress>,
}

/// What the kernel knows of ports and connections, and its socket table does not show.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buckets {
    /// Ports that a socket with a peer was bound to explicitly, so that connect() passes over them.
    pub(crate) burnt: PortSet,
    /// TIME_WAIT sockets whose connection had no timestamps, by their ends.
    pub(crate) unstamped: HashSet<(SocketAddr, SocketAddr)>,
}

/// Firewall rules for what comes in, in the order they are asked; none, with a gap, where they could not be read whole.
pub type FirewallReading = Reading<Option<Vec<FirewallRule>>>;

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

/// What the bind buckets of a namespace know of a range's ports; none, with a gap, where they may not be read, and none
/// where the system has none. Fails where the namespace cannot be entered.
pub(crate) fn bind_buckets(
    namespace: &Namespace,
    range: PortRange,
) -> Result<Reading<Option<Buckets>>, Error> {
    within(namespace, move || system::bind_buckets::read(range))
}

/// The range that TCP connect() draws ports from which several destinations share, where one is set beside the ephemeral
/// range (Windows). Fails where the namespace cannot be entered.
pub(crate) fn auto_reuse(namespace: &Namespace) -> Result<Reading<Option<PortRange>>, Error> {
    within(namespace, system::sharing::auto_reuse)
}

/// Counters of a namespace, by the kernel's names. Fails where it cannot be entered.
pub fn counters(namespace: &Namespace) -> Result<Reading<BTreeMap<String, u64>>, Error> {
    within(namespace, system::counters::counters)
}

/// Counters of WinNAT's pool of ports (Windows), or a gap where it runs and is not asked.
pub(crate) fn winnat(ask: bool) -> Reading<BTreeMap<String, u64>> {
    system::sharing::winnat(ask)
}

/// What carries ports of a namespace for others. Fails where it cannot be entered.
pub fn carriers(namespace: &Namespace) -> Result<Reading<Vec<Carrier>>, Error> {
    within(namespace, system::carriers::carriers)
}

/// Firewall rules for what comes into a namespace, none where they could not be read whole. Fails where the
/// namespace cannot be entered.
pub fn firewall(namespace: &Namespace) -> Result<FirewallReading, Error> {
    within(namespace, system::firewall::firewall)
}

/// Both of them, for the price of one listing of the firewall's rules. Fails where the namespace cannot be entered.
pub fn carriers_and_firewall(
    namespace: &Namespace,
) -> Result<(Reading<Vec<Carrier>>, FirewallReading), Error> {
    within(namespace, system::carriers::carriers_and_firewall)
}

/// The host, and the namespace that is looked at. Fails where it cannot be entered.
pub fn host(namespace: &Namespace) -> Result<Host, Error> {
    let mut host = within(namespace, system::host::host)?;
    if *namespace != Namespace::Own && host.network_namespace != system::host::host().network_namespace {
        host.netns = namespace.typed();
    }
    Ok(host)
}

/// Names of ports; none where the system has no list.
pub fn services() -> Services {
    system::host::services()
}

/// What tells this machine from every other, also after it was named anew; none where the system has nothing of it. It is
/// not to be shown.
pub fn machine() -> Option<String> {
    system::host::machine()
}

/// The name servers that this system asks, the first one first; none where none is set.
pub fn name_servers() -> Vec<IpAddr> {
    system::configured::name_servers()
}

/// The proxy that this system's settings name, as HOST:PORT or a URL; the environment's is not looked at.
pub fn proxy() -> Option<String> {
    system::configured::proxy()
}

/// Every network namespace that can be seen, each once, with a name for people; the one of this process is first.
pub fn namespaces() -> Reading<Vec<(String, Namespace)>> {
    system::namespace::all()
}

/// The user of a name or number.
pub fn user(name_or_uid: &str) -> Result<Identity, Error> {
    system::user::user(name_or_uid)
}

/// Sockets, where they come from and who holds them.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    /// Sockets; `origin` is an index into `origins`, `first_holder` one into the holders.
    pub sockets: Vec<Socket>,
    /// Where they come from.
    pub origins: Vec<Origin>,
    /// Ports that a socket with a peer was bound to explicitly, where that was read along.
    pub burnt: Option<PortSet>,
    /// Who holds them.
    pub holdings: Holdings,
}

/// Who holds sockets.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    /// Which owner, through which descriptor: those of one socket stand together.
    pub holders: Vec<Holder>,
    /// The processes, each once, by rising pid.
    pub owners: Vec<Owner>,
}

/// The sockets of a namespace that the filter lets through, with who holds them. Fails where the namespace cannot be
/// entered, or where nothing can be read at all.
pub fn sockets(
    namespace: &Namespace,
    filter: &SocketFilter,
    search: OwnerSearch,
) -> Result<Reading<Sockets>, Error> {
    system::sockets::read(namespace, filter, search)
}

/// Writes into each owner how many of its handles are sockets; gives what could not be seen. On Linux descriptors of
/// sockets are among the holders already, and nothing is written.
pub(crate) fn count_socket_handles(owners: &mut [Owner]) -> Vec<Gap> {
    system::socket_handles::count(owners)
}

/// All sockets of a namespace, for whoever counts them and needs neither their queues and options nor other timers than
/// TIME_WAIT's. Fails as [`sockets`] does.
pub(crate) fn counted(namespace: &Namespace, search: OwnerSearch) -> Result<Reading<Sockets>, Error> {
    system::sockets::count(namespace, search)
}
