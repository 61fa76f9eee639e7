//! A year of what the recorder keeps, rolled up, and how long `portolan history --since 365d` takes on it.
//!
//! The year is written by the store itself, a look an hour with as many names as a busy machine has: what was finer a
//! year ago is kept as hours all the same.

use std::path::Path;

use anyhow::Context;
use portolan_core::record::{Amount, Entry, What};
use portolan_history::{Keep, Options, Recorder};
use portolan_testbed::Namespace;

use super::{Contender, Programs, race, table, verdict};
use crate::target_folder;

const HOUR_MS: u64 = 3_600_000;
const HOURS: u64 = 365 * 24;
const OWNERS: u64 = 200;
const DESTINATIONS: u64 = 30;
/// The year ends on 2026-11-27.
const END_MS: u64 = 1_795_737_600_000;
const RUNS: usize = 15;

/// The longest that it may take, in seconds.
const GOAL: f64 = 0.300;

/// Measures and prints; whether the goal was met.
pub(super) fn bench(programs: &Programs) -> anyhow::Result<bool> {
    println!("\nhistory: a year of {OWNERS} owners and {DESTINATIONS} destinations");
    let (file, picture) =
        (target_folder().join("bench-history.db"), target_folder().join("bench-history.svg"));
    if file.exists() {
        std::fs::remove_file(&file)?;
    }
    year(&file)?;
    let shown = file.display();
    let contender = |line: &str| Contender {
        label: format!("portolan history --since 365d {line}"),
        ..programs.portolan(&format!("history --file {shown} --since 365d {line}"))
    };
    let chart = format!("--by destination --force --chart {}", picture.display());
    let mut contenders = [contender(""), contender("--by owner --json"), contender(&chart)];
    race(&Namespace::new(), &mut contenders, RUNS);
    table::print(&contenders);
    std::fs::remove_file(&file)?;
    std::fs::remove_file(&picture).context("history --chart drew nothing")?;
    let slowest = contenders.iter().map(Contender::median).fold(0.0, f64::max);
    // A year whose rooms end is told by exit code 1: it has waves alone, so that each of them ends well.
    let met = contenders.iter().all(Contender::succeeded) && slowest <= GOAL;
    println!("  the slowest takes {:.0} ms  (goal: at most 300 ms): {}", slowest * 1000.0, verdict(met));
    Ok(met)
}

/// Writes the year.
fn year(file: &Path) -> anyhow::Result<()> {
    let options = Options { interval_ms: HOUR_MS, pid: 1, keep: Keep::default() };
    let mut recorder = Recorder::open(file, options)?;
    for hour in 0..HOURS {
        let mut entry = Entry {
            at_ms: END_MS - (HOURS - hour) * HOUR_MS,
            boot: "bench".to_owned(),
            seen: What::ALL.to_vec(),
            ..Entry::default()
        };
        let mut set = |what, name: String, value| {
            entry.amounts.insert((what, name), Amount::exact(value));
        };
        set(What::Total, "tcp".to_owned(), 20_000 + wave(hour, 0, 5000));
        set(What::Total, "udp".to_owned(), 300 + wave(hour, 1, 50));
        for owner in 0..OWNERS {
            set(
                What::Owner,
                format!("service-{owner} (service-{owner}.service)"),
                20 + wave(hour, owner, 200),
            );
        }
        for destination in 0..DESTINATIONS {
            let name = format!("10.0.0.5 to 10.0.7.{destination}:8443");
            set(What::Destination, name, 9000 + wave(hour, destination, 12_000));
        }
        set(What::Room, "tcp connect ipv4".to_owned(), 20_000 + wave(hour, 3, 4000));
        recorder.append(&entry)?;
    }
    Ok(())
}

/// A day's wave, from 0 to `high`, each number's at another time, and a little that is not regular.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small"
)]
fn wave(hour: u64, number: u64, high: u64) -> u64 {
    let turn = (hour as f64 / 24.0 + number as f64 / 7.0) * std::f64::consts::TAU;
    let off = (hour * 7919 + number * 104_729) % 100;
    ((turn.sin() + 1.0) / 2.0 * high as f64 * 0.9) as u64 + high * off / 1000
}
