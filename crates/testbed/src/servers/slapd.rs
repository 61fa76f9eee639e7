//! OpenLDAP's server on TCP 389, and 636 with TLS: the suffix `dc=lab,dc=test`, without entries.
//!
//! Source: slapd(8), slapd.conf(5).

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// Starts it on every address.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn slapd(namespace: &Namespace) -> Server {
    let site = Site::new("slapd");
    site.folder("database");
    site.certificate(namespace);
    let configuration = site.write(
        "slapd.conf",
        "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {}/pid\n\
         TLSCertificateFile {}/cert.pem\nTLSCertificateKeyFile {}/key.pem\n\
         database mdb\nsuffix dc=lab,dc=test\ndirectory {}/database\n",
    );
    let mut command = site.command(namespace, &installed("slapd", "slapd"));
    command.args(["-d", "0", "-h", "ldap:/// ldaps:///", "-f"]).arg(configuration);
    let mut server = site.start(namespace, command, &Ready::Listens(389));
    server.wait(namespace, &Ready::Listens(636));
    server
}
