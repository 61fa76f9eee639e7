//! One look at what is waited for: at the kernel's table, by a bind, or by a connection.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, anyhow};
use portolan_core::diagnose::Reuse;
use portolan_core::port::{PortRange, PortSet};
use portolan_core::remedy;
use portolan_core::snapshot::Snapshot;
use portolan_core::socket::{State, Transport};
use portolan_host::connect::{Attempt, connect, resolve};
use portolan_host::hold::hold;
use portolan_host::{Look, OwnerSearch, SocketFilter, sys};
use schemars::JsonSchema;
use serde::Serialize;

use super::Goal;
use super::target::{Host, Target};
use crate::rows::{no_owner_text, owner_text};
use crate::source::Session;
use crate::text::counted;

/// How long a connection may take before it counts as unanswered.
const CONNECT: Duration = Duration::from_secs(3);

/// Holders that are named.
const MOST_NAMES: usize = 5;

/// What was seen of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SeenState {
    /// Somebody listens.
    Listening,
    /// Nobody listens; of another host: it refused.
    Closed,
    /// It binds.
    Free,
    /// A socket holds it.
    Held,
    /// Ended connections alone hold it.
    TimeWait,
    /// The other host did not answer in time.
    NoAnswer,
    /// The other host cannot be reached.
    Unreachable,
    /// The host's name has no address.
    Unresolved,
}

impl SeenState {
    /// As the end of a sentence.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Listening => "somebody listens",
            Self::Closed => "nobody listens",
            Self::Free => "it is free",
            Self::Held => "it is held",
            Self::TimeWait => "ended connections hold it",
            Self::NoAnswer => "no answer",
            Self::Unreachable => "it cannot be reached",
            Self::Unresolved => "its name has no address",
        }
    }
}

/// What was seen, with what there is to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) state: SeenState,
    pub(super) detail: Option<String>,
}

impl From<SeenState> for Seen {
    fn from(state: SeenState) -> Self {
        Self { state, detail: None }
    }
}

/// Looks at a target, again and again.
pub(super) struct Looker<'a> {
    session: &'a Session,
    target: &'a Target,
    /// The host's addresses, once they are known.
    addresses: Vec<SocketAddr>,
}

impl<'a> Looker<'a> {
    pub(super) const fn new(session: &'a Session, target: &'a Target) -> Self {
        Self { session, target, addresses: Vec::new() }
    }

    /// Looks once, for no longer than what is left. Fails where no later look could tell more.
    pub(super) fn look(&mut self, goal: Goal, left: Option<Duration>) -> Result<Seen> {
        match (&self.target.host, goal) {
            (Some(host), _) => self.connect(host, left),
            (None, Goal::Free) => self.bind(),
            (None, Goal::Listening | Goal::Closed) => self.ask(),
        }
    }

    fn filter(&self, states: &[State]) -> SocketFilter {
        SocketFilter {
            transport: Some(self.target.transport),
            family: None,
            states: states.iter().copied().collect(),
            local_ports: Some(PortSet::from(PortRange::single(self.target.port))),
        }
    }

    /// Whether the kernel's table has somebody who listens.
    fn ask(&self) -> Result<Seen> {
        let state = match self.target.transport {
            Transport::Tcp => State::Listen,
            Transport::Udp => State::Unconnected,
        };
        let seen = sys::sockets(self.session.namespace(), &self.filter(&[state]), OwnerSearch::None)?.value;
        let listens = seen.sockets.iter().any(|socket| socket.is_listening());
        Ok(if listens { SeenState::Listening } else { SeenState::Closed }.into())
    }

    /// Whether it binds. A bind that is refused because of others takes nothing from them.
    fn bind(&self) -> Result<Seen> {
        let Target { port, transport, .. } = *self.target;
        match hold(self.session.namespace(), None, &[(transport, port.number())], Reuse::Plain)? {
            Ok(_) => Ok(SeenState::Free.into()),
            Err(refused) if refused.error.source.kind() == std::io::ErrorKind::AddrInUse => {
                Ok(SeenState::Held.into())
            }
            Err(refused) => {
                let why = self.session.in_place(remedy::why(transport, port.number(), None));
                Err(anyhow!("{}; waiting does not change that; see: {why}", refused.error))
            }
        }
    }

