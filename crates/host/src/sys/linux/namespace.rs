//! Work in a network namespace: the one of this process, a named one, or that of a process.
//!
//! Source: setns(2), network_namespaces(7), ip-netns(8). Only the thread that works there enters it: inside,
//! /proc/thread-self/net, /proc/sys/net, new sockets and programs that are started belong to it. Left out on purpose:
//! mount namespaces, so files of /etc and /sys stay those of this process.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::thread;

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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn inode() -> u64 {
        std::fs::metadata("/proc/thread-self/ns/net").unwrap().ino()
    }

    #[test]
    fn work_runs_in_the_named_namespace_and_leaves_this_thread_where_it_is() {
        let before = inode();
        let namespace = portolan_testbed::Namespace::new();
        let named = Namespace::Named(namespace.name().to_owned());
        assert_eq!(within(&named, inode).unwrap(), namespace.inode());
        assert_eq!(within(&Namespace::Of(std::process::id()), inode).unwrap(), before);
        assert_eq!(within(&Namespace::Own, inode).unwrap(), before);
        assert_eq!(inode(), before);
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
