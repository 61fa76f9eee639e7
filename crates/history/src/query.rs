//! Series out of the file, as fine as asked for: looks, minutes or hours.

use std::collections::{BTreeMap, BTreeSet};

use portolan_core::record::{Amount, What};
use portolan_core::series::{Point, Series};
use rusqlite::Connection;

use crate::names;
use crate::pack::{Rolled, Stretch};
use crate::raw;
use crate::schema::{Level, Mark};

/// Which series are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// From this time on, milliseconds since 1970-01-01 UTC.
    pub since_ms: u64,
    /// Before this time.
    pub until_ms: u64,
    /// Of what.
    pub what: What,
    /// So many at most: those with the largest mean; of rooms, those with the least left.
    pub most: usize,
    /// About so many points each at most. Coarser stretches are taken where they suffice.
    pub points: usize,
}

/// A stretch of time, and how many looks it had.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    at_ms: u64,
    end_ms: u64,
    looks: u64,
}

/// Numbers, sorted into stretches.
struct Gathered {
    /// Rows of less than this are put together; 0 for none.
    width_ms: u64,
    places: BTreeMap<(u64, bool), usize>,
    buckets: Vec<Bucket>,
    /// Of each name, in the order in which they came.
    of: BTreeMap<u32, Vec<(usize, Stretch)>>,
}

impl Gathered {
    /// The stretch that a row belongs to.
    fn bucket(&mut self, at_ms: u64, span_ms: u64, looks: u64) -> usize {
        let joins = span_ms < self.width_ms;
        let (at, end) = match joins {
            true => (at_ms - at_ms % self.width_ms, at_ms - at_ms % self.width_ms + self.width_ms),
            false => (at_ms, at_ms.saturating_add(span_ms)),
        };
        let next = self.buckets.len();
        let place = *self.places.entry((at, joins)).or_insert(next);
        if place == next {
            self.buckets.push(Bucket { at_ms: at, end_ms: end, looks: 0 });
        }
        if let Some(bucket) = self.buckets.get_mut(place) {
            bucket.looks = bucket.looks.saturating_add(looks);
        }
        place
    }

    fn add(&mut self, name: u32, bucket: usize, stretch: Stretch) {
        let own = self.of.entry(name).or_default();
        // Time mostly goes on; where a clock went back, an earlier stretch gets more.
        if own.last().is_none_or(|(last, _)| *last < bucket) {
            own.push((bucket, stretch));
        } else if let Some((_, before)) = own.iter_mut().rev().find(|(place, _)| *place == bucket) {
            before.add(stretch);
        } else {
            own.push((bucket, stretch));
        }
    }
}

/// The series of a kind, what matters most first.
pub(crate) fn series(connection: &Connection, query: &Query) -> rusqlite::Result<Vec<Series>> {
    let names = names::of(connection, query.what)?;
    let (level, width_ms) = fineness(connection, query)?;
    let mut gathered =
        Gathered { width_ms, places: BTreeMap::new(), buckets: Vec::new(), of: BTreeMap::new() };
    gather(connection, query, level, &names, &mut gathered)?;
    let whole = query.what.is_counted_whole();
    let Gathered { buckets, of, .. } = gathered;
    let mut ranked: Vec<(f64, u32, Vec<Point>)> = of
        .into_iter()
        .map(|(name, own)| {
            let points = points(&buckets, own, whole);
            (rank(&points, query.what), name, points)
        })
        .collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    ranked.truncate(query.most);
    let named = |(_, name, points): (f64, u32, Vec<Point>)| {
        names.get(&name).map(|text| Series::new(text.clone(), points))
    };
    Ok(ranked.into_iter().filter_map(named).collect())
}

