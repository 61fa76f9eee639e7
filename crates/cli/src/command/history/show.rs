//! History for people and for spreadsheets: the verdict first, then the chart, the table, findings.

use portolan_core::course::{Course, Ending};
use portolan_core::diagnose::Severity;
use portolan_core::record::{Found, What};
use portolan_core::series::Series;
use portolan_core::trend::Slope;
use portolan_history::{Noted, Whose};

use super::diary::Page;
use super::read::{Falling, Grown, Sheet, Trace};
use crate::cells::{Column, Table};
use crate::plot::{Mark, Outlook, Plot};
use crate::report::{Block, Line, Tone};
use crate::text::{counted, grouped, moment, span};

/// Verdicts of one kind that are told.
const VERDICTS: usize = 3;
/// Findings that are told, the newest.
const FINDINGS: usize = 10;

/// What is charted, in words, and what it counts.
const fn words(what: What) -> (&'static str, &'static str) {
    match what {
        What::Total => ("Sockets", "sockets"),
        What::State => ("TCP sockets by state", "sockets"),
        What::Owner => ("Sockets by owner", "sockets"),
        What::Leak => ("Sockets in states that last when they are forgotten", "sockets"),
        What::Descriptors => ("Open descriptors by owner", "descriptors"),
        What::Destination => ("Room left towards destinations", "ports left"),
        What::Room => ("Room left", "ports left"),
        What::Limit => ("What else runs out", "in use"),
    }
}

/// The chart.
pub(super) fn plot(sheet: &Sheet) -> Plot {
    let (title, unit) = words(sheet.by);
    let alarm = |trace: &Trace| trace.ending.filter(Ending::is_alarm);
    let outlook =
        sheet.series.iter().enumerate().find_map(|(series, trace)| {
            Some(Outlook { series, end: alarm(trace)?.end, now: trace.course?.now })
        });
    Plot {
        title: title.to_owned(),
        unit,
        from_ms: sheet.since_ms,
        to_ms: sheet.until_ms,
        least: sheet.by.is_room(),
        series: sheet.series.iter().map(|trace| trace.series.clone()).collect(),
        lasts: sheet.series.iter().map(Trace::last_seen).collect(),
        pauses: sheet.pauses.iter().map(|pause| (pause.from_ms, pause.to_ms)).collect(),
        marks: marks(&sheet.changes),
        outlook,
    }
}

/// What changed, each time once.
fn marks(pages: &[Page]) -> Vec<Mark> {
    let label = |pages: &[Page]| {
        let started = pages.iter().any(|page| page.started).then(|| "the machine started".to_owned());
        let changed = pages.iter().filter(|page| page.has_changes()).map(Page::changed);
        started.into_iter().chain(changed).collect::<Vec<_>>().join("; ")
    };
    let mark = |pages: &[Page]| Some(Mark { at_ms: pages.first()?.at_ms, label: label(pages) });
    pages.chunk_by(|a, b| a.at_ms == b.at_ms).filter_map(mark).collect()
}

/// Everything for people.
pub(super) fn blocks(sheet: &Sheet, plot: Plot) -> Vec<Block> {
    let mut blocks = room(sheet);
    blocks.extend(grew(sheet));
    blocks.extend(sheet.whose.as_ref().map(whose));
    blocks.push(Block::gap());
    let title = Line::new().strong(plot.title.clone()).plain(format!(
        ", {} to {}",
        moment(sheet.since_ms),
        moment(sheet.until_ms)
    ));
    blocks.push(Block::Line(title));
    if sheet.series.iter().all(|trace| trace.series.runs.is_empty()) {
        blocks.push(Block::Line("  nothing of that was recorded".into()));
    } else {
        blocks.extend([Block::Plot(plot), Block::gap(), Block::Table(table(sheet))]);
    }
    blocks.push(Block::gap());
    blocks.extend(findings(sheet));
    blocks
}

/// Whose record it is.
pub(super) fn whose(whose: &Whose) -> Block {
    let place = whose.netns.as_ref().map_or_else(String::new, |_| format!(", in {}", whose.words()));
    Block::entry("recorded", format!("on {}{place}", whose.host))
}

