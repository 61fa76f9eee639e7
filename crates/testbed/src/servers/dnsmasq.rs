//! dnsmasq on port 53 of 127.0.0.1, UDP and TCP: the domain `mail.test`, whose mail 127.0.0.1 takes.
//!
//! Source: dnsmasq(8).

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// Starts it, without another server to ask. `gone.mail.test` is a second host for mail, which has no address.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn dnsmasq(namespace: &Namespace) -> Server {
    let site = Site::new("dnsmasq");
    let configuration = site.write(
        "dnsmasq.conf",
        "no-resolv\nno-hosts\nno-poll\nlisten-address=127.0.0.1\nbind-interfaces\nuser=root\nlog-facility=-\n\
         local=/test/\nmx-host=mail.test,gone.mail.test,20\nmx-host=mail.test,mx.mail.test,10\n\
         host-record=mx.mail.test,127.0.0.1\n",
    );
    let mut command = site.command(namespace, &installed("dnsmasq", "dnsmasq-base"));
    command.arg("--keep-in-foreground").arg(format!("--conf-file={}", configuration.display()));
    site.start(namespace, command, &Ready::Receives(53))
}
