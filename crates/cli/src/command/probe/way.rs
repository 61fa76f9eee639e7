//! `portolan probe HOST` without ports: its addresses and their names, the way there, and whether it answers an echo.
//!
//! Each address of a name is looked at, several at a time.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use portolan_core::kernel::route::RouteKind;
use portolan_core::probe::Icmp;
use portolan_core::snapshot::{Gap, Reading};
use portolan_core::socket::Transport;
use portolan_host::probe::{Target, check_source};
use portolan_host::way::{Called, Echoes, Manner, Way, way};
use portolan_host::{Error, Namespace};
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use super::Probe;
use super::target::{Hosts, Typed};
use super::told::refused;
use crate::cells::{Column, Table};
use crate::command::Output;
use crate::exit::{Exit, Misuse};
use crate::report::{Block, Line, Report, Tone};
use crate::typed::zone_hint;

/// Addresses that are looked at at once.
const AT_ONCE: usize = 64;
/// Addresses that are looked at in all: each is heard for seconds.
const MOST: usize = 4096;

/// Addresses that are shown with all that was found.
const MOST_DETAILS: usize = 8;

/// What probe gives where no ports are asked.
#[derive(Serialize, JsonSchema)]
struct Looked {
    /// Every host, in the order asked.
    hosts: Vec<Host>,
    /// What could not be seen.
    gaps: Vec<Gap>,
    /// How long it took, in milliseconds.
    elapsed_ms: u64,
}

/// One host, as it was asked for.
#[derive(Serialize, JsonSchema)]
struct Host {
    host: String,
    /// How long its name took to become addresses, in milliseconds; none of what was an address already.
    resolving_ms: Option<f64>,
    /// Why it has no address, for people.
    failure: Option<String>,
    /// Each of its addresses.
    addresses: Vec<Address>,
}

/// One address of a host.
#[derive(Clone, Serialize, JsonSchema)]
struct Address {
    address: IpAddr,
    /// The name of the address.
    name: Option<String>,
    /// Why the name could not be asked for, for people; none where it has a name, or has none.
    name_failure: Option<String>,
    /// The way there; none where it could not be asked (see `gaps`).
    route: Option<Route>,
    /// What came back of echo requests; none where none could be sent (see `gaps`).
    echo: Option<Echo>,
}

/// The way to an address.
#[derive(Clone, Serialize, JsonSchema)]
struct Route {
    kind: RouteKind,
    interface: Option<String>,
    /// The address of this machine that it is sent from.
    source: Option<IpAddr>,
    /// The router that it is given to; none where the address is on the link.
    gateway: Option<IpAddr>,
}

/// What came back of echo requests.
#[derive(Clone, Serialize, JsonSchema)]
struct Echo {
    sent: u16,
    answers: u16,
    /// Shortest round trip, in milliseconds.
    min_ms: Option<f64>,
    avg_ms: Option<f64>,
    max_ms: Option<f64>,
    /// ICMP errors that came instead of answers.
    errors: Vec<Icmp>,
    /// The code with which this system refused to send.
    refused: Option<i32>,
}

/// JSON Schema of the report.
pub(in crate::command) fn schema() -> Schema {
    schema_for!(Looked)
}

impl Probe {
    /// Whether the hosts themselves are asked for, and no port.
    pub(super) fn names_no_port(&self) -> bool {
        let without = |host: &String| Typed::parse(host).is_ok_and(|typed| typed.ports.is_none());
        let speaks = self.protocol.is_some() || self.identify || self.bare || !self.set.is_empty();
        let chooses = !self.ports.is_empty() || self.top.is_some() || self.tcp || self.udp;
        !chooses
            && !speaks
            && self.expecting.profile.is_none()
            && self.expecting.baseline.is_none()
            && !self.hosts.is_empty()
            && self.source_port.is_none()
            && self.hosts.iter().all(without)
    }

    /// The hosts themselves: names, ways, echoes.
    pub(super) fn ways(&self, namespace: &Namespace) -> Result<Output> {
        let resolved = |text: &String| {
            let hosts = Typed::parse(text).map_err(Misuse)?.hosts;
            let named = matches!(hosts, Hosts::Name(_));
            let started = Instant::now();
            let targets = self.resolved(namespace, text, hosts, usize::MAX);
            Ok(Resolved { host: text.clone(), took: named.then(|| started.elapsed()), targets })
        };
        let resolved = self.hosts.iter().map(resolved).collect::<Result<_, Misuse>>()?;
        if let Some(source) = self.source {
            check_source(namespace, SocketAddr::new(source, 0), &[Transport::Udp])?;
        }
        let patience = if self.slow { 2 } else { 1 };
        tell(namespace, resolved, &Manner { patience, wait: self.timeout, source: self.source })
    }
}

