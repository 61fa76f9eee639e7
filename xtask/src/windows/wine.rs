//! Wine 10, on which the Windows half of the tests runs.
//!
//! Debian 12 and Ubuntu 22.04 have a Wine without `bcryptprimitives.dll`, which every current Rust program needs, so it is
//! always Debian 13's: unpacked below the user's cache folder with the C library that it was built for, no root, nothing
//! in /usr. Wine finds its parts beside its own programs; their ELF interpreter and search path are the only things that
//! must be changed. Left out: everything that draws, sounds or prints, and 32-bit programs.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::debian::Apt;
use crate::{cache_folder, checked};

/// The Debian release, and what is taken of it: Wine, the libraries its programs load, and zlib for Windows.
const SUITE: &str = "trixie";
const PACKAGES: [&str; 7] =
    ["libwine", "wine64", "libc6", "libgcc-s1", "libunwind8", "liblzma5", "libz-mingw-w64"];

/// What `cmd /c ver` prints there.
const VERSION: &str = "Microsoft Windows 10.0.";

/// Wine that is unpacked, and its folder of Windows' files (prefix).
pub(crate) struct Wine {
    folder: PathBuf,
    /// Locked, shared, while this run uses it.
    in_use: File,
}

impl Wine {
    /// The one of this user, fetched (112 MB) and set up where it is not there yet.
    pub(crate) fn ready() -> anyhow::Result<Self> {
        let folder = cache_folder()?.join("wine-10");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let lock = File::create(folder.join("lock"))?;
        lock.lock().context("cannot lock Wine's folder")?;
        let in_use = File::create(folder.join("in-use"))?;
        in_use.lock_shared().context("cannot lock Wine's folder")?;
        let wine = Self { folder, in_use };
        if !wine.runner().exists() {
            println!("    Wine 10 of Debian {SUITE} goes to {}", wine.folder.display());
            wine.install()?;
        }
        wine.start()?;
        Ok(wine)
    }

