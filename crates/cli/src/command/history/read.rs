//! What is asked of the recorder's file, and what it comes to: series with their courses, who grew, when room ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use portolan_core::course::{Course, Ending, course};
use portolan_core::diagnose::Severity;
use portolan_core::record::{Amount, Found, What};
use portolan_core::series::Series;
use portolan_core::snapshot::{Gap, GapReason};
use portolan_history::{Noted, Query, Span, Store, Whose};
use schemars::JsonSchema;
use serde::Serialize;

use super::diary::{self, Page};
use crate::exit::{Exit, Misuse};
use crate::text::{is_like, moment, span};
use crate::typed::When;

/// About so many points of each series are read.
const POINTS: usize = 600;
/// Owners that are looked through for who grew.
const OWNERS: usize = 40;
/// Rooms that are looked through for when they end.
const ROOMS: usize = 24;
/// For so long before the window it is looked whether a fall was there before.
const BEFORE_MS: u64 = 28 * 86_400_000;
/// In stretches of half an hour.
const BEFORE_POINTS: usize = 28 * 48;
/// Growth of fewer sockets is not told.
const LEAST_GROWTH: f64 = 10.0;
/// Gaps of one kind that are told.
const GAPS: usize = 10;

/// Which part of the record.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// From when on, milliseconds since 1970-01-01 UTC.
    pub(super) from_ms: u64,
    /// Until when.
    pub(super) to_ms: u64,
    /// All that was recorded.
    pub(super) span: Span,
    /// Whether the last look lies in it.
    pub(super) has_last: bool,
}

/// What is charted.
pub(super) struct Asked<'a> {
    pub(super) what: What,
    pub(super) top: usize,
    pub(super) name: Option<&'a str>,
}

/// One number over time, and how it went.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Trace {
    /// What was recorded.
    #[serde(flatten)]
    pub(super) series: Series,
    /// How much the last look of it saw, in that time; null where the looks are not kept any more, but minutes or hours.
    pub(super) last: Option<Amount>,
    /// How it went; null where nothing was recorded.
    pub(super) course: Option<Course>,
    /// Of room left: when it ends; null where it does not fall steadily.
    pub(super) ending: Option<Ending>,
}

/// Who grew.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Grown {
    /// Whose sockets.
    pub(super) name: String,
    /// How they went.
    pub(super) course: Course,
}

/// Room that falls, or that has come to nothing.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Falling {
    /// To where, or which.
    pub(super) name: String,
    /// The ports left at the last look of it.
    pub(super) left: f64,
    /// How it went.
    pub(super) course: Course,
    /// When it ends; null where it has no steady fall and nothing is left already.
    pub(super) ending: Option<Ending>,
}

/// When nothing was recorded.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(super) struct Pause {
    /// From, milliseconds since 1970-01-01 UTC.
    pub(super) from_ms: u64,
    /// To.
    pub(super) to_ms: u64,
}

/// How it went.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Sheet {
    /// The recorder's file.
    pub(super) file: String,
    /// From when on, milliseconds since 1970-01-01 UTC.
    pub(super) since_ms: u64,
    /// Until when.
    pub(super) until_ms: u64,
    /// Whose numbers they are; null where the file is older than that it was written down.
    pub(super) whose: Option<Whose>,
    /// All that was recorded, and who recorded last.
    pub(super) recorded: Span,
    /// What is charted.
    pub(super) by: What,
    /// What is charted, the most telling first.
    pub(super) series: Vec<Trace>,
    /// Who grew, most first.
    pub(super) grew: Vec<Grown>,
    /// How many rooms were looked through.
    pub(super) rooms: usize,
    /// Rooms that fall, what ends first before the others.
    pub(super) falling: Vec<Falling>,
    /// Findings of the recorder, the oldest first.
    pub(super) findings: Vec<Noted<Found>>,
    /// What changed about ranges and reservations.
    pub(super) changes: Vec<Page>,
    /// When nothing was recorded.
    pub(super) pauses: Vec<Pause>,
    /// What could not be seen.
    pub(super) gaps: Vec<Gap>,
    /// Whether the last look is a part of it.
    #[serde(skip)]
    has_last: bool,
}

