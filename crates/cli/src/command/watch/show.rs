//! What one look of `watch` tells: an object, lines, rows.

use std::sync::Arc;

use portolan_core::changes::Changes;
use portolan_core::kernel::services::Services;
use portolan_core::snapshot::{Gap, Snapshot};
use portolan_core::socket::{Socket, State};
use schemars::{JsonSchema, Schema, schema_for};
use serde::{Serialize, Serializer};

use super::condition::{Condition, Tally};
use crate::cells::{Column, Table};
use crate::report::{Block, Line, Report, Tone};
use crate::rows::{SocketRow, has_peer, no_owner_text, owners_text};
use crate::text::{counted, moment};

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Event {
    /// The first look.
    Begun,
    /// It was held against the one before.
    Changes,
    /// It was interrupted: what changed is told with a later one.
    Interrupted,
    /// It saw other parts of the host than the one before, and could not be held against it.
    Anew,
}

/// One look.
pub(super) struct Batch {
    pub(super) event: Event,
    pub(super) earlier: Arc<Snapshot>,
    pub(super) now: Arc<Snapshot>,
    pub(super) services: Arc<Services>,
    pub(super) tally: Tally,
    /// What changed.
    pub(super) changes: Changes,
    /// What could not be seen; empty where that is as it was.
    pub(super) gaps: Vec<Gap>,
    /// Whether something else is not seen than before.
    pub(super) gaps_changed: bool,
    /// Whether Esc and q end it.
    pub(super) by_key: bool,
    /// Whether the condition holds; none without one.
    pub(super) reached: Option<bool>,
}

/// What watch gives: an object for each look that has something to tell.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used: a batch is written as it is")]
struct Watched {
    /// When, milliseconds since 1970-01-01 UTC.
    at_ms: u64,
    /// What the look came to.
    event: Event,
    /// Sockets that opened since the look before.
    opened: Vec<SocketRow<'static>>,
    /// Sockets that closed, as they were seen last.
    closed: Vec<SocketRow<'static>>,
    /// Sockets that came to another state, or got other ends.
    changed: Vec<ChangedRow<'static>>,
    /// How many sockets match now.
    sockets: u32,
    /// How many of them in each state.
    states: std::collections::BTreeMap<State, u32>,
    /// How many have opened since the beginning.
    opened_in_all: u64,
    /// How many have closed since the beginning.
    closed_in_all: u64,
    /// How many changes there were since the beginning.
    changed_in_all: u64,
    /// Whether the condition of --until holds; null without one.
    reached: Option<bool>,
    /// What could not be seen: all of it with the first look, and whenever it is something else than before.
    gaps: Option<Vec<Gap>>,
}

/// A socket that changed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Changed")]
struct ChangedRow<'a> {
    /// Its state at the look before.
    was: State,
    /// The socket as it is now.
    socket: SocketRow<'a>,
}

/// JSON Schema of the report.
pub(in crate::command) fn schema() -> Schema {
    schema_for!(Watched)
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let row = |(socket, look, _)| SocketRow::new(look, &self.services, socket);
        let opened: Vec<SocketRow<'_>> = self.opened().map(row).collect();
        let closed: Vec<SocketRow<'_>> = self.closed().map(row).collect();
        let changed: Vec<ChangedRow<'_>> = self
            .changed()
            .filter_map(|found| Some(ChangedRow { was: found.2?, socket: row(found) }))
            .collect();
        let states: std::collections::BTreeMap<State, u32> = self.tally.states.each().collect();
        let is_told = self.event == Event::Begun || self.gaps_changed;
        let mut batch = serializer.serialize_struct("Watched", 12)?;
        batch.serialize_field("at_ms", &self.now.taken_ms)?;
        batch.serialize_field("event", &self.event)?;
        batch.serialize_field("opened", &opened)?;
        batch.serialize_field("closed", &closed)?;
        batch.serialize_field("changed", &changed)?;
        batch.serialize_field("sockets", &self.tally.states.total())?;
        batch.serialize_field("states", &states)?;
        batch.serialize_field("opened_in_all", &self.tally.opened)?;
        batch.serialize_field("closed_in_all", &self.tally.closed)?;
        batch.serialize_field("changed_in_all", &self.tally.changed)?;
        batch.serialize_field("reached", &self.reached)?;
        batch.serialize_field("gaps", &is_told.then_some(&self.gaps))?;
        batch.end()
    }
}

/// A socket, the look it is from, and the state it was in where it changed.
type Found<'a> = (&'a Socket, &'a Snapshot, Option<State>);

impl Batch {
    /// A look in which nothing changed.
    pub(super) fn new(
        event: Event,
        earlier: &Arc<Snapshot>,
        now: &Arc<Snapshot>,
        services: Arc<Services>,
        tally: &Tally,
    ) -> Self {
        Self {
            event,
            earlier: Arc::clone(earlier),
            now: Arc::clone(now),
            services,
            tally: tally.clone(),
            changes: Changes::default(),
            gaps: Vec::new(),
            gaps_changed: false,
            by_key: false,
            reached: None,
        }
    }

