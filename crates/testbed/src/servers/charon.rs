//! strongSwan's key exchange daemon on UDP 500 and 4500: IKE version 1 and 2.
//!
//! Source: charon of strongSwan 5.9, swanctl(8), swanctl.conf(5).

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// Starts it on every address, without any connection set up: it accepts no proposal.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn charon(namespace: &Namespace) -> Server {
    started(Site::new("charon"), namespace)
}

/// Starts it on every address, with a connection for everybody: `aes256-sha256-modp2048` and a pre-shared key.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn charon_for_everybody(namespace: &Namespace) -> Server {
    let server = started(Site::new("charon"), namespace);
    let configuration = server.site.write(
        "swanctl.conf",
        "connections {\n lab {\n  version = 0\n  remote_addrs = %any\n  proposals = aes256-sha256-modp2048\n\
         local {\n   auth = psk\n  }\n  remote {\n   auth = psk\n  }\n  children {\n   lab {\n   }\n  }\n }\n}\n\
         secrets {\n ike-lab {\n  secret = \"secret of a test\"\n }\n}\n",
    );
    let mut load = server.site.command(namespace, &installed("swanctl", "strongswan-swanctl"));
    load.args(["--load-all", "--file"]).arg(configuration);
    server.site.prepare(load);
    server
}

#[track_caller]
fn started(site: Site, namespace: &Namespace) -> Server {
    let mut command = site.command(namespace, &installed("charon", "strongswan-charon"));
    command.args(["--use-syslog", "no"]);
    site.start(namespace, command, &Ready::Receives(500))
}
