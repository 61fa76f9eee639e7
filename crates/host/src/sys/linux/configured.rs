//! What this system is told to ask: its name servers, its proxy.
//!
//! Source: resolv.conf(5). Left out on purpose: a desktop's own settings (GNOME's, KDE's), which differ by user and
//! program; what counts for programs of a terminal stands in the environment.

use std::fs;
use std::net::IpAddr;

/// Its name servers, the first one first.
pub(crate) fn name_servers() -> Vec<IpAddr> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        // An address that needs an interface is not asked: the zone's name is not kept.
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
    };
    text.lines().filter_map(server).collect()
}

/// The proxy that the system is set to; none on Linux, where the environment says it.
pub(crate) fn proxy() -> Option<String> {
    None
}
