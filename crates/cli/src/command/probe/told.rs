//! What `probe` tells: every verdict for machines, the telling ones first for people.

mod changed;
mod judged;
mod refused;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use portolan_core::answer::{Answer, Value};
use portolan_core::kernel::services::Services;
use portolan_core::probe::{PortState, Reason};
use portolan_core::profile::{Profile, named_ports};
use portolan_core::socket::Transport;
use portolan_host::probe::{Plan, Probed};
use schemars::{JsonSchema, Schema, schema_for};
use serde::{Serialize, Serializer};

use super::service;
use crate::cells::{Column, Table};
use crate::exit::Exit;
use crate::report::{Block, Line, Report, Tone};
use crate::text::{counted, grouped};

use changed::Changed;
use refused::{why, without_way};

pub(super) use changed::Baseline;
pub(super) use judged::Judged;
pub(super) use refused::refused;

/// Results that are kept one by one; beyond them only what is open, and how many the others are.
const MOST_RESULTS: usize = 200_000;
/// Rows that are not open and still shown one by one to a person.
const MOST_DULL_ROWS: usize = 25;
/// Answers that are shown with all that they tell.
const MOST_DETAILS: usize = 8;

/// What probe gives.
#[derive(Serialize, JsonSchema)]
struct Probing {
    /// Every port of every host, in the order asked; those that are not open may be left out where there are more
    /// than 200,000.
    #[schemars(with = "Vec<Result>")]
    results: Results,
    /// How many results were left out, by host and state.
    omitted: Vec<Omitted>,
    /// Hosts without an address.
    unresolved: Vec<Unresolved>,
    /// Whether every port was asked to the end: not where Ctrl+C broke it off.
    complete: bool,
    /// What the profile expects, where one was asked for; the exit code is about it then.
    profile: Option<Judged>,
    /// What changed since an earlier run, where one was asked for; the exit code is about it then.
    changed: Option<Changed>,
    /// How long it took, in milliseconds.
    elapsed_ms: u64,
}

/// What machines and spreadsheets read, once.
#[derive(Clone)]
struct Results(Arc<[Result]>);

impl Serialize for Results {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

/// One port of one host.
#[derive(Clone, Serialize, JsonSchema)]
struct Result {
    /// As it was asked for: a name or an address.
    host: String,
    address: IpAddr,
    transport: Transport,
    port: u16,
    /// Its name in the services file, or in Portolan's own table.
    service: Option<String>,
    state: PortState,
    reason: Reason,
    /// From the question that was answered to its answer, in milliseconds.
    rtt_ms: Option<f64>,
    /// How often the question was sent.
    tries: u16,
    /// What the server told.
    answer: Option<Answer>,
    /// Why it told nothing, where it was talked to.
    failure: Option<Failure>,
}

/// A conversation that came to nothing.
#[derive(Clone, Serialize, JsonSchema)]
struct Failure {
    /// What was spoken.
    protocol: &'static str,
    /// Why, for people.
    reason: String,
}

#[derive(Serialize, JsonSchema)]
struct Omitted {
    host: String,
    address: IpAddr,
    state: PortState,
    count: u64,
}

#[derive(Clone, Serialize, JsonSchema)]
struct Unresolved {
    host: String,
    /// Why, for people.
    reason: String,
}

/// JSON Schema of the report.
pub(super) fn schema() -> Schema {
    schema_for!(Probing)
}

/// What was found, plan after plan.
pub(super) struct Told {
    services: Arc<Services>,
    /// Whether a person wants every row.
    all: bool,
    results: Vec<Result>,
    omitted: BTreeMap<(String, IpAddr, PortState), u64>,
    unresolved: Vec<Unresolved>,
    complete: bool,
    profile: Option<(&'static Profile, Judged)>,
    baseline: Option<Baseline>,
}

/// What was found under one plan; keeps the dull results only while there are few.
#[derive(Default)]
pub(super) struct Found {
    kept: Vec<Probed>,
    omitted: BTreeMap<(usize, PortState), u64>,
}

impl Found {
    /// Takes a result.
    pub(super) fn add(&mut self, probed: Probed) {
        if self.kept.len() < MOST_RESULTS || probed.verdict.state == PortState::Open {
            self.kept.push(probed);
        } else {
            *self.omitted.entry((probed.target, probed.verdict.state)).or_default() += 1;
        }
    }
}

impl Told {
    pub(super) fn new(services: Arc<Services>, all: bool) -> Self {
        let (results, omitted, unresolved) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { services, all, results, omitted, unresolved, complete: true, profile: None, baseline: None }
    }

