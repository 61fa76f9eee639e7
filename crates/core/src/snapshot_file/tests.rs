//! Round trips, truncations and hostile files. The million sockets are in `tests/million_sockets.rs`.

use std::io::Read as _;

use super::{SnapshotFileError, read, write};
use crate::owner::{Container, Holder, Origin, Owner};
use crate::port::PortRange;
use crate::range::{Carrier, CarrierKind, EphemeralRange, FirewallRule, Reservation, ReservationKind};
use crate::snapshot::{Component, ComponentState, Gap, GapReason, Host, LocalAddress, Settings, Snapshot};
use crate::socket::{Family, OwnerState, Socket, SocketOptions, State, Transport};

fn range(first: u16, last: u16) -> PortRange {
    PortRange::new(first, last).unwrap()
}

fn sockets() -> Vec<Socket> {
    let mut listener = Socket::unconnected(Transport::Tcp, State::Listen, "[::]:80".parse().unwrap());
    listener.inode = 4711;
    listener.send_queue = 511;
    listener.holder_count = 2;
    listener.options = SocketOptions(SocketOptions::KNOWN | SocketOptions::V6_ONLY);
    listener.owner_state = OwnerState::Seen;
    let mut waiting = Socket::new(
        Transport::Tcp,
        State::TimeWait,
        "10.0.0.5:40000".parse().unwrap(),
        "10.0.7.9:8443".parse().unwrap(),
    );
    waiting.timer_ms = 59_999;
    waiting.origin = 1;
    waiting.first_holder = 2;
    waiting.owner_state = OwnerState::Nobody;
    let mut datagrams =
        Socket::unconnected(Transport::Udp, State::Unconnected, "0.0.0.0:53".parse().unwrap());
    datagrams.receive_queue = u32::MAX;
    datagrams.first_holder = 1;
    datagrams.holder_count = 1;
    datagrams.owner_state = OwnerState::Hidden;
    vec![listener, waiting, datagrams]
}

fn owners() -> Vec<Owner> {
    let nginx = Owner {
        pid: 812,
        parent: 1,
        started_ms: Some(1_700_000_000_000),
        name: "ngi\u{1b}[31m\"x\"\0".into(),
        command: Some("nginx: worker \u{1f980}".into()),
        executable: Some("/usr/sbin/nginx".into()),
        uid: Some(33),
        user: Some("www-data".into()),
        unit: Some("nginx.service".into()),
        container: Some(Container { runtime: "docker".into(), id: "ab12".into() }),
        handles: Some(900),
        socket_handles: Some(300),
        handle_limit: Some(1024),
    };
    vec![nginx, Owner { pid: 9, name: "x".into(), ..Owner::default() }]
}

fn settings() -> Settings {
    Settings {
        unprivileged_port_start: Some(1024),
        ipv6: Some(true),
        reserved_ports_value: Some(vec![range(1433, 1434)]),
        hns_excludes_range: Some(false),
        ..Settings::default()
    }
}

fn rich() -> Snapshot {
    Snapshot {
        taken_ms: 1_700_000_000_123,
        host: Host {
            name: "web1".into(),
            release: "6.18.0".into(),
            boot_id: Some("b".into()),
            network_namespace: Some(4_026_531_840),
            netns: Some("blue".into()),
            privileged: true,
            ..Host::default()
        },
        burnt: Some(vec![range(32768, 32769), range(40001, 40001)]),
        sockets: sockets(),
        holders: vec![Holder { owner: 0, descriptor: 6 }, Holder { owner: 1, descriptor: -1 }],
        owners: owners(),
        origins: vec![
            Origin::default(),
            Origin { uid: Some(0), interface: Some("eth0".into()), ..Origin::default() },
        ],
        ranges: vec![EphemeralRange {
            transport: Transport::Tcp,
            family: Family::Ipv4,
            range: range(32768, 60999),
        }],
        reservations: vec![Reservation {
            range: range(50000, 50010),
            transport: None,
            family: Some(Family::Ipv6),
            kind: ReservationKind::Administered,
            by: Some("/etc/sysctl.d/60-portolan.conf".into()),
        }],
        settings: settings(),
        components: vec![Component { name: "winnat".into(), state: ComponentState::Running }],
        addresses: vec![LocalAddress {
            address: "fe80::1".parse().unwrap(),
            prefix: 64,
            interface: "eth0".into(),
        }],
        carriers: vec![Carrier {
            kind: CarrierKind::DnatRule,
            transport: Transport::Udp,
            address: Some("192.0.2.1".parse().unwrap()),
            ports: range(53, 53),
            name: "dnat".into(),
            to: None,
        }],
        firewall: Some(vec![FirewallRule {
            family: None,
            transport: None,
            ports: None,
            verdict: "drop".into(),
            unconditional: true,
            text: "policy drop".into(),
        }]),
        counters: [("TCP.tw".to_owned(), 7), ("TcpExt.ListenDrops".to_owned(), u64::MAX)].into(),
        gaps: vec![Gap::new("owners", GapReason::Denied, "3 processes").with_remedy("run as root")],
    }
}

