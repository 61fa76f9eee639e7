//! `range`, `reserve` and `undo` on Windows, end to end under Wine: the program, a stand-in for netsh that prints the
//! recorded formats and refuses what the real one refuses, and the same exit codes and JSON as on Linux.
#![cfg(target_os = "windows")]

#[path = "../wine/described.rs"]
mod described;
mod from_cmd;
mod pressed;
mod recorder;
mod service;
#[path = "../wine/mod.rs"]
mod wine;

use serde_json::{Value, json};
use wine::{CYCLE, Machine, Once};

const LANGUAGES: [&str; 7] = ["en", "de-cp850", "fr-cp850", "ja-cp932", "ko-cp949", "ru-cp866", "zh-cp936"];

/// The range of a table, in force and kept.
fn ranges(machine: &Machine, table: &str) -> (Value, Value) {
    let state = machine.state();
    let of = |store: &str| state[store]["dynamic"][table].clone();
    (of("active"), of("persistent"))
}

#[test]
fn ranges_and_exclusions_are_read_in_every_language() {
    for language in LANGUAGES {
        let machine = Machine::new(language);
        let shown = machine.portolan("range --json").with_code(0).json();
        assert_eq!(shown["ranges"].as_array().unwrap().len(), 4, "{language}: {shown}");
        assert_eq!(shown["ranges"][0]["runtime"], json!([49152, 65535]), "{shown}");
        assert_eq!(shown["ranges"][3]["persistent"], "49152-65535", "{shown}");
        assert_eq!(shown["gaps"], json!([]), "{language}");
        let only = "--transport udp --family ipv6 --yes";
        machine.portolan(&format!("reserve add 5432 8000-8100 {only}")).with_code(0);
        let excluded = machine.state()["persistent"]["excluded"]["ipv6 udp"].clone();
        assert_eq!(excluded, json!([[5432, 5432, true], [8000, 8100, true]]), "{language}");
    }
}

#[test]
fn ranges_are_set_proven_and_put_back() {
    let machine = Machine::new("ja-cp932");
    let before = machine.seen();
    let answer = machine.portolan("range set 20000-60000 --yes --json").with_code(0);
    assert_eq!(answer.outcomes(), ["done"; 4]);
    for table in ["ipv4 tcp", "ipv6 udp"] {
        assert_eq!(ranges(&machine, table), (json!([20000, 40001]), json!([20000, 40001])));
    }
    machine.portolan("undo --yes").with_code(0);
    assert_eq!(machine.seen(), before);
}

#[test]
fn a_range_for_one_table_alone_tells_what_changed_along_and_undo_puts_both_back() {
    let machine = Machine::new("en");
    machine.with("coupled", json!(true));
    let before = machine.seen();
    let set = "range set --start 20000 --count 30000 --transport tcp --family ipv4 --yes --json";
    let answer = machine.cmd(set).with_code(0);
    assert_eq!(answer.outcomes(), ["done", "done"], "what is kept in mind, and the set");
    let told = answer.json();
    assert_eq!(ranges(&machine, "ipv6 tcp").0, json!([20000, 30000]), "it is coupled");
    assert_eq!(ranges(&machine, "ipv4 udp").0, json!([49152, 16384]));
    assert!(told["warnings"].to_string().contains("setting ipv4 was seen to change ipv6 too"), "{told}");
    assert!(told["warnings"].to_string().contains("the firewall's rules were not read"), "{told}");
    assert!(
        told["notes"][0].as_str().unwrap().starts_with("ipv6 tcp changed along, from 49152-65535"),
        "{told}"
    );
    machine.portolan("undo --yes").with_code(0);
    assert_eq!(machine.seen(), before);
}

