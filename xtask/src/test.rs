//! `cargo xtask test`: everything that must hold, on both systems, step by step, each with its time.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};

use crate::windows::{self, TARGET};
use crate::{cargo, packages, target_folder};

/// Counts over all test programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Total {
    programs: u64,
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// What came of one system's half.
#[derive(Debug, Default)]
struct Half {
    total: Total,
    broken: Vec<String>,
}

/// Runs every step of both systems, or of those that are named, also after one that failed; whether all went well.
pub(crate) fn test(systems: &[&str]) -> anyhow::Result<bool> {
    if let Some(unknown) = systems.iter().find(|system| !["linux", "windows"].contains(system)) {
        bail!("there are no tests for '{unknown}': type cargo xtask test [linux|windows]");
    }
    let start = Instant::now();
    let mut halves = Vec::new();
    for (name, half) in [("linux", linux as fn() -> Half), ("windows", windows)] {
        if systems.is_empty() || systems.contains(&name) {
            println!("==== {name}");
            let begun = Instant::now();
            halves.push((name, half(), begun.elapsed()));
        }
    }
    let mut whole = Half::default();
    println!("====");
    for (name, half, time) in halves {
        println!("{name}: {}; {}", half.summary(), seconds(time));
        whole.total.add(half.total);
        whole.broken.extend(half.broken.iter().map(|step| format!("{name} {step}")));
    }
    println!("total: {}; {}", whole.summary(), seconds(start.elapsed()));
    Ok(whole.broken.is_empty())
}

/// This machine's own system.
fn linux() -> Half {
    let mut half = Half::default();
    if !half.step("packages", || packages::install(packages::LINUX).map(|()| true)) {
        return half;
    }
    half.step("formatting", || run(cargo(&["fmt", "--all", "--check"])));
    half.step("lints", || {
        run(cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]))
    });
    half.step("documentation", || run(documentation(&["--workspace"])));
    half.tests(|| {
        // Tests start the programs of other packages too, which cargo does not build for them.
        if !run(cargo(&["build", "--workspace", "--bins", "--profile", "test"]))? {
            return Ok(None);
        }
        let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
        command.env("PATH", packages::path());
        if !portolan_testbed::is_root() {
            packages::require_sudo()?;
            command.env(runner_variable(&host()?), "sudo -E");
        }
        count_tests(command, || Ok(())).map(Some)
    });
    half
}

/// The other one, under Wine.
fn windows() -> Half {
    let mut half = Half::default();
    let mut prepared = None;
    half.step("cross-compiler and Wine", || {
        prepared = Some(windows::prepare()?);
        Ok(true)
    });
    let Some(wine) = prepared else { return half };
    let both = [&windows::CRATES[..], &["--target", TARGET]].concat();
    half.step("lints", || {
        let rest = ["--all-targets", "--quiet", "--", "--deny", "warnings"];
        run(cargo(&[&["clippy"], &both[..], &rest].concat()))
    });
    half.step("documentation", || run(documentation(&both)));
    half.tests(|| {
        let mut command = cargo(&[&["test"], &both[..], &["--no-fail-fast"]].concat());
        command.env(runner_variable(TARGET), wine.runner());
        count_tests(command, || wine.end_leftovers()).map(Some)
    });
    half.step("imports", || {
        let program = target_folder().join(TARGET).join("debug/portolan.exe");
        windows::check(&program, &wine.libraries()).map(|()| true)
    });
    half
}

/// The documentation of some packages, where a warning is a failure.
fn documentation(packages: &[&str]) -> Command {
    let mut command = cargo(&[&["doc", "--no-deps", "--quiet"], packages].concat());
    command.env("RUSTDOCFLAGS", "--deny warnings");
    command
}

