//! The kernel's port settings and the files that set them at boot.
//!
//! Source: Documentation/networking/ip-sysctl.rst (values), sysctl.d(5) and sysctl.conf(5) (files). Left out on
//! purpose: keys with globs and the `-key` lines that only take a key out of a glob (no port setting is set that way).

use crate::kernel::malformed::Malformed;
use crate::port::{PortRange, PortSet};
use crate::range::{Reservation, ReservationKind};

/// The key of the ephemeral range.
pub const PORT_RANGE: &str = "net.ipv4.ip_local_port_range";
/// The key of the reserved ports.
pub const RESERVED_PORTS: &str = "net.ipv4.ip_local_reserved_ports";

/// The folders of sysctl.d(5): a file of an earlier one hides those of the same name in later ones.
pub const FOLDERS: [&str; 5] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];
/// The file that procps reads after all others.
pub const LAST_FILE: &str = "/etc/sysctl.conf";

/// One setting of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key as a path below /proc/sys: `net/ipv4/ip_local_port_range`.
    pub key: String,
    /// The value, without the blanks around it.
    pub value: String,
    /// Line it stands in, from 1.
    pub line: u32,
}

/// One file of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysctlFile {
    /// Its path.
    pub path: String,
    /// Its settings, from top to bottom.
    pub entries: Vec<Entry>,
}

impl SysctlFile {
    /// Reads the text of a file. A line that is no setting is passed over, as the system's own readers do.
    pub fn parse(path: impl Into<String>, text: &str) -> Self {
        let entries = (1..).zip(text.lines()).filter_map(|(line, text)| entry(line, text)).collect();
        Self { path: path.into(), entries }
    }

    fn folder_and_name(&self) -> (&str, &str) {
        self.path.rsplit_once('/').unwrap_or(("", &self.path))
    }

    /// The last setting of a key in this file; the key in any spelling.
    pub fn setting(&self, key: &str) -> Option<&Entry> {
        let key = normalized(key);
        self.entries.iter().rev().find(|entry| entry.key == key)
    }
}

fn entry(line: u32, text: &str) -> Option<Entry> {
    let (key, value) = key_and_value(text)?;
    Some(Entry { key, value: value.to_owned(), line })
}

/// What a line says about a key, in any spelling of it; nothing where the line is about something else.
pub fn value_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (found, value) = key_and_value(line)?;
    (found == normalized(key)).then_some(value)
}

fn key_and_value(text: &str) -> Option<(String, &str)> {
    let text = text.trim();
    if text.starts_with(['#', ';']) {
        return None;
    }
    let (key, value) = text.split_once('=')?;
    let key = key.trim();
    // A leading '-' lets a failing write pass; the setting itself is the same.
    let key = key.strip_prefix('-').unwrap_or(key).trim_start();
    if key.is_empty() || key.contains(['*', '?', '[']) {
        return None;
    }
    Some((normalized(key), value.trim()))
}

/// A key as a path below /proc/sys. What separates first, a dot or a slash, separates throughout; the other one is
/// then part of a name (`net.ipv4.conf.eth0/100.forwarding`, `net/ipv4/conf/eth0.100/forwarding`).
fn normalized(key: &str) -> String {
    let key = key.strip_prefix('/').unwrap_or(key);
    if key.find(['.', '/']).is_some_and(|at| key[at..].starts_with('.')) {
        key.chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect()
    } else {
        key.to_owned()
    }
}

/// The files that count, in the order in which they are applied: by name, those of one name once (the folder that
/// comes first in [`FOLDERS`] hides the others), and /etc/sysctl.conf last.
pub fn in_force(mut files: Vec<SysctlFile>) -> Vec<SysctlFile> {
    let rank = |file: &SysctlFile| FOLDERS.iter().position(|folder| *folder == file.folder_and_name().0);
    files.sort_by(|a, b| {
        let place =
            |file: &SysctlFile| (file.path == LAST_FILE, file.folder_and_name().1.to_owned(), rank(file));
        place(a).cmp(&place(b))
    });
    files.dedup_by(|later, earlier| {
        later.path != LAST_FILE && later.folder_and_name().1 == earlier.folder_and_name().1
    });
    files
}

/// Which setting of a key wins after a restart, and in which file, of files in the order of [`in_force`].
pub fn effective<'a>(files: &'a [SysctlFile], key: &str) -> Option<(&'a SysctlFile, &'a Entry)> {
    files.iter().rev().find_map(|file| Some((file, file.setting(key)?)))
}

/// `net.ipv4.ip_local_port_range`: two numbers with blanks between.
pub fn port_range(text: &str) -> Result<PortRange, Malformed> {
    let error = || Malformed::new(PORT_RANGE, text);
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last)), None) => PortRange::new(first, last).map_err(|_| error()),
        _ => Err(error()),
    }
}

/// `net.ipv4.ip_local_reserved_ports`: `1,2-4,10-10`, or nothing. The kernel takes 0 as well; it names no port.
pub fn reserved_ports(text: &str) -> Result<PortSet, Malformed> {
    let mut set = PortSet::new();
    for part in text.trim().split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let error = || Malformed::new(RESERVED_PORTS, part);
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: u16 = first.parse().map_err(|_| error())?;
        let last: u16 = last.parse().map_err(|_| error())?;
        if (first, last) == (0, 0) {
            continue;
        }
        set.insert_range(PortRange::new(first.max(1), last).map_err(|_| error())?);
    }
    Ok(set)
}

