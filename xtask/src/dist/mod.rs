//! `cargo xtask dist`: a release, packed and tried: a .zip for Windows, a .tar.gz for any Linux, a .deb for Debian.
//!
//! Linux's program is linked with musl, without any library of the machine's, so one serves every distribution. What
//! is packed has the time of the last commit, no path of this machine, and an order of its own; the same source and the
//! same Rust give the same bytes.

mod deb;
mod tree;
mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};

use self::tree::Tree;
use crate::windows::{self, TARGET as WINDOWS};
use crate::{cargo, checked, has_library, packages, rustup_target, shown, target_folder};

/// The target whose programs need no library of the machine's.
const LINUX: &str = "x86_64-unknown-linux-musl";

/// Texts that belong into every package.
const TEXTS: [&str; 5] = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "LICENSE-DEJAVU"];

/// A release that is being made.
struct Release {
    version: String,
    /// Seconds since 1970 of the last commit.
    time: u64,
    /// The repository.
    source: PathBuf,
    /// Where the packages go.
    out: PathBuf,
    /// Where they are laid out and tried.
    work: PathBuf,
}

/// What both systems' packages are made of.
struct Parts {
    linux: PathBuf,
    windows: PathBuf,
    /// Pages of the manual: file name and text.
    pages: Vec<(String, Vec<u8>)>,
}

/// Makes the packages, tries them, and writes their sums.
pub(crate) fn dist() -> anyhow::Result<()> {
    packages::install(packages::RELEASE)?;
    let wine = windows::prepare()?;
    if !has_library(LINUX)? {
        rustup_target(LINUX).with_context(|| format!("type rustup target add {LINUX} and try again"))?;
    }
    let release = Release::new()?;
    let parts = Parts::build(&release)?;
    let zip = release.zip(&parts)?;
    let tarball = release.tarball(&parts)?;
    let deb = deb::write(&release, &parts)?;
    trial::zip(&release, &zip, &wine)?;
    trial::tarball(&release, &tarball)?;
    trial::deb(&release, &deb)?;
    fs::remove_dir_all(&release.work)?;
    let names: Vec<&str> =
        [&zip, &tarball, &deb].iter().filter_map(|path| path.file_name()?.to_str()).collect();
    let sums = answer(Command::new("sha256sum").args(names).current_dir(&release.out))?;
    fs::write(release.out.join("SHA256SUMS"), &sums)?;
    print!("{}:\n{}", release.out.display(), String::from_utf8_lossy(&sums));
    Ok(())
}