    /// An earlier run that what is found is to be compared with.
    pub(super) fn compare(&mut self, baseline: Baseline) {
        self.baseline = Some(baseline);
    }

    /// The ports that the earlier run asked a host for; of a host that it did not ask, all that it asked anybody for.
    pub(super) fn asked_before(&self, host: &str) -> Vec<(Transport, u16)> {
        self.baseline.as_ref().map(|baseline| baseline.ports(host)).unwrap_or_default()
    }

    /// A profile that what is found is to be held against.
    pub(super) fn expect(&mut self, profile: &'static Profile) -> &mut Judged {
        &mut self.profile.get_or_insert_with(|| (profile, Judged::new(profile))).1
    }

    /// The ports that the endpoint mappers of an address named, where the profile follows them.
    pub(super) fn follow(&mut self, address: IpAddr) -> Vec<u16> {
        let Some((profile, judged)) = &mut self.profile else { return Vec::new() };
        let follows = |result: &&Result| {
            result.address == address
                && profile.entry(result.transport, result.port).is_some_and(|entry| entry.follow)
        };
        let mut ports = Vec::new();
        for answer in self.results.iter().filter(follows).filter_map(|result| result.answer.as_ref()) {
            for (port, name) in named_ports(answer) {
                judged.follow(address, port, name);
                ports.push(port);
            }
        }
        ports
    }

    /// A host without an address.
    pub(super) fn unresolved(&mut self, host: &str, reason: String) {
        self.unresolved.push(Unresolved { host: host.to_owned(), reason });
    }

    /// What a plan has found.
    pub(super) fn add(&mut self, plan: &Plan, mut found: Found, cancelled: bool) {
        self.complete &= !cancelled;
        found.kept.sort_unstable_by_key(|probed| (probed.target, probed.port));
        for probed in found.kept {
            let (Some(target), Some(asked)) = (plan.targets.get(probed.target), plan.ports.get(probed.port))
            else {
                continue;
            };
            self.results.push(Result {
                host: target.host.clone(),
                address: target.address,
                transport: asked.transport,
                port: asked.port,
                service: service(&self.services, asked.transport, asked.port),
                state: probed.verdict.state,
                reason: probed.verdict.reason,
                rtt_ms: probed.verdict.round_trip.map(|trip| (trip.as_secs_f64() * 1e6).round() / 1e3),
                tries: probed.verdict.tries,
                answer: probed.answer,
                failure: probed.failure.map(|(protocol, reason)| Failure { protocol, reason }),
            });
        }
        for ((target, state), count) in found.omitted {
            if let Some(target) = plan.targets.get(target) {
                *self.omitted.entry((target.host.clone(), target.address, state)).or_default() += count;
            }
        }
    }

    fn exit(&self, changed: Option<&Changed>) -> Exit {
        let open = self.results.iter().filter(|result| result.state == PortState::Open).count();
        // Where this system knows no way, nobody was asked.
        let tells = |result: &Result| {
            let way =
                result.state != PortState::Unreachable || !matches!(result.reason, Reason::System { .. });
            way && result.state != PortState::Undecided
        };
        let told = self.results.iter().any(tells) || !self.omitted.is_empty();
        if changed.is_some_and(|changed| !changed.tells() || !self.omitted.is_empty()) {
            return Exit::Unclear;
        }
        let unchanged = changed.is_none_or(Changed::is_empty);
        let met = match (&self.profile, changed) {
            (Some((_, judged)), _) => judged.passed() && unchanged,
            (None, Some(_)) => unchanged,
            (None, None) => open == self.results.len() && self.omitted.is_empty(),
        };
        match (told, met && self.complete && self.unresolved.is_empty()) {
            (false, _) => Exit::Unclear,
            (true, true) => Exit::Fine,
            (true, false) => Exit::Not,
        }
    }

