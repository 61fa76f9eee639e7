//! Probing: many ports of many hosts, TCP and UDP, each with its verdict and, where something speaks there, its answer.
//!
//! TCP ports go through the sweep, and those that are open are talked to while it goes on. UDP ports follow, those whose
//! protocol is known first, so that neither takes the ICMP errors that the other waits for. Results go to a callback
//! as they are reached; targets and ports are never multiplied out in memory.
//! Left out on purpose: names (see `connect::resolve`) and what verdicts should be, which is a profile's.

mod datagrams;
mod doubt;
mod knock;
mod searched;
mod streams;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use portolan_core::answer::Answer;
use portolan_core::diagnose::Reuse;
use portolan_core::probe::{Protocol, Request, Session, Step, Verdict, Via};
use portolan_core::socket::Transport;

use crate::{Error, Namespace};
use crate::{exchange, sys};

/// Stands for the protocol's id where a port was asked without one.
const NO_PROTOCOL: &str = "none";

/// A host to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As it was asked for: a name or an address.
    pub host: String,
    /// Its address.
    pub address: IpAddr,
    /// The interface of a link-local address; else 0.
    pub scope: u32,
}

/// A port to ask each host for.
#[derive(Clone, Copy)]
pub struct Asked {
    /// TCP or UDP.
    pub transport: Transport,
    /// The port; not 0.
    pub port: u16,
    /// What is spoken there, and what carries it; none where only the port is asked.
    pub protocol: Option<(&'static Protocol, Via)>,
}

/// What is asked, and how.
#[derive(Clone)]
pub struct Plan {
    /// Hosts.
    pub targets: Vec<Target>,
    /// Ports of each.
    pub ports: Vec<Asked>,
    /// Whether the likely protocols are tried on ports that none was given for or that spoke another one: on open TCP
    /// ports, and on UDP ports that answer or stay silent.
    pub identify: bool,
    /// What was set for protocols, by name.
    pub settings: Vec<(String, String)>,
    /// How often a silent TCP port is asked at least.
    pub tcp_tries: u16,
    /// How often a silent UDP port is asked at least.
    pub udp_tries: u16,
    /// By how much every wait is longer than usual: 1, and 2 to be slow.
    pub patience: u32,
    /// The longest wait for one answer of a conversation; none for what fits.
    pub wait: Option<Duration>,
    /// Most tries a second; none for what the path bears.
    pub rate: Option<NonZeroU32>,
    /// Where it is asked from; port 0 stands for any.
    pub source: Option<SocketAddr>,
}

impl Plan {
    /// Every port of every host, with what is usual.
    pub const fn new(targets: Vec<Target>, ports: Vec<Asked>) -> Self {
        Self {
            targets,
            ports,
            identify: false,
            settings: Vec::new(),
            tcp_tries: 3,
            udp_tries: 3,
            patience: 1,
            wait: None,
            rate: None,
            source: None,
        }
    }

    /// How many pairs of a host and a port there are.
    pub fn pairs(&self) -> u64 {
        self.targets.len() as u64 * self.ports.len() as u64
    }

    fn address(&self, target: usize, port: usize) -> Option<SocketAddr> {
        let (target, asked) = (self.targets.get(target)?, self.ports.get(port)?);
        Some(match target.address {
            IpAddr::V4(v4) => SocketAddr::from((v4, asked.port)),
            IpAddr::V6(v6) => std::net::SocketAddrV6::new(v6, asked.port, 0, target.scope).into(),
        })
    }

    /// What a pair is known by.
    fn key(&self, target: usize, port: usize) -> u64 {
        (target * self.ports.len() + port) as u64
    }

    /// The id of the protocol that a port is asked in.
    fn protocol_id(&self, port: usize) -> &'static str {
        let protocol = self.ports.get(port).and_then(|asked| asked.protocol);
        protocol.map_or(NO_PROTOCOL, |(protocol, _)| protocol.id)
    }

    fn exchange_manner(&self) -> exchange::Manner {
        exchange::Manner { patience: self.patience, wait: self.wait, rate: self.rate, source: self.source }
    }

