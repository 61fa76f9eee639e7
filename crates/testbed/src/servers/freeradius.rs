//! FreeRADIUS on UDP 1812: everybody is a client with the secret `testing123`, and every user is refused.
//!
//! Source: freeradius(8), radiusd.conf(5).

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// Starts it on every IPv4 address.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn freeradius(namespace: &Namespace) -> Server {
    let site = Site::new("freeradius");
    site.write(
        "radiusd.conf",
        "name = radius\nlibdir = /usr/lib/freeradius\npidfile = {}/pid\nlog {\n destination = stdout\n}\n\
         client everybody {\n ipaddr = 0.0.0.0/0\n secret = testing123\n}\n\
         modules {\n always reject {\n  rcode = reject\n }\n}\n\
         server default {\n listen {\n  type = auth\n  ipaddr = *\n  port = 1812\n }\n\
         authorize {\n  update reply {\n   Reply-Message := \"no such user here\"\n  }\n  reject\n }\n}\n",
    );
    let mut command = site.command(namespace, &installed("freeradius", "freeradius"));
    command.args(["-f", "-l", "stdout", "-D", "/usr/share/freeradius", "-d"]).arg(site.path(""));
    site.start(namespace, command, &Ready::Receives(1812))
}