    /// The report.
    pub(super) fn report(mut self, elapsed: Duration) -> Report {
        if let Some((profile, judged)) = &mut self.profile {
            judged.judge(profile, &self.results);
        }
        let changed = self.baseline.as_ref().map(|baseline| baseline.compare(&self.results));
        let exit = self.exit(changed.as_ref());
        let blocks = match (&self.profile, &changed) {
            (Some((_, judged)), Some(changed)) => {
                [judged.blocks(), vec![Block::gap()], changed.blocks()].into_iter().flatten().collect()
            }
            (Some((_, judged)), None) => judged.blocks(),
            (None, Some(changed)) => changed.blocks(),
            (None, None) => self.blocks(elapsed),
        };
        let aside = self.unresolved.iter().map(|unresolved| unresolved.reason.clone());
        let broken = (!self.complete).then(|| "broken off: not every port was asked".to_owned());
        let aside = aside.chain(without_way(&self.results)).chain(broken).collect();
        let columns = [
            "host",
            "address",
            "port",
            "transport",
            "service",
            "state",
            "reason",
            "icmp-from",
            "rtt-ms",
            "tries",
            "answer",
        ]
        .map(Column::words);
        let results = Results(self.results.into());
        // Only a format that wants rows has them made.
        let each = results.clone();
        let rows = Table::new(columns.to_vec(), each.0.len(), move |row, cells| {
            for text in each.0[row].cells() {
                cells.text(&text);
                cells.end();
            }
        });
        let omitted = self.omitted.into_iter();
        let body = Probing {
            results,
            omitted: omitted
                .map(|((host, address, state), count)| Omitted { host, address, state, count })
                .collect(),
            unresolved: self.unresolved,
            complete: self.complete,
            profile: self.profile.map(|(_, judged)| judged),
            changed,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        };
        Report { exit, aside, gaps: None, ..Report::new(body, blocks, rows, Vec::new()) }
    }

    /// For people: how many of what, the rows that say something, the answers.
    fn blocks(&self, elapsed: Duration) -> Vec<Block> {
        let mut blocks = Vec::new();
        if !self.results.is_empty() {
            blocks.push(Block::Line(self.headline(elapsed)));
            blocks.push(Block::gap());
        }
        let several = self.results.windows(2).any(|pair| pair[0].address != pair[1].address);
        let dull = |result: &&Result| result.state != PortState::Open && result.answer.is_none();
        let folds = !self.all && self.results.iter().filter(dull).count() > MOST_DULL_ROWS;
        let shown = || self.results.iter().filter(|result| !folds || !dull(result));
        if shown().next().is_some() {
            blocks.push(Block::Table(table(shown(), several)));
        }
        if folds {
            blocks.extend(self.folded().into_iter().map(|line| Block::Line(line.into())));
            blocks.push(Block::Line("--all shows each of them".into()));
        }
        let with_answers = shown().filter(|result| result.answer.is_some());
        if with_answers.clone().count() <= MOST_DETAILS {
            with_answers.for_each(|result| blocks.extend(details(result, several)));
        }
        blocks
    }

    fn headline(&self, elapsed: Duration) -> Line {
        let mut counts: BTreeMap<PortState, u64> = BTreeMap::new();
        self.results.iter().for_each(|result| *counts.entry(result.state).or_default() += 1);
        self.omitted.iter().for_each(|((_, _, state), count)| *counts.entry(*state).or_default() += count);
        let mut line = Line::new();
        for (index, (state, count)) in counts.iter().enumerate() {
            line = if index > 0 { line.plain(", ") } else { line };
            line = line.and(tone(*state), format!("{} {}", grouped(*count), state.word()));
        }
        let mut hosts: Vec<IpAddr> = self.results.iter().map(|result| result.address).collect();
        hosts.dedup();
        let whom = match (&hosts[..], self.results.first()) {
            ([_], Some(first)) if first.host == first.address.to_string() => first.host.clone(),
            ([_], Some(first)) => format!("{} ({})", first.host, first.address),
            (hosts, _) => counted(hosts.len() as u64, "host"),
        };
        line.plain(format!("   {whom}, {:.1} s", elapsed.as_secs_f64()))
    }

