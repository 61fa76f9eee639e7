//! Network namespaces, which Windows does not have: everything happens where this process is.
//!
//! Left out on purpose: network compartments, which containers use and no program of a person lives in.

use std::io;

use portolan_core::snapshot::Reading;

use crate::{Error, Namespace};

/// Runs `work` in place.
///
/// # Errors
/// Another namespace than the own one was asked for.
pub(crate) fn within<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    match namespace {
        Namespace::Own => Ok(work()),
        Namespace::Named(_) | Namespace::Of(_) => Err(Error::new(
            "enter a network namespace",
            io::Error::new(
                io::ErrorKind::Unsupported,
                "Windows has no network namespaces; leave --netns out",
            ),
        )),
    }
}

/// The one that there is.
pub(crate) fn all() -> Reading<Vec<(String, Namespace)>> {
    Reading::whole(vec![("of this machine".to_owned(), Namespace::Own)])
}
