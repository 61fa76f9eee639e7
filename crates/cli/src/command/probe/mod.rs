//! `portolan probe HOST… --ports LIST`: is the other end listening, and what is it.
//!
//! What is typed becomes a plan for host's engine, and what that finds a report. Hosts and ports are read in `target.rs`
//! and `ports.rs`, profiles in `profile.rs` and `configured.rs`; the report is made in `told.rs`.

mod configured;
pub(crate) mod ports;
mod profile;
pub(crate) mod target;
mod told;
mod typed;
pub(super) mod way;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use portolan_core::kernel::services::Services;
use portolan_core::popular::popular;
use portolan_core::probe::{PROBES, PortState, Protocol, Via, at_home, protocol};
use portolan_core::socket::{Family, Transport};
use portolan_host::probe::{Asked, Plan, Probed, Target, probe};
use portolan_host::sys::EndSignals;
use portolan_host::{Namespace, connect};
use schemars::Schema;

use crate::command::{Command, Output};
use crate::exit::Misuse;
use crate::progress::Progress;
use crate::source::Session;
use configured::Found as Host;
use ports::Wanted;
use profile::Expecting;
use target::{Hosts, Typed};
use told::{Baseline, Found, Told};
use typed::{known_protocol, rate, setting, unheeded, wait};

/// How long a name server is waited for.
const RESOLVING: Duration = Duration::from_secs(15);
/// How often the progress is drawn, and how soon Ctrl+C is seen.
const LOOK_UP: Duration = Duration::from_millis(5);

/// Ask whether ports of other hosts are open, and what speaks there
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan probe db.example
  portolan probe db.example -p 5432
  portolan probe dc1 dc2 -p 53/both,88,135,389,445,3268
  portolan probe 10.0.0.0/24 -p 22,80,443
  portolan probe mail.example:25 mail.example:587
  portolan probe 10.0.0.7 --udp --top 50
  portolan probe ns1 --as dns -p 5353/udp --set name=www.example.com
  portolan probe dc1 --profile dc
  portolan probe --profile mail --domain example.com
  portolan probe dc1 --profile dc --baseline last.json

open: something answers. closed: the host says that nobody listens. filtered: something on the
way keeps the question or the answer back. open|filtered: UDP that stays silent. unreachable: no
way leads there. undecided: nothing can be told.
Without ports: the addresses of a host and their names, the way there, and whether it answers an
echo request; with --baseline the ports of the earlier run.
A port's protocol is chosen by the services file, then by Portolan's own table; portolan explain
PROTOCOL tells of it, and of what may be set.
A profile of yours is a file of TOML: title, hosts, and for each port [[port]] with port,
transport, protocol, expect (answers, open, closed, filtered, not-open or any), why, and follow
for an endpoint mapper whose ports are asked too.
Exit codes: 0 every asked port is open (--profile: as expected; --baseline: as before); 1 some are
not; 2 could not tell, or typed wrong.")]
pub(crate) struct Probe {
    // As an attribute: in a comment brackets are links.
    #[arg(value_name = "HOST", help = "A name, an address or a block; HOST:PORT and [ADDRESS]:PORT too")]
    hosts: Vec<String>,
    /// Ports, asked in this order: 22,80-90,http,53/udp,ldap/both, or all
    #[arg(short, long, value_name = "LIST")]
    ports: Vec<String>,
    // As an attribute: how many there are is data.
    #[arg(long, value_name = "N", conflicts_with = "ports", help = typed::top())]
    top: Option<usize>,
    /// TCP: so it is where a port names no transport and --udp is not given
    #[arg(long)]
    tcp: bool,
    /// UDP, where a port names no transport
    #[arg(long)]
    udp: bool,
    /// IPv4 addresses of names alone
    #[arg(short = '4', conflicts_with = "ipv6")]
    ipv4: bool,
    /// IPv6 addresses of names alone
    #[arg(short = '6')]
    ipv6: bool,
    /// Every address of a name, and not only the first
    #[arg(long)]
    every_address: bool,
    #[command(flatten)]
    expecting: Expecting,
    /// Speak this protocol, whatever the port
    #[arg(long = "as", value_name = "PROTOCOL", value_parser = known_protocol)]
    protocol: Option<String>,
    /// Try the likely protocols on open ports of which none is known, or that speak another one; on silent UDP ports too
    #[arg(long)]
    identify: bool,
    /// Verdicts alone: do not talk to open TCP ports, and send empty datagrams to UDP ports
    #[arg(long, conflicts_with_all = ["protocol", "identify"])]
    bare: bool,
    /// Something that a protocol may be told: community=secret, name=www.example.com
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// How often a silent UDP port is asked, at least
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=30))]
    tries: u16,
    /// The longest wait for one answer of a server, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = wait)]
    timeout: Option<Duration>,
    /// Wait twice as long
    #[arg(long)]
    slow: bool,
    /// At most that many questions a second
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<NonZeroU32>,
    /// Ask from this address of this machine
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// Ask from this port
    #[arg(long, value_name = "PORT")]
    source_port: Option<portolan_core::port::Port>,
    /// Show every port, also where many are closed or filtered
    #[arg(long)]
    all: bool,
}