    /// Whether a connection comes about: to any of the host's addresses.
    fn connect(&mut self, host: &Host, left: Option<Duration>) -> Result<Seen> {
        // A connection needs some time, also where none is left.
        let limit = left.map_or(CONNECT, |left| left.clamp(Duration::from_millis(10), CONNECT));
        let port = self.target.port.number();
        match host {
            Host::Address(address) => self.addresses = vec![SocketAddr::new(*address, port)],
            Host::Name(name) if self.addresses.is_empty() => {
                match resolve(self.session.namespace(), name, port, limit) {
                    Ok(addresses) => self.addresses = addresses,
                    Err(error) => {
                        return Ok(Seen { state: SeenState::Unresolved, detail: Some(error.to_string()) });
                    }
                }
            }
            Host::Name(_) => {}
        }
        let mut seen = Seen::from(SeenState::Closed);
        for address in &self.addresses {
            let state = match connect(self.session.namespace(), *address, limit)? {
                Attempt::Connected => return Ok(SeenState::Listening.into()),
                Attempt::Refused => continue,
                Attempt::Silent => (SeenState::NoAnswer, format!("no answer from {address}")),
                Attempt::Failed(error) => {
                    (SeenState::Unreachable, format!("{address} cannot be reached: {error}"))
                }
            };
            seen = Seen { state: state.0, detail: Some(state.1) };
        }
        if seen.state != SeenState::Closed {
            // The name may lead somewhere else by now.
            self.addresses.clear();
        }
        Ok(seen)
    }

    /// What was seen last, with who holds the port of this machine. Owners take longer to find than all the rest, and
    /// are looked for once.
    pub(super) fn explained(&self, seen: Seen) -> Seen {
        if !self.target.is_local() || seen.state == SeenState::Closed {
            return seen;
        }
        let states: &[State] = match seen.state {
            SeenState::Listening => &[State::Listen, State::Unconnected],
            _ => &[],
        };
        let look = Look { sockets: Some(self.filter(states)), owners: OwnerSearch::All, ..Look::default() };
        match self.session.see(look) {
            Ok(snapshot) => holders(&snapshot, seen),
            // It was asked for the details alone.
            Err(_) => seen,
        }
    }
}

/// Who holds the port, or how long ended connections will.
fn holders(snapshot: &Snapshot, seen: Seen) -> Seen {
    let (ended, live): (Vec<_>, Vec<_>) =
        snapshot.sockets.iter().partition(|socket| socket.state == State::TimeWait);
    let mut names: Vec<String> = Vec::new();
    for socket in live {
        let owners = snapshot.owners_of(socket);
        let texts = match owners.is_empty() {
            true => vec![unseen(&no_owner_text(snapshot, socket))],
            false => owners.into_iter().map(owner_text).collect(),
        };
        names.extend(texts);
    }
    names.sort();
    names.dedup();
    if !names.is_empty() {
        let more = names.len().saturating_sub(MOST_NAMES);
        names.truncate(MOST_NAMES);
        if more > 0 {
            names.push(format!("{more} more"));
        }
        return Seen { detail: Some(format!("held by {}", names.join(", "))), ..seen };
    }
    let Some(last) = ended.iter().map(|socket| socket.timer_ms).max() else { return seen };
    let detail = format!(
        "{} in TIME_WAIT for {} s more; SO_REUSEADDR binds over them where the old listener had it set",
        counted(ended.len() as u64, "ended connection"),
        last.div_ceil(1000)
    );
    Seen { state: SeenState::TimeWait, detail: Some(detail) }
}

/// What is said of an owner that was not seen, after "held by".
fn unseen(text: &str) -> String {
    match text.strip_prefix("not visible") {
        Some(rest) => format!("an owner out of sight{rest}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::machine;

    fn of_port(port: u16) -> Seen {
        let mut snapshot = Snapshot::clone(&machine());
        snapshot.sockets.retain(|socket| socket.local_port == port);
        holders(&snapshot, SeenState::Held.into())
    }

    #[test]
    fn holders_are_named_once_each_and_hidden_ones_said() {
        let detail = |port| of_port(port).detail.unwrap();
        assert_eq!(detail(5432), "held by postgres (pid 60, postgresql.service)");
        assert_eq!(detail(80).matches("nginx (pid").count(), 3, "{}", detail(80));
        assert_eq!(detail(53), "held by an owner out of sight (systemd-resolved.service)");
    }

    #[test]
    fn what_time_wait_remains_is_said() {
        let seen = of_port(40001);
        assert_eq!(seen.state, SeenState::TimeWait);
        assert!(seen.detail.unwrap().starts_with("1 ended connection in TIME_WAIT for 42 s more"));
    }

    #[test]
    fn a_port_without_sockets_is_left_as_it_was_seen() {
        assert_eq!(of_port(1), SeenState::Held.into());
    }
}
