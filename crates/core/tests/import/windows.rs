//! Windows' listings, in several languages and code pages.

use portolan_core::import::{File, ImportError, import};
use portolan_core::port::PortRange;
use portolan_core::range::ReservationKind;
use portolan_core::snapshot::{GapReason, System};
use portolan_core::socket::{Family, OwnerState, State, Transport};

use super::{gap, has_gap, recording, recordings, shown, text};

/// The sockets of every netstat recording, their holders by id alone.
const SOCKETS: [&str; 12] = [
    "tcp LISTEN 0.0.0.0:80 Kernel 4",
    "tcp LISTEN 0.0.0.0:135 1012",
    "tcp LISTEN 0.0.0.0:445 Kernel 4",
    "tcp LISTEN 127.0.0.1:8080 7312",
    "tcp ESTABLISHED 10.1.2.3:50411 203.0.113.80:443 7312",
    "tcp TIME_WAIT 10.1.2.3:50412 203.0.113.80:443 Nobody",
    "tcp CLOSE_WAIT 10.1.2.3:50413 203.0.113.81:443 7312",
    "tcp SYN_SENT 10.1.2.3:50414 203.0.113.82:443 7312",
    "tcp LISTEN [::]:135 1012",
    "tcp LISTEN [fe80::1c2b:3a4d]:139 Kernel 4",
    "udp UNCONNECTED 0.0.0.0:123 1500",
    "udp UNCONNECTED [::1]:1900 2044",
];

#[test]
fn netstat_is_read_in_every_language_and_code_page() {
    for name in [
        "netstat-ano-en.txt",
        "netstat-ano-de-cp850.txt",
        "netstat-ano-zh-cp936.txt",
        "netstat-ano-ko-utf16le.txt",
    ] {
        let imported = recordings(&[&format!("windows/{name}")]);
        assert_eq!(shown(&imported.snapshot), SOCKETS, "{name}");
        assert_eq!(imported.snapshot.host.system, System::Windows);
        assert!(!has_gap(&imported.snapshot, "rows") && !has_gap(&imported.snapshot, "states"), "{name}");
        assert_eq!(imported.listings[0].rows, 12);
    }
}

#[test]
fn programs_and_services_below_a_row_are_its_holders() {
    for name in ["netstat-anob-en.txt", "netstat-anob-fr-cp850.txt"] {
        let snapshot = recordings(&[&format!("windows/{name}")]).snapshot;
        let lines = shown(&snapshot);
        assert_eq!(lines.len(), SOCKETS.len(), "{name}: {lines:#?}");
        assert_eq!(lines[1], "tcp LISTEN 0.0.0.0:135 1012/svchost.exe=RpcSs");
        assert_eq!(lines[3], "tcp LISTEN 127.0.0.1:8080 7312/node.exe");
        assert_eq!(lines[10], "udp UNCONNECTED 0.0.0.0:123 1500/svchost.exe=W32Time");
        assert!(!has_gap(&snapshot, "rows") && !has_gap(&snapshot, "text"), "{name}: {:?}", snapshot.gaps);
    }
}

#[test]
fn bound_rows_of_q_are_bound() {
    let snapshot = recordings(&["windows/netstat-anobq-ja-cp932.txt"]).snapshot;
    assert_eq!(shown(&snapshot)[8], "tcp BOUND 0.0.0.0:50411 7312/node.exe");
}

#[test]
fn an_unknown_word_for_a_state_is_inferred_where_the_row_proves_it_and_told_where_not() {
    let snapshot = recordings(&["windows/netstat-ano-unknown-cp866.txt"]).snapshot;
    let lines = shown(&snapshot);
    assert_eq!(lines[..6], SOCKETS[..6]);
    assert_eq!(lines[6], "tcp ESTABLISHED 10.1.2.3:50413 203.0.113.81:443 7312");
    let told = gap(&snapshot, "states");
    assert!(told.reason == GapReason::Malformed && told.detail.contains("of 3 rows"), "{told:?}");
}

#[test]
fn two_unknown_words_without_a_peer_are_told() {
    let rows = "  TCP  0.0.0.0:1  0.0.0.0:0  XA  7\n  TCP  0.0.0.0:2  0.0.0.0:0  XB  7\n";
    let snapshot = text(rows).unwrap().snapshot;
    assert_eq!(snapshot.gaps.iter().filter(|gap| gap.what == "states").count(), 2);
}

