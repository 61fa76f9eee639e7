//! `why` from answers made by hand: each verdict, in every format.

use portolan_core::diagnose::{Remedy, Reuse};
use portolan_core::snapshot::GapReason;

use super::*;
use crate::fixture::{services, valid_json, written, written_on};
use crate::output::Surface;

fn answer(text: &str, trials: Vec<Trial>, findings: Vec<Finding>, gaps: Vec<Gap>, is_file: bool) -> Report {
    let asked = asked::parse(text, &services()).unwrap();
    let found = Found { trials, findings, gaps, is_file };
    match &asked.target {
        Target::Local(question) => report(&asked, question, found),
        Target::Remote(remote) => remote_report(&asked, remote),
    }
}

fn trial(reuse: Reuse, outcome: Outcome) -> Trial {
    Trial { address: "0.0.0.0:8080".parse().unwrap(), reuse, outcome, inferred: false }
}

fn refused() -> Vec<Trial> {
    let refused = || Outcome::Refused { call: "bind".into(), name: "EADDRINUSE".into(), code: 98 };
    vec![trial(Reuse::Plain, refused()), trial(Reuse::ReuseAddress, refused())]
}

fn held() -> Finding {
    Finding {
        rule: "held-by-process",
        severity: Severity::Error,
        summary:
            "node (pid 812) listens on 0.0.0.0:8080, in the container docker 3f2a9c01b7de, since 3 d 4 h."
                .into(),
        evidence: vec!["node server.js, user node, descriptor 19".into()],
        remedies: vec![
            Remedy::advice("take another port"),
            Remedy::command("see who that is", "portolan who 8080"),
            Remedy::command("stop the container", "docker stop 3f2a9c01b7de"),
        ],
    }
}

fn in_range() -> Finding {
    Finding {
        rule: "in-ephemeral-range",
        severity: Severity::Warning,
        summary: "the system may give it to any client".into(),
        evidence: Vec::new(),
        remedies: vec![Remedy::command("see who that is", "portolan who 8080")],
    }
}

/// The report of a port that two findings speak about, with a gap.
fn taken() -> Report {
    let gap =
        Gap::new("owners", GapReason::Denied, "2 processes could not be read").with_remedy("run as root");
    answer("8080", refused(), vec![held(), in_range()], vec![gap], false)
}