/// JSON Schema of the report.
pub(super) fn schema() -> Schema {
    told::schema()
}

/// Hosts that share a list of ports.
struct Group {
    targets: Vec<Target>,
    ports: Vec<Wanted>,
}

impl Command for Probe {
    fn run(&self, session: &Session) -> Result<Output> {
        self.is_about_hosts(session)?;
        if self.names_no_port() {
            return self.ways(session.namespace());
        }
        let services = session.services();
        let mut told = Told::new(services.clone(), self.all);
        if let Some(file) = &self.expecting.baseline {
            told.compare(Baseline::read(file).map_err(Misuse)?);
        }
        let groups = self.groups(session.namespace(), &services, &mut told)?;
        let started = Instant::now();
        let plans: Vec<Plan> =
            groups.into_iter().map(|group| self.plan(group, &services)).collect::<Result<_>>()?;
        self.heeded(&plans)?;
        for plan in plans {
            let (found, cancelled) = carried_out(session.namespace(), &plan)?;
            told.add(&plan, found, cancelled);
            if cancelled || self.followed(session.namespace(), &plan, &mut told)? {
                break;
            }
        }
        Ok(Output::Report(told.report(started.elapsed())))
    }
}

/// Probes with a bar and with Ctrl+C; what was found, and whether it was broken off.
fn carried_out(namespace: &Namespace, plan: &Plan) -> Result<(Found, bool)> {
    let progress = Progress::new(plan.pairs());
    let (cancel, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let signals = EndSignals::block().context("cannot wait for signals")?;
    let found = Mutex::new(Found::default());
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                progress.draw();
                if signals.wait(Some(LOOK_UP)).unwrap_or(false) {
                    cancel.store(true, Ordering::Relaxed);
                }
            }
        });
        let mut heard = |probed: Probed| {
            progress.step(probed.verdict.state == PortState::Open);
            found.lock().unwrap_or_else(PoisonError::into_inner).add(probed);
        };
        let result = probe(namespace, plan, &cancel, &mut heard);
        over.store(true, Ordering::Relaxed);
        result
    });
    progress.clear();
    let cancelled = result?;
    Ok((found.into_inner().unwrap_or_else(PoisonError::into_inner), cancelled))
}

impl Probe {
    /// Whether there is somebody to ask.
    fn is_about_hosts(&self, session: &Session) -> Result<(), Misuse> {
        if session.is_file() {
            let text = "probe asks other hosts, and no snapshot file: leave --from out; --source ADDRESS asks from an \
                        address of this machine";
            return Err(Misuse(text.to_owned()));
        }
        if self.hosts.is_empty() && self.expecting.profile.is_none() {
            let text = "no host is named; type one, as in: portolan probe db.example -p 5432";
            return Err(Misuse(text.to_owned()));
        }
        Ok(())
    }

    /// Whether each setting is one of a protocol that is asked.
    fn heeded(&self, plans: &[Plan]) -> Result<(), Misuse> {
        // Which protocols are tried there turns out as it goes.
        if self.identify || plans.is_empty() {
            return Ok(());
        }
        let ports = plans.iter().flat_map(|plan| &plan.ports);
        let asked: Vec<&Protocol> = ports.filter_map(|asked| Some(asked.protocol?.0)).collect();
        unheeded(&self.set, &asked).map_or(Ok(()), |why| Err(Misuse(why)))
    }

