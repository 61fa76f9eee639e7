//! What `trace` tells at a time: an object, lines, rows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use portolan_core::snapshot::{Gap, System};
use portolan_core::socket::Transport;
use portolan_core::trace::{Call, Kind, Meaning, Outcome, OwnRange, Repeated, Way};
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::cells::{Column, Table};
use crate::report::{Block, Line, Report, Tone};
use crate::text::{counted, grouped, moment};

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Event {
    /// It traces from now on.
    Begun,
    /// Calls.
    Calls,
    /// It has ended.
    Ended,
}

/// A call, with what it means.
pub(super) struct Told {
    pub(super) call: Call,
    pub(super) meaning: Option<Meaning>,
    /// Whether none like it was told before.
    pub(super) is_first: bool,
}

/// Counts since the beginning.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// Calls.
    pub(super) calls: u64,
    /// Calls that nobody could keep.
    pub(super) lost: u64,
    /// How many of each call and error.
    by_error: BTreeMap<(Kind, String), u64>,
}

impl Totals {
    pub(super) fn add(&mut self, call: &Call, system: System) {
        self.calls += 1;
        *self.by_error.entry((call.kind, result(call, system).into_owned())).or_default() += 1;
    }

    /// `214 calls (200 connect EADDRNOTAVAIL, 14 bind EADDRINUSE)`.
    fn words(&self) -> String {
        let each: Vec<String> = self
            .by_error
            .iter()
            .map(|((kind, result), count)| format!("{} {} {result}", grouped(*count), kind.name()))
            .collect();
        let calls = counted(self.calls, "call");
        if each.is_empty() { calls } else { format!("{calls} ({})", each.join(", ")) }
    }
}

/// The error's name, or what else came of a call.
fn result(call: &Call, system: System) -> Cow<'static, str> {
    match (call.error(system), call.outcome) {
        (Some(name), _) => name.into(),
        (None, Outcome::GivenUp) => "given up".into(),
        (None, _) => "done".into(),
    }
}

/// What is told at a time.
pub(super) struct Batch {
    pub(super) event: Event,
    pub(super) system: System,
    pub(super) way: Way,
    pub(super) at_ns: u64,
    pub(super) totals: Totals,
    pub(super) told: Vec<Told>,
    pub(super) repeated: Vec<Repeated>,
    pub(super) lost: u64,
    /// What cannot be seen this way; told at the beginning.
    pub(super) gaps: Option<Vec<Gap>>,
    /// Whether Esc and q end it.
    pub(super) by_key: bool,
    /// The Windows that recorded it, where it does not happen now.
    pub(super) release: Option<String>,
}

/// What trace gives: an object at the beginning, one whenever there were calls, and one at the end.
#[derive(Serialize, JsonSchema)]
struct Traced<'a> {
    /// When this was told, milliseconds since 1970-01-01 UTC.
    at_ms: u64,
    /// What is told.
    event: Event,
    /// The system whose codes these are.
    system: System,
    /// How calls are seen.
    way: Way,
    /// The calls since the last time, each of them, by when they were over.
    calls: Vec<CallRow<'a>>,
    /// How many more there were that nobody could keep, since the last time.
    lost: u64,
    /// How many were told since the beginning.
    calls_in_all: u64,
    /// How many could not be kept since the beginning.
    lost_in_all: u64,
    /// What cannot be seen this way; told at the beginning, null later.
    gaps: Option<&'a [Gap]>,
}

/// One call.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Call")]
struct CallRow<'a> {
    /// When it was over, microseconds since 1970-01-01 UTC.
    at_us: u64,
    /// How long it took, or the connection that it began, microseconds; null where that was not seen.
    took_us: Option<u64>,
    /// The process.
    pid: u32,
    /// Its short name.
    program: &'a str,
    /// Its effective user id (Linux).
    uid: Option<u32>,
    /// Which call.
    call: Kind,
    /// TCP or UDP; null where it was not seen.
    transport: Option<Transport>,
    /// This end: what bind() asked for, or what a connection has; null where it was not seen.
    local: Option<SocketAddr>,
    /// The other end.
    remote: Option<SocketAddr>,
    /// What came of it: done, failed, failed-later (the call had said that the connection was under way), given-up (the
    /// program closed it before anybody answered).
    outcome: &'static str,
    /// The error's name.
    error: Option<String>,
    /// The error's number.
    code: Option<i32>,
    /// Inode of the network namespace (Linux).
    network_namespace: Option<u64>,
    /// First and last port of the range that the socket narrowed its own to (Linux: IP_LOCAL_PORT_RANGE), 0 for an end that
    /// it left to the system; null where it has none, or where that was not seen.
    own_range: Option<[u16; 2]>,
    /// What it means; null for a call that came about.
    meaning: Option<&'a Meaning>,
}

