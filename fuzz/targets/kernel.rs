//! What systems and their tools hand out, decoded. The first byte chooses the decoder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan_core::kernel::{
    btf::Btf, cgroup, docker, error_queue, http_servicestate, inet_diag, iptables, netsh, nftables, portproxy,
    proc_net, procfs, sysctl, systemd_socket, tcp_setting, windows_firewall, winsock_afd,
};
use portolan_core::socket::{Family, Transport};
use portolan_core::wire::Reader;
use portolan_core::wire::netlink::{Content, Messages};

fuzz_target!(|data: &[u8]| {
    let [which, bytes @ ..] = data else { return };
    let text = &*String::from_utf8_lossy(bytes);
    match which % 18 {
        0 => _ = inet_diag::decode(Transport::Tcp, Reader::new(bytes)),
        1 => messages(bytes),
        2 => drop(Btf::new(bytes).map(|btf| drop((btf.function("f"), btf.member("file", "f_inode"))))),
        3 => drop((cgroup::placement(text), cgroup::container(text), cgroup::unit(text))),
        4 => drop(docker::known_container(bytes)),
        5 => drop(error_queue::icmp(bytes)),
        6 => drop(http_servicestate::registrations(text)),
        7 => drop(iptables::decode(text, Family::Ipv4, "iptables-save")),
        8 => drop((netsh::dynamic_port(bytes), netsh::excluded_ranges(bytes))),
        9 => drop(nftables::decode(bytes)),
        10 => drop(portproxy::carriers(text)),
        11 => drop(proc_net::rows(Transport::Tcp, Family::Ipv6, bytes).count()),
        12 => drop((procfs::stat(text), procfs::mounts(text, "cgroup2"), procfs::command_line(bytes))),
        13 => drop((sysctl::port_range(text), sysctl::reserved_ports(text))),
        14 => drop(systemd_socket::carriers(bytes)),
        15 => drop(windows_firewall::port_rule(text)),
        16 => drop(tcp_setting::auto_reuse_range(text)),
        _ => drop(winsock_afd::read(bytes)),
    }
});

/// A list as netlink gives it.
fn messages(bytes: &[u8]) {
    for message in Messages::new(bytes).take(10_000) {
        let Ok(message) = message else { return };
        if let Content::Row(_, body) = message.content {
            let _ = inet_diag::decode(Transport::Udp, body);
        }
    }
}
