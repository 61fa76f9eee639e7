//! atftpd on UDP 69, with one file, `boot.img`, of six bytes.
//!
//! Source: atftpd(8).

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// Starts it on every IPv4 address.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn atftpd(namespace: &Namespace) -> Server {
    let site = Site::new("atftpd");
    let folder = site.folder("files");
    site.write("files/boot.img", "hello\n");
    let mut command = site.command(namespace, &installed("atftpd", "atftpd"));
    command
        .args(["--daemon", "--no-fork", "--user", "root", "--group", "root", "--logfile", "-"])
        .arg(folder);
    site.start(namespace, command, &Ready::Receives(69))
}
