//! The rules about room: that each finds, does not find where it should not, and is silent where nobody could see.

use std::net::SocketAddr;

use portolan_core::census::{self, Census};
use portolan_core::diagnose::Severity::{Error, Note, Warning};
use portolan_core::diagnose::{Case, Finding, ROOM, RULES, RoomTrend, Severity, diagnose_room};
use portolan_core::owner::Holder;
use portolan_core::room::{Ask, Call, RoomFor, Tuple};
use portolan_core::snapshot::Snapshot;
use portolan_core::socket::{Family, OwnerState, Socket, SocketOptions, State, Transport};
use portolan_core::trend::Slope;

use crate::by_hand::{host, owner, rules, windows_host};

const TO: &str = "10.0.0.9:80";

/// A host whose one process has so many sockets in that state; a TIME_WAIT has none.
fn with(mut host: Snapshot, state: State, count: u16, to: &str) -> Snapshot {
    if host.owners.is_empty() {
        host.owners.push(owner(700, "proxy"));
        host.burnt = Some(Vec::new());
    }
    let first = 33_000 + u16::try_from(host.sockets.len()).unwrap();
    for port in first..first + count {
        let local = SocketAddr::new("10.0.0.5".parse().unwrap(), port);
        let mut socket = match state {
            State::Bound => Socket::unconnected(Transport::Tcp, state, local),
            _ => Socket::new(Transport::Tcp, state, local, to.parse().unwrap()),
        };
        if state == State::TimeWait {
            socket.timer_ms = 30_000;
            socket.options = SocketOptions(SocketOptions::TIMESTAMPS_READ | SocketOptions::TIMESTAMPS);
            socket.owner_state = OwnerState::Nobody;
        } else {
            socket.inode = u32::from(port);
            socket.owner_state = OwnerState::Seen;
            socket.first_holder = u32::try_from(host.holders.len()).unwrap();
            socket.holder_count = 1;
            host.holders.push(Holder { owner: 0, descriptor: 3 });
        }
        host.sockets.push(socket);
    }
    host
}

/// The same with a range of so many ports from 33000 on.
fn narrow(mut host: Snapshot, ports: u16) -> Snapshot {
    let range = format!("33000-{}", 33_000 + ports - 1).parse().unwrap();
    host.ranges.iter_mut().for_each(|found| found.range = range);
    host
}

fn findings(host: &Snapshot) -> Vec<Finding> {
    diagnose_room(&Case::host(host, &Census::of(host, 100)))
}

fn since(earlier: &Snapshot, host: &Snapshot) -> Vec<Finding> {
    let census = Census::of(host, 100);
    diagnose_room(&Case { earlier: Some(earlier), ..Case::host(host, &census) })
}

fn severity(findings: &[Finding], rule: &str) -> Option<Severity> {
    findings.iter().find(|finding| finding.rule == rule).map(|finding| finding.severity)
}

fn text(findings: &[Finding], rule: &str) -> String {
    let found = findings.iter().find(|finding| finding.rule == rule);
    found.map_or_else(String::new, |finding| format!("{} {}", finding.summary, finding.evidence.join("; ")))
}

#[test]
fn every_rule_about_room_is_a_rule() {
    assert!(ROOM.iter().all(|id| RULES.iter().any(|rule| rule.id == *id)));
}

#[test]
fn a_quiet_host_has_no_finding_about_room() {
    assert_eq!(findings(&host()), []);
    assert_eq!(findings(&with(host(), State::Established, 99, TO)), []);
}

#[test]
fn an_exhausted_destination_is_an_error_and_a_nearly_exhausted_one_a_warning() {
    let full = findings(&narrow(with(host(), State::Established, 2000, TO), 2000));
    assert_eq!(severity(&full, "destination-exhausted"), Some(Error));
    assert!(text(&full, "destination-exhausted").contains("2000 held by proxy (pid 700)"));
    let first = &full.iter().find(|finding| finding.rule == "destination-exhausted").unwrap().remedies;
    assert!(
        first[0].text.contains("leak") && first[1].text.contains("reuse") && first[2].text.contains("spread")
    );
    assert!(first[3].command.as_ref().unwrap().starts_with("portolan range set"));
    let near = findings(&narrow(with(host(), State::Established, 1850, TO), 2000));
    assert_eq!(severity(&near, "destination-exhausted"), Some(Warning));
    let half = findings(&narrow(with(host(), State::Established, 1000, TO), 2000));
    assert_eq!(severity(&half, "destination-exhausted"), None);
}

