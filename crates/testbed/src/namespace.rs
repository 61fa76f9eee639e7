//! Network namespaces: made by a test, named `plt-PID-N` below /run/netns, and gone with their processes at its end.
//!
//! Source: ip-netns(8), setns(2), network_namespaces(7). iproute2 makes, links and removes them; entering one is a
//! system call, since a thread can do it for itself alone. Left out: pid namespaces, which ports do not need.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fd::AsFd;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const FOLDER: &str = "/run/netns";
const PREFIX: &str = "plt-";

static NEXT: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

/// A network namespace with loopback up and nothing else in it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new, empty namespace. The first one of a process also removes what dead test processes left behind.
    ///
    /// # Panics
    /// When not root, or without iproute2.
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "it makes something outside of the program")]
    pub fn new() -> Self {
        crate::require_root();
        SWEEP.call_once(remove_stale);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        ip(&["netns", "add", &name]);
        let namespace = Self { name };
        ip(&["-n", namespace.name(), "link", "set", "lo", "up"]);
        namespace
    }

    /// Its name, as `ip netns` and `portolan --netns` take it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// The inode of the namespace, as `/proc/PID/ns/net` shows it.
    pub fn inode(&self) -> u64 {
        fs::metadata(self.path()).expect("the namespace exists while this value does").ino()
    }

    /// Runs a closure on a thread of its own inside; programs that it starts are inside too. A panic goes on outside.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(self.path()).expect("the namespace exists while this value does");
        let inside = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter a network namespace");
            work()
        };
        match thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// A command that will run inside, as root. The process keeps one pid: it is the program itself at the end.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        self.entering(&[], program)
    }

    /// A command that will run inside as another user, without groups and capabilities. The program may lie where
    /// that user could not reach it.
    pub fn command_as(&self, uid: u32, program: impl AsRef<Path>) -> Command {
        self.entering(&["--uid".into(), uid.to_string().into()], program)
    }

    /// A command that enters with these options of `testbed enter`.
    pub(crate) fn entering(&self, options: &[OsString], program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(crate::program("testbed"));
        command.arg("enter").arg(self.path()).args(options).arg(program.as_ref());
        command
    }

    /// Sets a kernel setting of this namespace: `net.ipv4.ip_local_port_range`.
    ///
    /// # Panics
    /// When the kernel refuses the value.
    #[track_caller]
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        self.run(|| fs::write(&path, value)).unwrap_or_else(|error| panic!("sysctl {key}={value}: {error}"));
    }

    /// Reads a kernel setting of this namespace, without the end of line.
    ///
    /// # Panics
    /// When the kernel has no such setting.
    #[track_caller]
    pub fn read_sysctl(&self, key: &str) -> String {
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        let text =
            self.run(|| fs::read_to_string(&path)).unwrap_or_else(|error| panic!("sysctl {key}: {error}"));
        text.trim_end().to_owned()
    }

    /// Gives loopback one more address: `192.0.2.1/32`.
    #[track_caller]
    pub fn add_address(&self, address: &str) {
        self.assign("lo", address);
        self.await_own(address);
    }

    #[track_caller]
    fn assign(&self, interface: &str, address: &str) {
        let mut arguments = vec!["-n", self.name(), "address", "add", address, "dev", interface];
        if address.contains(':') {
            arguments.push("nodad");
        }
        ip(&arguments);
    }

    /// Waits until an address can be reached from inside: the kernel adds the route to an IPv6 address of its own later, on
    /// a thread that a busy machine keeps waiting.
    #[track_caller]
    fn await_own(&self, address: &str) {
        let address = address.split('/').next().unwrap_or(address);
        let until = Instant::now() + Duration::from_secs(10);
        let reach = || UdpSocket::bind("[::]:0").and_then(|socket| socket.connect((address, 9)));
        while address.contains(':')
            && let Err(error) = self.run(reach)
            && error.kind() == ErrorKind::NetworkUnreachable
        {
            assert!(Instant::now() < until, "{address} in {}: {error}", self.name());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Lays a cable (a veth pair) to another namespace, with an address (`10.0.0.1/24`, `2001:db8::1/64`) at each end.
    /// Returns the interface's name, the same at both ends.
    #[track_caller]
    pub fn link(&self, address: &str, other: &Self, other_address: &str) -> String {
        let interface = Self::new_interface();
        let (own, peer) = (self.name(), other.name());
        ip(&[
            "link", "add", &interface, "netns", own, "type", "veth", "peer", "name", &interface, "netns",
            peer,
        ]);
        self.raise(&interface, address);
        other.raise(&interface, other_address);
        self.await_own(address);
        other.await_own(other_address);
        self.await_peer(address, other, other_address);
        interface
    }

    /// Waits until a datagram has come through a new cable. The kernel makes devices ready on threads that a busy machine
    /// keeps waiting; until then they swallow what is sent, and three questions for a neighbour without an answer are an
    /// "address unreachable" to whoever asked.
    #[track_caller]
    fn await_peer(&self, address: &str, other: &Self, other_address: &str) {
        let bind = |address: &str| UdpSocket::bind((address.split('/').next().unwrap_or(address), 0));
        let socket = self.run(|| bind(address)).expect("an address of its own can be bound");
        let peer = other.run(|| bind(other_address)).expect("an address of its own can be bound");
        peer.set_read_timeout(Some(Duration::from_secs(1))).expect("a second is a time to wait");
        let to = peer.local_addr().expect("a bound socket has an address");
        let until = Instant::now() + Duration::from_secs(20);
        while socket.send_to(b"?", to).is_err() || peer.recv(&mut [0]).is_err() {
            assert!(Instant::now() < until, "nothing comes from {address} to {other_address}");
        }
    }

    /// A name that no interface of these tests has.
    pub(crate) fn new_interface() -> String {
        format!("v{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Gives an interface an address, and sets it up.
    #[track_caller]
    pub(crate) fn raise(&self, interface: &str, address: &str) {
        self.assign(interface, address);
        ip(&["-n", self.name(), "link", "set", interface, "up", "txqueuelen", "10000"]);
    }

    /// The processes inside, by pid; never this one.
    pub fn pids(&self) -> Vec<u32> {
        pids_inside(&self.path())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Runs `ip` with its output kept for the message.
#[track_caller]
fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip was found before");
    assert!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
}

fn pids_inside(namespace: &Path) -> Vec<u32> {
    let Ok(wanted) = fs::metadata(namespace) else { return Vec::new() };
    let processes = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            let link = fs::metadata(format!("/proc/{pid}/ns/net"));
            link.is_ok_and(|link| (link.dev(), link.ino()) == (wanted.dev(), wanted.ino()))
        })
        .collect()
}

/// Kills what is inside, then takes the name away; the kernel frees the namespace with its last user.
fn remove(name: &str) {
    for pid in pids_inside(&Path::new(FOLDER).join(name)) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            // It may just have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    // Two test programs may remove the same stale namespace; and Drop must not panic while a test unwinds.
    let _ = Command::new("ip").args(["netns", "del", name]).output();
}

/// Removes the namespaces of test processes that were killed before they could.
fn remove_stale() {
    let Ok(entries) = fs::read_dir(FOLDER) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&name);
        }
    }
}