    /// Dull rows by what they have in common.
    fn folded(&self) -> Vec<String> {
        let mut groups: BTreeMap<(PortState, String), u64> = BTreeMap::new();
        for result in
            self.results.iter().filter(|result| result.state != PortState::Open && result.answer.is_none())
        {
            *groups.entry((result.state, why(result.reason))).or_default() += 1;
        }
        let line = |((state, reason), count): ((PortState, String), u64)| {
            format!("{} {}: {reason}", grouped(count), state.word())
        };
        groups.into_iter().map(line).collect()
    }
}

const fn tone(state: PortState) -> Tone {
    match state {
        PortState::Open => Tone::Good,
        PortState::Closed => Tone::Bad,
        PortState::OpenFiltered | PortState::Undecided => Tone::Warning,
        PortState::Filtered | PortState::Unreachable => Tone::Bad,
    }
}

impl Result {
    fn cells(&self) -> [String; 11] {
        let icmp = self.reason.icmp();
        [
            self.host.clone(),
            self.address.to_string(),
            self.port.to_string(),
            self.transport.to_string(),
            self.service.clone().unwrap_or_default(),
            self.state.word().to_owned(),
            self.reason.word().to_owned(),
            icmp.and_then(|icmp| icmp.from).map(|from| from.to_string()).unwrap_or_default(),
            self.rtt_ms.map(|ms| ms.to_string()).unwrap_or_default(),
            self.tries.to_string(),
            self.tells_all(),
        ]
    }

    /// What it told, in a line.
    fn tells(&self) -> String {
        match (&self.answer, &self.failure) {
            (Some(answer), _) => answer.summary.clone(),
            (None, Some(failure)) => format!("{}: {}", failure.protocol, failure.reason),
            (None, None) => String::new(),
        }
    }

    /// The same for programs that read rows: the reason's word alone does not name the system's error.
    fn tells_all(&self) -> String {
        match self.reason {
            reason @ Reason::System { .. } if self.tells().is_empty() => why(reason),
            _ => self.tells(),
        }
    }
}

fn table<'a>(results: impl Iterator<Item = &'a Result>, several: bool) -> Table {
    let cells = |result: &Result| {
        let why = if result.state == PortState::Open { String::new() } else { why(result.reason) };
        let tells = [why, result.tells()].into_iter().filter(|text| !text.is_empty());
        [
            result.host.clone(),
            format!("{}/{}", result.port, result.transport),
            result.state.word().to_owned(),
            result.service.clone().unwrap_or_default(),
            tells.collect::<Vec<_>>().join("; "),
        ]
    };
    let columns = [
        Column::words("host"),
        Column::words("port"),
        Column::words("state"),
        Column::words("service"),
        Column::prose("what it tells"),
    ];
    let rows: Vec<[String; 5]> = results.map(cells).collect();
    if several {
        return Table::of_rows(columns, rows);
    }
    let [_, port, state, service, tells] = columns;
    let without_host = |[_, port, state, service, tells]: [String; 5]| [port, state, service, tells];
    Table::of_rows([port, state, service, tells], rows.into_iter().map(without_host).collect())
}

/// All that an answer tells, a line each.
fn details(result: &Result, several: bool) -> Vec<Block> {
    let Some(answer) = result.answer.as_ref().filter(|answer| !answer.fields.is_empty()) else {
        return Vec::new();
    };
    let host = if several { format!("{}:", result.host) } else { String::new() };
    let title = format!("{host}{}/{}", result.port, result.transport);
    let mut blocks =
        vec![Block::gap(), Block::Line(Line::new().strong(title).plain(format!("   {}", answer.protocol)))];
    let width = answer.fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(30);
    for (name, value) in answer.fields.iter() {
        for (index, line) in lines(value).into_iter().enumerate() {
            let label = if index == 0 { name } else { "" };
            blocks.push(Block::Line(format!("  {label:<width$}   {line}").into()));
        }
    }
    blocks
}

/// A value in lines: each value of a list, and each named value, on its own.
fn lines(value: &Value) -> Vec<String> {
    let parts: Vec<String> = match value {
        Value::List(values) => values.iter().map(Value::to_string).collect(),
        Value::Fields(fields) => fields
            .iter()
            .flat_map(|(name, value)| match value {
                Value::List(values) => values.iter().map(|value| format!("{name} {value}")).collect(),
                value => vec![format!("{name} {value}")],
            })
            .collect(),
        value => vec![value.to_string()],
    };
    parts.iter().flat_map(|part| part.lines().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests;
