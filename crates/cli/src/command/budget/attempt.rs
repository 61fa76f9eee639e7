//! One real connection, as evidence: whether it fails for want of a port, by the other side's word, or by silence.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use portolan_core::kernel::route::RouteKind;
use portolan_core::snapshot::System;
use portolan_host::connect::{self, Attempt as Outcome};
use portolan_host::sys::SYSTEM;
use schemars::JsonSchema;
use serde::Serialize;

use super::ask::HostPort;
use crate::exit::Exit;
use crate::report::{Line, Tone};
use crate::source::Session;

/// How long the other side may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// It connected: there was a port, and somebody listens.
    Connected,
    /// The system had no port for it.
    Exhausted,
    /// There was a port; the other side says that nobody listens.
    Refused,
    /// There was a port; no answer came, or a host on the way says that it may not be.
    Filtered,
    /// This system knows no way there, so that no port was needed.
    Unreachable,
    /// It failed here for another reason.
    Failed,
}

/// One connection that was tried.
#[derive(Serialize, JsonSchema)]
pub(super) struct Attempt {
    /// As it was typed.
    to: String,
    /// The address that was tried.
    address: SocketAddr,
    /// What came of it.
    verdict: Verdict,
    /// The system's own words; null where it had none.
    error: Option<String>,
    /// The system's number.
    code: Option<i32>,
    /// What this system has for a way, where it is none that leads there.
    way: Option<RouteKind>,
    /// What to type next; null where there is nothing.
    remedy: Option<String>,
}

/// Connects to the first address of the host, and hangs up at once.
pub(super) fn make(session: &Session, to: &HostPort) -> Result<Attempt> {
    let addresses = to.resolve(session)?;
    let Some(address) = addresses.first().copied() else {
        anyhow::bail!("{to} has no address; try another name");
    };
    let outcome = connect::connect(session.namespace(), address, ANSWER)?;
    let (verdict, error, way) = match outcome {
        Outcome::Connected => (Verdict::Connected, None, None),
        Outcome::Refused => (Verdict::Refused, None, None),
        Outcome::Silent => (Verdict::Filtered, None, None),
        Outcome::Failed(error) => {
            // What a host on the way says comes with the same numbers as a route of this system that leads nowhere.
            let way = connect::way_to(session.namespace(), address.ip()).ok();
            let way = way.filter(|kind| !kind.leads_there());
            (judged(session, address, &error, way), Some(error), way)
        }
    };
    Ok(Attempt {
        to: to.to_string(),
        address,
        verdict,
        code: error.as_ref().and_then(io::Error::raw_os_error),
        error: error.map(|error| error.to_string()),
        way,
        remedy: (verdict == Verdict::Unreachable).then(|| routes_shown(session, address.ip())),
    })
}

/// No port left is EADDRNOTAVAIL on Linux, which also says that there is no address to send from: a route tells the
/// two apart. Windows has WSAEADDRINUSE and WSAENOBUFS for it.
fn judged(session: &Session, address: SocketAddr, error: &io::Error, way: Option<RouteKind>) -> Verdict {
    let windows = SYSTEM == System::Windows;
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::AddrInUse, _) | (_, Some(10055)) if windows => Verdict::Exhausted,
        _ if way.is_some() => Verdict::Unreachable,
        (io::ErrorKind::AddrNotAvailable, _) if !windows => {
            match connect::source_towards(session.namespace(), address) {
                Ok(None) => Verdict::Failed,
                _ => Verdict::Exhausted,
            }
        }
        (io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable, _) => Verdict::Filtered,
        (io::ErrorKind::PermissionDenied, _) => Verdict::Filtered,
        _ => Verdict::Failed,
    }
}

/// What shows the way to an address as the system has it.
fn routes_shown(session: &Session, to: IpAddr) -> String {
    match SYSTEM {
        System::Windows => format!("Find-NetRoute -RemoteIPAddress {to}"),
        System::Linux => session.in_place(format!("ip route get {to}")),
    }
}

impl Attempt {
    /// What it says of how the program ends: without a way nobody knows whether there is a port.
    pub(super) const fn exit(&self) -> Exit {
        match self.verdict {
            Verdict::Exhausted => Exit::Not,
            Verdict::Unreachable | Verdict::Failed => Exit::Unclear,
            Verdict::Connected | Verdict::Refused | Verdict::Filtered => Exit::Fine,
        }
    }

    /// In a sentence.
    pub(super) fn line(&self) -> Line {
        let (tone, word, text) = match self.verdict {
            Verdict::Connected => (Tone::Good, "connected", "there is a port, and somebody listens"),
            Verdict::Exhausted => (Tone::Bad, "exhausted", "the system has no port left for it"),
            Verdict::Refused => {
                (Tone::Warning, "refused", "there is a port; the other side says nobody listens")
            }
            Verdict::Filtered => {
                (Tone::Warning, "filtered", "there is a port; no answer, or a host on the way forbids it")
            }
            Verdict::Unreachable => (Tone::Bad, "unreachable", self.way.unwrap_or(RouteKind::None).meaning()),
            Verdict::Failed => (Tone::Bad, "failed", "not for want of a port"),
        };
        let remedy = self.remedy.as_ref().map(|remedy| format!("; see: {remedy}")).unwrap_or_default();
        let error = self.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
        let address =
            if self.to == self.address.to_string() { String::new() } else { format!(" ({})", self.address) };
        Line::new()
            .plain(format!("{}{address}   ", self.to))
            .and(tone, word)
            .plain(format!(": {text}{error}{remedy}"))
    }
}
