//! Plans on Windows that are cut off: `range` and `reserve`, and Hyper-V's cycle over its restarts, killed under Wine at every
//! call of a tool of the system. Each comes to its end from there, and each is taken back from there.
#![cfg(target_os = "windows")]

mod cut;
#[expect(dead_code, reason = "wine_changes uses what this program does not")]
#[path = "../wine/mod.rs"]
mod wine;

use cut::Case;
use serde_json::{Value, json};
use wine::{CYCLE, Machine, Once};

/// Puts a value where netsh keeps it until the next restart, and where it keeps it for good.
fn both_stores_hold(machine: &Machine, [kind, table]: [&str; 2], value: &Value) {
    let mut state = machine.state();
    for store in ["active", "persistent"] {
        state[store][kind][table] = value.clone();
    }
    machine.set(&state);
}

#[test]
fn a_range_is_set_or_put_back_after_any_kill() {
    let machine = || {
        let machine = Machine::new("fr-cp850");
        machine.with("coupled", json!(true));
        machine
    };
    let words = "range set 20000-60000 --transport tcp --family ipv4 --yes --json";
    assert!(Case { machine: &machine, words, once: None }.cut_everywhere() >= 4);
}

#[test]
fn a_low_range_is_reset_or_left_as_it_was_after_any_kill() {
    let machine = || {
        let machine = Machine::new("ko-cp949");
        both_stores_hold(&machine, ["dynamic", "ipv4 udp"], &json!([1025, 13976]));
        machine
    };
    let words = "range reset --transport udp --family ipv4 --yes --json";
    assert!(Case { machine: &machine, words, once: None }.cut_everywhere() >= 4);
}

#[test]
fn ports_are_excluded_or_not_after_any_kill() {
    let machine = || Machine::new("de-cp850");
    let words = "reserve add 5432 8000-8100 --transport tcp --family ipv4 --yes --json";
    assert!(Case { machine: &machine, words, once: None }.cut_everywhere() >= 8);
}

#[test]
fn ports_are_given_back_or_still_excluded_after_any_kill() {
    let machine = || {
        let machine = Machine::new("ja-cp932");
        let excluded = json!([[5432, 5432, true], [50000, 50059, true]]);
        both_stores_hold(&machine, ["excluded", "ipv4 tcp"], &excluded);
        machine
    };
    let words = "reserve remove 5432 --transport tcp --family ipv4 --yes --json";
    assert!(Case { machine: &machine, words, once: None }.cut_everywhere() >= 4);
}

/// A machine on which a block of WinNAT's stays until Hyper-V was off.
fn stuck() -> Machine {
    let machine = Machine::with_block();
    machine.with("stuck", json!(true));
    machine
}

#[test]
fn hyperv_s_cycle_comes_to_its_end_or_is_taken_back_after_any_kill() {
    let once = Once::new().with_hyperv();
    assert!(Case { machine: &stuck, words: CYCLE, once: Some(&once) }.cut_everywhere() >= 12);
}

#[test]
fn hyperv_s_cycle_that_goes_on_by_itself_leaves_no_task_and_no_program_after_any_kill() {
    let once = Once::new().with_hyperv();
    let machine = || stuck().with_the_system_s_journal(&once);
    let words = CYCLE.replace("--yes", "--go-on --yes");
    assert!(Case { machine: &machine, words: &words, once: Some(&once) }.cut_everywhere() >= 20);
}
