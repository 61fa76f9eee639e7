//! What the tests and benchmarks stand on: network namespaces made by the test itself, a systemd of the test's own,
//! programs that hold sockets in them in every way a test needs, and running and measuring a program there.
//!
//! Linux only, and root only: `cargo xtask test` takes care of both. Everything here panics with what to type next,
//! as a test would, instead of returning errors that every test must unwrap. The crate is never published and
//! nothing that ships depends on it; its system calls that need `unsafe` stand in `system.rs`.

mod answer;
mod bpf;
mod held;
mod impaired;
mod machine;
mod measured;
mod namespace;
mod nested_systemd;
pub mod servers;
mod system;
mod telling;

use std::path::{Path, PathBuf};

pub use rustix::process::Signal;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use answer::Answer;
pub use bpf::{bpf_source, bpf_source_hash, build_bpf};
pub use held::{Held, Holding, READY};
pub use impaired::{Impaired, Impairment};
pub use machine::{FileSeen, Machine, Seen};
pub use measured::{Measured, measured, thread_time};
pub use namespace::Namespace;
pub use nested_systemd::NestedSystemd;
pub use system::{ignore_sigterm, leave_port_to_connect, own_mounts, refuse_bind};
pub use telling::Telling;

/// Descriptors beside those of the sockets: standard streams, pipes to workers, listeners.
const SPARE_DESCRIPTORS: u64 = 256;

/// Path of a program of this workspace: `portolan`, `testbed`. It is looked for beside the running executable and
/// above it, which is where cargo puts both (`target/debug`, with tests in `target/debug/deps`).
///
/// # Panics
/// When it was not built.
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("/proc is mounted");
    let found = own.ancestors().skip(1).take(3).map(|folder| folder.join(name)).find(|path| path.is_file());
    let package = if name == "testbed" { "portolan-testbed" } else { name };
    let profile = if own.ancestors().any(|folder| folder.ends_with("release")) { " --release" } else { "" };
    found.unwrap_or_else(|| {
        panic!("no program '{name}' near {}: run cargo build -p {package}{profile}", own.display())
    })
}

/// Whether this process may make namespaces and change users.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Waits until a child just started shows its command line: the parent goes on while exec has not yet laid it out.
///
/// # Panics
/// When there is no such process.
pub fn wait_for_command_line(pid: u32) {
    let path = format!("/proc/{pid}/cmdline");
    while std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")).is_empty() {
        std::thread::yield_now();
    }
}

/// Raises this process' limit of open descriptors where it is too low for that many sockets; many systems begin at 1024.
///
/// # Panics
/// When more are wanted than this system allows.
#[track_caller]
pub fn allow_descriptors(sockets: u64) {
    let wanted = sockets + SPARE_DESCRIPTORS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let maximum = maximum.map(|maximum| maximum.max(wanted));
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).unwrap_or_else(|error| {
            panic!("{wanted} descriptors are more than `ulimit -Hn` allows ({error}): use more processes")
        });
    }
}

/// Fails clearly where namespaces cannot be made.
#[track_caller]
fn require_root() {
    assert!(
        is_root(),
        "network namespaces need root: run `cargo xtask test`, which uses sudo for the test programs"
    );
    assert!(
        ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"].iter().any(|path| Path::new(path).exists()),
        "the program 'ip' is missing: run `apt-get install iproute2`"
    );
}
