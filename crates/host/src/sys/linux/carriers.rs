//! What takes a port's traffic on behalf of another: socket units, DNAT rules, proxies of container runtimes.
//!
//! Source: systemctl(1) list-sockets, the firewall's listings, /proc/PID/cmdline of proxies. Socket units are those
//! of the system's manager, in the namespace of pid 1. A container's name comes from Docker's own files, which root
//! alone may read; without it the carrier leads to an address.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use portolan_core::kernel::packet_filter::Ruleset;
use portolan_core::kernel::{docker, procfs, systemd_socket};
use portolan_core::range::{Carrier, FirewallRule};
use portolan_core::snapshot::{Gap, GapReason, Reading};

use super::firewall::firewall_of;
use super::{command, file, packet_filter};

/// Carriers of this thread's namespace.
pub(crate) fn carriers() -> Reading<Vec<Carrier>> {
    carriers_of(&packet_filter::rules())
}

/// Carriers and what the firewall lets in, with one listing of its rules for both.
pub(crate) fn carriers_and_firewall() -> (Reading<Vec<Carrier>>, Reading<Option<Vec<FirewallRule>>>) {
    let rules = packet_filter::rules();
    (carriers_of(&rules), firewall_of(&rules))
}

fn carriers_of(rules: &Reading<Ruleset>) -> Reading<Vec<Carrier>> {
    let mut gaps = rules.gaps.clone();
    let mut carriers = rules.value.carriers().into_value(&mut gaps);
    gaps.iter_mut().for_each(|gap| "DNAT rules".clone_into(&mut gap.what));
    carriers.extend(socket_units().into_value(&mut gaps));
    carriers.extend(proxies());
    name_containers(&mut carriers);
    Reading { value: carriers, gaps }
}

/// The inode of a process' network namespace; none where it may not be seen.
fn namespace_of(process: &str) -> Option<u64> {
    std::fs::metadata(format!("/proc/{process}/ns/net")).map(|metadata| metadata.ino()).ok()
}

/// Whether a process is in this thread's namespace, as far as may be seen.
fn is_here(process: &str) -> bool {
    namespace_of(process).is_none_or(|theirs| Some(theirs) == namespace_of("thread-self"))
}

/// Socket units, where systemd runs the host.
fn socket_units() -> Reading<Vec<Carrier>> {
    // sd_booted(3).
    if !Path::new("/run/systemd/system").is_dir() || !is_here("1") {
        return Reading::default();
    }
    let gap = |reason, detail: String| {
        let gap = Gap::new("socket units", reason, detail).with_remedy("systemctl list-sockets");
        Reading { value: Vec::new(), gaps: vec![gap] }
    };
    let Some(systemctl) = command::find("systemctl") else {
        return gap(
            GapReason::Unsupported,
            "systemd runs this host, and systemctl is not installed".to_owned(),
        );
    };
    match command::output(&systemctl, &["list-sockets", "--show-types", "--no-pager", "--output=json"]) {
        Ok(json) => match systemd_socket::carriers(&json) {
            Ok(units) => Reading::whole(units),
            Err(error) => gap(GapReason::Malformed, error.to_string()),
        },
        Err(error) => gap(file::reason(&error.source), error.to_string()),
    }
}

/// Names of proxy processes, as far as the kernel keeps them (15 bytes).
const PROXIES: [&str; 4] = ["docker-proxy", "rootlesskit-doc", "pasta", "pasta.avx2"];

/// Ports that proxies of container runtimes hold, by their command lines.
fn proxies() -> Vec<Carrier> {
    let mut carriers = Vec::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = process.file_name();
        let Some(pid) = pid.to_str().filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit())) else {
            continue;
        };
        let name = file::text(process.path().join("comm"), file::SHORT).unwrap_or_default();
        if !PROXIES.contains(&name.trim_end()) || !is_here(pid) {
            continue;
        }
        if let Ok(bytes) = file::bytes(process.path().join("cmdline"), file::SHORT) {
            let mut found = docker::carriers(&procfs::arguments(&bytes));
            found.iter_mut().for_each(|carrier| carrier.name = format!("{} (pid {pid})", carrier.name));
            carriers.append(&mut found);
        }
    }
    carriers
}

/// Where Docker keeps what it knows of its containers.
const DOCKER: &str = "/var/lib/docker/containers";
/// Containers that are looked at.
const CONTAINERS: usize = 2000;

/// Puts the names of Docker's containers before their addresses, where that may be read.
fn name_containers(carriers: &mut [Carrier]) {
    if carriers.iter().all(|carrier| carrier.to.is_none()) {
        return;
    }
    let folders = std::fs::read_dir(DOCKER).into_iter().flatten().flatten().take(CONTAINERS);
    let known: Vec<_> = folders
        .filter_map(|folder| file::bytes(folder.path().join("config.v2.json"), file::LONG).ok())
        .filter_map(|json| docker::known_container(&json))
        .collect();
    if !known.is_empty() {
        carriers
            .iter_mut()
            .filter_map(|carrier| carrier.to.as_mut())
            .for_each(|to| docker::name_container(to, &known));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use portolan_core::range::CarrierKind;
    use portolan_core::socket::Transport;
    use portolan_testbed::Namespace;

    use super::*;

    #[test]
    fn a_rule_of_destination_nat_is_found_where_it_is_and_nowhere_else() {
        let (namespace, other) = (Namespace::new(), Namespace::new());
        let rules = "table ip n { chain pre { type nat hook prerouting priority -100; tcp dport 8080 dnat to 172.17.0.2:80; }; }";
        let status = namespace.run(|| Command::new("nft").arg(rules).status());
        assert!(status.expect("nft is installed: run `apt-get install nftables`").success());
        let reading = namespace.run(carriers);
        assert_eq!(reading.gaps, []);
        let [carrier] = &reading.value[..] else { panic!("{:?}", reading.value) };
        assert_eq!((carrier.kind, carrier.transport), (CarrierKind::DnatRule, Transport::Tcp));
        assert_eq!((carrier.ports.first(), carrier.to.as_deref()), (8080, Some("172.17.0.2:80")));
        assert_eq!(other.run(carriers), Reading::default());
    }

    /// A process, ended when dropped.
    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_proxy_of_docker_is_found_by_its_command_line() {
        let namespace = Namespace::new();
        // A program of that name which only waits: a link to /bin/sh, since the kernel names it by the path it is run by.
        let folder = std::env::temp_dir().join(format!("portolan-proxy-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("docker-proxy");
        std::os::unix::fs::symlink("/bin/sh", &program).unwrap();
        let arguments = ["-c", "read x", "-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", "8080"];
        let child = namespace.run(|| {
            Command::new(&program)
                .arg0("/usr/bin/docker-proxy")
                .args(arguments)
                .args(["-container-ip", "172.17.0.2", "-container-port", "80"])
                .stdin(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        });
        let child = Running(child);
        portolan_testbed::wait_for_command_line(child.0.id());
        let seen = namespace.run(carriers).value;
        std::fs::remove_dir_all(&folder).unwrap();
        let [carrier] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!(carrier.kind, CarrierKind::ContainerProxy);
        assert_eq!(carrier.name, format!("docker-proxy (pid {})", child.0.id()));
        assert_eq!(carrier.to.as_deref(), Some("172.17.0.2:80"));
        assert_eq!(Namespace::new().run(carriers).value, []);
    }
}
