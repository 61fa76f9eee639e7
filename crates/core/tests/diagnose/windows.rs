//! The rules on Windows hosts: the tables are those of `netsh int ipv4 show excludedportrange protocol=tcp` as they were
//! recorded, put in by hand.

use portolan_core::diagnose::Finding;
use portolan_core::diagnose::Severity::{Error, Note, Warning};
use portolan_core::owner::Owner;
use portolan_core::range::{Carrier, CarrierKind, ReservationKind};
use portolan_core::snapshot::{Component, ComponentState, Gap, GapReason, Snapshot};
use portolan_core::socket::{OwnerState, State, Transport};

use super::by_hand::*;

/// A machine whose dynamic range was set to 1024-15000.
const LOW: &str = "1031-1130,1131-1230,1231-1330,1331-1430,1431-1530,1561-1660,2363-2462,2463-2562,2563-2662,\
                   2663-2762,2763-2862,2863-2962,5357,50000-50099*,55500-55599";
/// A machine with Hyper-V and the default range.
const HYPERV: &str =
    "5357,9800,9801,49671-49770,49871-49970,50000-50059*,61117-61216,61220-61319,61902-62001";

const DENIED: &[&str] = &["0.0.0.0 WSAEACCES", ":: WSAEACCES"];

fn host_with(table: &str) -> Snapshot {
    let mut host = windows_host();
    excluded(&mut host, table);
    host
}

/// Every command of a finding, that of another port too: here its place among the others counts.
fn typed(finding: &Finding) -> Vec<&str> {
    finding.remedies.iter().filter_map(|remedy| remedy.command.as_deref()).collect()
}

fn user(pid: u32, name: &str, user: &str) -> Owner {
    Owner { user: Some(user.into()), ..owner(pid, name) }
}

#[test]
fn a_port_in_a_block_of_winnat_is_told_with_its_likely_maker_and_the_ways_out_mildest_first() {
    let mut host = host_with(LOW);
    host.ranges.iter_mut().for_each(|range| range.range = "1024-15000".parse().unwrap());
    for trials in [DENIED, &[]] {
        let findings = ask(&host, "1200", trials);
        assert_eq!(rules(&findings), [("excluded-range", Error), ("low-dynamic-range", Warning)]);
        assert_eq!(
            findings[0].summary,
            "1200/tcp lies in 1131-1230, which is set aside by the system, not by an administrator: a bind is denied \
             (WSAEACCES 10013)."
        );
        assert_eq!(
            findings[0].evidence[..3],
            [
                "no program holds the port",
                "most likely made by WinNAT (Hyper-V, WSL, Docker): it takes blocks of 100 from the dynamic range, other \
                 ones after each start",
                "excluded: 1131-1230 for tcp, not administered",
            ]
        );
        assert_eq!(
            typed(&findings[0]),
            [
                "portolan pick --near 1200",
                "portolan reserve add 1200 --restart-winnat",
                "portolan range reset",
                "portolan reserve add 1200 --cycle-hyperv",
            ]
        );
        assert_eq!(
            findings[1].summary,
            "The dynamic tcp range starts at 1024, so WinNAT's blocks fall on ports that programs use."
        );
        assert_eq!(typed(&findings[1]), ["portolan range reset"]);
        assert!(findings[0].remedies.contains(&findings[1].remedies[0]), "the same way out is offered once");
    }
}

#[test]
fn without_the_dynamic_range_its_low_beginning_is_inferred_from_the_blocks() {
    let mut host = host_with(LOW);
    host.ranges.clear();
    let findings = ask(&host, "1200", &[]);
    assert_eq!(rules(&findings), [("excluded-range", Error), ("low-dynamic-range", Warning)]);
    assert!(findings[1].summary.contains("starts, or started, at 1031 or below"), "{}", findings[1].summary);
    assert_eq!(
        findings[1].evidence,
        [
            "12 blocks below 49152: 1031-1130, 1131-1230, 1231-1330, 1331-1430, 1431-1530 and 7 more",
            "inferred from the blocks: the range itself was not read",
        ]
    );
    assert_eq!(rules(&chart(&host)), [("low-dynamic-range", Warning)]);
    assert_eq!(rules(&ask(&host, "1550", &[])), [("free", Note)], "between two blocks");
}

