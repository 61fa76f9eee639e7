//! `cargo xtask fuzz`: every decoder against inputs that a fuzzer makes up, each protocol of the registry on its own.
//!
//! It needs a nightly compiler and cargo-fuzz; the project itself needs neither. A short run over the same protocols
//! belongs to the tests (`crates/core/tests/fuzzed_briefly.rs`).

use std::process::Command;

use anyhow::{Context, bail};
use portolan_core::probe::PROBES;

/// Targets besides `probes`.
const TARGETS: [&str; 3] = ["imports", "kernel", "snapshot"];
/// What each gets where nothing else is said.
const RUNS: u64 = 10_000_000;
/// Seconds after which one input counts as hanging, and MiB that one may take.
const LIMITS: [&str; 3] = ["-timeout=10", "-rss_limit_mb=1024", "-max_len=4096"];

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
        bail!(
            "failed: {}; or fuzzing is not installed: rustup toolchain install nightly && cargo install cargo-fuzz",
            failed.join(" ")
        );
    }
    Ok(true)
}

/// Fuzzes one; whether it held.
fn one(name: &str, runs: u64) -> anyhow::Result<bool> {
    println!("==> {name}: {runs} inputs");
    let target = if TARGETS.contains(&name) { name } else { "probes" };
    let corpus = format!("fuzz/corpus/{name}");
    std::fs::create_dir_all(&corpus)
        .with_context(|| format!("cannot make {corpus}; type it in the project's folder"))?;
    let mut command = Command::new("cargo");
    command.args(["+nightly", "fuzz", "run", "--sanitizer", "none", target, &corpus, "--"]);
    command.arg(format!("-runs={runs}")).args(LIMITS).args(["-print_final_stats=1", "-verbosity=0"]);
    command.env("PORTOLAN_PROTOCOL", if target == "probes" { name } else { "" });
    Ok(command.status().context("cannot run cargo; is rustup there?")?.success())
}