/// So much a second, a minute, an hour or a day, whichever is at least one.
fn rate(per_second: f64) -> String {
    let units = [(1.0, "a second"), (60.0, "a minute"), (3600.0, "an hour"), (86_400.0, "a day")];
    let unit = units.into_iter().find(|(seconds, _)| per_second.abs() * seconds >= 1.0);
    let (seconds, name) = unit.unwrap_or((86_400.0, "a day"));
    let much = per_second.abs() * seconds;
    match much < 9.95 {
        true => format!("{much:.1} {name}"),
        false => format!("{} {name}", grouped(much.round() as u64)),
    }
}

fn seconds(seconds: f64) -> String {
    span((seconds * 1000.0) as u64)
}

fn whole(value: f64) -> String {
    grouped(value.max(0.0).round() as u64)
}

/// When it ends, in words, with its bounds.
fn when(Ending { end, .. }: &Ending) -> String {
    let bounds = match end.latest_s {
        Some(latest) => format!("between {} and {}", seconds(end.earliest_s), seconds(latest)),
        None => format!("not before {}", seconds(end.earliest_s)),
    };
    format!("in {} ({bounds})", seconds(end.likely_s))
}

/// What is to be said of the room: it has ended, it ends, it falls as it always did; otherwise that it does not.
fn room(sheet: &Sheet) -> Vec<Block> {
    let mut told: Vec<Line> = Vec::new();
    for Falling { name, left, course, ending } in &sheet.falling {
        let line = Line::new().strong(name.clone());
        let rate = course.slope.map(|Slope { per_second, .. }| rate(per_second)).unwrap_or_default();
        let line = match ending {
            _ if *left < 1.0 => line.and(Tone::Bad, " had no port left").plain(" at the last look"),
            Some(ending) if ending.is_alarm() => line
                .plain(format!(" has {} ports left, {rate} fewer since {}: ", whole(*left), moment(course.since_ms)))
                .and(Tone::Bad, format!("none {}", when(ending))),
            Some(ending) if ending.near => line.plain(format!(
                " falls by {rate}, as it did {} before, and came back each time",
                if ending.seen_before == 1 { "once".to_owned() } else { format!("{} times", ending.seen_before) }
            )),
            Some(_) => line.plain(format!(
                " falls by {rate}; its {} ports would end farther off than was watched, and that nobody knows",
                whole(*left)
            )),
            None => continue,
        };
        told.push(line);
    }
    let alarm = sheet.falling.iter().any(Falling::is_alarm);
    if !alarm {
        let text = match sheet.rooms {
            0 => "no room was recorded".to_owned(),
            rooms if told.is_empty() => {
                format!("does not end: no trend in {}", counted(rooms as u64, "room"))
            }
            _ => "no end in sight".to_owned(),
        };
        let tone = if sheet.rooms == 0 { Tone::Plain } else { Tone::Good };
        told.insert(0, Line::new().and(tone, text));
    }
    labelled("room left", told)
}

/// Who grew, since when, and how fast.
fn grew(sheet: &Sheet) -> Vec<Block> {
    let line = |Grown { name, course }: &Grown| {
        let line = Line::new().strong(name.clone());
        let (grew, since) = (whole(course.grew), moment(course.since_ms));
        match (course.slope, course.step) {
            (Some(slope), _) => line.plain(format!(
                " grew by {grew} since {since}, {}: {} now",
                rate(slope.per_second),
                whole(course.now)
            )),
            (None, Some(step)) => line.plain(format!(
                " went from {} to {} at {since}, and has no trend since",
                whole(step.from),
                whole(step.to)
            )),
            (None, None) => line,
        }
    };
    let mut told: Vec<Line> = sheet.grew.iter().take(VERDICTS).map(line).collect();
    if sheet.grew.len() > VERDICTS {
        told.push(Line::from(format!(
            "and {} more: portolan history --by owner",
            sheet.grew.len() - VERDICTS
        )));
    }
    if told.is_empty() {
        told.push("nobody: no trend in any owner's sockets".into());
    }
    labelled("who grew", told)
}

fn labelled(label: &'static str, lines: Vec<Line>) -> Vec<Block> {
    let most = VERDICTS + 1;
    let more = lines.len().saturating_sub(most);
    let mut blocks: Vec<Block> = (0..)
        .zip(lines.into_iter().take(most))
        .map(|(place, text)| Block::Entry { label: if place == 0 { label } else { "" }, hang: 2, text })
        .collect();
    if more > 0 {
        blocks.push(Block::entry("", format!("and {more} more; --json has them all")));
    }
    blocks
}

