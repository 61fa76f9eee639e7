//! What the kernel's bind buckets and TIME_WAIT sockets know and sock_diag does not show: which ports of connections were
//! bound explicitly, and which TIME_WAIT had timestamps. By a BPF iterator over the TCP sockets of a namespace.
//!
//! Source: `net/ipv4/tcp_ipv4.c` (bpf_iter__tcp), `include/net/inet_hashtables.h` (inet_bind_bucket: both fields are -1
//! as long as connect() alone gave the port), `include/net/sock.h` (the head of sock_common), [`super::bpf`]. Leaves
//! out on purpose: sockets that listen or are bound without a peer, which the table shows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;

use portolan_core::kernel::btf::Btf;
use portolan_core::port::PortRange;
use portolan_core::snapshot::{Gap, GapReason, Reading};

use super::bpf::{
    ADD, AND, AND_REGISTER, CALL, COPY, EXIT, GO, IF_EQUAL, IF_GREATER, IF_LESS, IF_NOT_EQUAL, Instruction,
    Iterator, LOAD_8, LOAD_16, LOAD_32, LOAD_64, OR, PROBE_READ_KERNEL, SEQ_WRITE, SET, STORE_16, STORE_32,
    STORE_64,
};
use crate::sys::Buckets;

/// Local port (host order), remote port (network order), family, flags, 16 bits each; local and remote address.
const RECORD: usize = 40;
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

/// Where members lie in this kernel.
struct Offsets {
    function: u32,
    bucket: i32,
    time_wait_bucket: i32,
    stamp: i32,
    reuse: i32,
    reuse_port: i32,
    local_v6: i32,
    remote_v6: i32,
}

/// The buckets of this thread's namespace, for ports of that range; none, with a gap, where they may not be read.
pub(crate) fn read(range: PortRange) -> Reading<Option<Buckets>> {
    let unread = |reason, detail: String| Reading {
        value: None,
        gaps: vec![Gap::new(WHAT, reason, detail).with_remedy(REMEDY)],
    };
    // The kernel's types are read once, however often a program looks: they take some milliseconds and megabytes.
    static OFFSETS: OnceLock<Option<Offsets>> = OnceLock::new();
    let Some(offsets) = OFFSETS.get_or_init(offsets) else {
        return unread(GapReason::Unsupported, "this kernel does not describe its types (BTF)".to_owned());
    };
    let program = program(offsets, range);
    let iterator = match Iterator::<RECORD>::load("portolan_tcp", offsets.function, &program) {
        Ok(iterator) => iterator,
        Err(error) => {
            let reason = match error {
                rustix::io::Errno::PERM | rustix::io::Errno::ACCESS => GapReason::Denied,
                _ => GapReason::Unsupported,
            };
            return unread(reason, format!("a BPF iterator over TCP sockets cannot be loaded: {error}"));
        }
    };
    let mut buckets = Buckets::default();
    match iterator.run(&[], |record| take(record, &mut buckets)) {
        Ok(()) => Reading::whole(Some(buckets)),
        Err(error) => unread(
            GapReason::Unsupported,
            format!("the BPF iterator over TCP sockets cannot be read: {error}"),
        ),
    }
}

fn take(record: &[u8; RECORD], buckets: &mut Buckets) {
    let word = |at: usize| [record[at], record[at + 1]];
    let port = u16::from_ne_bytes(word(0));
    let flags = u16::from_ne_bytes(word(6));
    if flags & BURNT as u16 != 0 {
        buckets.burnt.insert(port);
    }
    if flags & UNSTAMPED as u16 != 0 {
        let address = |at: usize| -> IpAddr {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&record[at..at + 16]);
            match u16::from_ne_bytes(word(4)) == AF_INET as u16 {
                true => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
                false => Ipv6Addr::from(bytes).into(),
            }
        };
        let remote = SocketAddr::new(address(24), u16::from_be_bytes(word(2)));
        buckets.unstamped.insert((SocketAddr::new(address(8), port), remote));
    }
}

