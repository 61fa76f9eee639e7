//! `cargo xtask bench`: the release build against what people use today, on sockets of this benchmark's own.
//!
//! Runs are interleaved, so that a slow moment of the machine falls on all alike; the first run of each warms up and
//! does not count, unless it alone takes longer than [`SLOW`]. Medians are compared with the goals of issues 2, 5 and 6.

mod history;
mod probe;
mod record;
mod snapshot;
mod sockets;
mod start;
mod table;
mod trace;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use portolan_testbed::{Measured, Namespace, measured};

pub(crate) use snapshot::sample;

use crate::{cargo, packages, target_folder};

/// A program that takes longer is run once, and that run counts.
const SLOW: Duration = Duration::from_secs(5);

/// A run is ended after this time; the table says so.
const LIMIT: Duration = Duration::from_secs(180);

/// The benchmarks, by the name that chooses one.
const NAMES: [&str; 7] = ["start", "sockets", "snapshot", "probe", "record", "history", "trace"];

/// Largest size of the stripped program, in bytes.
const LARGEST_PROGRAM: u64 = 8 * 1024 * 1024;

/// Runs the benchmarks that are named, or all; whether every goal was met.
pub(crate) fn bench(words: &[&str]) -> anyhow::Result<bool> {
    let quick = words.contains(&"--quick");
    let names: Vec<&str> = words.iter().copied().filter(|word| *word != "--quick").collect();
    if let Some(unknown) = names.iter().find(|name| !NAMES.contains(*name)) {
        bail!("there is no benchmark '{unknown}': type cargo xtask bench [{}] [--quick]", NAMES.join("|"));
    }
    if !portolan_testbed::is_root() {
        bail!("the benchmark makes network namespaces: type sudo -E env PATH=\"$PATH\" cargo xtask bench");
    }
    packages::install(packages::LINUX)?;
    let programs = Programs::build()?;
    let wanted = |name: &str| names.is_empty() || names.contains(&name);
    let mut met = programs.report_size()?;
    if wanted("start") {
        met &= start::bench(&programs);
    }
    if wanted("sockets") {
        met &= sockets::bench(&programs, quick);
    }
    if wanted("snapshot") {
        met &= snapshot::bench(&programs, quick)?;
    }
    if wanted("probe") {
        met &= probe::bench(&programs, quick)?;
    }
    if wanted("history") {
        met &= history::bench(&programs)?;
    }
    if wanted("trace") {
        met &= trace::bench(&programs, quick)?;
    }
    if wanted("record") {
        met &= record::bench(&programs, quick)?;
    }
    Ok(met)
}

/// What is measured.
struct Programs {
    portolan: PathBuf,
}

impl Programs {
    /// Builds the release program, and the testbed that holds sockets for it.
    fn build() -> anyhow::Result<Self> {
        for arguments in [
            &["build", "--quiet", "--package", "portolan-testbed"][..],
            &["build", "--release", "--package", "portolan"],
        ] {
            let status = cargo(arguments).status().context("cannot run cargo")?;
            if !status.success() {
                bail!("cargo {} failed", arguments.join(" "));
            }
        }
        Ok(Self { portolan: target_folder().join("release/portolan") })
    }

    fn report_size(&self) -> anyhow::Result<bool> {
        let size = std::fs::metadata(&self.portolan).context("the program was just built")?.len();
        let met = size < LARGEST_PROGRAM;
        #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
        let mib = size as f64 / 1_048_576.0;
        println!("size of the release program: {mib:.2} MiB (goal: below 8 MiB): {}", verdict(met));
        Ok(met)
    }

    /// The release program with arguments, as a person types them.
    fn portolan(&self, arguments: &str) -> Contender {
        Contender::new(format!("portolan {arguments}"), &self.portolan.display().to_string(), arguments)
    }
}

/// A command that is measured, and its runs.
struct Contender {
    label: String,
    program: String,
    arguments: Vec<String>,
    runs: Vec<Measured>,
}

impl Contender {
    fn new(label: String, program: &str, arguments: &str) -> Self {
        let arguments = arguments.split_whitespace().map(str::to_owned).collect();
        Self { label, program: program.to_owned(), arguments, runs: Vec::new() }
    }

    /// A program that is installed, with its arguments.
    fn peer(line: &str) -> Self {
        let (program, arguments) = line.split_once(' ').unwrap_or((line, ""));
        Self::new(line.to_owned(), program, arguments)
    }

    /// Runs it once inside a namespace.
    fn measure(&self, namespace: &Namespace) -> Measured {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env("PATH", packages::path());
        namespace.run(|| measured(command, LIMIT))
    }

    /// Whether every run ended well by itself.
    fn succeeded(&self) -> bool {
        self.runs.iter().all(|run| run.status.success() && !run.cut)
    }

    fn is_slow(&self) -> bool {
        self.runs.first().is_some_and(|run| run.elapsed > SLOW)
    }

    /// Median wall-clock time in seconds.
    fn median(&self) -> f64 {
        let mut times: Vec<f64> = self.runs.iter().map(|run| run.elapsed.as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        let middle = times.len() / 2;
        if times.len() % 2 == 1 { times[middle] } else { f64::midpoint(times[middle - 1], times[middle]) }
    }

    /// Most memory of any run, in MiB.
    #[expect(clippy::cast_precision_loss, reason = "KiB far below 2^52")]
    fn peak_mib(&self) -> f64 {
        self.runs.iter().map(|run| run.peak_kib).max().unwrap_or(0) as f64 / 1024.0
    }
}

/// Measures all of them in turn, `runs` times each.
fn race(namespace: &Namespace, contenders: &mut [Contender], runs: usize) {
    for contender in &mut *contenders {
        let first = contender.measure(namespace);
        if first.elapsed > SLOW {
            contender.runs.push(first);
        }
    }
    for _ in 0..runs {
        for contender in contenders.iter_mut().filter(|contender| !contender.is_slow()) {
            let run = contender.measure(namespace);
            contender.runs.push(run);
        }
    }
}

/// How a goal went.
const fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}
