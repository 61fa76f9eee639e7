//! The chores of this project: `cargo xtask test` and `cargo xtask bench`.
//!
//! It uses what a machine with rustup has and installs the Debian packages that it needs beyond; it knows no other
//! distribution's package manager.

mod bench;
mod packages;
mod test;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

const USAGE: &str = "\
cargo xtask test
    installs what the tests need, then formatting, lints, every test and the documentation
cargo xtask bench [sockets|start|snapshot]… [--quick]
    measures the release build against what people use today; --quick: a small size
cargo xtask sample COUNT FILE
    writes a snapshot of that many generated sockets";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["test"] => test::test(),
        ["bench", rest @ ..] => bench::bench(rest),
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

/// The cargo that runs this.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Where cargo puts what it builds: the folder above the one that this program lies in.
fn target_folder() -> PathBuf {
    let own = std::env::current_exe().expect("/proc is mounted");
    own.ancestors().nth(2).expect("cargo puts programs two folders deep").to_owned()
}
