//! What a failing call means, in one line, and what to type next.
//!
//! bind() and listen() are put to the rules behind `why`, as if the call had been its trial bind; where no port was left
//! ([`no_port`]) it is counted by [`crate::room`], and what else kept connect() from it stands in [`connect`]. Where
//! nobody looked at the machine the code alone speaks, and says less. A look comes after the call: what it shows is told
//! as what is so now, and taken for the reason only where the call itself leaves no other.

mod connect;
mod no_port;
#[cfg(test)]
mod tests;

pub use no_port::lacks_source;

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Call, Kind, Outcome};
use crate::diagnose::{self, Case, Question, Reuse, Severity, Trial, diagnose};
use crate::kernel::error_code;
use crate::kernel::route::Route;
use crate::port::Port;
use crate::remedy;
use crate::snapshot::{Snapshot, System};
use crate::socket::Transport;

/// What a call means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Meaning {
    /// One sentence without a full stop; what it says of processes is hostile text.
    pub text: String,
    /// What to type next.
    pub command: Option<String>,
    /// The rule that found it, as `portolan explain` knows it.
    pub rule: Option<&'static str>,
}

impl Meaning {
    fn new(text: impl Into<String>, command: impl Into<Option<String>>) -> Self {
        Self { text: text.into(), command: command.into(), rule: None }
    }
}

/// What was seen of a call's network namespace since it failed; none of what nobody looked at.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Sockets, ranges and addresses, as far as the call needs them.
    pub snapshot: Option<Snapshot>,
    /// The way to the other end.
    pub route: Option<Route>,
}

/// What a call means, by its code and by what was seen since. None for a call that came about.
pub fn meaning(call: &Call, system: System, seen: &Seen) -> Option<Meaning> {
    let code = match call.outcome {
        Outcome::Done => return None,
        Outcome::GivenUp => return Some(connect::unanswered(call, seen)),
        Outcome::Failed(code) | Outcome::FailedLater(code) => code,
    };
    let name = error_code::name_of(system, code);
    let plain = name.strip_prefix("WSA").unwrap_or(&name);
    let found = match call.kind {
        Kind::Connect => connect::failed(call, plain, system, seen),
        Kind::Bind | Kind::Listen if asks_for_any(call) && matches!(plain, "EADDRINUSE" | "ENOBUFS") => {
            Some(no_port::to_give(call, seen))
        }
        Kind::Bind | Kind::Listen => {
            let by_rules = seen.snapshot.as_ref().and_then(|seen| by_rules(call, seen, &name, code));
            by_rules.or_else(|| of_bind(call, plain, system))
        }
    };
    Some(found.unwrap_or_else(|| {
        let known = error_code::by_code(system, code).map(|known| known.meaning.to_owned());
        Meaning::new(known.unwrap_or_else(|| format!("the system says {name}")), None)
    }))
}

/// Whether it is a bind, or a listen without one, that leaves the port to the system.
fn asks_for_any(call: &Call) -> bool {
    call.local.is_some_and(|local| local.port() == 0)
}

/// The first rule that explains it, taking the call for the trial bind of `why`.
fn by_rules(call: &Call, seen: &Snapshot, name: &str, code: i32) -> Option<Meaning> {
    let local = call.local?;
    let question = Question {
        transport: call.transport?,
        port: Port::new(local.port()),
        address: Some(local.ip()),
        uid: call.uid,
    };
    let refused = diagnose::Outcome::Refused { call: "bind".to_owned(), name: name.to_owned(), code };
    let trials = [Trial { address: local, reuse: Reuse::Plain, outcome: refused, inferred: false }];
    let findings = diagnose(&Case::asked(seen, &question, &trials));
    let found = findings.into_iter().find(|finding| finding.severity == Severity::Error)?;
    let text = found.summary.trim_end_matches('.').to_owned();
    let command = match question.port {
        Some(_) => Some(remedy::ask_again(&question)),
        None => found.remedies.iter().find_map(|remedy| remedy.command.clone()),
    };
    Some(Meaning { text, command, rule: Some(found.rule) })
}

/// bind() or listen(), by the code alone.
fn of_bind(call: &Call, name: &str, system: System) -> Option<Meaning> {
    let local = call.local;
    let port = local.map(|local| local.port()).filter(|port| *port != 0);
    let transport = call.transport.unwrap_or(Transport::Tcp);
    let address = local.map(|local| local.ip()).filter(|address| !address.is_unspecified());
    let why = port.map(|port| remedy::why(transport, port, address));
    let text = match (name, local, port) {
        ("EADDRINUSE", None, _) => "the address is in use; which one was not seen".to_owned(),
        ("EADDRINUSE", Some(_), Some(port)) => format!("{port}/{transport} is in use"),
        ("EADDRNOTAVAIL", Some(local), _) => format!("{} is not an address of this host", local.ip()),
        ("EACCES", Some(_), Some(port)) if system == System::Windows => format!(
            "access denied: {port} lies in a range that the system set aside, is held exclusively, or is another user's"
        ),
        ("EACCES", Some(_), Some(port)) => {
            format!("permission denied: {port} is a privileged port, or a policy refuses it")
        }
        ("EPERM", ..) => "a BPF program or a security module refused it".to_owned(),
        // What is too short is not read.
        ("EINVAL", None, _) if call.kind == Kind::Bind && system == System::Linux => {
            "the socket is bound already, or the program gave an address that is too short".to_owned()
        }
        ("EINVAL", ..) => "the socket is bound already, or the address lacks its interface".to_owned(),
        _ => return None,
    };
    Some(Meaning::new(text, why))
}

fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}