#[test]
fn a_block_inside_the_default_range_has_no_root_to_mend() {
    let host = host_with(HYPERV);
    let findings = ask(&host, "49700", &[]);
    assert_eq!(rules(&findings), [("excluded-range", Error)]);
    assert!(!typed(&findings[0]).contains(&"portolan range reset"), "{:?}", findings[0].remedies);
    assert_eq!(rules(&chart(&host)), []);
}

#[test]
fn a_maker_that_is_not_installed_is_not_blamed_and_its_ways_out_are_not_offered() {
    let mut host = host_with("1131-1230");
    let component = |name: &str, state| Component { name: name.into(), state };
    host.components =
        vec![component("winnat", ComponentState::Running), component("hyper-v", ComponentState::Absent)];
    let findings = ask(&host, "1200", &[]);
    assert!(
        findings[0].evidence.contains(&"the service winnat runs".to_owned()),
        "{:?}",
        findings[0].evidence
    );
    assert_eq!(
        typed(&findings[0]),
        ["portolan pick --near 1200", "portolan reserve add 1200 --restart-winnat"],
        "the dynamic range is the default one, and there is no Hyper-V to turn off"
    );
    host.components = vec![component("winnat", ComponentState::Absent)];
    let findings = ask(&host, "1200", &[]);
    assert_eq!(findings[0].evidence[1], "made by a part of the system that does not say its name");
    assert_eq!(typed(&findings[0]), ["portolan pick --near 1200"]);
}

#[test]
fn the_port_of_wsdapi_is_the_http_drivers() {
    let findings = ask(&host_with(HYPERV), "5357", &[]);
    assert_eq!(rules(&findings), [("excluded-range", Error)]);
    assert!(findings[0].evidence[1].contains("Web Services on Devices"), "{:?}", findings[0].evidence);
    assert_eq!(
        typed(&findings[0]),
        ["portolan pick --near 5357", "netsh http show servicestate view=requestq"]
    );
}

#[test]
fn an_administered_exclusion_lets_a_program_bind_and_says_what_may_still_refuse() {
    let mut host = host_with(HYPERV);
    host.ranges.retain(|range| range.family == portolan_core::socket::Family::Ipv4);
    let findings = ask(&host, "0.0.0.0:50020", &[]);
    assert_eq!(rules(&findings), [("free", Note), ("administered-exclusion", Note), ("hns-range", Note)]);
    assert_eq!(
        findings[1].summary,
        "0.0.0.0:50020/tcp lies in 50000-50059, an administered exclusion: a program that asks for 50020 may bind it, \
         and nobody else is given it."
    );
    assert_eq!(
        findings[1].evidence,
        [
            "made by HNS, the network service of containers",
            "what may still refuse it: HNS, when a container is to publish the port (docker run -p)",
        ]
    );
    let hns = typed(&findings[2]);
    assert_eq!(hns[0], "portolan pick --near 50020");
    assert!(hns[1].contains("EnableExcludedPortRange") && hns[1].ends_with("/d 0 /f"), "{hns:?}");
    // The same numbers where the registry turns HNS' range off: somebody else made it.
    host.settings.hns_excludes_range = Some(false);
    let findings = ask(&host, "0.0.0.0:50020", &[]);
    assert_eq!(rules(&findings), [("free", Note), ("administered-exclusion", Note)]);
    assert_eq!(typed(&findings[1]), ["portolan reserve remove 50000-50059"]);
}

#[test]
fn ranges_that_could_not_be_read_are_the_likely_cause_and_said_to_be_unread() {
    let mut host = windows_host();
    host.gaps.push(Gap::new("reservations", GapReason::Malformed, "netsh printed nothing"));
    let findings = ask(&host, "8080", DENIED);
    assert_eq!(rules(&findings), [("excluded-range", Error)]);
    assert!(findings[0].summary.ends_with("but those could not be read."), "{}", findings[0].summary);
    host.gaps.clear();
    assert_eq!(rules(&ask(&host, "8080", DENIED)), [("refused-by-policy", Error)]);
}

