//! The house stays as ARCHITECTURE.md draws it: every source file is read as tokens, every path in it resolved, and
//! what the document forbids is a failure that names file, line and rule.
//!
//! It reads tokens and not types: a re-export under another name would slip through, as would a macro that builds
//! a path. Reviews see those.

mod tokens;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tokens::{Fact, facts};

/// Folders whose files are entries of one list and must not know each other.
const REGISTRIES: [&str; 6] = [
    "crates/core/src/diagnose",
    "crates/core/src/import",
    "crates/core/src/probe",
    "crates/cli/src/output",
    "crates/cli/src/command",
    "crates/host/src/sys",
];

/// What core may not touch: the world outside of its arguments.
const WORLD: [&str; 17] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::time::SystemTime",
    "std::time::Instant",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "libc",
    "rustix",
    "portolan_host",
];

const PRINTING: [&str; 4] = ["print", "println", "eprint", "eprintln"];
const SYSTEM_CONDITIONS: [&str; 4] = ["target_os", "target_family", "windows", "unix"];
const VAGUE_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "types", "manager"];
const LONGEST_FILE: usize = 500;
/// Tests may be longer: the cases of one thing, such as every help page, stand in one place.
const LONGEST_TEST: usize = 1000;
const MOST_WORDS: usize = 1000;

/// One source file, with the names of its neighbours.
struct Source {
    /// Relative to the root of the repository.
    path: String,
    text: String,
    /// Other modules of its folder, where the folder is one of [`REGISTRIES`].
    siblings: BTreeSet<String>,
}

impl Source {
    /// The crate's folder: `crates/core`, `xtask`.
    fn home(&self) -> &str {
        self.path.split_once("/src/").or_else(|| self.path.split_once("/tests/")).map_or("", |(home, _)| home)
    }

    /// Whether it is part of a crate, and not one of its tests or examples.
    fn ships(&self) -> bool {
        self.path.contains("/src/") && !self.path.ends_with("/tests.rs")
    }

    /// The module that the file is: `["diagnose", "free"]`; empty for lib.rs and main.rs.
    fn module(&self) -> Vec<String> {
        let inside = self.path.split_once("/src/").map_or(self.path.as_str(), |(_, inside)| inside);
        let mut module: Vec<String> = inside.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            module.pop();
        }
        module
    }

    /// The registry that the file is an entry of, with its own name there.
    fn entry(&self) -> Option<(&'static str, String)> {
        let registry = REGISTRIES.into_iter().find(|folder| self.path.starts_with(&format!("{folder}/")))?;
        let own = self.path.strip_prefix(registry)?.trim_start_matches('/');
        let own = own.split('/').next()?.trim_end_matches(".rs");
        (own != "mod").then(|| (registry, own.to_owned()))
    }
}

/// Everything in one file that breaks a rule, a line each.
fn problems(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if !source.text.starts_with("//!") {
        found.push("does not open with //! and what it is".to_owned());
    }
    let (lines, most) =
        (source.text.lines().count(), if source.ships() { LONGEST_FILE } else { LONGEST_TEST });
    if lines > most {
        found.push(format!("is {lines} lines long, more than {most}"));
    }
    let module = source.module();
    if module.last().is_some_and(|name| VAGUE_NAMES.contains(&name.as_str())) {
        found.push("has a name that says nothing".to_owned());
    }
    match facts(&source.text, &module) {
        Ok(facts) => found.extend(facts.iter().filter_map(|(line, fact)| {
            broken_rule(source, fact).map(|problem| format!("line {line}: {problem}"))
        })),
        Err(error) => found.push(format!("cannot be read as Rust: {error}")),
    }
    found.into_iter().map(|problem| format!("{}: {problem}", source.path)).collect()
}

