//! Sockets by NETLINK_SOCK_DIAG: the request with its filters, one row of the answer, and the request that closes one.
//!
//! Source: `linux/inet_diag.h`, `linux/sock_diag.h`, sock_diag(7); for what rows mean `net/ipv4/inet_diag.c` and
//! `net/ipv4/tcp_diag.c`. Ports are in network order, everything else in host order.
//! Leaves out on purpose: the extensions that must be asked for (memory, congestion control, tcp_info), marks, and
//! SOCK_DESTROY of UDP sockets.

use std::net::IpAddr;

use crate::port::{PortRange, PortSet};
use crate::socket::{Connection, Family, Socket, SocketOptions, State, Transport};
use crate::wire::{DecodeError, Problem, Reader, netlink};

/// Kinds of request and row: of one family, and of both (TCP alone; the older request, with a structure of its own).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const TCPDIAG_GETSOCK: u16 = 18;
const SOCK_DESTROY: u16 = 21;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

const REQ_BYTECODE: u16 = 1;
const BC_JMP: u8 = 1;
const BC_S_GE: u8 = 2;
const BC_S_LE: u8 = 3;

const ATTR_SKV6ONLY: u16 = 11;
const ATTR_CGROUP_ID: u16 = 21;
const ATTR_SOCKOPT: u16 = 22;

const TCP_CLOSE: u8 = 7;
const TCP_BOUND_INACTIVE: u8 = 13;

/// More ranges than this are asked for by the range around them all: the kernel runs the filter for each socket.
const MOST_RANGES: usize = 64;

/// What the kernel lists in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// TCP sockets of both families, which saves going through them twice.
    Tcp,
    /// TCP sockets of one family.
    TcpOf(Family),
    /// UDP sockets of one family.
    UdpOf(Family),
}

impl Table {
    /// Its transport.
    pub const fn transport(self) -> Transport {
        match self {
            Self::Tcp | Self::TcpOf(_) => Transport::Tcp,
            Self::UdpOf(_) => Transport::Udp,
        }
    }

    /// Its families.
    pub const fn families(self) -> &'static [Family] {
        match self {
            Self::Tcp => &Family::ALL,
            Self::TcpOf(Family::Ipv4) | Self::UdpOf(Family::Ipv4) => &[Family::Ipv4],
            Self::TcpOf(Family::Ipv6) | Self::UdpOf(Family::Ipv6) => &[Family::Ipv6],
        }
    }
}

/// What to ask for.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Which list.
    pub table: Table,
    /// States; those that the transport does not have are left out.
    pub states: &'a [State],
    /// Local ports; none for all. With many ranges the answer may hold rows beside them: filter again.
    pub local_ports: Option<&'a PortSet>,
}

impl Query<'_> {
    /// The request for that list, or nothing where no row can match.
    pub fn encode(&self, sequence: u32) -> Option<Vec<u8>> {
        let states = self.state_bits();
        let program = match self.local_ports {
            None => Vec::new(),
            Some(ports) => port_filter(&ports.ranges())?,
        };
        if states == 0 {
            return None;
        }
        let (kind, family, protocol) = match self.table {
            Table::Tcp => (TCPDIAG_GETSOCK, 0, 0),
            Table::TcpOf(family) => (SOCK_DIAG_BY_FAMILY, family_code(family), IPPROTO_TCP),
            Table::UdpOf(family) => (SOCK_DIAG_BY_FAMILY, family_code(family), IPPROTO_UDP),
        };
        // Ports and addresses of any kind on any interface, and INET_DIAG_NOCOOKIE.
        let mut any = [0; 48];
        any[40..].fill(0xff);
        let mut body = Vec::with_capacity(64 + program.len());
        body.extend_from_slice(&[family, protocol, 0, 0]);
        if kind == TCPDIAG_GETSOCK {
            body.extend_from_slice(&any);
            body.extend_from_slice(&states.to_ne_bytes());
            body.extend_from_slice(&[0; 4]); // idiag_dbs
        } else {
            body.extend_from_slice(&states.to_ne_bytes());
            body.extend_from_slice(&any);
        }
        if !program.is_empty() {
            netlink::push_attribute(&mut body, REQ_BYTECODE, &program);
        }
        Some(netlink::dump_request(kind, sequence, &body))
    }

    /// `idiag_states`: a bit for each of the kernel's numbers.
    fn state_bits(&self) -> u32 {
        let wanted = |state| self.states.contains(&state);
        (1..=TCP_BOUND_INACTIVE)
            .filter(|code| state_of(self.table.transport(), *code).is_some_and(wanted))
            .fold(0, |bits, code| bits | 1 << code)
    }
}

