//! The BPF program of `portolan trace`, built from its source: what `cargo xtask bpf` commits, and a test holds against it.
//!
//! Source: clang's BPF target. The object says what it was built from: the SHA-256 of the source, and the compiler.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The source.
pub fn bpf_source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/src/sys/linux/trace/trace.bpf.c")
}

/// Builds the source into an object.
///
/// # Panics
/// Where clang or llvm-strip is missing, or refuses.
pub fn build_bpf(object: &Path) {
    let source = bpf_source();
    let compiler = said(Command::new("clang").arg("--version"));
    let compiler = compiler.lines().next().unwrap_or_default();
    let built = format!("-DBUILT=\"{} {compiler}\"", bpf_source_hash());
    said(
        Command::new("clang")
            .args(["--target=bpfel", "-mcpu=v3", "-O2", "-Wall", "-Wextra", "-Werror", "-c"])
            .arg(built)
            .arg(&source)
            .arg("-o")
            .arg(object),
    );
    // Labels of the compiler's own make up a third of it.
    said(Command::new("llvm-strip").arg("--strip-unneeded").arg(object));
}

/// The SHA-256 of the source, in hexadecimal.
///
/// # Panics
/// Where sha256sum is missing.
pub fn bpf_source_hash() -> String {
    let sum = said(Command::new("sha256sum").arg(bpf_source()));
    sum.split_whitespace().next().unwrap_or_default().to_owned()
}

fn said(command: &mut Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| {
        panic!("{program}: {error}; type: sudo apt-get install clang llvm coreutils")
    });
    assert!(status.success(), "{program} failed: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).into_owned()
}