#[test]
fn access_denied_beside_a_holder_is_exclusive_use_or_another_user() {
    let mut host = windows_host();
    host.held(State::Listen, "0.0.0.0:8080", &[user(40, "web.exe", r"PC\ann")]);
    let denied = &["127.0.0.1 WSAEACCES"];
    let findings = ask(&host, "127.0.0.1:8080", denied);
    assert_eq!(rules(&findings), [("exclusive-holder", Error)]);
    assert_eq!(
        findings[0].summary,
        "web.exe (pid 40) holds 0.0.0.0:8080 exclusively (SO_EXCLUSIVEADDRUSE): access is denied."
    );
    assert_eq!(typed(&findings[0]), ["portolan pick --near 8080", "taskkill /PID 40"]);

    host.owners[0].user = Some(r"NT AUTHORITY\NETWORK SERVICE".into());
    let findings = ask(&host, "127.0.0.1:8080", denied);
    assert_eq!(rules(&findings), [("other-user-socket", Error)]);
    assert!(
        findings[0].summary.contains(r"of user NT AUTHORITY\NETWORK SERVICE holds"),
        "{}",
        findings[0].summary
    );

    host.owners[0].user = None;
    let findings = ask(&host, "127.0.0.1:8080", denied);
    assert_eq!(rules(&findings), [("exclusive-holder", Error)]);
    assert!(findings[0].summary.contains("or as another user"), "{}", findings[0].summary);
}

#[test]
fn the_wildcard_and_one_address_stand_beside_each_other_and_who_wins_is_told() {
    let mut host = windows_host();
    host.held(State::Listen, "0.0.0.0:8080", &[owner(40, "web.exe")]);
    host.held(State::Listen, "127.0.0.1:9090", &[owner(41, "dev.exe")]);
    for trials in [&["127.0.0.1 binds"] as &[&str], &[]] {
        let findings = ask(&host, "127.0.0.1:8080", trials);
        assert_eq!(rules(&findings), [("shadowed", Warning), ("free", Note)]);
        assert_eq!(
            findings[0].summary,
            "Windows lets 127.0.0.1:8080 be bound beside 0.0.0.0:8080 of web.exe (pid 40), unless that set \
             SO_EXCLUSIVEADDRUSE: what comes for 127.0.0.1 then goes to the new program, the rest to web.exe (pid 40)."
        );
    }
    let findings = ask(&host, "0.0.0.0:9090", &["0.0.0.0 binds"]);
    assert_eq!(rules(&findings), [("shadowed", Warning), ("free", Note)]);
    assert!(
        findings[0]
            .summary
            .ends_with("what comes for 127.0.0.1 goes on to dev.exe (pid 41), the rest to the new program."),
        "{}",
        findings[0].summary
    );
}

#[test]
fn each_way_to_hold_and_to_ask_is_answered_by_windows_own_table() {
    // Holder; what is asked; whether the holder is in the way of a plain bind.
    for (local, asked, blamed) in [
        ("0.0.0.0:80", "80", true),
        ("0.0.0.0:80", "0.0.0.0:80", true),
        ("127.0.0.1:80", "0.0.0.0:80", false),
        ("0.0.0.0:80", "127.0.0.1:80", false),
        ("127.0.0.1:80", "127.0.0.1:80", true),
        ("[::]:80", "0.0.0.0:80", false),
        ("[::]:80", "[::]:80", true),
        ("[::]:80", "80", true),
        ("0.0.0.0:80", "[::1]:80", false),
    ] {
        let mut host = windows_host();
        host.held(State::Listen, local, &[owner(5, "httpd.exe")]);
        let findings = ask(&host, asked, &[]);
        let found = |id| findings.iter().any(|finding| finding.rule == id);
        assert_eq!(found("held-by-process"), blamed, "{local}, asked {asked}: {findings:?}");
        assert_eq!(found("free"), !blamed, "{local}, asked {asked}");
    }
}