fn offsets() -> Option<Offsets> {
    let bytes = std::fs::read("/sys/kernel/btf/vmlinux").ok()?;
    let btf = Btf::new(&bytes).ok()?;
    let member = |structure, member| btf.member(structure, member).ok().flatten().map(i32::from);
    // What comes before the family has stood there since Linux 3.9, in unnamed structures.
    if member("sock_common", "skc_family")? != 16 || member("sock_common", "skc_state")? != 18 {
        return None;
    }
    Some(Offsets {
        function: btf.function("bpf_iter_tcp").ok()??,
        bucket: member("inet_connection_sock", "icsk_bind_hash")?,
        time_wait_bucket: member("inet_timewait_sock", "tw_tb")?,
        stamp: member("tcp_timewait_sock", "tw_ts_recent_stamp")?,
        reuse: member("inet_bind_bucket", "fastreuse")?,
        reuse_port: member("inet_bind_bucket", "fastreuseport")?,
        local_v6: member("sock_common", "skc_v6_rcv_saddr").unwrap_or(0),
        remote_v6: member("sock_common", "skc_v6_daddr").unwrap_or(0),
    })
}

/// Copies so many bytes from register `from` plus `offset` to the stack.
fn copied(to: i32, length: i32, from: u8, offset: i32) -> [Instruction; 6] {
    [
        (COPY, (1, 10), 0, 0),
        (ADD, (1, 0), 0, to),
        (SET, (2, 0), 0, length),
        (COPY, (3, from), 0, 0),
        (ADD, (3, 0), 0, offset),
        (CALL, (0, 0), 0, PROBE_READ_KERNEL),
    ]
}

/// Jumps to the end have this distance until it is known.
const END: i16 = i16::MAX;

/// The second part: writes the record, where the flags say that there is something to tell.
fn write(offsets: &Offsets) -> Vec<Instruction> {
    let mut code = Vec::new();
    code.extend([
        (IF_EQUAL, (8, 0), END, 0),
        (STORE_16, (10, 8), -34, 0),
        (LOAD_16, (1, 10), -52, 0), // skc_dport
        (STORE_16, (10, 1), -38, 0),
        (LOAD_16, (9, 10), -48, 0), // skc_family
        (STORE_16, (10, 9), -36, 0),
        (SET, (1, 0), 0, 0),
        (STORE_64, (10, 1), -32, 0),
        (STORE_64, (10, 1), -24, 0),
        (STORE_64, (10, 1), -16, 0),
        (STORE_64, (10, 1), -8, 0),
        (IF_NOT_EQUAL, (9, 0), 5, AF_INET),
        (LOAD_32, (1, 10), -60, 0), // skc_rcv_saddr
        (STORE_32, (10, 1), -32, 0),
        (LOAD_32, (1, 10), -64, 0), // skc_daddr
        (STORE_32, (10, 1), -16, 0),
        (GO, (0, 0), 12, 0),
    ]);
    code.extend(copied(-32, 16, 7, offsets.local_v6));
    code.extend(copied(-16, 16, 7, offsets.remote_v6));
    code.extend([
        (LOAD_64, (1, 6), 0, 0), // meta
        (LOAD_64, (1, 1), 0, 0), // meta->seq
        (COPY, (2, 10), 0, 0),
        (ADD, (2, 0), 0, -40),
        (SET, (3, 0), 0, RECORD as i32),
        (CALL, (0, 0), 0, SEQ_WRITE),
    ]);
    code
}