#[test]
fn room_that_is_perhaps_gone_is_not_called_exhausted() {
    let mut seen = narrow(with(host(), State::Established, 2000, TO), 2000);
    seen = with(seen, State::Established, 1, "10.0.0.8:80");
    seen.burnt = None;
    let about: Vec<String> = findings(&seen)
        .iter()
        .filter(|f| f.rule == "destination-exhausted")
        .map(|f| f.summary.clone())
        .collect();
    assert_eq!(about.len(), 1, "{about:?}");
}

#[test]
fn time_wait_is_a_warning_where_it_eats_the_room_and_a_note_where_it_does_not() {
    let pile = narrow(with(host(), State::TimeWait, 1500, TO), 2000);
    let mut pile = with(pile, State::Established, 10, TO);
    assert_eq!(
        severity(&findings(&pile), "no-connection-reuse"),
        None,
        "whether they may be reused was not read"
    );
    pile.settings.tcp_tw_reuse = Some(0);
    let found = findings(&pile);
    assert_eq!(severity(&found, "no-connection-reuse"), Some(Warning));
    assert!(text(&found, "no-connection-reuse").starts_with("proxy (pid 700) closed its connections"));
    assert_eq!(severity(&found, "time-wait-plenty"), None);
    let mut reusable = pile;
    reusable.settings.tcp_tw_reuse = Some(1);
    reusable.settings.tcp_tw_reuse_delay_ms = Some(1000);
    assert_eq!(severity(&findings(&reusable), "no-connection-reuse"), None, "they can be reused");
    let mut busy = host();
    for destination in 0..10 {
        busy = with(busy, State::TimeWait, 2000, &format!("10.0.1.{destination}:80"));
    }
    let found = findings(&busy);
    assert_eq!(severity(&found, "time-wait-plenty"), Some(Note));
    assert!(found.iter().all(|finding| finding.severity == Note), "{found:#?}");
}

#[test]
fn without_the_range_many_time_wait_are_not_called_harmless() {
    let mut seen = with(host(), State::TimeWait, 2000, TO);
    seen.ranges.clear();
    assert_eq!(findings(&seen), []);
}

#[test]
fn leaks_are_named_with_their_program_and_whether_they_grow() {
    for (state, rule) in [(State::CloseWait, "close-wait-leak"), (State::Bound, "bound-leak")] {
        let before = with(host(), state, 150, TO);
        assert!(text(&findings(&before), rule).contains("one look does not tell whether they grow"));
        assert_eq!(severity(&findings(&with(host(), state, 99, TO)), rule), None);
        let mut after = with(host(), state, 180, TO);
        after.taken_ms += 60_000;
        let found = since(&before, &after);
        assert_eq!(severity(&found, rule), Some(Warning));
        let told = text(&found, rule);
        assert!(told.starts_with("proxy (pid 700)"), "{told}");
        assert!(told.contains("growing: 150 before, 180 after 60 s; 150 of them have been so"), "{told}");
        assert!(text(&since(&after, &before), rule).contains("shrinking"));
        let mut hidden = before.clone();
        hidden.sockets.iter_mut().for_each(|socket| socket.owner_state = OwnerState::Hidden);
        assert!(text(&findings(&hidden), rule).contains("sockets whose holder was not seen"));
    }
}

/// The sockets given in turn to so many workers of one unit.
fn spread(mut host: Snapshot, workers: u32) -> Snapshot {
    host.owners = (0..workers).map(|n| owner(701 + n, "php-fpm")).collect();
    host.owners.iter_mut().for_each(|owner| owner.unit = Some("php.service".into()));
    for (place, holder) in host.holders.iter_mut().enumerate() {
        holder.owner = u32::try_from(place).unwrap() % workers;
    }
    host
}

