//! Windows' tables of TCP and UDP endpoints, decoded from their bytes.
//!
//! Source: `tcpmib.h` and `udpmib.h` of the Windows SDK (MIB_TCPROW_OWNER_PID, MIB_TCP6ROW_OWNER_PID,
//! MIB_UDPROW_OWNER_PID, MIB_UDP6ROW_OWNER_PID and the OWNER_MODULE rows), handed out by GetExtendedTcpTable and
//! GetExtendedUdpTable. Each begins with the number of rows; where a row holds a number of 64 bits the rows
//! begin at the eighth byte, otherwise at the fourth. Ports stand in network order in the first two bytes of four; the
//! other two may hold anything.
//!
//! The bound endpoints (InternalGetBoundTcpEndpointTable, InternalGetBoundTcp6EndpointTable) are not documented. What
//! is said of them agrees that they are rows of MIB_TCPTABLE2 and MIB_TCP6TABLE2: the owner's rows with an offload
//! state at the end. So the length is held against the number of rows, and what does not fit exactly is an error, to
//! become a gap. Sockets that went on to listen or to connect stand there as well: see [`bound_only`].
//!
//! Left out on purpose: OwningModuleInfo (the service is asked by tag), the offload state, SpecificPortBind.

use std::collections::HashSet;

use crate::socket::{Family, OwnerState, Socket, SocketOptions, State, Transport};
use crate::wire::{DecodeError, Problem, Reader};

/// Which rows a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// `TCP_TABLE_OWNER_PID_ALL`, `UDP_TABLE_OWNER_PID`.
    OwnerPid,
    /// `TCP_TABLE_OWNER_MODULE_ALL`, `UDP_TABLE_OWNER_MODULE`: with the time the socket was made.
    OwnerModule,
    /// TCP endpoints that are bound; the bytes are exactly those that were allocated for the table.
    Bound,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The socket. Its owner's state is told where the PID tells it: nobody for 0, the kernel for 4.
    pub socket: Socket,
    /// The process that the system names.
    pub pid: u32,
    /// Zone of a local IPv6 address (its interface's index); 0 for none.
    pub scope: u32,
    /// When the socket was made, milliseconds since 1970-01-01 UTC; none where the system does not say.
    pub created_ms: Option<u64>,
}

/// The System Idle Process: a connection in TIME_WAIT is nobody's.
const NOBODY: u32 = 0;
/// The System process: drivers, mostly http.sys.
const KERNEL: u32 = 4;

/// Decodes a whole table. Bytes after the last row are the caller's spare room, but not in a table of bound endpoints.
///
/// # Errors
/// The table ends before its rows do, a state has no meaning, or the length of a bound table does not fit.
pub fn endpoints(
    (transport, family): (Transport, Family),
    rows: Rows,
    bytes: &[u8],
) -> Result<Vec<Endpoint>, DecodeError> {
    let layout = Layout { transport, family, rows };
    let mut reader = Reader::new(bytes);
    let count = u32_le(&mut reader, "dwNumEntries")?;
    if rows == Rows::OwnerModule {
        reader.take(4, "padding before the rows")?;
    }
    let length = layout.length();
    if rows == Rows::Bound && !fits(reader.remaining(), count, length) {
        return Err(Reader::error_at(0, "dwNumEntries", Problem::Value(count.into())));
    }
    // Not collected by the count: a false one must not allocate.
    let mut found = Vec::new();
    for _ in 0..count {
        found.push(layout.row(&mut reader.part(length, "table")?)?);
    }
    Ok(found)
}

/// Whether so many rows fill these bytes; a table without rows may be allocated with room for one.
fn fits(bytes: usize, count: u32, length: usize) -> bool {
    let rows = usize::try_from(count).ok().and_then(|count| count.checked_mul(length));
    rows == Some(bytes) || (count == 0 && bytes == length)
}

/// The bound endpoints that neither listen nor are connected: those of which no row of the TCP tables has the same
/// process and port. A process that holds another socket on the same port besides hides its bound one.
pub fn bound_only(bound: Vec<Endpoint>, tcp: &[Endpoint]) -> Vec<Endpoint> {
    let active: HashSet<(u32, u16)> = tcp.iter().map(|row| (row.pid, row.socket.local_port)).collect();
    bound.into_iter().filter(|row| !active.contains(&(row.pid, row.socket.local_port))).collect()
}

#[derive(Clone, Copy)]
struct Layout {
    transport: Transport,
    family: Family,
    rows: Rows,
}

