//! Every rule on values: hosts built by hand, what is asked of them, what the kernel said, and what comes of it.

mod by_hand;
mod chart;
mod connections;
mod room;
mod windows;

use portolan_core::diagnose::Severity::{Error, Note, Warning};
use portolan_core::diagnose::{Question, RULES, refusal, verdict};
use portolan_core::owner::{Container, Origin, Owner};
use portolan_core::range::{Carrier, CarrierKind};
use portolan_core::snapshot::{Gap, GapReason, Snapshot};
use portolan_core::socket::{OwnerState, State, Transport};

use by_hand::*;

#[test]
fn every_rule_has_a_page_of_manual_and_an_id_of_its_own() {
    let mut ids: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
    for rule in RULES {
        let words = rule.doc.split_whitespace().count();
        assert!((80..=200).contains(&words), "{}: {words} words", rule.id);
        assert!(rule.doc.lines().all(|line| line.chars().count() <= 120), "{}", rule.id);
        assert!(rule.id.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", rule.id);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), RULES.len());
}

#[test]
fn a_port_that_binds_is_free_and_a_table_alone_promises_no_more_than_it_shows() {
    let host = host();
    let findings = ask(&host, "8080", BINDS);
    assert_eq!(rules(&findings), [("free", Note)]);
    assert_eq!(findings[0].summary, "8080/tcp is free.");
    let findings = ask(&host, "8080", &[]);
    assert_eq!(findings[0].summary, "Nothing in the socket table is in the way of 8080/tcp.");
    assert_eq!(findings[0].evidence, ["told from the socket table alone: no bind was tried"]);
    assert_eq!(rules(&ask(&host, "8080", &["0.0.0.0 binds", ":: none"])), [("free", Note)]);
}

#[test]
fn the_verdict_is_that_of_the_plain_trials_which_were_made() {
    let trials = |texts: &[&str]| texts.iter().map(|text| trial(text, 1)).collect::<Vec<_>>();
    assert_eq!(verdict(&[]), None);
    assert_eq!(verdict(&trials(&[":: none"])), None);
    assert_eq!(verdict(&trials(REUSE_ONLY)), Some(false));
    assert_eq!(verdict(&trials(&["0.0.0.0 binds", ":: none"])), Some(true));
    assert_eq!(refusal(&trials(REUSE_ONLY)), Some(("EADDRINUSE", 98)));
    assert_eq!(refusal(&trials(BINDS)), None);
}

#[test]
fn a_holder_is_named_with_its_unit_its_age_and_the_command_that_stops_it() {
    let mut host = host();
    let unit = Some("nginx.service".to_owned());
    let command = Some("nginx: master process".to_owned());
    let nginx = Owner { unit, command, user: Some("root".into()), uid: Some(0), ..owner(812, "nginx") };
    let workers = [813, 814].map(|pid| Owner { parent: 812, ..owner(pid, "nginx") });
    let all = [vec![nginx], workers.to_vec()].concat();
    host.held(State::Listen, "0.0.0.0:8080", &all);
    host.held(State::Listen, "[::]:8080", &all).options = V6_ONLY;
    let findings = ask(&host, "8080", REFUSED);
    assert_eq!(rules(&findings), [("held-by-process", Error)]);
    assert_eq!(
        findings[0].summary,
        "8080/tcp is held by nginx (pid 812, nginx.service) and 2 more processes, running for 3 days."
    );
    assert_eq!(
        findings[0].evidence[..4],
        [
            "tcp LISTEN 0.0.0.0:8080, held by nginx (pid 812, nginx.service) and 2 more processes",
            "tcp LISTEN [::]:8080, held by nginx (pid 812, nginx.service) and 2 more processes",
            "pid 812 runs as root (0), command: nginx: master process",
            "shared with nginx (pid 813) and nginx (pid 814)",
        ]
    );
    assert_eq!(commands(&findings[0]), ["systemctl stop nginx.service", "kill 812"]);
}

#[test]
fn each_way_to_hold_and_to_ask_blames_the_holder_or_nobody() {
    // Holder; whether it is v6-only; what is asked; whether the holder is in the way.
    for (local, v6_only, asked, blamed) in [
        ("0.0.0.0:80", false, "80", true),
        ("127.0.0.1:80", false, "80", true),
        ("[::]:80", false, "80", true),
        ("[::1]:80", true, "80", true),
        ("0.0.0.0:80", false, "127.0.0.1:80", true),
        ("[::]:80", false, "127.0.0.1:80", true),
        ("[::]:80", true, "127.0.0.1:80", false),
        ("[::]:80", true, "[::1]:80", true),
        ("0.0.0.0:80", false, "[::1]:80", false),
        ("0.0.0.0:80", false, "[::]:80", true),
        ("10.0.0.5:80", false, "127.0.0.1:80", false),
        ("[::ffff:10.0.0.5]:80", false, "10.0.0.5:80", true),
        ("[::ffff:10.0.0.5]:80", false, "0.0.0.0:80", true),
        ("0.0.0.0:80", false, "[::ffff:10.0.0.5]:80", true),
        ("0.0.0.0:81", false, "80", false),
    ] {
        let mut host = host();
        let socket = host.held(State::Listen, local, &[owner(5, "httpd")]);
        if v6_only {
            socket.options = V6_ONLY;
        }
        let findings = ask(&host, asked, &[]);
        let found = |id| findings.iter().any(|finding| finding.rule == id);
        assert_eq!(
            found("held-by-process"),
            blamed,
            "{local} v6-only {v6_only}, asked {asked}: {findings:?}"
        );
        assert_eq!(found("free"), !blamed, "{local} v6-only {v6_only}, asked {asked}");
    }
}

#[test]
fn what_the_kernel_binds_is_nobodys_fault() {
    let mut host = host();
    host.held(State::Listen, "0.0.0.0:8080", &[owner(5, "gone")]);
    assert_eq!(rules(&ask(&host, "8080", BINDS)), [("free", Note)]);
}

#[test]
fn every_holder_leaves_another_port_to_take() {
    let holders: [&dyn Fn(&mut Snapshot); 4] = [
        &|host| {
            host.held(State::Listen, "0.0.0.0:8080", &[owner(5, "node")]);
        },
        &|host| {
            host.held(State::Listen, "0.0.0.0:8080", &[owner(5, "node")]);
            host.held(State::Listen, "0.0.0.0:8080", &[owner(6, "node")]);
        },
        &|host| {
            host.socket(Transport::Tcp, State::Listen, "0.0.0.0:8080", "0.0.0.0:0");
        },
        &|host| {
            let socket = host.socket(Transport::Tcp, State::Listen, "0.0.0.0:8080", "0.0.0.0:0");
            socket.owner_state = OwnerState::Kernel;
        },
    ];
    let ids = ["held-by-process", "held-by-several", "holder-hidden", "kernel-held"];
    for (hold, id) in holders.into_iter().zip(ids) {
        let mut host = host();
        hold(&mut host);
        let findings = ask(&host, "8080", REFUSED);
        assert_eq!(findings[0].rule, id, "{findings:?}");
        assert_eq!(another_port(&findings[0]), Some("portolan pick --near 8080"), "{id}");
    }
}

#[test]
fn a_holder_of_one_address_leaves_the_others_and_that_is_offered_first() {
    let mut host = host();
    host.held(State::Listen, "127.0.0.1:8080", &[owner(5, "node")]);
    let findings = ask(&host, "8080", REFUSED);
    assert_eq!(commands(&findings[0]), ["portolan why 10.0.0.5:8080", "portolan free 8080"]);
}

#[test]
fn a_container_is_stopped_as_a_container_and_anothers_process_after_sudo() {
    let mut host = host_of_user();
    let container = Container { runtime: "docker".into(), id: "0123456789abcdef".repeat(4) };
    let inside = Owner { container: Some(container), unit: Some("x.scope".into()), ..owner(7, "redis") };
    host.held(State::Listen, "0.0.0.0:6379", &[inside]);
    host.held(State::Listen, "0.0.0.0:8080", &[Owner { uid: Some(1000), ..owner(8, "mine") }]);
    host.held(State::Listen, "0.0.0.0:8081", &[Owner { uid: Some(33), ..owner(9, "theirs") }]);
    let findings = ask(&host, "6379", REFUSED);
    assert_eq!(
        findings[0].summary,
        "6379/tcp is held by redis (pid 7, docker container 0123456789ab), running for 3 days."
    );
    assert_eq!(commands(&findings[0]), ["docker stop 0123456789ab"]);
    assert_eq!(commands(&ask(&host, "8080", REFUSED)[0]), ["portolan free 8080"]);
    assert_eq!(commands(&ask(&host, "8081", REFUSED)[0]), ["sudo portolan free 8081"]);
}

#[test]
fn a_hostile_unit_name_never_becomes_part_of_a_command() {
    let mut host = host();
    let evil = Owner { unit: Some("x;reboot #.service".into()), ..owner(9, "evil") };
    host.held(State::Listen, "0.0.0.0:8080", &[evil]);
    assert_eq!(commands(&ask(&host, "8080", REFUSED)[0]), ["portolan free 8080"]);
}

#[test]
fn sockets_in_one_place_are_one_finding_and_another_user_may_not_join_them() {
    let mut host = host_of_user();
    host.origins.push(Origin { uid: Some(33), ..Origin::default() });
    for pid in [20, 21] {
        host.held(State::Listen, "0.0.0.0:8080", &[owner(pid, "envoy")]).origin = 1;
    }
    let findings = ask(&host, "8080", REFUSED);
    assert_eq!(rules(&findings), [("held-by-several", Error), ("reuseport-of-other-user", Warning)]);
    assert_eq!(
        findings[0].summary,
        "8080/tcp is held by 2 sockets that share 0.0.0.0:8080 through SO_REUSEPORT: envoy (pid 20) and envoy \
         (pid 21)."
    );
    assert_eq!(commands(&findings[0]), ["sudo portolan free 8080"]);
    let same_user = Question { uid: Some(33), ..question("8080") };
    assert_eq!(rules(&ask_as(&host, &same_user, REFUSED)), [("held-by-several", Error)]);
}

#[test]
fn a_holder_that_was_not_seen_is_hidden_and_never_nobody() {
    let mut host = host_of_user();
    host.origins.push(Origin { uid: Some(33), unit: Some("nginx.service".into()), ..Origin::default() });
    host.socket(Transport::Tcp, State::Listen, "0.0.0.0:8080", "0.0.0.0:0").origin = 1;
    let findings = ask(&host, "8080", REFUSED);
    assert_eq!(rules(&findings), [("holder-hidden", Error), ("reuseport-of-other-user", Note)]);
    assert_eq!(
        findings[0].summary,
        "8080/tcp is held by a process of user id 33 in nginx.service that could not be seen."
    );
    assert_eq!(commands(&findings[0]), ["sudo portolan why 8080", "sudo systemctl stop nginx.service"]);
}

#[test]
fn a_refusal_that_the_table_does_not_explain_is_said_with_its_gaps() {
    let mut host = host_of_user();
    host.gaps.push(Gap::new("bound sockets", GapReason::Unsupported, "this kernel does not list them"));
    let findings = ask(&host, "8080", REFUSED);
    assert_eq!(rules(&findings), [("holder-hidden", Error)]);
    assert_eq!(findings[0].summary, "8080/tcp is in use on 0.0.0.0, by a socket that could not be seen.");
    assert_eq!(findings[0].evidence.last().unwrap(), "not seen: this kernel does not list them");
}

#[test]
fn a_socket_unit_is_stopped_as_a_unit_and_pid_1_never_killed() {
    let mut host = host();
    host.carriers.push(Carrier {
        kind: CarrierKind::SocketUnit,
        transport: Transport::Tcp,
        address: None,
        ports: "8080".parse().unwrap(),
        name: "web.socket".into(),
        to: Some("web.service".into()),
    });
    let init = Owner { parent: 0, ..owner(1, "systemd") };
    host.held(State::Listen, "0.0.0.0:8080", std::slice::from_ref(&init));
    let findings = ask(&host, "8080", REFUSED);
    assert_eq!(rules(&findings), [("socket-unit", Error)]);
    assert_eq!(findings[0].summary, "8080/tcp is held by systemd for web.service: web.socket.");
    assert_eq!(commands(&findings[0]), ["systemctl stop web.socket"]);

    // Once the service runs it has the socket too.
    host.sockets.clear();
    let service = Owner { unit: Some("web.service".into()), ..owner(50, "web") };
    host.held(State::Listen, "0.0.0.0:8080", &[init, service]);
    let findings = ask(&host, "8080", REFUSED);
    assert_eq!(rules(&findings), [("held-by-process", Error), ("socket-unit", Error)]);
    assert_eq!(commands(&findings[0]), ["systemctl stop web.service", "kill 50"]);
}

#[test]
fn a_kernel_socket_has_nothing_to_kill() {
    let mut host = host();
    let socket = host.socket(Transport::Udp, State::Unconnected, "0.0.0.0:51820", "0.0.0.0:0");
    socket.owner_state = OwnerState::Kernel;
    let findings = ask(&host, "51820/udp", REFUSED);
    assert_eq!(rules(&findings), [("kernel-held", Error), ("in-ephemeral-range", Warning)]);
    assert_eq!(commands(&findings[0]), ["ip -details link show"]);
}

#[test]
fn a_socket_that_is_bound_and_does_not_listen_is_named() {
    let mut host = host();
    host.held(State::Bound, "0.0.0.0:8080", &[owner(9, "starting")]);
    let findings = ask(&host, "8080", REFUSED);
    assert_eq!(rules(&findings), [("bound-not-listening", Error)]);
    assert_eq!(findings[0].summary, "8080/tcp is bound by starting (pid 9), which does not listen on it.");
}

#[test]
fn a_foreign_address_is_told_with_the_nearest_of_this_host() {
    let host = host();
    let findings = ask(&host, "10.0.0.7:8080", &["10.0.0.7 EADDRNOTAVAIL"]);
    assert_eq!(rules(&findings), [("address-not-local", Error)]);
    assert_eq!(findings[0].summary, "10.0.0.7 is not an address of this host.");
    let nonlocal = "sysctl -w net.ipv4.ip_nonlocal_bind=1";
    assert_eq!(
        commands(&findings[0]),
        ["portolan why 10.0.0.5:8080", "portolan why 127.0.0.1:8080", nonlocal]
    );
    let by_table = ask(&host, "10.0.0.7:8080", &[]);
    assert_eq!(by_table[0].summary, "10.0.0.7 is not among the addresses of this host.");
    assert_eq!(rules(&ask(&host, "127.9.9.9:8080", &[])), [("free", Note)], "all of 127/8 is local");
    let tentative = ask(&host, "[::1]:8080", &["::1 EADDRNOTAVAIL"]);
    assert!(tentative[0].summary.starts_with("::1 is configured on lo and not usable yet"), "{tentative:?}");
    let link_local = ask(&host, "[fe80::7]:8080", &["fe80::7 EINVAL"]);
    assert_eq!(rules(&link_local), [("address-not-local", Error)]);
    let missing = ask(&host, "[2001:db8::1]:8080", &["2001:db8::1 EAFNOSUPPORT"]);
    assert_eq!(missing[0].summary, "2001:db8::1 cannot be bound: this host has no IPv6.");
}

#[test]
fn a_privileged_port_is_the_cause_only_for_those_who_lack_the_privilege() {
    let findings = ask(&host_of_user(), "80", DENIED);
    assert_eq!(rules(&findings), [("privileged-port", Error)]);
    assert_eq!(findings[0].summary, "80 lies below 1024, and the one who asks may not bind such ports.");
    assert_eq!(commands(&findings[0]), ["sudo sysctl -w net.ipv4.ip_unprivileged_port_start=80"]);
    assert_eq!(rules(&ask(&host_of_user(), "80", &[])), [("privileged-port", Warning), ("free", Note)]);
    assert_eq!(rules(&ask(&host(), "80", BINDS)), [("free", Note), ("privileged-port", Note)]);
    assert_eq!(rules(&ask(&host(), "80", DENIED)), [("refused-by-policy", Error)]);
    let for_user = Question { uid: Some(1000), ..question("80") };
    assert_eq!(rules(&ask_as(&host(), &for_user, DENIED)), [("privileged-port", Error)]);

    let mut lowered = host_of_user();
    lowered.settings.unprivileged_port_start = Some(80);
    assert_eq!(rules(&ask(&lowered, "80", BINDS)), [("free", Note)]);
    assert_eq!(rules(&ask(&lowered, "80", DENIED)), [("refused-by-policy", Error)]);

    // The kernel looks at the privilege first, so the table tells of the holder.
    let mut held = host_of_user();
    held.held(State::Listen, "0.0.0.0:80", &[owner(5, "httpd")]);
    assert_eq!(rules(&ask(&held, "80", DENIED)), [("held-by-process", Error), ("privileged-port", Error)]);
}

#[test]
fn eperm_is_a_policys_word() {
    let findings = ask(&host(), "8080", &["0.0.0.0 EPERM"]);
    assert_eq!(rules(&findings), [("refused-by-policy", Error)]);
    assert!(findings[0].summary.contains("EPERM (1)"), "{}", findings[0].summary);
}

#[test]
fn any_port_is_refused_when_the_range_is_used_up_and_who_has_it_is_counted() {
    let mut host = host();
    host.ranges.iter_mut().for_each(|range| range.range = "40000-40009".parse().unwrap());
    for port in 40_000..40_006 {
        host.held(State::Bound, &format!("127.0.0.1:{port}"), &[owner(9, "leaky")]);
    }
    for port in 40_006..40_010 {
        host.socket(Transport::Tcp, State::TimeWait, &format!("10.0.0.5:{port}"), "10.0.0.9:80");
    }
    let findings = ask(&host, "any", REFUSED);
    assert_eq!(rules(&findings), [("range-exhausted", Error)]);
    assert_eq!(findings[0].summary, "No port of 40000-40009 is left for tcp.");
    assert_eq!(
        findings[0].evidence[..3],
        [
            "40000-40009 has 10 ports, 0 of them reserved, 0 left",
            "6 with leaky (pid 9)",
            "4 with ended connections in TIME_WAIT",
        ]
    );
    assert_eq!(rules(&ask(&host, "any/udp", BINDS)), [("free", Note)]);
    assert_eq!(rules(&chart(&host)), [("range-exhausted", Error), ("range-small", Note)]);
}

#[test]
fn a_listener_of_the_other_family_shares_the_name_localhost() {
    let mut host = host();
    host.held(State::Listen, "[::]:8080", &[owner(9, "vite")]).options = V6_ONLY;
    let findings = ask(&host, "0.0.0.0:8080", &["0.0.0.0 binds", "0.0.0.0 +reuse binds"]);
    assert_eq!(rules(&findings), [("shadowed", Warning), ("free", Note)]);
    assert_eq!(
        findings[0].summary,
        "vite (pid 9) listens on [::]:8080 beside 0.0.0.0:8080/tcp: who connects to localhost may reach either."
    );
}