/// How a number went, in a few words.
fn told(course: Option<&Course>) -> String {
    let Some(course) = course else { return "-".to_owned() };
    match (course.slope, course.step) {
        (Some(slope), _) => {
            let sign = if slope.per_second < 0.0 { '-' } else { '+' };
            format!("{sign}{} since {}", rate(slope.per_second), moment(course.since_ms))
        }
        (None, Some(step)) => {
            format!("no trend; {} → {} at {}", whole(step.from), whole(step.to), moment(step.at_ms))
        }
        (None, None) => "no trend".to_owned(),
    }
}

fn least_mean_most(series: &Series) -> (f64, f64, f64) {
    let (mut least, mut most, mut sum, mut weight) = (f64::INFINITY, 0.0_f64, 0.0, 0.0);
    for point in series.points() {
        let part = point.span_ms.max(1) as f64;
        (least, most) = (least.min(point.min), most.max(point.max));
        (sum, weight) = (sum + point.mean * part, weight + part);
    }
    (least, sum / weight, most)
}

fn table(sheet: &Sheet) -> Table {
    let row = |trace: &Trace| {
        let (least, mean, most) = least_mean_most(&trace.series);
        let stretch = trace.series.points().last().map_or(0.0, |point| point.mean);
        let last = trace.last_seen().unwrap_or(stretch);
        let ends =
            trace.ending.as_ref().filter(|ending| ending.is_alarm()).map_or_else(|| "-".to_owned(), when);
        let [last, least, mean, most] = [last, least, mean, most].map(whole);
        [trace.series.name.clone(), last, least, mean, most, told(trace.course.as_ref()), ends]
    };
    let rows: Vec<[String; 7]> =
        sheet.series.iter().filter(|trace| !trace.series.runs.is_empty()).map(row).collect();
    let columns = [
        Column::prose("name"),
        Column::numbers("last"),
        Column::numbers("least"),
        Column::numbers("mean"),
        Column::numbers("most"),
        Column::words("trend"),
        Column::words("ends"),
    ];
    if sheet.by.is_room() {
        return Table::of_rows(columns, rows);
    }
    let [name, last, least, mean, most, trend, _] = columns;
    let rows = rows.into_iter().map(|[n, a, b, c, d, t, _]| [n, a, b, c, d, t]).collect();
    Table::of_rows([name, last, least, mean, most, trend], rows)
}

/// What the recorder found, the newest last.
fn findings(sheet: &Sheet) -> Vec<Block> {
    if sheet.findings.is_empty() {
        return vec![Block::entry("findings", "none in that time")];
    }
    let left = sheet.findings.len().saturating_sub(FINDINGS);
    let row = |Noted { what, since_ms, until_ms }: &Noted<Found>| {
        let Found { severity, summary, rule } = what;
        let severity = match severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let until = until_ms.map_or_else(|| "lasts".to_owned(), moment);
        [moment(*since_ms), until, severity.to_owned(), rule.clone(), summary.clone()]
    };
    let columns = [
        Column::words("since"),
        Column::words("until"),
        Column::words("severity"),
        Column::words("finding"),
        Column::words("what"),
    ];
    let mut blocks =
        vec![Block::Table(Table::of_rows(columns, sheet.findings.iter().skip(left).map(row).collect()))];
    if left > 0 {
        blocks.push(Block::Line(format!("and {left} before; --json has them all").into()));
    }
    blocks.push(Block::gap());
    blocks
}

/// Every point of every series.
pub(super) fn rows(sheet: &Sheet) -> Table {
    let value = |value: f64| {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let mut rows = Vec::new();
    for Trace { series, .. } in &sheet.series {
        rows.extend(series.points().map(|point| {
            let seconds = value(point.span_ms as f64 / 1000.0);
            let time = moment(point.at_ms);
            [series.name.clone(), time, seconds, value(point.min), value(point.mean), value(point.max)]
        }));
    }
    let columns = [
        Column::words("name"),
        Column::words("time"),
        Column::numbers("seconds"),
        Column::numbers("least"),
        Column::numbers("mean"),
        Column::numbers("most"),
    ];
    Table::of_rows(columns, rows)
}