    /// Whether a socket opened, closed or changed.
    pub(super) fn has_changes(&self) -> bool {
        let Changes { opened, closed, changed } = &self.changes;
        !(opened.is_empty() && closed.is_empty() && changed.is_empty())
    }

    /// Whether there is anything to tell.
    pub(super) fn is_worth_telling(&self) -> bool {
        self.event == Event::Begun || self.has_changes() || self.gaps_changed || self.reached == Some(true)
    }

    fn opened(&self) -> impl Iterator<Item = Found<'_>> {
        let socket = |index: &u32| Some((self.now.sockets.get(*index as usize)?, &*self.now, None));
        self.changes.opened.iter().filter_map(socket)
    }

    fn closed(&self) -> impl Iterator<Item = Found<'_>> {
        let socket = |index: &u32| Some((self.earlier.sockets.get(*index as usize)?, &*self.earlier, None));
        self.changes.closed.iter().filter_map(socket)
    }

    fn changed(&self) -> impl Iterator<Item = Found<'_>> {
        self.changes.changed.iter().filter_map(|(then, later)| {
            let was = self.earlier.sockets.get(*then as usize)?.state;
            Some((self.now.sockets.get(*later as usize)?, &*self.now, Some(was)))
        })
    }

    /// Every change with its name, what went first.
    fn each(&self) -> impl Iterator<Item = (&'static str, Tone, Found<'_>)> {
        let closed = self.closed().map(|found| ("closed", Tone::Warning, found));
        let changed = self.changed().map(|found| ("changed", Tone::Plain, found));
        closed.chain(changed).chain(self.opened().map(|found| ("opened", Tone::Good, found)))
    }

    /// Its report.
    pub(super) fn report(self, until: Option<&Condition>) -> Report {
        let blocks = self.lines(until).into_iter().map(Block::Line).collect();
        let rows = self.rows();
        let continues = self.event != Event::Begun;
        Report { continues, gaps: None, ..Report::new(self, blocks, rows, Vec::new()) }
    }

    fn lines(&self, until: Option<&Condition>) -> Vec<Line> {
        let time = moment(self.now.taken_ms).trim_end_matches(" UTC").to_owned();
        let at = || Line::new().and(Tone::Faint, time.clone()).plain("  ");
        let mut lines = Vec::new();
        if self.event == Event::Begun {
            let end = if self.by_key { "Esc, q or Ctrl+C ends it" } else { "Ctrl+C ends it" };
            let begun = Line::new().and(Tone::Faint, format!("{time} UTC  "));
            lines.push(begun.plain(format!("watching: {}; {end}", self.counts())));
            if self.gaps.is_empty() {
                lines.push(at().and(Tone::Faint, "not seen: nothing"));
            }
        }
        for (name, tone, (socket, look, was)) in self.each() {
            let state = match was {
                Some(was) if was != socket.state => format!("{was} → {}", socket.state),
                _ => socket.state.to_string(),
            };
            let ends = match has_peer(socket) {
                true => format!("{} → {}", socket.local(), socket.remote()),
                false => socket.local().to_string(),
            };
            let text = format!("  {}  {state:<12}  {ends:<21}  {}", socket.transport, owner(look, socket));
            lines.push(at().and(tone, format!("{name:<7}")).plain(text));
        }
        lines.extend(self.gaps.iter().map(|gap| {
            at().and(Tone::Warning, format!("not seen: {}", gap.what)).plain(format!(": {}", remedied(gap)))
        }));
        if self.gaps_changed && self.gaps.is_empty() {
            lines.push(at().and(Tone::Faint, "not seen: nothing any more"));
        }
        if self.event == Event::Interrupted || self.event == Event::Anew {
            lines.push(at().and(Tone::Warning, self.event.words()));
        }
        if self.has_changes() {
            lines.push(at().and(Tone::Faint, format!("now: {}", self.counts())));
        }
        if let (Some(until), Some(true)) = (until, self.reached) {
            lines.push(at().and(Tone::Good, format!("reached: {until}")));
        }
        lines
    }

    /// `12 sockets (3 LISTEN, 9 ESTABLISHED)`.
    fn counts(&self) -> String {
        let each: Vec<String> =
            self.tally.states.each().map(|(state, count)| format!("{count} {state}")).collect();
        let sockets = counted(self.tally.states.total().into(), "socket");
        if each.is_empty() { sockets } else { format!("{sockets} ({})", each.join(", ")) }
    }

    fn rows(&self) -> Table {
        let columns = [
            Column::words("time"),
            Column::words("change"),
            Column::words("transport"),
            Column::words("was"),
            Column::words("state"),
            Column::words("local-address"),
            Column::numbers("local-port"),
            Column::words("remote-address"),
            Column::numbers("remote-port"),
            Column::prose("owner"),
            Column::numbers("sockets"),
        ];
        let time = moment(self.now.taken_ms);
        let sockets = self.tally.states.total().to_string();
        let note = |change: &str, text: String| {
            let blank = String::new;
            let [a, b, c, d, e, f, g] = std::array::from_fn(|_| blank());
            [time.clone(), change.to_owned(), a, b, c, d, e, f, g, text, sockets.clone()]
        };
        let mut rows = Vec::new();
        if self.event != Event::Changes {
            rows.push(note(self.event.name(), self.event.words().to_owned()));
        }
        rows.extend(self.each().map(|(name, _, (socket, look, was))| {
            let peer = has_peer(socket);
            [
                time.clone(),
                name.to_owned(),
                socket.transport.to_string(),
                was.map(|was| was.to_string()).unwrap_or_default(),
                socket.state.to_string(),
                socket.local_address().to_string(),
                socket.local_port.to_string(),
                if peer { socket.remote_address().to_string() } else { String::new() },
                if peer { socket.remote_port.to_string() } else { String::new() },
                owner(look, socket),
                sockets.clone(),
            ]
        }));
        rows.extend(self.gaps.iter().map(|gap| note("not-seen", format!("{}: {}", gap.what, remedied(gap)))));
        if self.reached == Some(true) {
            rows.push(note("reached", String::new()));
        }
        Table::of_rows(columns, rows)
    }
}

