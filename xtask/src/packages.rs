//! The Debian packages that tests, benchmarks and releases need: the lists, and their installation.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// A program or file, and the package that brings it.
type Needed = (&'static str, &'static str);

/// What tests and benchmarks use on Linux.
pub(crate) const LINUX: &[Needed] = &[
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("nft", "nftables"),
    ("iptables-save", "iptables"),
    ("lsof", "lsof"),
    ("netstat", "net-tools"),
    ("fuser", "psmisc"),
    ("strace", "strace"),
    ("systemctl", "systemd"),
    ("nsenter", "util-linux"),
    // What the BPF program of trace is built with.
    ("clang", "clang"),
    ("llvm-strip", "llvm"),
    ("python3", "python3"),
    ("openssl", "openssl"),
    ("nmap", "nmap"),
    // Servers that conversations are tested against, and the clients that say what is right.
    ("snmpd", "snmpd"),
    ("snmpget", "snmp"),
    ("chronyd", "chrony"),
    ("dnsmasq", "dnsmasq-base"),
    ("slapd", "slapd"),
    ("ldapsearch", "ldap-utils"),
    ("krb5kdc", "krb5-kdc"),
    ("kinit", "krb5-user"),
    ("/usr/lib/ipsec/charon", "strongswan-charon"),
    ("swanctl", "strongswan-swanctl"),
    ("ike-scan", "ike-scan"),
    ("xl2tpd", "xl2tpd"),
    ("freeradius", "freeradius"),
    ("atftpd", "atftpd"),
    ("xrdp", "xrdp"),
    ("tsql", "freetds-bin"),
    ("samba", "samba"),
    ("samba-tool", "samba-common-bin"),
    ("rpcclient", "smbclient"),
    ("/usr/share/samba/setup/provision.ldif", "samba-ad-provision"),
    ("/usr/share/doc/samba-dsdb-modules/copyright", "samba-ad-dc"),
    ("nginx", "nginx-light"),
    ("curl", "curl"),
    ("tinyproxy", "tinyproxy"),
    ("gtlsserver", "ngtcp2-server"),
    ("smtpd", "opensmtpd"),
    ("/usr/lib/dovecot/imap-login", "dovecot-imapd"),
    ("/usr/lib/dovecot/pop3-login", "dovecot-pop3d"),
    ("leafnode", "leafnode"),
    ("socat", "socat"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("telnetd", "inetutils-telnetd"),
    ("vsftpd", "vsftpd"),
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("memcached", "memcached"),
    ("/usr/lib/postgresql/15/bin/postgres", "postgresql-15"),
    ("psql", "postgresql-client-common"),
    ("mariadbd", "mariadb-server"),
    ("mariadb", "mariadb-client"),
    ("mosquitto", "mosquitto"),
    ("mosquitto_sub", "mosquitto-clients"),
    ("kamailio", "kamailio"),
    ("turnserver", "coturn"),
    ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server"),
    ("minissdpd", "minissdpd"),
    ("/usr/lib/python3/dist-packages/bson/__init__.py", "python3-bson"),
    ("/usr/lib/python3/dist-packages/pymongo/__init__.py", "python3-pymongo"),
];

/// What building for Windows uses: the linker, and what Wine's own installation needs.
pub(crate) const WINDOWS: &[Needed] = &[
    ("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64-posix"),
    ("patchelf", "patchelf"),
    ("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
];

/// What a release is built and packed with.
pub(crate) const RELEASE: &[Needed] =
    &[("musl-gcc", "musl-tools"), ("zip", "zip"), ("unzip", "unzip"), ("git", "git")];

/// Installs packages without starting the services that they bring: invoke-rc.d(8) and deb-systemd-invoke(1p) ask
/// policy-rc.d, which is there for the time of the installation. A policy that is there already stays.
const INSTALL: &str = "
policy=/usr/sbin/policy-rc.d
if ! [ -e $policy ]; then
    trap \"rm -f $policy\" EXIT
    printf '#!/bin/sh\\nexit 101\\n' >$policy && chmod 755 $policy || exit
fi
apt-get install --yes --no-install-recommends \"$@\"
";

/// Installs what is missing of a list, with sudo where this user is not root.
pub(crate) fn install(needed: &[Needed]) -> anyhow::Result<()> {
    let mut missing: Vec<&str> =
        needed.iter().filter(|(file, _)| !is_installed(file)).map(|(_, package)| *package).collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let typed = format!("apt-get install {}", missing.join(" "));
    if !is_installed("apt-get") {
        bail!(
            "these Debian packages, or what your system calls them, must be installed: {}",
            missing.join(" ")
        );
    }
    println!("    {typed}");
    for (program, arguments) in [("apt-get", &["update"][..]), ("sh", &["-c", INSTALL, "sh"])] {
        let mut command = as_root(program)?;
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        if program == "sh" {
            command.args(&missing);
        }
        let status = command.status()?;
        if !status.success() {
            bail!("apt-get failed ({status}): type `{typed}` as root and try again");
        }
    }
    Ok(())
}

/// A command as root: itself, or through sudo.
pub(crate) fn as_root(program: &str) -> anyhow::Result<Command> {
    if portolan_testbed::is_root() {
        let mut command = Command::new(program);
        command.env("PATH", path());
        return Ok(command);
    }
    require_sudo()?;
    let mut command = Command::new("sudo");
    command.arg("-E").arg(program);
    Ok(command)
}

/// Fails clearly where root is needed and cannot be had.
pub(crate) fn require_sudo() -> anyhow::Result<()> {
    is_installed("sudo").then_some(()).context("this needs root: run it as root, or install sudo")
}

/// The path, and where Debian keeps programs for root, which `su` leaves out.
pub(crate) fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Whether a program is on that path; a file is there if its absolute path is.
fn is_installed(file: &str) -> bool {
    path().split(':').any(|folder| Path::new(folder).join(file).is_file())
}
