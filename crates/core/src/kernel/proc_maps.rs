//! `/proc/PID/maps`: the program and the libraries that a process has in memory.
//!
//! Source: proc_pid_maps(5): `address perms offset dev inode pathname`. Left out on purpose: mappings without a file, files
//! that are only read as data, and where each part of a library lies: its first address is told.

/// A program or a library in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its file; ` (deleted)` behind it where that is gone.
    pub path: String,
    /// The address of its first part.
    pub base: u64,
}

/// The modules, in the order of their addresses; lines that are none are passed over.
pub fn modules(text: &str) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    let mut executable: Vec<bool> = Vec::new();
    for (base, may_run, path) in text.lines().filter_map(mapping) {
        // The parts of a file lie one behind the other.
        match modules.last().zip(executable.last_mut()) {
            Some((last, known)) if last.path == path => *known |= may_run,
            _ => {
                modules.push(Module { path: path.to_owned(), base });
                executable.push(may_run);
            }
        }
    }
    let mut executable = executable.into_iter();
    modules.retain(|_| executable.next().unwrap_or(false));
    modules
}

/// The first address of a file's mapping, whether it may run, and the file.
fn mapping(line: &str) -> Option<(u64, bool, &str)> {
    let path = line.get(line.find('/')?..)?;
    let mut fields = line.split_ascii_whitespace();
    let (first, _) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    Some((u64::from_str_radix(first, 16).ok()?, permissions.contains('x'), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Debian 12, kernel 6.1: `cat /proc/self/maps`, shortened.
    const CAT: &str = "\
55d0c8a00000-55d0c8a02000 r--p 00000000 fe:00 1310774                    /usr/bin/cat
55d0c8a02000-55d0c8a07000 r-xp 00002000 fe:00 1310774                    /usr/bin/cat
55d0ca1d7000-55d0ca1f8000 rw-p 00000000 00:00 0                          [heap]
7f2d7a000000-7f2d7a2ec000 r--p 00000000 fe:00 1313066                    /usr/lib/locale/locale-archive
7f2d7a400000-7f2d7a426000 r--p 00000000 fe:00 1315012                    /usr/lib/a b/libc.so.6
7f2d7a426000-7f2d7a57b000 r-xp 00026000 fe:00 1315012                    /usr/lib/a b/libc.so.6
7ffd1c5a1000-7ffd1c5a3000 r-xp 00000000 00:00 0                          [vdso]
";

    #[test]
    fn what_may_run_is_a_module_with_its_first_address() {
        let module = |path: &str, base| Module { path: path.to_owned(), base };
        assert_eq!(
            modules(CAT),
            [module("/usr/bin/cat", 0x55d0_c8a0_0000), module("/usr/lib/a b/libc.so.6", 0x7f2d_7a40_0000),]
        );
    }

    #[test]
    fn a_text_that_is_cut_anywhere_is_read_as_far_as_it_goes() {
        for end in 0..CAT.len() {
            assert!(modules(&CAT[..end]).len() <= 2);
        }
        assert_eq!(modules("x-y / /\n/\n- /a"), []);
    }
}
