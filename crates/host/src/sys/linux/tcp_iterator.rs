//! The TCP sockets of a namespace by a BPF iterator: the kernel runs a short program for each, which writes down the row
//! and what sock_diag does not show: which ports of connections were bound explicitly, and which TIME_WAIT had
//! timestamps. It takes half as long as sock_diag's list, and finds the same rows.
//!
//! Source: `net/ipv4/tcp_ipv4.c` (bpf_iter__tcp), `include/net/inet_hashtables.h` (inet_bind_bucket: both fields are -1
//! as long as connect() alone gave the port), `include/net/sock.h` (the head of sock_common), `net/ipv4/inet_diag.c`
//! (what a row means), [`super::bpf`]. Leaves out on purpose: sockets that are bound and neither listen nor have a peer,
//! over which the kernel does not iterate; user, cgroup, queues, options, and timers other than TIME_WAIT's: each takes
//! another line of the processor's cache.

use std::sync::OnceLock;

use portolan_core::kernel::btf::Btf;
use portolan_core::kernel::inet_diag::{Row, state_of};
use portolan_core::snapshot::{Gap, GapReason};
use portolan_core::socket::{Family, Socket, SocketOptions, State, Transport};
use rustix::time::{ClockId, clock_getres};

use super::bpf::{
    ADD, AND, AND_REGISTER, CALL, COPY, EXIT, GO, IF_EQUAL, IF_NOT_EQUAL, Instruction, Iterator, JIFFIES,
    LOAD_8, LOAD_16, LOAD_32, LOAD_64, OR, PROBE_READ_KERNEL, SEQ_WRITE, SET, SKC_TO_TCP_SOCK,
    SKC_TO_TIME_WAIT, STORE_8, STORE_16, STORE_32, STORE_64, SUBTRACT_REGISTER,
};

/// Local and remote address, 16 bytes each; local port (host order), remote port (network order); family, state, flags
/// and the byte of sock_common with `skc_ipv6only`; inode, interface, ticks left of TIME_WAIT; nothing.
const RECORD: usize = 56;
const BURNT: i32 = 1;
const UNSTAMPED: i32 = 2;
const AF_INET: i32 = 2;
const TIME_WAIT: i32 = 6;
const LISTEN: i32 = 10;
const NEW_SYN_RECEIVED: i32 = 12;
/// What a gap calls it.
const WHAT: &str = "explicitly bound ports";
/// What a reader of gaps can do.
const REMEDY: &str = "run as root, on a kernel with BPF and /sys/kernel/btf/vmlinux";

/// A socket, and what its bind bucket knows.
pub(super) struct Listed {
    pub(super) row: Row,
    /// Bound explicitly: connect() passes over its port.
    pub(super) burnt: bool,
}

/// Where members lie in this kernel.
#[derive(Clone, Copy, Debug)]
struct Offsets {
    function: u32,
    bucket: i16,
    time_wait_bucket: i16,
    time_wait_expires: i16,
    time_wait_substate: i16,
    stamp: i16,
    reuse: i16,
    reuse_port: i16,
    local_v6: i16,
    remote_v6: i16,
    inode: InodeAt,
}

/// Where a socket's inode number lies.
#[derive(Clone, Copy, Debug)]
enum InodeAt {
    /// In the socket itself, since Linux 6.18.
    Socket(i16),
    /// Behind `sk_socket`, at that distance from where it leads.
    Behind(i16, i32),
}

/// Hands on the TCP sockets of this thread's namespace, but bound ones; else what is not seen for want of it.
pub(super) fn read(each: impl FnMut(Listed)) -> Result<(), Gap> {
    // The kernel's types are read once, however often a program looks: they take some milliseconds and megabytes.
    static OFFSETS: OnceLock<Option<Offsets>> = OnceLock::new();
    let unread = |reason, detail: String| Gap::new(WHAT, reason, detail).with_remedy(REMEDY);
    let Some(offsets) = OFFSETS.get_or_init(offsets) else {
        return Err(unread(
            GapReason::Unsupported,
            "this kernel does not describe its types (BTF)".to_owned(),
        ));
    };
    read_at(offsets, each).map_err(|error| {
        let reason = match error.kind() {
            std::io::ErrorKind::PermissionDenied => GapReason::Denied,
            _ => GapReason::Unsupported,
        };
        unread(reason, format!("a BPF iterator over TCP sockets cannot be loaded or read: {error}"))
    })
}

fn read_at(offsets: &Offsets, mut each: impl FnMut(Listed)) -> std::io::Result<()> {
    let iterator = Iterator::<RECORD>::load("portolan_tcp", offsets.function, &program(offsets))?;
    // The coarse clocks' resolution is the tick.
    let tick_ns = clock_getres(ClockId::MonotonicCoarse).tv_nsec;
    iterator.run(&[], |record| {
        if let Some(listed) = decode(record, tick_ns) {
            each(listed);
        }
    })
}

