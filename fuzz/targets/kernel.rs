//! What systems and their tools hand out, decoded. The first byte chooses the decoder.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use portolan_core::asked;
use portolan_core::change::{OwnFile, fold};
use portolan_core::kernel::btf::Btf;
use portolan_core::kernel::counters::{Counters, conntrack_statistics, file_numbers, memory, name_and_value_lines, sockstat};
use portolan_core::kernel::mib::{self, Rows};
use portolan_core::kernel::services::Services;
use portolan_core::kernel::sysctl::SysctlFile;
use portolan_core::kernel::trace_format::Format;
use portolan_core::kernel::{
    cgroup, dism, docker, error_queue, http_servicestate, inet_diag, iptables, netsh, nftables, passwd, portproxy,
    proc_fd, proc_maps, proc_net, procfs, route, sysctl, system_handles, systemd_socket, systemd_unit, tcp_setting,
    trace_event,
    windows_firewall,
};
use portolan_core::socket::{Family, Transport};
use portolan_core::wire::netlink::{Content, Messages};
use portolan_core::wire::{Reader, echo};

fuzz_target!(|data: &[u8]| {
    let [which, bytes @ ..] = data else { return };
    if !of_bytes(which % 32, bytes) {
        of_text(which % 32, &String::from_utf8_lossy(bytes));
    }
});

/// What is handed out as bytes; whether the number is one of these.
fn of_bytes(which: u8, bytes: &[u8]) -> bool {
    match which {
        0 => drop(black_box(inet_diag::decode(Transport::Tcp, Reader::new(bytes)))),
        1 => messages(bytes),
        2 => drop(Btf::new(bytes).map(|btf| black_box((btf.function("f"), btf.member("file", "f_inode"))))),
        3 => drop(black_box(docker::known_container(bytes))),
        4 => drop(black_box(error_queue::icmp(bytes))),
        5 => drop(black_box((netsh::dynamic_port(bytes), netsh::excluded_ranges(bytes), netsh::transport(bytes)))),
        6 => drop(black_box(nftables::decode(bytes))),
        7 => drop(black_box(proc_net::rows(Transport::Tcp, Family::Ipv6, bytes).count())),
        8 => drop(black_box((procfs::command_line(bytes), procfs::arguments(bytes)))),
        9 => drop(black_box(systemd_socket::carriers(bytes))),
        10 => drop(black_box(route::decode(Reader::new(bytes)))),
        11 => drop(black_box((proc_fd::socket_inode(bytes), proc_fd::number(bytes), proc_fd::is_kernel_thread(bytes)))),
        12 => drop(black_box(trace_event::call(bytes, 1))),
        13 => tables(bytes),
        14 => {
            let _ = black_box(echo::reply(Family::Ipv6, bytes));
            let _ = echo::behind_ipv4_header(bytes).map(|message| black_box(echo::reply(Family::Ipv4, message)));
        }
        15 => drop(black_box((fold(bytes), system_handles::like(bytes, (1, 1))))),
        _ => return false,
    }
    true
}

fn of_text(which: u8, text: &str) {
    match which {
        16 => drop(black_box((cgroup::placement(text), cgroup::container(text), cgroup::unit(text)))),
        17 => drop(black_box(http_servicestate::registrations(text))),
        18 => drop(black_box(iptables::decode(text, Family::Ipv4, "iptables-save"))),
        19 => drop(black_box(portproxy::carriers(text))),
        20 => {
            drop(black_box((procfs::stat(text), procfs::mounts(text, "cgroup2"), procfs::boot_seconds(text))));
            let of_status = (procfs::effective_uid(text), procfs::effective_capabilities(text));
            black_box((of_status, procfs::open_files_limit(text)));
        }
        21 => drop(black_box((sysctl::port_range(text), sysctl::reserved_ports(text)))),
        22 => drop(black_box(SysctlFile::parse("/etc/sysctl.d/a.conf", text))),
        23 => drop(black_box(windows_firewall::port_rule(text))),
        24 => {
            let named = [("id".to_owned(), text.to_owned())];
            let on = windows_firewall::Profile { on: true, blocks: true };
            drop(black_box(windows_firewall::incoming(&named, &[on])));
        }
        25 => drop(black_box(tcp_setting::auto_reuse_range(text))),
        26 => drop(black_box(systemd_unit::units(text))),
        27 => drop(black_box((dism::features(text), proc_maps::modules(text)))),
        28 => drop(black_box((passwd::users(text).count(), passwd::groups_of(text, "a").count()))),
        29 => drop(black_box((Services::parse(text), Format::parse(text), OwnFile::parse(Some(text)).text()))),
        30 => counters(text),
        _ => drop(black_box(asked::parse(text, &Services::default()))),
    }
}

/// A list as netlink gives it.
fn messages(bytes: &[u8]) {
    for message in Messages::new(bytes).take(10_000) {
        let Ok(message) = message else { return };
        if let Content::Row(_, body) = message.content {
            drop(black_box(inet_diag::decode(Transport::Udp, body)));
        }
    }
}

/// Windows' tables of endpoints, each kind of them.
fn tables(bytes: &[u8]) {
    for transport in Transport::ALL {
        for family in [Family::Ipv4, Family::Ipv6] {
            for rows in [Rows::OwnerPid, Rows::OwnerModule, Rows::Bound] {
                drop(black_box(mib::endpoints((transport, family), rows, bytes)));
            }
        }
    }
}

fn counters(text: &str) {
    let mut counters = Counters::default();
    drop(sockstat(text, &mut counters));
    drop(name_and_value_lines(text, &["Tcp", "TcpExt"], &mut counters));
    drop(conntrack_statistics(text, &mut counters));
    drop(file_numbers(text, &mut counters));
    drop(memory("a", text, &mut counters));
    black_box(counters);
}