/// The rule that one fact breaks.
fn broken_rule(source: &Source, fact: &Fact) -> Option<String> {
    let home = source.home();
    match fact {
        Fact::Function(name) if name.starts_with("get_") => Some(format!("fn {name}: leave out the get_")),
        _ if !source.ships() => None,
        Fact::Path(path) => broken_path(source, path),
        Fact::Unsafe if home != "crates/host" && source.path != "crates/testbed/src/system.rs" => {
            Some("unsafe belongs to host alone (and to testbed's system.rs)".to_owned())
        }
        Fact::Condition(word)
            if SYSTEM_CONDITIONS.contains(&word.as_str()) && source.path != "crates/host/src/sys/mod.rs" =>
        {
            Some(format!("cfg({word}) belongs to crates/host/src/sys/mod.rs alone"))
        }
        Fact::Macro(name)
            if PRINTING.contains(&name.as_str()) && ["crates/core", "crates/host"].contains(&home) =>
        {
            Some(format!("{name}! prints; only the program does"))
        }
        _ => None,
    }
}

fn broken_path(source: &Source, path: &[String]) -> Option<String> {
    let home = source.home();
    let joined = path.join("::");
    let library = ["crates/core", "crates/host", "crates/history"].contains(&home);
    if library && path.first().is_some_and(|head| head == "clap") {
        return Some("clap belongs to the program".to_owned());
    }
    let starts = |what: &str| joined == what || joined.starts_with(&format!("{what}::"));
    if home == "crates/core"
        && let Some(effect) = WORLD.into_iter().find(|effect| starts(effect))
    {
        return Some(format!("core is pure and may not use {effect}"));
    }
    let (registry, own) = source.entry()?;
    let folder = registry.rsplit_once("/src/")?.1;
    match path {
        [head, first, other, ..]
            if head == "crate" && first == folder && *other != own && source.siblings.contains(other) =>
        {
            Some(format!("{own} imports its sibling {other} ({joined}): both are entries of {folder}/mod.rs"))
        }
        _ => None,
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("crates/testbed lies two below")
        .to_owned()
}

/// Every Rust file below a folder.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The modules of a folder: its files and folders but for mod.rs.
fn modules(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let stems = entries.filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()));
    stems.filter(|stem| stem != "mod").collect()
}

fn sources() -> Vec<Source> {
    let root = root();
    let mut files = Vec::new();
    for folder in ["crates", "xtask"] {
        rust_files(&root.join(folder), &mut files);
    }
    let read = |file: PathBuf| {
        let path = file.strip_prefix(&root).unwrap().to_str().expect("our names are ASCII").to_owned();
        let registry = REGISTRIES.into_iter().find(|folder| path.starts_with(&format!("{folder}/")));
        let siblings = registry.map(|folder| modules(&root.join(folder))).unwrap_or_default();
        Source { text: fs::read_to_string(&file).unwrap(), path, siblings }
    };
    files.into_iter().map(read).collect()
}

#[test]
fn every_source_file_keeps_the_rules_of_the_house() {
    let sources = sources();
    assert!(sources.len() > 20, "only {} files were found", sources.len());
    let found: Vec<String> = sources.iter().flat_map(problems).collect();
    assert!(found.is_empty(), "{} problems:\n{}", found.len(), found.join("\n"));
}

#[test]
fn core_and_history_forbid_unsafe_code() {
    for package in ["core", "history"] {
        let text = fs::read_to_string(root().join("crates").join(package).join("src/lib.rs")).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "crates/{package}");
    }
}

/// Words in backticks that are paths of this repository; what a build makes below target is there or not.
fn named_paths(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_path = |word: &&str| {
        !word.contains([' ', '<', '*', ':', '=', '"'])
            && !word.starts_with(['/', '~'])
            && !word.starts_with("target/")
            && (word.contains('/') || [".rs", ".md", ".toml"].iter().any(|end| word.ends_with(end)))
    };
    quoted.filter(is_path).collect()
}

#[test]
fn every_path_that_the_documents_name_exists() {
    let root = root();
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"] {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let paths = named_paths(&text);
        assert!(!paths.is_empty(), "{document} names no path");
        for path in paths {
            assert!(root.join(path).exists(), "{document} names `{path}`, which does not exist");
        }
    }
}

#[test]
fn the_architecture_is_short_enough_to_be_read() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let words = text.split_whitespace().count();
    assert!((100..=MOST_WORDS).contains(&words), "ARCHITECTURE.md has {words} words");
}