/// A record; nothing for a state that is none of TCP's.
fn decode(record: &[u8; RECORD], tick_ns: i64) -> Option<Listed> {
    fn part<const N: usize>(record: &[u8; RECORD], at: usize) -> [u8; N] {
        record.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }
    let word = |at| u32::from_ne_bytes(part(record, at));
    let [family, code, flags, reuse] = part(record, 36);
    let family = if i32::from(family) == AF_INET { Family::Ipv4 } else { Family::Ipv6 };
    let state = state_of(Transport::Tcp, code)?;
    let local_port = u16::from_ne_bytes(part(record, 32));
    let remote_port = u16::from_be_bytes(part(record, 34));
    let mut socket = Socket::from_kernel(
        (Transport::Tcp, family, state),
        (part(record, 0), local_port),
        (part(record, 16), remote_port),
    );
    socket.inode = word(40);
    if state == State::TimeWait {
        // A timer that is overdue has a time before now.
        let ticks = i64::from(word(48).cast_signed()).max(0);
        socket.timer_ms = u32::try_from(ticks * tick_ns / 1_000_000).unwrap_or(u32::MAX);
        let stamped = i32::from(flags) & UNSTAMPED == 0;
        let bit = if stamped { SocketOptions::TIMESTAMPS } else { 0 };
        socket.options = SocketOptions(SocketOptions::TIMESTAMPS_READ | bit);
    }
    let only_v6 = if cfg!(target_endian = "little") { 1 << 5 } else { 0x80 >> 5 };
    if state == State::Listen && family == Family::Ipv6 && reuse & only_v6 != 0 {
        socket.options.0 |= SocketOptions::V6_ONLY;
    }
    let row = Row { socket, uid: None, cgroup: None, interface: word(44), cookie: 0 };
    Some(Listed { row, burnt: i32::from(flags) & BURNT != 0 })
}

fn offsets() -> Option<Offsets> {
    let bytes = std::fs::read("/sys/kernel/btf/vmlinux").ok()?;
    let btf = Btf::new(&bytes).ok()?;
    let member = |structure, member| {
        btf.member(structure, member).ok().flatten().and_then(|at| i16::try_from(at).ok())
    };
    // What comes before the family has stood there since Linux 3.9, in unnamed structures.
    if member("sock_common", "skc_family")? != 16
        || member("sock_common", "skc_state")? != 18
        || member("sock_common", "skc_bound_dev_if")? != 20
    {
        return None;
    }
    let behind = || {
        let distance = i32::from(member("socket_alloc", "vfs_inode")?) + i32::from(member("inode", "i_ino")?);
        Some(InodeAt::Behind(member("sock", "sk_socket")?, distance))
    };
    let timer = member("inet_timewait_sock", "tw_timer")?;
    Some(Offsets {
        function: btf.function("bpf_iter_tcp").ok()??,
        bucket: member("inet_connection_sock", "icsk_bind_hash")?,
        time_wait_bucket: member("inet_timewait_sock", "tw_tb")?,
        time_wait_expires: timer.checked_add(member("timer_list", "expires")?)?,
        time_wait_substate: member("inet_timewait_sock", "tw_substate")?,
        stamp: member("tcp_timewait_sock", "tw_ts_recent_stamp")?,
        reuse: member("inet_bind_bucket", "fastreuse")?,
        reuse_port: member("inet_bind_bucket", "fastreuseport")?,
        local_v6: member("sock_common", "skc_v6_rcv_saddr").unwrap_or(0),
        remote_v6: member("sock_common", "skc_v6_daddr").unwrap_or(0),
        inode: member("sock", "sk_ino").map(InodeAt::Socket).or_else(behind)?,
    })
}

/// Jumps to these places have these distances until they are known.
const END: i16 = i16::MAX;
const WRITE: i16 = i16::MAX - 1;
const OF_TIME_WAIT: i16 = i16::MAX - 2;
const BUCKET: i16 = i16::MAX - 3;

/// Copies a member of the socket (register 7) or of what register `from` holds to the stack.
const fn copied(load: u8, store: u8, from: u8, offset: i16, to: i16) -> [Instruction; 2] {
    [(load, (1, from), offset, 0), (store, (10, 1), to, 0)]
}

