//! A recorder's file, held for one recorder alone, and told apart from another that was put in its place.

use std::fs::{DirBuilder, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, sys};

/// Holds a file for one recorder until dropped. It must outlive whatever else opens the file in this process: on Linux,
/// closing one descriptor of a file lets go the locks that the process has on it through another (fcntl(2)).
#[derive(Debug)]
pub struct Held {
    file: File,
    path: PathBuf,
}

impl Held {
    /// Makes the file where there is none, with its folder, for its owner alone. None where another recorder has it.
    pub fn new(path: &Path) -> Result<Option<Self>, Error> {
        let hold = || -> io::Result<Option<File>> {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                let mut builder = DirBuilder::new();
                builder.recursive(true);
                sys::private_folder(&mut builder);
                builder.create(folder)?;
            }
            sys::hold_file(path)
        };
        let doing = || format!("write {} (--file names another)", path.display());
        let held = hold().map_err(|source| Error::new(doing(), source))?;
        Ok(held.map(|file| Self { file, path: path.to_owned() }))
    }

    /// Whether the path still leads to this file: it was neither removed nor replaced.
    pub fn stands(&self) -> bool {
        sys::is_at(&self.file, &self.path)
    }
}
