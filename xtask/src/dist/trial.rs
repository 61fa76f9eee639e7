//! Every package is unpacked or installed as its reader would, compared with what belongs into it, and its program run:
//! under Wine, and in a folder that holds nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::tree::Tree;
use super::{Release, TEXTS, answer};
use crate::test::runner_variable;
use crate::windows::{self, TARGET, Wine, windows_path};
use crate::{cargo, checked, packages};

/// Commands of which each package must hold the manual.
const VERBS: [&str; 6] = ["list", "who", "why", "free", "pick", "undo"];

/// The zip: unpacked, its program run under Wine.
pub(super) fn zip(release: &Release, file: &Path, wine: &Wine) -> anyhow::Result<()> {
    let folder = empty(release, "trial-zip")?;
    checked(Command::new("unzip").arg("-q").arg(file).arg("-d").arg(&folder))?;
    let top = folder.join(release.name("windows"));
    let own = ["portolan.exe", "docs/windows.md", "docs/manual.txt", "completions/portolan.ps1"];
    holds(&top, &own.iter().chain(&TEXTS).map(ToString::to_string).collect::<Vec<_>>())?;
    let manual = std::fs::read_to_string(top.join("docs/manual.txt"))?;
    if let Some(missing) = VERBS.iter().find(|verb| !manual.contains(&format!("portolan {verb}\n="))) {
        bail!("docs/manual.txt lacks portolan {missing}");
    }
    contains(&std::fs::read_to_string(top.join("completions/portolan.ps1"))?, "Register-ArgumentCompleter")?;
    windows::check(&top.join("portolan.exe"), &wine.libraries())?;
    let program = windows_path(&top.join("portolan.exe"));
    contains(&wine.run(&[&program, "--version"])?, &release.version)?;
    contains(&wine.run(&[&program, "list", "--json"])?, "\"sockets\"")?;
    contains(&wine.run(&[&program])?, "LISTEN")?;
    from_cmd(&program, wine).context("the packed portolan.exe does not do what its tests say")?;
    println!("{}: holds what it should, and does from a cmd line what it should under Wine", file.display());
    Ok(())
}

/// What is typed into `cmd`: the tests of that, on the packed program instead of the one that cargo builds for them.
fn from_cmd(program: &str, wine: &Wine) -> anyhow::Result<()> {
    let of_portolan = ["--package", "portolan", "--target", TARGET];
    let stand_in = [&["build", "--profile", "test", "--example", "stand_in"], &of_portolan[..]].concat();
    checked(&mut cargo(&stand_in))?;
    let tests = ["--test", "windows", "--test", "wine_changes", "--", "from_cmd"];
    let mut tests = cargo(&[&["test"], &of_portolan[..], &tests].concat());
    checked(tests.env(runner_variable(TARGET), wine.runner()).env("PORTOLAN_TRIED", program))
}

/// The tarball: its program run where there is no library, no /proc and no /etc, and on this machine.
pub(super) fn tarball(release: &Release, file: &Path) -> anyhow::Result<()> {
    let folder = empty(release, "trial-tarball")?;
    checked(Command::new("tar").arg("--extract").arg("--file").arg(file).arg("--directory").arg(&folder))?;
    let top = folder.join(release.name("linux"));
    let own = ["portolan", "completions/portolan.bash", "completions/_portolan", "completions/portolan.fish"];
    let pages = VERBS.map(|verb| format!("man/man1/portolan-{verb}.1"));
    let expected = own.iter().chain(&TEXTS).map(ToString::to_string).chain(pages);
    holds(&top, &expected.chain(["man/man1/portolan.1".to_owned()]).collect::<Vec<_>>())?;
    runs_alone(release, &folder, &format!("/{}/portolan", release.name("linux")))?;
    let list = answer(Command::new(top.join("portolan")).args(["list", "--json"]))?;
    contains(&String::from_utf8(list)?, "\"sockets\"")?;
    println!("{}: holds what it should, and runs in an empty folder", file.display());
    Ok(())
}

/// The Debian package: installed by dpkg into an empty system, run there, and removed without remains.
pub(super) fn deb(release: &Release, file: &Path) -> anyhow::Result<()> {
    let about = answer(Command::new("dpkg-deb").arg("--info").arg(file))?;
    contains(&String::from_utf8(about)?, &format!("Version: {}", release.version))?;
    let folder = empty(release, "trial-deb")?;
    for part in ["var/lib/dpkg/updates", "var/lib/dpkg/info"] {
        std::fs::create_dir_all(folder.join(part))?;
    }
    std::fs::write(folder.join("var/lib/dpkg/status"), "")?;
    let dpkg = |action: &str, what: &Path| -> anyhow::Result<()> {
        let mut command = packages::as_root("dpkg")?;
        command.arg(format!("--root={}", folder.display())).arg("--force-script-chrootless");
        answer(command.arg(action).arg(what)).map(|_| ())
    };
    dpkg("--install", file)?;
    let own = [
        "usr/bin/portolan",
        "usr/share/man/man1/portolan.1.gz",
        "usr/share/bash-completion/completions/portolan",
        "usr/share/zsh/vendor-completions/_portolan",
        "usr/share/fish/vendor_completions.d/portolan.fish",
        "usr/share/doc/portolan/copyright",
        "usr/share/doc/portolan/changelog.gz",
        "usr/share/doc/portolan/README.md.gz",
    ];
    let pages = VERBS.map(|verb| format!("usr/share/man/man1/portolan-{verb}.1.gz"));
    holds(&folder, &own.iter().map(ToString::to_string).chain(pages).collect::<Vec<_>>())?;
    runs_alone(release, &folder, "/usr/bin/portolan")?;
    dpkg("--purge", Path::new("portolan"))?;
    if folder.join("usr").exists() {
        bail!("dpkg --purge portolan leaves {} behind", folder.join("usr").display());
    }
    // What dpkg keeps of its own belongs to root.
    checked(packages::as_root("rm")?.arg("-r").arg(&folder))?;
    println!("{}: holds what it should, installs, runs and goes without remains", file.display());
    Ok(())
}

/// A folder for one trial.
fn empty(release: &Release, name: &str) -> anyhow::Result<PathBuf> {
    Ok(Tree::new(release.work.join(name))?.root().to_owned())
}

fn holds(folder: &Path, expected: &[String]) -> anyhow::Result<()> {
    for name in expected {
        let length =
            std::fs::metadata(folder.join(name)).with_context(|| format!("the package lacks {name}"))?.len();
        if length == 0 {
            bail!("in the package {name} is empty");
        }
    }
    Ok(())
}

fn contains(text: &str, expected: &str) -> anyhow::Result<()> {
    if !text.contains(expected) {
        bail!("'{expected}' is not in: {text}");
    }
    Ok(())
}

/// The program as the only thing in its world.
fn runs_alone(release: &Release, root: &Path, program: &str) -> anyhow::Result<()> {
    let mut command = packages::as_root("chroot")?;
    let said = answer(command.arg(root).args([program, "--version"]))?;
    contains(&String::from_utf8(said)?, &release.version)
}
