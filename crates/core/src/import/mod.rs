//! Snapshots from text that others send: netstat, ss, netsh, tasklist, PowerShell's objects. One format a file.
//!
//! A new format is a new file and a line in [`IMPORTS`]; each one recognises its own listings, wherever in a file or in a
//! pasted console session they stand. What is recognised is gathered into one snapshot, what is not understood becomes
//! a gap with its line, and what nobody sent is a gap with the command to ask for.
//!
//! Left out on purpose: the bind trial and everything else that only the host itself can tell.

mod lsof;
mod net_tcp_setting;
mod netsh;
mod netstat_linux;
mod netstat_windows;
mod powershell;
mod proc_net;
mod ss;
mod sysctl;
mod tasklist;

use std::fmt;

use crate::listing::gathering::Gathering;
use crate::listing::{Line, Place, lines, session};
use crate::snapshot::{Gap, GapReason, Snapshot, System};
use crate::socket::{Family, Transport};
use crate::wire::text::decoded;

pub use crate::listing::gathering::Listing;

/// The largest file, in bytes.
pub const LARGEST_FILE: usize = 512 << 20;
/// The longest name of a host, in characters.
const LONGEST_HOST_NAME: usize = 253;
/// How many lines above a listing count as its heading.
const HEADING: usize = 6;

/// One format of text.
pub struct Format {
    /// Its name: the command that prints it.
    pub name: &'static str,
    /// The system that prints it, where there is but one.
    system: Option<System>,
    /// Whether a listing begins here.
    begins: fn(&Place<'_>) -> bool,
    /// Reads the listing that begins here; gives the number of lines it took.
    read: fn(&Place<'_>, &mut Gathering) -> usize,
}

/// Every format, the more certain ones first: the first that says a listing begins reads it.
pub static IMPORTS: &[Format] = &[
    netsh::EXCLUDED,
    netsh::DYNAMIC,
    powershell::CSV,
    powershell::TABLE,
    powershell::LIST,
    net_tcp_setting::FORMAT,
    tasklist::TABLE,
    tasklist::CSV,
    proc_net::FORMAT,
    sysctl::FORMAT,
    lsof::FORMAT,
    netstat_linux::FORMAT,
    netstat_windows::FORMAT,
    ss::FORMAT,
];

/// One file that was sent.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its name, without its folder: words in it such as `udp` or `ipv6` tell what the text does not.
    pub name: &'a str,
    /// What is in it, in any code page.
    pub bytes: &'a [u8],
}

/// What came of an import.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Everything that was read.
    pub snapshot: Snapshot,
    /// What was recognised, in the order of the files.
    pub listings: Vec<Listing>,
}

/// Why there is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportError {
    /// Nothing in this file is recognised.
    NothingRecognised {
        /// The file.
        file: String,
        /// Its first line with text, shortened; empty where there is none.
        line: String,
    },
    /// Listings of two systems.
    TwoSystems {
        /// The file of the other system.
        file: String,
    },
    /// The file is larger than [`LARGEST_FILE`].
    TooLarge {
        /// The file.
        file: String,
    },
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingRecognised { file, line } if line.is_empty() => write!(f, "{file} is empty"),
            Self::NothingRecognised { file, line } => write!(
                f,
                "nothing in {file} is recognised (it begins '{line}'); send what `netstat -ano` or `ss -tuanp` prints"
            ),
            Self::TwoSystems { file } => {
                write!(f, "{file} is of another system than the files before it; import each host apart")
            }
            Self::TooLarge { file } => {
                write!(f, "{file} is larger than {} MiB; send a part of it", LARGEST_FILE >> 20)
            }
        }
    }
}

impl std::error::Error for ImportError {}