/// Addresses of what was typed, how long its name took, or why there is none.
struct Resolved {
    host: String,
    took: Option<Duration>,
    targets: std::result::Result<Vec<Target>, String>,
}

/// Looks at every address of every host.
fn tell(namespace: &Namespace, resolved: Vec<Resolved>, manner: &Manner) -> Result<Output> {
    let started = Instant::now();
    let targets: Vec<Target> =
        resolved.iter().filter_map(|host| host.targets.as_ref().ok()).flatten().cloned().collect();
    if targets.len() > MOST {
        return Err(Misuse(format!(
            "{} addresses are too many to look at without ports; name fewer than {MOST}, or add ports: -p 22,80,443",
            targets.len()
        ))
        .into());
    }
    let mut gaps = Vec::new();
    let mut ways = all_ways(namespace, &targets, manner)?.into_iter();
    let mut hosts = Vec::new();
    for Resolved { host, took, targets } in resolved {
        let failure = targets.as_ref().err().cloned();
        let mut addresses = Vec::new();
        for (target, reading) in targets.unwrap_or_default().into_iter().zip(&mut ways) {
            addresses.push(Address::of(target.address, reading.into_value(&mut gaps)));
        }
        hosts.push(Host { host, resolving_ms: took.map(milliseconds), failure, addresses });
    }
    let mut seen = std::collections::HashSet::new();
    gaps.retain(|gap| seen.insert(gap.clone()));
    let elapsed = started.elapsed();
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    Ok(Output::Report(report(Looked { hosts, gaps, elapsed_ms })))
}

/// The ways to all of them, in their order.
fn all_ways(namespace: &Namespace, targets: &[Target], manner: &Manner) -> Result<Vec<Reading<Way>>, Error> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..targets.len().min(AT_ONCE) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(target) = targets.get(index) else { break };
                    let to = match target.address {
                        IpAddr::V4(v4) => SocketAddr::from((v4, 0)),
                        IpAddr::V6(v6) => SocketAddrV6::new(v6, 0, 0, target.scope).into(),
                    };
                    let result = way(namespace, to, manner);
                    found.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_unstable_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, result)| result).collect()
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

impl Address {
    fn of(address: IpAddr, way: Way) -> Self {
        let (name, name_failure) = match way.called {
            Called::Name(name) => (Some(name), None),
            Called::Nothing => (None, None),
            Called::Unknown(reason) => (None, Some(reason)),
        };
        let route = way.route.map(|(route, interface)| Route {
            kind: route.kind,
            interface,
            source: route.source,
            gateway: route.gateway,
        });
        Self { address, name, name_failure, route, echo: way.echoes.as_ref().map(Echo::of) }
    }

    /// Whether it answers; none where that could not be told.
    fn answers(&self) -> Option<bool> {
        match (&self.echo, &self.route) {
            (_, Some(route)) if !route.kind.leads_there() => Some(false),
            (Some(echo), _) if echo.answers > 0 => Some(true),
            // Our own refusal, where a way leads there, says nothing of the other end.
            (Some(echo), _) if echo.refused.is_some() && echo.errors.is_empty() => None,
            (Some(_), _) => Some(false),
            (None, _) => None,
        }
    }

    fn way(&self) -> String {
        let Some(route) = &self.route else { return "not known".into() };
        if !route.kind.leads_there() {
            return route.kind.meaning().into();
        }
        let part =
            |word, value: Option<String>| value.map_or_else(String::new, |value| format!(" {word} {value}"));
        let gateway = part("via", route.gateway.map(|gateway| gateway.to_string()));
        let source = part("from", route.source.map(|source| source.to_string()));
        let interface = route.interface.as_deref().unwrap_or("?");
        let kind = if route.kind == RouteKind::Local { " (this machine)" } else { "" };
        format!("{interface}{gateway}{source}{kind}")
    }

    fn echo(&self) -> String {
        let Some(echo) = &self.echo else { return "could not be asked".into() };
        let mut parts = Vec::new();
        if let (Some(min), Some(avg), Some(max)) = (echo.min_ms, echo.avg_ms, echo.max_ms) {
            let lost = echo.sent.saturating_sub(echo.answers);
            let (answers, sent) = (echo.answers, echo.sent);
            parts.push(format!("{answers} of {sent} answered in {min} to {max} ms, {avg} on average"));
            if lost > 0 {
                parts.push(format!("{} % lost", u32::from(lost) * 100 / u32::from(echo.sent)));
            }
        } else if echo.errors.is_empty() && echo.refused.is_none() {
            parts.push(format!("none of {} answered", echo.sent));
        }
        let mut told: Vec<&Icmp> = Vec::new();
        for icmp in &echo.errors {
            if !told.contains(&icmp) {
                told.push(icmp);
                let from = icmp.from.map_or_else(String::new, |from| format!(" from {from}"));
                parts.push(format!("{}{from}", icmp.meaning()));
            }
        }
        parts.extend(echo.refused.map(refused));
        parts.join("; ")
    }