fn written(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(snapshot, &mut bytes).unwrap();
    bytes
}

/// The rich file as text, with one part replaced; the part must be there.
fn forged(part: &str, by: &str) -> String {
    let text = String::from_utf8(written(&rich())).unwrap();
    assert_eq!(text.matches(part).count(), 1, "'{part}' stands once in {text}");
    text.replace(part, by)
}

/// How a refusal begins that names the line of `part` in the rich file.
fn at(part: &str, problem: &str) -> String {
    let text = String::from_utf8(written(&rich())).unwrap();
    let line = 1 + text[..text.find(part).unwrap()].matches('\n').count();
    format!("line {line}: {problem}")
}

fn refusal(text: impl AsRef<[u8]>) -> String {
    let message = read(text.as_ref()).unwrap_err().to_string();
    assert!(!message.contains(char::is_control), "one line: {message:?}");
    assert!(message.len() < 400, "a short line: {message}");
    message
}

#[test]
fn a_snapshot_comes_back_as_it_was_written() {
    let empty = Snapshot::default();
    assert_eq!(read(written(&empty).as_slice()).unwrap(), empty);
    let rich = rich();
    assert_eq!(read(written(&rich).as_slice()).unwrap(), rich);
}

#[test]
fn the_file_has_its_schema_first_and_a_line_for_each_socket() {
    let text = String::from_utf8(written(&rich())).unwrap();
    let from_sockets = text.find("\"sockets\"").unwrap();
    insta::assert_snapshot!(text[..60].lines().nth(1).unwrap(), @r#""schema":3,"#);
    insta::assert_snapshot!(&text[from_sockets..], @r#"
    "sockets":[
    {"transport":"tcp","state":"LISTEN","local":"[::]:80","inode":4711,"send_queue":511,"options":129,"holders":[0,2],"owner_state":"seen"},
    {"transport":"tcp","state":"TIME_WAIT","local":"10.0.0.5:40000","remote":"10.0.7.9:8443","origin":1,"timer_ms":59999,"holders":[2,0],"owner_state":"nobody"},
    {"transport":"udp","state":"UNCONNECTED","local":"0.0.0.0:53","receive_queue":4294967295,"holders":[1,1],"owner_state":"hidden"}]}
    "#);
}

#[test]
fn every_truncation_is_an_error_that_says_so() {
    let bytes = written(&rich());
    let whole = bytes.len() - 1;
    for end in 1..whole {
        let error = read(&bytes[..end]).unwrap_err();
        assert!(matches!(error, SnapshotFileError::EndsEarly { .. }), "at {end}: {error}");
    }
    assert_eq!(
        refusal(&bytes[..whole - 20]),
        "line 38: the file ends early; make it again with `portolan snapshot --out FILE`"
    );
    assert_eq!(read(&bytes[..whole]).unwrap(), rich(), "the last line feed is not needed");
}

#[test]
fn any_changed_byte_is_read_or_refused_without_a_panic() {
    let bytes = written(&rich());
    for place in 0..bytes.len() {
        for byte in [0, b'"', b'{', b'9', b'-', 0xff] {
            let mut changed = bytes.clone();
            changed[place] = byte;
            let _ = read(changed.as_slice()).map_err(|error| error.to_string());
        }
    }
}

#[test]
fn a_newer_schema_says_which_portolan_wrote_it_and_to_update() {
    let newer = r#"{"schema":7,"program":"portolan","version":"3.1.4","planets":[1,2"#;
    let this = env!("CARGO_PKG_VERSION");
    assert_eq!(
        refusal(newer),
        format!(
            "the snapshot has schema 7 (portolan 3.1.4), this is portolan {this} and reads up to schema 3; \
             update portolan"
        )
    );
    assert!(refusal(r#"{"schema":4}"#).starts_with("the snapshot has schema 4, this is portolan "));
    assert!(refusal(r#"{"schema":0}"#).starts_with("line 1: there is no schema 0; "));
    assert!(refusal(r#"{"schema":-1}"#).starts_with("line 1: invalid value: integer `-1`"));
}

#[test]
fn another_kind_of_file_is_named_by_how_it_begins() {
    for (file, start) in [
        ("", "the file is empty; make one with `portolan snapshot --out FILE`"),
        (
            "Active Internet connections (servers and established)\nProto",
            "this is no snapshot, it begins with 'Active Internet connections (servers and…'; ",
        ),
        ("[1,2]", "this is no snapshot, it begins with '[1,2]'; "),
        ("{\"sockets\":[]}", "this is no snapshot, it begins with '{\"sockets\"'; "),
        ("{}", "this is no snapshot, it begins with '{\"\"'; "),
        ("\u{1f}\u{8b}\u{8}", "this is no snapshot, it begins with '\u{fffd}\u{fffd}\u{fffd}'; "),
        ("{hello}", "line 1: key must be a string; "),
    ] {
        let message = refusal(file);
        assert!(message.starts_with(start), "{message}");
    }
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let marked = [b"\xef\xbb\xbf".as_slice(), &written(&rich())].concat();
    assert_eq!(read(marked.as_slice()).unwrap(), rich());
}

#[test]
fn an_index_that_points_nowhere_is_refused() {
    for (part, by, start) in [
        (
            "\"holders\":[0,2]",
            "\"holders\":[4294967295,65535]",
            "socket 0 has holders up to 4295032830, but there are 2 holders; ",
        ),
        ("\"holders\":[1,1]", "\"holders\":[2,1]", "socket 2 has holders up to 3, but there are 2 holders; "),
        (
            "\"origin\":1",
            "\"origin\":4000000000",
            "socket 1 names origin 4000000000, but there are 2 origins; ",
        ),
        ("[1,-1]", "[2,-1]", "holder 1 names owner 2, but there are 2 owners; "),
        ("\"prefix\":64", "\"prefix\":129", "fe80::1/129 has a prefix beyond 128 bits; "),
    ] {
        let message = refusal(forged(part, by));
        assert!(message.starts_with(start), "{message}");
    }
}

#[test]
fn what_a_snapshot_cannot_say_is_refused_with_its_line() {
    for (part, by, start) in [
        ("TIME_WAIT", "ASLEEP", "unknown variant `ASLEEP`, expected one of "),
        ("10.0.7.9:8443", "10.0.7.9:70000", "invalid socket address syntax; "),
        ("1700000000123", "1e400", "number out of range; "),
        ("1700000000123", "1.5", "invalid type: floating point `1.5`, expected u64; "),
        ("\"sockets\":", "\"planets\":", "unknown field `planets`, expected one of "),
        ("\"owners\":", "\"gaps\":", "duplicate field `gaps`; "),
        ("\"inode\":4711", "\"inode\":4711,\"inode\":1", "duplicate field `inode`; "),
        ("TcpExt.ListenDrops", "TCP.tw", "a counter stands twice; "),
        (
            "\"www-data\"",
            "\"www\0data\"",
            "control character (\\u0000-\\u001F) found while parsing a string; ",
        ),
        ("[50000,50010]", "[50010,50000]", "50010-50000 runs backwards; type 50000-50010; "),
    ] {
        let message = refusal(forged(part, by));
        assert!(message.starts_with(&at(part, start)), "{message}");
    }
    assert_eq!(
        refusal(forged("10.0.7.9:8443", "[::1]:8443")),
        "sockets 1: 10.0.0.5:40000 and [::1]:8443 are of two families; make it again with \
         `portolan snapshot --out FILE`"
    );
    let twice = [written(&rich()), written(&rich())].concat();
    assert!(refusal(twice).contains("trailing characters"));
    assert!(refusal("{\"schema\":1}").starts_with("line 1: missing field `program`; "));
}

#[test]
fn foreign_text_in_a_message_is_short_and_harmless() {
    let hostile = format!("\"\\u001b[2J\\n{}\":", "x".repeat(5000));
    assert!(refusal(forged("\"sockets\":", &hostile)).contains("unknown field `\u{fffd}[2J\u{fffd}xxx"));
}

#[test]
fn counts_strings_and_depth_are_bounded() {
    let gap = "{\"what\":\"\",\"reason\":\"denied\",\"detail\":\"\"},";
    let gaps = format!("\"gaps\":[{}", gap.repeat(1_000_000));
    assert!(refusal(forged("\"gaps\":[", &gaps)).starts_with("the file has more than 65536 gaps; "));
    let long = "x".repeat(65_537);
    assert!(
        refusal(forged("nginx.service", &long))
            .starts_with(&at("nginx.service", "a string is longer than 65536 bytes; "))
    );
    assert!(read(forged("nginx.service", &long[1..]).as_bytes()).is_ok());
    let deep = format!("\"sockets\":{}", "[".repeat(1_000_000));
    assert!(refusal(forged("\"sockets\":", &deep)).starts_with(&at("\"sockets\":", "expected value; ")));
}

#[test]
fn an_endless_string_is_refused_before_it_fills_the_memory() {
    let endless = b"{\"schema\":1,\"program\":\"".chain(std::io::repeat(b'a'));
    let error = read(endless).unwrap_err().to_string();
    assert!(error.starts_with("line 1: a string is longer than 65536 bytes; "), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_keeps_the_system_s_error() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::PermissionDenied.into())
        }
    }
    for input in [b"".as_slice(), b"{\"schema\":1,\"program\":\"portolan\",\"version\":\"1234567890123\""] {
        let error = read(input.chain(Broken)).unwrap_err();
        assert_eq!(error.to_string(), "the file could not be read: permission denied");
    }
}

#[test]
fn the_schema_describes_exactly_the_fields_that_are_written() {
    let schema = super::schema().to_value();
    let described: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    let file: serde_json::Value = serde_json::from_slice(&written(&rich())).unwrap();
    let fields: Vec<&String> = file.as_object().unwrap().keys().collect();
    assert_eq!(described, fields);
    let row = schema["$defs"]["Socket"]["properties"].as_object().unwrap();
    for socket in file["sockets"].as_array().unwrap() {
        assert!(socket.as_object().unwrap().keys().all(|field| row.contains_key(field)));
    }
}
