//! `/proc/net/tcp`, `tcp6`, `udp`, `udp6`, as `cat` shows them.
//!
//! Source: [`crate::kernel::proc_net`] decodes the rows; the heading tells transport and family.
//! Left out on purpose: hosts of the other byte order, which the text does not tell.

use super::{Format, Gathering, Place};
use crate::kernel::proc_net;
use crate::listing::gathering::Seen;
use crate::owner::Origin;
use crate::snapshot::System;
use crate::socket::{Family, Transport};

pub(super) const FORMAT: Format = Format {
    name: "/proc/net/tcp",
    system: Some(System::Linux),
    begins: |place| heading(place.here()).is_some(),
    read,
};

/// Transport and family of a heading: only UDP counts drops, and only IPv6 has room for `remote_address`.
fn heading(line: &str) -> Option<(Transport, Family)> {
    let mut words = line.split_ascii_whitespace();
    let known = words.next() == Some("sl") && words.next() == Some("local_address");
    let family = match words.next()? {
        "rem_address" => Family::Ipv4,
        "remote_address" => Family::Ipv6,
        _ => return None,
    };
    let transport = if line.trim_end().ends_with("drops") { Transport::Udp } else { Transport::Tcp };
    known.then_some((transport, family))
}

/// Whether a line begins with a number and a colon, as rows do.
fn is_row(line: &str) -> bool {
    let number = line.trim_start().split_once(':').map_or("", |(number, _)| number);
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn read(place: &Place<'_>, gathering: &mut Gathering) -> usize {
    let Some((transport, family)) = heading(place.here()) else { return 0 };
    let rows = place.lines.iter().skip(1).take_while(|line| is_row(line.text));
    let mut count = 1;
    for line in rows {
        count += 1;
        let text = format!("\n{}", line.text);
        match proc_net::rows(transport, family, text.as_bytes()).next() {
            Some(Ok((socket, uid))) => {
                gathering.socket(Seen { origin: Origin { uid, ..Origin::default() }, ..Seen::new(socket) });
            }
            _ => gathering.odd(line.number, line.text),
        }
    }
    count
}
