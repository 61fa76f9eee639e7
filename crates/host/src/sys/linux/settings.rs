//! What is set about ports: ephemeral range, reservations, a few switches, and the addresses of this host.
//!
//! Source: Documentation/networking/ip-sysctl.rst, sysctl.d(5), getifaddrs(3). All of it belongs to the network
//! namespace of the thread, besides the files of /etc, which hold for the host at boot.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use portolan_core::kernel::malformed::Malformed;
use portolan_core::kernel::sysctl::{self, SysctlFile};
use portolan_core::range::EphemeralRange;
use portolan_core::snapshot::{Gap, GapReason, Reading, Settings};
use portolan_core::socket::{Family, Transport};

use super::{addresses, file};
use crate::sys::HostSettings;

/// Files of settings that are read at most.
const FILES: usize = 1000;
/// What a gap calls them.
pub(super) const FILES_OF_SETTINGS: &str = "files of settings";

/// The settings of this thread's namespace.
pub(crate) fn settings() -> Reading<HostSettings> {
    let gaps = &mut Vec::new();
    let ipv6 = has_ipv6();
    let families = if ipv6 { &Family::ALL[..] } else { &[Family::Ipv4] };
    let range = value(sysctl::PORT_RANGE, "ephemeral range", gaps, sysctl::port_range);
    let ranges = range.into_iter().flat_map(|range| {
        let one = move |transport| {
            families.iter().map(move |family| EphemeralRange { transport, family: *family, range })
        };
        Transport::ALL.into_iter().flat_map(one)
    });
    let ranges = ranges.collect();
    let reserved =
        value(sysctl::RESERVED_PORTS, "reservations", gaps, sysctl::reserved_ports).unwrap_or_default();
    // The kernel's own value is what counts here; a file that cannot be read only leaves untold where it comes from.
    let files = if reserved.is_empty() { Vec::new() } else { files().value };
    let addresses = addresses::addresses().unwrap_or_else(|error| {
        gaps.push(Gap::new("addresses", file::reason(&error), format!("getifaddrs: {error}")));
        Vec::new()
    });
    let settings = Settings {
        unprivileged_port_start: number("net.ipv4.ip_unprivileged_port_start", gaps),
        tcp_tw_reuse: number("net.ipv4.tcp_tw_reuse", gaps),
        tcp_tw_reuse_delay_ms: number("net.ipv4.tcp_tw_reuse_delay", gaps),
        tcp_max_tw_buckets: number("net.ipv4.tcp_max_tw_buckets", gaps),
        ipv4_nonlocal_bind: number("net.ipv4.ip_nonlocal_bind", gaps).map(|value: u8| value != 0),
        ipv6_nonlocal_bind: number("net.ipv6.ip_nonlocal_bind", gaps)
            .map(|value: u8| value != 0)
            .filter(|_| ipv6),
        ipv6: Some(ipv6),
        ..Settings::default()
    };
    let reservations = sysctl::reservations(&reserved, &files);
    let value = HostSettings { ranges, reservations, settings, addresses, components: Vec::new() };
    Reading { value, gaps: std::mem::take(gaps) }
}

/// A setting's value; none, with a gap, where it is not there or not understood.
fn value<T>(
    key: &str,
    what: &str,
    gaps: &mut Vec<Gap>,
    decode: fn(&str) -> Result<T, Malformed>,
) -> Option<T> {
    let path = file::setting_path(key);
    match file::setting(key).map(|text| decode(&text)) {
        Ok(Ok(value)) => Some(value),
        Ok(Err(error)) => {
            gaps.push(Gap::new(what, GapReason::Malformed, error.to_string()));
            None
        }
        Err(error) => {
            gaps.push(file::gap(what, &path, &error));
            None
        }
    }
}

