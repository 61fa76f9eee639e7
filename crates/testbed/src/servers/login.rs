//! Remote login and files: OpenSSH, telnetd of GNU inetutils, vsftpd.
//!
//! Source: sshd(8), telnetd(8) behind socat, vsftpd.conf(5).

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// OpenSSH on TCP 22, with an Ed25519 host key.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn sshd(namespace: &Namespace) -> Server {
    let site = Site::new("sshd");
    site.folder("run/sshd");
    let mut make = site.command(namespace, &installed("ssh-keygen", "openssh-client"));
    make.args(["-q", "-t", "ed25519", "-N", "", "-f", "key"]);
    site.prepare(make);
    let mut command = site.command(namespace, &installed("sshd", "openssh-server"));
    command.args(["-D", "-e", "-f", "/dev/null", "-o", "PidFile=none", "-h"]).arg(site.path("key"));
    site.start(namespace, command, &Ready::Listens(22))
}

/// telnetd on TCP 23.
///
/// # Panics
/// Where it or socat is not installed or does not start.
#[track_caller]
pub fn telnetd(namespace: &Namespace) -> Server {
    let site = Site::new("telnetd");
    let program = installed("telnetd", "inetutils-telnetd");
    let mut command = site.command(namespace, &installed("socat", "socat"));
    command.arg("TCP-LISTEN:23,reuseaddr,fork").arg(format!("EXEC:{}", program.display()));
    site.start(namespace, command, &Ready::Listens(23))
}

/// vsftpd on TCP 21, which lets anonymous users in.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn vsftpd(namespace: &Namespace) -> Server {
    let site = Site::new("vsftpd");
    site.folder("files");
    let configuration = site.write(
        "vsftpd.conf",
        "listen=YES\nanonymous_enable=YES\nlocal_enable=NO\nbackground=NO\nanon_root={}/files\n\
         secure_chroot_dir={}/files\nseccomp_sandbox=NO\n",
    );
    let mut command = site.command(namespace, &installed("vsftpd", "vsftpd"));
    command.arg(configuration);
    site.start(namespace, command, &Ready::Listens(21))
}
