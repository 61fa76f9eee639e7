//! xrdp on TCP 3389: a remote desktop with TLS; nobody could log in, since there are no sessions behind it.
//!
//! Source: xrdp(8), xrdp.ini(5).

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// Starts it on every address.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn xrdp(namespace: &Namespace) -> Server {
    let site = Site::new("xrdp");
    site.certificate(namespace);
    let configuration = site.write(
        "xrdp.ini",
        "[Globals]\nport=tcp://:3389\nsecurity_layer=negotiate\ncertificate={}/cert.pem\nkey_file={}/key.pem\n\
         ssl_protocols=TLSv1.2, TLSv1.3\n[Logging]\nLogFile={}/xrdp.log\nLogLevel=INFO\n",
    );
    let mut command = site.command(namespace, &installed("xrdp", "xrdp"));
    command.args(["--nodaemon", "--config"]).arg(configuration);
    site.start(namespace, command, &Ready::Listens(3389))
}