#[test]
fn a_leak_of_many_workers_is_that_of_their_program() {
    for (state, rule, verb) in
        [(State::CloseWait, "close-wait-leak", "do not close"), (State::Bound, "bound-leak", "keep")]
    {
        let before = spread(with(host(), state, 200, TO), 40);
        let found = findings(&before);
        let told = text(&found, rule);
        assert!(told.starts_with(&format!("40 processes of php-fpm (php.service) {verb} 200")), "{told}");
        assert!(told.contains("most with php-fpm (pid 701, php.service): 5"), "{told}");
        let restart = found[0].remedies.last().unwrap().command.as_deref();
        assert_eq!(restart, Some("systemctl restart php.service"));
        // Other workers of the same program had them before.
        let mut after = spread(with(host(), state, 240, TO), 40);
        after.owners.iter_mut().for_each(|owner| owner.pid += 100);
        assert!(text(&since(&before, &after), rule).contains("growing: 200 before, 240 after"));
        // Programs that have nothing to do with each other are no leak together.
        let mut apart = before;
        for (place, owner) in apart.owners.iter_mut().enumerate() {
            owner.unit = Some(format!("{place}.service"));
        }
        assert_eq!(severity(&findings(&apart), rule), None);
        // One that leaks alone is named alone.
        let mut one = spread(with(host(), state, 200, TO), 40);
        one.holders.iter_mut().take(150).for_each(|holder| holder.owner = 7);
        let told = text(&findings(&one), rule);
        assert!(told.starts_with("php-fpm (pid 708, php.service)"), "{told}");
    }
}

#[test]
fn connections_that_were_never_accepted_are_laid_at_their_listener() {
    let mut seen = with(host(), State::CloseWait, 130, TO);
    for socket in &mut seen.sockets {
        (socket.local_port, socket.remote_port) = (8080, socket.local_port);
        (socket.owner_state, socket.inode, socket.holder_count) = (OwnerState::Nobody, 0, 0);
    }
    let mut listener = seen.sockets[0];
    (listener.state, listener.remote_port, listener.owner_state) = (State::Listen, 0, OwnerState::Seen);
    (listener.first_holder, listener.holder_count) = (0, 1);
    seen.sockets.push(listener);
    let found = findings(&seen);
    assert_eq!(rules(&found), [("not-accepted", Warning)], "{found:#?}");
    assert!(
        found[0].summary.starts_with("proxy (pid 700) does not accept its connections on port 8080: 130")
    );
    assert!(found[0].evidence.last().unwrap().contains("its program has not accepted it"), "{found:#?}");
    let census = Census::of(&seen, 100);
    assert!(census.users.iter().any(|usage| usage.user == census::User::Unaccepted));
    // A queue that is worked off is none.
    seen.sockets.iter_mut().for_each(|socket| {
        if socket.state == State::CloseWait && socket.remote_port % 2 == 0 {
            socket.state = State::Established;
        }
    });
    assert_eq!(findings(&seen), []);
}

#[test]
fn a_small_range_is_a_note_and_not_yet_a_fault() {
    let found = findings(&narrow(host(), 200));
    assert_eq!(rules(&found), [("range-small", Note)]);
    assert!(found[0].summary.contains("only 200 ports"), "{found:#?}");
    assert_eq!(findings(&narrow(host(), 1024)), []);
}

#[test]
fn bind_before_connect_is_told_only_where_the_buckets_were_read() {
    let mut seen = with(host(), State::Established, 3000, TO);
    assert_eq!(severity(&findings(&seen), "bind-before-connect"), None);
    seen.burnt = Some(vec!["33000-35999".parse().unwrap()]);
    let found = findings(&seen);
    assert_eq!(severity(&found, "bind-before-connect"), Some(Warning));
    assert!(text(&found, "bind-before-connect").contains("3000 ports are burnt"));
    seen.burnt = Some(vec!["33000-33149".parse().unwrap()]);
    assert_eq!(severity(&findings(&seen), "bind-before-connect"), Some(Note));
    seen.burnt = None;
    assert_eq!(severity(&findings(&seen), "bind-before-connect"), None);
}

#[test]
fn an_answer_that_does_not_come_is_no_exhaustion() {
    let found = findings(&with(host(), State::SynSent, 60, TO));
    assert_eq!(found.iter().map(|f| f.rule).collect::<Vec<_>>(), ["syn-sent-pile-up"]);
    assert!(found[0].summary.contains("Ports are not the cause"));
    assert_eq!(findings(&with(host(), State::SynSent, 49, TO)), []);
}

