//! iproute2's `ss -tanp`, `-tuanp`, with `-e`, `-o`, `-H` or without.
//!
//! Source: iproute2 6.1 (`misc/ss.c`) and older ones: `users:(("name",pid=1,fd=2))`, before 4.0 `users:(("name",1,2))`.
//! `*` as an address is the IPv6 wildcard that takes IPv4 too; older versions write `:::22` for it and `*` for IPv4.
//! Left out on purpose: sockets of other kinds than TCP and UDP, and what `-i` and `-m` tell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Format, Gathering, Place};
use crate::listing::Line;
use crate::listing::endpoint::{decimal, endpoint};
use crate::listing::gathering::{Holding, Seen};
use crate::listing::state::state;
use crate::listing::state::without_holder;
use crate::owner::Origin;
use crate::snapshot::{Gap, GapReason, System};
use crate::socket::{Family, Socket, SocketOptions, State, Transport};

pub(super) const FORMAT: Format =
    Format { name: "ss -tuanp", system: Some(System::Linux), begins: |place| is_row(place.here()), read };

/// Kinds of sockets that ss lists beside TCP and UDP.
const OTHERS: [&str; 16] = [
    "nl", "p_raw", "p_dgr", "u_str", "u_dgr", "u_seq", "v_str", "v_dgr", "raw", "icmp6", "sctp", "dccp",
    "mptcp", "tipc", "xdp", "???",
];

/// What `*` means as an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Star {
    /// The IPv6 wildcard of a socket that takes both families.
    Both,
    /// The IPv4 wildcard, as before iproute2 4.15.
    Ipv4,
}

/// The parts of a row.
struct Parts<'a> {
    transport: Transport,
    state: State,
    receive: u32,
    send: u32,
    local: &'a str,
    peer: &'a str,
    rest: &'a str,
}

/// Cuts a row into its columns; without `-u` there is no column for the transport, and all is TCP.
fn parts(line: &str) -> Option<Parts<'_>> {
    let (first, after) = word(line)?;
    let (transport, (word_of_state, after)) = match first {
        "tcp" => (Transport::Tcp, word(after)?),
        "udp" => (Transport::Udp, word(after)?),
        _ => (Transport::Tcp, (first, after)),
    };
    let state = match (transport, state(word_of_state)?) {
        // A TCP socket that ss calls unconnected is bound: others are in no list.
        (Transport::Tcp, State::Unconnected) => State::Bound,
        (_, state) => state,
    };
    let (receive, after) = word(after)?;
    let (send, after) = word(after)?;
    let (local, after) = word(after)?;
    let (peer, rest) = word(after)?;
    let (receive, send) = (decimal(receive)?, decimal(send)?);
    Some(Parts { transport, state, receive, send, local, peer, rest })
}

/// The first word of a text, and what follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn is_row(line: &str) -> bool {
    !line.starts_with([' ', '\t']) && parts(line).is_some_and(|parts| endpoint(parts.local).is_some())
}

/// A row's socket with its holders; none where it is not in numbers.
fn seen(parts: &Parts<'_>, star: Star, shows_owners: bool) -> Option<Seen> {
    let (local, peer) = (endpoint(parts.local)?, endpoint(parts.peer)?);
    let any: IpAddr = match (local.address.or(peer.address).map(Family::of), star) {
        (Some(Family::Ipv4), _) | (None, Star::Ipv4) => Ipv4Addr::UNSPECIFIED.into(),
        (Some(Family::Ipv6), _) | (None, Star::Both) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let (near, far) = (local.or(any), peer.or(any));
    if Family::of(near.ip()) != Family::of(far.ip()) {
        return None;
    }
    let mut socket = Socket::new(parts.transport, parts.state, near, far);
    (socket.receive_queue, socket.send_queue) = (parts.receive, parts.send);
    socket.timer_ms = timer(parts.rest).unwrap_or_default();
    // -e tells it; without, newer versions write [::] only for sockets that take IPv6 alone.
    let v6_only = value(parts.rest, "v6only:") == Some("1")
        || star == Star::Both && far.ip().is_unspecified() && parts.local.starts_with("[::]:");
    if v6_only {
        socket.options = SocketOptions(SocketOptions::KNOWN | SocketOptions::V6_ONLY);
    }
    socket.inode = value(parts.rest, "ino:").and_then(decimal).unwrap_or_default();
    let holdings = users(parts.rest);
    if holdings.is_empty() && shows_owners {
        socket.owner_state = without_holder(parts.state);
    }
    let uid = value(parts.rest, "uid:").and_then(decimal);
    let interface = local.zone.map(str::to_owned);
    Some(Seen { socket, holdings, origin: Origin { uid, interface, ..Origin::default() } })
}

/// What stands behind a key, up to the next blank.
fn value<'a>(rest: &'a str, key: &str) -> Option<&'a str> {
    rest.split_ascii_whitespace().find_map(|word| word.strip_prefix(key))
}

