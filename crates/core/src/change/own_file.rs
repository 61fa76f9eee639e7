//! The file of ours below /etc/sysctl.d: what it says, and its text after a change.
//!
//! Source: sysctl.d(5). Only the two keys that Portolan sets are understood; any other line that somebody wrote into
//! the file stays where it is.

use serde::{Deserialize, Serialize};

use super::Action;
use crate::kernel::malformed::Malformed;
use crate::kernel::sysctl::{self, PORT_RANGE, RESERVED_PORTS};
use crate::port::{PortRange, PortSet};

/// A file as it was before a step changed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileBefore {
    /// It was not there.
    Missing,
    /// It was there.
    There {
        /// Its text.
        text: String,
        /// Its permissions, as in chmod(2).
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

impl FileBefore {
    /// Its text, where it was there.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Missing => None,
            Self::There { text, .. } => Some(text),
        }
    }
}

/// First line of a file that Portolan made.
pub const HEADER: &str =
    "# Made by portolan; `portolan undo --list` shows why, `portolan undo ID` takes it back.";

/// The text of our file, taken apart as far as needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnFile {
    lines: Vec<String>,
}

impl OwnFile {
    /// Takes the text of the file; `None` when there is no file.
    pub fn parse(text: Option<&str>) -> Self {
        Self { lines: text.unwrap_or_default().lines().map(str::to_owned).collect() }
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.lines.iter().rev().find_map(|line| sysctl::value_of(line, key))
    }

    /// Sets a key where it stood first, or at the end.
    fn set(&mut self, key: &str, value: Option<String>) {
        let first = self.lines.iter().position(|line| sysctl::value_of(line, key).is_some());
        self.lines.retain(|line| sysctl::value_of(line, key).is_none());
        if let Some(value) = value {
            if self.lines.is_empty() {
                self.lines.push(HEADER.into());
            }
            let place = first.unwrap_or(self.lines.len()).min(self.lines.len());
            self.lines.insert(place, format!("{key} = {value}"));
        }
    }

    /// The ephemeral range that it sets. A value that somebody spoiled is an error: it is not ours to write over.
    pub fn range(&self) -> Result<Option<PortRange>, Malformed> {
        self.value(PORT_RANGE).map(sysctl::port_range).transpose()
    }

    /// Sets the ephemeral range, or leaves it unsaid.
    pub fn set_range(&mut self, range: Option<PortRange>) {
        self.set(PORT_RANGE, range.map(|range| format!("{} {}", range.first(), range.last())));
    }

    /// The ports that it reserves; none of them where it does not set the key.
    pub fn reserved(&self) -> Result<PortSet, Malformed> {
        self.value(RESERVED_PORTS).map_or_else(|| Ok(PortSet::new()), sysctl::reserved_ports)
    }

    /// Sets the reserved ports; an empty set leaves the key unsaid, so that other files speak again.
    pub fn set_reserved(&mut self, ports: &PortSet) {
        self.set(RESERVED_PORTS, (!ports.is_empty()).then(|| super::list(&ports.ranges())));
    }

    /// Does to the text what an action says; nothing where the action is about no setting of a file.
    pub fn change(&mut self, action: &Action) -> Result<(), Malformed> {
        match action {
            Action::SetRange { to, .. } => self.set_range(*to),
            Action::Reserve { ports, kept, .. } => {
                let mut reserved = self.reserved()?;
                ports.iter().chain(kept).for_each(|range| reserved.insert_range(*range));
                self.set_reserved(&reserved);
            }
            Action::Unreserve { ports, kept, .. } => {
                let mut reserved = self.reserved()?;
                ports.iter().for_each(|range| reserved.remove_range(*range));
                // With nothing of our own left the key goes, and the files that we repeated speak for themselves again.
                let mut ours = reserved.clone();
                ours.subtract(&kept.iter().copied().collect());
                self.set_reserved(if ours.is_empty() { &ours } else { &reserved });
            }
            _ => {}
        }
        Ok(())
    }

    /// The text to write; `None` when nothing but our own first line is left, and the file is to be removed.
    pub fn text(&self) -> Option<String> {
        if self.lines.iter().all(|line| line == HEADER || line.trim().is_empty()) {
            return None;
        }
        Some(self.lines.join("\n") + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_and_goes_with_what_it_sets() {
        let mut file = OwnFile::parse(None);
        assert_eq!(file.text(), None);
        file.set_range(Some("10000-60999".parse().unwrap()));
        file.set_reserved(&PortSet::from("5432".parse::<PortRange>().unwrap()));
        let text = file.text().unwrap();
        assert_eq!(
            text,
            format!(
                "{HEADER}\nnet.ipv4.ip_local_port_range = 10000 60999\nnet.ipv4.ip_local_reserved_ports = 5432\n"
            )
        );
        let mut again = OwnFile::parse(Some(&text));
        assert_eq!(again, file);
        assert_eq!(again.range(), Ok(Some("10000-60999".parse().unwrap())));
        assert!(again.reserved().unwrap().contains(5432));
        again.set_range(None);
        again.set_reserved(&PortSet::new());
        assert_eq!(again.text(), None);
    }

    #[test]
    fn a_spoiled_value_is_an_error_and_not_nothing() {
        let file = OwnFile::parse(Some(
            "net.ipv4.ip_local_port_range = 1x 2\nnet.ipv4.ip_local_reserved_ports = 9-1",
        ));
        assert!(file.range().is_err() && file.reserved().is_err());
    }

    #[test]
    fn lines_of_others_stay_and_comments_do_not_count() {
        let text = "# mine\nnet.core.somaxconn = 9\n#net.ipv4.ip_local_port_range = 1 2\n";
        let mut file = OwnFile::parse(Some(text));
        assert_eq!(file.range(), Ok(None));
        file.set_range(Some("2000-3000".parse().unwrap()));
        file.set_range(None);
        assert_eq!(file.text().unwrap(), text);
    }

    #[test]
    fn a_key_is_found_in_every_spelling_and_changed_where_it_stands() {
        let text = "a = 1\n-net/ipv4/ip_local_port_range=1 2\nb = 2\nnet.ipv4.ip_local_port_range = 3 4\n";
        let mut file = OwnFile::parse(Some(text));
        assert_eq!(file.range(), Ok(Some("3-4".parse().unwrap())));
        file.set_range(Some("5-6".parse().unwrap()));
        assert_eq!(file.text().unwrap(), "a = 1\nnet.ipv4.ip_local_port_range = 5 6\nb = 2\n");
    }

    #[test]
    fn what_was_repeated_of_other_files_goes_with_the_last_port_of_our_own() {
        let ranges = |text: &str| vec![text.parse::<PortRange>().unwrap()];
        let store = || crate::change::Store::File("/x".into());
        let add = |ports| Action::Reserve { store: store(), ports: ranges(ports), kept: ranges("8080") };
        let mut file = OwnFile::parse(None);
        file.change(&add("5432")).unwrap();
        file.change(&add("5433")).unwrap();
        assert_eq!(file.reserved().unwrap().len(), 3);
        file.change(&add("5432").inverse().unwrap()).unwrap();
        assert_eq!(file.reserved().unwrap().len(), 2);
        file.change(&add("5433").inverse().unwrap()).unwrap();
        assert_eq!(file.text(), None);
    }
}
