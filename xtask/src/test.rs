//! `cargo xtask test`: everything that must hold, step by step, each with its time.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::{cargo, packages};

/// Counts over all test programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Total {
    programs: u64,
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Runs every step, also after one that failed; whether all went well.
pub(crate) fn test() -> anyhow::Result<bool> {
    let start = Instant::now();
    step("packages", || packages::install().map(|()| true))?;
    let mut failed = Vec::new();
    for (name, command) in checks() {
        if !step(name, || run(command))? {
            failed.push(name);
        }
    }
    let mut total = Total::default();
    let tests_pass = step("tests", || {
        // Tests start the programs of other packages too, which cargo does not build for them.
        if !run(cargo(&["build", "--workspace", "--bins", "--profile", "test"]))? {
            return Ok(false);
        }
        let (passed, counted) = run_tests()?;
        total = counted;
        Ok(passed)
    })?;
    if !tests_pass {
        failed.push("tests");
    }
    let Total { programs, passed, failed: broken, ignored } = total;
    let verdict = if failed.is_empty() { "ok".to_owned() } else { format!("FAILED: {}", failed.join(", ")) };
    println!(
        "total: {verdict}. {passed} passed; {broken} failed; {ignored} ignored; {programs} test programs; {}",
        seconds(start.elapsed())
    );
    Ok(failed.is_empty())
}

/// What is checked besides running tests.
fn checks() -> [(&'static str, Command); 3] {
    let mut documentation = cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    documentation.env("RUSTDOCFLAGS", "--deny warnings");
    [
        ("formatting", cargo(&["fmt", "--all", "--check"])),
        ("lints", cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])),
        ("documentation", documentation),
    ]
}

fn step(name: &str, work: impl FnOnce() -> anyhow::Result<bool>) -> anyhow::Result<bool> {
    println!("==> {name}");
    let start = Instant::now();
    let passed = work().with_context(|| name.to_owned())?;
    println!("<== {name}: {}, {}", if passed { "ok" } else { "FAILED" }, seconds(start.elapsed()));
    Ok(passed)
}

fn run(mut command: Command) -> anyhow::Result<bool> {
    Ok(command.status().with_context(|| format!("cannot run {command:?}"))?.success())
}

/// Every unit, integration and documentation test, with its output shown and its summaries counted.
fn run_tests() -> anyhow::Result<(bool, Total)> {
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    // A snapshot that differs is a failure; it is accepted by hand only.
    command.env("INSTA_UPDATE", "no").env("PATH", packages::path());
    if !portolan_testbed::is_root() {
        packages::require_sudo()?;
        command.env(runner_variable()?, "sudo -E");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo test")?;
    let output = child.stdout.take().context("it was piped")?;
    let mut total = Total::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        std::io::stdout().write_all(&[&line, &b"\n"[..]].concat())?;
        total.count(&String::from_utf8_lossy(&line));
    }
    Ok((child.wait()?.success(), total))
}

/// The variable that tells cargo how to start test programs of this machine's own target.
fn runner_variable() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8(output.stdout)?;
    let host =
        text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    Ok(format!("CARGO_TARGET_{}_RUNNER", host.replace('-', "_").to_uppercase()))
}

impl Total {
    /// Adds a summary of the test runner: `test result: ok. 14 passed; 0 failed; 0 ignored; …`.
    fn count(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        self.programs += 1;
        for part in counts.split("; ") {
            match part.split_once(' ').map(|(number, what)| (number.parse::<u64>(), what)) {
                Some((Ok(number), "passed")) => self.passed += number,
                Some((Ok(number), "failed")) => self.failed += number,
                Some((Ok(number), "ignored")) => self.ignored += number,
                _ => {}
            }
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::Total;

    #[test]
    fn summaries_are_added_up_and_other_lines_are_not() {
        let mut total = Total::default();
        for line in [
            "running 3 tests",
            "test result: ok. 14 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.49s",
            "test result: FAILED. 13 passed; 1 failed; 0 ignored; 0 measured; 2 filtered out; finished in 2s",
            "test a_test_result ... ok",
        ] {
            total.count(line);
        }
        assert_eq!(total, Total { programs: 2, passed: 27, failed: 1, ignored: 1 });
    }
}
