//! Work in a network namespace: the one of this process, a named one, or that of a process.
//!
//! Source: setns(2), network_namespaces(7), ip-netns(8). Only the thread that works there enters it: inside,
//! /proc/thread-self/net, /proc/sys/net, new sockets and programs that are started belong to it. Left out on purpose:
//! mount namespaces, so files of /etc and /sys stay those of this process.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use portolan_core::snapshot::{Gap, GapReason, Reading};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{Error, Namespace};

/// Runs `work` in a namespace: in place, or on a thread that has entered it. A panic of `work` goes on here.
pub(crate) fn within<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let (path, doing) = match namespace {
        Namespace::Own => return Ok(work()),
        Namespace::Named(name) => {
            let doing = format!("enter the network namespace '{}' (see: ip netns list)", name.escape_debug());
            if name.is_empty() || name.contains(['/', '\0']) || name == "." || name == ".." {
                return Err(Error::new(
                    doing,
                    io::Error::new(io::ErrorKind::InvalidInput, "this is no name"),
                ));
            }
            (format!("/run/netns/{name}"), doing)
        }
        Namespace::Of(pid) => (
            format!("/proc/{pid}/ns/net"),
            format!("enter the network namespace of process {pid} (see: ps {pid})"),
        ),
    };
    let error = |source: io::Error| {
        let remedy = if source.kind() == io::ErrorKind::PermissionDenied { "; run as root" } else { "" };
        Error::new(format!("{doing}{remedy}"), source)
    };
    let file = File::open(path).map_err(error)?;
    let inside = || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|errno| error(errno.into()))?;
        Ok(work())
    };
    match thread::scope(|scope| scope.spawn(inside).join()) {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Every network namespace that can be seen, each once: that of this process, those with a name, those of processes.
pub(crate) fn all() -> Reading<Vec<(String, Namespace)>> {
    let mut gaps = Vec::new();
    let mut found = vec![("of this process".to_owned(), Namespace::Own)];
    let mut known: HashSet<u64> = inode("/proc/self/ns/net").into_iter().collect();
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if inode(entry.path()).is_ok_and(|inode| known.insert(inode)) {
            found.push((name.clone(), Namespace::Named(name)));
        }
    }
    let mut denied = 0;
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    for pid in pids {
        match inode(format!("/proc/{pid}/ns/net")) {
            Ok(inode) if known.insert(inode) => found.push((format!("of process {pid}"), Namespace::Of(pid))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied += 1,
            Ok(_) | Err(_) => {}
        }
    }
    if denied > 0 {
        let detail = format!("the network namespaces of {denied} processes are not visible");
        gaps.push(Gap::new("network namespaces", GapReason::Denied, detail).with_remedy("run as root"));
    }
    Reading { value: found, gaps }
}

/// The namespace behind a file of nsfs.
fn inode(path: impl AsRef<Path>) -> io::Result<u64> {
    fs::metadata(path).map(|file| file.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_inode() -> u64 {
        inode("/proc/thread-self/ns/net").unwrap()
    }

    #[test]
    fn every_namespace_is_named_once() {
        let (named, other) = (portolan_testbed::Namespace::new(), portolan_testbed::Namespace::new());
        let _held = portolan_testbed::Held::new(&other, "tcp-listen 127.0.0.1:80");
        let found = all().value;
        for namespace in [&named, &other] {
            assert_eq!(found.iter().filter(|(name, _)| name == namespace.name()).count(), 1);
        }
        assert_eq!(found[0].1, Namespace::Own);
        let mut names: Vec<&String> = found.iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), found.len());
    }

    #[test]
    fn work_runs_in_the_named_namespace_and_leaves_this_thread_where_it_is() {
        let before = own_inode();
        let namespace = portolan_testbed::Namespace::new();
        let named = Namespace::Named(namespace.name().to_owned());
        assert_eq!(within(&named, own_inode).unwrap(), namespace.inode());
        assert_eq!(within(&Namespace::Of(std::process::id()), own_inode).unwrap(), before);
        assert_eq!(within(&Namespace::Own, own_inode).unwrap(), before);
        assert_eq!(own_inode(), before);
    }

    #[test]
    fn a_namespace_that_is_not_there_is_one_clear_line() {
        let message = |namespace| within(&namespace, || ()).unwrap_err().to_string();
        assert_eq!(
            message(Namespace::Named("no-such".into())),
            "cannot enter the network namespace 'no-such' (see: ip netns list): No such file or directory (os error 2)"
        );
        for name in ["", ".", "..", "../1", "a\0b"] {
            let message = message(Namespace::Named(name.into()));
            assert!(message.ends_with("(see: ip netns list): this is no name"), "{message}");
        }
        // Above the largest pid that Linux gives.
        assert!(
            message(Namespace::Of(u32::MAX))
                .starts_with("cannot enter the network namespace of process 4294967295")
        );
    }
}
