//! The ephemeral range and the reservations of a host, and what else carries a port without holding it.
//!
//! Words: Linux says ephemeral (local) port range and reserved ports; Windows says dynamic port range and excluded
//! port range. The first names are used for both.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::port::PortRange;
use crate::socket::{Family, Transport};

/// The range a system gives ports from by itself, for one transport and family. Linux has one for all four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EphemeralRange {
    /// Transport it holds for.
    pub transport: Transport,
    /// Family it holds for.
    pub family: Family,
    /// First and last port.
    pub range: PortRange,
}

/// Who set ports aside, and so what an explicit bind there meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReservationKind {
    /// Kept from automatic choice, an explicit bind works: Linux's reserved ports, Windows' exclusions with `*`.
    Administered,
    /// Held at run time by a part of the system: an explicit bind fails (Windows, without `*`).
    System,
}

/// Ports set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    /// Which ports.
    pub range: PortRange,
    /// One transport, or none for both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// One family, or none for both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// Administered or by the system.
    pub kind: ReservationKind,
    /// Who made it, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// How a port is served although no socket of this host listens for it by itself, or for someone else than its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CarrierKind {
    /// A systemd socket unit: pid 1 holds the port for a service.
    SocketUnit,
    /// A destination NAT rule of the firewall.
    DnatRule,
    /// A container runtime's proxy process.
    ContainerProxy,
    /// A port-proxy rule of Windows (`netsh interface portproxy`): the service iphlpsvc holds the port.
    PortProxy,
    /// A URL that a program registered with Windows' HTTP driver: the kernel (PID 4) holds the port.
    HttpSys,
}

/// Something that takes a port's traffic on behalf of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Carrier {
    /// Which kind.
    pub kind: CarrierKind,
    /// Transport.
    pub transport: Transport,
    /// Address it holds for, an unspecified one for every address of its family; none for every address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Ports it takes.
    pub ports: PortRange,
    /// Its name: the socket unit, the rule's text, the proxy's command.
    pub name: String,
    /// Where the traffic goes: the service, the address and port, the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A rule of the local firewall that names ports or decides for all (a chain's policy), on the way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirewallRule {
    /// One family, or none for both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// One transport, or none for both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Ports it names; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortRange>,
    /// `accept`, `drop`, `reject`.
    pub verdict: String,
    /// Whether nothing but transport and port decides, so that the verdict holds for every sender.
    pub unconditional: bool,
    /// Where it stands and its text, as a person would look it up.
    pub text: String,
}