#[test]
fn a_dual_stack_listener_is_two_rows_and_does_not_stand_beside_itself() {
    let mut host = windows_host();
    host.held(State::Listen, "0.0.0.0:3000", &[owner(5, "node.exe")]);
    host.held(State::Listen, "[::]:3000", &[owner(5, "node.exe")]);
    let findings = ask(&host, "0.0.0.0:3000", &["0.0.0.0 WSAEADDRINUSE"]);
    assert_eq!(rules(&findings), [("held-by-process", Error)]);
    assert_eq!(rules(&chart(&host)), []);
}

#[test]
fn ended_connections_are_blamed_only_when_windows_says_in_use_and_so_reuse_is_no_advice() {
    let mut host = windows_host();
    host.socket(Transport::Tcp, State::TimeWait, "10.0.0.5:8080", "10.0.0.9:40000");
    assert_eq!(rules(&ask(&host, "8080", &[])), [("free", Note)]);
    let findings = ask(&host, "8080", &["0.0.0.0 WSAEADDRINUSE", ":: binds"]);
    assert_eq!(rules(&findings), [("time-wait-left", Error)]);
    assert!(findings[0].evidence[0].ends_with("held by no process any more"), "{:?}", findings[0].evidence);
    assert!(
        findings[0].remedies[0].text.starts_with("leave SO_REUSEADDR alone"),
        "{:?}",
        findings[0].remedies
    );
    assert_eq!(typed(&findings[0]), ["portolan wait 8080 --for free"]);
}

#[test]
fn the_kernel_s_port_names_the_program_behind_the_http_driver() {
    let mut host = windows_host();
    let socket = host.socket(Transport::Tcp, State::Listen, "0.0.0.0:80", "0.0.0.0:0");
    socket.owner_state = OwnerState::Kernel;
    let findings = ask(&host, "80", &["0.0.0.0 WSAEADDRINUSE", ":: binds"]);
    assert_eq!(rules(&findings), [("kernel-held", Error)]);
    assert!(findings[0].summary.contains("(PID 4)"), "{}", findings[0].summary);
    host.carriers.push(Carrier {
        kind: CarrierKind::HttpSys,
        transport: Transport::Tcp,
        address: None,
        ports: "80".parse().unwrap(),
        name: "http://*:80/".into(),
        to: Some("pid 3248 (DefaultAppPool)".into()),
    });
    let findings = ask(&host, "80", &["0.0.0.0 WSAEADDRINUSE", ":: binds"]);
    assert_eq!(
        findings[0].summary,
        "80/tcp is held by the HTTP driver http.sys (PID 4) for pid 3248 (DefaultAppPool)."
    );
    assert_eq!(commands(&findings[0]), ["netsh http show servicestate view=requestq"]);
}

#[test]
fn a_port_proxy_is_taken_away_as_a_rule_and_not_as_a_process() {
    let mut host = windows_host();
    let svchost = Owner { unit: Some("iphlpsvc".into()), ..owner(90, "svchost.exe") };
    host.held(State::Listen, "0.0.0.0:8080", &[svchost]);
    host.carriers.push(Carrier {
        kind: CarrierKind::PortProxy,
        transport: Transport::Tcp,
        address: Some("0.0.0.0".parse().unwrap()),
        ports: "8080".parse().unwrap(),
        name: "v4tov4".into(),
        to: Some("172.28.0.2:80".into()),
    });
    let findings = ask(&host, "8080", &["0.0.0.0 WSAEADDRINUSE", ":: binds"]);
    assert_eq!(rules(&findings), [("held-by-process", Error), ("port-proxy", Note)]);
    let delete = "netsh interface portproxy delete v4tov4 listenport=8080 listenaddress=0.0.0.0";
    assert_eq!((commands(&findings[0]), commands(&findings[1])), (vec![delete], vec![delete]));
    assert_eq!(findings[1].summary, "8080/tcp is passed on to 172.28.0.2:80 by a port-proxy rule.");
}