const fn family_code(family: Family) -> u8 {
    match family {
        Family::Ipv4 => AF_INET,
        Family::Ipv6 => AF_INET6,
    }
}

/// The request that closes exactly this TCP socket; the kernel compares the cookie, and answers with an error number.
pub fn destroy_request(sequence: u32, connection: &Connection) -> Vec<u8> {
    let mut body = vec![family_code(Family::of(connection.local.ip())), IPPROTO_TCP, 0, 0];
    body.extend_from_slice(&[0xff; 4]); // idiag_states
    for end in [connection.local, connection.remote] {
        body.extend_from_slice(&end.port().to_be_bytes());
    }
    for end in [connection.local, connection.remote] {
        match end.ip() {
            IpAddr::V4(v4) => {
                body.extend_from_slice(&v4.octets());
                body.extend_from_slice(&[0; 12]);
            }
            IpAddr::V6(v6) => body.extend_from_slice(&v6.octets()),
        }
    }
    body.extend_from_slice(&connection.interface.to_ne_bytes());
    // idiag_cookie: the low half comes first, each half in host order.
    for half in [connection.cookie as u32, (connection.cookie >> 32) as u32] {
        body.extend_from_slice(&half.to_ne_bytes());
    }
    netlink::request(SOCK_DESTROY, sequence, &body)
}

/// Whether a message of that kind is a row of such a list.
pub const fn is_row(kind: u16) -> bool {
    matches!(kind, SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK)
}

/// The kernel's number for a state, read for a transport.
pub const fn state_of(transport: Transport, code: u8) -> Option<State> {
    Some(match (transport, code) {
        (_, 1) => State::Established,
        (Transport::Udp, TCP_CLOSE) => State::Unconnected,
        (Transport::Udp, _) => return None,
        (Transport::Tcp, 2) => State::SynSent,
        // 12 is TCP_NEW_SYN_RECV: a connection request that has no socket of its own yet.
        (Transport::Tcp, 3 | 12) => State::SynReceived,
        (Transport::Tcp, 4) => State::FinWait1,
        (Transport::Tcp, 5) => State::FinWait2,
        (Transport::Tcp, 6) => State::TimeWait,
        (Transport::Tcp, 8) => State::CloseWait,
        (Transport::Tcp, 9) => State::LastAck,
        (Transport::Tcp, 10) => State::Listen,
        (Transport::Tcp, 11) => State::Closing,
        // Asked for as 13, answered as 7.
        (Transport::Tcp, TCP_CLOSE | TCP_BOUND_INACTIVE) => State::Bound,
        _ => return None,
    })
}

/// One step of the filter: an `inet_diag_bc_op`. `yes` and `no` are distances in bytes from its start.
fn operation(program: &mut Vec<u8>, code: u8, yes: u8, no: u16) {
    program.extend_from_slice(&[code, yes]);
    program.extend_from_slice(&no.to_ne_bytes());
}

/// The filter "local port in one of these ranges"; nothing for no range at all.
///
/// For each range `S_GE first, S_LE last, JMP to the end`; a comparison that fails goes on with the next range, of
/// the last one past the end, which rejects the row. The port stands in a second operation's `no`.
fn port_filter(ranges: &[PortRange]) -> Option<Vec<u8>> {
    const GE_LE: usize = 16;
    const STEP: usize = GE_LE + 4;
    let (first, last) = (ranges.first()?, ranges.last()?);
    let around = [PortRange::new(first.first(), last.last()).unwrap_or(PortRange::ALL)];
    let ranges = if ranges.len() > MOST_RANGES { &around } else { ranges };
    let end = STEP * ranges.len();
    let mut program = Vec::with_capacity(end);
    for range in ranges {
        let start = program.len();
        let is_last = start + STEP == end;
        // Past the end by one operation means "no"; without a following range that is where a failure goes.
        let next = if is_last { end + 4 } else { start + STEP };
        let distance = |from: usize, to: usize| u16::try_from(to - from).unwrap_or(u16::MAX);
        operation(&mut program, BC_S_GE, 8, distance(start, next));
        operation(&mut program, 0, 0, range.first());
        operation(&mut program, BC_S_LE, 8, distance(start + 8, next));
        operation(&mut program, 0, 0, range.last());
        operation(&mut program, BC_JMP, 4, distance(start + GE_LE, end));
    }
    Some(program)
}

