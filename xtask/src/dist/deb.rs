//! The package for Debian and its kin. The program needs no library, so the package depends on none.
//!
//! Source: deb(5), deb-control(5), Debian Policy 4.6 chapters 5 and 12. Left out: a source package, scripts of the
//! maintainer's (there is nothing to set up).

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context;

use super::tree::Tree;
use super::{Parts, Release, answer};
use crate::checked;

/// Who answers for the package. An address must be there; the project has none that takes mail yet.
const MAINTAINER: &str = "The Portolan developers <portolan@localhost.localdomain>";

const DESCRIPTION: &str = "\
Description: chart of this machine's network ports
 Portolan answers whose a port is, why it cannot be had and what to do about it,
 with evidence: sockets with their owners, reservations, the ephemeral range,
 firewall rules and the room that is left.
 .
 It stops holders at the right level, reserves ports, changes the ephemeral
 range, and takes every change back.
";

/// Writes the package; where it lies.
pub(super) fn write(release: &Release, parts: &Parts) -> anyhow::Result<PathBuf> {
    let tree = Tree::new(release.work.join("deb"))?;
    let moment = release.moment();
    tree.program("usr/bin/portolan", &parts.linux)?;
    for (name, text) in &parts.pages {
        tree.file(&format!("usr/share/man/man1/{name}.gz"), gzip(text)?)?;
    }
    for (shell, path) in [
        ("bash", "usr/share/bash-completion/completions/portolan"),
        ("zsh", "usr/share/zsh/vendor-completions/_portolan"),
        ("fish", "usr/share/fish/vendor_completions.d/portolan.fish"),
    ] {
        tree.file(path, parts.completions(shell)?)?;
    }
    let text = |name: &str| std::fs::read_to_string(release.source.join(name));
    let documents = "usr/share/doc/portolan";
    tree.file(&format!("{documents}/README.md.gz"), gzip(text("README.md")?.as_bytes())?)?;
    tree.file(&format!("{documents}/NEWS.gz"), gzip(text("CHANGELOG.md")?.as_bytes())?)?;
    tree.file(&format!("{documents}/changelog.gz"), gzip(changelog(release)?.as_bytes())?)?;
    tree.file(&format!("{documents}/copyright"), copyright(&text("LICENSE-MIT")?, &text("LICENSE-DEJAVU")?))?;
    let overrides = "# On purpose: one program for every distribution.\nportolan: shared-library-lacks-prerequisites [usr/bin/portolan]\n";
    tree.file("usr/share/lintian/overrides/portolan", overrides)?;

    let files = tree.files()?;
    let size = std::fs::metadata(&parts.linux)?.len().div_ceil(1024) + 4 * files.len() as u64;
    let sums = answer(Command::new("md5sum").args(&files).current_dir(tree.root()))?;
    tree.file("DEBIAN/md5sums", sums)?;
    let version = &release.version;
    tree.file(
        "DEBIAN/control",
        format!(
            "Package: portolan\nVersion: {version}\nArchitecture: amd64\nMaintainer: {MAINTAINER}\n\
             Installed-Size: {size}\nSection: net\nPriority: optional\n{DESCRIPTION}"
        ),
    )?;
    tree.settle(moment)?;
    let file = release.out.join(format!("portolan_{version}_amd64.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Zxz", "--build"]).arg(tree.root()).arg(&file);
    checked(build.env("SOURCE_DATE_EPOCH", release.time.to_string()).stdout(Stdio::null()))?;
    Ok(file)
}

/// Debian's own log of the package: one entry, of this release.
fn changelog(release: &Release) -> anyhow::Result<String> {
    let date = answer(
        Command::new("date").args(["--utc", "--rfc-email", "--date"]).arg(format!("@{}", release.time)),
    )?;
    let date = String::from_utf8(date)?;
    Ok(format!(
        "portolan ({}) unstable; urgency=medium\n\n  * Release; NEWS says what changed.\n\n -- {MAINTAINER}  {date}",
        release.version
    ))
}

/// What may be done with it, in the machine-readable form (DEP 5).
fn copyright(mit: &str, font: &str) -> String {
    let (holder, terms) =
        mit.split_once("\n\n").map_or(("", mit), |(_, rest)| rest.split_once("\n\n").unwrap_or(("", rest)));
    let holder = holder.trim().trim_start_matches("Copyright (c) ");
    let indented = |text: &str| -> String {
        let line = |line: &str| if line.is_empty() { " .\n".to_owned() } else { format!(" {line}\n") };
        text.trim().lines().map(line).collect()
    };
    let terms = indented(terms);
    let font = indented(font.find("Permission").and_then(|start| font.get(start..)).unwrap_or(font));
    format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: portolan\n\n\
         Files: *\nCopyright: {holder}\nLicense: Expat or Apache-2.0\n\nLicense: Expat\n{terms}\n\
         Files: crates/cli/src/plot/DejaVuSans-Latin.ttf\nCopyright: 2003 Bitstream, Inc.\n\
         License: Bitstream-Vera\n{font}\n\
         License: Apache-2.0\n On Debian systems the text of this licence is in\n /usr/share/common-licenses/Apache-2.0.\n"
    )
}

fn gzip(text: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut child = Command::new("gzip")
        .arg("-9nc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run gzip")?;
    let mut input = child.stdin.take().context("it was piped")?;
    let output = std::thread::scope(|scope| {
        let writer = scope.spawn(move || input.write_all(text));
        let output = child.wait_with_output();
        writer.join().expect("it does not panic").and(output)
    })?;
    anyhow::ensure!(output.status.success(), "gzip failed ({})", output.status);
    Ok(output.stdout)
}