    /// The first protocol, by its id, whose question cannot be formed with what was set, and why.
    pub fn unformed(&self) -> Option<(&'static str, String)> {
        let mut known = Vec::new();
        self.ports.iter().enumerate().find_map(|(port, asked)| {
            let (protocol, via) = asked.protocol?;
            if known.contains(&(protocol.id, via)) {
                return None;
            }
            known.push((protocol.id, via));
            match self.session(protocol, via, 0, port)?.hello() {
                Step::Failed(why) => Some((protocol.id, why)),
                _ => None,
            }
        })
    }

    /// A conversation with that host and port.
    fn session(&self, protocol: &Protocol, via: Via, target: usize, port: usize) -> Option<Box<dyn Session>> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let target = self.targets.get(target)?;
        Some((protocol.start)(&Request {
            host: target.host.clone(),
            address: target.address,
            port: self.ports.get(port)?.port,
            via,
            settings: self.settings.clone(),
            // Without chance, numbers can be guessed by whoever wants to answer for another; nothing else fails.
            seed: exchange::seed().unwrap_or_default(),
            now_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        }))
    }
}

/// What was found of one port of one host.
#[derive(Clone, Debug, PartialEq)]
pub struct Probed {
    /// The host, by its place in the plan.
    pub target: usize,
    /// The port, by its place in the plan.
    pub port: usize,
    /// The verdict.
    pub verdict: Verdict,
    /// What the server told.
    pub answer: Option<Answer>,
    /// Why it told nothing, where it was talked to: the protocol's id and the reason, for people.
    pub failure: Option<(&'static str, String)>,
}

impl Probed {
    /// A verdict alone.
    pub(crate) const fn silent(target: usize, port: usize, verdict: Verdict) -> Self {
        Self { target, port, verdict, answer: None, failure: None }
    }
}

/// Whether one may ask from there, of each transport alike; port 0 stands for any.
///
/// # Errors
/// The namespace cannot be entered, the address is not this machine's, or its port is taken.
pub fn check_source(namespace: &Namespace, source: SocketAddr, asked: &[Transport]) -> Result<(), Error> {
    // What has just been closed is no hindrance; nor is a port taken from whoever holds it.
    let reuse = if sys::REUSE_TAKES_OVER { Reuse::Plain } else { Reuse::ReuseAddress };
    for &transport in asked {
        let bound = sys::within(namespace, || sys::try_bind(transport, source, None, reuse))?;
        let Err(refusal) = bound else { continue };
        let error = io::Error::from_raw_os_error(refusal.code);
        let told = match error.kind() {
            io::ErrorKind::AddrNotAvailable => {
                io::Error::new(error.kind(), "it is not an address of this machine")
            }
            io::ErrorKind::AddrInUse => {
                let (port, name) = (source.port(), transport.name());
                io::Error::new(error.kind(), format!("{error}; see: portolan who {port}/{name}"))
            }
            _ => error,
        };
        let from = if source.port() == 0 { source.ip().to_string() } else { source.to_string() };
        return Err(Error::new(format!("ask from {from}"), told));
    }
    Ok(())
}

/// Asks every port of every host and hands out what was found as it is reached, in no order, from several threads but
/// one at a time. Setting `cancel` breaks it off within a tenth of a second; what was reached is handed out. Whether it
/// was broken off.
///
/// # Errors
/// The namespace cannot be entered, the source address is not this machine's, or the system does not let sockets be
/// watched.
pub fn probe(
    namespace: &Namespace,
    plan: &Plan,
    cancel: &AtomicBool,
    found: &mut (dyn FnMut(Probed) + Send),
) -> Result<bool, Error> {
    let has = |transport| plan.ports.iter().any(|asked| asked.transport == transport);
    if let Some(source) = plan.source {
        let asked: Vec<Transport> = Transport::ALL.into_iter().filter(|transport| has(*transport)).collect();
        check_source(namespace, source, &asked)?;
    }
    if has(Transport::Tcp) {
        streams::probe(namespace, plan, cancel, found)?;
    }
    if has(Transport::Udp) && !cancel.load(Ordering::Relaxed) {
        datagrams::probe(namespace, plan, cancel, found)?;
    }
    Ok(cancel.load(Ordering::Relaxed))
}
