//! Files of /proc that describe a process, its mounts and the kernel's modules.
//!
//! Source: proc(5); fs/proc/array.c (stat, status), fs/proc_namespace.c (mountinfo), kernel/module/procfs.c (modules).
//! A process chooses its name and its command line freely: both are text of a stranger.

use crate::kernel::malformed::Malformed;

/// Length to which a command line is kept, in bytes.
pub const COMMAND_LIMIT: usize = 4096;

/// What /proc/PID/stat says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// comm: at most 15 bytes, and any byte at all, parentheses and line ends too.
    pub name: String,
    /// Whether it has ended, and only its parent has not yet asked how (a zombie).
    pub ended: bool,
    /// Parent's process id.
    pub parent: u32,
    /// When it started, in clock ticks after boot.
    pub start_ticks: u64,
}

/// /proc/PID/stat. The name ends at the last closing parenthesis, since it may hold some itself.
pub fn stat(text: &str) -> Result<Stat, Malformed> {
    let error = || Malformed::new("/proc/PID/stat", text);
    let (_, rest) = text.split_once('(').ok_or_else(error)?;
    let (name, rest) = rest.rsplit_once(')').ok_or_else(error)?;
    // Field 3 (state) is the first after the name; 4 is the parent, 22 the start.
    let field = |number: usize| rest.split_whitespace().nth(number - 3).ok_or_else(error);
    Ok(Stat {
        name: name.to_owned(),
        ended: matches!(field(3)?, "Z" | "X"),
        parent: field(4)?.parse().map_err(|_| error())?,
        start_ticks: field(22)?.parse().map_err(|_| error())?,
    })
}

/// Effective user id, from /proc/PID/status.
pub fn effective_uid(status: &str) -> Option<u32> {
    status_line(status, "Uid:")?.split_whitespace().nth(1)?.parse().ok()
}

/// How many files the process may have open (RLIMIT_NOFILE, the soft one), from /proc/PID/limits; none for no limit.
pub fn open_files_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Effective capabilities as bits, from /proc/PID/status.
pub fn effective_capabilities(status: &str) -> Option<u64> {
    u64::from_str_radix(status_line(status, "CapEff:")?.trim(), 16).ok()
}

fn status_line<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))
}

/// /proc/PID/cmdline as one line: arguments joined by a space, at most [`COMMAND_LIMIT`] bytes. Nothing for a kernel
/// thread, which has none.
pub fn command_line(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.get(..COMMAND_LIMIT).unwrap_or(bytes);
    let end = bytes.iter().rposition(|byte| *byte != 0)? + 1;
    let spaced: Vec<u8> = bytes[..end].iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).collect();
    let mut line = String::from_utf8_lossy(&spaced).into_owned();
    // A replacement character is longer than the byte it stands for.
    while line.len() > COMMAND_LIMIT {
        line.pop();
    }
    Some(line)
}

/// Arguments of /proc/PID/cmdline.
pub fn arguments(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    bytes.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// Seconds since 1970 at which the system started: `btime` of /proc/stat.
pub fn boot_seconds(text: &str) -> Result<u64, Malformed> {
    let line = text.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|value| value.trim().parse().ok()).ok_or_else(|| Malformed::new("/proc/stat btime", ""))
}

/// Whether /proc/modules lists a module.
pub fn has_module(modules: &str, name: &str) -> bool {
    modules.lines().any(|line| line.split(' ').next() == Some(name))
}

/// One mount of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Which part of the file system is seen: `/` for the whole.
    pub root: String,
    /// Where.
    pub point: String,
}

/// The mounts of a file system type in /proc/self/mountinfo, in its order.
pub fn mounts(mountinfo: &str, kind: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (after.split(' ').next()? == kind).then(|| Mount { root: unescaped(root), point: unescaped(point) })
    };
    mountinfo.lines().filter_map(mount).collect()
}

/// `\040` and the like back to the character.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or("").as_bytes().to_vec();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                bytes.extend_from_slice(&part.as_bytes()[3..]);
            }
            None => {
                bytes.push(b'\\');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_the_soft_one() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max processes             9631                 9631                 processes \n\
            Max open files            1024                 524288               files     \n";
        assert_eq!(open_files_limit(text), Some(1024));
        assert_eq!(open_files_limit("Max open files            unlimited  unlimited  files\n"), None);
        assert_eq!(open_files_limit(""), None);
    }

    // Recorded on Linux 6.18; the name was set with prctl.
    const STAT: &str =
        "4711 (a) b\n(c) S 812 4711 4711 0 -1 4194560 1168 8094 35 61 2 6 21 12 20 0 1 0 90123 9445376 954";

    #[test]
    fn a_name_may_hold_parentheses_and_line_ends() {
        assert_eq!(
            stat(STAT).unwrap(),
            Stat { name: "a) b\n(c".into(), ended: false, parent: 812, start_ticks: 90123 }
        );
    }

    #[test]
    fn every_truncation_of_stat_is_an_error() {
        let end_of_start = STAT.find(" 9445376").unwrap();
        for end in 0..end_of_start - 4 {
            assert!(stat(&STAT[..end]).is_err(), "{}", &STAT[..end]);
        }
    }

    #[test]
    fn status_gives_the_effective_user_and_capabilities() {
        let status = "Name:\tUid:\nUid:\t1000\t33\t1000\t1000\nCapEff:\t0000000000000400\n";
        assert_eq!(effective_uid(status), Some(33));
        assert_eq!(effective_capabilities(status), Some(1 << 10));
        assert_eq!(effective_uid("Uid:\t1"), None);
        assert_eq!(effective_capabilities("CapEff:\tzz"), None);
    }

    #[test]
    fn a_command_line_is_joined_and_bounded() {
        assert_eq!(command_line(b"nginx:\0-g\0daemon off;\0").as_deref(), Some("nginx: -g daemon off;"));
        assert_eq!(command_line(b""), None);
        assert_eq!(command_line(b"\0\0"), None);
        assert_eq!(command_line(&[0xff; 9000]).unwrap().len(), COMMAND_LIMIT / 3 * 3);
        assert_eq!(arguments(b"a\0\0b\0"), ["a", "", "b"]);
    }

    #[test]
    fn the_unified_hierarchy_is_found_wherever_it_is_mounted() {
        let text = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
            40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n\
            41 31 0:38 /a\\040b /sys/fs/cgroup/uni\\134fied rw,relatime shared:9 - cgroup2 cgroup2 rw\ncut - \n";
        assert_eq!(
            mounts(text, "cgroup2"),
            [Mount { root: "/a b".into(), point: "/sys/fs/cgroup/uni\\fied".into() }]
        );
        assert!(mounts("", "cgroup2").is_empty());
    }

    #[test]
    fn boot_time_and_modules_are_read_whole() {
        assert_eq!(boot_seconds("cpu 1\nbtime 1795294688\n").unwrap(), 1_795_294_688);
        assert!(boot_seconds("btime x").is_err());
        assert!(has_module("nf_tables 123 0 - Live\nx 1", "nf_tables"));
        assert!(!has_module("nf_tables_extra 123", "nf_tables"));
    }
}
