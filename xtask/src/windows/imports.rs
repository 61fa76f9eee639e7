//! What the program for Windows links against: DLLs that every Windows 10 and newer has, and functions that they export.
//!
//! A function that an older Windows lacks keeps the program from starting at all, so such a function is resolved at run
//! time (`GetProcAddress`), never linked. Three lists say so: what Wine exports, which is close to the first
//! Windows 10, what it lacks for all that, and what is documented as newer. Source: the PE import and export tables as
//! GNU objdump prints them; the versions stand in each function's page at learn.microsoft.com.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// DLLs of the system, in every edition of Windows 10 and Server 2016 and newer. None of a compiler
/// (`libgcc_s_seh-1.dll`, `libwinpthread-1.dll`).
const SYSTEM: [&str; 21] = [
    "advapi32.dll",
    "api-ms-win-core-synch-l1-2-0.dll",
    "bcrypt.dll",
    "bcryptprimitives.dll",
    "crypt32.dll",
    "dnsapi.dll",
    "iphlpapi.dll",
    "kernel32.dll",
    "msvcrt.dll",
    "ncrypt.dll",
    "netapi32.dll",
    "ntdll.dll",
    "ole32.dll",
    "oleaut32.dll",
    "psapi.dll",
    "secur32.dll",
    "shell32.dll",
    "user32.dll",
    "userenv.dll",
    "wevtapi.dll",
    "ws2_32.dll",
];

/// Functions that Wine lacks and every Windows has.
const OLDER: [&str; 1] = ["CertCreateCTLEntryFromCertificateContextProperties"];

/// Functions that Wine may have and the first Windows 10 lacks.
const NEWER: [&str; 9] = [
    "CreatePseudoConsole",
    "GetMachineTypeAttributes",
    "GetTcpStatisticsEx2",
    "GetTempPath2W",
    "GetThreadDescription",
    "GetUdpStatisticsEx2",
    "IsWow64Process2",
    "SetThreadDescription",
    "VirtualAlloc2",
];

/// Fails with every import that is not allowed.
pub(crate) fn check(program: &Path, libraries: &Path) -> anyhow::Result<()> {
    let imports = imports(&tables(program)?);
    if !imports.contains_key("kernel32.dll") {
        bail!("{} imports nothing of kernel32.dll: its import table was not understood", program.display());
    }
    // A name of an API set stands for the DLL that has its functions.
    let host = |name: &str| {
        if name.starts_with("api-ms-win-core-") { "kernelbase.dll".into() } else { name.to_owned() }
    };
    let wrong = wrong(&imports, |name| Ok(exports(&tables(&libraries.join(host(name)))?)))?;
    if wrong.is_empty() {
        let count: usize = imports.values().map(BTreeSet::len).sum();
        println!("    {count} functions of {} DLLs, all of Windows 10", imports.len());
        return Ok(());
    }
    bail!("{} imports {}", program.display(), wrong.join("; "))
}

/// The imports that are not allowed, each with its reason; `exported` says what a DLL of the system exports.
fn wrong(
    imports: &BTreeMap<String, BTreeSet<String>>,
    exported: impl Fn(&str) -> anyhow::Result<BTreeSet<String>>,
) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (library, functions) in imports {
        if !SYSTEM.contains(&library.as_str()) {
            wrong.push(format!("{library}, which not every Windows has"));
            continue;
        }
        let exported = exported(library)?;
        let lacks = |function: &&String| {
            let name = function.as_str();
            NEWER.contains(&name) || !exported.contains(name) && !OLDER.contains(&name)
        };
        wrong.extend(functions.iter().filter(lacks).map(|function| {
            format!("{function} of {library}, which older systems lack: resolve it at run time")
        }));
    }
    Ok(wrong)
}

/// What objdump says of a program or DLL.
fn tables(file: &Path) -> anyhow::Result<String> {
    let output = Command::new("x86_64-w64-mingw32-objdump")
        .arg("-p")
        .arg(file)
        .output()
        .context("cannot run objdump")?;
    if !output.status.success() {
        bail!("objdump cannot read {}: {}", file.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The functions that are imported, by DLL: after `DLL Name: X`, rows of address, hint and name up to an empty line.
fn imports(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut library = None;
    for line in text.lines() {
        if let Some((_, name)) = line.split_once("DLL Name: ") {
            library = Some(name.trim().to_lowercase());
        } else if line.trim().is_empty() {
            library = None;
        } else if let Some(name) = &library {
            let functions = found.entry(name.clone()).or_default();
            if let [_, _, function] = line.split_whitespace().collect::<Vec<_>>()[..]
                && !line.contains("vma:")
            {
                functions.insert(function.to_owned());
            }
        }
    }
    found
}

/// The functions that are exported: `[ordinal] +base[number] hint name`, or without the hint.
fn exports(text: &str) -> BTreeSet<String> {
    let names = text.split_once("[Ordinal/Name Pointer] Table").map_or("", |(_, names)| names);
    let rows = names.lines().skip(1).take_while(|line| line.trim_start().starts_with('['));
    rows.filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{exports, imports, wrong};

    #[test]
    fn tables_are_read_as_objdump_prints_them() {
        let text = "The Import Tables\n\tDLL Name: KERNEL32.dll\n\tvma:  Hint/Ord Member-Name Bound-To\n\
            \tc30042\t   20  AddVectoredExceptionHandler\n\tc30060\t  120  CancelIo\n\n \
            00c2f014\t00c2f158 00000000 00000000 00c30fa8 00c2f8c0\n\n\tDLL Name: libgcc_s_seh-1.dll\n\
            \tvma:  Hint/Ord Member-Name Bound-To\n\tc30042\t   20  _Unwind_Resume\n\n";
        let found = imports(text);
        assert_eq!(
            found["kernel32.dll"].iter().collect::<Vec<_>>(),
            ["AddVectoredExceptionHandler", "CancelIo"]
        );
        assert!(found["libgcc_s_seh-1.dll"].contains("_Unwind_Resume"));
        let text = "[Ordinal/Name Pointer] Table -- Ordinal Base 1\n\t[   0] +base[   1]  0000 AcceptEx\n\
            \t[   1] +base[   2]  0001 accept\n\nThe Function Table\n\t[ 3] x\n";
        assert_eq!(exports(text).into_iter().collect::<Vec<_>>(), ["AcceptEx", "accept"]);
    }

    #[test]
    fn a_compilers_dll_and_a_function_that_is_missing_or_too_new_are_refused() {
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let of = |library: &str, function: &str| BTreeMap::from([(library.to_owned(), names(&[function]))]);
        let exported = |_: &str| Ok(names(&["CreateFileW", "GetTempPath2W"]));
        assert!(wrong(&of("kernel32.dll", "CreateFileW"), exported).unwrap().is_empty());
        for (library, function) in [
            ("libgcc_s_seh-1.dll", "_Unwind_Resume"),
            ("kernel32.dll", "InternalGetBoundTcpEndpointTable"),
            ("kernel32.dll", "GetTempPath2W"),
        ] {
            assert_eq!(wrong(&of(library, function), exported).unwrap().len(), 1, "{function}");
        }
    }
}