/// A test that cannot fail proves nothing: each rule is broken once, and must be seen.
#[test]
fn each_broken_rule_is_seen() {
    let diagnose = "crates/core/src/diagnose/free.rs";
    for (path, text, problem) in [
        (diagnose, "use crate::diagnose::shadowed::RULE;", "imports its sibling shadowed"),
        (diagnose, "use super::{Finding, shadowed};", "imports its sibling shadowed"),
        (diagnose, "fn f() { super::shadowed::check() }", "imports its sibling shadowed"),
        (diagnose, "mod tests { use super::super::shadowed; }", "imports its sibling shadowed"),
        (
            diagnose,
            "use crate::{diagnose::{self, shadowed as other}, port::Port};",
            "imports its sibling shadowed",
        ),
        (
            "crates/core/src/port.rs",
            "use std::{fmt, net::{IpAddr, TcpListener}};",
            "may not use std::net::TcpListener",
        ),
        (
            "crates/core/src/port.rs",
            "fn f() { std::time::SystemTime::now(); }",
            "may not use std::time::SystemTime",
        ),
        ("crates/core/src/port.rs", "fn f() { assert!(std::fs::exists(p)); }", "may not use std::fs"),
        ("crates/core/src/port.rs", "use rustix::net;", "may not use rustix"),
        ("crates/core/src/port.rs", "fn f() { println!(); }", "println! prints"),
        ("crates/core/src/port.rs", "fn get_port() {}", "leave out the get_"),
        ("crates/cli/src/main.rs", "fn f() { unsafe { g() } }", "unsafe belongs to host"),
        ("crates/host/src/bind.rs", "#[cfg(target_os = \"linux\")] fn f() {}", "cfg(target_os) belongs to"),
        ("crates/host/src/bind.rs", "#[cfg(all(test, unix))] fn f() {}", "cfg(unix) belongs to"),
        ("crates/host/src/bind.rs", "use clap::Parser;", "clap belongs to the program"),
        ("crates/host/src/utils.rs", "", "a name that says nothing"),
        ("crates/host/src/bind.rs", "fn f( {", "cannot be read as Rust"),
    ] {
        let siblings = ["free", "shadowed"].map(str::to_owned).into();
        let source = Source { path: path.to_owned(), text: format!("//! A sample.\n{text}\n"), siblings };
        let found = problems(&source);
        assert!(found.len() == 1 && found[0].contains(problem), "{text}: {found:?}");
    }
    let plain =
        |text: String| Source { path: "xtask/src/main.rs".to_owned(), text, siblings: BTreeSet::new() };
    assert!(problems(&plain("fn main() {}".to_owned()))[0].contains("does not open with //!"));
    assert!(problems(&plain(format!("//! Long.{}", "\n".repeat(501))))[0].contains("lines long"));
}

#[test]
fn what_the_rules_allow_is_not_a_problem() {
    for (path, text) in [
        ("crates/core/src/diagnose/free.rs", "use super::{Case, Finding}; use crate::diagnose::free::RULE;"),
        ("crates/core/src/diagnose/free.rs", "/// See [`super::shadowed`], `std::fs` and unsafe.\nfn f() {}"),
        ("crates/core/src/diagnose/mod.rs", "use self::shadowed::RULE; mod shadowed;"),
        ("crates/core/src/port.rs", "use std::net::SocketAddr; const S: &str = \"std::fs unsafe println!\";"),
        ("crates/host/src/sys/mod.rs", "#[cfg(target_os = \"linux\")] mod linux;"),
        ("crates/host/src/sys/linux.rs", "fn f() { unsafe { g() } }"),
        ("crates/cli/src/main.rs", "use clap::Parser; fn f() { println!(); }"),
        ("crates/core/tests/memory.rs", "fn f() { std::thread::yield_now(); println!(); }"),
    ] {
        let siblings = ["free", "shadowed"].map(str::to_owned).into();
        let source = Source { path: path.to_owned(), text: format!("//! A sample.\n{text}\n"), siblings };
        assert_eq!(problems(&source), Vec::<String>::new(), "{text}");
    }
}