    /// Asks for the ports that endpoint mappers named; whether it was broken off.
    fn followed(&self, namespace: &Namespace, plan: &Plan, told: &mut Told) -> Result<bool> {
        for target in &plan.targets {
            let ports = told.follow(target.address);
            if ports.is_empty() {
                continue;
            }
            let asked = |port| Asked { transport: Transport::Tcp, port, protocol: None };
            let asked = ports.into_iter().map(asked).filter(|asked| {
                !plan.ports.iter().any(|known| (known.transport, known.port) == (asked.transport, asked.port))
            });
            let plan = Plan {
                patience: plan.patience,
                wait: plan.wait,
                rate: plan.rate,
                source: plan.source,
                ..Plan::new(vec![target.clone()], asked.collect())
            };
            let (found, cancelled) = carried_out(namespace, &plan)?;
            told.add(&plan, found, cancelled);
            if cancelled {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whom to ask: what was typed, else what a profile is configured with.
    fn hosts(&self, namespace: &Namespace, told: &mut Told) -> Result<Vec<Host>> {
        let Some(profile) = self.expecting.profile else { return Ok(self.typed()) };
        let judged = told.expect(profile);
        if !self.hosts.is_empty() {
            return Ok(self.typed());
        }
        let found = match &self.expecting.domain {
            Some(domain) => configured::of_domain(namespace, profile, domain, self.expecting.name_server)?,
            None => configured::hosts(profile, |name| std::env::var(name).ok())?,
        };
        found.iter().for_each(|host| judged.configured(host.typed.clone(), host.origin.clone()));
        Ok(found)
    }

    fn typed(&self) -> Vec<Host> {
        let typed = |text: &String| Host { typed: text.clone(), address: None, origin: String::new() };
        self.hosts.iter().map(typed).collect()
    }

    fn transports(&self) -> &'static [Transport] {
        match (self.tcp, self.udp) {
            (true, true) => &Transport::ALL,
            (false, true) => &[Transport::Udp],
            _ => &[Transport::Tcp],
        }
    }

    /// The ports that hosts without ports of their own are asked for.
    fn ports(&self, services: &Services) -> Result<Vec<Wanted>, Misuse> {
        if let Some(profile) = self.expecting.profile {
            return Ok(profile.entries.iter().map(|entry| (entry.transport, entry.port)).collect());
        }
        if !self.ports.is_empty() {
            let lists = self.ports.iter().map(|list| ports::parse(list, self.transports(), services));
            let wanted: Vec<Vec<Wanted>> = lists.collect::<Result<_, _>>().map_err(Misuse)?;
            return Ok(ports::once(wanted.concat()));
        }
        if let Some(top) = self.top {
            let mut wanted = Vec::new();
            for &transport in self.transports() {
                let popular = popular(transport);
                if top == 0 || top > popular.len() {
                    return Err(Misuse(format!(
                        "--top knows 1 to {} {transport} ports; for more type -p 1-1024, or -p all",
                        popular.len()
                    )));
                }
                wanted.extend(popular.into_iter().take(top).map(|port| (transport, port)));
            }
            return Ok(wanted);
        }
        let homes = self.protocol.as_deref().and_then(protocol).map_or(&[][..], |protocol| protocol.homes);
        let wanted: Vec<Wanted> = homes
            .iter()
            .map(|home| (home.via.transport(), home.port))
            .filter(|(transport, _)| (!self.tcp && !self.udp) || self.transports().contains(transport))
            .collect();
        Ok(ports::once(wanted))
    }

    /// Hosts with their ports, those with the same ports together.
    fn groups(&self, namespace: &Namespace, services: &Services, told: &mut Told) -> Result<Vec<Group>> {
        let common = self.ports(services)?;
        let mut groups: Vec<Group> = Vec::new();
        for Host { typed: text, address, origin } in &self.hosts(namespace, told)? {
            let misuse = |why: String| match origin.is_empty() {
                true => Misuse(why),
                false => Misuse(format!("{origin} names '{}': {why}", text.escape_debug())),
            };
            let typed = match address {
                Some(_) => Typed { hosts: Hosts::Name(text.clone()), ports: None },
                None => Typed::parse(text).map_err(misuse)?,
            };
            let ports = match &typed.ports {
                Some(list) => ports::parse(list, self.transports(), services).map_err(misuse)?,
                None if common.is_empty() => told.asked_before(text),
                None => common.clone(),
            };
            if ports.is_empty() {
                let example = format!("type them as in: portolan probe {text} -p 22,80,443");
                return Err(Misuse(format!("no ports are named for '{text}'; {example}")).into());
            }
            let targets = match *address {
                Some(address) => vec![Target { host: text.clone(), address, scope: 0 }],
                None => self.targets(namespace, text, typed.hosts, told),
            };
            match groups.iter_mut().find(|group| group.ports == ports) {
                Some(group) => group.targets.extend(targets),
                None => groups.push(Group { targets, ports }),
            }
        }
        for group in &mut groups {
            let mut seen = BTreeSet::new();
            group.targets.retain(|target| seen.insert((target.address, target.scope)));
        }
        groups.retain(|group| !group.targets.is_empty());
        Ok(groups)
    }

    /// The addresses of what was typed; a name without one is told.
    fn targets(&self, namespace: &Namespace, text: &str, hosts: Hosts, told: &mut Told) -> Vec<Target> {
        let most = if self.every_address { usize::MAX } else { 1 };
        self.resolved(namespace, text, hosts, most).unwrap_or_else(|reason| {
            told.unresolved(text, reason);
            Vec::new()
        })
    }

    /// The addresses of what was typed, of a name at most so many; else why there is none.
    fn resolved(
        &self,
        namespace: &Namespace,
        text: &str,
        hosts: Hosts,
        most: usize,
    ) -> Result<Vec<Target>, String> {
        let name = match hosts {
            Hosts::Address(address) => {
                return Ok(vec![Target { host: address.to_string(), address, scope: 0 }]);
            }
            Hosts::Block(addresses) => {
                let target = |address: IpAddr| Target { host: address.to_string(), address, scope: 0 };
                return Ok(addresses.into_iter().map(target).collect());
            }
            Hosts::Scoped(address, interface) => format!("{address}%{interface}"),
            Hosts::Name(name) => name,
        };
        let family = |address: &SocketAddr| match Family::of(address.ip()) {
            Family::Ipv4 => !self.ipv6,
            Family::Ipv6 => !self.ipv4,
        };
        let target = |address: SocketAddr| Target {
            host: name.clone(),
            address: address.ip(),
            scope: if let SocketAddr::V6(v6) = address { v6.scope_id() } else { 0 },
        };
        let addresses =
            connect::resolve(namespace, &name, 0, RESOLVING).map_err(|error| error.to_string())?;
        let targets: Vec<Target> = addresses.into_iter().filter(family).map(target).take(most).collect();
        if targets.is_empty() {
            return Err(format!("'{text}' has no {} address", if self.ipv4 { "IPv4" } else { "IPv6" }));
        }
        Ok(targets)
    }

    fn plan(&self, group: Group, services: &Services) -> Result<Plan> {
        let forced = self.protocol.as_deref().and_then(protocol);
        let asked = |&(transport, port): &Wanted| {
            let service = services.name(transport, port);
            let protocol = match (forced, self.expecting.profile) {
                _ if self.bare => None,
                (None, Some(profile)) => profile::spoken(profile, transport, port, service),
                (None, None) => at_home(transport, port, service),
                (Some(protocol), _) => Some((protocol, via(protocol, transport, port)?)),
            };
            Ok(Asked { transport, port, protocol })
        };
        let ports: Vec<Asked> = group.ports.iter().map(asked).collect::<Result<_, Misuse>>()?;
        let any: IpAddr = match group.targets.first().map(|target| Family::of(target.address)) {
            Some(Family::Ipv6) => [0_u16; 8].into(),
            _ => [0; 4].into(),
        };
        let source = (self.source.is_some() || self.source_port.is_some()).then(|| {
            SocketAddr::new(self.source.unwrap_or(any), self.source_port.map_or(0, |port| port.number()))
        });
        if let Some(source) = source
            && let Some(other) =
                group.targets.iter().find(|target| target.address.is_ipv4() != source.is_ipv4())
        {
            let (source, other) = (source.ip(), &other.host);
            return Err(Misuse(format!(
                "'{other}' cannot be asked from {source}: the families differ; leave one out, or use -4 or -6"
            ))
            .into());
        }
        let plan = Plan {
            identify: self.identify,
            settings: self.set.clone(),
            udp_tries: self.tries,
            patience: if self.slow { 2 } else { 1 },
            wait: self.timeout,
            rate: self.rate,
            source,
            ..Plan::new(group.targets, ports)
        };
        match plan.unformed() {
            Some((protocol, why)) if !self.set.is_empty() => {
                Err(Misuse(format!("{protocol} cannot be asked that: {why}")).into())
            }
            _ => Ok(plan),
        }
    }
}

/// What carries a forced protocol: as at home where this is its home, else the first that has the transport.
fn via(protocol: &Protocol, transport: Transport, port: u16) -> Result<Via, Misuse> {
    let home = protocol.homes.iter().find(|home| home.port == port && home.via.transport() == transport);
    let first = || protocol.via.iter().copied().find(|via| via.transport() == transport);
    home.map(|home| home.via).or_else(first).ok_or_else(|| {
        let (id, other) = (protocol.id, if transport == Transport::Tcp { "udp" } else { "tcp" });
        Misuse(format!("{id} is not spoken over {transport}; type the port as {port}/{other}"))
    })
}

/// What of the system's list the report needs.
pub(crate) fn service(services: &Services, transport: Transport, port: u16) -> Option<String> {
    static OURS: LazyLock<HashMap<(Transport, u16), &str>> = LazyLock::new(|| {
        let homes = PROBES.iter().rev().flat_map(|protocol| protocol.homes.iter().rev());
        let named = homes.filter(|home| !home.service.is_empty());
        named.map(|home| ((home.via.transport(), home.port), home.service)).collect()
    });
    services.name(transport, port).or_else(|| OURS.get(&(transport, port)).copied()).map(str::to_owned)
}
