//! net-tools' `netstat -tanp`, `-tuanp`, with `-e` and `-o` or without, in any display language.
//!
//! Source: net-tools 2.10 (`netstat.c`). A row is known by its transport, written `tcp` or `udp` with a `6` behind it for
//! IPv6 (unlike Windows' `TCP`), two numbers and two endpoints.
//! Left out on purpose: UNIX and raw sockets. Without `-W` long IPv6 addresses are cut to the column's width, and what
//! is left may look whole; such rows are told.

use std::net::IpAddr;

use super::{Format, Gathering, Place};
use crate::listing::endpoint::{Written, any_of, decimal, endpoint};
use crate::listing::gathering::{Holding, Seen};
use crate::listing::state::state;
use crate::listing::state::without_holder;
use crate::owner::Origin;
use crate::snapshot::{Gap, GapReason, System};
use crate::socket::{Family, OwnerState, Socket, State, Transport};

pub(super) const FORMAT: Format = Format {
    name: "netstat -tuanp (Linux)",
    system: Some(System::Linux),
    begins: |place| row(place.here()).is_some(),
    read,
};

/// The width of an address without `-W`; one that fills it may have been cut.
const WIDTH: usize = 23;

struct Row {
    seen: Seen,
    may_be_cut: bool,
}

fn transport(word: &str) -> Option<(Transport, Family)> {
    Some(match word {
        "tcp" => (Transport::Tcp, Family::Ipv4),
        "tcp6" => (Transport::Tcp, Family::Ipv6),
        "udp" => (Transport::Udp, Family::Ipv4),
        "udp6" => (Transport::Udp, Family::Ipv6),
        _ => return None,
    })
}

fn row(line: &str) -> Option<Row> {
    let mut words = line.split_ascii_whitespace();
    let (transport, family) = transport(words.next()?)?;
    let (receive, send): (u32, u32) = (decimal(words.next()?)?, decimal(words.next()?)?);
    let (near, far) = (words.next()?, words.next()?);
    let (local, remote) = (endpoint(near)?, endpoint(far)?);
    let at = |end: &Written<'_>, any: IpAddr| in_family(end.or(any), family);
    let any = any_of(local.address?);
    let (near_end, far_end) = (at(&local, any)?, at(&remote, any)?);
    let rest: Vec<&str> = words.collect();
    // The state column of UDP is empty but for connected sockets; with -e come user and inode.
    let word = rest.first().copied().unwrap_or_default();
    let has_state = !word.is_empty() && word != "-" && !word.contains('/') && decimal::<u32>(word).is_none();
    let state = match (transport, state(word).filter(|_| has_state)) {
        (_, Some(state)) => state,
        (Transport::Udp, None) => State::Unconnected,
        (Transport::Tcp, None) if far_end.port() == 0 => State::Listen,
        (Transport::Tcp, None) => return None,
    };
    let mut seen = Seen::new(Socket::new(transport, state, near_end, far_end));
    (seen.socket.receive_queue, seen.socket.send_queue) = (receive, send);
    seen.origin = Origin { interface: local.zone.map(str::to_owned), ..Origin::default() };
    let rest = &rest[usize::from(has_state)..];
    own(&mut seen, rest);
    let may_be_cut = family == Family::Ipv6 && (near.len() == WIDTH || far.len() == WIDTH);
    Some(Row { seen, may_be_cut })
}

/// An IPv4 address in a row of IPv6 cannot be; `::` and `0.0.0.0` for "no peer" are put into the row's family.
fn in_family(end: std::net::SocketAddr, family: Family) -> Option<std::net::SocketAddr> {
    (Family::of(end.ip()) == family).then_some(end)
}

/// Reads what follows the state: with `-e` user and inode, then `PID/name` or `-`, then the timer.
fn own(seen: &mut Seen, rest: &[&str]) {
    if let [user, inode, ..] = rest
        && let (Some(user), Some(inode)) = (decimal(user), decimal(inode))
    {
        (seen.origin.uid, seen.socket.inode) = (Some(user), inode);
    }
    let program = rest.iter().enumerate().find_map(|(at, word)| {
        let (pid, name) = word.split_once('/')?;
        Some((at, decimal(pid)?, name))
    });
    match program {
        Some((at, pid, name)) => {
            // A name may hold blanks ("nginx: master"); a timer in brackets or by its word ends it.
            let more = rest[at + 1..].iter().take_while(|word| !is_timer(word));
            let name = more.fold(name.to_owned(), |name, word| name + " " + word);
            let name = name.chars().take(256).collect();
            seen.holdings.push(Holding { pid, name: Some(name), descriptor: None });
        }
        None if rest.contains(&"-") => {
            seen.socket.owner_state = without_holder(seen.socket.state);
        }
        None => seen.socket.owner_state = OwnerState::NotAsked,
    }
}

fn is_timer(word: &str) -> bool {
    matches!(word, "off" | "on" | "keepalive" | "timewait" | "unkn-4" | "probe") || word.starts_with('(')
}

fn read(place: &Place<'_>, gathering: &mut Gathering) -> usize {
    let (mut count, mut cut) = (0, 0);
    for line in place.lines.iter().take_while(|line| !line.is_blank()) {
        let first = line.text.split_ascii_whitespace().next().unwrap_or_default();
        match row(line.text) {
            Some(row) => {
                cut += usize::from(row.may_be_cut);
                gathering.socket(row.seen);
            }
            None if transport(first).is_some() => gathering.odd(line.number, line.text),
            None => break,
        }
        count += 1;
    }
    if cut > 0 {
        let detail = format!("{}: {cut} IPv6 addresses fill their column and may be cut", place.file);
        let remedy = "ask for the output of: sudo netstat -tuanpW";
        gathering.gap(Gap::new("addresses", GapReason::Malformed, detail).with_remedy(remedy));
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_blanks_and_extra_columns_are_read() {
        let line = "tcp        0      0 0.0.0.0:80    0.0.0.0:*   LISTEN   33  4711  812/nginx: master  off (0.00/0/0)";
        let row = row(line).unwrap();
        assert_eq!(
            row.seen.holdings,
            [Holding { pid: 812, name: Some("nginx: master".to_owned()), descriptor: None }]
        );
        assert_eq!((row.seen.origin.uid, row.seen.socket.inode), (Some(33), 4711));
    }

    #[test]
    fn a_row_without_programs_asks_for_none_and_one_with_a_dash_hides_it() {
        let state = |line: &str| row(line).unwrap().seen.socket.owner_state;
        assert_eq!(state("udp 0 0 0.0.0.0:68 0.0.0.0:*"), OwnerState::NotAsked);
        assert_eq!(state("udp 0 0 0.0.0.0:68 0.0.0.0:* -"), OwnerState::Hidden);
        assert_eq!(state("tcp6 0 0 ::1:80 ::1:4000 TIME_WAIT -"), OwnerState::Nobody);
    }

    #[test]
    fn other_lines_are_no_rows() {
        for line in [
            "",
            "tcp",
            "tcp LISTEN 0 128 0.0.0.0:1 0.0.0.0:*",
            "tcp 0 0 a:b c:d LISTEN",
            "tcp 0 0 ::1:80 ::1:90 LISTEN",
            "unix 2 [ ACC ] STREAM",
        ] {
            assert!(row(line).is_none(), "{line}");
        }
    }
}