impl Release {
    fn new() -> anyhow::Result<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        let said = answer(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(&source))
            .context("the time of a release is its commit's")?;
        let out = target_folder().join("dist");
        if out.exists() {
            fs::remove_dir_all(&out)?;
        }
        let work = out.join("work");
        fs::create_dir_all(&work)?;
        let time = String::from_utf8(said)?.trim().parse()?;
        Ok(Self { version: env!("CARGO_PKG_VERSION").to_owned(), time, source, out, work })
    }

    /// Builds the program for a target; where it lies.
    fn build(&self, target: &str, more: &[&str]) -> anyhow::Result<PathBuf> {
        let home =
            std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cargo"))?;
        let here = format!("--remap-path-prefix={}=/portolan", self.source.display());
        let cargos = format!("--remap-path-prefix={home}=/cargo");
        let flags = [&[here.as_str(), cargos.as_str()], more].concat().join("\u{1f}");
        let mut build =
            cargo(&["build", "--release", "--locked", "--package", "portolan", "--target", target]);
        // Some crates hold C; the compiler's wrapper for musl has another name than theirs are looked for by.
        build.env("CC_x86_64_unknown_linux_musl", "musl-gcc").env("CARGO_ENCODED_RUSTFLAGS", flags);
        checked(build.current_dir(&self.source))?;
        Ok(target_folder().join(target).join("release/portolan"))
    }

    /// The folder that an archive holds: `portolan-0.1.0-linux-x86_64`.
    fn name(&self, system: &str) -> String {
        format!("portolan-{}-{system}-x86_64", self.version)
    }

    fn moment(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.time)
    }

    /// A folder to fill, with the texts of every package.
    fn tree(&self, system: &str) -> anyhow::Result<Tree> {
        let tree = Tree::new(self.work.join(self.name(system)))?;
        for name in TEXTS {
            tree.file(name, fs::read(self.source.join(name))?)?;
        }
        Ok(tree)
    }

    fn zip(&self, parts: &Parts) -> anyhow::Result<PathBuf> {
        let tree = self.tree("windows")?;
        tree.program("portolan.exe", &parts.windows)?;
        tree.file("docs/windows.md", fs::read(self.source.join("docs/windows.md"))?)?;
        tree.file("docs/manual.txt", parts.manual()?)?;
        tree.file("completions/portolan.ps1", parts.completions("powershell")?)?;
        tree.settle(self.moment())?;
        let file = self.out.join(format!("{}.zip", self.name("windows")));
        let names = tree.files()?.into_iter().map(|name| format!("{}/{name}", self.name("windows")));
        let mut zip = Command::new("zip");
        zip.args(["-q", "-9", "-X", "-D"]).arg(&file).args(names);
        checked(zip.env("TZ", "UTC").current_dir(&self.work))?;
        Ok(file)
    }

    fn tarball(&self, parts: &Parts) -> anyhow::Result<PathBuf> {
        let tree = self.tree("linux")?;
        tree.program("portolan", &parts.linux)?;
        for (name, text) in &parts.pages {
            tree.file(&format!("man/man1/{name}"), text)?;
        }
        for (shell, name) in [("bash", "portolan.bash"), ("zsh", "_portolan"), ("fish", "portolan.fish")] {
            tree.file(&format!("completions/{name}"), parts.completions(shell)?)?;
        }
        tree.settle(self.moment())?;
        let file = self.out.join(format!("{}.tar.gz", self.name("linux")));
        let mut tar = Command::new("tar");
        tar.args(["--create", "--sort=name", "--format=ustar", "--numeric-owner", "--owner=0", "--group=0"])
            .arg("--use-compress-program=gzip -9n")
            .arg("--file")
            .arg(&file)
            .arg(self.name("linux"));
        checked(tar.current_dir(&self.work))?;
        Ok(file)
    }
}

impl Parts {
    fn build(release: &Release) -> anyhow::Result<Self> {
        let linux = release.build(LINUX, &[])?;
        // GNU ld writes the time of linking into a program unless told otherwise.
        let windows =
            release.build(WINDOWS, &["-Clink-arg=-Wl,--no-insert-timestamp"])?.with_extension("exe");
        let folder = release.work.join("manual");
        answer(Command::new(&linux).args(["man", "--out"]).arg(&folder))?;
        let mut pages = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().context("our names are ASCII")?;
            pages.push((name, fs::read(entry.path())?));
        }
        pages.sort();
        Ok(Self { linux, windows, pages })
    }

    fn completions(&self, shell: &str) -> anyhow::Result<Vec<u8>> {
        answer(Command::new(&self.linux).args(["completions", shell]))
    }

    /// The manual as one text, for a system without `man`: the long help of every command.
    fn manual(&self) -> anyhow::Result<Vec<u8>> {
        let mut text = Vec::new();
        for (name, _) in &self.pages {
            let verb = name.strip_suffix(".1").and_then(|name| name.strip_prefix("portolan-"));
            let mut command = Command::new(&self.linux);
            command.args(verb).arg("--help").env("COLUMNS", "100");
            let title = verb.map_or("portolan".to_owned(), |verb| format!("portolan {verb}"));
            text.extend(format!("{title}\n{}\n\n", "=".repeat(title.len())).into_bytes());
            text.extend(answer(&mut command)?);
            text.extend(b"\n\n");
        }
        Ok(text)
    }
}

/// What a command prints, once it went well.
fn answer(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot run {}", shown(command)))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{} failed ({}): {}", shown(command), output.status, errors.trim());
    }
    Ok(output.stdout)
}