impl Half {
    /// A step after which the next is run too; whether it went well. One that cannot be run says why and is broken.
    fn step(&mut self, name: &str, work: impl FnOnce() -> anyhow::Result<bool>) -> bool {
        println!("==> {name}");
        let start = Instant::now();
        let passed = work().unwrap_or_else(|error| {
            eprintln!("xtask: {error:#}");
            false
        });
        println!("<== {name}: {}, {}", if passed { "ok" } else { "FAILED" }, seconds(start.elapsed()));
        if !passed {
            self.broken.push(name.to_owned());
        }
        passed
    }

    /// The step that runs the tests; none where they could not be built.
    fn tests(&mut self, work: impl FnOnce() -> anyhow::Result<Option<(bool, Total)>>) {
        let mut total = Total::default();
        self.step("tests", || {
            let Some((passed, counted)) = work()? else { return Ok(false) };
            total = counted;
            // Nothing run is nothing proven.
            Ok(passed && counted.passed > 0)
        });
        self.total = total;
    }

    fn summary(&self) -> String {
        let verdict = if self.broken.is_empty() {
            "ok".to_owned()
        } else {
            format!("FAILED: {}", self.broken.join(", "))
        };
        let Total { programs, passed, failed, ignored } = self.total;
        format!("{verdict}. {passed} passed; {failed} failed; {ignored} ignored; {programs} test programs")
    }
}

fn run(mut command: Command) -> anyhow::Result<bool> {
    Ok(command.status().with_context(|| format!("cannot run {command:?}"))?.success())
}

/// Every unit, integration and documentation test, with its output shown and its summaries counted. `end_leftovers` is
/// called when cargo has ended: a process that a test left behind keeps the output open for ever.
fn count_tests(
    mut command: Command,
    end_leftovers: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<(bool, Total)> {
    // A snapshot that differs is a failure; it is accepted by hand only.
    command.env("INSTA_UPDATE", "no");
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo test")?;
    let output = child.stdout.take().context("it was piped")?;
    let reading = thread::spawn(move || counted(output));
    let passed = child.wait()?.success();
    end_leftovers()?;
    let total = reading.join().map_err(|_| anyhow!("reading what cargo test prints failed"))??;
    Ok((passed, total))
}

/// Passes lines on and counts the summaries among them.
fn counted(output: impl Read) -> std::io::Result<Total> {
    let mut total = Total::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        std::io::stdout().write_all(&[&line, &b"\n"[..]].concat())?;
        total.count(&String::from_utf8_lossy(&line));
    }
    Ok(total)
}

/// This machine's own target.
fn host() -> anyhow::Result<String> {
    let text = crate::rustc(&["-vV"])?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// The variable that tells cargo how to start programs of a target.
pub(crate) fn runner_variable(target: &str) -> String {
    format!("CARGO_TARGET_{}_RUNNER", target.replace('-', "_").to_uppercase())
}

impl Total {
    /// Adds a summary of the test runner: `test result: ok. 14 passed; 0 failed; 0 ignored; …`. A program that holds no
    /// test for this system does not count.
    fn count(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        let mut one = Self { programs: 1, ..Self::default() };
        for part in counts.split("; ") {
            match part.split_once(' ').map(|(number, what)| (number.parse::<u64>(), what)) {
                Some((Ok(number), "passed")) => one.passed = number,
                Some((Ok(number), "failed")) => one.failed = number,
                Some((Ok(number), "ignored")) => one.ignored = number,
                _ => {}
            }
        }
        if one.passed + one.failed + one.ignored > 0 {
            self.add(one);
        }
    }

    fn add(&mut self, other: Self) {
        self.programs += other.programs;
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::Total;

    #[test]
    fn summaries_are_added_up_and_other_lines_and_empty_programs_are_not() {
        let mut total = Total::default();
        for line in [
            "running 3 tests",
            "test result: ok. 14 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.49s",
            "test result: FAILED. 13 passed; 1 failed; 0 ignored; 0 measured; 2 filtered out; finished in 2s",
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test a_test_result ... ok",
        ] {
            total.count(line);
        }
        assert_eq!(total, Total { programs: 2, passed: 27, failed: 1, ignored: 1 });
    }
}