/// A row of the answer: the socket, and what it has in common with many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The socket, without origin and holders.
    pub socket: Socket,
    /// User id of the one who made it; none where the kernel has forgotten (TIME_WAIT) or never knew it.
    pub uid: Option<u32>,
    /// cgroup v2 id (the inode of its directory) of the one who made it.
    pub cgroup: Option<u64>,
    /// Index of the interface it is bound to; 0 for none.
    pub interface: u32,
    /// The kernel's own number for it, never given twice in one boot.
    pub cookie: u64,
}

impl Row {
    /// What names exactly this socket, when it is a connection.
    pub fn connection(&self) -> Connection {
        let Self { socket, interface, cookie, .. } = *self;
        Connection { local: socket.local(), remote: socket.remote(), interface, cookie }
    }
}

/// Decodes a row: an `inet_diag_msg` and its attributes.
pub fn decode(transport: Transport, mut body: Reader<'_>) -> Result<Row, DecodeError> {
    let start = body.offset();
    let family = match body.u8("idiag_family")? {
        AF_INET => Family::Ipv4,
        AF_INET6 => Family::Ipv6,
        other => return Err(Reader::error_at(start, "idiag_family", Problem::Value(other.into()))),
    };
    let code = body.u8("idiag_state")?;
    let state = state_of(transport, code).ok_or(Reader::error_at(
        start + 1,
        "idiag_state",
        Problem::Value(code.into()),
    ))?;
    let timer = body.u8("idiag_timer")?;
    body.u8("idiag_retrans")?;
    let local_port = body.u16_be("idiag_sport")?;
    let remote_port = body.u16_be("idiag_dport")?;
    let local = body.array("idiag_src")?;
    let remote = body.array("idiag_dst")?;
    let interface = body.u32_host("idiag_if")?;
    let cookie = [body.u32_host("idiag_cookie")?, body.u32_host("idiag_cookie")?];
    let cookie = u64::from(cookie[0]) | u64::from(cookie[1]) << 32;
    let expires = body.u32_host("idiag_expires")?;
    let mut socket =
        Socket::from_kernel((transport, family, state), (local, local_port), (remote, remote_port));
    // Old kernels let a timer that is overdue run below zero.
    socket.timer_ms = if timer == 0 || expires > i32::MAX as u32 { 0 } else { expires };
    socket.receive_queue = body.u32_host("idiag_rqueue")?;
    socket.send_queue = body.u32_host("idiag_wqueue")?;
    let uid = body.u32_host("idiag_uid")?;
    socket.inode = body.u32_host("idiag_inode")?;
    let cgroup = attributes(&mut socket, body)?;
    // Without an inode there is no file that could have an owner, and 0 stands for "not known".
    let uid = (socket.inode != 0 || uid != 0).then_some(uid);
    Ok(Row { socket, uid, cgroup, interface, cookie })
}

/// Reads the options into the socket, and gives the cgroup.
fn attributes(socket: &mut Socket, mut rest: Reader<'_>) -> Result<Option<u64>, DecodeError> {
    let mut cgroup = None;
    let mut options = 0;
    while let Some((kind, mut payload)) = netlink::attribute(&mut rest)? {
        match kind {
            ATTR_SKV6ONLY if payload.u8("INET_DIAG_SKV6ONLY")? != 0 => options |= SocketOptions::V6_ONLY,
            ATTR_CGROUP_ID => cgroup = Some(payload.u64_host("INET_DIAG_CGROUP_ID")?),
            ATTR_SOCKOPT => options |= SocketOptions::KNOWN | sockopt(payload.array("INET_DIAG_SOCKOPT")?),
            _ => {}
        }
    }
    socket.options = SocketOptions(options);
    Ok(cgroup)
}

/// `inet_diag_sockopt`: C bit-fields, which start at the low end on little-endian machines, else at the high end.
fn sockopt([first, second]: [u8; 2]) -> u8 {
    let bit = |byte: u8, index: u8| {
        byte & if cfg!(target_endian = "little") { 1 << index } else { 0x80 >> index } != 0
    };
    [
        (bit(first, 2), SocketOptions::FREEBIND),
        (bit(first, 5), SocketOptions::TRANSPARENT),
        (bit(second, 0), SocketOptions::BIND_ADDRESS_NO_PORT),
    ]
    .iter()
    .fold(0, |options, (set, option)| options | if *set { *option } else { 0 })
}

#[cfg(test)]
mod tests;
