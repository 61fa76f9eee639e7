//! The way to a host: what its address is called, which way leads there, and whether it answers an echo request.
//!
//! The three go on at the same time. Left out on purpose: the hops between (traceroute), and names (`connect::resolve`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use portolan_core::kernel::route::Route;
use portolan_core::snapshot::{Gap, GapReason, Reading};

pub use crate::sys::Echoes;
use crate::sys::{self, EchoPlan};
use crate::{Error, Namespace, connect, exchange};

/// Echo requests to one address.
const ECHOES: u16 = 4;
/// How far apart they are: what lost one is not to lose the next.
const APART: Duration = Duration::from_millis(100);
/// How long the last is waited for: until Linux says that a neighbour does not answer ARP, which takes 3 seconds.
const WAIT: Duration = Duration::from_millis(3300);
/// How long the name of an address is waited for.
const NAMING: Duration = Duration::from_secs(5);

/// How an address is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// By how much every wait is longer than usual: 1, and 2 to be slow.
    pub patience: u32,
    /// How long the last echo request is waited for; none for what is usual.
    pub wait: Option<Duration>,
    /// From which address of this machine; none for what the system chooses.
    pub source: Option<IpAddr>,
}

/// What an address is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Called {
    /// Its name.
    Name(String),
    /// It has none.
    Nothing,
    /// It could not be asked, for that reason.
    Unknown(String),
}

/// What was found of one address.
#[derive(Clone, Debug)]
pub struct Way {
    /// What it is called.
    pub called: Called,
    /// The way there and the interface's name; none, with a gap, where it could not be asked.
    pub route: Option<(Route, Option<String>)>,
    /// What came back of echo requests; none, with a gap, where none may be sent.
    pub echoes: Option<Echoes>,
}

/// Looks at one address. The port of `to` does not matter.
///
/// # Errors
/// The namespace cannot be entered.
pub fn way(namespace: &Namespace, to: SocketAddr, manner: &Manner) -> Result<Reading<Way>, Error> {
    let seed = exchange::seed().unwrap_or_default();
    let token = seed.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    let plan = EchoPlan {
        count: ECHOES,
        source: manner.source,
        apart: APART,
        wait: manner.wait.unwrap_or(WAIT) * manner.patience,
        token,
    };
    let (called, asked) = thread::scope(|scope| {
        let naming = scope.spawn(|| connect::name_of(namespace, to.ip(), NAMING));
        let asked = sys::within(namespace, || (sys::route(to), sys::echo(to, &plan)));
        (naming.join(), asked)
    });
    let (route, echoes) = asked?;
    let mut gaps = Vec::new();
    let route =
        route.map_err(|error| gaps.push(gap("routes", &error, "ask the system for a way", None))).ok();
    let echoes = echoes
        .map_err(|error| gaps.push(gap("echo", &error, "send echo requests", Some(sys::ECHO_REMEDY))))
        .ok();
    let called = match called {
        Ok(Ok(name)) => Called::Name(name),
        Ok(Err(error)) if error.source.kind() == io::ErrorKind::NotFound => Called::Nothing,
        Ok(Err(error)) => Called::Unknown(error.source.to_string()),
        Err(panic) => std::panic::resume_unwind(panic),
    };
    Ok(Reading { value: Way { called, route, echoes }, gaps })
}

/// The way alone, without asking anybody. The port of `to` does not matter.
///
/// # Errors
/// The namespace cannot be entered, or the system cannot be asked.
pub fn route(namespace: &Namespace, to: SocketAddr) -> Result<Route, Error> {
    let asked = sys::within(namespace, || sys::route(to))?;
    asked.map(|(route, _)| route).map_err(|error| Error::new("ask the system for a way", error))
}

fn gap(what: &str, error: &io::Error, doing: &str, remedy: Option<&str>) -> Gap {
    let denied = error.kind() == io::ErrorKind::PermissionDenied;
    let reason = if denied { GapReason::Denied } else { GapReason::Unsupported };
    let gap = Gap::new(what, reason, format!("cannot {doing}: {error}"));
    match remedy {
        Some(remedy) if denied => gap.with_remedy(remedy),
        _ => gap,
    }
}