    /// The script that runs a Windows program: what cargo wants as a target's runner.
    pub(crate) fn runner(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// Where the DLLs are that Wine brings.
    pub(crate) fn libraries(&self) -> PathBuf {
        self.folder.join("usr/lib/x86_64-linux-gnu/wine/x86_64-windows")
    }

    fn programs(&self) -> PathBuf {
        self.folder.join("usr/lib/wine")
    }

    fn prefix(&self) -> PathBuf {
        self.folder.join("prefix")
    }

    /// Unpacks it. The script is written last: where it is, the rest is whole.
    fn install(&self) -> anyhow::Result<()> {
        for remains in ["usr", "prefix", "apt"] {
            let folder = self.folder.join(remains);
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
        }
        let apt = self.folder.join("apt");
        Apt::new(apt.clone(), SUITE)?.unpack(&PACKAGES, &self.folder)?;
        fs::remove_dir_all(apt)?;
        fs::remove_dir_all(self.folder.join("usr/lib/x86_64-linux-gnu/wine/i386-windows"))?;
        self.mark_zlib()?;
        // The package's own `wineserver` is a script that looks in /usr.
        fs::rename(self.programs().join("wineserver64"), self.programs().join("wineserver"))?;
        // The server looks for code pages in the folder that Debian's build was told, a level deeper than they are.
        symlink(".", self.folder.join("usr/share/wine/wine"))?;
        for program in ["wine64", "wineserver"] {
            let libraries = self.folder.join("usr/lib/x86_64-linux-gnu");
            checked(
                Command::new("patchelf")
                    .arg("--set-interpreter")
                    .arg(self.folder.join("usr/lib64/ld-linux-x86-64.so.2"))
                    .arg("--force-rpath")
                    .arg("--set-rpath")
                    .arg(libraries)
                    .arg(self.programs().join(program)),
            )?;
        }
        let script = self.script();
        let unfinished = self.folder.join("run.unfinished");
        fs::write(&unfinished, script)?;
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o755))?;
        fs::rename(unfinished, self.runner())?;
        Ok(())
    }

    /// A test program that does not end is ended, and has failed.
    fn script(&self) -> String {
        format!(
            "#!/bin/sh\n\
             # Runs a Windows program under Wine; cargo xtask test wrote this.\n\
             export WINEPREFIX=\"${{WINEPREFIX:-{}}}\" WINEDEBUG=\"${{WINEDEBUG:--all}}\"\n\
             export WINEDLLOVERRIDES=\"winedbg.exe=d;mscoree=;mshtml=;${{WINEDLLOVERRIDES:-}}\"\n\
             exec timeout --kill-after=10 900 '{}' \"$@\"\n",
            self.prefix().display(),
            self.programs().join("wine64").display()
        )
    }

    /// What Debian's installation of libwine does: zlib for Windows, with the mark of a DLL that Wine brings.
    fn mark_zlib(&self) -> anyhow::Result<()> {
        const MARK: (usize, &[u8; 32]) = (64, b"Wine builtin DLL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        let mut library = fs::read(self.folder.join("usr/x86_64-w64-mingw32/lib/zlib1.dll"))?;
        let place = library.get_mut(MARK.0..MARK.0 + MARK.1.len()).context("zlib1.dll is no DLL")?;
        place.copy_from_slice(MARK.1);
        fs::write(self.libraries().join("zlib1.dll"), library)?;
        Ok(())
    }

    /// Makes the prefix where it is missing, starts the server, which stays a while between test programs, and sees that
    /// a program runs.
    fn start(&self) -> anyhow::Result<()> {
        if !self.prefix().join("system.reg").exists() {
            self.run(&["wineboot", "-i"])?;
            checked(self.server().arg("-w")).context("Wine's server does not end")?;
        }
        // It fails where the server runs already, which is as good.
        let (nothing, silence) = (Stdio::null(), Stdio::null());
        let server = self.server().arg("-p5").stdout(nothing).stderr(silence).status();
        server.context("cannot run Wine's server")?;
        let said = self.run(&["cmd", "/c", "ver"])?;
        if !said.contains(VERSION) {
            bail!(
                "Wine does not run (cmd /c ver: '{}'): remove {} and try again",
                said.trim(),
                self.folder.display()
            );
        }
        Ok(())
    }

    /// Ends every Windows program that is left, unless another run uses Wine too. A program that is killed while it starts
    /// another leaves one that Wine neither starts nor ends, and that keeps the files and the output it was given.
    pub(crate) fn end_leftovers(&self) -> anyhow::Result<()> {
        self.in_use.unlock()?;
        if self.in_use.try_lock().is_ok() {
            // It fails where no server runs, which is as good.
            self.server().arg("-k").status().context("cannot run Wine's server")?;
            checked(self.server().arg("-w")).context("Wine's server does not end")?;
        }
        self.in_use.lock_shared().context("cannot lock Wine's folder")
    }

    fn server(&self) -> Command {
        let mut command = Command::new(self.programs().join("wineserver"));
        command.env("WINEPREFIX", self.prefix());
        command
    }

    /// A Windows program with arguments, to its end; what it printed.
    pub(crate) fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        // Wine's services live on for a while and keep the standard error they began with: a pipe would not end.
        let errors = self.folder.join("errors");
        let output = Command::new(self.runner())
            .env("WINEPREFIX", self.prefix())
            .args(words)
            .stdin(Stdio::null())
            .stderr(File::create(&errors)?)
            .output()
            .context("cannot run Wine")?;
        if !output.status.success() {
            let errors = fs::read_to_string(errors)?;
            bail!("under Wine {} failed ({}): {}", words.join(" "), output.status, errors.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A path of this system as Windows programs see it there.
pub(crate) fn windows_path(path: &Path) -> String {
    format!("Z:{}", path.display()).replace('/', "\\")
}
