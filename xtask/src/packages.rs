//! The Debian packages that tests and benchmarks need: the one list, and their installation.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// A program (or a file), and the package that brings it.
const NEEDED: &[(&str, &str)] = &[
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
    ("python3", "python3"),
    // Servers that conversations are tested against, and the clients that say what is right.
    ("snmpd", "snmpd"),
    ("snmpget", "snmp"),
    ("chronyd", "chrony"),
    ("samba", "samba"),
    ("samba-tool", "samba-common-bin"),
    ("rpcclient", "smbclient"),
    ("/usr/share/samba/setup/provision.ldif", "samba-ad-provision"),
    ("/usr/share/doc/samba-dsdb-modules/copyright", "samba-ad-dc"),
];

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

/// Installs what is missing, with sudo where this user is not root.
pub(crate) fn install() -> anyhow::Result<()> {
    let mut missing: Vec<&str> =
        NEEDED.iter().filter(|(program, _)| !is_installed(program)).map(|(_, package)| *package).collect();
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
fn as_root(program: &str) -> anyhow::Result<Command> {
    if portolan_testbed::is_root() {
        return Ok(Command::new(program));
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

/// Whether a program is on that path.
fn is_installed(program: &str) -> bool {
    path().split(':').any(|folder| Path::new(folder).join(program).is_file())
}