impl Falling {
    /// Whether somebody should act: it ends soon, or has ended.
    pub(super) fn is_alarm(&self) -> bool {
        self.left < 1.0 || self.ending.is_some_and(|ending| ending.is_alarm())
    }
}

impl Sheet {
    /// How the program ends.
    pub(super) fn exit(&self) -> Exit {
        let lasts =
            |noted: &Noted<Found>| noted.until_ms.is_none() && noted.what.severity >= Severity::Warning;
        let found = self.has_last && self.findings.iter().any(lasts);
        if found || self.falling.iter().any(Falling::is_alarm) { Exit::Not } else { Exit::Fine }
    }
}

/// Which part of the record is meant.
pub(super) fn window(store: &Store, file: &str, since: When, until: Option<When>) -> Result<Window> {
    let Some(span) = store.span()? else {
        return Err(
            Misuse(format!("nothing was recorded in {file} yet; start it with: portolan record")).into()
        );
    };
    let end = span.until_ms.saturating_add(span.run.interval_ms);
    let at = |when: When| match when {
        When::Before(ms) => end.saturating_sub(ms),
        When::At(ms) => ms,
    };
    let to_ms = until.map_or(end, at).min(end);
    let from_ms = at(since).max(span.since_ms);
    if from_ms >= to_ms {
        let (first, last) = (moment(span.since_ms), moment(span.until_ms));
        let text = format!(
            "nothing was recorded then: the record goes from {first} to {last}; type another --since"
        );
        return Err(Misuse(text).into());
    }
    Ok(Window { from_ms, to_ms, has_last: to_ms > span.until_ms, span })
}

/// Reads all of it.
pub(super) fn sheet(store: &Store, file: String, window: Window, asked: &Asked<'_>) -> Result<Sheet> {
    let reading = Reading { store, window: &window };
    let mut traces = Traces::default();
    let series = reading.asked(asked, &mut traces)?;
    let owners = traces.of(&reading, What::Owner, OWNERS)?;
    let grew = grown(owners);
    let mut rooms = 0;
    let mut falling = Vec::new();
    for what in [What::Destination, What::Room] {
        let of = traces.of(&reading, what, ROOMS)?;
        rooms += of.len();
        falling.extend(of.iter().filter_map(fall));
    }
    falling.sort_by(|a: &Falling, b| ends_s(a).total_cmp(&ends_s(b)));
    let totals = traces.of(&reading, What::Total, POINTS)?;
    let pauses = pauses(totals, &window);
    let noted = store.gaps(window.from_ms, window.to_ms)?;
    let gaps = gaps(&window, &pauses, &noted);
    let changes = diary::pages(store)?;
    let inside = |page: &Page| !page.first && (window.from_ms..window.to_ms).contains(&page.at_ms);
    Ok(Sheet {
        whose: store.whose()?,
        since_ms: window.from_ms,
        until_ms: window.to_ms,
        by: asked.what,
        series,
        grew,
        rooms,
        falling,
        findings: store.findings(window.from_ms, window.to_ms)?,
        changes: changes.into_iter().filter(inside).collect(),
        pauses,
        gaps,
        has_last: window.has_last,
        recorded: window.span,
        file,
    })
}

fn ends_s(falling: &Falling) -> f64 {
    if falling.left < 1.0 { 0.0 } else { falling.ending.map_or(f64::MAX, |ending| ending.end.likely_s) }
}

struct Reading<'a> {
    store: &'a Store,
    window: &'a Window,
}

/// What was read, each kind once.
#[derive(Default)]
struct Traces(Vec<(What, Vec<Trace>)>);

impl Traces {
    fn of(&mut self, reading: &Reading<'_>, what: What, most: usize) -> Result<&[Trace]> {
        let known = self.0.iter().position(|(known, _)| *known == what);
        let place = match known {
            Some(place) => place,
            None => {
                self.0.push((what, reading.traces(what, most)?));
                self.0.len() - 1
            }
        };
        Ok(self.0.get(place).map(|(_, traces)| traces.as_slice()).unwrap_or_default())
    }
}

