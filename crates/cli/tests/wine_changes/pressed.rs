//! Ctrl+C, pressed in the console of the program while it carries a plan out.
//!
//! Wine delivers Ctrl+C to the handlers of every program of a console, as Windows does. Ctrl+Break it delivers as SIGQUIT,
//! which ends a program at once, whatever handlers it has; so that one is not pressed here.

use super::wine::Machine;

#[test]
fn ctrl_c_ends_a_plan_that_leaves_nothing_stopped_at_once_and_it_can_be_taken_back() {
    let machine = Machine::new("en");
    let before = machine.seen();
    let words = "reserve add 5432 --transport tcp --family ipv4 --yes --json";
    let add = machine.calls_of(&words.replace("--yes", "--dry-run")) + 2;
    let answer = machine.pressed_at(add, true, words);
    assert_ne!(answer.code, Some(0), "{answer:#?}");
    machine.portolan("undo --yes").with_code(0);
    assert_eq!(machine.seen(), before);
}