#[test]
fn an_end_within_the_hour_is_told_and_a_far_one_is_not() {
    let seen = with(host(), State::Established, 99, TO);
    let tuple = Tuple { source: "10.0.0.5".parse().unwrap(), destination: TO.parse().unwrap(), interface: 0 };
    let at = |per_second: f64, over_s: f64| {
        let slope = Slope { low: per_second * 1.2, per_second, high: per_second * 0.8, over_s };
        let census = Census::of(&seen, 100);
        let trends = [RoomTrend { room: RoomFor::Towards(tuple), slope }];
        diagnose_room(&Case { trends: &trends, ..Case::host(&seen, &census) })
    };
    let soon = at(-100.0, 10.0);
    assert_eq!(severity(&soon, "room-ends"), Some(Warning));
    assert!(text(&soon, "room-ends").contains("run out in 4 min"), "{}", text(&soon, "room-ends"));
    assert_eq!(at(-1.0, 10.0), [], "in eight hours, from ten seconds");
    assert_eq!(severity(&at(-1.0, 86_400.0), "room-ends"), Some(Warning), "in eight hours, from a day");
    assert_eq!(at(100.0, 10.0), []);
}

#[test]
fn an_end_of_the_room_for_other_calls_is_told_once_for_both_families() {
    let seen = host();
    let census = Census::of(&seen, 100);
    let trend = |transport, call, family, per_second: f64| {
        let ask = Ask { transport, call, source: census::wildcard(family), destination: None };
        let slope = Slope { low: per_second * 1.2, per_second, high: per_second * 0.8, over_s: 10.0 };
        RoomTrend { room: RoomFor::Call(ask), slope }
    };
    let trends = [
        trend(Transport::Udp, Call::Connect, Family::Ipv4, -50.0),
        trend(Transport::Udp, Call::Connect, Family::Ipv6, -100.0),
        trend(Transport::Tcp, Call::Bind, Family::Ipv4, -200.0),
        trend(Transport::Tcp, Call::Connect, Family::Ipv4, -400.0),
    ];
    let found = diagnose_room(&Case { trends: &trends, ..Case::host(&seen, &census) });
    let told: Vec<&str> = found.iter().map(|finding| finding.summary.as_str()).collect();
    assert_eq!(
        told,
        [
            "At the present rate the ports for connections to any other destination run out in 71 s.",
            "At the present rate the ports for tcp bind(0) run out in 2 min.",
            "At the present rate the ports for udp sockets that send without a bind run out in 4 min.",
        ]
    );
}

#[test]
fn descriptors_near_their_limit_are_told_and_unread_ones_are_not() {
    let at = |handles, limit| {
        let mut seen = with(host(), State::Established, 10, TO);
        (seen.owners[0].handles, seen.owners[0].handle_limit) = (handles, limit);
        severity(&findings(&seen), "descriptors-near-limit")
    };
    assert_eq!(at(Some(1000), Some(1024)), Some(Error));
    assert_eq!(at(Some(850), Some(1024)), Some(Warning));
    assert_eq!((at(Some(700), Some(1024)), at(None, Some(1024)), at(Some(5000), None)), (None, None, None));
}

#[test]
fn handles_count_on_windows_alone_and_not_for_those_who_have_many_by_nature() {
    let at = |name: &str, handles| {
        let mut seen = windows_host();
        seen.owners.push(owner(80, name));
        seen.owners[0].handles = handles;
        severity(&findings(&seen), "many-handles")
    };
    assert_eq!((at("app.exe", Some(3001)), at("app.exe", Some(10_001))), (Some(Warning), Some(Error)));
    assert_eq!(
        (at("app.exe", Some(3000)), at("LSASS.EXE", Some(50_000)), at("app.exe", None)),
        (None, None, None)
    );
    for many in ["System", "lsass.exe", "store.exe", "sqlservr.exe"] {
        assert_eq!(at(many, Some(9000)), None, "{many}");
    }
    let mut seen = windows_host();
    seen.owners.push(owner(80, "app.exe"));
    (seen.owners[0].handles, seen.owners[0].socket_handles) = (Some(4000), Some(3900));
    let told = text(&findings(&seen), "many-handles");
    assert!(told.contains("has 4000 handles open, 3900 of them sockets."), "{told}");
}