    fn cells(&self, host: &str) -> [String; 12] {
        let (route, echo) = (self.route.as_ref(), self.echo.as_ref());
        let shown = |address: Option<IpAddr>| address.map(|address| address.to_string()).unwrap_or_default();
        let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        [
            host.to_owned(),
            self.address.to_string(),
            self.name.clone().unwrap_or_default(),
            route.and_then(|route| route.interface.clone()).unwrap_or_default(),
            shown(route.and_then(|route| route.source)),
            shown(route.and_then(|route| route.gateway)),
            echo.map(|echo| echo.sent.to_string()).unwrap_or_default(),
            echo.map(|echo| echo.answers.to_string()).unwrap_or_default(),
            number(echo.and_then(|echo| echo.min_ms)),
            number(echo.and_then(|echo| echo.avg_ms)),
            number(echo.and_then(|echo| echo.max_ms)),
            self.echo(),
        ]
    }
}

impl Echo {
    fn of(echoes: &Echoes) -> Self {
        let trips = &echoes.answers;
        let sum: Duration = trips.iter().sum();
        let count = u32::try_from(trips.len()).unwrap_or(u32::MAX);
        Self {
            sent: echoes.sent,
            answers: u16::try_from(count).unwrap_or(u16::MAX),
            min_ms: trips.iter().min().copied().map(milliseconds),
            avg_ms: (count > 0).then(|| milliseconds(sum / count)),
            max_ms: trips.iter().max().copied().map(milliseconds),
            errors: echoes.errors.clone(),
            refused: echoes.refused,
        }
    }
}

/// Whether a host answers at one of its addresses; none where that could not be told.
fn answers(host: &Host) -> Option<bool> {
    let addresses = || host.addresses.iter().map(Address::answers);
    match (addresses().any(|told| told == Some(true)), addresses().all(|told| told == Some(false))) {
        (true, _) => Some(true),
        (false, true) if !host.addresses.is_empty() => Some(false),
        _ => None,
    }
}

fn report(looked: Looked) -> Report {
    let told: Vec<Option<bool>> = looked.hosts.iter().map(answers).collect();
    let exit = match (told.iter().all(|told| *told == Some(true)), told.contains(&Some(false))) {
        (true, _) => Exit::Fine,
        (false, true) => Exit::Not,
        (false, false) => Exit::Unclear,
    };
    let mut aside: Vec<String> = looked.hosts.iter().filter_map(|host| host.failure.clone()).collect();
    for host in &looked.hosts {
        let unasked = host.addresses.iter().filter(|address| address.answers() != Some(true));
        aside.extend(unasked.filter_map(|address| zone_hint(&host.host, address.address)));
    }
    let blocks = blocks(&looked.hosts, &told);
    let columns = [
        "host",
        "address",
        "name",
        "interface",
        "source",
        "gateway",
        "sent",
        "answers",
        "min-ms",
        "avg-ms",
        "max-ms",
        "echo",
    ]
    .map(Column::words);
    let rows =
        looked.hosts.iter().flat_map(|host| host.addresses.iter().map(|address| address.cells(&host.host)));
    let rows = Table::of_rows(columns, rows.collect());
    let gaps = looked.gaps.clone();
    let report = Report { exit, aside, ..Report::new(looked, blocks, rows, gaps) };
    // What was refused stands beside the address: that nothing was unseen would gainsay it.
    if report.gaps.as_ref().is_some_and(Vec::is_empty) { Report { gaps: None, ..report } } else { report }
}

/// Whether it answers, and how its name became addresses.
fn headline(host: &Host, told: Option<bool>) -> Line {
    let line = Line::new().strong(host.host.clone());
    let line = match told {
        Some(true) => line.and(Tone::Good, " answers"),
        Some(false) => line.and(Tone::Bad, " does not answer an echo request"),
        None => line.and(Tone::Warning, " may answer or not: that could not be told"),
    };
    match host.resolving_ms {
        Some(ms) => {
            let noun = if host.addresses.len() == 1 { "address" } else { "addresses" };
            let count = format!("{} {noun}", host.addresses.len());
            line.plain(format!("   {count} found in {ms:.1} ms"))
        }
        None => line,
    }
}

