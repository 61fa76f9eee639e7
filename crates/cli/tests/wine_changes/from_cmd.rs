//! From a `cmd` line: what changes settings ends with the code that is promised for every system, and writes JSON that the
//! schema describes.

use super::described::assert_described;
use super::wine::{Machine, elevated};

#[test]
fn from_cmd_settings_are_shown_changed_and_put_back_with_the_promised_codes() {
    let machine = Machine::new("en");
    let before = machine.seen();
    for (schema, words, code) in [
        ("range", "range --json", 0),
        ("change", "range set 20000-60000 --dry-run --json", 0),
        ("change", "range set 20000-60000 --yes --json", 0),
        ("change", "range reset --transport udp --yes --json", 0),
        ("undo", "undo --list --json", 0),
        ("change", "undo 2 --yes --json", 0),
        ("change", "undo 1 --yes --json", 0),
        ("change", "undo --yes --json", 0),
        ("reserve", "reserve --json", 0),
        ("change", "reserve add 5432 8000-8009 --why postgres --yes --json", 0),
        ("reserve", "reserve list --json", 0),
        ("change", "reserve remove 8000-8009 --yes --json", 0),
        ("reserve-suggest", "reserve suggest --json", 0),
        ("change", "undo 4 --yes --json", 0),
        ("change", "undo 3 --yes --json", 0),
        ("resume", "resume --yes --json", 0),
    ] {
        let answer = machine.cmd(words).with_code(code);
        assert_described(&elevated(), schema, &answer.output);
    }
    assert_eq!(machine.seen(), before);
    // Refused is 1, misuse is 2; each is one line.
    for (words, code) in [
        ("range set 1024-15000 --yes", 1),
        ("range set 20000-60000", 1),
        ("reserve add 5357 --yes", 1),
        ("reserve remove 8080 --yes", 1),
        ("resume 3", 1),
        ("undo 99 --yes", 2),
        ("range set 20000-70000 --yes", 2),
        ("reserve add --yes", 2),
        ("reserve add 5432 --family ipv5 --yes", 2),
    ] {
        let answer = machine.cmd(words).with_code(code);
        assert_eq!(answer.output, "", "{words}");
        assert!(!answer.errors.trim().is_empty(), "{words}");
    }
    assert_eq!(machine.seen(), before);
}
