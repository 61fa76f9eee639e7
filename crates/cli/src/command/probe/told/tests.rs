//! Tests of what `probe` tells.

use insta::assert_snapshot;
use portolan_core::answer::Fields;
use portolan_core::probe::{Icmp, IcmpVersion, Verdict};
use portolan_host::probe::{Asked, Target};

use super::*;
use crate::fixture::{valid_json, written};

fn probed(port: usize, state: PortState, reason: Reason) -> Probed {
    let round_trip = (reason != Reason::Timeout).then(|| Duration::from_micros(1234));
    let verdict = Verdict { state, reason, round_trip, tries: 1 };
    Probed { target: 0, port, verdict, answer: None, failure: None }
}

fn plan(ports: &[u16]) -> Plan {
    let target = Target { host: "dc1".into(), address: "10.0.0.7".parse().unwrap(), scope: 0 };
    let asked = |&port: &u16| Asked { transport: Transport::Tcp, port, protocol: None };
    Plan::new(vec![target], ports.iter().map(asked).collect())
}

fn told(plan: &Plan, results: Vec<Probed>) -> Told {
    let mut told = Told::new(Arc::new(Services::parse("ldap 389/tcp\nssh 22/tcp")), false);
    let mut found = Found::default();
    results.into_iter().for_each(|probed| found.add(probed));
    told.add(plan, found, false);
    told
}

fn sample() -> Report {
    let icmp =
        Icmp { version: IcmpVersion::V4, kind: 3, code: 13, from: Some("10.0.0.254".parse().unwrap()) };
    let mut open = probed(1, PortState::Open, Reason::SynAck);
    let fields = Fields::new().with("banner", "one\ntwo").with("list", Value::list(["a", "b"]));
    open.answer = Some(Answer::new("banner", "one two", fields));
    let mut silent = probed(3, PortState::Open, Reason::SynAck);
    silent.failure = Some(("http", "it closed the connection".into()));
    let results = vec![
        silent,
        probed(2, PortState::Filtered, Reason::Icmp(icmp)),
        open,
        probed(0, PortState::Closed, Reason::Reset),
    ];
    let mut told = told(&plan(&[22, 389, 40443, 40080]), results);
    told.unresolved("dc9", "cannot resolve 'dc9': no such host".into());
    told.report(Duration::from_millis(1250))
}

#[test]
fn people_see_how_many_of_what_then_each_port_then_the_answers() {
    assert_snapshot!(written(&sample(), "table"), @r"
    2 open, 1 closed, 1 filtered   dc1 (10.0.0.7), 1.2 s

    PORT       STATE     SERVICE  WHAT IT TELLS
    22/tcp     closed    ssh      reset
    389/tcp    open      ldap     one two
    40443/tcp  filtered           administratively prohibited from 10.0.0.254
    40080/tcp  open               http: it closed the connection

    389/tcp   banner
      banner   one
               two
      list     a
               b
    ");
}

#[test]
fn machines_get_every_field_in_the_order_asked() {
    let report = sample();
    assert_eq!((report.exit, report.aside.len()), (Exit::Not, 1));
    let value = valid_json(&report, "probe");
    let result = &value["results"][2];
    assert_eq!((&result["port"], &result["state"]), (&40443.into(), &"filtered".into()));
    assert_eq!((&result["reason"]["kind"], &result["reason"]["icmp_code"]), (&"icmp".into(), &13.into()));
    assert_eq!((&result["reason"]["from"], &result["rtt_ms"]), (&"10.0.0.254".into(), &1.234.into()));
    assert_eq!(value["results"][1]["answer"]["fields"]["list"][1], "b");
    assert_eq!(value["unresolved"][0]["host"], "dc9");
}

#[test]
fn many_dull_ports_are_told_in_a_line() {
    let ports: Vec<u16> = (1..=100).collect();
    let results = (0..100).map(|port| match port {
        7 => Probed {
            failure: Some(("tls", "no TLS".into())),
            ..probed(port, PortState::Open, Reason::SynAck)
        },
        _ => probed(port, PortState::Closed, Reason::Reset),
    });
    let report = told(&plan(&ports), results.collect()).report(Duration::ZERO);
    assert_snapshot!(written(&report, "table"), @r"
    1 open, 99 closed   dc1 (10.0.0.7), 0.0 s

    PORT   STATE  SERVICE  WHAT IT TELLS
    8/tcp  open            tls: no TLS
    99 closed: reset
    --all shows each of them
    ");
}

#[test]
fn the_exit_code_says_whether_all_is_open_or_nothing_is_known() {
    let exit = |results| told(&plan(&[1, 2]), results).exit(None);
    let open = |port| probed(port, PortState::Open, Reason::SynAck);
    assert_eq!(exit(vec![open(0), open(1)]), Exit::Fine);
    assert_eq!(exit(vec![open(0), probed(1, PortState::Closed, Reason::Reset)]), Exit::Not);
    assert_eq!(exit(vec![]), Exit::Unclear);
    assert_eq!(exit(vec![probed(0, PortState::Undecided, Reason::System { code: 1 })]), Exit::Unclear);
}
