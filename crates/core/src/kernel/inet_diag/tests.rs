//! Rows recorded from a 6.18 kernel (x86-64, so little-endian), rows built here, and an interpreter of the filter.

use super::*;
use crate::wire::netlink::{Content, Messages};

/// One row as the kernel lays it out, with the attributes it adds unasked.
fn row(family: u8, state: u8, timer: u8, (inode, uid): (u32, u32)) -> Vec<u8> {
    let mut bytes = vec![family, state, timer, 0];
    bytes.extend([0x1f, 0x90, 0xc3, 0x50]); // ports 8080 and 50000
    bytes.extend([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for number in [3, 0xaaaa, 0xbbbb, 59_999, 5, 4096, uid, inode] {
        bytes.extend(u32::to_ne_bytes(number));
    }
    netlink::push_attribute(&mut bytes, 8, &[0]); // INET_DIAG_SHUTDOWN
    netlink::push_attribute(&mut bytes, ATTR_SKV6ONLY, &[1]);
    netlink::push_attribute(&mut bytes, ATTR_CGROUP_ID, &4711_u64.to_ne_bytes());
    netlink::push_attribute(&mut bytes, ATTR_SOCKOPT, &[0b0010_0110, 1]);
    bytes
}

#[test]
fn a_row_is_read_whole() {
    let bytes = row(AF_INET, 1, 2, (99, 1000));
    let Row { socket, uid, cgroup, interface, cookie } = decode(Transport::Tcp, Reader::new(&bytes)).unwrap();
    assert_eq!(socket.local().to_string(), "127.0.0.1:8080");
    assert_eq!(socket.remote().to_string(), "10.1.2.3:50000");
    assert_eq!((socket.state, socket.inode, socket.timer_ms), (State::Established, 99, 59_999));
    assert_eq!((socket.receive_queue, socket.send_queue), (5, 4096));
    assert_eq!((uid, cgroup, interface, cookie), (Some(1000), Some(4711), 3, 0xbbbb_0000_aaaa));
    if cfg!(target_endian = "little") {
        let all = SocketOptions::KNOWN
            | SocketOptions::V6_ONLY
            | SocketOptions::FREEBIND
            | SocketOptions::TRANSPARENT
            | SocketOptions::BIND_ADDRESS_NO_PORT;
        assert_eq!(socket.options.0, all);
    }
}

/// What one receive gave for `[::1]:8080`, a listener for IPv6 alone, with its cookie, inode and cgroup.
const LISTENER: &str = "840000001400020007000000ab0700000a0a00001f90000000000000000000000000000000000001\
    0000000000000000000000000000000000000000\
    0c998040000000000000000000000000050000000000\
    00002bcd1000050008000000000005000b000100000008000f00000000000c00150019000000000000000600160012000000";

#[cfg(target_endian = "little")]
#[test]
fn a_row_recorded_from_a_kernel_is_read_and_each_truncation_is_an_error_or_a_row() {
    let bytes: Vec<u8> = (0..LISTENER.len() / 2)
        .map(|index| u8::from_str_radix(&LISTENER[2 * index..2 * index + 2], 16).unwrap())
        .collect();
    let (kind, body) = body(&bytes);
    assert!(is_row(kind));
    let Row { socket, uid, cgroup, interface, .. } = decode(Transport::Tcp, body).unwrap();
    assert_eq!((socket.local().to_string(), socket.state), ("[::1]:8080".to_owned(), State::Listen));
    assert_eq!((socket.send_queue, socket.inode), (5, 0x10_cd2b));
    assert_eq!((uid, cgroup, interface), (Some(0), Some(25), 0));
    assert_eq!(socket.options.0, SocketOptions::KNOWN | SocketOptions::V6_ONLY);
    for length in 0..bytes.len() - 2 {
        let mut messages = Messages::new(&bytes[..length]);
        assert!(messages.all(|message| message.is_err()), "{length}: the length in the header does not fit");
    }
}

#[test]
fn states_keep_their_meaning_for_each_transport() {
    let state = |transport, code| {
        decode(transport, Reader::new(&row(AF_INET6, code, 0, (1, 0)))).map(|row| row.socket.state)
    };
    assert_eq!(state(Transport::Tcp, 7), Ok(State::Bound));
    assert_eq!(state(Transport::Udp, 7), Ok(State::Unconnected));
    assert_eq!(state(Transport::Tcp, 12), Ok(State::SynReceived));
    assert_eq!(state(Transport::Tcp, 3), Ok(State::SynReceived));
    for (transport, code) in [(Transport::Tcp, 0), (Transport::Tcp, 14), (Transport::Udp, 10)] {
        let error = state(transport, code).unwrap_err();
        assert_eq!(error.to_string(), format!("idiag_state (offset 1) is {code}, which means nothing"));
    }
}

#[test]
fn the_user_of_a_time_wait_is_not_known_and_its_timer_is() {
    let waiting = decode(Transport::Tcp, Reader::new(&row(AF_INET, 6, 3, (0, 0)))).unwrap();
    let Socket { state, timer_ms, .. } = waiting.socket;
    assert_eq!((waiting.uid, state, timer_ms), (None, State::TimeWait, 59_999));
    let root = decode(Transport::Tcp, Reader::new(&row(AF_INET, 1, 0, (5, 0)))).unwrap();
    assert_eq!((root.uid, root.socket.timer_ms), (Some(0), 0));
}

#[test]
fn a_truncated_row_is_an_error_or_ends_between_attributes() {
    for family in [AF_INET, AF_INET6] {
        let bytes = row(family, 10, 0, (1, 0));
        // Before the first attribute, or once the payload is whole: padding may be missing.
        let clean = [72..=72, 77..=80, 85..=88, 100..=100, 106..=108];
        for length in 0..bytes.len() {
            let result = decode(Transport::Tcp, Reader::new(&bytes[..length]));
            assert_eq!(
                result.is_ok(),
                clean.iter().any(|range| range.contains(&length)),
                "{length}: {result:?}"
            );
        }
    }
}

#[test]
fn no_byte_of_a_row_can_cause_a_panic() {
    let bytes = row(AF_INET6, 10, 0, (1, 0));
    for index in 0..bytes.len() {
        for value in 0..=u8::MAX {
            let mut changed = bytes.clone();
            changed[index] = value;
            let _any = decode(Transport::Tcp, Reader::new(&changed));
        }
    }
}

const EVERYTHING: Query<'_> =
    Query { table: Table::TcpOf(Family::Ipv4), states: &State::ALL, local_ports: None };
/// 1 to 13.
const ALL_BITS: u32 = 0b11_1111_1111_1110;

fn body(request: &[u8]) -> (u16, Reader<'_>) {
    let message = Messages::new(request).next().unwrap().unwrap();
    let Content::Row(kind, body) = message.content else { panic!("{message:?}") };
    (kind, body)
}

#[test]
fn requests_are_laid_out_as_the_header_says() {
    let request = EVERYTHING.encode(9).unwrap();
    let (kind, mut v2) = body(&request);
    assert_eq!((kind, v2.remaining()), (SOCK_DIAG_BY_FAMILY, 56));
    assert_eq!(v2.array("sdiag_family, sdiag_protocol, idiag_ext, pad"), Ok([AF_INET, IPPROTO_TCP, 0, 0]));
    assert_eq!(v2.u32_host("idiag_states"), Ok(ALL_BITS));
    let request = Query { table: Table::Tcp, ..EVERYTHING }.encode(9).unwrap();
    let (kind, mut v1) = body(&request);
    assert_eq!((kind, v1.remaining()), (TCPDIAG_GETSOCK, 60));
    v1.take(52, "idiag_family to id").unwrap();
    assert_eq!(v1.u32_host("idiag_states"), Ok(ALL_BITS));
}

#[test]
fn a_connection_is_closed_by_the_same_bytes_that_its_row_named_it_with() {
    for family in [AF_INET, AF_INET6] {
        let bytes = row(family, 1, 0, (99, 1000));
        let connection = decode(Transport::Tcp, Reader::new(&bytes)).unwrap().connection();
        let request = destroy_request(3, &connection);
        let (kind, mut destroy) = body(&request);
        assert_eq!((kind, destroy.remaining()), (SOCK_DESTROY, 56));
        assert_eq!(u16::from_ne_bytes([request[6], request[7]]), 0x5, "request and acknowledgement");
        assert_eq!(destroy.array("family, protocol, ext, pad"), Ok([family, IPPROTO_TCP, 0, 0]));
        destroy.take(4, "idiag_states").unwrap();
        let id: [u8; 48] = destroy.array("inet_diag_sockid").unwrap();
        // inet_diag_sockid of the row: from its 5th byte on. An IPv4 address ends after 4 of its 16 bytes.
        assert_eq!(id, bytes[4..52]);
    }
}

#[test]
fn states_are_asked_for_by_all_their_numbers() {
    let udp = Table::UdpOf(Family::Ipv6);
    assert_eq!(Query { table: udp, ..EVERYTHING }.state_bits(), 1 << 1 | 1 << 7);
    let bound = Query { states: &[State::Bound, State::SynReceived], ..EVERYTHING };
    assert_eq!(bound.state_bits(), 1 << 7 | 1 << 13 | 1 << 3 | 1 << 12);
}

#[test]
fn what_no_row_can_match_is_not_asked() {
    let udp = Query { table: Table::UdpOf(Family::Ipv4), states: &[State::Listen], ..EVERYTHING };
    assert_eq!(udp.encode(1), None);
    assert_eq!(Query { local_ports: Some(&PortSet::new()), ..EVERYTHING }.encode(1), None);
}

/// `inet_diag_bc_run` as the kernel does it: arriving exactly at the end accepts.
fn accepts(program: &[u8], port: u16) -> bool {
    let mut at = 0;
    while at < program.len() {
        let no = |at: usize| u16::from_ne_bytes([program[at + 2], program[at + 3]]);
        let yes = match program[at] {
            BC_S_GE => port >= no(at + 4),
            BC_S_LE => port <= no(at + 4),
            BC_JMP => false,
            code => panic!("operation {code} at {at}"),
        };
        at += if yes { usize::from(program[at + 1]) } else { usize::from(no(at)) };
    }
    at == program.len()
}

#[test]
fn the_port_filter_accepts_its_ports_and_no_other() {
    for ranges in [
        vec![(8080, 8080)],
        vec![(1, 1), (80, 90), (65535, 65535)],
        vec![(1, 65535)],
        (0..64).map(|i| (i * 100 + 1, i * 100 + 50)).collect(),
    ] {
        let set: PortSet = ranges.into_iter().map(|r| PortRange::try_from(r).unwrap()).collect();
        let program = port_filter(&set.ranges()).unwrap();
        assert!((0..=u16::MAX).all(|port| accepts(&program, port) == set.contains(port)), "{set:?}");
    }
}

#[test]
fn many_ranges_become_the_one_around_them() {
    let set: PortSet = (0..65).map(|i| PortRange::try_from((i * 9 + 5, i * 9 + 5)).unwrap()).collect();
    let program = port_filter(&set.ranges()).unwrap();
    assert_eq!(program.len(), 20);
    assert!(accepts(&program, 5) && accepts(&program, 581) && !accepts(&program, 4));
    assert!(!accepts(&program, 582));
}
