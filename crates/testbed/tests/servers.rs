//! The servers of the harness: each starts, is there, and leaves nothing behind.

use std::net::Ipv4Addr;

use portolan_testbed::Namespace;
use portolan_testbed::servers::{
    Server, atftpd, charon, chronyd, domain_controller, freeradius, krb5kdc, minissdpd, mongodb, nmbd,
    rabbitmq, slapd, smbd, snmpd, sql_browser, xl2tpd, xrdp,
};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 85, 0, 2);

#[track_caller]
fn comes_and_goes(namespace: &Namespace, server: Server) {
    let folder = server.path("");
    assert!(folder.is_dir() && namespace.pids().contains(&server.pid()));
    drop(server);
    assert!(namespace.pids().is_empty(), "processes are left");
    assert!(!folder.exists(), "{} is left", folder.display());
}

#[test]
fn each_server_starts_also_again_and_leaves_nothing_behind() {
    let namespace = Namespace::new();
    comes_and_goes(&namespace, snmpd(&namespace));
    let all = [
        snmpd,
        chronyd,
        atftpd,
        charon,
        freeradius,
        krb5kdc,
        slapd,
        sql_browser,
        xl2tpd,
        xrdp,
        minissdpd,
        mongodb,
        rabbitmq,
    ];
    for start in all {
        comes_and_goes(&namespace, start(&namespace));
    }
    comes_and_goes(&namespace, smbd(&namespace, "SMB3"));
    let other = Namespace::new();
    other.link("10.85.0.1/24", &namespace, "10.85.0.2/24");
    comes_and_goes(&namespace, nmbd(&namespace, ADDRESS));
    comes_and_goes(&namespace, domain_controller(&namespace, ADDRESS));
}
