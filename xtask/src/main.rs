//! The chores of this project: `cargo xtask test`, `cargo xtask bench`, `cargo xtask dist`.
//!
//! It uses what a machine with rustup has and installs the Debian packages that it needs beyond; it knows no other
//! distribution's package manager.

mod bench;
mod dist;
mod fuzz;
mod packages;
mod test;
mod windows;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

const USAGE: &str = "\
cargo xtask test [linux|windows]
    installs what the tests need, then formatting, lints, every test and the documentation, for both systems or one
cargo xtask bench [start|sockets|snapshot|probe|trace]… [--quick]
    measures the release build against what people use today; --quick: a small size
cargo xtask dist
    packs a release into target/dist: .zip for Windows, .tar.gz and .deb for Linux; tries each
cargo xtask bpf
    builds the BPF program of trace anew, with Debian's clang, into the object that is committed
cargo xtask fuzz [RUNS] [NAME]…
    every decoder, or those named, against that many made-up inputs each (10,000,000); needs nightly and cargo-fuzz
cargo xtask sample COUNT FILE
    writes a snapshot of that many generated sockets";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["test", systems @ ..] => test::test(systems),
        ["bench", rest @ ..] => bench::bench(rest),
        ["fuzz", rest @ ..] => fuzz::fuzz(rest),
        ["bpf"] => bpf().map(|()| true),
        ["dist"] => dist::dist().map(|()| true),
        ["sample", sockets, file] => bench::sample(sockets, file.as_ref()).map(|()| true),
        _ => Err(anyhow::anyhow!("{USAGE}")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Builds the BPF program where the host crate embeds it.
fn bpf() -> anyhow::Result<()> {
    packages::install(packages::LINUX)?;
    let object = portolan_testbed::bpf_source().with_extension("o");
    portolan_testbed::build_bpf(&object);
    println!("    wrote {}", object.display());
    Ok(())
}

/// The cargo that runs this.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Runs a command to its end; a failure is an error that names it.
fn checked(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// What rustc says, without the end of the line.
fn rustc(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("rustc").args(arguments).output().context("cannot run rustc")?;
    if !output.status.success() {
        bail!("rustc {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// Whether Rust's standard library for a target is there.
fn has_library(target: &str) -> anyhow::Result<bool> {
    let folder = rustc(&["--print", "target-libdir", "--target", target])?;
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    Ok(files.map(|file| file.file_name()).any(|name| {
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    }))
}

/// Lets rustup install the standard library of a target.
fn rustup_target(target: &str) -> anyhow::Result<()> {
    println!("    rustup target add {target}");
    checked(Command::new("rustup").args(["target", "add", target]))
}

/// Where cargo puts what it builds: the folder above the one that this program lies in.
fn target_folder() -> PathBuf {
    let own = std::env::current_exe().expect("/proc is mounted");
    own.ancestors().nth(2).expect("cargo puts programs two folders deep").to_owned()
}

/// Where this user keeps what was fetched and can be fetched again.
fn cache_folder() -> anyhow::Result<PathBuf> {
    let given = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = given("XDG_CACHE_HOME").or_else(|| given("HOME").map(|home| home.join(".cache")));
    Ok(folder.context("set HOME to your home folder")?.join("portolan"))
}