/// For people: a few addresses with all that was found, many as a table.
fn blocks(hosts: &[Host], told: &[Option<bool>]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let many = hosts.iter().map(|host| host.addresses.len()).sum::<usize>() > MOST_DETAILS;
    for (host, told) in hosts.iter().zip(told).filter(|(host, _)| !host.addresses.is_empty()) {
        if !blocks.is_empty() {
            blocks.push(Block::gap());
        }
        blocks.push(Block::Line(headline(host, *told)));
        if many {
            blocks.push(Block::Table(table(host)));
        } else {
            host.addresses.iter().for_each(|address| blocks.extend(details(address)));
        }
    }
    blocks
}

fn details(address: &Address) -> [Block; 3] {
    let name = match (&address.name, &address.name_failure) {
        (Some(name), _) => name.clone(),
        (None, Some(failure)) => format!("its name is not known: {failure}"),
        (None, None) => "without a name".into(),
    };
    [
        Block::Line(Line::new().strong(address.address.to_string()).plain(format!("   {name}"))),
        Block::entry("way", address.way()),
        Block::entry("echo", address.echo()),
    ]
}

fn table(host: &Host) -> Table {
    let columns = [Column::words("address"), Column::words("name"), Column::prose("echo")];
    let cells = |address: &Address| {
        let way = address.route.as_ref().is_none_or(|route| route.kind.leads_there());
        let echo = if way { address.echo() } else { address.way() };
        [address.address.to_string(), address.name.clone().unwrap_or_default(), echo]
    };
    Table::of_rows(columns, host.addresses.iter().map(cells).collect())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use portolan_core::kernel::route;
    use portolan_core::probe::IcmpVersion;

    use super::*;
    use crate::fixture::{valid_json, written};

    fn address(text: &str, kind: RouteKind, echoes: Option<Echoes>) -> Address {
        let route = route::Route {
            kind,
            interface: Some(2),
            source: "192.0.2.9".parse().ok(),
            gateway: "192.0.2.254".parse().ok(),
        };
        let route = if kind.leads_there() { route } else { route::Route::none(kind) };
        let called = Called::Name("db.example".into());
        Address::of(text.parse().unwrap(), Way { called, route: Some((route, Some("eth0".into()))), echoes })
    }

    fn looked(addresses: Vec<Address>) -> Looked {
        let host = Host { host: "db".into(), resolving_ms: Some(1.25), failure: None, addresses };
        Looked { hosts: vec![host], gaps: Vec::new(), elapsed_ms: 7 }
    }

    fn answered(milliseconds: &[u64]) -> Option<Echoes> {
        let answers = milliseconds.iter().map(|ms| Duration::from_millis(*ms)).collect();
        Some(Echoes { sent: 4, answers, ..Echoes::default() })
    }

    #[test]
    fn people_see_whether_it_answers_and_each_address_with_its_way() {
        let icmp =
            Icmp { version: IcmpVersion::V4, kind: 3, code: 1, from: Some("192.0.2.254".parse().unwrap()) };
        let refused = Echoes { sent: 4, errors: vec![icmp; 4], ..Echoes::default() };
        let report = report(looked(vec![
            address("10.0.0.7", RouteKind::Unicast, answered(&[1, 2, 6])),
            address("10.0.0.8", RouteKind::Unicast, Some(refused)),
            address("10.0.0.9", RouteKind::Blackhole, None),
        ]));
        assert_eq!(report.exit, Exit::Fine);
        assert_eq!(valid_json(&report, "probe-host")["hosts"][0]["addresses"][0]["echo"]["avg_ms"], 3.0);
        assert_snapshot!(written(&report, "table"), @r"
        db answers   3 addresses found in 1.2 ms
        10.0.0.7   db.example
          way       eth0 via 192.0.2.254 from 192.0.2.9
          echo      3 of 4 answered in 1 to 6 ms, 3 on average; 25 % lost
        10.0.0.8   db.example
          way       eth0 via 192.0.2.254 from 192.0.2.9
          echo      host unreachable from 192.0.2.254
        10.0.0.9   db.example
          way       a blackhole route of this machine swallows it
          echo      could not be asked
        ");
    }

    #[test]
    fn the_exit_code_says_whether_it_answers_or_nothing_could_be_told() {
        let exit = |addresses| report(looked(addresses)).exit;
        let silent = || address("10.0.0.7", RouteKind::Unicast, answered(&[]));
        let unasked = || address("10.0.0.8", RouteKind::Unicast, None);
        assert_eq!(exit(vec![silent()]), Exit::Not);
        assert_eq!(exit(vec![address("10.0.0.7", RouteKind::None, None)]), Exit::Not);
        assert_eq!(exit(vec![silent(), unasked()]), Exit::Unclear);
        assert_eq!(exit(Vec::new()), Exit::Unclear);
        let refused = Echoes { sent: 1, refused: Some(1), ..Echoes::default() };
        assert_eq!(exit(vec![address("10.0.0.7", RouteKind::Unicast, Some(refused))]), Exit::Unclear);
    }
}