/// What the newest looks of a kind between two times saw of these names; none where no look of it is kept. A kind that is
/// counted whole is of the last look alone: who is missing there had none. Of others each has the newest that saw it. Goes
/// back from whole look to whole look, no farther than it must.
pub(crate) fn last(
    connection: &Connection,
    what: What,
    wanted: &BTreeSet<&str>,
    (since_ms, until_ms): (u64, u64),
) -> rusqlite::Result<Option<BTreeMap<String, Amount>>> {
    let mut names = names::of(connection, what)?;
    names.retain(|_, name| wanted.contains(name.as_str()));
    let mut found: Option<BTreeMap<u32, Amount>> = None;
    for run in raw::runs(connection)?.iter().rev() {
        let Some((first, end)) = raw::there(connection, run)? else { continue };
        let from = raw::first_from(connection, (first, end), since_ms)?;
        let mut to = raw::first_from(connection, (from, end), until_ms)?;
        while from < to {
            let begin = raw::whole_before(run, to - 1).max(from);
            if let Some(seen) = newest(connection, run, (begin, to), what, &names)? {
                let found = found.get_or_insert_default();
                for (name, amount) in seen {
                    found.entry(name).or_insert(amount);
                }
                if what.is_counted_whole() || found.len() == names.len() {
                    return Ok(Some(named(found, &mut names)));
                }
            }
            to = begin;
        }
    }
    Ok(found.map(|mut found| named(&mut found, &mut names)))
}

/// What the newest of these looks saw: of a kind that is counted whole the last one alone.
fn newest(
    connection: &Connection,
    run: &raw::Stretch,
    looks: (i64, i64),
    what: What,
    names: &BTreeMap<u32, String>,
) -> rusqlite::Result<Option<BTreeMap<u32, Amount>>> {
    let mut newest: Option<BTreeMap<u32, Amount>> = None;
    let wanted = |name| names.contains_key(&name);
    raw::play(connection, run, looks, wanted, |look| {
        if look.seen.has(what) {
            let newest = newest.get_or_insert_default();
            if what.is_counted_whole() {
                newest.clear();
            }
            newest.extend(look.numbers);
        }
    })?;
    Ok(newest)
}

fn named(found: &mut BTreeMap<u32, Amount>, names: &mut BTreeMap<u32, String>) -> BTreeMap<String, Amount> {
    std::mem::take(found)
        .into_iter()
        .filter_map(|(name, amount)| Some((names.remove(&name)?, amount)))
        .collect()
}

/// What matters most has the least.
fn rank(points: &[Point], what: What) -> f64 {
    if what.is_room() {
        return points.iter().map(|point| point.min).fold(f64::INFINITY, f64::min);
    }
    -points.iter().map(|point| point.mean * point.span_ms as f64).sum::<f64>()
}

/// From which rows, and how wide their stretches are put together: 0 for as they are.
fn fineness(connection: &Connection, query: &Query) -> rusqlite::Result<(Option<Level>, u64)> {
    let wanted = query.until_ms.saturating_sub(query.since_ms) / query.points.max(1) as u64;
    let interval = raw::runs(connection)?.last().map_or(0, |run| run.interval_ms).max(1);
    let level = Level::ALL.into_iter().rev().find(|level| level.span_ms() <= wanted);
    let span = level.map_or(interval, Level::span_ms);
    // Looks do not come at even times, so that a stretch of one and a half would have one or two.
    Ok((
        level,
        if wanted < span * 2 { level.map_or(0, Level::span_ms) } else { wanted.div_ceil(span) * span },
    ))
}

/// Reads each part of the time from the finest rows that are wanted and still there, and what is not rolled up yet from
/// finer ones.
fn gather(
    connection: &Connection,
    query: &Query,
    level: Option<Level>,
    names: &BTreeMap<u32, String>,
    into: &mut Gathered,
) -> rusqlite::Result<()> {
    let mark = |mark: Mark| mark.value(connection).map(i64::cast_unsigned);
    let (looks_from, minutes_from) = (mark(Mark::LooksFrom)?, mark(Mark::MinutesFrom)?);
    let Query { since_ms, until_ms, what, .. } = *query;
    // Before this time there are hours alone; then minutes; then looks.
    let (minutes_at, looks_at) = match level {
        None => (minutes_from, looks_from.max(minutes_from)),
        Some(Level::Minutes) => (minutes_from, u64::MAX),
        Some(Level::Hours) => (u64::MAX, u64::MAX),
    };
    let rolled = |level, from: u64, to: u64, into: &mut Gathered| {
        if from < to { rows(connection, level, what, (from, to), into) } else { Ok(()) }
    };
    rolled(Level::Hours, since_ms, until_ms.min(minutes_at), into)?;
    rolled(Level::Minutes, since_ms.max(minutes_at), until_ms.min(looks_at), into)?;
    if level == Some(Level::Hours) {
        // The hour of the last look is not made yet.
        let last: Option<i64> =
            connection.query_row("SELECT at_ms FROM raw ORDER BY seq DESC LIMIT 1", [], |row| row.get(0))?;
        let hour = last.unwrap_or_default().cast_unsigned() / Level::Hours.span_ms() * Level::Hours.span_ms();
        let end = hour + Level::Hours.span_ms();
        rolled(Level::Minutes, since_ms.max(hour), until_ms.min(end), into)?;
    }
    let from_seq = if level.is_some() { Mark::Rolled.value(connection)? + 1 } else { 0 };
    looks(connection, query, from_seq, names, into)
}

