//! A systemd of a test's own, nested in namespaces: real units and socket units, none of them the machine's.
//!
//! Source: systemd's "Container Interface", unshare(1), nsenter(1), pivot_root(2), cgroups(7). It has a root of its own
//! (`nested_systemd.sh`), and a cgroup `plt-nest-PID-N` in the unified hierarchy, which a hybrid machine has too.
//! Left out: D-Bus, journald, and every unit of the machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Answer;

const PREFIX: &str = "plt-nest-";
const SCRIPT: &str = include_str!("nested_systemd.sh");
/// How long it may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

static NEXT: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

/// A running systemd with units of its own; it, its processes and its cgroups are gone when this value is dropped.
#[derive(Debug)]
pub struct NestedSystemd {
    child: Child,
    /// Its first process, as seen from here.
    pid: u32,
    cgroup: PathBuf,
}

impl NestedSystemd {
    /// Starts one with these units (or what is dropped in for one, `a.service.d/b.conf`), by name and text, of which those named in `wanted` are started. Inside,
    /// `/portolan` and `/testbed` are this workspace's programs, and `/never` is a file whose reading never ends.
    ///
    /// # Panics
    /// When not root, without systemd or a unified hierarchy of cgroups, or when a wanted unit does not start.
    #[track_caller]
    pub fn new(units: &[(&str, &str)], wanted: &str) -> Self {
        crate::require_root();
        require_programs();
        let groups = unified().expect("no cgroup2 is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup");
        SWEEP.call_once(|| remove_stale(&groups));
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir(&folder).expect("the temporary folder can be written");
        // Without the default dependencies nothing of the machine's own units is asked for; and a test may stop and start
        // a unit as often as it likes.
        let write = |name: &str, text: &str| {
            let text = format!("[Unit]\nDefaultDependencies=no\nStartLimitIntervalSec=0\n{text}");
            let path = folder.join(name);
            let parent = path.parent().expect("it lies in the folder");
            fs::create_dir_all(parent).expect("the temporary folder can be written");
            fs::write(path, text).expect("the temporary folder can be written");
        };
        units.iter().for_each(|(name, text)| write(name, text));
        write("nest.target", &format!("Wants={wanted}\nAfter={wanted}\n"));
        let cgroup = groups.join(&name);
        fs::create_dir(&cgroup).expect("root may make cgroups");
        let child = start(&cgroup, &folder);
        let mut nest = Self { child, pid: 0, cgroup };
        nest.pid = nest.await_start();
        let _ = fs::remove_dir_all(&folder);
        for unit in wanted.split_whitespace() {
            nest.systemctl(&format!("is-active {unit}")).with_code(0);
        }
        nest
    }

    /// Waits until it has started what is wanted; its first process is returned.
    #[track_caller]
    fn await_start(&mut self) -> u32 {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let until = Instant::now() + PATIENCE;
        loop {
            let ended = self.child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "the nested systemd did not start; its message is on standard error");
            assert!(Instant::now() < until, "the nested systemd did not start in {PATIENCE:?}");
            let first = fs::read_to_string(&children).ok().and_then(|text| text.trim().parse::<u32>().ok());
            if let Some(pid) = first.filter(|pid| is_up(*pid)) {
                self.pid = pid;
                let answer = self.systemctl("is-active nest.target");
                if answer.code == Some(0) {
                    return pid;
                }
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A command that will run inside as root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-m", "-p", "-n", "-u", "-i", "-C", "-t", &self.pid.to_string(), "--", program]);
        command.env("PORTOLAN_STATE", "/var/lib/portolan");
        command
    }

    /// Runs portolan inside, with words as in a shell without quotes.
    #[track_caller]
    pub fn portolan(&self, words: &str) -> Answer {
        Answer::of(self.command("/portolan").args(words.split_whitespace()))
    }

    /// Runs systemctl inside, with words as in a shell without quotes.
    #[track_caller]
    pub fn systemctl(&self, words: &str) -> Answer {
        Answer::of(self.command("systemctl").args(words.split_whitespace()))
    }
}

impl Drop for NestedSystemd {
    fn drop(&mut self) {
        // Its first process ends with it, and the others with that.
        let _ = self.child.kill();
        let _ = self.child.wait();
        remove(&self.cgroup);
    }
}

/// Starts the script in namespaces and a cgroup of its own.
#[track_caller]
fn start(cgroup: &Path, units: &Path) -> Child {
    let mut command = Command::new("/bin/sh");
    // The shell moves itself before it becomes unshare: what starts later is in the group from its first moment on.
    command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(cgroup.join("cgroup.procs"));
    command.args(["unshare", "-m", "-p", "-n", "-u", "-i", "-C", "--propagation", "private"]);
    command.args(["--fork", "--kill-child", "/bin/sh", "-c", SCRIPT, "nest"]).arg(units);
    command.args([crate::program("portolan"), crate::program("testbed")]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("sh is there")
}

/// Whether the script has become systemd, and that can be talked to.
fn is_up(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
    name.is_ok_and(|name| name == "systemd\n")
        && Path::new(&format!("/proc/{pid}/root/run/systemd/private")).exists()
}

#[track_caller]
fn require_programs() {
    assert!(Path::new("/lib/systemd/systemd").exists(), "systemd is missing: apt-get install systemd");
}

/// Where the unified hierarchy of cgroups is mounted (proc_pid_mountinfo(5): fields 5 and, after a dash, the type).
fn unified() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let point = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("cgroup2 ").then(|| before.split(' ').nth(4).map(PathBuf::from))?
    };
    mounts.lines().find_map(point)
}

/// Kills what is in a cgroup, waits for its end, and removes the group with those below it.
fn remove(cgroup: &Path) {
    // Linux 5.14 on; before that the kill of its first process has to do.
    let _ = fs::write(cgroup.join("cgroup.kill"), "1");
    let until = Instant::now() + PATIENCE;
    while remove_folders(cgroup).is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy) {
        if Instant::now() > until {
            eprintln!("the cgroup {} still has processes", cgroup.display());
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The kernel's files in them need no removing.
fn remove_folders(cgroup: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cgroup)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_folders(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

/// Removes what test processes left behind that were killed before they could.
fn remove_stale(groups: &Path) {
    let stale = |folder: &Path| {
        let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let of_the_dead = |name: &str| {
            let pid = name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok()?;
            (!Path::new(&format!("/proc/{pid}")).exists()).then(|| folder.join(name))
        };
        names.filter_map(|name| of_the_dead(name.to_str()?)).collect::<Vec<_>>()
    };
    stale(groups).iter().for_each(|cgroup| remove(cgroup));
    for folder in stale(&std::env::temp_dir()) {
        let _ = fs::remove_dir_all(folder);
    }
}