/// What every socket has: ports, family, state, interface and addresses. Register 7 holds it.
fn head(offsets: &Offsets) -> Vec<Instruction> {
    let mut code = vec![(SET, (1, 0), 0, 0)];
    code.extend((-56..0).step_by(8).map(|at| (STORE_64, (10, 1), at, 0)));
    let members = [
        copied(LOAD_16, STORE_16, 7, 14, -24), // skc_num
        copied(LOAD_16, STORE_16, 7, 12, -22), // skc_dport
        copied(LOAD_16, STORE_8, 7, 16, -20),  // skc_family
        copied(LOAD_8, STORE_8, 7, 18, -19),   // skc_state
        copied(LOAD_8, STORE_8, 7, 19, -17),   // skc_reuse, skc_reuseport, skc_ipv6only
        copied(LOAD_32, STORE_32, 7, 20, -12), // skc_bound_dev_if
    ];
    code.extend(members.concat());
    let ipv4 = [copied(LOAD_32, STORE_32, 7, 4, -56), copied(LOAD_32, STORE_32, 7, 0, -40)].concat();
    let mut ipv6 = Vec::new();
    for (from, to) in [(offsets.local_v6, -56), (offsets.remote_v6, -40)] {
        for word in (0..16).step_by(4) {
            ipv6.extend(copied(LOAD_32, STORE_32, 7, from + word, to + word));
        }
    }
    ipv6.push((GO, (0, 0), ipv4.len() as i16, 0));
    code.push((LOAD_8, (1, 10), -20, 0));
    code.push((IF_EQUAL, (1, 0), ipv6.len() as i16, AF_INET));
    code.extend(ipv6);
    code.extend(ipv4);
    code
}

/// The inode of a whole socket, which register 9 holds.
fn whole(offsets: &Offsets) -> Vec<Instruction> {
    match offsets.inode {
        InodeAt::Socket(at) => copied(LOAD_64, STORE_32, 9, at, -16).to_vec(),
        InodeAt::Behind(pointer, distance) => vec![
            (LOAD_64, (3, 9), pointer, 0),
            (IF_EQUAL, (3, 0), 7, 0),
            (ADD, (3, 0), 0, distance),
            (COPY, (1, 10), 0, 0),
            (ADD, (1, 0), 0, -64),
            (SET, (2, 0), 0, 8),
            (CALL, (0, 0), 0, PROBE_READ_KERNEL),
            (LOAD_64, (1, 10), -64, 0),
            (STORE_32, (10, 1), -16, 0),
        ],
    }
}

/// State, time left and timestamps of a TIME_WAIT, which register 7 holds; leaves its bucket in register 1.
fn of_time_wait(offsets: &Offsets) -> [Instruction; 14] {
    [
        (COPY, (1, 7), 0, 0),
        (CALL, (0, 0), 0, SKC_TO_TIME_WAIT),
        (IF_EQUAL, (0, 0), WRITE, 0),
        (COPY, (9, 0), 0, 0),
        // A FIN_WAIT_2 without a process is kept as a TIME_WAIT is.
        (LOAD_8, (1, 9), offsets.time_wait_substate, 0),
        (STORE_8, (10, 1), -19, 0),
        (CALL, (0, 0), 0, JIFFIES),
        (LOAD_64, (1, 9), offsets.time_wait_expires, 0),
        (SUBTRACT_REGISTER, (1, 0), 0, 0),
        (STORE_32, (10, 1), -8, 0),
        (LOAD_32, (1, 9), offsets.stamp, 0),
        (IF_NOT_EQUAL, (1, 0), 1, 0),
        (OR, (8, 0), 0, UNSTAMPED),
        (LOAD_64, (1, 9), offsets.time_wait_bucket, 0),
    ]
}

