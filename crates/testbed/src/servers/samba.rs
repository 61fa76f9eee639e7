//! Samba: its NetBIOS name server alone, and a whole Active Directory domain controller.
//!
//! Source: nmbd(8), smb.conf(5), samba-tool(8) (domain provision), samba(8). Both want an interface with a broadcast
//! address: they are given the address of one end of a cable.

use std::net::Ipv4Addr;

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// Starts nmbd as `NBHOST` of the workgroup `LAB` on UDP 137 of that address of the namespace.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn nmbd(namespace: &Namespace, address: Ipv4Addr) -> Server {
    let site = Site::new("nmbd");
    site.folder("run/samba");
    let configuration = site.write(
        "smb.conf",
        &format!(
            "[global]\nworkgroup = LAB\nnetbios name = NBHOST\ninterfaces = {address}/24\nbind interfaces only = yes\n\
             private dir = {{}}\nlock directory = {{}}\nstate directory = {{}}\ncache directory = {{}}\n\
             pid directory = {{}}\nncalrpc dir = {{}}/ncalrpc\nlog file = {{}}/nmbd.log\n"
        ),
    );
    let mut command = site.command(namespace, &installed("nmbd", "samba"));
    command.args(["-F", "--no-process-group", "-s"]).arg(configuration);
    site.start(namespace, command, &Ready::Answers((address, 137).into(), &NODE_STATUS))
}

/// Starts the file server alone on TCP 445 and 139 of every address, without shares, with this highest protocol: `SMB3`,
/// `NT1`.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn smbd(namespace: &Namespace, protocol: &str) -> Server {
    let site = Site::new("smbd");
    site.folder("run/samba");
    let configuration = site.write(
        "smb.conf",
        &format!(
            "[global]\nworkgroup = LAB\nnetbios name = FILES\nserver min protocol = NT1\n\
             server max protocol = {protocol}\nprivate dir = {{}}\nlock directory = {{}}\n\
             state directory = {{}}\ncache directory = {{}}\npid directory = {{}}\n\
             ncalrpc dir = {{}}/ncalrpc\nlog file = {{}}/smbd.log\n"
        ),
    );
    let mut command = site.command(namespace, &installed("smbd", "samba"));
    command.args(["-F", "--no-process-group", "-s"]).arg(configuration);
    let mut server = site.start(namespace, command, &Ready::Listens(445));
    server.wait(namespace, &Ready::Listens(139));
    server
}

/// Provisions and starts the domain controller `dc1` of the domain `lab.test` (`LAB`) on that address of the namespace:
/// DNS 53, Kerberos 88, endpoint mapper 135, NetBIOS 137, LDAP 389 and 636 (tcp, and udp for 389), SMB 445, global
/// catalog 3268. Takes about 8 s.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn domain_controller(namespace: &Namespace, address: Ipv4Addr) -> Server {
    let site = Site::new("samba");
    site.folder("run/samba");
    let mut provision = site.command(namespace, &installed("samba-tool", "samba-ad-provision"));
    provision.args(["domain", "provision", "--realm=LAB.TEST", "--domain=LAB", "--server-role=dc"]);
    provision.args(["--adminpass=P@ssw0rd1", "--dns-backend=SAMBA_INTERNAL", "--host-name=dc1"]);
    provision.arg(format!("--host-ip={address}")).arg(format!("--targetdir={}", site.folder("dc").display()));
    site.prepare(provision);
    let configuration = site.path("dc/etc/smb.conf");
    let text = std::fs::read_to_string(&configuration).expect("provisioning writes it");
    let more = format!(
        "[global]\n\tnetbios name = DC1\n\tinterfaces = {address}/24\n\tbind interfaces only = yes\n"
    );
    site.write("dc/etc/smb.conf", &text.replacen("[global]\n", &more, 1));
    let mut command = site.command(namespace, &installed("samba", "samba-ad-dc"));
    command.args(["-F", "--no-process-group", "-M", "prefork", "-s"]).arg(configuration);
    // The processes come up in their own order: the last ones are waited for.
    let mut server = site.start(namespace, command, &Ready::Listens(389));
    for ready in [
        Ready::Listens(135),
        Ready::Listens(88),
        Ready::Listens(636),
        Ready::Listens(445),
        Ready::Listens(3268),
    ] {
        server.wait(namespace, &ready);
    }
    server.wait(namespace, &Ready::Answers((address, 137).into(), &NODE_STATUS));
    server
}

/// A NetBIOS node status request for `*` (RFC 1002 section 4.2.17).
const NODE_STATUS: [u8; 50] =
    *b"\x00\x01\0\0\0\x01\0\0\0\0\0\0\x20CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\0\0\x21\0\x01";
