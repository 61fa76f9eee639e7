//! ss, netstat, lsof and /proc/net of one network namespace, recorded at one moment.

use portolan_core::snapshot::System;
use portolan_core::socket::{OwnerState, SocketOptions, State, Transport};

use super::{gap, has_gap, recordings, shown, text};

/// What the namespace held, whoever tells it.
const SOCKETS: [&str; 15] = [
    "tcp CLOSE_WAIT 10.9.8.7:53824 10.9.8.7:8080",
    "tcp ESTABLISHED 10.9.8.7:53808 10.9.8.7:8080",
    "tcp ESTABLISHED 10.9.8.7:53814 10.9.8.7:8080",
    "tcp ESTABLISHED 10.9.8.7:8080 10.9.8.7:53808",
    "tcp ESTABLISHED 10.9.8.7:8080 10.9.8.7:53814",
    "tcp FIN_WAIT_2 10.9.8.7:8080 10.9.8.7:53824",
    "tcp LISTEN 0.0.0.0:8080",
    "tcp LISTEN 127.0.0.1:631",
    "tcp LISTEN [2001:db8::7]:443",
    "tcp LISTEN [::]:9090",
    "tcp LISTEN [::]:9091",
    "tcp TIME_WAIT 10.9.8.7:53832 10.9.8.7:8080",
    "udp ESTABLISHED 10.9.8.7:4000 10.9.8.7:53",
    "udp UNCONNECTED 127.0.0.1:53",
    "udp UNCONNECTED [::]:5353",
];

