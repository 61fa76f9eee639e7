//! What the benchmarks print: a table of contenders, and lines that hold goals against it.

use super::{Contender, LIMIT, verdict};

/// Prints one line for each contender.
pub(super) fn print(contenders: &[Contender]) {
    let width = contenders.iter().map(|contender| contender.label.len()).max().unwrap_or(0);
    println!(
        "  {:width$}  {:>4}  {:>10}  {:>10}  {:>10}  {:>9}",
        "", "runs", "median", "least", "most", "peak"
    );
    for contender in contenders {
        let times = || contender.runs.iter().map(|run| run.elapsed.as_secs_f64());
        let least = times().fold(f64::INFINITY, f64::min);
        let most = times().fold(0.0, f64::max);
        println!(
            "  {:width$}  {:>4}  {}  {}  {}  {:>5.1} MiB{}",
            contender.label,
            contender.runs.len(),
            time(contender.median()),
            time(least),
            time(most),
            contender.peak_mib(),
            remark(contender),
        );
    }
}

/// What is to be known about a contender's runs, besides the figures.
fn remark(contender: &Contender) -> String {
    if contender.runs.iter().any(|run| run.cut) {
        return format!("  ended after {} s, took longer", LIMIT.as_secs());
    }
    match contender.runs.iter().map(|run| run.status).find(|status| !status.success()) {
        Some(status) => format!("  {status}"),
        None => String::new(),
    }
}

fn time(seconds: f64) -> String {
    if seconds < 10.0 { format!("{:>7.1} ms", seconds * 1000.0) } else { format!("{seconds:>8.1} s") }
}

/// Prints how one contender's median compares with another's, held against a goal where there is one.
pub(super) fn ratio(ours: &Contender, theirs: &Contender, goal: Option<f64>) -> bool {
    let ratio = ours.median() / theirs.median();
    print!("  {} / {} = {ratio:.3}", ours.label, theirs.label);
    // A program that gives up at once is fast; one that was ended for its slowness is at least that slow.
    let sound = ours.succeeded() && (theirs.succeeded() || theirs.runs.iter().all(|run| run.cut));
    let met = sound && goal.is_none_or(|goal| ratio <= goal);
    if !sound {
        print!("  (not comparable: a run failed)");
    }
    match goal {
        Some(goal) => println!("  (goal: at most {goal}): {}", verdict(met)),
        None => println!(),
    }
    met
}

/// Prints a contender's peak memory against a goal.
pub(super) fn memory(ours: &Contender, goal_mib: Option<f64>) -> bool {
    let Some(goal) = goal_mib else { return true };
    let met = ours.succeeded() && ours.peak_mib() < goal;
    println!(
        "  {} peaks at {:.1} MiB  (goal: below {goal} MiB): {}",
        ours.label,
        ours.peak_mib(),
        verdict(met)
    );
    met
}