impl Reading<'_> {
    fn query(&self, what: What, most: usize) -> Query {
        let Window { from_ms, to_ms, ref span, .. } = *self.window;
        // Two looks at least to a point: one that came a little late leaves no pause.
        let looks = to_ms.saturating_sub(from_ms) / span.run.interval_ms.max(1);
        let points = usize::try_from(looks / 2).unwrap_or(POINTS).clamp(1, POINTS);
        Query { since_ms: from_ms, until_ms: to_ms, what, most, points }
    }

    fn traces(&self, what: What, most: usize) -> Result<Vec<Trace>> {
        let series = self.store.series(&self.query(what, most))?;
        self.followed(what, series)
    }

    /// How each went; of rooms, when they end.
    fn followed(&self, what: What, series: Vec<Series>) -> Result<Vec<Trace>> {
        let courses: Vec<Option<Course>> = series.iter().map(course).collect();
        let none = Series::default();
        let falls = |(series, course): (&Series, &Option<Course>)| {
            course.and_then(|course| course.ending(series, &none)).is_some_and(|ending| ending.near)
        };
        // Only who has to know reads what was before.
        let before = match what.is_room() && series.iter().zip(&courses).any(falls) {
            true => self.store.series(&Query {
                since_ms: self.window.from_ms.saturating_sub(BEFORE_MS),
                until_ms: self.window.from_ms,
                what,
                most: usize::MAX,
                points: BEFORE_POINTS,
            })?,
            false => Vec::new(),
        };
        let lasts = Lasts::of(self, what, &series)?;
        let trace = |(series, course): (Series, Option<Course>)| {
            let last = lasts.last(&series);
            let before = before.iter().find(|before| before.name == series.name).unwrap_or(&none);
            let ending = course.filter(|_| what.is_room()).and_then(|course| course.ending(&series, before));
            Ok(Trace { series, last, course, ending })
        };
        series.into_iter().zip(courses).map(trace).collect()
    }

    /// What is charted.
    fn asked(&self, asked: &Asked<'_>, traces: &mut Traces) -> Result<Vec<Trace>> {
        let series = match asked.name {
            None => {
                let most = match asked.what {
                    What::Owner => OWNERS,
                    What::Destination | What::Room => ROOMS,
                    _ => asked.top,
                };
                let read = traces.of(self, asked.what, most.max(asked.top))?;
                return Ok(read.iter().take(asked.top).map(Trace::again).collect());
            }
            Some(name) => {
                let mut series = self.store.series(&self.query(asked.what, usize::MAX))?;
                series.retain(|series| is_meant(&series.name, name));
                series.truncate(asked.top);
                series
            }
        };
        self.followed(asked.what, series)
    }
}

/// What the last looks saw, read once for all series that end with the same stretch: by when that begins, and by name.
struct Lasts {
    what: What,
    known: BTreeMap<u64, Option<BTreeMap<String, Amount>>>,
}

impl Lasts {
    fn of(reading: &Reading<'_>, what: What, all: &[Series]) -> Result<Self> {
        let mut ends: BTreeMap<u64, (u64, BTreeSet<&str>)> = BTreeMap::new();
        for series in all {
            let Some(stretch) = series.points().last() else { continue };
            let until_ms = stretch.end_ms().min(reading.window.to_ms);
            ends.entry(stretch.at_ms).or_insert((until_ms, BTreeSet::new())).1.insert(&series.name);
        }
        let mut known = BTreeMap::new();
        for (since_ms, (until_ms, names)) in ends {
            known.insert(since_ms, reading.store.last(what, &names, (since_ms, until_ms))?);
        }
        Ok(Self { what, known })
    }

    fn last(&self, series: &Series) -> Option<Amount> {
        let found = self.known.get(&series.points().last()?.at_ms)?.as_ref()?;
        let none = self.what.is_counted_whole().then_some(Amount::exact(0));
        found.get(&series.name).copied().or(none)
    }
}

impl Trace {
    /// How much the last look of it saw; the middle where that is a range.
    pub(super) fn last_seen(&self) -> Option<f64> {
        self.last.map(|last| (last.min as f64 + last.max as f64) / 2.0)
    }

    fn again(&self) -> Self {
        Self { series: self.series.clone(), ..*self }
    }
}