/// Builds a snapshot of all these files, taken at this time. An error where one of them holds nothing that is
/// recognised, so that none is lost in silence, or where they are of two systems.
pub fn import(files: &[File<'_>], taken_ms: u64) -> Result<Imported, ImportError> {
    let mut gathering = Gathering::default();
    for file in files {
        read_file(file, &mut gathering)?;
    }
    tell_what_is_missing(&mut gathering);
    let (snapshot, listings) = gathering.finish(taken_ms);
    Ok(Imported { snapshot, listings })
}

fn read_file(file: &File<'_>, gathering: &mut Gathering) -> Result<(), ImportError> {
    if file.bytes.len() > LARGEST_FILE {
        return Err(ImportError::TooLarge { file: file.name.to_owned() });
    }
    let text = decoded(file.bytes);
    let (lines, too_long) = lines(&text);
    let listings = gathering.listings().len();
    let mut strange = Strange::default();
    for section in session::sections(&lines) {
        if let Some(host) = section.prompt.and_then(|prompt| prompt.host) {
            gathering.host_name(host);
        }
        read_section(file.name, &section, gathering, &mut strange)?;
    }
    if gathering.listings().len() == listings {
        let first = lines.iter().find(|line| !line.is_blank());
        let line = first.map_or(String::new(), |line| line.text.trim().chars().take(60).collect());
        return Err(ImportError::NothingRecognised { file: file.name.to_owned(), line });
    }
    strange.count += too_long;
    if let Some(gap) = strange.gap(file.name) {
        gathering.gap(gap);
    }
    Ok(())
}

/// Reads the listings of one section.
fn read_section(
    file: &str,
    section: &session::Section<'_>,
    gathering: &mut Gathering,
    strange: &mut Strange,
) -> Result<(), ImportError> {
    let command = section.prompt.map(|prompt| prompt.command);
    let mut at = 0;
    if command == Some("hostname")
        && let Some(answer) = section.lines.iter().position(|line| !line.is_blank())
    {
        let name: String = section.lines[answer].text.trim().chars().take(LONGEST_HOST_NAME).collect();
        gathering.host_name(&name);
        at = answer + 1;
    }
    let mut above = at;
    while at < section.lines.len() {
        let place = Place {
            file,
            command,
            starts: at == 0,
            above: &section.lines[above..at],
            lines: &section.lines[at..],
        };
        if let Some(build) = session::banner(place.here()) {
            gathering.release(build);
        }
        let Some(format) = IMPORTS.iter().find(|format| (format.begins)(&place)) else {
            at += 1;
            continue;
        };
        strange.add(place.above);
        gathering.begin(file, format.name, place.lines[0].number);
        if format.system.is_some_and(|system| !gathering.is_of(system)) {
            return Err(ImportError::TwoSystems { file: file.to_owned() });
        }
        at += (format.read)(&place, gathering).clamp(1, place.lines.len());
        above = at;
    }
    strange.add(&section.lines[above..]);
    Ok(())
}

/// The last lines above a listing: its heading.
fn heading<'a>(above: &'a [Line<'a>]) -> &'a [Line<'a>] {
    &above[above.len().saturating_sub(HEADING)..]
}

/// Lines with numbers that no format took: they may have been rows.
#[derive(Default)]
struct Strange {
    count: usize,
    first: Option<(usize, String)>,
}

impl Strange {
    fn add(&mut self, lines: &[Line<'_>]) {
        // Titles and headings have no numbers, but for those of the system and of PowerShell's objects; whatever else
        // has some may have said something of ports.
        let is_title = |text: &str| text.contains("Microsoft") || text.starts_with("#TYPE");
        let rows = lines.iter().filter(|line| {
            line.text.bytes().any(|byte| byte.is_ascii_digit()) && !is_title(line.text.trim())
        });
        for line in rows {
            self.count += 1;
            self.first.get_or_insert_with(|| (line.number, line.text.trim().chars().take(60).collect()));
        }
    }

    fn gap(self, file: &str) -> Option<Gap> {
        let first = self
            .first
            .map_or(String::new(), |(number, text)| format!(", the first is line {number}: {text}"));
        (self.count > 0).then(|| {
            let detail =
                format!("{file}: lines with numbers that are of no known listing: {}{first}", self.count);
            Gap::new("text", GapReason::Malformed, detail)
        })
    }
}

/// Gaps for what nobody sent, each with what to ask for.
fn tell_what_is_missing(gathering: &mut Gathering) {
    let windows = gathering.system() == Some(System::Windows);
    let missing = gathering.missing();
    let sockets = if windows { "netstat -anobq" } else { "sudo ss -tuanp" }.to_owned();
    if missing.sockets {
        gathering.gap(absent("sockets", "no listing of sockets was sent".to_owned(), &sockets));
    } else if missing.owners {
        gathering.gap(absent(
            "owners",
            "the listings do not tell who holds the sockets".to_owned(),
            &sockets,
        ));
    } else if missing.unnamed > 0 {
        let detail = format!("{} processes are known by their id alone", missing.unnamed);
        gathering.gap(absent("names of processes", detail, if windows { "tasklist /svc" } else { &sockets }));
    }
    for (what, pairs, netsh, sysctl) in [
        ("ranges", missing.ranges, "dynamicport", "net.ipv4.ip_local_port_range"),
        ("reservations", missing.reservations, "excludedportrange", "net.ipv4.ip_local_reserved_ports"),
    ] {
        if pairs.is_empty() {
            continue;
        }
        let names: Vec<String> =
            pairs.iter().map(|(transport, family)| format!("{transport}/{family}")).collect();
        let typed = |(transport, family): &(Transport, Family)| {
            format!("netsh int {family} show {netsh} {transport}")
        };
        let command = match windows {
            true => pairs.iter().map(typed).collect::<Vec<_>>().join(", "),
            false => format!("sysctl {sysctl}"),
        };
        gathering.gap(absent(what, format!("those of {} were not sent", names.join(", ")), &command));
    }
}

fn absent(what: &str, detail: String, command: &str) -> Gap {
    Gap::new(what, GapReason::Absent, detail).with_remedy(format!("ask for the output of: {command}"))
}
