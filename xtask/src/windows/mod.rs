//! What building and testing for Windows needs on a Debian or Ubuntu: linker, standard library, Wine. Every part is
//! left alone where it is there already.

mod debian;
mod imports;
mod library;
mod wine;

pub(crate) use imports::check;
pub(crate) use wine::{Wine, windows_path};

use anyhow::bail;

use crate::{packages, target_folder};

/// The target: the one that links without anything of Microsoft's.
pub(crate) const TARGET: &str = "x86_64-pc-windows-gnu";

/// The crates that are for Windows too; testbed and xtask are Linux programs.
pub(crate) const CRATES: [&str; 8] =
    ["-p", "portolan-core", "-p", "portolan-host", "-p", "portolan-history", "-p", "portolan"];

/// Installs what is missing.
pub(crate) fn prepare() -> anyhow::Result<Wine> {
    // mingw's dlltool takes a folder's name apart at its blanks.
    let folder = target_folder();
    if folder.to_string_lossy().contains(char::is_whitespace) {
        let folder = folder.display();
        bail!(
            "mingw-w64 cannot link in {folder}, for its blanks: set CARGO_TARGET_DIR to a folder without, or clone there"
        );
    }
    packages::install(packages::WINDOWS)?;
    library::ready()?;
    Wine::ready()
}