/// Milliseconds left of `timer:(timewait,30sec,0)`; hours and days do not occur.
fn timer(rest: &str) -> Option<u32> {
    let inside = value(rest, "timer:(")?.split(',').nth(1)?;
    let mut left = inside;
    let mut total: f64 = 0.0;
    while !left.is_empty() {
        let digits = left.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(left.len());
        let number: f64 = left[..digits].parse().ok()?;
        let unit = &left[digits..];
        let (scale, length) = [("min", 60_000.0), ("sec", 1000.0), ("ms", 1.0)]
            .into_iter()
            .find_map(|(name, scale)| unit.starts_with(name).then_some((scale, name.len())))?;
        total += number * scale;
        left = &unit[length..];
    }
    Some(total as u32)
}

/// The holders in `users:((…),(…))`. A name may hold quotes and brackets: it ends where a process id follows.
fn users(rest: &str) -> Vec<Holding> {
    let mut holdings = Vec::new();
    let Some((_, mut left)) = rest.split_once("users:(") else { return holdings };
    while let Some(inside) = left.strip_prefix("(\"") {
        let ends = inside.match_indices("\",").find_map(|(end, _)| Some((end, ids(&inside[end + 2..])?)));
        let Some((end, (pid, descriptor, after))) = ends else { break };
        let name = inside[..end].chars().take(256).collect();
        holdings.push(Holding { pid, name: Some(name), descriptor: Some(descriptor) });
        left = after.strip_prefix(',').unwrap_or(after);
    }
    holdings
}

/// `pid=1,fd=2)` or `1,2)`, and what follows.
fn ids(text: &str) -> Option<(u32, i32, &str)> {
    let (ids, after) = text.split_once(')')?;
    let (pid, descriptor) = ids.split_once(',')?;
    let pid = decimal(pid.strip_prefix("pid=").unwrap_or(pid))?;
    let descriptor = decimal(descriptor.strip_prefix("fd=").unwrap_or(descriptor))?;
    Some((pid, descriptor, after))
}

/// Which of the two meanings `*` has in this listing; none where nothing tells, and it occurs.
fn star(lines: &[Line<'_>]) -> Option<Star> {
    let mut occurs = false;
    for line in lines {
        let Some(parts) = parts(line.text) else { continue };
        for end in [parts.local, parts.peer] {
            if end.starts_with("0.0.0.0:") || end.starts_with('[') {
                return Some(Star::Both);
            }
            if end.starts_with(":::") {
                return Some(Star::Ipv4);
            }
        }
        occurs |= parts.local.starts_with('*');
    }
    (!occurs).then_some(Star::Both)
}

fn read(place: &Place<'_>, gathering: &mut Gathering) -> usize {
    let count = place.lines.iter().take_while(|line| !line.is_blank()).count();
    let lines = &place.lines[..count];
    let star = star(lines).unwrap_or_else(|| {
        let detail = format!("{}: `*` may mean IPv4 or both families; taken for both", place.file);
        gathering.gap(Gap::new("addresses", GapReason::Malformed, detail));
        Star::Both
    });
    let options =
        place.command.and_then(|command| command.split_once("ss -")).map_or("", |(_, options)| options);
    let asked = options.split_ascii_whitespace().next().is_some_and(|options| options.contains('p'));
    let shows_owners = asked || lines.iter().any(|line| line.text.contains("users:(("));
    for line in lines {
        let first = word(line.text).map_or("", |(first, _)| first);
        if line.text.starts_with([' ', '\t']) {
            // What -i and -m tell stands below the row; where the line would be too long, the holders too.
            users(line.text).into_iter().for_each(|holding| gathering.holding_of_last(holding));
            continue;
        }
        match parts(line.text).and_then(|parts| seen(&parts, star, shows_owners)) {
            Some(seen) => gathering.socket(seen),
            None if OTHERS.contains(&first) || line.text.contains("Recv-Q") => {}
            None => gathering.odd(line.number, line.text),
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_read_whatever_their_names_hold() {
        let one = |pid, name: &str, descriptor| Holding {
            pid,
            name: Some(name.to_owned()),
            descriptor: Some(descriptor),
        };
        assert_eq!(
            users(r#"users:(("nginx",pid=812,fd=6),("nginx: worker",pid=813,fd=6)) ino:1"#),
            [one(812, "nginx", 6), one(813, "nginx: worker", 6)]
        );
        assert_eq!(users(r#"users:(("sshd",812,3))"#), [one(812, "sshd", 3)]);
        assert_eq!(users(r#"users:(("a"),(b",pid=7,fd=8))"#), [one(7, "a\"),(b", 8)]);
        for cut in 0..r#"users:(("nginx",pid=812,fd=6)"#.len() {
            assert_eq!(users(&r#"users:(("nginx",pid=812,fd=6)"#[..cut]), [], "{cut}");
        }
    }

    #[test]
    fn timers_are_milliseconds() {
        assert_eq!(timer("timer:(timewait,30sec,0)"), Some(30_000));
        assert_eq!(timer("x timer:(keepalive,1min5.5sec,0)"), Some(65_500));
        assert_eq!(timer("timer:(on,204ms,0)"), Some(204));
        assert_eq!(timer("timer:(on,x,0)"), None);
    }
}
