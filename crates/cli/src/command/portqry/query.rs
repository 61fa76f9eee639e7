//! Asking a host as PortQry does: its name, a plain question to every port, then the formatted queries.
//!
//! Source: Microsoft's article "Using the PortQry command-line tool". The questions are those of host's engine, all ports
//! at once; they are told in the order in which they were typed. Otherwise than PortQry, IPv6 is spoken where a name has
//! no IPv4 address.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use portolan_core::kernel::services::Services;
use portolan_core::probe::{PortState, Verdict};
use portolan_core::socket::Transport;
use portolan_host::probe::{Asked, Plan, Probed, Target, probe};
use portolan_host::sys::EndSignals;
use portolan_host::{Namespace, connect};

use super::arguments::Query;
use super::conversation::{self, Conversation, Shape};
use super::log::Teller;
use super::wording::{NOT_ASKED, Status, not_sent, shouted, status_line};
use crate::progress::Progress;
use crate::text::harmless;
use crate::typed::zone_hint;

/// How long a name server is waited for.
const RESOLVING: Duration = Duration::from_secs(15);
/// How soon Ctrl+C is seen.
const LOOK_UP: Duration = Duration::from_millis(25);

/// Where questions come from, and what names there are.
pub(super) struct Asker<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) services: &'a Services,
}

/// A port's answers so far.
struct Port {
    transport: Transport,
    port: u16,
    verdict: Verdict,
    status: Status,
    conversation: Option<&'static Conversation>,
}

