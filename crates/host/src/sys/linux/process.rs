//! Processes described, and cgroup ids resolved to units and containers.
//!
//! Source: proc(5), cgroups(7), open_by_handle_at(2); kernfs' file handles are the cgroup id (include/linux/exportfs.h,
//! FILEID_KERNFS). User names come from /etc/passwd alone: those of a directory service (LDAP, sssd) stay numbers.
//! Threads are left out on purpose: what is described is the process.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::DirEntryExt;
use std::path::PathBuf;

use portolan_core::kernel::{cgroup, passwd, procfs};
use portolan_core::owner::{Container, Owner};
use rustix::fs::{AtFlags, Mode, OFlags};

use super::file;

/// cgroups that are looked through at most, where they cannot be asked for by id.
const CGROUPS: usize = 50_000;

/// A cgroup's path, and the unit and the container it belongs to.
pub(crate) type CgroupParts = (Option<String>, Option<String>, Option<Container>);

/// Describes processes and cgroups; what many of them share is read once.
#[derive(Debug)]
pub(crate) struct Describer {
    boot_ms: Option<u64>,
    ticks: u64,
    users: Option<HashMap<u32, String>>,
    hierarchy: Hierarchy,
    origins: HashMap<u64, CgroupParts>,
}

impl Describer {
    /// One that has read what is the same for all processes.
    pub(crate) fn new() -> Self {
        let boot =
            file::text("/proc/stat", file::LONG).ok().and_then(|text| procfs::boot_seconds(&text).ok());
        Self {
            boot_ms: boot.map(|seconds| seconds.saturating_mul(1000)),
            ticks: rustix::param::clock_ticks_per_second().max(1),
            users: None,
            hierarchy: Hierarchy::default(),
            origins: HashMap::new(),
        }
    }

    /// Describes a process; nothing when it is gone. What may not be read of it stays empty.
    pub(crate) fn describe(&mut self, pid: u32) -> Option<Owner> {
        // One descriptor for all: the files below it are those of this process, even when its number is used again.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty()).ok()?;
        let stat = procfs::stat(&text(&folder, "stat", file::SHORT)?).ok()?;
        let uid = text(&folder, "status", file::SHORT).and_then(|status| procfs::effective_uid(&status));
        let command = bytes(&folder, "cmdline", procfs::COMMAND_LIMIT as u64);
        // The size of the directory is how many descriptors are open, since Linux 6.2; before that it is 0.
        let handles = rustix::fs::statat(&folder, "fd", AtFlags::empty()).ok();
        let handles = handles.and_then(|stat| u32::try_from(stat.st_size).ok()).filter(|count| *count > 0);
        let limit = text(&folder, "limits", file::SHORT).and_then(|limits| procfs::open_files_limit(&limits));
        let executable = rustix::fs::readlinkat(&folder, "exe", Vec::new()).ok();
        let placement =
            text(&folder, "cgroup", file::SHORT).map(|text| cgroup::placement(&text)).unwrap_or_default();
        let since_boot = stat.start_ticks.saturating_mul(1000) / self.ticks;
        Some(Owner {
            pid,
            parent: stat.parent,
            started_ms: self.boot_ms.map(|boot| boot.saturating_add(since_boot)),
            name: stat.name,
            command: command.and_then(|bytes| procfs::command_line(&bytes)),
            executable: executable.map(|path| path.to_string_lossy().into_owned()),
            uid,
            user: uid.and_then(|uid| self.user(uid)),
            unit: placement.unit,
            container: placement.container,
            handles,
            socket_handles: None,
            handle_limit: limit,
        })
    }

    /// Name of a user.
    fn user(&mut self, uid: u32) -> Option<String> {
        let users = self.users.get_or_insert_with(|| {
            let text = file::text("/etc/passwd", file::LONG).unwrap_or_default();
            let mut names = HashMap::new();
            for user in passwd::users(&text) {
                names.entry(user.uid).or_insert(user.name);
            }
            names
        });
        users.get(&uid).cloned()
    }