#[test]
fn a_low_range_is_reset_until_the_next_restart_alone_where_that_is_asked() {
    let machine = Machine::new("de-cp850");
    let low = json!([1025, 13976]);
    let table = json!({ "ipv4 tcp": low, "ipv6 tcp": low, "ipv4 udp": low, "ipv6 udp": low });
    let mut state = machine.state();
    state["active"]["dynamic"] = table.clone();
    state["persistent"]["dynamic"] = table;
    machine.set(&state);
    machine.portolan("range reset --runtime --yes").with_code(0);
    assert_eq!(ranges(&machine, "ipv6 udp"), (json!([49152, 16384]), low.clone()));
    // What is in force and what is kept differ by now: each is set, and each comes back.
    let before = machine.seen();
    let answer = machine.portolan("range reset --yes --json").with_code(0);
    assert_eq!(ranges(&machine, "ipv6 udp"), (json!([49152, 16384]), json!([49152, 16384])), "{answer:?}");
    machine.portolan("undo --yes").with_code(0);
    assert_eq!(ranges(&machine, "ipv6 udp").1, low);
    assert_eq!(before["persistent"], machine.seen()["persistent"]);
}

#[test]
fn what_is_refused_is_one_line_and_changes_nothing() {
    let machine = Machine::new("en");
    let before = machine.seen();
    for (words, part) in [
        ("range set 1024-15000 --yes", "begins below 1025, which Windows refuses"),
        ("range set 50000-50100 --yes", "Windows demands at least 255"),
        ("range set 20000-60000", "add --yes to do it"),
        ("range set 20000-60000 --persist --yes", "leave --persist out"),
        ("reserve add 5357 --yes", "which the system has set aside (most likely the HTTP driver"),
        ("reserve remove 5357 --yes", "not even an administrator may delete it"),
        ("reserve remove 50020 --yes", "`portolan reserve remove 50000-50059`"),
        ("reserve remove 8080 --yes", "nothing of it is excluded here"),
    ] {
        let answer = machine.portolan(words);
        assert!(matches!(answer.code, Some(1 | 2)), "{words}: {answer:#?}");
        assert_eq!(answer.errors.lines().count(), 1, "{words}: {answer:#?}");
        assert!(answer.errors.contains(part), "{words}: {}", answer.errors);
    }
    let plain = machine.portolan_of_a_user("range set 20000-60000 --yes").with_code(1);
    assert!(plain.errors.contains("\"Run as administrator\"; nothing was changed"), "{plain:#?}");
    machine.portolan_of_a_user("range set 20000-60000 --dry-run").with_code(0);
    assert_eq!((machine.seen(), machine.log()), (before, Vec::new()));
}

#[test]
fn ports_are_excluded_listed_with_their_reason_and_given_back() {
    let machine = Machine::new("en");
    let before = machine.seen();
    let add = "reserve add 5432 --why postgres --yes --json";
    assert_eq!(machine.portolan(add).with_code(0).outcomes(), ["done"; 4]);
    let state = machine.state();
    for table in ["ipv4 udp", "ipv6 tcp"] {
        let rows = json!([[5432, 5432, true]]);
        let excluded = |store: &str| state[store]["excluded"][table].clone();
        assert_eq!((excluded("active"), excluded("persistent")), (rows.clone(), rows));
    }
    let listed = machine.portolan("reserve --json").with_code(0).json();
    let rows = listed["reservations"].as_array().unwrap();
    let row = rows.iter().find(|row| row["ports"] == json!([5432, 5432])).unwrap();
    assert_eq!((&row["by"], &row["why"]), (&json!("portolan, plan 1"), &json!("postgres")), "{listed}");
    assert_eq!((&row["kind"], &row["after_restart"]), (&json!("administered"), &json!(true)), "{listed}");
    assert_eq!(rows.len(), 6, "{listed}");
    assert!(!listed["gaps"].to_string().contains("\"reservations\""), "{listed}");
    machine.portolan("reserve remove 5432 --yes").with_code(0);
    assert_eq!(machine.seen(), before);
    machine.portolan("undo 2 --yes").with_code(0);
    assert_eq!(machine.state()["persistent"]["excluded"]["ipv6 tcp"], json!([[5432, 5432, true]]));
    machine.portolan("undo 1 --yes").with_code(0);
    assert_eq!(machine.seen(), before);
}