/// The program. Its argument is a `bpf_iter__tcp`: meta at 0, sk_common at 8 (null at the end). Register 6 holds it, 7
/// the socket, 8 the flags, 9 the state. The stack: the record at -40, the socket's head at -64, the bucket's address
/// at -72, its two fields at -80 and -79, the stamp at -88.
fn program(offsets: &Offsets, range: PortRange) -> Vec<Instruction> {
    let mut code: Vec<Instruction> = vec![(COPY, (6, 1), 0, 0), (LOAD_64, (7, 6), 8, 0)];
    code.push((IF_EQUAL, (7, 0), END, 0));
    code.extend(copied(-64, 24, 7, 0));
    code.extend([
        (LOAD_16, (1, 10), -50, 0), // skc_num
        (IF_LESS, (1, 0), END, range.first().into()),
        (IF_GREATER, (1, 0), END, range.last().into()),
        (STORE_16, (10, 1), -40, 0),
        (LOAD_8, (9, 10), -46, 0), // skc_state
        (IF_EQUAL, (9, 0), END, LISTEN),
        (IF_EQUAL, (9, 0), END, NEW_SYN_RECEIVED),
        (SET, (8, 0), 0, 0),
        (IF_EQUAL, (9, 0), 7, TIME_WAIT),
    ]);
    code.extend(copied(-72, 8, 7, offsets.bucket));
    code.push((GO, (0, 0), 6, 0));
    code.extend(copied(-72, 8, 7, offsets.time_wait_bucket));
    code.extend([(LOAD_64, (1, 10), -72, 0), (IF_EQUAL, (1, 0), END, 0), (STORE_64, (10, 1), -72, 0)]);
    for (to, offset) in [(-80, offsets.reuse), (-79, offsets.reuse_port)] {
        code.push((LOAD_64, (1, 10), -72, 0));
        // The third argument is made of register 1 before that is written.
        code.extend([(COPY, (3, 1), 0, 0), (ADD, (3, 0), 0, offset), (COPY, (1, 10), 0, 0)]);
        code.extend([(ADD, (1, 0), 0, to), (SET, (2, 0), 0, 1), (CALL, (0, 0), 0, PROBE_READ_KERNEL)]);
    }
    code.extend([
        (LOAD_8, (1, 10), -80, 0),
        (LOAD_8, (2, 10), -79, 0),
        (AND_REGISTER, (1, 2), 0, 0),
        (AND, (1, 0), 0, 0x80), // both are -1
        (IF_NOT_EQUAL, (1, 0), 1, 0),
        (OR, (8, 0), 0, BURNT),
        (IF_NOT_EQUAL, (9, 0), 9, TIME_WAIT),
    ]);
    code.extend(copied(-88, 4, 7, offsets.stamp));
    code.extend([(LOAD_32, (1, 10), -88, 0), (IF_NOT_EQUAL, (1, 0), 1, 0), (OR, (8, 0), 0, UNSTAMPED)]);
    code.extend(write(offsets));
    let end = code.len();
    code.extend([(SET, (0, 0), 0, 0), (EXIT, (0, 0), 0, 0)]);
    for (at, instruction) in code.iter_mut().enumerate() {
        if instruction.2 == END {
            instruction.2 = i16::try_from(end - at - 1).unwrap_or(0);
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use portolan_testbed::{Held, Namespace};

    use super::*;

    #[test]
    fn the_buckets_tell_a_connection_that_was_bound_from_one_that_was_not() {
        let namespace = Namespace::new();
        let listener = namespace.run(|| TcpListener::bind("127.0.0.1:80").unwrap());
        let words = "connections 127.0.0.1:80 --as-client --from 127.0.0.1:40001 \
                     time-wait 127.0.0.1:40002 --closed-by client time-wait [::1]:40003 --closed-by client";
        let _held = Held::new(&namespace, words);
        let plain = namespace.run(|| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let chosen = plain.local_addr().unwrap().port();
        let buckets = namespace.run(|| read(PortRange::ALL));
        assert_eq!(buckets.gaps, []);
        let burnt: Vec<u16> = buckets.value.unwrap().burnt.iter().map(u16::from).collect();
        // 80: the accepted ends.
        assert!([80, 40001, 40002, 40003].iter().all(|port| burnt.contains(port)), "{burnt:?}");
        assert!(!burnt.contains(&chosen), "{burnt:?}");
        assert!(burnt.len() <= 6, "the servers' ends of the two TIME_WAIT may linger: {burnt:?}");
        let narrow = namespace.run(|| read(PortRange::new(40002, 40002).unwrap()));
        assert_eq!(narrow.value.unwrap().burnt.iter().map(u16::from).collect::<Vec<_>>(), [40002]);
    }

    #[test]
    fn a_time_wait_without_timestamps_is_named_by_its_ends() {
        let namespace = Namespace::new();
        let words = "time-wait 127.0.0.1:40002 --closed-by client time-wait [::1]:40003 --closed-by client";
        let stamped = Held::new(&namespace, words);
        assert!(namespace.run(|| read(PortRange::ALL)).value.unwrap().unstamped.is_empty());
        drop(stamped);
        namespace.sysctl("net.ipv4.tcp_timestamps", "0");
        let words = "time-wait 127.0.0.1:40012 --closed-by client time-wait [::1]:40013 --closed-by client";
        let _held = Held::new(&namespace, words);
        let found = namespace.run(|| read(PortRange::ALL)).value.unwrap().unstamped;
        let mut ends: Vec<String> = found.iter().map(|(local, _)| local.to_string()).collect();
        ends.sort();
        assert_eq!(ends, ["127.0.0.1:40012", "[::1]:40013"]);
        assert!(found.iter().all(|(local, remote)| local.ip() == remote.ip() && remote.port() != 0));
    }
}
