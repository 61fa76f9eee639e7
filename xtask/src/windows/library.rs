//! Rust's standard library for Windows.
//!
//! rustup brings it. Where rustup's server is out of reach but Debian's mirror is not, it is built from the source that
//! Debian packages for the same version of Rust (`rust-src` of trixie-backports), with cargo's `-Zbuild-std`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::TARGET;
use super::debian::Apt;
use crate::{cache_folder, cargo, checked, rustup_target};

/// The suite that holds the source of Rust, of several versions at once.
const SUITE: &str = "trixie-backports";

/// Makes sure that it is there.
pub(super) fn ready() -> anyhow::Result<()> {
    if crate::has_library(TARGET)? {
        return Ok(());
    }
    let Err(unreached) = rustup_target(TARGET) else { return Ok(()) };
    println!("    {unreached:#}; trying to build it from Debian's source");
    build().with_context(|| {
        format!("there is no standard library for {TARGET}: type rustup target add {TARGET} and try again")
    })
}

/// Builds it from source and puts it where rustc looks.
fn build() -> anyhow::Result<()> {
    let folder = cache_folder()?.join("std-source");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let source = fetch(&folder)?;
    let sysroot = PathBuf::from(crate::rustc(&["--print", "sysroot"])?);
    let lent = sysroot.join("lib/rustlib/src/rust");
    if lent.exists() {
        bail!("{} is there already: type rustup component remove rust-src", lent.display());
    }
    fs::create_dir_all(lent.parent().context("it has a parent")?)?;
    symlink(source, &lent).context("cannot lend cargo the source")?;
    let built = compile(&folder.join("seed"));
    fs::remove_file(&lent)?;
    let libraries = PathBuf::from(crate::rustc(&["--print", "target-libdir", "--target", TARGET])?);
    fs::create_dir_all(&libraries)?;
    for file in fs::read_dir(built?)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "rlib") {
            fs::copy(&path, libraries.join(path.file_name().context("it is a file")?))?;
        }
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// The folder with the source of this very version of Rust.
fn fetch(folder: &Path) -> anyhow::Result<PathBuf> {
    let said = crate::rustc(&["--version"])?;
    let version = said.split_whitespace().nth(1).context("rustc says no version")?;
    let apt = Apt::new(folder.join("apt"), SUITE)?;
    let found = apt.versions("rust-src")?.into_iter().find(|full| full.starts_with(&format!("{version}+")));
    let full = found.with_context(|| format!("Debian has no source of Rust {version}"))?;
    let root = folder.join("root");
    apt.unpack(&[&format!("rust-src={full}")], &root)?;
    Ok(root.join(format!("usr/src/rustc-{version}")))
}

/// A program of nothing, whose build builds the library; where its parts lie.
fn compile(seed: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(seed.join("src"))?;
    fs::write(seed.join("src/main.rs"), "fn main() {}\n")?;
    let manifest = "[package]\nname = \"seed\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
        [profile.release]\ndebug = \"line-tables-only\"\n";
    fs::write(seed.join("Cargo.toml"), manifest)?;
    // As Rust's own builds have it, and cargo has no settings for: bitcode for programs that are optimised as a whole,
    // and the one crate that programs that abort link is compiled so itself.
    let wrapper = seed.join("rustc");
    let script = "#!/bin/sh\ncase \" $* \" in\n*' --crate-name panic_abort '*) set -- \"$@\" -Cpanic=abort ;;\n\
        esac\nexec \"$@\" -Cembed-bitcode=yes\n";
    fs::write(&wrapper, script)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    let mut build = cargo(&["build", "--quiet", "--release", "--target", TARGET]);
    build
        .args(["-Zbuild-std=std,panic_abort,panic_unwind,test,proc_macro"])
        .arg("-Zbuild-std-features=panic-unwind,backtrace")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC_WRAPPER", wrapper)
        .env("CARGO_TARGET_DIR", seed.join("target"))
        .env_remove("RUSTFLAGS")
        .current_dir(seed);
    checked(&mut build)?;
    Ok(seed.join("target").join(TARGET).join("release/deps"))
}
