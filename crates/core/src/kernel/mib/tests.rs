//! Tables built field by field as the SDK's headers lay them out, each also cut short at every byte.

use super::*;

/// Bytes of a table, field by field.
#[derive(Clone, Default)]
struct Table(Vec<u8>);

impl Table {
    fn of(count: u32) -> Self {
        Self::default().number(count)
    }

    fn number(mut self, number: u32) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    /// A port, with rubbish in the two bytes that mean nothing.
    fn port(mut self, port: u16) -> Self {
        self.0.extend(port.to_be_bytes());
        self.0.extend([0xde, 0xad]);
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn tcp4(
        self,
        state: u32,
        (local, local_port): ([u8; 4], u16),
        (remote, remote_port): ([u8; 4], u16),
    ) -> Self {
        self.number(state).bytes(&local).port(local_port).bytes(&remote).port(remote_port)
    }

    fn tcp6(
        self,
        state: u32,
        (local, scope, port): ([u8; 16], u32, u16),
        remote: [u8; 16],
        pid: u32,
    ) -> Self {
        let ends = self.bytes(&local).number(scope).port(port).bytes(&remote).number(0).port(443);
        ends.number(state).number(pid)
    }
}

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
const LINK_LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn tcp4() -> Table {
    Table::of(3)
        .tcp4(2, ([0; 4], 135), ([9, 9, 9, 9], 999))
        .number(1060)
        .tcp4(11, (LOOPBACK, 8080), (LOOPBACK, 50000))
        .number(0)
        .tcp4(5, (LOOPBACK, 445), (LOOPBACK, 50001))
        .number(4)
}

fn read(transport: Transport, family: Family, rows: Rows, table: &Table) -> Vec<Endpoint> {
    endpoints((transport, family), rows, &table.0).unwrap()
}

/// Every shorter beginning of a table is an error.
fn refuses_every_truncation(transport: Transport, family: Family, rows: Rows, table: &Table) {
    for length in 0..table.0.len() {
        let result = endpoints((transport, family), rows, &table.0[..length]);
        assert!(result.is_err(), "{rows:?} {transport} {family} cut to {length}: {result:?}");
    }
}

#[test]
fn tcp_rows_of_ipv4_tell_their_ends_state_and_process() {
    let rows = read(Transport::Tcp, Family::Ipv4, Rows::OwnerPid, &tcp4());
    let [listener, waiting, kernel] = rows[..] else { panic!("{rows:?}") };
    assert_eq!((listener.socket.local().to_string(), listener.pid), ("0.0.0.0:135".into(), 1060));
    assert_eq!((listener.socket.state, listener.socket.owner_state), (State::Listen, OwnerState::NotAsked));
    assert_eq!(listener.socket.remote().to_string(), "0.0.0.0:0", "a listener's remote end means nothing");
    assert_eq!(waiting.socket.remote().to_string(), "127.0.0.1:50000");
    assert_eq!((waiting.socket.state, waiting.socket.owner_state), (State::TimeWait, OwnerState::Nobody));
    assert_eq!((kernel.socket.state, kernel.socket.owner_state), (State::Established, OwnerState::Kernel));
    refuses_every_truncation(Transport::Tcp, Family::Ipv4, Rows::OwnerPid, &tcp4());
}

#[test]
fn tcp_rows_of_ipv6_tell_their_zone() {
    let table =
        Table::of(2).tcp6(5, (LINK_LOCAL, 7, 50000), LINK_LOCAL, 99).tcp6(2, ([0; 16], 0, 3000), [0; 16], 99);
    let rows = read(Transport::Tcp, Family::Ipv6, Rows::OwnerPid, &table);
    let [connected, listener] = rows[..] else { panic!("{rows:?}") };
    assert_eq!(connected.socket.local().to_string(), "[fe80::1]:50000");
    assert_eq!((connected.socket.remote_port, connected.scope, connected.pid), (443, 7, 99));
    assert!(!listener.socket.is_dual_stack(), "its IPv4 half has a row of its own");
    refuses_every_truncation(Transport::Tcp, Family::Ipv6, Rows::OwnerPid, &table);
}

#[test]
fn udp_rows_have_no_state_and_no_peer() {
    let four = Table::of(1).bytes(&[0; 4]).port(5353).number(12);
    let rows = read(Transport::Udp, Family::Ipv4, Rows::OwnerPid, &four);
    assert_eq!(rows[0].socket.local().to_string(), "0.0.0.0:5353");
    assert_eq!((rows[0].socket.state, rows[0].pid), (State::Unconnected, 12));
    refuses_every_truncation(Transport::Udp, Family::Ipv4, Rows::OwnerPid, &four);
    let six = Table::of(1).bytes(&LINK_LOCAL).number(3).port(546).number(13);
    let rows = read(Transport::Udp, Family::Ipv6, Rows::OwnerPid, &six);
    assert_eq!((rows[0].socket.local().to_string(), rows[0].scope), ("[fe80::1]:546".into(), 3));
    refuses_every_truncation(Transport::Udp, Family::Ipv6, Rows::OwnerPid, &six);
}

#[test]
fn rows_with_modules_tell_when_the_socket_was_made() {
    const MADE: u64 = 116_444_736_000_000_000 + 1_700_000_000_000 * 10_000;
    let made = MADE.to_le_bytes();
    let module = [0; 128];
    let tables = [
        (
            Transport::Tcp,
            Family::Ipv4,
            Table::of(1)
                .number(0)
                .tcp4(2, (LOOPBACK, 80), (LOOPBACK, 0))
                .number(9)
                .bytes(&made)
                .bytes(&module),
        ),
        (
            Transport::Tcp,
            Family::Ipv6,
            Table::of(1).number(0).tcp6(2, (LINK_LOCAL, 1, 80), [0; 16], 9).bytes(&made).bytes(&module),
        ),
        (
            Transport::Udp,
            Family::Ipv4,
            Table::of(1)
                .number(0)
                .bytes(&LOOPBACK)
                .port(80)
                .number(9)
                .number(0)
                .bytes(&made)
                .number(0)
                .number(0)
                .bytes(&module),
        ),
        (
            Transport::Udp,
            Family::Ipv6,
            Table::of(1)
                .number(0)
                .bytes(&LINK_LOCAL)
                .number(1)
                .port(80)
                .number(9)
                .number(0)
                .bytes(&made)
                .number(0)
                .number(0)
                .bytes(&module),
        ),
    ];
    for (transport, family, table) in tables {
        let rows = read(transport, family, Rows::OwnerModule, &table);
        assert_eq!((rows[0].created_ms, rows[0].pid), (Some(1_700_000_000_000), 9), "{transport} {family}");
        assert_eq!(rows[0].socket.local_port, 80);
        refuses_every_truncation(transport, family, Rows::OwnerModule, &table);
    }
    assert_eq!(unix_ms(0), None, "Wine says zero");
}

#[test]
fn bound_endpoints_have_to_fill_their_table_exactly() {
    let table = Table::of(2)
        .tcp4(100, (LOOPBACK, 9000), ([0; 4], 0))
        .number(41)
        .number(0)
        .tcp4(1, ([0; 4], 8080), ([0; 4], 0))
        .number(42)
        .number(0);
    let bound = read(Transport::Tcp, Family::Ipv4, Rows::Bound, &table);
    assert!(bound.iter().all(|row| row.socket.state == State::Bound));
    assert_eq!((bound[0].socket.local().to_string(), bound[0].pid), ("127.0.0.1:9000".into(), 41));
    refuses_every_truncation(Transport::Tcp, Family::Ipv4, Rows::Bound, &table);
    let longer = table.clone().number(0);
    assert!(endpoints((Transport::Tcp, Family::Ipv4), Rows::Bound, &longer.0).is_err(), "another layout");
    assert!(endpoints((Transport::Tcp, Family::Ipv6), Rows::Bound, &table.0).is_err(), "another family");
    let empty = Table::of(0).bytes(&[0; 28]);
    assert_eq!(read(Transport::Tcp, Family::Ipv4, Rows::Bound, &empty), []);
    assert_eq!(read(Transport::Tcp, Family::Ipv4, Rows::Bound, &Table::of(0)), []);

    let six = Table::of(1).tcp6(100, (LINK_LOCAL, 2, 9001), [0; 16], 43).number(0);
    assert_eq!(read(Transport::Tcp, Family::Ipv6, Rows::Bound, &six)[0].socket.remote_port, 0);
    refuses_every_truncation(Transport::Tcp, Family::Ipv6, Rows::Bound, &six);

    let listens = Table::of(1).tcp4(2, ([0; 4], 8080), ([0; 4], 0)).number(42);
    let tcp = read(Transport::Tcp, Family::Ipv4, Rows::OwnerPid, &listens);
    let left: Vec<u32> = bound_only(bound, &tcp).iter().map(|row| row.pid).collect();
    assert_eq!(left, [41], "the socket that went on to listen is in the other table");
}

#[test]
fn a_false_count_or_state_is_an_error_and_spare_room_is_none() {
    let huge = Table::of(u32::MAX).tcp4(2, (LOOPBACK, 80), (LOOPBACK, 0)).number(9);
    let error = endpoints((Transport::Tcp, Family::Ipv4), Rows::OwnerPid, &huge.0).unwrap_err();
    assert_eq!((error.field, error.offset, error.problem), ("table", 28, Problem::Truncated));
    let odd = Table::of(1).tcp4(77, (LOOPBACK, 80), (LOOPBACK, 0)).number(9);
    let error = endpoints((Transport::Tcp, Family::Ipv4), Rows::OwnerPid, &odd.0).unwrap_err();
    assert_eq!(error.to_string(), "dwState (offset 4) is 77, which means nothing");
    assert_eq!(read(Transport::Tcp, Family::Ipv4, Rows::OwnerPid, &tcp4().bytes(&[0xff; 100])).len(), 3);
}
