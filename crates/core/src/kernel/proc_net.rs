//! Sockets by `/proc/net/{tcp,tcp6,udp,udp6}`: what is left where NETLINK_SOCK_DIAG is refused.
//!
//! Source: proc_pid_net(5), `net/ipv4/tcp_ipv4.c` (`get_tcp4_sock`), `net/ipv4/udp.c`. Columns:
//! `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …`.
//! Leaves out on purpose what these files do not have: bound sockets, cgroups, options, interfaces.

use crate::socket::{Family, Socket, State, Transport};
use crate::wire::{DecodeError, Problem};

/// `tm->when` counts USER_HZ, which is 100 a second on every architecture but alpha and ia64.
const MS_PER_TICK: u32 = 10;

/// One line: the socket, and the user id of the one who made it (none where the kernel does not know it any more).
pub type Row = (Socket, Option<u32>);

/// Decodes each line of such a file after the heading. A line that is not understood is an error of its own.
pub fn rows(
    transport: Transport,
    family: Family,
    text: &[u8],
) -> impl Iterator<Item = Result<Row, DecodeError>> + '_ {
    let lines = text.split(|byte| *byte == b'\n').enumerate().skip(1);
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(move |(number, line)| row(transport, family, &mut Columns { line, number }))
}

/// The columns of one line; an error names the column and the line.
struct Columns<'a> {
    line: &'a [u8],
    number: usize,
}

impl<'a> Columns<'a> {
    fn error(&self, field: &'static str, problem: Problem) -> DecodeError {
        DecodeError { field, offset: self.number, problem }
    }

    /// The bytes up to the next space or colon; several of them count as one.
    fn next(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let is_gap = |byte: &u8| matches!(byte, b' ' | b':');
        let start = self.line.iter().position(|byte| !is_gap(byte)).unwrap_or(self.line.len());
        let rest = self.line.get(start..).unwrap_or_default();
        let end = rest.iter().position(is_gap).unwrap_or(rest.len());
        let (column, rest) = rest.split_at(end);
        self.line = rest;
        if column.is_empty() { Err(self.error(field, Problem::Truncated)) } else { Ok(column) }
    }

    fn number(&mut self, field: &'static str, radix: u32) -> Result<u32, DecodeError> {
        let column = self.next(field)?;
        let text = std::str::from_utf8(column).unwrap_or_default();
        u32::from_str_radix(text, radix).map_err(|_| self.error(field, Problem::Truncated))
    }