#[test]
fn a_listing_without_process_ids_asked_for_none() {
    let snapshot = recordings(&["windows/netstat-an-es-cp850.txt"]).snapshot;
    assert_eq!(snapshot.sockets.len(), 12);
    assert!(snapshot.sockets.iter().all(|socket| socket.owner_state == OwnerState::NotAsked));
    assert!(gap(&snapshot, "owners").remedy.as_ref().unwrap().contains("netstat -anobq"));
}

#[test]
fn processes_are_named_by_tasklist() {
    for name in ["tasklist-svc-en.txt", "tasklist-svc-de-cp850.txt", "tasklist-svc-csv-ru-cp866.txt"] {
        let snapshot = recordings(&["windows/netstat-ano-en.txt", &format!("windows/{name}")]).snapshot;
        let lines = shown(&snapshot);
        assert_eq!(lines[0], "tcp LISTEN 0.0.0.0:80 Kernel 4/System", "{name}");
        assert_eq!(lines[1], "tcp LISTEN 0.0.0.0:135 1012/svchost.exe=RpcEptMapper,RpcSs", "{name}");
        assert_eq!(lines[3], "tcp LISTEN 127.0.0.1:8080 7312/node.exe", "{name}");
        let last = "udp UNCONNECTED [::1]:1900 2044/svchost.exe=FDResPub,SSDPSRV,upnphost,EventSystem,netprofm,WebClient";
        assert_eq!(lines[11], last, "{name}");
        assert!(!has_gap(&snapshot, "names of processes"), "{name}");
    }
    let snapshot = recordings(&["windows/tasklist-ja-cp932.txt", "windows/netstat-ano-en.txt"]).snapshot;
    assert_eq!(shown(&snapshot)[3], "tcp LISTEN 127.0.0.1:8080 7312/node.exe");
}

#[test]
fn processes_without_a_name_are_told() {
    let snapshot = recordings(&["windows/netstat-ano-en.txt"]).snapshot;
    let told = gap(&snapshot, "names of processes");
    assert!(told.detail.starts_with("5 processes") && told.reason == GapReason::Absent, "{told:?}");
    assert!(told.remedy.as_ref().unwrap().contains("tasklist /svc"));
}

#[test]
fn powershell_objects_are_read_as_table_list_and_csv() {
    for name in [
        "get-nettcpconnection-en.txt",
        "get-nettcpconnection-list-en.txt",
        "get-nettcpconnection-csv-utf16le.txt",
    ] {
        let imported = recordings(&[&format!("windows/{name}")]);
        let expected = [
            "tcp LISTEN [::]:135 1012",
            "tcp LISTEN 0.0.0.0:80 Kernel 4",
            "tcp LISTEN 127.0.0.1:8080 7312",
            "tcp ESTABLISHED 10.1.2.3:50411 203.0.113.80:443 7312",
            "tcp TIME_WAIT 10.1.2.3:50412 203.0.113.80:443 Nobody",
            "tcp BOUND 0.0.0.0:50411 7312",
        ];
        assert_eq!(shown(&imported.snapshot), expected, "{name}");
        assert_eq!(imported.listings.len(), 1, "{name}: {:?}", imported.listings);
    }
    // A table cuts long addresses: such a row is told.
    let table = recordings(&["windows/get-nettcpconnection-en.txt"]).snapshot;
    assert!(gap(&table, "rows").detail.contains("2001:db8:1c2b"));
    let udp = recordings(&["windows/get-netudpendpoint-csv-semicolon.txt"]).snapshot;
    assert_eq!(
        shown(&udp),
        ["udp UNCONNECTED 0.0.0.0:123 1500", "udp UNCONNECTED [fe80::1c2b:3a4d]:1900 2044"]
    );
    assert_eq!(udp.origin_of(&udp.sockets[1]).unwrap().interface.as_deref(), Some("12"));
}

#[test]
fn a_table_of_a_narrow_console_is_read_by_its_columns() {
    let table = [
        "LocalAddress     LocalPort RemoteAddress   RemotePort State       AppliedSetting OwningPr",
        "                                                                                 ocess",
        "------------     --------- -------------   ---------- -----       -------------- --------",
        "127.0.0.1        27017     127.0.0.1       60217      Established Internet       14056",
    ]
    .join("\n");
    assert_eq!(
        shown(&text(&table).unwrap().snapshot),
        ["tcp ESTABLISHED 127.0.0.1:27017 127.0.0.1:60217 14056"]
    );
}