impl Layout {
    /// Length of one row in bytes, with the padding that its numbers of 64 bits ask for.
    const fn length(self) -> usize {
        match (self.rows, self.transport, self.family) {
            (Rows::OwnerPid, Transport::Tcp, Family::Ipv4) => 24,
            (Rows::OwnerPid, Transport::Tcp, Family::Ipv6) => 56,
            (Rows::OwnerPid, Transport::Udp, Family::Ipv4) => 12,
            (Rows::OwnerPid, Transport::Udp, Family::Ipv6) => 28,
            (Rows::OwnerModule, _, Family::Ipv4) => 160,
            (Rows::OwnerModule, Transport::Tcp, Family::Ipv6) => 192,
            (Rows::OwnerModule, Transport::Udp, Family::Ipv6) => 176,
            (Rows::Bound, _, Family::Ipv4) => 28,
            (Rows::Bound, _, Family::Ipv6) => 60,
        }
    }

    fn row(self, reader: &mut Reader<'_>) -> Result<Endpoint, DecodeError> {
        let mut state = State::Unconnected;
        let mut remote = ([0; 16], 0);
        if self.transport == Transport::Tcp && self.family == Family::Ipv4 {
            state = self.state(reader)?;
        }
        let (address, scope, port) = self.end(reader, ["dwLocalAddr", "dwLocalScopeId", "dwLocalPort"])?;
        if self.transport == Transport::Tcp {
            let (address, _, port) = self.end(reader, ["dwRemoteAddr", "dwRemoteScopeId", "dwRemotePort"])?;
            remote = (address, port);
            if self.family == Family::Ipv6 {
                state = self.state(reader)?;
            }
        }
        // A listener's remote end is documented to mean nothing.
        if matches!(state, State::Listen | State::Bound) {
            remote = ([0; 16], 0);
        }
        let pid = u32_le(reader, "dwOwningPid")?;
        let created_ms = match self.rows {
            Rows::OwnerModule => self.created(reader)?,
            Rows::OwnerPid | Rows::Bound => None,
        };
        let mut socket = Socket::from_kernel((self.transport, self.family, state), (address, port), remote);
        socket.owner_state = match pid {
            NOBODY => OwnerState::Nobody,
            KERNEL => OwnerState::Kernel,
            _ => OwnerState::NotAsked,
        };
        // A dual-stack socket has a row in the IPv4 table besides: this one takes no IPv4 traffic.
        if self.family == Family::Ipv6 && socket.is_wildcard() {
            socket.options = SocketOptions(SocketOptions::V6_ONLY);
        }
        Ok(Endpoint { socket, pid, scope, created_ms })
    }

    /// An address as 16 bytes, its zone and its port, by the names of their fields.
    fn end(
        self,
        reader: &mut Reader<'_>,
        [address, zone, port]: [&'static str; 3],
    ) -> Result<([u8; 16], u32, u16), DecodeError> {
        let (bytes, scope) = match self.family {
            Family::Ipv6 => (reader.array(address)?, u32_le(reader, zone)?),
            Family::Ipv4 => {
                let [a, b, c, d] = reader.array(address)?;
                ([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0)
            }
        };
        let number = reader.u16_be(port)?;
        reader.take(2, port)?;
        Ok((bytes, scope, number))
    }

    fn state(self, reader: &mut Reader<'_>) -> Result<State, DecodeError> {
        let offset = reader.offset();
        let code = u32_le(reader, "dwState")?;
        if self.rows == Rows::Bound {
            // Whatever it says there: none of the documented states is meant.
            return Ok(State::Bound);
        }
        state_of(code).ok_or_else(|| Reader::error_at(offset, "dwState", Problem::Value(code.into())))
    }

    fn created(self, reader: &mut Reader<'_>) -> Result<Option<u64>, DecodeError> {
        if self.transport == Transport::Udp {
            reader.take(4, "padding before liCreateTimestamp")?;
        }
        let ticks = u64::from_le_bytes(reader.array("liCreateTimestamp")?);
        Ok(unix_ms(ticks))
    }
}

/// A FILETIME (100 ns since 1601-01-01 UTC) as milliseconds since 1970-01-01 UTC; none for 0 and what lies before.
pub fn unix_ms(ticks: u64) -> Option<u64> {
    const UNIX_EPOCH: u64 = 116_444_736_000_000_000;
    ticks.checked_sub(UNIX_EPOCH).map(|since| since / 10_000)
}

/// MIB_TCP_STATE.
const fn state_of(code: u32) -> Option<State> {
    Some(match code {
        // DELETE_TCB: the connection is being taken down.
        1 | 12 => State::Closed,
        2 => State::Listen,
        3 => State::SynSent,
        4 => State::SynReceived,
        5 => State::Established,
        6 => State::FinWait1,
        7 => State::FinWait2,
        8 => State::CloseWait,
        9 => State::Closing,
        10 => State::LastAck,
        11 => State::TimeWait,
        _ => return None,
    })
}

/// Windows runs in little-endian order on every machine.
fn u32_le(reader: &mut Reader<'_>, field: &'static str) -> Result<u32, DecodeError> {
    reader.array(field).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests;