/// The sockets without their holders, sorted.
#[track_caller]
fn endpoints(names: &[&str]) -> Vec<String> {
    let imported = recordings(names);
    let mut lines: Vec<String> = shown(&imported.snapshot)
        .iter()
        .map(|line| {
            line.split(' ')
                .filter(|word| {
                    word.contains(':')
                        || word.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '2'))
                            && !["Nobody", "Hidden", "NotAsked"].contains(word)
                })
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn every_tool_shows_the_same_sockets() {
    assert_eq!(endpoints(&["linux/ss-tuanp-6.1.txt"]), SOCKETS);
    assert_eq!(endpoints(&["linux/ss-Htuan-6.1.txt"]), SOCKETS);
    assert_eq!(endpoints(&["linux/netstat-tuanp-2.10.txt"]), SOCKETS);
    let files = ["tcp", "tcp6", "udp", "udp6"].map(|name| format!("linux/proc-net-{name}.txt"));
    assert_eq!(endpoints(&files.each_ref().map(String::as_str)), SOCKETS);
    let tcp: Vec<&str> = SOCKETS.into_iter().filter(|line| line.starts_with("tcp")).collect();
    assert_eq!(endpoints(&["linux/ss-tanpeo-6.1.txt"]), tcp);
    assert_eq!(endpoints(&["linux/netstat-tanpeo-2.10.txt"]), tcp);
    let held: Vec<&str> = SOCKETS
        .into_iter()
        .filter(|line| !line.contains("FIN_WAIT") && !line.contains("TIME_WAIT"))
        .collect();
    assert_eq!(endpoints(&["linux/lsof-4.95.txt"]), held);
}

#[test]
fn holders_are_those_of_every_process() {
    let snapshot = recordings(&["linux/ss-tuanp-6.1.txt"]).snapshot;
    assert_eq!(snapshot.host.system, System::Linux);
    let lines = shown(&snapshot);
    assert!(lines.contains(&"tcp LISTEN 0.0.0.0:8080 7369/python3 7446/python3".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"tcp TIME_WAIT 10.9.8.7:53832 10.9.8.7:8080 Nobody".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"tcp FIN_WAIT_2 10.9.8.7:8080 10.9.8.7:53824 Nobody".to_owned()), "{lines:#?}");
    let descriptors: Vec<i32> =
        snapshot.holders_of(&snapshot.sockets[3]).iter().map(|holder| holder.descriptor).collect();
    assert_eq!(descriptors, [3, 3]);
    assert_eq!(shown(&recordings(&["linux/lsof-4.95.txt"]).snapshot)[0], lines[3]);
}

#[test]
fn extra_columns_are_read() {
    let snapshot = recordings(&["linux/ss-tanpeo-6.1.txt"]).snapshot;
    let find = |port: u16, state: State| {
        *snapshot.sockets.iter().find(|s| s.local_port == port && s.state == state).unwrap()
    };
    assert_eq!(find(8080, State::Listen).inode, 6_603_455);
    assert_eq!(find(8080, State::Listen).send_queue, 16);
    assert_eq!(find(53832, State::TimeWait).timer_ms, 59_000);
    assert!(!find(9090, State::Listen).options.has(SocketOptions::V6_ONLY));
    assert!(find(9091, State::Listen).options.has(SocketOptions::V6_ONLY));
    let netstat = recordings(&["linux/netstat-tanpeo-2.10.txt"]).snapshot;
    let listener = netstat.sockets[0];
    assert_eq!((listener.inode, netstat.origin_of(&listener).unwrap().uid), (6_603_455, Some(0)));
}

#[test]
fn listings_of_one_host_become_one_snapshot() {
    let imported = recordings(&[
        "linux/ss-tuanp-6.1.txt",
        "linux/netstat-tanpeo-2.10.txt",
        "linux/proc-net-tcp.txt",
        "linux/lsof-4.95.txt",
        "linux/sysctl.txt",
    ]);
    assert_eq!(imported.listings.len(), 5);
    let snapshot = imported.snapshot;
    assert_eq!(snapshot.sockets.len(), SOCKETS.len(), "{:#?}", shown(&snapshot));
    assert!(snapshot.sockets.iter().filter(|s| s.transport == Transport::Tcp && s.inode != 0).count() >= 10);
    assert_eq!(snapshot.ranges.len(), 4);
    assert_eq!(snapshot.settings.unprivileged_port_start, Some(1024));
    assert!(!has_gap(&snapshot, "ranges") && !has_gap(&snapshot, "reservations"));
}

#[test]
fn a_listing_without_owners_asks_nobody_and_says_what_to_send() {
    let snapshot = recordings(&["linux/ss-Htuan-6.1.txt"]).snapshot;
    assert!(snapshot.sockets.iter().all(|socket| socket.owner_state == OwnerState::NotAsked));
    let remedy = gap(&snapshot, "owners").remedy.clone().unwrap();
    assert!(remedy.contains("sudo ss -tuanp"), "{remedy}");
    assert!(has_gap(&snapshot, "ranges") && has_gap(&snapshot, "reservations"));
}

#[test]
fn a_star_of_an_old_ss_is_ipv4() {
    let old = "State      Recv-Q Send-Q Local Address:Port               Peer Address:Port\n\
        LISTEN     0      128          *:22                       *:*                   users:((\"sshd\",812,3))\n\
        LISTEN     0      128         :::22                      :::*                   users:((\"sshd\",812,4))\n";
    let snapshot = text(old).unwrap().snapshot;
    assert_eq!(shown(&snapshot), ["tcp LISTEN 0.0.0.0:22 812/sshd", "tcp LISTEN [::]:22 812/sshd"]);
    assert!(!has_gap(&snapshot, "addresses"));
    let lone = "LISTEN 0 128 *:22 *:* users:((\"sshd\",812,3))\n";
    let snapshot = text(lone).unwrap().snapshot;
    assert_eq!(shown(&snapshot), ["tcp LISTEN [::]:22 812/sshd"]);
    assert!(has_gap(&snapshot, "addresses"));
}

#[test]
fn sockets_of_others_are_hidden_and_not_nobodys() {
    let listing = "$ ss -tlnp\nState Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n\
        LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\nLISTEN 0 128 0.0.0.0:80 0.0.0.0:* users:((\"web\",pid=7,fd=3))\n";
    let snapshot = text(listing).unwrap().snapshot;
    assert_eq!(shown(&snapshot), ["tcp LISTEN 0.0.0.0:22 Hidden", "tcp LISTEN 0.0.0.0:80 7/web"]);
    assert!(gap(&snapshot, "owners").detail.contains("1 of the sockets"));
}

#[test]
fn bound_sockets_and_other_kinds_are_told_apart() {
    let listing = "Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port\n\
        tcp UNCONN 0 0 127.0.0.1:7000 0.0.0.0:*\nu_str ESTAB 0 0 * 1 * 2\nicmp6 UNCONN 0 0 *:58 *:*\n\
        udp UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:*\n\t skmem:(r0,rb1,t0)\n";
    let snapshot = text(listing).unwrap().snapshot;
    assert_eq!(
        shown(&snapshot),
        ["tcp BOUND 127.0.0.1:7000 NotAsked", "udp UNCONNECTED 127.0.0.53:53 NotAsked"]
    );
    assert!(!has_gap(&snapshot, "rows"));
    assert_eq!(snapshot.origin_of(&snapshot.sockets[1]).unwrap().interface.as_deref(), Some("lo"));
}

#[test]
fn an_address_that_fills_its_column_may_be_cut() {
    let listing = "tcp6       0      0 2001:db8::2:3:44:55:789 2001:db8::1:443         ESTABLISHED 7/web\n";
    let snapshot = text(listing).unwrap().snapshot;
    assert!(gap(&snapshot, "addresses").remedy.as_ref().unwrap().contains("netstat -tuanpW"));
}

#[test]
fn a_session_tells_its_host_and_its_sections() {
    let session = "ann@web1:~$ ss -Htln\nLISTEN 0 128 0.0.0.0:22 0.0.0.0:*\nann@web1:~$ sysctl net.ipv4.ip_local_reserved_ports\n\
        net.ipv4.ip_local_reserved_ports = 8080,9000-9010\nann@web1:~$\n";
    let imported = text(session).unwrap();
    assert_eq!(imported.snapshot.host.name, "web1");
    assert_eq!(
        imported.listings.iter().map(|l| (l.format, l.line, l.rows)).collect::<Vec<_>>(),
        [("ss -tuanp", 2, 1), ("sysctl net.ipv4", 4, 2)]
    );
    assert_eq!(imported.snapshot.reservations.len(), 2);
}