#[test]
fn the_captured_tables_become_reservations_of_both_families() {
    let snapshot = recordings(&["windows/excludedportrange-en.txt", "windows/dynamicport-en.txt"]).snapshot;
    let of = |port| {
        snapshot
            .reservations_of(Transport::Tcp, Family::Ipv4, port)
            .map(|r| (r.range, r.kind))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(1200), [(PortRange::new(1131, 1230).unwrap(), ReservationKind::System)]);
    assert_eq!(of(50020), [(PortRange::new(50000, 50099).unwrap(), ReservationKind::Administered)]);
    assert_eq!(snapshot.reservations_of(Transport::Udp, Family::Ipv4, 1200).count(), 0);
    assert!(
        snapshot.gaps.iter().any(|gap| gap.what == "reservations" && gap.detail.contains("taken for both"))
    );
    assert_eq!(snapshot.ranges.len(), 2);
    let absent: Vec<&str> = snapshot
        .gaps
        .iter()
        .filter(|gap| gap.reason == GapReason::Absent)
        .map(|gap| gap.detail.as_str())
        .collect();
    assert!(absent.contains(&"those of udp/ipv4, udp/ipv6 were not sent"), "{absent:?}");
}

#[test]
fn transport_and_family_come_from_command_heading_or_file_name() {
    let table = String::from_utf8(recording("windows/excludedportrange-en-hyperv.txt")).unwrap();
    let typed = format!("C:\\>netsh int ipv6 show excludedportrange protocol=tcp\r\n{table}\r\nC:\\>");
    let snapshot = text(&typed).unwrap().snapshot;
    assert!(
        snapshot
            .reservations
            .iter()
            .all(|r| (r.transport, r.family) == (Some(Transport::Tcp), Some(Family::Ipv6)))
    );
    let bare = table.replace("Protocol tcp ", "");
    let named = import(&[File { name: "netsh-ipv4-UDP.txt", bytes: bare.as_bytes() }], 0).unwrap().snapshot;
    assert!(
        named
            .reservations
            .iter()
            .all(|r| (r.transport, r.family) == (Some(Transport::Udp), Some(Family::Ipv4)))
    );
    assert!(!named.gaps.iter().any(|gap| gap.detail.contains("taken for both")));
    let unknown = text(&bare).unwrap().snapshot;
    assert!(unknown.reservations.iter().all(|r| (r.transport, r.family) == (None, None)));
    assert!(unknown.gaps.iter().any(|gap| gap.detail.contains("of which transport and family")));
}

#[test]
fn netsh_that_answers_nothing_is_unknown_and_never_none() {
    let session = "C:\\>netsh int ipv4 show excludedportrange protocol=tcp\r\nThe system cannot do that.\r\n\r\nC:\\>netsh int ipv4 show dynamicport tcp\r\n\r\nC:\\>netstat -ano\r\n  TCP  0.0.0.0:1  0.0.0.0:0  LISTENING  7\r\n";
    let snapshot = text(session).unwrap().snapshot;
    assert!(snapshot.reservations.is_empty());
    assert!(snapshot.gaps.iter().any(|gap| gap.what == "reservations" && gap.reason == GapReason::Malformed));
    assert!(gap(&snapshot, "ranges").detail.contains("tcp/ipv4"));
}

#[test]
fn a_broken_table_in_a_session_is_a_gap_and_the_rest_is_read() {
    let table = String::from_utf8(recording("windows/excludedportrange-en.txt")).unwrap();
    let broken = table.replace("1131        1230", "113l        1230");
    let session = format!(
        "C:\\>netsh int ipv4 show excludedportrange tcp\r\n{broken}C:\\>netstat -ano\r\n  TCP  0.0.0.0:1  0.0.0.0:0  LISTENING  7\r\n"
    );
    let snapshot = text(&session).unwrap().snapshot;
    assert!(snapshot.reservations.is_empty() && snapshot.sockets.len() == 1);
    let told = snapshot.gaps.iter().find(|gap| gap.reason == GapReason::Malformed).unwrap();
    assert!(told.what == "reservations" && told.remedy.is_some(), "{told:?}");
}

#[test]
fn a_pasted_session_is_read_whole() {
    let imported = recordings(&["windows/session-ja-cp932.txt"]);
    let snapshot = &imported.snapshot;
    assert_eq!(
        (snapshot.host.name.as_str(), snapshot.host.release.as_str()),
        ("OSAKA-07", "10.0.19045.3803")
    );
    let formats: Vec<_> = imported.listings.iter().map(|listing| listing.format).collect();
    assert_eq!(
        formats,
        ["netstat -ano (Windows)", "netsh show excludedportrange", "netsh show dynamicport", "tasklist"]
    );
    assert_eq!(snapshot.sockets.len(), 13);
    assert_eq!(shown(snapshot)[1], "tcp LISTEN 0.0.0.0:135 1012/svchost.exe=RpcSs");
    assert_eq!(snapshot.reservations.len(), 5);
    assert_eq!(snapshot.range_of(Transport::Tcp, Family::Ipv4).unwrap().range.to_string(), "49152-65535");
    assert!(snapshot.gaps.iter().all(|gap| gap.reason == GapReason::Absent), "{:?}", snapshot.gaps);
}

