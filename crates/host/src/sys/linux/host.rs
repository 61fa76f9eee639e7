//! The host: its names, its boot, the network namespace, and what the one who looks may do.
//!
//! Source: proc(5), capabilities(7), namespaces(7), services(5). What cannot be read stays empty: every other reading
//! says for itself what it could not see.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use portolan_core::kernel::procfs::effective_capabilities;
use portolan_core::kernel::services::Services;
use portolan_core::snapshot::{Host, System};

use super::file;

const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_NET_BIND_SERVICE: u32 = 10;
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_PTRACE: u32 = 19;

/// The host as this thread sees it.
pub(crate) fn host() -> Host {
    let line = |path: &str| file::text(path, file::SHORT).map(|text| text.trim().to_owned());
    let namespace = |path: &str| std::fs::metadata(path).map(|metadata| metadata.ino()).ok();
    let status = file::text("/proc/thread-self/status", file::SHORT).unwrap_or_default();
    let capabilities = effective_capabilities(&status).unwrap_or(0);
    let may = |capability: u32| capabilities & (1 << capability) != 0;
    Host {
        name: line("/proc/sys/kernel/hostname").unwrap_or_default(),
        system: System::Linux,
        release: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
        boot_id: line("/proc/sys/kernel/random/boot_id").ok(),
        network_namespace: namespace("/proc/thread-self/ns/net"),
        initial_network_namespace: namespace("/proc/1/ns/net"),
        uid: Some(rustix::process::geteuid().as_raw()),
        privileged: [CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_SYS_PTRACE].into_iter().all(may),
        may_bind_privileged: may(CAP_NET_BIND_SERVICE),
        ..Host::default()
    }
}

/// The machine's id (machine-id(5)); an image that was never started has an empty one, or says `uninitialized`.
pub(crate) fn machine() -> Option<String> {
    let text = file::text("/etc/machine-id", file::SHORT).ok()?;
    let id = text.trim();
    (id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// Names of ports, of /etc/services; without that file none.
pub(crate) fn services() -> Services {
    file::text("/etc/services", file::LONG).map(|text| Services::parse(&text)).unwrap_or_default()
}

/// Processor time of this process so far, all threads together.
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_an_id_where_its_file_holds_one() {
        let text = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        assert_eq!(machine(), Some(text.trim().to_owned()).filter(|id| id.len() == 32));
    }

    #[test]
    fn the_host_names_the_namespace_that_is_looked_at() {
        let namespace = portolan_testbed::Namespace::new();
        let (outside, inside) = (host(), namespace.run(host));
        assert_eq!(inside.network_namespace, Some(namespace.inode()));
        assert_eq!(inside.initial_network_namespace, outside.initial_network_namespace);
        assert_eq!(inside.boot_id.as_ref().map(String::len), Some(36));
        assert!(outside.privileged && outside.may_bind_privileged && outside.uid == Some(0));
        assert_eq!((inside.name, inside.release), (outside.name, outside.release));
    }
}
