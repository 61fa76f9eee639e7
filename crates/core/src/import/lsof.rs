//! `lsof -nP -i`: sockets of IPv4 and IPv6 with their processes.
//!
//! Source: lsof 4.95 on Linux, lsof(8): a row is a process' descriptor, so that a socket of several stands in several.
//! `*` is the wildcard of the family in the column TYPE.
//! Left out on purpose: other files than sockets of TCP and UDP; bound sockets and TIME_WAIT, which lsof does not see.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Format, Gathering, Place};
use crate::listing::endpoint::{decimal, endpoint};
use crate::listing::gathering::{Holding, Seen};
use crate::listing::state::state;
use crate::owner::Origin;
use crate::snapshot::{Gap, GapReason, System};
use crate::socket::{Family, Socket, State, Transport};

pub(super) const FORMAT: Format = Format {
    name: "lsof -nP -i",
    system: Some(System::Linux),
    begins: |place| row(place.here()).is_some(),
    read,
};

struct Row {
    seen: Seen,
    user: String,
    pid: u32,
}

fn row(line: &str) -> Option<Row> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let kind = words.iter().position(|word| matches!(*word, "IPv4" | "IPv6"))?;
    let family = if words[kind] == "IPv4" { Family::Ipv4 } else { Family::Ipv6 };
    // COMMAND PID [TID] USER FD TYPE DEVICE SIZE/OFF NODE NAME (STATE)
    let [command, pid, ..] = words.get(..kind)? else { return None };
    let (user, descriptor) = (words.get(kind.checked_sub(2)?)?, words.get(kind - 1)?);
    let [_, device, _, node, name, after @ ..] = words.get(kind..)? else { return None };
    let transport: Transport = node.parse().ok()?;
    let any: IpAddr = match family {
        Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let (near, far) = name.split_once("->").unwrap_or((name, "*:*"));
    let (local, remote) = (endpoint(near)?, endpoint(far)?);
    let (near, far) = (local.or(any), remote.or(any));
    if Family::of(near.ip()) != family || Family::of(far.ip()) != family {
        return None;
    }
    let word = after.first().map_or("", |word| word.trim_matches(['(', ')']));
    let state = match transport {
        Transport::Tcp => state(word)?,
        Transport::Udp if far.port() == 0 => State::Unconnected,
        Transport::Udp => State::Established,
    };
    let mut socket = Socket::new(transport, state, near, far);
    socket.inode = decimal(device).unwrap_or_default();
    let pid = decimal(pid)?;
    let number = descriptor.trim_end_matches(|c: char| !c.is_ascii_digit());
    let name = command.replace("\\x20", " ").chars().take(256).collect();
    let holding = Holding { pid, name: Some(name), descriptor: decimal(number) };
    let origin = Origin { interface: local.zone.map(str::to_owned), ..Origin::default() };
    Some(Row { seen: Seen { socket, holdings: vec![holding], origin }, user: (*user).to_owned(), pid })
}

fn read(place: &Place<'_>, gathering: &mut Gathering) -> usize {
    let mut rows: Vec<Row> = Vec::new();
    let mut at_inode = std::collections::HashMap::new();
    let mut count = 0;
    for line in place.lines.iter().take_while(|line| !line.is_blank()) {
        count += 1;
        let Some(mut row) = row(line.text) else {
            gathering.odd(line.number, line.text);
            continue;
        };
        gathering.learn_user(row.pid, &row.user);
        let inode = row.seen.socket.inode;
        let index = *at_inode.entry(inode).or_insert(rows.len());
        match rows.get_mut(index).filter(|_| inode != 0) {
            Some(first) => first.seen.holdings.append(&mut row.seen.holdings),
            None => rows.push(row),
        }
    }
    for row in rows {
        gathering.socket(row.seen);
    }
    let detail =
        "lsof shows no sockets in TIME_WAIT or only bound, and of other users only what its caller may see";
    let remedy = "ask for the output of: sudo ss -tuanp";
    gathering.gap(Gap::new("sockets", GapReason::Unsupported, detail).with_remedy(remedy));
    count
}