fn rows(
    connection: &Connection,
    level: Level,
    what: What,
    (from, to): (u64, u64),
    into: &mut Gathered,
) -> rusqlite::Result<()> {
    let table = level.table(what);
    let mut statement = connection
        .prepare_cached(&format!("SELECT at, data FROM {table} WHERE at >= ?1 AND at < ?2 ORDER BY at"))?;
    let bound = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
    // The stretch that a time lies in is wanted too.
    let mut rows = statement.query((bound(from - from % level.span_ms()), bound(to)))?;
    while let Some(row) = rows.next()? {
        let at = row.get::<_, i64>(0)?.cast_unsigned();
        let data = row.get_ref(1)?.as_blob().unwrap_or_default();
        let bucket = into.bucket(at, level.span_ms(), 0);
        // A row that does not decode to its end tells what it has until there.
        let looks = Rolled::read(data, |name, stretch| into.add(name, bucket, stretch)).unwrap_or(0);
        into.bucket(at, level.span_ms(), looks);
    }
    Ok(())
}

fn looks(
    connection: &Connection,
    query: &Query,
    from_seq: i64,
    names: &BTreeMap<u32, String>,
    into: &mut Gathered,
) -> rusqlite::Result<()> {
    for run in raw::runs(connection)? {
        let Some((first, end)) = raw::there(connection, &run)? else { continue };
        let first = first.max(from_seq);
        if first >= end {
            continue;
        }
        let from = raw::first_from(connection, (first, end), query.since_ms)?;
        let to = raw::first_from(connection, (from, end), query.until_ms)?;
        let wanted = |name| names.contains_key(&name);
        raw::play(connection, &run, (from, to), wanted, |look| {
            if !look.seen.has(query.what) {
                return;
            }
            let bucket = into.bucket(look.at_ms, look.span_ms, 1);
            for (name, amount) in look.numbers {
                into.add(*name, bucket, Stretch::from(*amount));
            }
        })?;
    }
    Ok(())
}

/// The points of one name. Where a kind is counted whole, a look without it saw none of it.
fn points(buckets: &[Bucket], own: Vec<(usize, Stretch)>, whole: bool) -> Vec<Point> {
    let point = |bucket: &Bucket, stretch: Option<Stretch>| {
        let looks = if whole { bucket.looks } else { stretch.map_or(0, |stretch| stretch.looks) };
        let missed = stretch.is_none_or(|stretch| whole && stretch.looks < bucket.looks);
        let stretch = stretch.unwrap_or(Stretch { looks: 0, min: 0, max: 0, twice: 0 });
        Point {
            at_ms: bucket.at_ms,
            span_ms: bucket.end_ms - bucket.at_ms,
            min: if missed { 0.0 } else { stretch.min as f64 },
            mean: stretch.twice as f64 / 2.0 / looks.max(1) as f64,
            max: stretch.max as f64,
        }
    };
    let mut points: Vec<Point> = if whole {
        let mut all: Vec<Option<Stretch>> = vec![None; buckets.len()];
        for (bucket, stretch) in own {
            if let Some(place) = all.get_mut(bucket) {
                *place = Some(stretch);
            }
        }
        buckets.iter().zip(all).filter(|(bucket, _)| bucket.looks > 0).map(|(b, s)| point(b, s)).collect()
    } else {
        own.into_iter().filter_map(|(bucket, s)| buckets.get(bucket).map(|b| point(b, Some(s)))).collect()
    };
    points.sort_by_key(|point| point.at_ms);
    points
}

#[cfg(test)]
mod tests;