    /// Path, unit and container of a cgroup of the unified hierarchy, by its id. All empty where it is gone, or lies
    /// outside of what this process may see.
    pub(crate) fn origin(&mut self, cgroup_id: u64) -> CgroupParts {
        if let Some(known) = self.origins.get(&cgroup_id) {
            return known.clone();
        }
        let parts = match self.hierarchy.path_of(cgroup_id) {
            Some(path) => (Some(path.clone()), cgroup::unit(&path), cgroup::container(&path)),
            None => (None, None, None),
        };
        self.origins.insert(cgroup_id, parts.clone());
        parts
    }
}

/// At most `limit` bytes of a file below a process' folder.
fn bytes(folder: &OwnedFd, name: &str, limit: u64) -> Option<Vec<u8>> {
    let file = rustix::fs::openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut bytes = Vec::new();
    File::from(file).take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn text(folder: &OwnedFd, name: &str, limit: u64) -> Option<String> {
    bytes(folder, name, limit).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The unified cgroup hierarchy, wherever it is mounted.
#[derive(Debug, Default)]
struct Hierarchy {
    mount: Option<Option<(procfs::Mount, OwnedFd)>>,
    walked: Option<HashMap<u64, String>>,
}

/// struct file_handle of a cgroup.
#[repr(C)]
struct Handle {
    length: u32,
    kind: i32,
    id: u64,
}

/// FILEID_KERNFS.
const KERNFS: i32 = 0xfe;

impl Hierarchy {
    fn path_of(&mut self, id: u64) -> Option<String> {
        let (mount, folder) = self.mount.get_or_insert_with(find_mount).as_ref()?;
        match open_cgroup(folder, id) {
            Ok(cgroup) => {
                let path = std::fs::read_link(format!("/proc/self/fd/{}", cgroup.as_raw_fd())).ok()?;
                let path = path.to_str()?.strip_prefix(mount.point.trim_end_matches('/'))?;
                Some(below(&mount.root, path))
            }
            // No such cgroup any more.
            Err(rustix::io::Errno::STALE) => None,
            // Asking by id needs CAP_DAC_READ_SEARCH; everyone may walk.
            Err(_) => self.walked.get_or_insert_with(|| walk(mount)).get(&id).cloned(),
        }
    }
}

/// A path as it stands in /proc/PID/cgroup, from one below a mount of the part `root`.
fn below(root: &str, path: &str) -> String {
    match format!("{}{path}", root.trim_end_matches('/')) {
        empty if empty.is_empty() => "/".to_owned(),
        path => path,
    }
}

fn find_mount() -> Option<(procfs::Mount, OwnedFd)> {
    let mount = procfs::mounts(&file::text("/proc/self/mountinfo", file::LONG).ok()?, "cgroup2")
        .into_iter()
        .next()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(CString::new(mount.point.as_str()).ok()?, flags, Mode::empty()).ok()?;
    Some((mount, folder))
}

fn open_cgroup(mount: &OwnedFd, id: u64) -> Result<OwnedFd, rustix::io::Errno> {
    let mut handle = Handle { length: 8, kind: KERNFS, id };
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: `handle` is laid out as struct file_handle with the 8 bytes that its length says.
    let opened = unsafe {
        libc::open_by_handle_at(
            mount.as_fd().as_raw_fd(),
            (&raw mut handle).cast::<libc::file_handle>(),
            flags,
        )
    };
    if opened < 0 {
        return Err(rustix::io::Errno::from_io_error(&std::io::Error::last_os_error())
            .unwrap_or(rustix::io::Errno::OPNOTSUPP));
    }
    // SAFETY: the call has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(opened) })
}

/// Every cgroup by id, which is the inode number of its folder.
fn walk(mount: &procfs::Mount) -> HashMap<u64, String> {
    let mut found = HashMap::new();
    if let Ok(metadata) = std::fs::metadata(&mount.point) {
        found.insert(std::os::unix::fs::MetadataExt::ino(&metadata), below(&mount.root, ""));
    }
    let mut folders = vec![PathBuf::from(&mount.point)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if found.len() >= CGROUPS {
                return found;
            }
            let path = entry.path();
            let relative =
                path.to_str().and_then(|path| path.strip_prefix(mount.point.trim_end_matches('/')));
            if let (Some(relative), Ok(true)) = (relative, entry.file_type().map(|kind| kind.is_dir())) {
                found.insert(entry.ino(), below(&mount.root, relative));
                folders.push(path);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::process::{Child, Command};
    use std::time::SystemTime;

    use super::*;

    /// A process that waits, ended when dropped.
    struct Waiting(Child);

    impl Waiting {
        fn new() -> Self {
            let child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
            portolan_testbed::wait_for_command_line(child.id());
            Self(child)
        }
    }

    impl Drop for Waiting {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A cgroup of the unified hierarchy, removed when dropped.
    struct Cgroup(PathBuf);

    impl Cgroup {
        fn new(name: &str) -> Self {
            let (mount, _) =
                find_mount().expect("cgroup2 is mounted: run `mount -t cgroup2 none /sys/fs/cgroup`");
            let path =
                PathBuf::from(mount.point).join(format!("portolan-test-{}", std::process::id())).join(name);
            std::fs::create_dir_all(&path).expect("root may make cgroups: run `cargo xtask test`");
            Self(path)
        }
    }

    impl Drop for Cgroup {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir(&self.0);
            let _ = self.0.parent().map(std::fs::remove_dir);
        }
    }

    #[test]
    fn a_process_is_described_as_the_system_shows_it() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
        let child = Waiting::new();
        let owner = Describer::new().describe(child.0.id()).unwrap();
        assert_eq!((owner.pid, owner.parent), (child.0.id(), std::process::id()));
        assert_eq!((owner.name.as_str(), owner.command.as_deref()), ("sleep", Some("/bin/sleep 1000")));
        assert_eq!((owner.uid, owner.user.as_deref()), (Some(0), Some("root")));
        assert!(owner.executable.unwrap().ends_with("/sleep"));
        // /proc/stat knows the boot to the second.
        assert!(owner.started_ms.unwrap().abs_diff(now) < 3_000);
    }

    #[test]
    fn a_process_that_is_gone_is_nothing() {
        let pid = Waiting::new().0.id();
        assert_eq!(Describer::new().describe(pid), None);
        assert_eq!(Describer::new().describe(u32::MAX), None);
    }

    #[test]
    fn a_process_in_a_cgroup_has_its_unit_and_its_container() {
        let id = "0123456789abcdef".repeat(4);
        let name = format!("docker-{id}.scope");
        let child = Waiting::new();
        let cgroup = Cgroup::new(&name);
        std::fs::write(cgroup.0.join("cgroup.procs"), child.0.id().to_string()).unwrap();
        let mut describer = Describer::new();
        let owner = describer.describe(child.0.id()).unwrap();
        let container = Some(Container { runtime: "docker".into(), id });
        assert_eq!((owner.unit.as_deref(), &owner.container), (Some(name.as_str()), &container));

        let inode = std::fs::metadata(&cgroup.0).unwrap().ino();
        let (path, unit, found) = describer.origin(inode);
        assert!(path.unwrap().ends_with(&format!("/{name}")));
        assert_eq!((unit, found), (Some(name.clone()), container));
        let (mount, _) = find_mount().unwrap();
        assert!(walk(&mount)[&inode].ends_with(&name), "the walk finds what the id finds");
        drop((child, cgroup));
        assert_eq!(Describer::new().origin(inode), (None, None, None));
    }

    #[test]
    fn the_root_of_the_hierarchy_has_a_path() {
        let (mount, _) = find_mount().unwrap();
        let inode = std::fs::metadata(&mount.point).unwrap().ino();
        assert_eq!(Describer::new().origin(inode).0, Some(mount.root.clone()));
        assert_eq!(walk(&mount)[&inode], mount.root);
    }
}
