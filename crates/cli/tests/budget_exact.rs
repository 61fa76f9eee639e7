//! `portolan budget` against the kernel: in generated layouts of ranges, reservations, binds, connections and TIME_WAIT,
//! the number it gives is the number of further calls that succeed until the kernel refuses.
#![cfg(target_os = "linux")]

#[path = "budget_exact/layout.rs"]
mod layout;

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use layout::{Layout, Plan, plans, whole};
use portolan_testbed::{Answer, program};
use serde_json::Value;

/// A user without rights.
const NOBODY: u32 = 64_001;

/// errno of what the kernel says when no port is left.
const EAGAIN: u64 = 11;
const EADDRINUSE: u64 = 98;
const EADDRNOTAVAIL: u64 = 99;

/// A call, as `testbed until-refused` and a row of the budget name it, and its refusal.
const CALLS: [(&str, &str, &str, u64); 4] = [
    ("tcp-bind", "tcp", "bind", EADDRINUSE),
    ("udp-bind", "udp", "bind", EADDRINUSE),
    ("udp-connect", "udp", "connect", EAGAIN),
    // The last one: its connections leave TIME_WAIT behind.
    ("tcp-connect", "tcp", "connect", EADDRNOTAVAIL),
];

/// The rows of the budget that answer for a plan: of its source, and towards its destination.
fn budget(layout: &Layout, plan: &Plan, uid: Option<u32>) -> (Vec<Value>, Value) {
    let mut rows = Vec::new();
    let mut gaps = Value::Null;
    for options in [vec!["--to", &plan.destination], vec![]] {
        let program = program("portolan");
        let mut command = match uid {
            Some(uid) => layout.namespace.command_as(uid, program),
            None => layout.namespace.command(program),
        };
        let answer = Answer::of(
            command.args(["budget", "--json", "--no-owners", "--source", &plan.source]).args(options),
        );
        assert!(matches!(answer.code, Some(0 | 1)), "{answer}");
        let mut json = answer.json();
        rows.append(json["room"].as_array_mut().unwrap());
        gaps = json["gaps"].take();
    }
    (rows, gaps)
}

/// How often the call succeeds, until the kernel refuses it for want of a port.
fn kernel(layout: &Layout, plan: &Plan, call: &str, refusal: u64) -> u64 {
    let mut command = layout.namespace.command(program("testbed"));
    let from = match plan.source.contains(':') {
        true => format!("[{}]:0", plan.source),
        false => format!("{}:0", plan.source),
    };
    command.args(["until-refused", call, &from]);
    if call.ends_with("connect") {
        command.arg(&plan.destination);
    }
    let answer = Answer::of(&mut command).with_code(0);
    let json = answer.json();
    assert_eq!(json["refusal"], refusal, "{call}, {plan:?}: {answer}");
    json["succeeded"].as_u64().unwrap()
}

fn bounds(row: &Value) -> (u64, u64) {
    let bound = |name: &str| row["room"][name].as_u64().unwrap();
    let sum = ["reserved", "burnt", "used"].iter().map(|part| row[part].as_u64().unwrap()).sum::<u64>();
    assert_eq!(row["ports"].as_u64().unwrap(), sum + bound("max"), "{row:#}");
    (bound("min"), bound("max"))
}

fn row<'a>(rows: &'a [Value], transport: &str, call: &str) -> &'a Value {
    let is_it = |row: &&Value| row["transport"] == transport && row["call"] == call;
    rows.iter().find(is_it).unwrap_or_else(|| panic!("{transport} {call}: {rows:#?}"))
}

/// How many rooms of a plan are exact, and how many a range; each holds the truth.
fn hold_against_the_kernel(number: usize, plan: &Plan) -> [u32; 2] {
    let mut kinds = [0; 2];
    let layout = plan.lay();
    let (rows, _) = budget(&layout, plan, None);
    for (call, transport, name, refusal) in CALLS {
        let row = row(&rows, transport, name);
        let (min, max) = bounds(row);
        let succeeded = kernel(&layout, plan, call, refusal);
        let told = format!("layout {number}, {call}: {succeeded} succeeded, budget said {row}; {plan:?}");
        assert!((min..=max).contains(&succeeded), "{told}");
        // Only what the kernel leaves open makes a range, and no more of one than that.
        let reasons: Vec<&str> =
            row["unknown"].as_array().unwrap().iter().map(|reason| reason.as_str().unwrap()).collect();
        assert_eq!(min == max, reasons.is_empty(), "{told}");
        let odd = (plan.last - plan.first).is_multiple_of(2) && transport == "tcp";
        let open = if reasons.contains(&"v6-only") { plan.v6_connections } else { 0 };
        assert!(reasons.iter().all(|reason| *reason == "v6-only" || odd && *reason == "odd-range"), "{told}");
        assert!(max - min <= u64::from(odd) + open, "{told}");
        kinds[usize::from(min != max)] += 1;
    }
    kinds
}

#[test]
fn the_room_is_the_number_of_calls_that_succeed_until_the_kernel_refuses() {
    let plans = plans();
    assert!(plans.len() >= 60);
    // Most of the time goes by while the kernel makes and removes namespaces: several at once.
    let next = AtomicUsize::new(0);
    let work = || {
        let mut kinds = [0; 2];
        while let Some((number, plan)) = plans.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
            let [exact, ranges] = hold_against_the_kernel(number, plan);
            kinds = [kinds[0] + exact, kinds[1] + ranges];
        }
        kinds
    };
    let [exact, ranges] = thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        let each =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
        each.fold([0; 2], |[a, b], [c, d]| [a + c, b + d])
    });
    println!("{} layouts: {exact} rooms exact, {ranges} a range that held the truth", plans.len());
    assert!(exact > ranges * 2, "{exact} rooms exact, {ranges} a range");
}

#[test]
fn the_room_of_the_whole_range_of_linux_is_exact() {
    assert_eq!(hold_against_the_kernel(62, &whole()), [4, 0]);
}

#[test]
fn without_the_buckets_the_room_is_a_range_that_holds_the_truth_and_says_why() {
    let mut hidden = 0;
    for plan in plans().iter().skip(6).take(12) {
        let layout = plan.lay();
        let (rows, gaps) = budget(&layout, plan, Some(NOBODY));
        let row = row(&rows, "tcp", "connect");
        let (min, max) = bounds(row);
        let succeeded = kernel(&layout, plan, "tcp-connect", EADDRNOTAVAIL);
        assert!((min..=max).contains(&succeeded), "{succeeded} succeeded, budget said {row}; {plan:?}");
        assert_eq!(min == max, row["unknown"].as_array().unwrap().is_empty(), "{row}");
        if row["unknown"].to_string().contains("explicit-bind") {
            hidden += 1;
            assert!(gaps.to_string().contains("explicitly bound ports"), "{gaps}");
        }
    }
    assert!(hidden >= 6, "only {hidden} layouts had something to hide");
}
