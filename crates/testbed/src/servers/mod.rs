//! Real servers for tests: one recipe a file, each a function from a [`Namespace`] to a running [`Server`].
//!
//! A recipe writes its configuration into a folder of its own, starts the program inside the namespace in the foreground,
//! and waits until it listens or answers. Each server sees an empty folder of its own in the place of /run, where
//! programs keep sockets and pids of which there can be one alone. Dropped, a server is stopped by pid, with the
//! processes that it started, and its folder goes; what a killed test left behind the next one sweeps.
//! Left out on purpose: servers that Debian does not have; their conversations are tested with recordings.

mod atftpd;
mod charon;
mod chronyd;
mod dnsmasq;
mod freeradius;
mod krb5kdc;
mod login;
mod mail;
mod messages;
mod minissdpd;
mod mongodb;
mod rabbitmq;
mod samba;
mod slapd;
mod snmpd;
mod sql_browser;
mod stores;
mod web;
mod xl2tpd;
mod xrdp;

use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::Namespace;

pub use atftpd::atftpd;
pub use charon::{charon, charon_for_everybody};
pub use chronyd::chronyd;
pub use dnsmasq::dnsmasq;
pub use freeradius::freeradius;
pub use krb5kdc::krb5kdc;
pub use login::{sshd, telnetd, vsftpd};
pub use mail::{dovecot, leafnode, opensmtpd};
pub use messages::{coturn, kamailio, mosquitto};
pub use minissdpd::minissdpd;
pub use mongodb::mongodb;
pub use rabbitmq::{rabbitmq, rabbitmqctl};
pub use samba::{domain_controller, nmbd, smbd};
pub use slapd::slapd;
pub use snmpd::snmpd;
pub use sql_browser::sql_browser;
pub use stores::{mariadb, memcached, postgresql, redis};
pub use web::{nginx, ngtcp2, old_tls, tinyproxy};
pub use xl2tpd::xl2tpd;
pub use xrdp::xrdp;

/// How long a server may take until it answers; a domain controller or a broker on a busy machine takes the longest.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take to end when it is asked to; then it is killed.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How often something is looked at that tells nobody when it changes.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Where a test's folders lie below the temporary folder, with the test's pid and a number.
const PREFIX: &str = "plt-server-";

static NEXT: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

/// A server that runs until this value is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    site: Site,
}

impl Server {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A file or folder of its own: `log` has what it printed.
    pub fn path(&self, name: &str) -> PathBuf {
        self.site.path(name)
    }

    fn group(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits until it is ready.
    #[track_caller]
    fn wait(&mut self, namespace: &Namespace, ready: &Ready<'_>) {
        let end = Instant::now() + PATIENCE;
        while !namespace.run(|| ready.is_reached()) {
            let why = match self.has_ended() {
                true => "ended",
                false if Instant::now() > end => "is not ready in time",
                false => {
                    thread::sleep(LOOK_AGAIN);
                    continue;
                }
            };
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            panic!("{} {why}:\n{}", self.site.name, lines[lines.len().saturating_sub(30)..].join("\n"));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Every step may find that the process is gone already.
        let Some(group) = self.group() else { return };
        if !self.has_ended() {
            let _ = kill_process(group, Signal::TERM);
            let end = Instant::now() + LAST_WORDS;
            while !self.has_ended() && Instant::now() < end {
                thread::sleep(LOOK_AGAIN);
            }
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// When a server counts as started.
enum Ready<'a> {
    /// It holds this TCP port.
    Listens(u16),
    /// It holds this UDP port.
    Receives(u16),
    /// It answers this datagram.
    Answers(SocketAddr, &'a [u8]),
}

impl Ready<'_> {
    /// Looks from inside of the namespace.
    fn is_reached(&self) -> bool {
        match self {
            Self::Listens(port) => is_bound("tcp", "0A", *port),
            Self::Receives(port) => is_bound("udp", "07", *port),
            Self::Answers(server, question) => answers(*server, question).unwrap_or(false),
        }
    }
}

/// Whether a line of /proc/net/tcp or udp (proc_pid_net(5)), or of their IPv6 brothers, has this port in this state.
fn is_bound(transport: &str, state: &str, port: u16) -> bool {
    let port = format!(":{port:04X}");
    ["", "6"].iter().any(|family| {
        let table = fs::read_to_string(format!("/proc/thread-self/net/{transport}{family}"));
        table.unwrap_or_default().lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            matches!(words[..], [_, local, _, found, ..] if local.ends_with(&port) && found == state)
        })
    })
}

fn answers(server: SocketAddr, question: &[u8]) -> std::io::Result<bool> {
    let unspecified = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(unspecified)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    socket.send_to(question, server)?;
    Ok(socket.recv_from(&mut [0; 2048]).is_ok())
}

/// A server's folder, and what it sees in the place of the machine's folders.
#[derive(Debug)]
struct Site {
    name: &'static str,
    folder: PathBuf,
    over: Vec<(PathBuf, &'static str)>,
}

impl Site {
    /// A folder for a server of this name, which sees an empty /run.
    fn new(name: &'static str) -> Self {
        SWEEP.call_once(remove_stale);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("{PREFIX}{}-{number}-{name}", std::process::id()));
        let mut site = Self { name, folder, over: Vec::new() };
        let run = site.folder("run");
        site.over.push((run, "/run"));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A folder of its own, made.
    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        fs::create_dir_all(&folder).expect("the temporary folder can be written");
        folder
    }

    /// Writes a file of its own; `{}` in the text is the folder's path.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text.replace("{}", &self.folder.display().to_string()))
            .expect("the temporary folder can be written");
        path
    }

    /// Makes `cert.pem` and `key.pem`: lab.test and 127.0.0.1, P-256, signed by nobody else.
    #[track_caller]
    fn certificate(&self, namespace: &Namespace) {
        let mut command = self.command(namespace, &installed("openssl", "openssl"));
        command.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
        ]);
        command.args(["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=lab.test"]);
        command.args(["-addext", "subjectAltName=DNS:lab.test,IP:127.0.0.1"]);
        self.prepare(command);
    }

    /// A command inside the namespace that sees what the server sees.
    #[track_caller]
    fn command(&self, namespace: &Namespace, program: &Path) -> Command {
        let mut options = Vec::new();
        for (source, target) in &self.over {
            options.extend(["--bind".into(), source.clone().into_os_string(), (*target).into()]);
        }
        let mut command = namespace.entering(&options, program);
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// Runs a program that prepares something, to its end.
    #[track_caller]
    fn prepare(&self, mut command: Command) {
        let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?} ({}):\n{said}", output.status);
    }

    /// Starts the server; its arguments stand in the command already.
    #[track_caller]
    fn start(self, namespace: &Namespace, mut command: Command, ready: &Ready<'_>) -> Server {
        let log = File::create(self.path("log")).expect("the temporary folder can be written");
        let errors = log.try_clone().expect("a descriptor can be had twice");
        command.stdout(log).stderr(errors).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let mut server = Server { child, site: self };
        server.wait(namespace, ready);
        server
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where a program of a Debian package lies.
///
/// # Panics
/// With what to type, where it is not installed.
#[track_caller]
pub fn installed(program: &str, package: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin", "/usr/lib/ipsec", "/usr/libexec/samba"]);
    let found = folders.map(|folder| Path::new(folder).join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("the program '{program}' is missing: run `apt-get install {package}`"))
}

/// Removes the folders of test processes that were killed before they could.
fn remove_stale() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