/// Whether a pattern means a name: as a whole, or the program without its unit, or either end of a way.
fn is_meant(name: &str, pattern: &str) -> bool {
    let parts = [name.split_once(" (").map(|(program, _)| program)];
    let ends = name.split(" to ").filter(|_| name.contains(" to "));
    std::iter::once(name).chain(parts.into_iter().flatten()).chain(ends).any(|part| is_like(part, pattern))
}

fn grown(owners: &[Trace]) -> Vec<Grown> {
    let grown = |trace: &Trace| {
        let course = trace.course.filter(|course| course.grew >= LEAST_GROWTH)?;
        Some(Grown { name: trace.series.name.clone(), course })
    };
    let mut grown: Vec<Grown> = owners.iter().filter_map(grown).collect();
    grown.sort_by(|a, b| b.course.grew.total_cmp(&a.course.grew));
    grown
}

fn fall(trace: &Trace) -> Option<Falling> {
    let stretch = trace.series.points().last()?;
    let (course, left) = (trace.course?, trace.last.map_or(stretch.min, |last| last.min as f64));
    let fall = Falling { name: trace.series.name.clone(), left, course, ending: trace.ending };
    (fall.ending.is_some() || left < 1.0).then_some(fall)
}

/// When none of the totals has a stretch.
fn pauses(totals: &[Trace], window: &Window) -> Vec<Pause> {
    let Some(total) = totals.first() else { return Vec::new() };
    let mut pauses = Vec::new();
    for pair in total.series.runs.windows(2) {
        if let [before, after] = pair
            && let (Some(last), Some(first)) = (before.last(), after.first())
        {
            pauses.push(Pause { from_ms: last.end_ms(), to_ms: first.at_ms });
        }
    }
    let ends = total.series.points().last().map_or(window.from_ms, |point| point.end_ms());
    let interval = window.span.run.interval_ms;
    if window.to_ms.saturating_sub(ends) > 2 * interval && !window.has_last {
        pauses.push(Pause { from_ms: ends, to_ms: window.to_ms });
    }
    pauses
}

fn gaps(window: &Window, pauses: &[Pause], noted: &[Noted<Gap>]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for Pause { from_ms, to_ms } in pauses.iter().rev().take(GAPS).rev() {
        let long = span(to_ms.saturating_sub(*from_ms));
        let (from, to) = (moment(*from_ms), moment(*to_ms));
        let detail = format!("nothing was recorded from {from} to {to} ({long}): the recorder did not run");
        gaps.push(Gap::new("record", GapReason::Absent, detail));
    }
    if pauses.len() > GAPS {
        let detail =
            format!("and {} times before that it did not run; --json has them all", pauses.len() - GAPS);
        gaps.push(Gap::new("record", GapReason::Absent, detail));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = now.saturating_sub(Duration::from_millis(window.span.until_ms));
    let patience =
        Duration::from_millis(window.span.run.interval_ms.saturating_mul(3)).max(Duration::from_secs(60));
    if window.has_last && since > patience {
        let last = moment(window.span.until_ms);
        let detail = format!("nothing was recorded since {last}: the recorder does not run");
        gaps.push(
            Gap::new("record", GapReason::Absent, detail).with_remedy("start it with: portolan record"),
        );
    }
    for Noted { what, since_ms, until_ms } in noted.iter().take(GAPS) {
        let until = until_ms.map_or_else(|| "on".to_owned(), |until| format!("to {}", moment(until)));
        let detail = format!("{} (from {} {until})", what.detail, moment(*since_ms));
        gaps.push(Gap { detail, ..what.clone() });
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_a_program_without_its_unit_and_either_end_of_a_way() {
        for (name, pattern, meant) in [
            ("nginx (nginx.service)", "nginx", true),
            ("nginx (nginx.service)", "*nginx.service*", true),
            ("nginx (nginx.service)", "ngin", false),
            ("10.0.0.5 to 10.0.7.9:8443", "10.0.7.9:8443", true),
            ("10.0.0.5 to 10.0.7.9:8443", "*:8443", true),
            ("10.0.0.5 to 10.0.7.9:8443", "10.0.0.5", true),
            ("10.0.0.5 to 10.0.7.9:8443", "10.0.7.9", false),
            ("tcp", "*", true),
        ] {
            assert_eq!(is_meant(name, pattern), meant, "{name} {pattern}");
        }
    }
}
