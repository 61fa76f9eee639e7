//! What recording takes: processor time and memory beside 100,000 sockets that come and go, and the file's size and how
//! fast it answers for a year.
//!
//! 70,000 sockets are held; 500 connections a second are opened and closed, whose TIME_WAIT make up the rest. What one
//! look by `ss -tanp`, that tells sockets with their owners too, takes is measured beside it.

use std::collections::VecDeque;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use portolan_testbed::{Held, Namespace, measured};

use super::{LIMIT, Programs, verdict};
use crate::{cargo, packages, target_folder};

const PROCESSES: usize = 50;
const INTERVAL: u64 = 5;
/// Opened and closed, ten times a second.
const AT_ONCE: usize = 50;

/// Most of one core, in percent.
const GOAL_CORE: f64 = 4.0;
const GOAL_MIB: f64 = 48.0;
/// A day of looks with 200 owners, in MiB.
const GOAL_DAY_MIB: f64 = 30.0;
/// A question about a year, in milliseconds.
const GOAL_YEAR_MS: f64 = 300.0;

/// Measures and prints; whether every goal was met.
pub(super) fn bench(programs: &Programs, quick: bool) -> anyhow::Result<bool> {
    let running = running(programs, quick)?;
    Ok(file(quick)? && running)
}

/// Connections that come and go until told to end: as many are closed as are opened, the older first.
fn churn(listeners: &[TcpListener], end: &AtomicBool) {
    let mut open: VecDeque<(TcpStream, TcpStream)> = VecDeque::new();
    let mut next = Instant::now();
    while !end.load(Ordering::Relaxed) {
        for number in 0..AT_ONCE {
            let listener = &listeners[number % listeners.len()];
            let address = listener.local_addr().expect("it listens");
            let Ok(client) = TcpStream::connect(address) else { continue };
            let Ok((server, _)) = listener.accept() else { continue };
            open.push_back((client, server));
        }
        while open.len() > AT_ONCE * 10 {
            open.pop_front();
        }
        next += Duration::from_millis(100);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of KiB, far below 2^52")]
fn running(programs: &Programs, quick: bool) -> anyhow::Result<bool> {
    let (held, time) = if quick { (2_000, 15) } else { (70_000, 120) };
    println!("\nrecord: {held} sockets held, 500 connections opened and closed a second, every {INTERVAL} s");
    let namespace = Namespace::new();
    let each = held / 2 / PROCESSES;
    let _held: Vec<Held> = (0..PROCESSES)
        .map(|n| Held::new(&namespace, &format!("connections 127.0.0.1:{} --count {each}", 20_000 + n)))
        .collect();
    let listeners: Vec<TcpListener> = namespace.run(|| {
        (0..4).map(|n| TcpListener::bind(("127.0.0.1", 21_000 + n)).expect("the namespace is new")).collect()
    });
    let file = scratch("bench-record.db");
    let end = AtomicBool::new(false);
    let (recorded, peer) = std::thread::scope(|scope| {
        scope.spawn(|| namespace.run(|| churn(&listeners, &end)));
        // As many TIME_WAIT as there will be.
        std::thread::sleep(Duration::from_secs(if quick { 1 } else { 60 }));
        let mut command = Command::new(&programs.portolan);
        command.args(["record", "--interval", &INTERVAL.to_string(), "--for", &time.to_string(), "--file"]);
        command.arg(&file);
        let recorded = namespace.run(|| measured(command, LIMIT));
        let mut command = Command::new("ss");
        command.arg("-tanp").env("PATH", packages::path());
        let peer = namespace.run(|| measured(command, LIMIT));
        end.store(true, Ordering::Relaxed);
        (recorded, peer)
    });
    let _ = std::fs::remove_file(&file);
    if !recorded.status.success() {
        bail!("portolan record ended with {}", recorded.status);
    }
    let looks = time / INTERVAL + 1;
    let look = recorded.processor.as_secs_f64() / looks as f64;
    let core = look / INTERVAL as f64 * 100.0;
    let mib = recorded.peak_kib as f64 / 1024.0;
    let met = (quick || core <= GOAL_CORE, mib <= GOAL_MIB);
    println!(
        "  a look takes {:.0} ms of the processor; ss -tanp {:.0} ms",
        look * 1e3,
        peer.processor.as_secs_f64() * 1e3
    );
    println!("  that is {core:.2} % of one core  (goal: at most {GOAL_CORE} %): {}", verdict(met.0));
    println!("  peak {mib:.1} MiB  (goal: at most {GOAL_MIB} MiB): {}", verdict(met.1));
    Ok(met.0 && met.1)
}

/// A file of its own, in memory where that has a file system: how fast the disk is says nothing about the store.
fn scratch(name: &str) -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { target_folder() };
    let file = folder.join(format!("portolan-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&file);
    file
}

fn file(quick: bool) -> anyhow::Result<bool> {
    println!("\nrecord: the file, with 200 owners");
    let (day, year) = (scratch("bench-day.db"), scratch("bench-year.db"));
    let size = number(&["day"], &day)? / 1_048_576.0;
    let met = size < GOAL_DAY_MIB;
    println!(
        "  a day of looks every 5 s takes {size:.1} MiB  (goal: below {GOAL_DAY_MIB} MiB): {}",
        verdict(met)
    );
    std::fs::remove_file(&day).context("it was just written")?;
    if quick {
        return Ok(met);
    }
    let size = number(&["year"], &year)? / 1_048_576.0;
    let asked = number(&["ask"], &year)?;
    let fast = asked < GOAL_YEAR_MS;
    println!(
        "  a year of hours and a month of minutes take {size:.1} MiB; the slowest question about it {asked:.0} ms  (goal: below {GOAL_YEAR_MS} ms): {}",
        verdict(fast)
    );
    std::fs::remove_file(&year).context("it was just written")?;
    Ok(met && fast)
}

/// What the store's own measuring program prints.
fn number(words: &[&str], file: &Path) -> anyhow::Result<f64> {
    let mut command = cargo(&[
        "run",
        "--quiet",
        "--release",
        "--package",
        "portolan-history",
        "--example",
        "measure",
        "--",
    ]);
    let output = command.args(words).arg(file).output().context("cannot run cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .with_context(|| format!("measure {words:?}: {}", String::from_utf8_lossy(&output.stderr)))
}
