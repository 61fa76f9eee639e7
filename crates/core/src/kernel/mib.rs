//! Socket tables as Windows' IP helper library hands them out: rows of fixed size behind a count.
//!
//! Source: `tcpmib.h`, `udpmib.h`, `iprtrmib.h` (MIB_TCPTABLE_OWNER_PID, MIB_TCP6TABLE_OWNER_PID,
//! MIB_UDPTABLE_OWNER_PID, MIB_UDP6TABLE_OWNER_PID, MIB_TCPTABLE2, MIB_TCP6TABLE2). Ports are in network order in the
//! first two bytes of their field; the rest of it may hold anything. Left out on purpose: the offload state.

use crate::socket::{Family, Socket, State, Transport};
use crate::wire::{DecodeError, Problem, Reader};

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// TCP sockets with their processes (TCP_TABLE_OWNER_PID_ALL).
    Tcp,
    /// TCP sockets that are bound and neither listen nor are connected (MIB_TCPTABLE2, whose states say nothing here).
    BoundTcp,
    /// UDP sockets with their processes (UDP_TABLE_OWNER_PID).
    Udp,
}

impl Table {
    /// TCP or UDP.
    pub const fn transport(self) -> Transport {
        match self {
            Self::Tcp | Self::BoundTcp => Transport::Tcp,
            Self::Udp => Transport::Udp,
        }
    }
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The socket, whose holder is still to be found.
    pub socket: Socket,
    /// Process that made it; 0 for nobody (TIME_WAIT), 4 for the kernel.
    pub pid: u32,
    /// Index of the interface that its IPv6 local address belongs to; 0 for none.
    pub interface: u32,
}

/// The rows of a table. One with a value that means nothing is an error of its own; where the table ends too early the
/// last one is.
pub fn rows(table: Table, family: Family, bytes: &[u8]) -> Vec<Result<Row, DecodeError>> {
    let mut reader = Reader::new(bytes);
    let count = match reader.u32_host("dwNumEntries") {
        Ok(count) => count,
        Err(error) => return vec![Err(error)],
    };
    let length = length(table, family);
    let mut rows = Vec::with_capacity((count as usize).min(reader.remaining() / length));
    for _ in 0..count {
        let part = reader.part(length, "table");
        let is_end = part.is_err();
        rows.push(part.and_then(|row| self::row(table, family, row)));
        if is_end {
            break;
        }
    }
    rows
}

/// Bytes of a row.
const fn length(table: Table, family: Family) -> usize {
    match (table, family) {
        (Table::Tcp, Family::Ipv4) => 24,
        (Table::Tcp, Family::Ipv6) => 56,
        (Table::BoundTcp, Family::Ipv4) => 28,
        (Table::BoundTcp, Family::Ipv6) => 60,
        (Table::Udp, Family::Ipv4) => 12,
        (Table::Udp, Family::Ipv6) => 28,
    }
}

fn row(table: Table, family: Family, mut row: Reader<'_>) -> Result<Row, DecodeError> {
    let transport = table.transport();
    let is_tcp = transport == Transport::Tcp;
    // The state stands first in IPv4's rows and behind the endpoints in IPv6's.
    let first = if is_tcp && family == Family::Ipv4 { Some(state(table, &mut row)?) } else { None };
    let (local, interface) = endpoint(family, &mut row)?;
    let remote = if is_tcp { endpoint(family, &mut row)?.0 } else { ([0; 16], 0) };
    let state = match first {
        Some(state) => state,
        None if is_tcp => state(table, &mut row)?,
        None => State::Unconnected,
    };
    let pid = row.u32_host("dwOwningPid")?;
    // A listener's remote port is left over from whatever was there before.
    let remote = if matches!(state, State::Listen | State::Bound) { ([0; 16], 0) } else { remote };
    Ok(Row { socket: Socket::from_kernel((transport, family, state), local, remote), pid, interface })
}

/// Address and port, and the index of the interface.
fn endpoint(family: Family, row: &mut Reader<'_>) -> Result<(([u8; 16], u16), u32), DecodeError> {
    let mut address = [0; 16];
    let mut interface = 0;
    match family {
        Family::Ipv4 => address[..4].copy_from_slice(&row.array::<4>("dwAddr")?),
        Family::Ipv6 => {
            address = row.array("ucAddr")?;
            interface = row.u32_host("dwScopeId")?;
        }
    }
    let port = row.u16_be("dwPort")?;
    row.u16_host("dwPort")?;
    Ok(((address, port), interface))
}

