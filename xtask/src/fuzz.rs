//! `cargo xtask fuzz`: every decoder against inputs that a fuzzer makes up, each protocol of the registry on its own.
//!
//! It needs cargo-fuzz, which the project itself does not. A short run over the same protocols belongs to the tests
//! (`crates/core/tests/fuzzed_briefly.rs`).

use std::process::Command;

use anyhow::{Context, bail};
use portolan_core::probe::PROBES;

/// Targets besides `probes`. They begin with the recordings of the tests.
const TARGETS: [&str; 4] = ["imports", "kernel", "snapshot", "etl"];
const RECORDINGS: &str = "crates/core/tests/recordings";
/// What each gets where nothing else is said.
const RUNS: u64 = 10_000_000;
/// Seconds after which one input counts as hanging, and MiB that one may take.
const LIMITS: [&str; 2] = ["-timeout=10", "-rss_limit_mb=1024"];
/// The longest input, bytes; a trace file has room for buffers of its own length.
const LONGEST: usize = 4096;
const LONGEST_TRACE: usize = 20_480;

/// Fuzzes the named protocols and targets, or all; `runs` inputs each. What fails is told at the end; the input that did
/// it lies in `fuzz/artifacts`. Each keeps its own corpus, from which its next run goes on.
pub(crate) fn fuzz(words: &[&str]) -> anyhow::Result<bool> {
    let (numbers, names): (Vec<&str>, Vec<&str>) =
        words.iter().partition(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
    let runs = numbers.first().map_or(Ok(RUNS), |number| number.parse()).context("how many inputs?")?;
    let all = || PROBES.iter().map(|protocol| protocol.id).chain(TARGETS);
    if let Some(unknown) = names.iter().find(|name| !all().any(|known| known == **name)) {
        bail!("nothing is called '{unknown}'; type some of: {}", all().collect::<Vec<_>>().join(" "));
    }
    let asked = all().filter(|name| names.is_empty() || names.contains(name));
    let failed: Vec<&str> = asked
        .filter_map(|name| one(name, runs).map(|well| (!well).then_some(name)).transpose())
        .collect::<Result<_, _>>()?;
    if !failed.is_empty() {
        bail!("failed: {}; or fuzzing is not installed: cargo install cargo-fuzz", failed.join(" "));
    }
    Ok(true)
}

/// Fuzzes one; whether it held.
fn one(name: &str, runs: u64) -> anyhow::Result<bool> {
    println!("==> {name}: {runs} inputs");
    let is_protocol = !TARGETS.contains(&name);
    let [target, protocol] = if is_protocol { ["probes", name] } else { [name, ""] };
    let corpus = format!("fuzz/corpus/{name}");
    std::fs::create_dir_all(&corpus)
        .with_context(|| format!("cannot make {corpus}; type it in the project's folder"))?;
    let mut command = Command::new("cargo");
    command.args(["fuzz", "run", "--sanitizer", "none", target, &corpus]);
    command.args((!is_protocol).then_some(RECORDINGS)).arg("--");
    command.arg(format!("-runs={runs}")).args(LIMITS);
    command.arg(format!("-max_len={}", if name == "etl" { LONGEST_TRACE } else { LONGEST }));
    command.args(["-print_final_stats=1", "-verbosity=0"]).env("PORTOLAN_PROTOCOL", protocol);
    // What marks the branches for the fuzzer is not in a stable compiler's hands otherwise.
    command.env("RUSTC_BOOTSTRAP", "1");
    Ok(command.status().context("cannot run cargo; is rustup there?")?.success())
}
