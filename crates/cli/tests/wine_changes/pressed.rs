//! Ctrl+C, pressed in the console of the program while it carries a plan out.
//!
//! Wine delivers Ctrl+C to the handlers of every program of a console, as Windows does. Ctrl+Break it delivers as SIGQUIT,
//! which ends a program at once, whatever handlers it has; so that one is not pressed here.

use serde_json::json;

use super::DANCE;
use super::wine::{Machine, Once};

/// What Windows ends a program with that does nothing about Ctrl+C (STATUS_CONTROL_C_EXIT).
const CONTROL_C_EXIT: i32 = 0xC000_013A_u32.cast_signed();

#[test]
fn ctrl_c_in_the_middle_of_a_dance_leaves_winnat_running() {
    let once = Once::new();
    let (mut broken_off, mut added) = (0, 0);
    let first = Machine::with_block().calls_of(&DANCE.replace("--yes", "--dry-run")) + 1;
    for call in first.. {
        let machine = Machine::with_block();
        let before = machine.seen();
        let Some(answer) = machine.pressed_at(call, true, DANCE) else { break };
        assert!(once.runs(), "call {call}: {answer:#?}");
        let at = format!("call {call}: {answer:#?}");
        match answer.code {
            // It came while WinNAT was started again: nothing was left to break off.
            Some(0) => {
                assert_eq!(machine.excluded(), json!([[50000, 50059, true], [1200, 1200, true]]), "{at}")
            }
            Some(1) => {
                let told = answer.json()["notes"].to_string();
                broken_off += 1;
                if answer.outcomes()[0] == "done" {
                    assert!(
                        told.contains("broken off by Ctrl+C: what was stopped was started again"),
                        "{at}"
                    );
                    assert_eq!(answer.outcomes()[2], "done", "{at}");
                }
                added += usize::from(answer.outcomes()[1] == "done");
                machine.portolan("undo --yes").with_code(0);
                assert_eq!(machine.seen(), before, "{at}");
            }
            // It ended by Ctrl+C itself, as it does while it only reads: nothing was begun.
            Some(CONTROL_C_EXIT) => {
                let listed = machine.portolan("undo --list --json").with_code(0).json();
                assert_eq!((machine.seen(), &listed["plans"]), (before, &json!([])), "{at}");
            }
            _ => panic!("{at}"),
        }
    }
    assert!(broken_off >= 1, "{broken_off} broken off, {added} after the add");
}

#[test]
fn ctrl_c_ends_a_plan_that_leaves_nothing_stopped_at_once_and_it_can_be_taken_back() {
    let machine = Machine::new("en");
    let before = machine.seen();
    let words = "reserve add 5432 --transport tcp --family ipv4 --yes --json";
    let add = machine.calls_of(&words.replace("--yes", "--dry-run")) + 2;
    let answer = machine.pressed_at(add, true, words).unwrap();
    assert_ne!(answer.code, Some(0), "{answer:#?}");
    machine.portolan("undo --yes").with_code(0);
    assert_eq!(machine.seen(), before);
}
