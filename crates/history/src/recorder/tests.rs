//! What is kept and what comes out again, on real files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use portolan_core::diagnose::Severity;
use portolan_core::record::{Amount, Found, What};
use portolan_core::series::Series;
use portolan_core::socket::{Family, Transport};

use super::*;
use crate::{Kind, Query, Setting, Store};

/// A folder for a test's files, removed at its end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(test: &str) -> Self {
        // Where the memory has a file system, nobody waits for a disk.
        let memory = PathBuf::from("/dev/shm");
        let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let path = parent.join(format!("portolan-history-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) const START: u64 = 1_800_000_000_000;
pub(crate) const SECOND: u64 = 1000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;

pub(crate) fn options() -> Options {
    Options { interval_ms: 5000, pid: 77, keep: Keep::default() }
}

pub(crate) fn entry(at_ms: u64, owners: &[(&str, u64)]) -> Entry {
    let mut entry =
        Entry { at_ms, boot: "boot".to_owned(), seen: vec![What::Total, What::Owner], ..Entry::default() };
    let total = owners.iter().map(|(_, count)| count).sum();
    entry.amounts.insert((What::Total, "tcp".to_owned()), Amount::exact(total));
    for (name, count) in owners {
        entry.amounts.insert((What::Owner, (*name).to_owned()), Amount::exact(*count));
    }
    entry
}

pub(crate) fn series(path: &Path, what: What, points: usize) -> Vec<Series> {
    let query = Query { since_ms: 0, until_ms: u64::MAX >> 2, what, most: 100, points };
    let store = Store::read(path).unwrap();
    let span = store.span().unwrap().unwrap();
    store.series(&Query { since_ms: span.since_ms, until_ms: span.until_ms + 1, ..query }).unwrap()
}

fn means(series: &Series) -> Vec<f64> {
    series.points().map(|point| point.mean).collect()
}

#[test]
fn looks_come_out_as_they_went_in_and_who_is_not_there_has_none() {
    let folder = Folder::new("looks");
    let file = folder.file("h.db");
    let mut recorder = Recorder::open(&file, options()).unwrap();
    for (look, owners) in [&[("a", 5), ("b", 1)][..], &[("a", 6)], &[("a", 6), ("c", 100)]].iter().enumerate()
    {
        recorder.append(&entry(START + look as u64 * 5000, owners)).unwrap();
    }
    let found = series(&file, What::Owner, 1000);
    let named: BTreeMap<&str, Vec<f64>> = found.iter().map(|s| (&*s.name, means(s))).collect();
    assert_eq!(named["a"], [5.0, 6.0, 6.0]);
    assert_eq!(named["b"], [1.0, 0.0, 0.0]);
    assert_eq!(named["c"], [0.0, 0.0, 100.0]);
    assert_eq!(found[0].name, "c", "who has most comes first");
    assert_eq!(found[0].runs.len(), 1);
    let span = Store::read(&file).unwrap().span().unwrap().unwrap();
    assert_eq!((span.since_ms, span.until_ms, span.run.pid), (START, START + 10_000, 77));
}

#[test]
fn time_without_a_look_is_a_gap_on_every_level() {
    let folder = Folder::new("gap");
    let file = folder.file("h.db");
    let mut recorder = Recorder::open(&file, options()).unwrap();
    for minutes in [0..180, 400..500] {
        for at in minutes.flat_map(|minute| (0..12).map(move |n| minute * MINUTE + n * 5000)) {
            recorder.append(&entry(START / HOUR * HOUR + at, &[("a", 5)])).unwrap();
        }
    }
    for (points, wanted) in [(100_000, 3360), (500, 280), (8, 6)] {
        let found = series(&file, What::Owner, points);
        let lengths: Vec<usize> = found[0].runs.iter().map(Vec::len).collect();
        assert_eq!((lengths.len(), lengths.iter().sum::<usize>()), (2, wanted), "{points}: {lengths:?}");
        assert!(found[0].points().all(|point| (point.min, point.mean, point.max) == (5.0, 5.0, 5.0)));
    }
}

#[test]
fn a_look_ends_where_another_recorder_looks_before_its_interval_is_over() {
    let folder = Folder::new("follower");
    let file = folder.file("h.db");
    let looks = [(0, 5000, 0), (300, 5000, 0), (700, 5000, 9), (1200, 50, 9)];
    for (at_ms, interval_ms, owned) in looks {
        let mut recorder = Recorder::open(&file, Options { interval_ms, ..options() }).unwrap();
        recorder.append(&entry(START + at_ms, &[("a", owned)])).unwrap();
    }
    let found = series(&file, What::Owner, 1_000_000);
    let stretches: Vec<_> = found[0].points().map(|p| (p.at_ms - START, p.span_ms)).collect();
    assert_eq!(stretches, [(0, 300), (300, 400), (700, 500), (1200, 50)]);
    let samples = found[0].samples();
    assert!(samples.is_sorted_by_key(|sample| sample.at_ms), "{samples:?}");
}

/// A number that looks like chance, and is the same every time.
fn chance(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn minutes_and_hours_are_what_the_looks_say_whatever_ended_the_recorder_between_them() {
    let folder = Folder::new("rolled");
    let file = folder.file("h.db");
    let mut state = 1;
    let mut recorder = Recorder::open(&file, options()).unwrap();
    let begin = START / HOUR * HOUR + 1000;
    let mut seen: Vec<(u64, BTreeMap<&str, u64>)> = Vec::new();
    for look in 0..(3 * 3600 / 5) {
        let names = ["a", "b", "c", "d"];
        let drawn = names.map(|name| (name, chance(&mut state) % 3 != 1, chance(&mut state) % 1000));
        let owners: Vec<(&str, u64)> =
            drawn.into_iter().filter(|(_, there, _)| *there).map(|(name, _, count)| (name, count)).collect();
        let at = begin + look * 5000;
        if chance(&mut state) % 100 == 7 {
            // As if it had been killed: nothing is told to the one before.
            std::mem::forget(std::mem::replace(&mut recorder, Recorder::open(&file, options()).unwrap()));
        }
        recorder.append(&entry(at, &owners)).unwrap();
        seen.push((at, owners.into_iter().collect()));
    }
    for (points, width) in [(180, MINUTE), (3, HOUR), (36, 5 * MINUTE), (1, 3 * HOUR)] {
        for series in series(&file, What::Owner, points) {
            for point in series.points() {
                let within = seen.iter().filter(|(at, _)| at / width == point.at_ms / width);
                let values: Vec<u64> =
                    within.map(|(_, owners)| owners.get(&*series.name).copied().unwrap_or(0)).collect();
                let mean = values.iter().sum::<u64>() as f64 / values.len() as f64;
                let wanted = (*values.iter().min().unwrap() as f64, *values.iter().max().unwrap() as f64);
                assert_eq!((point.min, point.max), wanted, "{points} {point:?}");
                assert!((point.mean - mean).abs() < 1e-6, "{points} {point:?} {mean}");
                assert_eq!(point.span_ms, width);
            }
            let stretches: BTreeSet<u64> = seen.iter().map(|(at, _)| at / width).collect();
            assert_eq!(series.points().count(), stretches.len(), "{points}");
        }
    }
    assert_eq!(Store::read(&file).unwrap().check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_clock_that_goes_back_is_told_and_nothing_is_lost_or_counted_twice() {
    let folder = Folder::new("clock");
    let file = folder.file("h.db");
    let mut recorder = Recorder::open(&file, options()).unwrap();
    let begin = START / HOUR * HOUR;
    for at in (0..360).map(|n| n * 5000) {
        assert_eq!(recorder.append(&entry(begin + at, &[("a", 10)])).unwrap().clock_back_ms, None);
    }
    let back = recorder.append(&entry(begin + 10 * MINUTE, &[("a", 20)])).unwrap().clock_back_ms;
    assert_eq!(back, Some(359 * 5000 - 10 * MINUTE));
    for at in (1..600).map(|n| n * 5000) {
        recorder.append(&entry(begin + 10 * MINUTE + at, &[("a", 20)])).unwrap();
    }
    let [found] = &series(&file, What::Owner, 30)[..] else { panic!() };
    let at = |minute: u64| found.points().find(|p| p.at_ms == begin + minute * MINUTE).copied().unwrap();
    assert_eq!((at(5).min, at(5).max), (10.0, 10.0));
    assert_eq!((at(20).min, at(20).mean, at(20).max), (10.0, 15.0, 20.0));
    assert_eq!((at(50).min, at(50).max), (20.0, 20.0));
    let [looks] = &series(&file, What::Owner, 100_000)[..] else { panic!() };
    assert_eq!(looks.points().count(), 720);
}

#[test]
fn findings_last_while_their_numbers_change_and_end_with_a_killed_recorder() {
    let folder = Folder::new("findings");
    let file = folder.file("h.db");
    let found = |count: u64| Found {
        rule: "close-wait-leak".to_owned(),
        severity: Severity::Warning,
        summary: format!("nginx (pid 8) does not close {count} connections"),
    };
    let mut recorder = Recorder::open(&file, options()).unwrap();
    let look = |recorder: &mut Recorder, seconds: u64, count: Option<u64>| {
        let findings = count.map(found).into_iter().collect();
        recorder.append(&Entry { findings, ..entry(START + seconds * SECOND, &[]) }).unwrap().told
    };
    assert_eq!(look(&mut recorder, 0, None), Told::default());
    assert_eq!(look(&mut recorder, 5, Some(100)).came, [found(100)]);
    assert_eq!(look(&mut recorder, 10, Some(150)), Told::default());
    assert_eq!(look(&mut recorder, 15, None), Told::default(), "it may come back");
    assert_eq!(look(&mut recorder, 20, Some(170)), Told::default());
    assert_eq!(look(&mut recorder, 85, None).went, [found(170)]);
    assert_eq!(look(&mut recorder, 90, Some(5)).came, [found(5)]);
    let noted = |file: &Path| {
        let findings = Store::read(file).unwrap().findings(0, u64::MAX).unwrap();
        let told = |note: crate::Noted<Found>| {
            (note.what, note.since_ms - START, note.until_ms.map(|at| at - START))
        };
        findings.into_iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(noted(&file), [(found(170), 5000, Some(20_000)), (found(5), 90_000, None)]);
    look(&mut recorder, 95, None);
    std::mem::forget(recorder);
    let mut recorder = Recorder::open(&file, options()).unwrap();
    assert_eq!(noted(&file)[1], (found(5), 90_000, Some(95_000)));
    assert_eq!(look(&mut recorder, 500, Some(6)).came, [found(6)]);
}

#[test]
fn the_diary_has_a_page_for_every_change_and_every_start() {
    let folder = Folder::new("diary");
    let file = folder.file("h.db");
    let mut recorder = Recorder::open(&file, options()).unwrap();
    let range = |text: &str| portolan_core::range::EphemeralRange {
        transport: Transport::Tcp,
        family: Family::Ipv4,
        range: text.parse().unwrap(),
    };
    let look = |recorder: &mut Recorder, at: u64, boot: &str, text: &str| {
        let entry = Entry { boot: boot.to_owned(), ranges: vec![range(text)], ..entry(START + at, &[]) };
        recorder.append(&entry).unwrap().settings
    };
    assert_eq!(look(&mut recorder, 0, "one", "32768-60999"), ["ranges", "reservations"]);
    assert_eq!(look(&mut recorder, 1, "one", "32768-60999"), Vec::<&str>::new());
    assert_eq!(look(&mut recorder, 2, "one", "1024-60999"), ["ranges"]);
    let mut recorder = Recorder::open(&file, options()).unwrap();
    assert_eq!(look(&mut recorder, 3, "one", "1024-60999"), Vec::<&str>::new());
    assert_eq!(look(&mut recorder, 4, "two", "1024-60999"), ["ranges", "reservations"]);
    // What was not read is not a change.
    let unread = entry(START + 5, &[]);
    assert_eq!(
        recorder.append(&Entry { boot: "two".to_owned(), ..unread }).unwrap().settings,
        Vec::<&str>::new()
    );
    let changes = Store::read(&file).unwrap().changes().unwrap();
    let pages: Vec<_> = changes.iter().map(|change| (change.at_ms - START, &*change.boot)).collect();
    assert_eq!(pages, [(0, "one"), (0, "one"), (2, "one"), (4, "two"), (4, "two")]);
    assert_eq!(changes[2].set, Setting::Ranges(vec![range("1024-60999")]));
}

#[test]
fn the_file_alone_is_whole_after_every_look() {
    let folder = Folder::new("copy");
    let (file, copied, backup) = (folder.file("h.db"), folder.file("plain.db"), folder.file("backup.db"));
    let mut recorder = Recorder::open(&file, options()).unwrap();
    for look in 0..100 {
        recorder.append(&entry(START + look * 20_000, &[("a", look)])).unwrap();
        fs::copy(&file, &copied).unwrap();
        let store = Store::read(&copied).unwrap();
        assert_eq!(store.check().unwrap(), Vec::<String>::new());
        assert_eq!(store.span().unwrap().unwrap().until_ms, START + look * 20_000);
    }
    Store::read(&file).unwrap().copy(&backup).unwrap();
    assert_eq!(series(&backup, What::Owner, 1000), series(&file, What::Owner, 1000));
}

#[test]
fn files_of_others_and_of_later_versions_are_refused_in_one_line() {
    let folder = Folder::new("foreign");
    let [text, other, later] = ["text", "other.db", "later.db"].map(|name| folder.file(name));
    fs::write(&text, "these are not the numbers".repeat(500)).unwrap();
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    drop(Recorder::open(&later, options()).unwrap());
    Connection::open(&later).unwrap().execute_batch("PRAGMA user_version = 900").unwrap();
    for (path, kind) in [(&text, Kind::Foreign), (&other, Kind::Foreign), (&later, Kind::Newer)] {
        let before = fs::read(path).unwrap();
        for error in [Recorder::open(path, options()).unwrap_err(), Store::read(path).unwrap_err()] {
            assert_eq!((error.kind, error.to_string().lines().count()), (kind, 1), "{error}");
        }
        assert_eq!(fs::read(path).unwrap(), before, "it was left as it is");
    }
    assert_eq!(Store::read(&folder.file("none")).unwrap_err().kind, Kind::Missing);
}

#[test]
fn a_file_is_of_one_namespace_and_one_of_the_first_version_is_taken_as_it_was() {
    let folder = Folder::new("whose");
    let file = folder.file("h.db");
    let whose = |netns: &str, namespace| Whose {
        host: "web1".to_owned(),
        boot: "boot".to_owned(),
        namespace,
        netns: Some(netns.to_owned()),
        ..Whose::default()
    };
    let blue = whose("blue", 1);
    // As the first version made it.
    let mut recorder = Recorder::open(&file, options()).unwrap();
    recorder.append(&entry(START, &[("a", 1)])).unwrap();
    drop(recorder);
    Connection::open(&file).unwrap().execute_batch("DROP TABLE whose; PRAGMA user_version = 1").unwrap();
    let store = Store::read(&file).unwrap();
    assert_eq!((store.whose().unwrap(), store.span().unwrap().unwrap().until_ms), (None, START));
    drop(store);
    let mut recorder = Recorder::open_of(&file, options(), &blue).unwrap();
    recorder.append(&entry(START + 5000, &[("a", 2)])).unwrap();
    drop(recorder);
    assert_eq!(Store::read(&file).unwrap().whose().unwrap(), Some(blue.clone()));
    assert_eq!(means(&series(&file, What::Owner, 1000)[0]), [1.0, 2.0]);
    let before = fs::read(&file).unwrap();
    let refused = Recorder::open_of(&file, options(), &whose("green", 2)).unwrap_err();
    assert_eq!(refused.kind, Kind::Anothers);
    let told = format!(
        "{} is the record of the network namespace 'blue' and not of the network namespace 'green'; name another \
         file with --file",
        file.display()
    );
    assert_eq!(refused.to_string(), told);
    assert_eq!(fs::read(&file).unwrap(), before, "it was left as it is");
    // By a process in it: the name stays.
    drop(Recorder::open_of(&file, options(), &whose("812", 1)).unwrap());
    assert_eq!(Store::read(&file).unwrap().whose().unwrap(), Some(blue));
}

#[test]
fn reading_leaves_nothing_beside_the_file_and_a_recorder_that_begins_meanwhile_is_noticed() {
    let folder = Folder::new("aside");
    let file = folder.file("h.db");
    let mut recorder = Recorder::open(&file, options()).unwrap();
    recorder.append(&entry(START, &[("a", 1)])).unwrap();
    let log = folder.file("h.db-wal");
    assert!(log.exists(), "a recorder has it open");
    assert_eq!(Store::read(&file).unwrap().span().unwrap().unwrap().until_ms, START);
    drop(recorder);
    let store = Store::read(&file).unwrap();
    assert_eq!(store.span().unwrap().unwrap().until_ms, START);
    let names: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["h.db"]);
    let mut recorder = Recorder::open(&file, options()).unwrap();
    for look in 1..100 {
        recorder.append(&entry(START + look * 5000, &[("a", look)])).unwrap();
    }
    let refused = store.span().unwrap_err();
    assert_eq!(refused.kind, Kind::Busy);
    assert!(refused.to_string().contains("type it again"), "{refused}");
    assert_eq!(Store::read(&file).unwrap().span().unwrap().unwrap().until_ms, START + 99 * 5000);
}
