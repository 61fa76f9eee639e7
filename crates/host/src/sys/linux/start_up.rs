//! The journal of the one who may change the system's settings: root's.
//!
//! Source: the File Hierarchy Standard on /var/lib. Left out on purpose: start-up tasks, since no plan here waits for a
//! restart.

use std::path::PathBuf;

/// The folder of the journal that only root writes.
pub fn system_journal() -> Option<PathBuf> {
    Some("/var/lib/portolan".into())
}

/// Whether this process writes that journal: it is root's.
pub fn is_administrator() -> bool {
    super::change::effective_uid() == Some(0)
}