/// MIB_TCP_STATE.
fn state(table: Table, row: &mut Reader<'_>) -> Result<State, DecodeError> {
    let offset = row.offset();
    let number = row.u32_host("dwState")?;
    if table == Table::BoundTcp {
        return Ok(State::Bound);
    }
    Ok(match number {
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
        _ => return Err(Reader::error_at(offset, "dwState", Problem::Value(number.into()))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&[u8]]) -> Vec<u8> {
        let mut bytes = u32::try_from(rows.len()).unwrap().to_ne_bytes().to_vec();
        rows.iter().for_each(|row| bytes.extend_from_slice(row));
        bytes
    }

    fn word(number: u32) -> [u8; 4] {
        number.to_ne_bytes()
    }

    /// A port as the field has it, with something left over behind it.
    fn port(number: u16) -> [u8; 4] {
        let [high, low] = number.to_be_bytes();
        [high, low, 0xaa, 0xbb]
    }

    fn tcp4(state: u32, pid: u32) -> Vec<u8> {
        [word(state), [127, 0, 0, 1], port(8080), [10, 0, 0, 9], port(443), word(pid)].concat()
    }

    fn tcp6() -> Vec<u8> {
        let local = "fe80::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
        let words =
            [word(7), port(135), word(0), word(0), word(0), word(0), word(0), port(99), word(2), word(4)];
        [&local[..], words.as_flattened()].concat()
    }

    #[test]
    fn rows_of_every_table_are_read() {
        let rows4: Vec<Row> = rows(Table::Tcp, Family::Ipv4, &table(&[&tcp4(5, 700), &tcp4(11, 0)]))
            .into_iter()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(rows4[0].socket.local(), "127.0.0.1:8080".parse().unwrap());
        assert_eq!(rows4[0].socket.remote(), "10.0.0.9:443".parse().unwrap());
        assert_eq!((rows4[0].pid, rows4[0].socket.state), (700, State::Established));
        assert_eq!((rows4[1].pid, rows4[1].socket.state), (0, State::TimeWait));

        let row6 = rows(Table::Tcp, Family::Ipv6, &table(&[&tcp6()]))[0].unwrap();
        assert_eq!((row6.socket.local(), row6.interface), ("[fe80::1]:135".parse().unwrap(), 7));
        assert_eq!((row6.socket.state, row6.pid, row6.socket.remote_port), (State::Listen, 4, 0));

        let bound: Vec<u8> = [tcp4(77, 8), word(0).to_vec()].concat();
        let row = rows(Table::BoundTcp, Family::Ipv4, &table(&[&bound]))[0].unwrap();
        assert_eq!((row.socket.state, row.pid, row.socket.remote_port), (State::Bound, 8, 0));

        let udp = [[0; 4], port(53), word(9)].concat();
        let row = rows(Table::Udp, Family::Ipv4, &table(&[&udp]))[0].unwrap();
        assert_eq!((row.socket.state, row.pid), (State::Unconnected, 9));
        assert_eq!(row.socket.local(), "0.0.0.0:53".parse().unwrap());
        let udp = [&[0; 16][..], &word(0), &port(53), &word(9)].concat();
        let row = rows(Table::Udp, Family::Ipv6, &table(&[&udp]))[0].unwrap();
        assert_eq!((row.socket.local(), row.pid), ("[::]:53".parse().unwrap(), 9));
    }

    #[test]
    fn a_table_cut_at_any_length_ends_with_an_error_and_keeps_the_rows_before_it() {
        for (kind, family, row) in
            [(Table::Tcp, Family::Ipv4, tcp4(2, 1)), (Table::Tcp, Family::Ipv6, tcp6())]
        {
            let whole = table(&[&row, &row, &row]);
            for end in 0..whole.len() {
                let read = rows(kind, family, &whole[..end]);
                assert!(read.last().unwrap().is_err(), "{end}");
                assert_eq!(read.len() - 1, end.saturating_sub(4) / row.len());
            }
            assert_eq!(rows(kind, family, &whole).len(), 3);
        }
    }

    #[test]
    fn a_count_that_lies_does_not_make_room_for_it() {
        let mut lie = word(u32::MAX).to_vec();
        lie.extend(tcp4(2, 1));
        let read = rows(Table::Tcp, Family::Ipv4, &lie);
        assert_eq!((read.len(), read[0].is_ok(), read[1].is_err()), (2, true, true));
    }

    #[test]
    fn a_state_that_means_nothing_costs_its_own_row_only() {
        let read = rows(Table::Tcp, Family::Ipv4, &table(&[&tcp4(99, 1), &tcp4(2, 1)]));
        assert_eq!(read[0].unwrap_err().to_string(), "dwState (offset 4) is 99, which means nothing");
        assert!(read[1].is_ok());
    }
}
