//! What the chart names without being asked for a port; and a port with very many connections.

use std::net::{Ipv4Addr, SocketAddr};

use portolan_core::diagnose::Severity::{Error, Note, Warning};
use portolan_core::range::{Carrier, CarrierKind, ReservationKind};
use portolan_core::socket::{Socket, State, Transport};

use super::by_hand::*;

#[test]
fn the_chart_names_listeners_that_take_each_others_traffic() {
    let mut host = host();
    host.held(State::Unconnected, "0.0.0.0:53", &[owner(9, "dnsmasq")]);
    host.held(State::Unconnected, "10.0.0.5:53", &[owner(10, "named")]);
    let findings = chart(&host);
    assert_eq!(rules(&findings), [("shadowed", Warning)]);
    assert_eq!(
        findings[0].summary,
        "10.0.0.5:53 of named (pid 10) takes its traffic before 0.0.0.0:53 of dnsmasq (pid 9) sees it."
    );
    host.held(State::Unconnected, "0.0.0.0:5353", &[owner(9, "dnsmasq")]);
    host.held(State::Unconnected, "10.0.0.5:5353", &[owner(9, "dnsmasq")]);
    assert_eq!(chart(&host).len(), 1, "one program does not shadow itself");
}

#[test]
fn the_chart_groups_listeners_inside_the_ephemeral_range() {
    let mut host = host();
    host.held(State::Listen, "0.0.0.0:50051", &[owner(9, "grpc")]);
    host.held(State::Listen, "[::1]:56379", &[owner(10, "redis")]);
    host.held(State::Listen, "0.0.0.0:8080", &[owner(11, "web")]);
    let findings = chart(&host);
    assert_eq!(rules(&findings), [("in-ephemeral-range", Warning)]);
    assert_eq!(
        findings[0].summary,
        "2 ports of listeners lie inside the ephemeral range 32768-60999 and are not reserved: 50051, 56379."
    );
    assert_eq!(commands(&findings[0]), ["portolan reserve add 50051 56379"]);
}

#[test]
fn the_chart_counts_holders_that_were_not_seen() {
    let mut host = host_of_user();
    host.socket(Transport::Tcp, State::Listen, "0.0.0.0:80", "0.0.0.0:0");
    host.socket(Transport::Tcp, State::Established, "10.0.0.5:80", "10.0.0.9:40000");
    let findings = chart(&host);
    assert_eq!(rules(&findings), [("holder-hidden", Note)]);
    assert_eq!(findings[0].summary, "The holder of 2 sockets could not be seen, 1 of them listening.");
    assert_eq!(commands(&findings[0]), ["sudo portolan"]);
}

#[test]
fn a_reserved_port_inside_the_range_is_only_a_note() {
    let mut host = host();
    host.reservations.push(reservation("50051-50060", ReservationKind::Administered));
    assert_eq!(rules(&ask(&host, "50051", BINDS)), [("free", Note), ("reserved-range", Note)]);
    assert_eq!(rules(&ask(&host, "50050", BINDS)), [("in-ephemeral-range", Warning), ("free", Note)]);
    host.reservations[0].kind = ReservationKind::System;
    let findings = ask(&host, "50051", DENIED);
    assert!(findings.iter().any(|f| (f.rule, f.severity) == ("reserved-range", Error)), "{findings:?}");
    assert!(!findings.iter().any(|f| f.rule == "refused-by-policy"), "{findings:?}");
}

#[test]
fn carriers_are_named_with_where_the_traffic_goes() {
    let mut host = host();
    let carrier = |kind, name: &str| Carrier {
        kind,
        transport: Transport::Tcp,
        address: None,
        ports: "8080".parse().unwrap(),
        name: name.into(),
        to: Some("172.17.0.2:80".into()),
    };
    host.carriers.push(carrier(CarrierKind::DnatRule, "DOCKER tcp dport 8080 dnat"));
    let findings = ask(&host, "8080", BINDS);
    assert_eq!(rules(&findings), [("carried-by-rule", Warning), ("free", Note)]);
    assert_eq!(
        findings[0].summary,
        "What comes in for 8080/tcp is sent on to 172.17.0.2:80 by a firewall rule, past any program that binds it \
         here."
    );
    host.carriers = vec![carrier(CarrierKind::ContainerProxy, "docker-proxy -host-port 8080")];
    host.held(State::Listen, "0.0.0.0:8080", &[owner(9, "docker-proxy")]);
    let findings = ask(&host, "8080", REFUSED);
    assert_eq!(rules(&findings), [("held-by-process", Error), ("container-proxy", Note)]);
    assert_eq!(commands(&findings[0]), ["docker stop $(docker ps --quiet --filter publish=8080)"]);
}

#[test]
fn fifty_thousand_connections_on_a_port_are_one_line_of_evidence() {
    let mut host = host();
    host.held(State::Listen, "0.0.0.0:8080", &[owner(9, "web")]);
    let local: SocketAddr = "10.0.0.5:8080".parse().unwrap();
    for number in 0..50_000_u32 {
        let peer = Ipv4Addr::from_bits(0x0a01_0000 + number / 100);
        let peer = SocketAddr::new(peer.into(), 1024 + (number % 100) as u16);
        host.sockets.push(Socket::new(Transport::Tcp, State::Established, local, peer));
    }
    let findings = ask(&host, "8080", REFUSED);
    assert_eq!(rules(&findings), [("held-by-process", Error)]);
    assert!(findings[0].evidence[1].starts_with("50000 connections"), "{:?}", findings[0].evidence);
}