impl Asker<'_> {
    /// Asks, tells, and gives the exit code: that of the one port, or the worst of several.
    ///
    /// # Errors
    /// The name has no address, the source port is taken, no question could leave this machine, or Ctrl+C broke it off:
    /// what was found by then is told.
    pub(super) fn query(&self, query: &Query, teller: &mut Teller) -> Result<u8> {
        let target = self.target(query, teller)?;
        teller.say("\nquerying...\n\n")?;
        let (mut ports, mut broken_off) = self.plain(query, &target)?;
        let told = match broken_off {
            true => BTreeMap::new(),
            false => self.formatted(query, &target, &ports, &mut broken_off)?,
        };
        for (index, port) in ports.iter_mut().enumerate() {
            self.tell(query, port, told.get(&index), teller)?;
        }
        if broken_off {
            bail!("broken off: not everything was asked");
        }
        let codes = || ports.iter().map(|port| port.status.code());
        Ok(if codes().any(|code| code == 1) { 1 } else { codes().max().unwrap_or(NOT_ASKED) })
    }

    /// The host, with its name looked for where an address was typed.
    fn target(&self, query: &Query, teller: &mut Teller) -> Result<Target> {
        let name = &query.target;
        teller.say(&format!("\nQuerying target system called:\n\n {}\n", harmless(name)))?;
        let resolve = || connect::resolve(self.namespace, name, 0, RESOLVING);
        if let Ok(address) = name.parse::<IpAddr>() {
            if !query.no_reverse {
                teller.say("\nAttempting to resolve IP address to a name...\n")?;
                match connect::name_of(self.namespace, address, RESOLVING) {
                    Ok(found) => teller.say(&format!("\nIP address resolved to {}\n", harmless(&found)))?,
                    Err(_) => teller.say("\nFailed to resolve IP address to name\n")?,
                }
            }
            return Ok(Target { host: name.clone(), address, scope: 0 });
        }
        teller.say("\nAttempting to resolve name to IP address...\n")?;
        let addresses = resolve().context("nothing was asked")?;
        let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        let Some(found) = first else { bail!("'{}' has no address; nothing was asked", harmless(name)) };
        teller.say(&format!("\nName resolved to {}\n", found.ip()))?;
        let scope = if let SocketAddr::V6(v6) = found { v6.scope_id() } else { 0 };
        Ok(Target { host: name.clone(), address: found.ip(), scope })
    }

    fn plan(&self, query: &Query, target: &Target, ports: Vec<Asked>, source_port: Option<u16>) -> Plan {
        let any: IpAddr = match target.address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Plan {
            settings: vec![("community".to_owned(), query.community.clone())],
            udp_tries: 1,
            patience: if query.slow { 2 } else { 1 },
            source: source_port.map(|port| SocketAddr::new(any, port)),
            ..Plan::new(vec![target.clone()], ports)
        }
    }

    /// The unformatted question: whether anybody is there; and whether it was broken off.
    fn plain(&self, query: &Query, target: &Target) -> Result<(Vec<Port>, bool)> {
        let asked = query.asked();
        let plain =
            asked.iter().map(|&(transport, port)| Asked { transport, port, protocol: None }).collect();
        let (found, broken_off) = self.ask(query, &self.plan(query, target, plain, query.source_port))?;
        let of = |(index, &(transport, port)): (usize, &(Transport, u16))| {
            let verdict = found.get(&index)?.verdict;
            let status = Status::of(transport, &verdict);
            let service = self.services.name(transport, port);
            let conversation = conversation::of(transport, port, service)
                .filter(|known| !(query.is_range && known.shape == Shape::Endpoints))
                .filter(|known| known.protocol().is_some());
            Some(Port { transport, port, verdict, status, conversation })
        };
        let ports: Vec<Port> = asked.iter().enumerate().filter_map(of).collect();
        if let Some(code) = ports.iter().find_map(|port| not_sent(&port.verdict)) {
            if let Some(hint) = zone_hint(&target.host, target.address) {
                bail!("{hint}");
            }
            let why = io::Error::from_raw_os_error(code);
            let from = query.source_port.map_or_else(String::new, |port| format!(" from port {port}"));
            bail!("cannot ask {}{from}: {why}", harmless(&target.host));
        }
        Ok((ports, broken_off))
    }

    /// The formatted queries, of those ports that may be listening; by their place.
    fn formatted(
        &self,
        query: &Query,
        target: &Target,
        ports: &[Port],
        broken_off: &mut bool,
    ) -> Result<BTreeMap<usize, Probed>> {
        let mut told = BTreeMap::new();
        for own_port in [true, false] {
            let chosen: Vec<(usize, Asked)> = ports
                .iter()
                .enumerate()
                .filter(|(_, port)| !matches!(port.status, Status::NotListening | Status::Filtered))
                .filter_map(|(index, port)| {
                    let conversation = port.conversation?;
                    let protocol = Some(conversation.protocol()?);
                    let asked = Asked { transport: port.transport, port: port.port, protocol };
                    (conversation.has_own_port() == own_port).then_some((index, asked))
                })
                .collect();
            if chosen.is_empty() || *broken_off {
                continue;
            }
            let asked = chosen.iter().map(|(_, asked)| *asked).collect();
            let source_port = query.source_port.filter(|_| !own_port);
            let (answers, broken) = self.ask(query, &self.plan(query, target, asked, source_port))?;
            *broken_off |= broken;
            for (place, probed) in answers {
                if let Some((index, _)) = chosen.get(place) {
                    told.insert(*index, probed);
                }
            }
        }
        Ok(told)
    }

    /// Tells of one port; its status is what the formatted query makes of it.
    fn tell(&self, query: &Query, port: &mut Port, told: Option<&Probed>, teller: &mut Teller) -> Result<()> {
        let Port { transport, port: number, .. } = *port;
        teller.say(&format!("{}\n", status_line(self.services, transport, number, port.status)))?;
        if let (Some(conversation), Some(probed)) = (port.conversation, told) {
            teller.say(&conversation.before(number, &query.community, query.source_port))?;
            match &probed.answer {
                Some(answer) => teller.say(&conversation.answer(answer))?,
                None => {
                    let why = probed.failure.as_ref().map_or("it did not answer", |(_, why)| why);
                    teller.say(&conversation.no_answer(number, &harmless(why)))?;
                }
            }
            if transport == Transport::Udp {
                port.status = match Status::of(transport, &probed.verdict) {
                    _ if probed.answer.is_some() || probed.verdict.state == PortState::Open => {
                        Status::Listening
                    }
                    Status::NotListening => Status::NotListening,
                    _ => port.status,
                };
                let word = port.status.word();
                teller.say(&format!("\n{} port {number} is {word}\n", shouted(transport)))?;
            }
        }
        teller.say("\n")
    }

    /// What the engine finds, by the port's place in the plan; and whether Ctrl+C broke it off.
    fn ask(&self, query: &Query, plan: &Plan) -> Result<(BTreeMap<usize, Probed>, bool)> {
        let progress = Progress::new(plan.pairs());
        let (cancel, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let signals = EndSignals::block().context("cannot wait for signals")?;
        let found = Mutex::new(BTreeMap::new());
        let result = thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if !query.quiet {
                        progress.draw();
                    }
                    if signals.wait(Some(LOOK_UP)).unwrap_or(false) {
                        cancel.store(true, Ordering::Relaxed);
                    }
                }
            });
            let mut heard = |probed: Probed| {
                progress.step(probed.verdict.state == PortState::Open);
                found.lock().unwrap_or_else(PoisonError::into_inner).insert(probed.port, probed);
            };
            let result = probe(self.namespace, plan, &cancel, &mut heard);
            over.store(true, Ordering::Relaxed);
            result
        });
        if !query.quiet {
            progress.clear();
        }
        Ok((found.into_inner().unwrap_or_else(PoisonError::into_inner), result?))
    }
}
