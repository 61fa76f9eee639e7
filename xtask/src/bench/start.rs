//! How long `portolan why PORT` takes from start to answer where nothing else is going on.

use portolan_testbed::Namespace;

use super::{Programs, race, table, verdict};

const RUNS: usize = 50;

/// The longest that it may take, in seconds.
const GOAL: f64 = 0.030;

/// Measures and prints; whether the goal was met.
pub(super) fn bench(programs: &Programs) -> bool {
    println!("\nstart: an empty namespace");
    let namespace = Namespace::new();
    let mut contenders = [programs.portolan("why 8080"), programs.portolan("--help")];
    race(&namespace, &mut contenders, RUNS);
    table::print(&contenders);
    let median = contenders[0].median();
    let met = contenders[0].succeeded() && median <= GOAL;
    println!(
        "  portolan why 8080 answers in {:.1} ms  (goal: at most 30 ms): {}",
        median * 1000.0,
        verdict(met)
    );
    met
}