/// The reservations in force, each with the file that names its ports: of the whole range, or `(in part)`. The file
/// that wins after a restart is asked first; a range that no file names was set by hand, and has no `by`.
pub fn reservations(reserved: &PortSet, files: &[SysctlFile]) -> Vec<Reservation> {
    let named: Vec<(&str, PortSet)> = files
        .iter()
        .rev()
        .filter_map(|file| {
            Some((file.path.as_str(), reserved_ports(&file.setting(RESERVED_PORTS)?.value).ok()?))
        })
        .collect();
    let by = |range: PortRange| {
        let whole = named.iter().find(|(_, set)| set.count_in(range) == range.count());
        let part = || named.iter().find(|(_, set)| set.count_in(range) > 0);
        whole
            .map(|(path, _)| (*path).to_owned())
            .or_else(|| part().map(|(path, _)| format!("{path} (in part)")))
    };
    reserved
        .ranges()
        .into_iter()
        .map(|range| Reservation {
            range,
            transport: None,
            family: None,
            kind: ReservationKind::Administered,
            by: by(range),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_the_kernel_writes_them() {
        assert_eq!(port_range("32768\t60999\n").unwrap(), PortRange::new(32768, 60999).unwrap());
        assert_eq!(reserved_ports("\n").unwrap(), PortSet::new());
        let set = reserved_ports("0-1,3-4,8080,10-10\n").unwrap();
        assert_eq!(
            set.ranges().iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["1", "3-4", "10", "8080"]
        );
    }

    #[test]
    fn odd_values_are_errors_that_name_the_setting() {
        for text in ["", "1", "1 2 3", "70000 70001", "9 8", "0 5", "a b"] {
            assert_eq!(port_range(text).unwrap_err().field, PORT_RANGE, "{text}");
        }
        for text in ["1,x", "5-4", "65536", "1-2-3", "-"] {
            assert_eq!(reserved_ports(text).unwrap_err().field, RESERVED_PORTS, "{text}");
        }
        assert_eq!(
            reserved_ports("1,\u{1b}[2J").unwrap_err().to_string(),
            "net.ipv4.ip_local_reserved_ports: '\\u{1b}[2J' is not understood"
        );
    }

    #[test]
    fn a_file_is_read_in_every_spelling() {
        let text = "# net.ipv4.a = 0\n; b = 1\n\n net.ipv4.ip_local_port_range=49152 65535 \n-net/ipv4/conf/eth0.1/x = 1\n\
            net.ipv4.conf.eth0/1.y = 2\nnet.ipv4.conf.*.z = 3\n-net.ipv4.conf.all.z\nno setting\n = 5\n";
        let file = SysctlFile::parse("/etc/sysctl.d/a.conf", text);
        let seen: Vec<_> = file.entries.iter().map(|e| (e.key.as_str(), e.value.as_str(), e.line)).collect();
        assert_eq!(
            seen,
            [
                ("net/ipv4/ip_local_port_range", "49152 65535", 4),
                ("net/ipv4/conf/eth0.1/x", "1", 5),
                ("net/ipv4/conf/eth0.1/y", "2", 6),
            ]
        );
        assert_eq!(
            file.setting("net.ipv4.ip_local_port_range"),
            file.setting("net/ipv4/ip_local_port_range")
        );
    }

    fn file(path: &str, value: &str) -> SysctlFile {
        SysctlFile::parse(path, &format!("{PORT_RANGE} = {value}"))
    }

    #[test]
    fn the_last_file_by_name_wins_and_one_in_etc_hides_its_namesakes() {
        let files = in_force(vec![
            file("/usr/lib/sysctl.d/90-x.conf", "1 2"),
            file("/usr/lib/sysctl.d/50-y.conf", "3 4"),
            file("/etc/sysctl.d/60-z.conf", "5 6"),
            file("/run/sysctl.d/60-z.conf", "7 8"),
            SysctlFile::parse("/etc/sysctl.d/90-x.conf", ""),
        ]);
        let order: Vec<_> = files.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(
            order,
            ["/usr/lib/sysctl.d/50-y.conf", "/etc/sysctl.d/60-z.conf", "/etc/sysctl.d/90-x.conf"]
        );
        let (from, entry) = effective(&files, PORT_RANGE).unwrap();
        assert_eq!((from.path.as_str(), entry.value.as_str()), ("/etc/sysctl.d/60-z.conf", "5 6"));
        assert_eq!(effective(&files, RESERVED_PORTS), None);
    }

    #[test]
    fn sysctl_conf_comes_after_every_other_file() {
        let files = in_force(vec![file("/etc/sysctl.conf", "1 2"), file("/etc/sysctl.d/zz.conf", "3 4")]);
        assert_eq!(effective(&files, PORT_RANGE).unwrap().0.path, "/etc/sysctl.conf");
    }

    #[test]
    fn a_reservation_names_the_file_it_comes_from() {
        let files =
            [SysctlFile::parse("/etc/sysctl.d/60-x.conf", &format!("{RESERVED_PORTS} = 8080,9000-9001"))];
        let made = reservations(&reserved_ports("8080,9000-9010,7").unwrap(), &files);
        let seen: Vec<_> = made.iter().map(|r| (r.range.to_string(), r.by.as_deref())).collect();
        assert_eq!(
            seen,
            [
                ("7".to_owned(), None),
                ("8080".to_owned(), Some("/etc/sysctl.d/60-x.conf")),
                ("9000-9010".to_owned(), Some("/etc/sysctl.d/60-x.conf (in part)")),
            ]
        );
    }
}