#[test]
fn the_verdict_comes_first_then_the_evidence_then_the_ways_out() {
    assert_eq!(taken().exit, Exit::Not);
    insta::assert_snapshot!(written(&taken(), "table"), @r"
    8080/tcp on every address   cannot be bound: address already in use (EADDRINUSE 98)

      why       held-by-process   node (pid 812) listens on 0.0.0.0:8080, in the container docker
                3f2a9c01b7de, since 3 d 4 h.
                  node server.js, user node, descriptor 19
      warning   in-ephemeral-range   the system may give it to any client
      ways out  1  take another port
                2  see who that is      portolan who 8080
                3  stop the container   docker stop 3f2a9c01b7de
      not seen  owners: 2 processes could not be read; run as root
    ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is one report, whole")]
fn json_has_the_documented_fields() {
    insta::assert_snapshot!(format!("{:#}", valid_json(&taken(), "why")), @r#"
    {
      "bindable": false,
      "error": {
        "code": 98,
        "name": "EADDRINUSE"
      },
      "findings": [
        {
          "evidence": [
            "node server.js, user node, descriptor 19"
          ],
          "remedies": [
            {
              "text": "take another port"
            },
            {
              "command": "portolan who 8080",
              "text": "see who that is"
            },
            {
              "command": "docker stop 3f2a9c01b7de",
              "text": "stop the container"
            }
          ],
          "rule": "held-by-process",
          "severity": "error",
          "summary": "node (pid 812) listens on 0.0.0.0:8080, in the container docker 3f2a9c01b7de, since 3 d 4 h."
        },
        {
          "evidence": [],
          "remedies": [
            {
              "command": "portolan who 8080",
              "text": "see who that is"
            }
          ],
          "rule": "in-ephemeral-range",
          "severity": "warning",
          "summary": "the system may give it to any client"
        }
      ],
      "gaps": [
        {
          "detail": "2 processes could not be read",
          "reason": "denied",
          "remedy": "run as root",
          "what": "owners"
        }
      ],
      "target": {
        "address": null,
        "host": null,
        "notes": [],
        "port": 8080,
        "remote": false,
        "told": null,
        "transport": "tcp"
      },
      "trials": [
        {
          "address": "0.0.0.0:8080",
          "call": "bind",
          "code": 98,
          "inferred": false,
          "name": "EADDRINUSE",
          "result": "refused",
          "reuse": "plain"
        },
        {
          "address": "0.0.0.0:8080",
          "call": "bind",
          "code": 98,
          "inferred": false,
          "name": "EADDRINUSE",
          "result": "refused",
          "reuse": "reuse-address"
        }
      ]
    }
    "#);
}

#[test]
fn findings_are_rows_for_a_spreadsheet() {
    insta::assert_snapshot!(written(&taken(), "csv"), @r#"
    rule,severity,summary,evidence,remedies
    held-by-process,error,"node (pid 812) listens on 0.0.0.0:8080, in the container docker 3f2a9c01b7de, since 3 d 4 h.","node server.js, user node, descriptor 19",take another port; see who that is: portolan who 8080; stop the container: docker stop 3f2a9c01b7de
    in-ephemeral-range,warning,the system may give it to any client,,see who that is: portolan who 8080
    "#);
}

#[test]
fn a_free_port_is_free_in_the_first_line() {
    let report = answer("8080", vec![trial(Reuse::Plain, Outcome::Bound)], vec![], vec![], false);
    assert_eq!(report.exit, Exit::Fine);
    insta::assert_snapshot!(written(&report, "table"), @r"
    8080/tcp on every address   free: it binds

      not seen  nothing
    ");
    assert_eq!(valid_json(&report, "why")["bindable"], true);
}

#[test]
fn a_snapshot_is_judged_by_what_it_shows_and_nothing_is_tried() {
    let held_there = answer("8080", vec![], vec![held()], vec![], true);
    assert_eq!(held_there.exit, Exit::Not);
    let value = valid_json(&held_there, "why");
    assert_eq!((&value["bindable"], &value["error"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    let quiet = answer("8080", vec![], vec![], vec![], true);
    assert_eq!(quiet.exit, Exit::Unclear);
    insta::assert_snapshot!(written(&quiet, "table"), @r"
    8080/tcp on every address   nothing in the snapshot keeps it from binding; nothing was tried

      not seen  nothing
    ");
}

#[test]
fn what_was_not_tried_is_not_told_with_the_reason() {
    let reason = "a running service would lose datagrams".to_owned();
    let report = answer("53", vec![trial(Reuse::Plain, Outcome::NotTried { reason })], vec![], vec![], false);
    assert_eq!(report.exit, Exit::Unclear);
    insta::assert_snapshot!(written(&report, "table").lines().next().unwrap(), @"53/tcp on every address   could not tell: a running service would lose datagrams");
}

#[test]
fn a_remote_port_is_told_apart_and_never_tried() {
    let text = "dial tcp 10.0.7.9:8443: connect: connection refused";
    let report = answer(text, vec![], vec![], vec![], false);
    assert_eq!(report.exit, Exit::Unclear);
    assert_eq!(valid_json(&report, "why")["target"]["remote"], true);
    insta::assert_snapshot!(written(&report, "table"), @r"
    8443/tcp of 10.0.7.9   a remote port: connection refused: nobody listens there, or a firewall rejects (ECONNREFUSED 111)

      why       the message is about a dial to that port, not about binding it here: nothing was tried
      ways out  1  see this machine's connections to it
                   portolan list --remote-port 8443 --transport tcp
                2  on 10.0.7.9 itself, ask who listens   portolan who 8443/tcp
    ");
}

#[test]
fn a_pasted_message_is_compared_with_what_is_now() {
    let text = "listen tcp 0.0.0.0:8080: bind: address already in use";
    let report = answer(text, vec![trial(Reuse::Plain, Outcome::Bound)], vec![], vec![], false);
    assert_eq!(valid_json(&report, "why")["target"]["told"]["name"], "EADDRINUSE");
    insta::assert_snapshot!(written(&report, "table"), @r"
    8080/tcp on 0.0.0.0   free: it binds

      message   said: address already in use (EADDRINUSE 98)
      not seen  nothing
    ");
}

#[test]
fn colours_surround_words_and_never_change_them() {
    let report = answer("8080", refused(), vec![held()], vec![], false);
    let surface = |colour| Surface { width: Some(100), colour, unicode: true };
    let (coloured, _) = written_on(&report, "table", surface(true));
    let (plain, _) = written_on(&report, "table", surface(false));
    assert!(coloured.contains("\u{1b}[") && !plain.contains('\u{1b}'));
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain);
}
