//! The files of one package, laid out in a folder as they are packed: with the modes and the time that make two
//! packings of the same files the same.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;

/// A folder that is filled.
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// An empty one.
    pub(super) fn new(root: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        Ok(Self { root })
    }

    /// Its folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A file that everybody may read.
    pub(super) fn file(&self, path: &str, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    }

    /// A copy of a program, which everybody may run.
    pub(super) fn program(&self, path: &str, from: &Path) -> anyhow::Result<()> {
        self.file(path, fs::read(from).with_context(|| format!("cannot read {}", from.display()))?)?;
        Ok(fs::set_permissions(self.root.join(path), Permissions::from_mode(0o755))?)
    }

    /// Every file below, as paths within it, in order.
    pub(super) fn files(&self) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for path in everything(&self.root)? {
            if path.is_file() {
                found
                    .push(path.strip_prefix(&self.root)?.to_str().context("our names are ASCII")?.to_owned());
            }
        }
        found.sort();
        Ok(found)
    }

    /// Gives everything its mode, whatever the umask here is, and one time.
    pub(super) fn settle(&self, time: SystemTime) -> anyhow::Result<()> {
        for path in everything(&self.root)? {
            let runs = fs::metadata(&path)?.permissions().mode() & 0o100 != 0;
            fs::set_permissions(&path, Permissions::from_mode(if runs { 0o755 } else { 0o644 }))?;
            File::open(&path)?.set_modified(time)?;
        }
        Ok(())
    }
}

/// Files and folders below a folder, what lies in a folder before it, and the folder itself last.
fn everything(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(everything(&path)?);
        } else {
            found.push(path);
        }
    }
    found.push(folder.to_owned());
    Ok(found)
}
