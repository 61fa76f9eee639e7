//! `sysctl net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports net.ipv4.ip_unprivileged_port_start`.
//!
//! Source: sysctl(8) (`key = value`); [`crate::kernel::sysctl`] decodes the values.
//! Left out on purpose: every other setting.

use super::{Format, Gathering, Place};
use crate::kernel::sysctl;
use crate::range::EphemeralRange;
use crate::snapshot::{Gap, GapReason, System};
use crate::socket::{Family, Transport};

pub(super) const FORMAT: Format = Format {
    name: "sysctl net.ipv4",
    system: Some(System::Linux),
    begins: |place| setting(place.here()).is_some(),
    read,
};

/// The settings that are read.
const KEYS: [&str; 3] = [
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
];

fn setting(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    KEYS.contains(&key.trim()).then_some((key.trim(), value.trim()))
}

fn read(place: &Place<'_>, gathering: &mut Gathering) -> usize {
    let mut count = 0;
    for line in place.lines {
        let Some((key, value)) = setting(line.text) else { break };
        count += 1;
        let malformed = match key {
            "net.ipv4.ip_local_port_range" => sysctl::port_range(value).map(|range| {
                for transport in Transport::ALL {
                    for family in Family::ALL {
                        gathering.range(EphemeralRange { transport, family, range });
                    }
                }
            }),
            "net.ipv4.ip_local_reserved_ports" => sysctl::reserved_ports(value).map(|reserved| {
                gathering.reservations_are_told(&Transport::ALL, &Family::ALL);
                sysctl::reservations(&reserved, &[]).into_iter().for_each(|one| gathering.reservation(one));
            }),
            _ => {
                gathering.unprivileged_port_start(value);
                Ok(())
            }
        };
        if let Err(error) = malformed {
            let detail = format!("{} line {}: {error}", place.file, line.number);
            gathering.gap(Gap::new("settings", GapReason::Malformed, detail));
        }
    }
    count
}
