//! net-snmp's agent on UDP 161: community `public`, versions 1, 2c and 3.
//!
//! Source: snmpd(8), snmpd.conf(5).

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// Its system description, as every answer must show it.
const DESCRIPTION: &str = "Portolan test router, software 1.2";

/// Starts it on every address.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn snmpd(namespace: &Namespace) -> Server {
    let site = Site::new("snmpd");
    let configuration = site.write(
        "snmpd.conf",
        &format!("agentaddress udp:161\nrocommunity public\nsysDescr {DESCRIPTION}\nsysName router\n"),
    );
    let mut command = site.command(namespace, &installed("snmpd", "snmpd"));
    command.args(["-f", "-Lo", "-C", "-I", "-smux", "-c"]).arg(configuration);
    // Where it keeps the count of its starts.
    command.env("SNMP_PERSISTENT_DIR", site.folder("state"));
    site.start(namespace, command, &Ready::Receives(161))
}