#[test]
fn counters_that_refuse_are_told_and_old_refusals_are_history_once_it_was_watched() {
    let at = |count: u64, drops: u64| {
        let mut seen = host();
        for (name, value) in
            [("nf_conntrack.count", count), ("nf_conntrack.max", 1000), ("nf_conntrack.drop", drops)]
        {
            seen.counters.insert(name.to_owned(), value);
        }
        seen
    };
    let of = |found: Vec<Finding>| severity(&found, "conntrack-full");
    assert_eq!(of(findings(&at(960, 0))), Some(Error));
    assert_eq!(of(findings(&at(800, 0))), Some(Warning));
    assert_eq!(of(findings(&at(100, 0))), None);
    assert_eq!(of(findings(&at(100, 7))), Some(Warning));
    assert_eq!(of(since(&at(100, 7), &at(100, 7))), None);
    assert_eq!(of(since(&at(100, 7), &at(100, 8))), Some(Error));
    let mut table = host();
    table.settings.tcp_max_tw_buckets = Some(1000);
    table.counters.insert("TCP.tw".into(), 950);
    assert_eq!(severity(&findings(&table), "time-wait-overflow"), Some(Warning));
    table.counters.insert("TCP.tw".into(), 10);
    assert_eq!(findings(&table), []);
    table.counters.insert("TcpExt.TCPTimeWaitOverflow".into(), 3);
    assert_eq!(severity(&findings(&table), "time-wait-overflow"), Some(Note));
}

#[test]
fn a_range_among_the_ports_of_services_is_a_note_on_linux() {
    let mut seen = host();
    seen.ranges.iter_mut().for_each(|found| found.range = "1024-65535".parse().unwrap());
    assert_eq!(severity(&findings(&seen), "range-starts-low"), Some(Note));
    seen.ranges.iter_mut().for_each(|found| found.range = "10240-60999".parse().unwrap());
    assert_eq!(findings(&seen), []);
}

#[test]
fn what_windows_logged_is_told_with_how_often_and_when_last() {
    let mut seen = windows_host();
    seen.counters.insert("Tcpip.4231".into(), 0);
    assert_eq!(rules(&findings(&seen)), []);
    seen.counters.insert("Tcpip.4231".into(), 3);
    seen.counters.insert("Tcpip.4231.last_ms".into(), 1_764_331_200_000);
    seen.counters.insert("Tcpip.4227".into(), 1);
    let found = findings(&seen);
    assert_eq!(rules(&found), [("logged-exhaustion", Warning)]);
    assert_eq!(
        found[0].evidence,
        [
            "event 4231 in the System log, 3 times within a day, last at 2025-11-28T12:00:00Z: no TCP port was left to \
             give",
            "event 4227 in the System log, once within a day: a connection failed since its port was in TIME_WAIT \
             towards that peer",
        ]
    );
    // What it says of UDP is told of UDP.
    let mut udp = windows_host();
    for (event, times) in [(4265, 1), (4266, 2)] {
        udp.counters.insert(format!("Tcpip.{event}"), times);
    }
    assert_eq!(
        findings(&udp)[0].evidence,
        [
            "event 4266 in the System log, 2 times within a day: no UDP port was left to give",
            "event 4265 in the System log, once within a day: no UDP port was left to give",
        ]
    );
    // Where the range is full now it is evidence there too.
    let full = narrow(with(seen, State::Established, 4, TO), 4);
    let found = findings(&full);
    assert_eq!(rules(&found)[0], ("range-exhausted", Error), "{found:#?}");
    assert!(found[0].evidence.iter().any(|line| line.starts_with("event 4231")), "{found:#?}");
    assert!(!found[0].evidence.iter().any(|line| line.starts_with("event 4227")), "{found:#?}");
    // Linux has no such log.
    let mut linux = host();
    linux.counters.insert("Tcpip.4231".into(), 3);
    assert_eq!(rules(&findings(&linux)), []);
}