/// JSON Schema of the report.
pub(in crate::command) fn schema() -> Schema {
    schema_for!(Traced<'static>)
}

impl Serialize for Batch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Traced {
            at_ms: self.at_ns / 1_000_000,
            event: self.event,
            system: self.system,
            way: self.way,
            calls: self.told.iter().map(|told| CallRow::new(told, self.system)).collect(),
            lost: self.lost,
            calls_in_all: self.totals.calls,
            lost_in_all: self.totals.lost,
            gaps: self.gaps.as_deref(),
        }
        .serialize(serializer)
    }
}

impl<'a> CallRow<'a> {
    fn new(told: &'a Told, system: System) -> Self {
        let Told { call, meaning, .. } = told;
        Self {
            at_us: call.at_ns / 1000,
            took_us: call.took_ns.map(|took| took / 1000),
            pid: call.pid,
            program: &call.program,
            uid: call.uid,
            call: call.kind,
            transport: call.transport,
            local: call.local,
            remote: call.remote,
            outcome: call.outcome.name(),
            error: call.error(system),
            code: call.outcome.code(),
            network_namespace: call.network_namespace,
            own_range: match call.own_range {
                OwnRange::Of { first, last } => Some([first, last]),
                OwnRange::No | OwnRange::Unseen => None,
            },
            meaning: meaning.as_ref(),
        }
    }
}

impl Batch {
    pub(super) fn new(event: Event, (system, way): (System, Way), at_ns: u64, totals: Totals) -> Self {
        let (told, repeated) = (Vec::new(), Vec::new());
        Self {
            event,
            system,
            way,
            at_ns,
            totals,
            told,
            repeated,
            lost: 0,
            gaps: None,
            by_key: false,
            release: None,
        }
    }

    /// Whether there is anything to tell.
    pub(super) fn is_worth_telling(&self) -> bool {
        self.event != Event::Calls || !self.told.is_empty() || !self.repeated.is_empty() || self.lost > 0
    }

    /// Its report.
    pub(super) fn report(self) -> Report {
        let blocks = self.lines().into_iter().map(Block::Line).collect();
        let rows = self.rows();
        let continues = self.event != Event::Begun;
        Report { continues, gaps: None, ..Report::new(self, blocks, rows, Vec::new()) }
    }

    fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        if self.event == Event::Begun {
            let end = if self.by_key { "Esc, q or Ctrl+C ends it" } else { "Ctrl+C ends it" };
            let zone = Line::new().and(Tone::Faint, format!("{} UTC  ", time(self.at_ns)));
            let by = self.way.text();
            lines.push(zone.plain(match &self.release {
                Some(release) => format!("recorded by Windows {release}"),
                None => format!("tracing bind, connect and listen of every program, by {by}; {end}"),
            }));
        }
        for gap in self.gaps.iter().flatten() {
            let told = at(self.at_ns).and(Tone::Warning, format!("not seen: {}", gap.what));
            let remedy = gap.remedy.as_ref().map_or_else(String::new, |remedy| format!("; {remedy}"));
            lines.push(told.plain(format!(": {}{remedy}", gap.detail)));
        }
        lines.extend(self.told.iter().filter(|told| told.is_first).map(|told| self.line(told)));
        for Repeated { call, count, within_ns } in &self.repeated {
            let seconds = within_ns.div_ceil(1_000_000_000);
            let again = at(self.at_ns).strong(format!("{} more in the last {seconds} s  ", grouped(*count)));
            lines.push(again.joined(self.call(call)));
        }
        if self.lost > 0 {
            let lost = counted(self.lost, "call");
            let text =
                format!("lost: {lost} came too fast to be kept; they may have failed like those above");
            lines.push(at(self.at_ns).and(Tone::Warning, text));
        }
        if self.event == Event::Ended {
            let lost = match self.totals.lost {
                0 => String::new(),
                lost => format!(", {} lost", grouped(lost)),
            };
            lines.push(at(self.at_ns).and(Tone::Faint, format!("seen: {}{lost}", self.totals.words())));
        }
        lines
    }

    fn line(&self, told: &Told) -> Line {
        let line = at(told.call.at_ns).joined(self.call(&told.call));
        let Some(meaning) = &told.meaning else { return line };
        let line = line.plain(format!("  {}", meaning.text));
        match &meaning.command {
            Some(command) => line.plain("; type: ").and(Tone::Command, command.as_str()),
            None => line,
        }
    }

    /// `curl (pid 812)  connect tcp 10.0.0.5:0 → 10.0.0.9:443  EADDRNOTAVAIL`.
    fn call(&self, call: &Call) -> Line {
        let transport = call.transport.map_or_else(String::new, |transport| format!(" {transport}"));
        let tone = if call.has_failed() { Tone::Bad } else { Tone::Good };
        Line::new()
            .strong(call.program.as_str())
            .plain(format!(" (pid {})  {}{transport}{}  ", call.pid, call.kind.name(), ends(call)))
            .and(tone, result(call, self.system).into_owned())
    }

    fn rows(&self) -> Table {
        let columns = [
            Column::words("time"),
            Column::numbers("pid"),
            Column::words("program"),
            Column::numbers("uid"),
            Column::words("call"),
            Column::words("transport"),
            Column::words("local"),
            Column::words("remote"),
            Column::words("outcome"),
            Column::words("error"),
            Column::numbers("network-namespace"),
            Column::prose("meaning"),
            Column::words("command"),
        ];
        let mut rows: Vec<[String; 13]> = self.told.iter().map(|told| self.row(told)).collect();
        let note = |outcome: &str, meaning: String| {
            let mut row: [String; 13] = std::array::from_fn(|_| String::new());
            row[0] = time(self.at_ns);
            row[8] = outcome.to_owned();
            row[11] = meaning;
            row
        };
        rows.extend(
            self.gaps.iter().flatten().map(|gap| note("not-seen", format!("{}: {}", gap.what, gap.detail))),
        );
        if self.lost > 0 {
            rows.push(note("lost", format!("{} came too fast to be kept", counted(self.lost, "call"))));
        }
        Table::of_rows(columns, rows)
    }

    fn row(&self, told: &Told) -> [String; 13] {
        fn text(value: Option<impl ToString>) -> String {
            value.map(|value| value.to_string()).unwrap_or_default()
        }
        let Told { call, meaning, .. } = told;
        [
            time(call.at_ns),
            call.pid.to_string(),
            call.program.clone(),
            text(call.uid),
            call.kind.name().to_owned(),
            text(call.transport),
            text(call.local),
            text(call.remote),
            call.outcome.name().to_owned(),
            text(call.error(self.system)),
            text(call.network_namespace),
            text(meaning.as_ref().map(|meaning| &meaning.text)),
            text(meaning.as_ref().and_then(|meaning| meaning.command.as_ref())),
        ]
    }
}

/// ` 10.0.0.5:40000 → 10.0.0.9:443`, as far as they were seen.
fn ends(call: &Call) -> String {
    match (call.local, call.remote) {
        // An end without a port yet is only an address.
        (Some(local), Some(remote)) if local.port() == 0 => format!(" {} → {remote}", local.ip()),
        (Some(local), Some(remote)) => format!(" {local} → {remote}"),
        (None, Some(remote)) => format!(" → {remote}"),
        (Some(local), None) => format!(" {local}"),
        (None, None) => String::new(),
    }
}

fn at(at_ns: u64) -> Line {
    Line::new().and(Tone::Faint, time(at_ns)).plain("  ")
}

/// `2026-03-01 10:00:00.123`.
fn time(at_ns: u64) -> String {
    let milliseconds = at_ns / 1_000_000;
    let whole = moment(milliseconds);
    format!("{}.{:03}", whole.trim_end_matches(" UTC"), milliseconds % 1000)
}

#[cfg(test)]
mod tests;
