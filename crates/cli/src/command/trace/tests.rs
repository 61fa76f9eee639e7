//! What is told, in every format.

use portolan_core::snapshot::GapReason;
use portolan_core::trace::{SPAN_NS, meaning};

use super::*;
use crate::fixture::{machine, valid_json, written};

/// 2026-03-01 10:00:00.250 UTC.
const AT_NS: u64 = 1_772_359_200_250_000_000;

fn call(kind: Kind, local: &str, remote: Option<&str>, code: i32) -> Call {
    Call {
        at_ns: AT_NS,
        took_ns: Some(21_000),
        pid: 812,
        program: "ev\u{1b}]0;il\u{7}".into(),
        uid: Some(33),
        kind,
        transport: Some(Transport::Tcp),
        local: Some(local.parse().unwrap()),
        remote: remote.map(|remote| remote.parse().unwrap()),
        outcome: Outcome::Failed(code),
        network_namespace: Some(4_026_531_840),
    }
}

fn batch(event: Event) -> Batch {
    let calls = [
        call(Kind::Connect, "10.0.0.5:0", Some("10.0.0.9:443"), 99),
        call(Kind::Bind, "127.0.0.1:5432", None, 98),
        Call {
            outcome: Outcome::GivenUp,
            took_ns: Some(5_020_000_000),
            ..call(Kind::Connect, "10.0.0.5:40000", Some("192.0.2.1:80"), 0)
        },
        Call { outcome: Outcome::Done, ..call(Kind::Bind, "0.0.0.0:80", None, 0) },
    ];
    let mut totals = Totals { lost: 3, ..Totals::default() };
    let told = calls.map(|call| {
        totals.add(&call, System::Linux);
        let meaning = meaning(&call, System::Linux, Some(&machine()));
        Told { call, meaning, is_first: true }
    });
    let repeated = vec![Repeated { call: told[0].call.clone(), count: 1214, within_ns: SPAN_NS }];
    let gap = Gap::new("bind's address", GapReason::Unsupported, "tracefs does not tell it");
    let gaps = (event == Event::Begun).then(|| vec![gap.with_remedy("run as root")]);
    Batch {
        told: told.into(),
        repeated,
        lost: 3,
        gaps,
        ..Batch::new(event, (System::Linux, Way::Bpf), AT_NS, totals)
    }
}

#[test]
fn people_get_a_line_for_each_call_and_counts_of_those_like_it() {
    let lines = written(&batch(Event::Ended).report(), "table");
    insta::assert_snapshot!(lines, @"");
}

#[test]
fn machines_get_each_call_by_the_schema_and_gaps_travel() {
    for event in [Event::Begun, Event::Calls, Event::Ended] {
        let value = valid_json(&batch(event).report(), "trace");
        assert_eq!(value["calls"][0]["error"], "EADDRNOTAVAIL");
        assert_eq!(value["calls"][0]["meaning"]["rule"], "destination-exhausted");
        assert_eq!(value["calls"][2]["outcome"], "given-up");
        assert_eq!(value["calls"][3]["meaning"], serde_json::Value::Null);
        assert_eq!((&value["lost"], &value["calls_in_all"]), (&3.into(), &4.into()));
        assert_eq!(value["gaps"].is_null(), event != Event::Begun);
    }
    let csv = written(&batch(Event::Begun).report(), "csv");
    insta::assert_snapshot!(csv, @"");
}