#[test]
fn one_socket_in_two_listings_is_one_and_two_sockets_in_one_listing_are_two() {
    let snapshot = recordings(&[
        "windows/netstat-ano-en.txt",
        "windows/get-nettcpconnection-en.txt",
        "windows/netstat-anob-en.txt",
    ])
    .snapshot;
    // The bound one of Get-NetTCPConnection stands in no netstat without -q.
    assert_eq!(snapshot.sockets.len(), 13);
    let twice = "  UDP  0.0.0.0:5353  *:*  7\n  UDP  0.0.0.0:5353  *:*  8\n  UDP  0.0.0.0:5353  *:*  8\n";
    let snapshot = import(
        &[File { name: "a", bytes: twice.as_bytes() }, File { name: "b", bytes: twice.as_bytes() }],
        0,
    )
    .unwrap()
    .snapshot;
    assert_eq!(
        shown(&snapshot),
        [
            "udp UNCONNECTED 0.0.0.0:5353 7",
            "udp UNCONNECTED 0.0.0.0:5353 8",
            "udp UNCONNECTED 0.0.0.0:5353 8"
        ]
    );
}

#[test]
fn a_state_that_changed_between_two_listings_is_told() {
    let row = |state: &str| format!("  TCP  10.0.0.1:5000  10.0.0.2:80  {state}  7\n");
    let (first, second) = (row("ESTABLISHED"), row("CLOSE_WAIT"));
    let files = [File { name: "a", bytes: first.as_bytes() }, File { name: "b", bytes: second.as_bytes() }];
    let snapshot = import(&files, 0).unwrap().snapshot;
    assert_eq!(snapshot.sockets[0].state, State::Established);
    assert_eq!(gap(&snapshot, "sockets").reason, GapReason::Changed);
}

#[test]
fn two_systems_are_not_put_into_one_snapshot() {
    let windows = recording("windows/netstat-ano-en.txt");
    let linux = recording("linux/ss-tuanp-6.1.txt");
    let files = [File { name: "netstat.txt", bytes: &windows }, File { name: "ss.txt", bytes: &linux }];
    assert_eq!(import(&files, 0).unwrap_err(), ImportError::TwoSystems { file: "ss.txt".to_owned() });
}

#[test]
fn what_follows_the_name_of_the_host_is_read() {
    let session = "C:\\>hostname\nOSAKA-07\n\n  TCP  0.0.0.0:1  0.0.0.0:0  LISTENING  7\n";
    let snapshot = text(session).unwrap().snapshot;
    assert_eq!((snapshot.host.name.as_str(), snapshot.sockets.len()), ("OSAKA-07", 1));
    assert!(!has_gap(&snapshot, "text"));
}

#[test]
fn two_hosts_are_told() {
    let session = "a@one C:\\>netstat -ano\n  TCP  0.0.0.0:1  0.0.0.0:0  LISTENING  7\na@two C:\\>\n";
    let snapshot = text(session).unwrap().snapshot;
    assert_eq!(snapshot.host.name, "one");
    assert!(gap(&snapshot, "host").detail.contains("two"));
}

#[test]
fn the_auto_reuse_range_is_read_where_every_template_agrees() {
    let name = "windows/get-nettcpsetting-en.txt";
    let snapshot = recordings(&[name]).snapshot;
    assert_eq!(snapshot.settings.auto_reuse_range, PortRange::new(30000, 39999).ok());
    assert!(!has_gap(&snapshot, "text") && !has_gap(&snapshot, "auto-reuse range"), "{:?}", snapshot.gaps);
    let listing = String::from_utf8(recording(name)).unwrap();
    let off = listing.replace(": 30000", ": 0").replace(": 10000", ": 0");
    assert_eq!(text(&off).unwrap().snapshot.settings.auto_reuse_range, None);
    assert!(!has_gap(&text(&off).unwrap().snapshot, "auto-reuse range"));
    let apart = text(&listing.replacen(": 10000", ": 9", 1)).unwrap().snapshot;
    assert_eq!(apart.settings.auto_reuse_range, None);
    assert!(gap(&apart, "auto-reuse range").detail.contains("not alike"), "{:?}", apart.gaps);
}