#[test]
fn an_exclusion_until_the_next_restart_is_listed_so_and_removed() {
    let machine = Machine::new("ja-cp932");
    let before = machine.seen();
    machine.portolan("reserve add 5432 --runtime --transport tcp --family ipv4 --yes").with_code(0);
    let listed = machine.portolan("reserve list").with_code(0).output;
    assert!(listed.contains("5432"), "{listed}");
    let refused = machine.portolan("reserve add 5432 --transport tcp --family ipv4 --yes").with_code(1);
    assert!(refused.errors.contains("until the next restart"), "{refused:#?}");
    machine.portolan("reserve remove 5432 --yes").with_code(0);
    assert_eq!(machine.seen(), before);
}

#[test]
fn a_netsh_that_says_nothing_is_a_gap_and_nothing_is_planned_on_it() {
    let machine = Machine::new("en");
    machine.with("silent", json!(true));
    let shown = machine.portolan("range --json").with_code(0).json();
    assert_eq!((&shown["ranges"], shown["gaps"].as_array().unwrap().len()), (&json!([]), 3), "{shown}");
    let listed = machine.portolan("reserve").with_code(0);
    assert!(listed.output.contains("what is excluded could not be read"), "{listed:#?}");
    for words in ["range set 20000-60000 --yes", "reserve add 5432 --yes", "reserve remove 50000-50059 --yes"]
    {
        let refused = machine.portolan(words).with_code(1);
        assert!(refused.errors.contains("could not be read"), "{words}: {refused:#?}");
    }
    assert_eq!(machine.log(), [] as [&str; 0]);
}

