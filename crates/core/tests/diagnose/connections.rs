//! Connections that stand in the way of a port: TIME_WAIT, those of a listener that is here or gone, outgoing ones.

use portolan_core::diagnose::Severity::{Error, Note, Warning};
use portolan_core::range::ReservationKind;
use portolan_core::socket::{State, Transport};

use super::by_hand::*;

#[test]
fn time_wait_tells_how_long_and_whose_it_probably_was() {
    let mut host = host();
    host.socket(Transport::Tcp, State::TimeWait, "10.0.0.5:8080", "10.0.0.9:40000").timer_ms = 42_300;
    host.socket(Transport::Tcp, State::TimeWait, "10.0.0.5:8080", "10.0.0.9:40001").timer_ms = 10_000;
    let findings = ask(&host, "8080", REUSE_ONLY);
    assert_eq!(rules(&findings), [("time-wait-left", Error)]);
    assert_eq!(
        findings[0].summary,
        "8080/tcp is kept for 43 s more by 2 connections in TIME_WAIT: they have ended, and no program holds the \
         port."
    );
    assert!(
        findings[0].evidence[2].starts_with("whose they were is not known"),
        "{:?}",
        findings[0].evidence
    );
    assert_eq!(findings[0].remedies[0].text, "set SO_REUSEADDR before bind: that binds now");
    assert_eq!(
        commands(&findings[0]),
        ["portolan wait 8080 --for free", "portolan close --port 8080 --state time-wait"]
    );

    host.connected("10.0.0.5:8080", "10.0.0.9:40002", owner(9, "web"));
    let findings = ask(&host, "8080", REFUSED);
    assert_eq!(rules(&findings), [("connections-left", Error), ("time-wait-left", Error)]);
    assert!(findings[1].evidence[2].starts_with("most likely of web (pid 9)"), "{:?}", findings[1].evidence);
    assert!(findings[1].remedies[0].text.contains("not yet now"), "{:?}", findings[1].remedies);
}

#[test]
fn connections_of_a_listener_that_is_here_are_told_with_it() {
    let mut host = host();
    host.held(State::Listen, "0.0.0.0:8080", &[owner(9, "web")]);
    host.connected("10.0.0.5:8080", "10.0.0.9:40000", owner(9, "web"));
    host.socket(Transport::Tcp, State::TimeWait, "10.0.0.5:8080", "10.0.0.9:40001");
    let findings = ask(&host, "8080", REFUSED);
    assert_eq!(rules(&findings), [("held-by-process", Error)]);
    let line = &findings[0].evidence[1];
    assert!(line.starts_with("2 connections of a listener of this port, 1 of them in TIME_WAIT"), "{line}");
}

#[test]
fn connections_of_a_listener_that_is_gone_block_a_plain_bind() {
    let mut host = host();
    host.connected("10.0.0.5:8080", "10.0.0.9:40000", owner(9, "child"));
    let findings = ask(&host, "8080", REUSE_ONLY);
    assert_eq!(rules(&findings), [("connections-left", Error)]);
    assert_eq!(
        findings[0].summary,
        "8080/tcp is kept by 1 connection of a listener that is gone, held by child (pid 9)."
    );
    assert_eq!(commands(&findings[0]), ["portolan close --local 10.0.0.5:8080", "kill 9"]);
}

#[test]
fn an_outgoing_connection_is_told_as_one_and_the_far_port_is_held_by_nobody_here() {
    let mut host = host();
    host.connected("10.0.0.5:40000", "10.0.7.9:443", owner(12, "curl"));
    host.reservations.push(reservation("50051", ReservationKind::Administered));
    let findings = ask(&host, "40000", REFUSED);
    assert_eq!(rules(&findings), [("outgoing-connection", Error), ("in-ephemeral-range", Warning)]);
    assert_eq!(
        findings[0].summary,
        "An outgoing connection of curl (pid 12) uses 40000/tcp as its local port."
    );
    assert_eq!(
        commands(&findings[0]),
        [
            "portolan why 40000",
            "portolan close --local 10.0.0.5:40000",
            "kill 12",
            "portolan reserve add 40000"
        ]
    );
    assert_eq!(rules(&ask(&host, "8443", &[])), [("free", Note)]);
    let far = ask(&host, "10.0.0.5:443", &["10.0.0.5 binds"]);
    assert_eq!(rules(&far), [("free", Note), ("privileged-port", Note)], "443 is the far end's");
}

#[test]
fn an_ipv6_connection_is_blamed_for_ipv4_only_when_the_kernel_says_in_use() {
    let mut host = host();
    host.connected("[2001:db8::5]:40000", "[2001:db8::9]:443", owner(12, "curl"));
    let findings = ask(&host, "0.0.0.0:40000", &["0.0.0.0 EADDRINUSE"]);
    assert_eq!(rules(&findings), [("outgoing-connection", Error), ("in-ephemeral-range", Warning)]);
    let findings = ask(&host, "0.0.0.0:40000", &[]);
    assert_eq!(rules(&findings), [("in-ephemeral-range", Warning), ("free", Note)]);
}
