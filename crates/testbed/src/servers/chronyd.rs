//! chrony on UDP 123: a time server of stratum 5 that has this machine's clock and leaves it alone.
//!
//! Source: chronyd(8) (`-x`), chrony.conf(5).

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// Starts it on every IPv4 address.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn chronyd(namespace: &Namespace) -> Server {
    let site = Site::new("chronyd");
    let configuration = site.write(
        "chrony.conf",
        "local stratum 5\nallow\nbindaddress 0.0.0.0\ncmdport 0\npidfile {}/pid\nbindcmdaddress /\n",
    );
    let mut command = site.command(namespace, &installed("chronyd", "chrony"));
    command.args(["-d", "-x", "-u", "root", "-f"]).arg(configuration);
    // Version 4, client, nothing else (RFC 5905 section 7.3).
    let question: Vec<u8> = std::iter::once(0x23).chain([0; 47]).collect();
    site.start(namespace, command, &Ready::Answers(([127, 0, 0, 1], 123).into(), &question))
}
