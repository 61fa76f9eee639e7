//! xl2tpd on UDP 1701: an L2TP server that takes tunnels from everybody.
//!
//! Source: xl2tpd(8), xl2tpd.conf(5).

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// Starts it on every IPv4 address.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn xl2tpd(namespace: &Namespace) -> Server {
    let site = Site::new("xl2tpd");
    let configuration = site.write(
        "xl2tpd.conf",
        "[global]\nport = 1701\nlisten-addr = 0.0.0.0\naccess control = no\n\
         [lns default]\nip range = 10.9.0.2-10.9.0.5\nlocal ip = 10.9.0.1\npppoptfile = /dev/null\n",
    );
    let mut command = site.command(namespace, &installed("xl2tpd", "xl2tpd"));
    command.args(["-D", "-c"]).arg(configuration);
    command.arg("-p").arg(site.path("pid")).arg("-C").arg(site.path("control"));
    site.start(namespace, command, &Ready::Receives(1701))
}
