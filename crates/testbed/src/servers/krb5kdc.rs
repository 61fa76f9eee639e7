//! MIT's Kerberos key distribution centre on port 88, UDP and TCP: the realm `LAB.TEST`, without users.
//!
//! Source: krb5kdc(8), kdb5_util(8), krb5.conf(5), kdc.conf(5).

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// Starts it on every address.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn krb5kdc(namespace: &Namespace) -> Server {
    let site = Site::new("krb5kdc");
    let client = site.write(
        "krb5.conf",
        "[libdefaults]\ndefault_realm = LAB.TEST\ndns_lookup_kdc = false\n\
         [realms]\nLAB.TEST = {\n kdc = 127.0.0.1\n}\n[logging]\nkdc = STDERR\n",
    );
    let centre = site.write(
        "kdc.conf",
        "[kdcdefaults]\nkdc_listen = 88\nkdc_tcp_listen = 88\n\
         [realms]\nLAB.TEST = {\n database_name = {}/principal\n key_stash_file = {}/stash\n}\n",
    );
    let command = |program| {
        let mut command = site.command(namespace, &installed(program, "krb5-kdc"));
        command.env("KRB5_CONFIG", &client).env("KRB5_KDC_PROFILE", &centre);
        command
    };
    let mut create = command("kdb5_util");
    create.args(["create", "-s", "-r", "LAB.TEST", "-P", "secret of a test"]);
    site.prepare(create);
    let mut command = command("krb5kdc");
    command.arg("-n");
    let mut server = site.start(namespace, command, &Ready::Receives(88));
    server.wait(namespace, &Ready::Listens(88));
    server
}
