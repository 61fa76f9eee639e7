//! A machine of a test's own, as far as settings of ports go: a network namespace, and an /etc in which nothing of the
//! real one is written, with the other folders of sysctl.d(5) empty.
//!
//! Each command enters a mount namespace of its own in which these folders lie over the real ones (mount(2),
//! MS_BIND), so all commands of a machine see, and change, the same files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Answer, Namespace};

/// What programs look up in /etc.
const COPIED: [&str; 4] = ["passwd", "group", "services", "nsswitch.conf"];
/// Where settings come from besides /etc.
const EMPTIED: [&str; 4] = ["/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// A network namespace with settings of its own; gone when it is dropped.
#[derive(Debug)]
pub struct Machine {
    /// Its network namespace.
    pub namespace: Namespace,
    folder: PathBuf,
}

/// A file, as far as a change could change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSeen {
    /// Its bytes; the target of a symbolic link.
    pub content: Vec<u8>,
    /// Type and permissions.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
}

/// Everything of a machine that a change of settings could change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `net.ipv4.ip_local_port_range`.
    pub range: String,
    /// `net.ipv4.ip_local_reserved_ports`.
    pub reserved: String,
    /// Every file and folder below /etc, by its path there.
    pub files: BTreeMap<PathBuf, FileSeen>,
}

impl Machine {
    /// A machine with the kernel's own settings and an empty /etc/sysctl.d.
    ///
    /// # Panics
    /// When not root, or without iproute2.
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "it makes something outside of the program")]
    pub fn new() -> Self {
        let namespace = Namespace::new();
        let folder = std::env::temp_dir().join(namespace.name());
        let machine = Self { namespace, folder };
        for folder in ["etc/sysctl.d", "empty", "state"] {
            fs::create_dir_all(machine.folder.join(folder)).expect("the temporary folder can be written");
        }
        for name in COPIED {
            let file = Path::new("/etc").join(name);
            if file.exists() {
                fs::copy(&file, machine.etc(name)).expect("a file of /etc can be copied");
            }
        }
        machine
    }

    /// Where a file of its /etc really lies: `sysctl.d/60-portolan.conf`.
    pub fn etc(&self, path: &str) -> PathBuf {
        self.folder.join("etc").join(path)
    }

    /// Writes a file of its /etc, with that mode.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str, mode: u32) {
        let path = self.etc(path);
        fs::write(&path, text).expect("the temporary folder can be written");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
    }

    /// Reads a file of its /etc; none where it is not there.
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.etc(path)).ok()
    }

    /// Where root keeps its journal here (PORTOLAN_STATE).
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn binds(&self) -> Vec<OsString> {
        let mut binds = Vec::new();
        let mut bind = |source: PathBuf, target: &str| {
            binds.extend(["--bind".into(), source.into_os_string(), target.into()]);
        };
        bind(self.folder.join("etc"), "/etc");
        let there = EMPTIED.into_iter().filter(|folder| Path::new(folder).is_dir());
        there.for_each(|folder| bind(self.folder.join("empty"), folder));
        binds
    }

    /// A command that will run there as root, with its journal in [`Self::state`].
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.namespace.entering(&self.binds(), program);
        command.env("PORTOLAN_STATE", self.state());
        command
    }

    /// A command that will run there as another user, with a home and without a journal's folder given.
    #[track_caller]
    pub fn command_as(&self, uid: u32, program: impl AsRef<Path>) -> Command {
        let home = self.folder.join(format!("home-{uid}"));
        fs::create_dir_all(&home).expect("the temporary folder can be written");
        chown(&home, Some(uid), Some(uid)).expect("root may give files away");
        let mut options = self.binds();
        options.extend(["--uid".into(), uid.to_string().into()]);
        let mut command = self.namespace.entering(&options, program);
        command.env("HOME", home).env_remove("XDG_STATE_HOME").env_remove("PORTOLAN_STATE");
        command
    }

    /// Runs portolan as root, with words as in a shell without quotes.
    #[track_caller]
    pub fn portolan(&self, words: &str) -> Answer {
        Answer::of(self.command(crate::program("portolan")).args(words.split_whitespace()))
    }

    /// The kernel's reserved ports here. In one read: the kernel gives a list to the first one alone.
    #[track_caller]
    pub fn reserved(&self) -> String {
        self.namespace.run(|| {
            let mut buffer = vec![0; 1 << 19];
            let length = File::open(RESERVED).and_then(|mut file| file.read(&mut buffer));
            String::from_utf8_lossy(&buffer[..length.expect("every kernel has it")]).trim_end().to_owned()
        })
    }

    /// Replaces the kernel's reserved ports here, however long the list is.
    #[track_caller]
    pub fn reserve(&self, ports: &[String]) {
        self.namespace.run(|| {
            // About 4 KiB a write; what follows on the same descriptor is added.
            let mut file = File::options().write(true).open(RESERVED).expect("root may write it");
            let chunks = ports.chunks(500).map(|some| some.join(","));
            let first = ports.is_empty().then(|| "\n".to_owned());
            for text in chunks.chain(first) {
                file.write_all(text.as_bytes()).expect("the kernel takes ports");
            }
        });
    }

    /// Adds reserved ports as a program that knows nothing of portolan does: by a write at an offset.
    #[track_caller]
    pub fn reserve_beside(&self, ports: &str) {
        self.namespace.run(|| {
            let file = File::options().write(true).open(RESERVED).expect("root may write it");
            file.write_at(ports.as_bytes(), 1).expect("the kernel takes ports");
        });
    }

    /// Everything that a change could change.
    #[track_caller]
    pub fn seen(&self) -> Seen {
        let mut files = BTreeMap::new();
        note_files(&self.folder.join("etc"), Path::new(""), &mut files);
        let range = self.namespace.read_sysctl("net.ipv4.ip_local_port_range");
        Seen { range, reserved: self.reserved(), files }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A folder that stays behind in /tmp must not hide the test's own failure.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn note_files(root: &Path, inside: &Path, files: &mut BTreeMap<PathBuf, FileSeen>) {
    for entry in fs::read_dir(root.join(inside)).expect("root may read it").flatten() {
        let (path, place) = (entry.path(), inside.join(entry.file_name()));
        let about = fs::symlink_metadata(&path).expect("it is there");
        let content = if about.is_dir() {
            note_files(root, &place, files);
            Vec::new()
        } else if about.is_symlink() {
            fs::read_link(&path).expect("it is a link").into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).expect("root may read it")
        };
        files.insert(place, FileSeen { content, mode: about.mode(), owner: (about.uid(), about.gid()) });
    }
}
