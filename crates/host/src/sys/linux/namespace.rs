//! Work in another network namespace, on a thread of its own.
//!
//! Source: setns(2), network_namespaces(7), ip-netns(8) (names are files in /run/netns).

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{Error, Namespace};

/// Does `work` in that network namespace; setns counts for a thread, so this process stays where it is.
pub(crate) fn within<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let path = match namespace {
        Namespace::Own => return Ok(work()),
        Namespace::Named(name) => PathBuf::from("/run/netns").join(name),
        Namespace::Of(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
    };
    let doing = || format!("enter the network namespace {}", path.display());
    let file = File::open(&path).map_err(|error| Error::new(doing(), error))?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| Error::new(doing(), error))?;
            Ok(work())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
