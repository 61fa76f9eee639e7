//! The budget of the machine that is made by hand, for people and as data.

use super::*;
use crate::fixture::{machine, valid_json, written};

fn told(question: &Question) -> Report {
    let snapshot = machine();
    report(sheet(&snapshot, None, &[], ask::answer(&snapshot, question), None))
}

#[test]
fn the_budget_is_data_by_its_schema_and_adds_up() {
    let report = told(&Question::default());
    let value = valid_json(&report, "budget");
    for row in value["room"].as_array().unwrap() {
        let number = |name: &str| row[name].as_u64().unwrap();
        assert_eq!(
            number("ports"),
            number("reserved") + number("burnt") + number("used") + row["room"]["max"].as_u64().unwrap()
        );
    }
    let worst = value["room"].as_array().unwrap().iter().find(|row| !row["destination"].is_null()).unwrap();
    assert_eq!(worst["destination"], "10.0.7.9:8443");
    assert_eq!(worst["room"], serde_json::json!({ "min": 28129, "max": 28130 }));
    assert_eq!(worst["states"], serde_json::json!({ "ESTABLISHED": 1, "TIME_WAIT": 1 }));
}

#[test]
fn the_budget_reads_as_a_person_would_tell_it() {
    insta::assert_snapshot!(written(&told(&Question::default()), "table"), @r"
    FOR                                   LEFT      OF  THE REST
    tcp bind(0)                         28,129  28,232  nginx (pid 71, nginx.service) 1, postgres (pid …
    10.0.0.5 → 10.0.7.9:8443  28,129 to 28,130  28,232  nginx (pid 71, nginx.service) 1, ended connecti…
    any other destination     28,129 to 28,131  28,232  1 bound explicitly, 100 reserved
    udp connect, send                   28,132  28,232  100 reserved
    udp bind(0)                         28,132  28,232  100 reserved

      who       nginx (pid 71, nginx.service)   3 sockets: 3 ESTABLISHED
                nginx (pid 70, nginx.service)   2 sockets: 2 LISTEN
                postgres (pid 60, postgresql.service)   2 sockets: 1 LISTEN, 1 BOUND
                ev\u{1b}]0;il\u{7},\u{202e}x (pid 90)   1 socket: 1 LISTEN
                node (pid 80, docker container 3f2a9c01b7de)   1 socket: 1 LISTEN
                ended connections in TIME_WAIT   1 socket: 1 TIME_WAIT
                sockets whose holder was not seen   1 socket: 1 UDP
      inexact   the system does not show which ports in use were bound before connect(), and so serve
                one destination alone; as root on Linux with BPF it does
                whether connections in TIME_WAIT may be reused could not be told: their timestamps, age
                or tcp_tw_reuse were not read

      not seen  owners: 1 socket's holder is not visible; run as root
    ");
}

#[test]
fn a_question_narrows_the_answer() {
    let to = |text: &str| Question { destinations: vec![text.parse().unwrap()], ..Question::default() };
    let rows = |question: &Question| {
        let value = valid_json(&told(question), "budget");
        let what =
            |row: &serde_json::Value| format!("{} {} {}", row["transport"], row["call"], row["destination"]);
        value["room"].as_array().unwrap().iter().map(what).collect::<Vec<_>>()
    };
    assert_eq!(rows(&to("10.0.7.9:8443")), [r#""tcp" "connect" "10.0.7.9:8443""#]);
    assert_eq!(rows(&to("192.0.2.1:1")), [r#""tcp" "connect" "192.0.2.1:1""#]);
    assert_eq!(rows(&Question { udp: true, bind: true, ..Question::default() }), [r#""udp" "bind" null"#]);
}
