//! A private apt: packages of another Debian release, their signatures checked, while this machine's own apt stays
//! as it is.
//!
//! Source: apt.conf(5), sources.list(5). What is fetched is unpacked, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::checked;

/// Where Debian's packages come from when this machine's own sources name no mirror.
const MIRROR: &str = "http://deb.debian.org/debian";

/// An apt with lists of its own.
pub(super) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// One for a suite, with fresh lists; everything it keeps lies in `folder`.
    pub(super) fn new(folder: PathBuf, suite: &str) -> anyhow::Result<Self> {
        for part in
            ["state/lists/partial", "cache/archives/partial", "sources.list.d", "preferences.d", "log"]
        {
            fs::create_dir_all(folder.join(part)).context("cannot make a folder for apt")?;
        }
        let mirror = own_mirror().unwrap_or_else(|| MIRROR.to_owned());
        let source = format!(
            "Types: deb\nURIs: {mirror}\nSuites: {suite}\nComponents: main\nArchitectures: amd64\n\
             Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        );
        let settings = format!(
            "Dir::Etc::sourcelist \"{0}/none\";\nDir::Etc::sourceparts \"{0}/sources.list.d\";\n\
             Dir::Etc::preferences \"{0}/none\";\nDir::Etc::preferencesparts \"{0}/preferences.d\";\n\
             Dir::State \"{0}/state\";\nDir::State::status \"{0}/status\";\n\
             Dir::Cache \"{0}/cache\";\nDir::Log \"{0}/log\";\n\
             APT::Architecture \"amd64\";\nAPT::Architectures \"amd64\";\n\
             APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n",
            folder.display()
        );
        for (name, text) in
            [("sources.list.d/debian.sources", source), ("apt.conf", settings), ("status", String::new())]
        {
            fs::write(folder.join(name), text).context("cannot write apt's settings")?;
        }
        let apt = Self { folder };
        checked(apt.command("apt-get").args(["--quiet=2", "update"]))
            .context("cannot reach Debian's packages")?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.folder.join("apt.conf"));
        command
    }

    /// The versions of a package that the suite holds, the newest first.
    pub(super) fn versions(&self, package: &str) -> anyhow::Result<Vec<String>> {
        let output =
            self.command("apt-cache").args(["madison", package]).output().context("cannot run apt-cache")?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text
            .lines()
            .filter_map(|line| line.split('|').nth(1))
            .map(|word| word.trim().to_owned())
            .collect())
    }

    /// Fetches packages (`name` or `name=version`) and unpacks them below `root`.
    pub(super) fn unpack(&self, packages: &[&str], root: &Path) -> anyhow::Result<()> {
        let fetched = self.folder.join("fetched");
        fs::create_dir_all(&fetched)?;
        checked(
            self.command("apt-get").args(["--quiet=2", "download"]).args(packages).current_dir(&fetched),
        )?;
        fs::create_dir_all(root)?;
        for file in fs::read_dir(&fetched)? {
            checked(Command::new("dpkg-deb").arg("--extract").arg(file?.path()).arg(root))?;
        }
        fs::remove_dir_all(&fetched)?;
        Ok(())
    }
}

/// The mirror that this machine's own sources name, where it is a Debian.
fn own_mirror() -> Option<String> {
    let parts =
        fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    parts.chain(["/etc/apt/sources.list".into()]).find_map(|path| mirror(&fs::read_to_string(path).ok()?))
}

/// The first mirror of Debian itself in a list of sources, of either format.
fn mirror(sources: &str) -> Option<String> {
    let lines = sources.lines().filter(|line| !line.trim_start().starts_with('#'));
    let is_mirror = |word: &&str| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian");
    lines.flat_map(str::split_whitespace).find(is_mirror).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::mirror;

    #[test]
    fn the_mirror_is_debians_own_and_not_its_security_suite_or_anothers() {
        let both = "# deb http://old.example/debian buster main\n\
            deb http://packages.example/cloud stable main\n\
            deb [signed-by=/x.gpg] http://security.debian.org/debian-security bookworm-security main\n\
            deb http://ftp.example.org/debian/ bookworm main\n";
        assert_eq!(mirror(both).as_deref(), Some("http://ftp.example.org/debian/"));
        assert_eq!(
            mirror("Types: deb\nURIs: https://a.example/debian\n").as_deref(),
            Some("https://a.example/debian")
        );
        assert_eq!(mirror("deb http://archive.ubuntu.com/ubuntu noble main\n"), None);
    }
}