/// A setting that is a number; not every kernel has every one, which is no gap: nothing then follows from it.
fn number<T: FromStr>(key: &'static str, gaps: &mut Vec<Gap>) -> Option<T> {
    match file::setting(key) {
        Ok(text) => match text.trim().parse() {
            Ok(value) => Some(value),
            Err(_) => {
                gaps.push(Gap::new("settings", GapReason::Malformed, Malformed::new(key, &text).to_string()));
                None
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            gaps.push(file::gap("settings", &file::setting_path(key), &error));
            None
        }
    }
}

/// The files that set the kernel's settings at boot, in the order they are applied.
pub(super) fn files() -> Reading<Vec<SysctlFile>> {
    let gaps = &mut Vec::new();
    let mut paths: Vec<PathBuf> = Vec::new();
    for folder in sysctl::FOLDERS {
        match std::fs::read_dir(folder) {
            Ok(entries) => paths.extend(entries.flatten().map(|entry| entry.path())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => gaps.push(file::gap(FILES_OF_SETTINGS, folder, &error)),
        }
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    paths.push(sysctl::LAST_FILE.into());
    if paths.len() > FILES {
        gaps.push(Gap::new(FILES_OF_SETTINGS, GapReason::TooLarge, format!("more than {FILES} files")));
    }
    let files = paths.into_iter().take(FILES).filter_map(|path| {
        let shown = path.to_string_lossy();
        match file::text(&path, file::LONG) {
            Ok(text) => Some(SysctlFile::parse(shown, &text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                gaps.push(file::gap(FILES_OF_SETTINGS, &shown, &error));
                None
            }
        }
    });
    let value = sysctl::in_force(files.collect());
    Reading { value, gaps: std::mem::take(gaps) }
}

/// Whether the kernel makes IPv6 sockets.
fn has_ipv6() -> bool {
    use rustix::net::{AddressFamily, SocketType, socket};
    !matches!(socket(AddressFamily::INET6, SocketType::DGRAM, None), Err(rustix::io::Errno::AFNOSUPPORT))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn inside(namespace: &portolan_testbed::Namespace) -> HostSettings {
        let reading = namespace.run(settings);
        assert_eq!(reading.gaps, []);
        reading.value
    }

    #[test]
    fn what_is_set_in_a_namespace_is_read_there() {
        let namespace = portolan_testbed::Namespace::new();
        namespace.sysctl("net.ipv4.ip_unprivileged_port_start", "80");
        namespace.sysctl("net.ipv4.ip_local_port_range", "40000 50001");
        namespace.sysctl("net.ipv4.ip_nonlocal_bind", "1");
        namespace.sysctl("net.ipv4.tcp_tw_reuse", "1");
        namespace.add_address("192.0.2.7/25");
        namespace.add_address("2001:db8::7/64");
        let seen = inside(&namespace);
        assert_eq!(seen.ranges.len(), 4);
        assert!(seen.ranges.iter().all(|r| (r.range.first(), r.range.last()) == (40000, 50001)));
        assert_eq!(seen.settings.unprivileged_port_start, Some(80));
        assert_eq!(
            (seen.settings.ipv4_nonlocal_bind, seen.settings.ipv6_nonlocal_bind),
            (Some(true), Some(false))
        );
        assert_eq!((seen.settings.tcp_tw_reuse, seen.settings.ipv6), (Some(1), Some(true)));
        let mut addresses: Vec<_> =
            seen.addresses.iter().map(|a| format!("{}/{} {}", a.address, a.prefix, a.interface)).collect();
        addresses.sort();
        assert_eq!(addresses, ["127.0.0.1/8 lo", "192.0.2.7/25 lo", "2001:db8::7/64 lo", "::1/128 lo"]);
        assert_eq!(seen.reservations, []);
    }

    #[test]
    fn five_thousand_reserved_ports_come_back_whole() {
        let namespace = portolan_testbed::Namespace::new();
        let ports: Vec<String> = (0..5000).map(|n| (20_000 + 2 * n).to_string()).collect();
        namespace.run(|| {
            // The kernel takes about 4 KiB a write, and adds what follows on the same descriptor.
            let mut file = std::fs::File::options()
                .write(true)
                .open("/proc/sys/net/ipv4/ip_local_reserved_ports")
                .unwrap();
            for some in ports.chunks(500) {
                file.write_all(some.join(",").as_bytes()).unwrap();
            }
        });
        let seen: Vec<String> = inside(&namespace).reservations.iter().map(|r| r.range.to_string()).collect();
        assert_eq!(seen, ports);
    }
}
