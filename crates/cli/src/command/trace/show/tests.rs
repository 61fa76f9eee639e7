//! What is told, in every format.

use portolan_core::snapshot::GapReason;
use portolan_core::trace::{OwnRange, SPAN_NS, Seen, meaning};

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
        own_range: OwnRange::No,
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
        let meaning =
            meaning(&call, System::Linux, &Seen { snapshot: Some((*machine()).clone()), route: None });
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
    insta::assert_snapshot!(lines, @r#"
    2026-03-01 10:00:00.250  ev\u{1b}]0;il\u{7} (pid 812)  connect tcp 10.0.0.5 → 10.0.0.9:443  EADDRNOTAVAIL  no port was left from 10.0.0.5 to 10.0.0.9:443; since then 28129 of 32768-60999 are free again; type: portolan budget --to 10.0.0.9:443
    2026-03-01 10:00:00.250  ev\u{1b}]0;il\u{7} (pid 812)  bind tcp 127.0.0.1:5432  EADDRINUSE  127.0.0.1:5432/tcp is held by postgres (pid 60, postgresql.service), running for 2 days; type: portolan why 127.0.0.1:5432
    2026-03-01 10:00:00.250  ev\u{1b}]0;il\u{7} (pid 812)  connect tcp 10.0.0.5:40000 → 192.0.2.1:80  given up  nobody answered, and the program gave up after 5.0 s: packets are dropped on the way, or the host is down; type: portolan probe 192.0.2.1 -p 80
    2026-03-01 10:00:00.250  ev\u{1b}]0;il\u{7} (pid 812)  bind tcp 0.0.0.0:80  done
    2026-03-01 10:00:00.250  1,214 more in the last 10 s  ev\u{1b}]0;il\u{7} (pid 812)  connect tcp 10.0.0.5 → 10.0.0.9:443  EADDRNOTAVAIL
    2026-03-01 10:00:00.250  lost: 3 calls came too fast to be kept; they may have failed like those above
    2026-03-01 10:00:00.250  seen: 4 calls (1 bind EADDRINUSE, 1 bind done, 1 connect EADDRNOTAVAIL, 1 connect given up), 3 lost
    "#);
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
    insta::assert_snapshot!(csv, @r#"
    time,pid,program,uid,call,transport,local,remote,outcome,error,network_namespace,meaning,command
    2026-03-01 10:00:00.250,812,ev\u{1b}]0;il\u{7},33,connect,tcp,10.0.0.5:0,10.0.0.9:443,failed,EADDRNOTAVAIL,4026531840,no port was left from 10.0.0.5 to 10.0.0.9:443; since then 28129 of 32768-60999 are free again,portolan budget --to 10.0.0.9:443
    2026-03-01 10:00:00.250,812,ev\u{1b}]0;il\u{7},33,bind,tcp,127.0.0.1:5432,,failed,EADDRINUSE,4026531840,"127.0.0.1:5432/tcp is held by postgres (pid 60, postgresql.service), running for 2 days",portolan why 127.0.0.1:5432
    2026-03-01 10:00:00.250,812,ev\u{1b}]0;il\u{7},33,connect,tcp,10.0.0.5:40000,192.0.2.1:80,given-up,,4026531840,"nobody answered, and the program gave up after 5.0 s: packets are dropped on the way, or the host is down",portolan probe 192.0.2.1 -p 80
    2026-03-01 10:00:00.250,812,ev\u{1b}]0;il\u{7},33,bind,tcp,0.0.0.0:80,,done,,4026531840,,
    2026-03-01 10:00:00.250,,,,,,,,not-seen,,,bind's address: tracefs does not tell it,
    2026-03-01 10:00:00.250,,,,,,,,lost,,,3 calls came too fast to be kept,
    "#);
}
