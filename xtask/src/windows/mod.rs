//! What building and testing for Windows needs on a Debian or Ubuntu: linker, standard library, Wine. Every part is
//! left alone where it is there already.

mod debian;
mod imports;
mod library;
mod wine;

pub(crate) use imports::check;
pub(crate) use wine::{Wine, windows_path};

use crate::packages;

/// The target: the one that links without anything of Microsoft's.
pub(crate) const TARGET: &str = "x86_64-pc-windows-gnu";

/// The crates that are for Windows too; testbed and xtask are Linux programs.
pub(crate) const CRATES: [&str; 6] = ["-p", "portolan-core", "-p", "portolan-host", "-p", "portolan"];

/// Installs what is missing.
pub(crate) fn prepare() -> anyhow::Result<Wine> {
    packages::install(packages::WINDOWS)?;
    library::ready()?;
    Wine::ready()
}