    /// An address: words of 32 bits in hexadecimal, each as this host's number of what is in network order.
    fn address(&mut self, family: Family, field: &'static str) -> Result<[u8; 16], DecodeError> {
        let words = match family {
            Family::Ipv4 => 1,
            Family::Ipv6 => 4,
        };
        let column = self.next(field)?;
        let mut address = [0; 16];
        let text = std::str::from_utf8(column).unwrap_or_default();
        if text.len() != words * 8 || !text.is_ascii() {
            return Err(self.error(field, Problem::Truncated));
        }
        for (bytes, digits) in address.chunks_exact_mut(4).zip(column.chunks_exact(8)) {
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            let word = u32::from_str_radix(digits, 16).map_err(|_| self.error(field, Problem::Truncated))?;
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        Ok(address)
    }

    fn port(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        let number = self.number(field, 16)?;
        u16::try_from(number).map_err(|_| self.error(field, Problem::Value(number.into())))
    }
}

fn row(transport: Transport, family: Family, columns: &mut Columns<'_>) -> Result<Row, DecodeError> {
    columns.next("sl")?;
    let local = (columns.address(family, "local_address")?, columns.port("local_address port")?);
    let remote = (columns.address(family, "rem_address")?, columns.port("rem_address port")?);
    let code = columns.number("st", 16)?;
    let state = state_of(transport, code).ok_or(columns.error("st", Problem::Value(code.into())))?;
    let mut socket = Socket::from_kernel((transport, family, state), local, remote);
    socket.send_queue = columns.number("tx_queue", 16)?;
    socket.receive_queue = columns.number("rx_queue", 16)?;
    let timer = columns.number("tr", 16)?;
    let ticks = columns.number("tm->when", 16)?;
    socket.timer_ms = if timer == 0 { 0 } else { ticks.saturating_mul(MS_PER_TICK) };
    columns.next("retrnsmt")?;
    let uid = columns.number("uid", 10)?;
    columns.next("timeout")?;
    socket.inode = columns.number("inode", 10)?;
    Ok((socket, (socket.inode != 0 || uid != 0).then_some(uid)))
}

const fn state_of(transport: Transport, code: u32) -> Option<State> {
    Some(match (transport, code) {
        (_, 0x01) => State::Established,
        (Transport::Udp, 0x07) => State::Unconnected,
        (Transport::Udp, _) => return None,
        (Transport::Tcp, 0x02) => State::SynSent,
        (Transport::Tcp, 0x03 | 0x0c) => State::SynReceived,
        (Transport::Tcp, 0x04) => State::FinWait1,
        (Transport::Tcp, 0x05) => State::FinWait2,
        (Transport::Tcp, 0x06) => State::TimeWait,
        (Transport::Tcp, 0x07) => State::Closed,
        (Transport::Tcp, 0x08) => State::CloseWait,
        (Transport::Tcp, 0x09) => State::LastAck,
        (Transport::Tcp, 0x0a) => State::Listen,
        (Transport::Tcp, 0x0b) => State::Closing,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    const TCP: &str = "   0: 0100007F:1F90 00000000:0000 0A 00000005:00000003 00:00000000 00000000  1000        0 4711 1 000000002d9bd4b1 100 0 0 10 0\n   1: 0100007F:A4D2 0302010A:01BB 06 00000000:00000000 03:00000F6F 00000000     0        0 0 3 0000000064f0a5be\n";
    const UDP6: &str = "  1228: B80D0120000000000000000001000000:0202 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 99 2 0000000099a2c4e7 0\n";

    fn read(transport: Transport, family: Family, lines: &str) -> Vec<Result<Row, DecodeError>> {
        rows(transport, family, format!("{HEADING}{lines}").as_bytes()).collect()
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn lines_recorded_from_a_kernel_are_read() {
        let rows: Vec<Row> =
            read(Transport::Tcp, Family::Ipv4, TCP).into_iter().map(Result::unwrap).collect();
        let [(listener, user), (waiting, nobody)] = rows[..] else { panic!("{rows:?}") };
        assert_eq!(listener.local().to_string(), "127.0.0.1:8080");
        assert_eq!((listener.state, listener.inode, user), (State::Listen, 4711, Some(1000)));
        assert_eq!((listener.send_queue, listener.receive_queue), (5, 3));
        assert_eq!(waiting.remote().to_string(), "10.1.2.3:443");
        assert_eq!((waiting.state, waiting.timer_ms, nobody), (State::TimeWait, 39_510, None));
        let (udp, _) = read(Transport::Udp, Family::Ipv6, UDP6).remove(0).unwrap();
        assert_eq!(udp.local().to_string(), "[2001:db8::1]:514");
        assert_eq!((udp.state, udp.inode), (State::Unconnected, 99));
    }

    #[test]
    fn a_truncated_line_is_an_error_that_names_column_and_line() {
        let whole = UDP6.find(" 99 ").unwrap();
        for length in 1..whole {
            let result = read(Transport::Udp, Family::Ipv6, &UDP6[..length]).remove(0);
            assert_eq!(result.unwrap_err().offset, 1, "{length}");
        }
        let error = read(Transport::Udp, Family::Ipv4, UDP6).remove(0).unwrap_err();
        assert_eq!(error.field, "local_address");
    }

    #[test]
    fn hostile_text_is_an_error_and_never_a_panic() {
        for line in [
            "\0",
            "a b c d",
            "0: zzzzzzzz:1F90",
            "0: +100007F:1F90",
            "0: ééééé:0",
            "   0: 0100007F:1F901F90 ",
        ] {
            assert!(read(Transport::Tcp, Family::Ipv4, line)[0].is_err(), "{line}");
        }
        assert!(read(Transport::Tcp, Family::Ipv4, "").is_empty());
    }
}