/// The program. Its argument is a `bpf_iter__tcp`: meta at 0, sk_common at 8 (null at the end). Register 6 holds it, 7
/// the socket, 8 the flags, 9 the socket as what it is. The stack: the record at -56, an inode number at -64.
fn program(offsets: &Offsets) -> Vec<Instruction> {
    let mut code: Vec<Instruction> =
        vec![(COPY, (6, 1), 0, 0), (LOAD_64, (7, 6), 8, 0), (IF_EQUAL, (7, 0), END, 0), (SET, (8, 0), 0, 0)];
    code.extend(head(offsets));
    code.extend([
        (LOAD_8, (1, 10), -19, 0), // skc_state
        (IF_EQUAL, (1, 0), WRITE, NEW_SYN_RECEIVED),
        (IF_EQUAL, (1, 0), OF_TIME_WAIT, TIME_WAIT),
        (COPY, (1, 7), 0, 0),
        (CALL, (0, 0), 0, SKC_TO_TCP_SOCK),
        (IF_EQUAL, (0, 0), WRITE, 0),
        (COPY, (9, 0), 0, 0),
    ]);
    code.extend(whole(offsets));
    code.extend([
        (LOAD_8, (1, 10), -19, 0),
        (IF_EQUAL, (1, 0), WRITE, LISTEN),
        (LOAD_64, (1, 9), offsets.bucket, 0),
        (GO, (0, 0), BUCKET, 0),
    ]);
    let time_wait = code.len();
    code.extend(of_time_wait(offsets));
    let bucket = code.len();
    code.extend([
        (IF_EQUAL, (1, 0), WRITE, 0),
        (LOAD_8, (2, 1), offsets.reuse, 0),
        (LOAD_8, (3, 1), offsets.reuse_port, 0),
        (AND_REGISTER, (2, 3), 0, 0),
        (AND, (2, 0), 0, 0x80), // both are -1
        (IF_NOT_EQUAL, (2, 0), WRITE, 0),
        (OR, (8, 0), 0, BURNT),
    ]);
    let write = code.len();
    code.extend([
        (STORE_8, (10, 8), -18, 0),
        (LOAD_64, (1, 6), 0, 0), // meta
        (LOAD_64, (1, 1), 0, 0), // meta->seq
        (COPY, (2, 10), 0, 0),
        (ADD, (2, 0), 0, -56),
        (SET, (3, 0), 0, RECORD as i32),
        (CALL, (0, 0), 0, SEQ_WRITE),
    ]);
    let end = code.len();
    code.extend([(SET, (0, 0), 0, 0), (EXIT, (0, 0), 0, 0)]);
    for (at, instruction) in code.iter_mut().enumerate() {
        let target = match instruction.2 {
            END => end,
            WRITE => write,
            OF_TIME_WAIT => time_wait,
            BUCKET => bucket,
            _ => continue,
        };
        instruction.2 = i16::try_from(target - at - 1).unwrap_or(0);
    }
    code
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use portolan_core::kernel::inet_diag::{Query, Table};
    use portolan_testbed::{Held, Namespace};

    use super::super::netlink::SockDiag;
    use super::*;

    type Ends = (SocketAddr, SocketAddr);
    type Told = (State, u32, u32);

    /// What both ways tell of each socket, timers aside.
    fn told(row: &Row) -> (Ends, Told) {
        let Row { socket, interface, .. } = row;
        ((socket.local(), socket.remote()), (socket.state, socket.inode, *interface))
    }

    #[test]
    fn the_iterator_tells_the_rows_of_sock_diag_wherever_the_kernel_keeps_the_inode() {
        let namespace = Namespace::new();
        let words = "connections 127.0.0.1:0 --count 3 connections [::1]:0 tcp-listen [::]:7000 --v6only \
                     tcp-listen [::]:7002 tcp-listen 127.0.0.1:7003 time-wait 127.0.0.1:7004 time-wait [::1]:7005 \
                     close-wait 127.0.0.1:7006 syn-sent 127.0.0.1:7007";
        let _held = Held::new(&namespace, words);
        let known = offsets().expect("root may load it on a kernel with /sys/kernel/btf");
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        let btf = Btf::new(&bytes).unwrap();
        let at = |structure, member| btf.member(structure, member).unwrap().unwrap();
        let distance = i32::from(at("socket_alloc", "vfs_inode")) + i32::from(at("inode", "i_ino"));
        let older = Offsets {
            inode: InodeAt::Behind(at("sock", "sk_socket").try_into().unwrap(), distance),
            ..known
        };
        namespace.run(|| {
            let states = State::ALL.into_iter().filter(|state| *state != State::Bound).collect::<Vec<_>>();
            let query = Query { table: Table::Tcp, states: &states, local_ports: None };
            let mut rows = BTreeMap::new();
            let mut only_v6 = Vec::new();
            SockDiag::open()
                .unwrap()
                .list(&query, |row| {
                    rows.extend([told(&row)]);
                    only_v6.extend(
                        row.socket.options.has(SocketOptions::V6_ONLY).then_some(row.socket.local_port),
                    );
                })
                .unwrap();
            assert!(rows.len() > 12, "{rows:?}");
            for offsets in [known, older] {
                let mut found = BTreeMap::new();
                let mut found_v6 = Vec::new();
                read_at(&offsets, |Listed { row, .. }| {
                    found.extend([told(&row)]);
                    found_v6.extend(
                        row.socket.options.has(SocketOptions::V6_ONLY).then_some(row.socket.local_port),
                    );
                    if row.socket.state == State::TimeWait {
                        assert!((50_000..=60_000).contains(&row.socket.timer_ms), "{:?}", row.socket);
                    }
                })
                .unwrap();
                assert_eq!(found, rows);
                assert_eq!(found_v6, only_v6);
                assert!(found_v6.contains(&7000) && !found_v6.contains(&7002), "{found_v6:?}");
            }
        });
    }
}
