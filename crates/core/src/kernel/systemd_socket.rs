//! Socket units: which one listens where, and which service it starts.
//!
//! Source: `systemctl list-sockets --show-types --output=json` (systemd 248 and later), systemd.socket(5).
//! Left out on purpose: sockets that are no IP endpoint (paths, netlink, `[::]:80` of a raw socket).

use std::net::SocketAddr;

use serde::Deserialize;

use crate::kernel::malformed::Malformed;
use crate::port::{Port, PortRange};
use crate::range::{Carrier, CarrierKind};
use crate::socket::Transport;

#[derive(Deserialize)]
struct Row {
    listen: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    unit: Option<String>,
    activates: Option<Activates>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Activates {
    One(String),
    Several(Vec<String>),
}

/// The IP endpoints of the list.
pub fn carriers(json: &[u8]) -> Result<Vec<Carrier>, Malformed> {
    let rows: Vec<Row> = serde_json::from_slice(json)
        .map_err(|_| Malformed::new("systemctl list-sockets", &String::from_utf8_lossy(json)))?;
    Ok(rows.into_iter().filter_map(carrier).collect())
}

fn carrier(row: Row) -> Option<Carrier> {
    let transport = match row.kind?.as_str() {
        "Stream" => Transport::Tcp,
        "Datagram" => Transport::Udp,
        _ => return None,
    };
    let listen = row.listen?;
    // `[fe80::1%eth0]:80`: the scope names an interface, not an address.
    let listen = match (listen.find('%'), listen.find(']')) {
        (Some(scope), Some(end)) if scope < end => format!("{}{}", &listen[..scope], &listen[end..]),
        _ => listen,
    };
    let at: SocketAddr = listen.parse().ok()?;
    let name = row.unit?;
    let to = match row.activates {
        Some(Activates::One(service)) => Some(service),
        Some(Activates::Several(services)) if !services.is_empty() => Some(services.join(", ")),
        // With Accept=yes each connection gets an instance of the template, and none is listed here.
        _ => name.strip_suffix(".socket").map(|stem| format!("{stem}@.service")),
    };
    Some(Carrier {
        kind: CarrierKind::SocketUnit,
        transport,
        address: Some(at.ip()),
        ports: PortRange::single(Port::new(at.port())?),
        name,
        to,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Recorded from systemd 252 (a user instance with these units), with a scope, a list and a null added.
    const LIST: &str = r#"[{"listen":"/run/user/0/bus","type":"Stream","unit":"dbus.socket","activates":"dbus.service"},
{"listen":"127.0.0.1:18080","type":"Stream","unit":"demo.socket","activates":"demo.service"},
{"listen":"[::1]:18082","type":"Datagram","unit":"demo.socket","activates":"demo.service"},
{"listen":"[::]:18083","type":"Stream","unit":"acc.socket","activates":null},
{"listen":"[fe80::1%eth0]:18084","type":"Stream","unit":"l.socket","activates":["a.service","b.service"]},
{"listen":"kobject-uevent 1","type":"Netlink","unit":"systemd-udevd-kernel.socket","activates":"systemd-udevd.service"},
{"listen":null,"type":"Stream","unit":"x.socket","activates":null}]"#;

    #[test]
    fn ip_endpoints_name_their_unit_and_its_service() {
        let seen: Vec<_> = carriers(LIST.as_bytes())
            .unwrap()
            .into_iter()
            .map(|c| {
                format!("{} {} {} {} -> {}", c.transport, c.address.unwrap(), c.ports, c.name, c.to.unwrap())
            })
            .collect();
        assert_eq!(
            seen,
            [
                "tcp 127.0.0.1 18080 demo.socket -> demo.service",
                "udp ::1 18082 demo.socket -> demo.service",
                "tcp :: 18083 acc.socket -> acc@.service",
                "tcp fe80::1 18084 l.socket -> a.service, b.service",
            ]
        );
    }

    #[test]
    fn every_truncation_is_an_error() {
        for end in 0..LIST.len() {
            assert!(carriers(&LIST.as_bytes()[..end]).is_err());
        }
    }
}