/// Gaps of an answer, by what they are about.
fn gaps(answer: &Value, what: &str) -> Vec<String> {
    let gaps = answer["gaps"].as_array().unwrap().iter().filter(|gap| gap["what"] == what);
    gaps.map(|gap| gap["detail"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_dynamic_range_that_one_listing_alone_shows_is_told_and_one_that_another_confirms_is_not() {
    let machine = Machine::new("ru-cp866");
    let default = machine.state();
    // A digit of 49152 lost, in force alone; set until the next restart; kept too; and in force in two tables.
    for (in_force, kept, others, is_told) in [
        ([4915, 16384], [49152, 16384], false, true),
        ([20000, 4000], [49152, 16384], false, true),
        ([20000, 4000], [20000, 4000], false, false),
        ([20000, 4000], [49152, 16384], true, false),
    ] {
        let mut state = default.clone();
        state["active"]["dynamic"]["ipv4 tcp"] = json!(in_force);
        state["persistent"]["dynamic"]["ipv4 tcp"] = json!(kept);
        if others {
            state["active"]["dynamic"]["ipv6 tcp"] = json!(in_force);
        }
        machine.set(&state);
        let shown = machine.portolan("range --json").with_code(0).json();
        let told = gaps(&shown, "ranges");
        let last = in_force[0] + in_force[1] - 1;
        assert_eq!(shown["ranges"][0]["runtime"], json!([in_force[0], last]), "{shown}");
        assert_eq!(told.len(), usize::from(is_told), "{in_force:?} {kept:?} {others}: {shown}");
        for told in told {
            let expected = format!(
                "netsh shows {}-{last} as the dynamic range of ipv4 tcp, and keeps 49152-65535: one is until the \
                 next restart, or misread",
                in_force[0]
            );
            assert_eq!(told, expected);
        }
        // The chart is drawn from the same, and says so too.
        let chart = machine.portolan("").with_code(0).output;
        assert_eq!(chart.contains("or misread"), is_told, "{chart}");
    }
}

#[test]
fn an_empty_list_of_exclusions_beside_kept_ones_is_a_gap_and_a_shorter_one_is_shown_as_it_is() {
    let machine = Machine::new("ja-cp932");
    let default = machine.state();
    let with = |active: Value| {
        let mut state = default.clone();
        state["active"]["excluded"]["ipv4 tcp"] = active;
        state["persistent"]["excluded"]["ipv4 tcp"] = json!([[5432, 5432, true], [50000, 50059, true]]);
        machine.set(&state);
    };
    with(json!([]));
    let before = machine.seen();
    let listed = machine.portolan("reserve --json").with_code(0).json();
    let told = "netsh shows no excluded range of ipv4 tcp, but keeps 5432";
    assert_eq!(gaps(&listed, "reservations"), [told], "{listed}");
    let why = machine.portolan("why 5432 --json").json();
    assert_eq!(gaps(&why, "reservations"), [told], "{why}");
    for words in ["reserve add 6000 --yes", "reserve remove 5432 --yes"] {
        let refused = machine.portolan(words).with_code(1);
        assert!(
            refused.errors.contains("nothing was changed") && refused.errors.contains(told),
            "{refused:#?}"
        );
    }
    assert_eq!((machine.seen(), machine.log()), (before, Vec::new()));

    // Somebody has deleted one until the next restart: both lists are whole, and differ.
    with(json!([[50000, 50059, true]]));
    let listed = machine.portolan("reserve --json").with_code(0).json();
    assert_eq!(gaps(&listed, "reservations"), [] as [String; 0], "{listed}");
    let rows = listed["reservations"].as_array().unwrap();
    let row = rows.iter().find(|row| row["ports"] == json!([5432, 5432])).unwrap();
    assert_eq!((&row["runtime"], &row["after_restart"]), (&json!(false), &json!(true)), "{listed}");
    // And the other way round: one until the next restart that is not kept.
    with(json!([[5432, 5432, true], [6000, 6009, true], [50000, 50059, true]]));
    let listed = machine.portolan("reserve --json").with_code(0).json();
    assert_eq!(gaps(&listed, "reservations"), [] as [String; 0], "{listed}");
    let rows = listed["reservations"].as_array().unwrap();
    let row = rows.iter().find(|row| row["ports"] == json!([6000, 6009])).unwrap();
    assert_eq!((&row["runtime"], &row["after_restart"]), (&json!(true), &json!(false)), "{listed}");
}

#[test]
fn an_exclusion_that_netsh_refuses_says_why_and_leaves_what_was_done_to_undo() {
    let machine = Machine::new("ru-cp866");
    let before = machine.seen();
    machine.with("in_use", json!([8001]));
    let answer =
        machine.portolan("reserve add 8000-8009 --family ipv4 --transport tcp --yes --json").with_code(1);
    assert_eq!(answer.outcomes(), ["failed"]);
    assert!(answer.json()["steps"][0]["detail"].as_str().unwrap().contains("being used by another process"));
    let nothing = machine.portolan("undo --yes").with_code(0);
    assert_eq!(machine.seen(), before, "{nothing:#?}");
}

const DANCE: &str = "reserve add 1200 --restart-winnat --transport tcp --family ipv4 --yes --json";

#[test]
fn a_port_that_winnat_has_is_named_with_the_way_out_and_the_way_out_works() {
    let once = Once::new();
    let machine = Machine::with_block();
    let before = machine.seen();
    let refused = machine.cmd("reserve add 1200 --yes").with_code(1);
    for part in ["1131-1230", "most likely WinNAT", "`portolan reserve add 1200 --restart-winnat`"] {
        assert!(refused.errors.contains(part), "{refused:#?}");
    }
    let planned = machine.portolan(&DANCE.replace("--yes", "--dry-run")).with_code(0).json();
    assert!(planned["steps"][0]["effects"][0].as_str().unwrap().contains("WSL"), "{planned}");
    let done = machine.cmd(DANCE).with_code(0);
    assert_eq!(done.outcomes(), ["done", "done", "done"]);
    assert_eq!(machine.excluded(), json!([[50000, 50059, true], [1200, 1200, true]]));
    assert!(once.runs());
    let undone = machine.portolan("undo --yes --json").with_code(0);
    assert_eq!((undone.outcomes(), machine.seen()), (vec!["done".to_owned()], before), "WinNAT runs on");
    assert!(once.runs());
}

#[test]
fn winnat_runs_again_after_a_failed_add() {
    let once = Once::new();
    let machine = Machine::with_block();
    let before = machine.seen();
    // The port is taken in the moment between.
    machine.with("in_use", json!([1200]));
    let failed = machine.portolan(DANCE).with_code(1);
    assert_eq!(failed.outcomes(), ["done", "failed", "done"], "{failed:#?}");
    assert!(failed.json()["notes"].to_string().contains("1131-1230"), "{failed:#?}");
    assert!(once.runs());
    assert_eq!(machine.seen(), before);
    // Once it is free the plan goes on to its end.
    machine.with("in_use", json!([]));
    machine.portolan("undo --yes").with_code(0);
    assert!(once.runs());
}

/// Calls of a plan for one table, before which everything is only read.
const FIRST: usize = 17;

#[test]
fn killed_at_any_call_a_plan_comes_to_its_end_or_is_undone_with_winnat_running() {
    let once = Once::new();
    let (mut kills, mut left_stopped) = (0, 0);
    for (works_first, way) in [(true, "resume"), (false, "undo")] {
        for call in FIRST.. {
            let machine = Machine::with_block();
            let before = machine.seen();
            if machine.killed_at(call, works_first, DANCE).is_some() {
                break;
            }
            kills += 1;
            let at = format!("{way} after call {call}, {works_first}");
            let reminded = "was cut off and has still to start the service winnat: type portolan resume 1";
            let told = machine.portolan("range");
            assert_eq!(told.errors.contains(reminded), !once.runs(), "{at}: {told:#?}");
            left_stopped += u32::from(!once.runs());
            let answer = machine.portolan(&format!("{way} --yes --json")).with_code(0);
            assert!(once.runs(), "{at}: {answer:#?}");
            match way {
                "resume" if answer.outcomes().is_empty() => assert_eq!(machine.seen(), before, "{at}"),
                "resume" => {
                    assert_eq!(machine.excluded(), json!([[50000, 50059, true], [1200, 1200, true]]), "{at}");
                }
                _ => assert_eq!(machine.seen(), before, "{at}: {answer:#?}"),
            }
        }
    }
    assert!(kills >= 8 && left_stopped >= 4, "{kills}, {left_stopped}");
}

#[test]
fn hyperv_is_cycled_over_two_restarts_and_its_family_comes_back() {
    let once = Once::new().with_hyperv();
    let machine = Machine::with_block();
    machine.with("stuck", json!(true));
    let before = machine.seen();
    let begun = machine.portolan(CYCLE).with_code(0);
    assert_eq!(begun.outcomes(), ["done", "waiting", "planned", "planned", "planned"], "{begun:#?}");
    assert_eq!(machine.state()["features"]["Microsoft-Hyper-V"], "Disable Pending");
    let listed = machine.portolan("undo --list --json").with_code(0).json();
    assert_eq!(listed["plans"][0]["next"], "restart Windows", "{listed}");
    let early = machine.portolan("resume --yes --json").with_code(0);
    assert_eq!(early.outcomes()[1], "waiting", "Windows has not restarted yet");

    machine.restart(&once, 2);
    let middle = machine.portolan("resume --yes --json").with_code(0);
    assert_eq!(middle.outcomes(), ["done", "done", "done", "done", "waiting"], "{middle:#?}");
    machine.restart(&once, 3);
    let last = machine.portolan("resume 1 --yes --json").with_code(0);
    assert_eq!(last.outcomes(), ["done"; 5], "{last:#?}");
    assert_eq!(machine.seen()["features"], before["features"], "those below it too");
    assert_eq!(machine.excluded(), json!([[50000, 50059, true], [1200, 1200, true]]));
    machine.portolan("resume 1 --yes").with_code(1);
    let undone = machine.portolan("undo 1 --yes --json").with_code(0);
    assert_eq!((undone.outcomes().len(), machine.seen()), (1, before), "the exclusion goes, Hyper-V stays");
}

#[test]
fn a_cycle_is_undone_between_its_restarts() {
    let once = Once::new().with_hyperv();
    for restarts in 0..2 {
        let machine = Machine::with_block();
        machine.with("stuck", json!(true));
        let before = machine.seen();
        once.boot(1);
        machine.portolan(CYCLE).with_code(0);
        if restarts == 1 {
            machine.restart(&once, 2);
        }
        let undone = machine.portolan("undo --yes --json").with_code(0);
        assert!(
            undone.json()["notes"].to_string().contains("takes effect with the next restart"),
            "{undone:#?}"
        );
        machine.restart(&once, 3);
        assert_eq!(machine.seen(), before, "{restarts} restarts: {undone:#?}");
    }
}

#[test]
fn a_cycle_goes_on_by_itself_after_each_restart_and_leaves_no_task() {
    let once = Once::new().with_hyperv();
    let refused = Machine::with_block().portolan(&CYCLE.replace("--yes", "--go-on --yes")).with_code(1);
    assert!(refused.errors.contains("unset PORTOLAN_STATE"), "{refused:#?}");
    let machine = Machine::with_block().with_the_system_s_journal(&once);
    machine.with("stuck", json!(true));
    let before = machine.seen();
    let begun = machine.portolan(&CYCLE.replace("--yes", "--go-on --yes")).with_code(0);
    let first = ["done", "done", "waiting", "planned", "planned", "planned", "planned"];
    assert_eq!(begun.outcomes(), first, "{begun:#?}");
    assert_eq!(begun.json()["steps"][0]["inverse"], "remove the start-up task", "{begun:#?}");
    assert!(begun.output.contains("goes on by itself"), "{begun:#?}");
    let task = machine.state()["tasks"]["Portolan plan 1"].clone();
    for part in
        [r"Portolan\journal\go-on-1.exe&quot;</Command>", "<Arguments>resume 1 --yes</Arguments>", "S-1-5-18"]
    {
        assert!(task.as_str().unwrap().contains(part), "{task}");
    }

    machine.restart(&once, 2);
    let middle = machine.start_up();
    assert_eq!((middle.len(), middle[0].code), (1, Some(0)), "{middle:#?}");
    let listed = machine.portolan("undo --list --json").with_code(0).json();
    assert_eq!(listed["plans"][0]["next"], "restart Windows", "{listed}");
    machine.restart(&once, 3);
    let last = machine.start_up();
    assert_eq!((last.len(), last[0].code), (1, Some(0)), "{last:#?}");
    assert_eq!(machine.state()["tasks"], json!({}), "{last:#?}");
    assert_eq!(machine.seen()["features"], before["features"]);
    assert_eq!(machine.excluded(), json!([[50000, 50059, true], [1200, 1200, true]]));
    let listed = machine.portolan("undo --list --json").with_code(0).json();
    assert_eq!(
        (&listed["plans"][0]["standing"], &listed["plans"][0]["next"]),
        (&json!("applied"), &Value::Null)
    );
    machine.portolan("undo 1 --yes").with_code(0);
    assert_eq!(machine.seen(), before);
}

#[test]
fn undone_between_its_restarts_a_cycle_leaves_no_task() {
    let once = Once::new().with_hyperv();
    let machine = Machine::with_block().with_the_system_s_journal(&once);
    let before = machine.seen();
    machine.portolan(&CYCLE.replace("--yes", "--go-on --yes")).with_code(0);
    machine.portolan("undo --yes").with_code(0);
    machine.restart(&once, 2);
    assert_eq!((machine.start_up().len(), machine.seen()), (0, before));
}
