//! Retention and size, and what can be read after it.

use portolan_core::record::{Amount, What};

use crate::recorder::tests::{Folder, HOUR, MINUTE, START, entry, options, series};
use crate::{Keep, Options, Recorder, Store};

const DAY: u64 = 24 * HOUR;

/// A week, a look a minute, recorded with this.
fn week(file: &std::path::Path, keep: Keep) {
    let options = Options { interval_ms: MINUTE, keep, ..options() };
    let mut recorder = Recorder::open(file, options).unwrap();
    for minute in 0..7 * 24 * 60 {
        recorder
            .append(&entry(START / DAY * DAY + minute * MINUTE, &[("a", minute % 60), ("b", 7)]))
            .unwrap();
    }
}

#[test]
fn what_is_too_old_goes_level_by_level_and_the_coarser_one_answers_for_it() {
    let folder = Folder::new("old");
    let file = folder.file("h.db");
    week(&file, Keep { looks_ms: DAY, minutes_ms: 3 * DAY, hours_ms: 5 * DAY, ..Keep::default() });
    let found = series(&file, What::Owner, 1_000_000);
    let a = found.iter().find(|series| series.name == "a").unwrap();
    assert_eq!(a.runs.len(), 1, "no level leaves a hole between it and the next one");
    let begin = a.points().next().unwrap().at_ms;
    let end = START / DAY * DAY + 7 * DAY;
    assert!(((5 * DAY)..(5 * DAY + 2 * HOUR)).contains(&(end - begin)), "{}", end - begin);
    let hours = a.points().filter(|point| point.span_ms == HOUR).count();
    assert!((47..=49).contains(&hours), "{hours}");
    let mean = a.points().map(|p| p.mean * p.span_ms as f64).sum::<f64>() / (end - begin) as f64;
    assert!((mean - 29.5).abs() < 0.1, "{mean}");
    assert_eq!(Store::read(&file).unwrap().check().unwrap(), Vec::<String>::new());
}

#[test]
fn the_file_stays_as_small_as_it_was_told_to() {
    let folder = Folder::new("small");
    let (file, all) = (folder.file("h.db"), folder.file("all.db"));
    week(&file, Keep { bytes: 400_000, ..Keep::default() });
    week(&all, Keep { looks_ms: 8 * DAY, ..Keep::default() });
    let size = |path| std::fs::metadata(path).unwrap().len();
    assert!(size(&all) > 600_000, "{}", size(&all));
    assert!(size(&file) <= 450_000, "{}", size(&file));
    let found = series(&file, What::Owner, 7 * 24);
    assert_eq!(found[0].points().count(), 7 * 24, "the hours are all there");
}

#[test]
fn a_clock_that_is_wrong_for_a_moment_removes_nothing() {
    let folder = Folder::new("wrong");
    let file = folder.file("h.db");
    let mut recorder = Recorder::open(&file, options()).unwrap();
    let begin = START / HOUR * HOUR;
    for look in 0..720 {
        recorder.append(&entry(begin + look * 5000, &[("a", 1)])).unwrap();
    }
    for look in 0..60 {
        recorder.append(&entry(begin + 10_000 * DAY + look * 5000, &[("a", 2)])).unwrap();
    }
    recorder.append(&entry(begin + HOUR, &[("a", 3)])).unwrap();
    let store = Store::read(&file).unwrap();
    let query = crate::Query {
        since_ms: begin,
        until_ms: begin + 2 * HOUR,
        what: What::Owner,
        most: 9,
        points: 10_000,
    };
    let found = store.series(&query).unwrap();
    assert_eq!(found[0].points().count(), 721);
}

#[test]
fn rooms_stand_as_ranges_with_the_least_first_and_what_was_not_told_is_not_zero() {
    let folder = Folder::new("rooms");
    let file = folder.file("h.db");
    let mut recorder = Recorder::open(&file, options()).unwrap();
    for look in 0..3 {
        let mut entry = entry(START + look * 5000, &[]);
        entry.seen.push(What::Destination);
        let mut set = |name: &str, min, max| {
            entry.amounts.insert((What::Destination, name.to_owned()), Amount { min, max });
        };
        set("wide", 1000, 2000);
        if look != 1 {
            set("narrow", 10, 10);
        }
        recorder.append(&entry).unwrap();
    }
    let found = series(&file, What::Destination, 100);
    assert_eq!(found.iter().map(|series| &*series.name).collect::<Vec<_>>(), ["narrow", "wide"]);
    assert_eq!(found[0].runs.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    let first = found[1].points().next().unwrap();
    assert_eq!((first.min, first.mean, first.max), (1000.0, 1500.0, 2000.0));
}

#[test]
fn the_last_look_is_told_as_it_was_and_not_as_the_mean_of_its_stretch() {
    let folder = Folder::new("last");
    let file = folder.file("h.db");
    let mut recorder = Recorder::open(&file, options()).unwrap();
    let begin = START / HOUR * HOUR;
    for look in 0..1440_u64 {
        let owners = [("a", look), ("gone", 7)];
        let owners = if look < 1439 { &owners[..] } else { &owners[..1] };
        let mut entry = entry(begin + look * 5000, owners);
        entry.seen.extend([What::Destination]);
        let towards = if look < 1430 { "x" } else { "y" };
        entry.amounts.insert((What::Destination, towards.to_owned()), Amount { min: look, max: look + 2 });
        recorder.append(&entry).unwrap();
    }
    let store = Store::read(&file).unwrap();
    let all = ["a", "gone", "x", "y"].into();
    let last = |what, since: u64, until: u64| store.last(what, &all, (begin + since, begin + until)).unwrap();
    let [a, x, y] = [("a", 1439, 1439), ("x", 1429, 1431), ("y", 1439, 1441)]
        .map(|(name, min, max)| (name.to_owned(), Amount { min, max }));
    // Two hours as one stretch of an hour each: the last look is in the second.
    let stretch = store
        .series(&crate::Query {
            since_ms: begin,
            until_ms: begin + 2 * HOUR,
            what: What::Owner,
            most: 9,
            points: 2,
        })
        .unwrap()[0]
        .points()
        .last()
        .copied()
        .unwrap();
    assert_eq!((stretch.span_ms, stretch.mean), (HOUR, (720.0 + 1439.0) / 2.0));
    assert_eq!(last(What::Owner, HOUR, 2 * HOUR), Some([a.clone()].into()), "who is missing had none");
    assert_eq!(last(What::Destination, HOUR, 2 * HOUR), Some([x, y].into()), "each as it was seen last");
    let before = last(What::Owner, HOUR, 2 * HOUR - 5000).unwrap();
    assert_eq!((before["a"], before["gone"]), (Amount::exact(1438), Amount::exact(7)));
    assert_eq!(last(What::State, HOUR, 2 * HOUR), None, "nobody looked for that");
    assert_eq!(last(What::Owner, 2 * HOUR, 3 * HOUR), None);
    drop(store);
    // The looks are removed with time, and then nobody knows.
    let mut recorder =
        Recorder::open(&file, Options { keep: Keep { looks_ms: HOUR, ..Keep::default() }, ..options() })
            .unwrap();
    recorder.append(&entry(begin + 9 * HOUR, &[("a", 1)])).unwrap();
    assert_eq!(
        Store::read(&file).unwrap().last(What::Owner, &all, (begin + HOUR, begin + 2 * HOUR)).unwrap(),
        None
    );
}
