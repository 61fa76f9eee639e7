//! Mail and news: OpenSMTPD, Dovecot, Leafnode.
//!
//! Source: smtpd.conf(5), Dovecot's wiki (2.3), leafnode(8), which speaks on its standard input as inetd's servers do.

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// OpenSMTPD on TCP 25, as mail.lab.test. It offers STARTTLS, and 6.8.0p2 of Debian 12 then ends every handshake with the
/// alert internal_error, whatever the client and the key: a problem to be told.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn opensmtpd(namespace: &Namespace) -> Server {
    let site = Site::new("smtpd");
    site.certificate(namespace);
    let configuration = site.write(
        "smtpd.conf",
        "pki lab cert \"{}/cert.pem\"\npki lab key \"{}/key.pem\"\nlisten on 0.0.0.0 port 25 tls pki lab hostname \
         mail.lab.test\naction l mbox\nmatch from local for local action l\n",
    );
    let mut command = site.command(namespace, &installed("smtpd", "opensmtpd"));
    command.arg("-d").arg("-f").arg(configuration);
    site.start(namespace, command, &Ready::Listens(25))
}

/// Dovecot on TCP 110, 143, 993 and 995.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn dovecot(namespace: &Namespace) -> Server {
    let site = Site::new("dovecot");
    site.certificate(namespace);
    let configuration = site.write(
        "dovecot.conf",
        "protocols = imap pop3\nbase_dir = {}/base\nssl_cert = <{}/cert.pem\nssl_key = <{}/key.pem\npassdb {\n driver = \
         static\n args = nopassword=y\n}\nuserdb {\n driver = static\n args = uid=1000 gid=1000 home=/tmp\n}\n\
         log_path = /dev/stderr\n",
    );
    let mut command = site.command(namespace, &installed("dovecot", "dovecot-imapd dovecot-pop3d"));
    command.arg("-F").arg("-c").arg(configuration);
    site.start(namespace, command, &Ready::Listens(995))
}

/// Leafnode on TCP 119, behind socat.
///
/// # Panics
/// Where they are not installed or do not start.
#[track_caller]
pub fn leafnode(namespace: &Namespace) -> Server {
    let mut site = Site::new("leafnode");
    let folder = site.folder("etc");
    site.write("etc/config", "server = news.example.invalid\nexpire = 20\nhostname = news.lab-lr.org\n");
    site.over.push((folder, "/etc/news/leafnode"));
    let program = installed("leafnode", "leafnode");
    let mut command = site.command(namespace, &installed("socat", "socat"));
    command.arg("TCP-LISTEN:119,reuseaddr,fork").arg(format!("EXEC:{},pipes", program.display()));
    site.start(namespace, command, &Ready::Listens(119))
}