impl Event {
    const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Changes => "changes",
            Self::Interrupted => "interrupted",
            Self::Anew => "anew",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Begun | Self::Changes => "",
            Self::Interrupted => "the look was interrupted: what changed is told with the next whole one",
            Self::Anew => "more or less is seen than before: what changed meanwhile is not known",
        }
    }
}

/// Who holds a socket, in words.
fn owner(look: &Snapshot, socket: &Socket) -> String {
    match &look.owners_of(socket)[..] {
        [] => no_owner_text(look, socket),
        owners => owners_text(owners),
    }
}

fn remedied(gap: &Gap) -> String {
    match &gap.remedy {
        Some(remedy) => format!("{}; {remedy}", gap.detail),
        None => gap.detail.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{machine, services, valid_json, written};

    fn batch(event: Event) -> Batch {
        let (earlier, mut now) = (machine(), (*machine()).clone());
        now.sockets[0].state = State::CloseWait;
        let changes = Changes { opened: vec![6], closed: vec![3], changed: vec![(0, 0)] };
        let mut tally = Tally { opened: 1, closed: 1, changed: 1, ..Tally::default() };
        now.sockets.iter().take(5).for_each(|socket| tally.states.add(socket.state));
        let gaps = earlier.gaps.clone();
        Batch {
            changes,
            gaps,
            gaps_changed: true,
            ..Batch::new(event, &earlier, &Arc::new(now), services(), &tally)
        }
    }

    #[test]
    fn people_get_a_line_for_each_change_and_then_the_counts() {
        let lines = written(&batch(Event::Changes).report(None), "table");
        let expected = "\
2026-03-01 10:00:00  closed   tcp  TIME_WAIT     10.0.0.5:40001 → 10.0.7.9:8443  no process
2026-03-01 10:00:00  changed  tcp  ESTABLISHED → CLOSE_WAIT  10.0.0.5:80 → 10.0.9.1:51000  nginx (pid 71, nginx.service)
2026-03-01 10:00:00  opened   tcp  LISTEN        127.0.0.1:5432         postgres (pid 60, postgresql.service)
2026-03-01 10:00:00  not seen: owners: 1 socket's holder is not visible; run as root
2026-03-01 10:00:00  now: 5 sockets (1 LISTEN, 2 ESTABLISHED, 1 CLOSE_WAIT, 1 TIME_WAIT)
";
        assert_eq!(lines, expected);
    }

    #[test]
    fn machines_get_an_object_a_line_of_the_schema_and_gaps_travel() {
        for event in [Event::Begun, Event::Changes, Event::Interrupted, Event::Anew] {
            let value = valid_json(&batch(event).report(None), "watch");
            assert_eq!(value["changed"][0]["was"], "ESTABLISHED");
            assert_eq!(value["changed"][0]["socket"]["state"], "CLOSE_WAIT");
            assert_eq!((&value["states"]["LISTEN"], &value["sockets"]), (&1.into(), &5.into()));
            assert_eq!(value["gaps"][0]["what"], "owners");
        }
        let csv = written(&batch(Event::Begun).report(None), "csv");
        assert!(csv.starts_with("time,change,transport,was,state,"), "{csv}");
        let more = written(&batch(Event::Changes).report(None), "csv");
        assert!(more.starts_with("2026-03-01 10:00:00 UTC,closed,tcp,,TIME_WAIT,10.0.0.5,40001,"), "{more}");
        assert!(more.contains(",not-seen,"), "{more}");
    }
}