#[test]
fn reserved_ports_in_the_registry_are_told_to_do_nothing() {
    let mut host = windows_host();
    host.settings.reserved_ports_value = Some(vec!["1433-1434".parse().unwrap(), "60000".parse().unwrap()]);
    let findings = chart(&host);
    assert_eq!(rules(&findings), [("reserved-ports-without-effect", Warning)]);
    assert_eq!(
        findings[0].summary,
        "ReservedPorts in the registry names 1433-1434,60000, and has had no effect since Windows Vista."
    );
    assert_eq!(typed(&findings[0]), ["portolan reserve add 1433-1434 60000"]);
    assert_eq!(rules(&ask(&host, "8080", &[])), [("free", Note)]);
    host.reservations.push(reservation("1433-1434", ReservationKind::Administered));
    assert_eq!(typed(&chart(&host)[0]), ["portolan reserve add 60000"]);
}

#[test]
fn no_finding_on_windows_tells_to_type_what_only_linux_has() {
    let mut host = host_with(LOW);
    host.host.privileged = false;
    host.held(State::Listen, "0.0.0.0:80", &[owner(5, "httpd.exe")]);
    host.socket(Transport::Tcp, State::Listen, "0.0.0.0:81", "0.0.0.0:0");
    host.held(State::Bound, "0.0.0.0:82", &[owner(5, "httpd.exe")]);
    host.connected("10.0.0.5:50500", "10.0.7.9:443", owner(12, "curl.exe"));
    host.connected("10.0.0.5:83", "10.0.7.9:50000", owner(12, "web.exe"));
    host.held(State::Unconnected, "0.0.0.0:5353", &[owner(6, "mdns.exe")]);
    host.held(State::Unconnected, "0.0.0.0:5353", &[owner(7, "chrome.exe")]);
    host.held(State::Listen, "0.0.0.0:49700", &[owner(5, "httpd.exe")]);
    host.addresses.retain(|local| !local.address.is_loopback());
    let in_use = &["0.0.0.0 WSAEADDRINUSE", ":: WSAEADDRINUSE"];
    let mut all = chart(&host);
    for asked in ["80", "81", "82", "83", "84", "1200", "50020", "50500", "5353/udp", "49700", "any"] {
        all.extend(ask(&host, asked, in_use));
        all.extend(ask(&host, asked, DENIED));
        all.extend(ask(&host, asked, &[]));
    }
    all.extend(ask(&host, "192.0.2.1:80", &["192.0.2.1 WSAEADDRNOTAVAIL"]));
    let seen: std::collections::BTreeSet<&str> = all.iter().map(|finding| finding.rule).collect();
    for rule in
        ["address-not-local", "bound-not-listening", "connections-left", "held-by-several", "holder-hidden"]
    {
        assert!(seen.contains(rule), "{rule} is not among {seen:?}");
    }
    const LINUX: [&str; 8] =
        ["sudo", "sysctl", "systemctl", "/etc/", "namespace", "SO_REUSEPORT", "net.ipv4", "$("];
    for finding in &all {
        let commands = typed(finding);
        assert!(!commands.iter().any(|c| c.starts_with("kill ") || c.contains([';', '\''])), "{commands:?}");
        let texts = finding.remedies.iter().map(|remedy| remedy.text.as_str());
        let said = commands.iter().copied().chain(texts).chain([finding.summary.as_str()]);
        for text in said.chain(finding.evidence.iter().map(String::as_str)) {
            assert!(!LINUX.iter().any(|word| text.contains(word)), "{}: {text}", finding.rule);
        }
    }
}

#[test]
fn no_rule_of_windows_speaks_on_linux() {
    let mut host = host();
    excluded(&mut host, LOW);
    host.settings.reserved_ports_value = Some(vec!["8080".parse().unwrap()]);
    host.held(State::Listen, "0.0.0.0:8080", &[owner(5, "web")]);
    let windows = [
        "excluded-range",
        "administered-exclusion",
        "low-dynamic-range",
        "exclusive-holder",
        "other-user-socket",
        "hns-range",
        "reserved-ports-without-effect",
        "port-proxy",
    ];
    for asked in ["1200", "50020", "8080", "127.0.0.1:8080"] {
        for finding in ask(&host, asked, &[]).into_iter().chain(chart(&host)) {
            assert!(!windows.contains(&finding.rule), "{asked}: {}", finding.rule);
        }
    }
}
