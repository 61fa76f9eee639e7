//! The file of ours below /etc/sysctl.d: what it says, and its text after a change.
//!
//! Source: sysctl.d(5). Only the two keys that Portolan sets are understood; any other line that somebody wrote into
//! the file stays where it is.

use crate::kernel::malformed::Malformed;
use crate::kernel::sysctl::{self, PORT_RANGE, RESERVED_PORTS};
use crate::port::{PortRange, PortSet};

/// First line of a file that Portolan made.
pub const HEADER: &str =
    "# Made by portolan; `portolan undo --list` shows why, `portolan undo ID` takes it back.";

/// The text of our file, taken apart as far as needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnFile {
    lines: Vec<String>,
}

fn key_of(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    let key = key.trim();
    (!key.starts_with(['#', ';'])).then_some((key, value.trim()))
}

impl OwnFile {
    /// Takes the text of the file; `None` when there is no file.
    pub fn parse(text: Option<&str>) -> Self {
        Self { lines: text.unwrap_or_default().lines().map(str::to_owned).collect() }
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.lines
            .iter()
            .rev()
            .filter_map(|line| key_of(line))
            .find(|(k, _)| *k == key)
            .map(|(_, value)| value)
    }

    fn set(&mut self, key: &str, value: Option<String>) {
        self.lines.retain(|line| key_of(line).is_none_or(|(k, _)| k != key));
        if let Some(value) = value {
            if self.lines.is_empty() {
                self.lines.push(HEADER.into());
            }
            self.lines.push(format!("{key} = {value}"));
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
}
