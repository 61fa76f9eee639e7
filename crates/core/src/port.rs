//! Ports, ranges of ports and sets of ports.
//!
//! Source: RFC 9293 section 3.1 and RFC 768 (16 bits, 0 reserved), RFC 6335 section 6 (the ranges).

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A port number of 1 to 65535. 0 means "any" to the system and names no port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u16", into = "u16")]
#[schemars(with = "u16", extend("minimum" = 1))]
pub struct Port(u16);

/// Why a text or number is not a port or a range of ports; says what to type instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortError(String);

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PortError {}

impl Port {
    /// The port of that number, or nothing for 0.
    pub const fn new(number: u16) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// Its number, 1 to 65535.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Port> for u16 {
    fn from(port: Port) -> Self {
        port.0
    }
}

impl TryFrom<u16> for Port {
    type Error = PortError;

    fn try_from(number: u16) -> Result<Self, PortError> {
        Self::new(number).ok_or_else(|| PortError("port 0 names no port; ports are 1 to 65535".into()))
    }
}

impl FromStr for Port {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u16>() {
            Ok(number) if digits => Self::try_from(number),
            _ if digits => Err(PortError(format!("port {text} is too large; ports are 1 to 65535"))),
            _ => Err(PortError(format!("'{}' is not a port number; ports are 1 to 65535", shortened(text)))),
        }
    }
}

/// Foreign text for an error message: at most 40 characters.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "(u16, u16)", into = "(u16, u16)")]
#[schemars(with = "(u16, u16)")]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Every port there is.
    pub const ALL: Self = Self { first: 1, last: 65535 };

    /// The range from `first` to `last`, both included; refused when `first` is 0 or above `last`.
    pub fn new(first: u16, last: u16) -> Result<Self, PortError> {
        if first == 0 {
            return Err(PortError(format!("{first}-{last} starts at 0; ports are 1 to 65535")));
        }
        if first > last {
            return Err(PortError(format!("{first}-{last} runs backwards; type {last}-{first}")));
        }
        Ok(Self { first, last })
    }

    /// The range of one port.
    pub const fn single(port: Port) -> Self {
        Self { first: port.0, last: port.0 }
    }

    /// Lowest port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// Highest port.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// How many ports, 1 to 65535.
    pub const fn count(self) -> u32 {
        self.last as u32 - self.first as u32 + 1
    }

    /// Whether `port` lies inside.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Whether the two have a port in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Its ports in rising order.
    pub fn ports(self) -> impl DoubleEndedIterator<Item = Port> {
        (self.first..=self.last).map(Port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl From<PortRange> for (u16, u16) {
    fn from(range: PortRange) -> Self {
        (range.first, range.last)
    }
}

impl TryFrom<(u16, u16)> for PortRange {
    type Error = PortError;

    fn try_from((first, last): (u16, u16)) -> Result<Self, PortError> {
        Self::new(first, last)
    }
}

impl FromStr for PortRange {
    type Err = PortError;

    /// `8080` or `8000-8100`.
    fn from_str(text: &str) -> Result<Self, PortError> {
        match text.split_once('-') {
            None => Ok(Self::single(text.parse()?)),
            Some((first, last)) => Self::new(first.parse::<Port>()?.0, last.parse::<Port>()?.0),
        }
    }
}

const WORDS: usize = 1024;

/// A set of ports: one bit for each of the 65,536 numbers (8 KiB).
#[derive(Clone, PartialEq, Eq)]
pub struct PortSet(Box<[u64; WORDS]>);

impl Default for PortSet {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

impl PortSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a port; 0 is ignored, so that a socket's "no port" can be passed as it is.
    pub fn insert(&mut self, port: u16) {
        if port != 0 {
            self.0[usize::from(port >> 6)] |= 1 << (port & 63);
        }
    }

    /// Adds each port of a range.
    pub fn insert_range(&mut self, range: PortRange) {
        self.each_mask(range, |word, mask| *word |= mask);
    }

    /// Takes each port of a range out.
    pub fn remove_range(&mut self, range: PortRange) {
        self.each_mask(range, |word, mask| *word &= !mask);
    }

    fn each_mask(&mut self, range: PortRange, act: impl Fn(&mut u64, u64)) {
        let (low, high) = (usize::from(range.first >> 6), usize::from(range.last >> 6));
        for index in low..=high {
            let mut mask = u64::MAX;
            if index == low {
                mask &= u64::MAX << (range.first & 63);
            }
            if index == high {
                mask &= u64::MAX >> (63 - (range.last & 63));
            }
            act(&mut self.0[index], mask);
        }
    }

    /// Whether the port is in the set.
    pub fn contains(&self, port: u16) -> bool {
        self.0[usize::from(port >> 6)] & (1 << (port & 63)) != 0
    }

    /// How many ports, 0 to 65535.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// How many of its ports lie in the range.
    pub fn count_in(&self, range: PortRange) -> u32 {
        let mut wanted = Self::from(range);
        wanted.intersect(self);
        wanted.len()
    }

    /// Adds every port of `other`.
    pub fn unite(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(a, b)| *a |= b);
    }

    /// Keeps only what `other` has too.
    pub fn intersect(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(a, b)| *a &= b);
    }

    /// Takes every port of `other` out.
    pub fn subtract(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(a, b)| *a &= !b);
    }

    /// Its ports in rising order.
    pub fn iter(&self) -> impl Iterator<Item = Port> + '_ {
        self.0.iter().enumerate().flat_map(|(index, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                rest &= rest.wrapping_sub(1);
                (bit < 64).then_some(Port((index as u16) << 6 | bit as u16))
            })
        })
    }

    /// The fewest ranges that make up the set, in rising order.
    pub fn ranges(&self) -> Vec<PortRange> {
        let mut ranges: Vec<PortRange> = Vec::new();
        for Port(port) in self.iter() {
            match ranges.last_mut() {
                Some(range) if range.last + 1 == port => range.last = port,
                _ => ranges.push(PortRange { first: port, last: port }),
            }
        }
        ranges
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.ranges().iter().map(ToString::to_string)).finish()
    }
}

impl From<PortRange> for PortSet {
    fn from(range: PortRange) -> Self {
        let mut set = Self::new();
        set.insert_range(range);
        set
    }
}

impl FromIterator<PortRange> for PortSet {
    fn from_iter<I: IntoIterator<Item = PortRange>>(ranges: I) -> Self {
        let mut set = Self::new();
        ranges.into_iter().for_each(|range| set.insert_range(range));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_1_to_65535_and_the_error_says_so() {
        assert_eq!("8080".parse::<Port>().unwrap().number(), 8080);
        for (text, error) in [
            ("0", "port 0 names no port; ports are 1 to 65535"),
            ("70000", "port 70000 is too large; ports are 1 to 65535"),
            ("+80", "'+80' is not a port number; ports are 1 to 65535"),
            ("", "'' is not a port number; ports are 1 to 65535"),
            ("http", "'http' is not a port number; ports are 1 to 65535"),
        ] {
            assert_eq!(text.parse::<Port>().unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn a_range_that_runs_backwards_is_refused_with_what_to_type() {
        assert_eq!("80-20".parse::<PortRange>().unwrap_err().to_string(), "80-20 runs backwards; type 20-80");
        assert_eq!("20-80".parse::<PortRange>().unwrap().count(), 61);
        assert_eq!(PortRange::ALL.count(), 65535);
    }

    #[test]
    fn a_set_gives_back_the_ranges_it_was_made_of() {
        let ranges = [(1, 1), (63, 64), (127, 200), (1024, 1024), (65535, 65535)]
            .map(|r| PortRange::try_from(r).unwrap());
        let set: PortSet = ranges.into_iter().collect();
        assert_eq!(set.ranges(), ranges);
        assert_eq!(set.len(), ranges.iter().map(|r| r.count()).sum::<u32>());
        assert_eq!(set.iter().count() as u32, set.len());
        assert!(set.contains(150) && !set.contains(201));
    }

    #[test]
    fn set_operations_agree_with_a_plain_loop() {
        let a: PortSet =
            [(10, 500), (3000, 3100)].map(|r| PortRange::try_from(r).unwrap()).into_iter().collect();
        let b: PortSet = [(400, 3050)].map(|r| PortRange::try_from(r).unwrap()).into_iter().collect();
        let check = |set: &PortSet, law: fn(bool, bool) -> bool| {
            (1..=u16::MAX).all(|p| set.contains(p) == law(a.contains(p), b.contains(p)))
        };
        let (mut united, mut common, mut rest) = (a.clone(), a.clone(), a.clone());
        united.unite(&b);
        common.intersect(&b);
        rest.subtract(&b);
        assert!(
            check(&united, |a, b| a || b) && check(&common, |a, b| a && b) && check(&rest, |a, b| a && !b)
        );
        united.remove_range(PortRange::ALL);
        assert!(united.is_empty());
        assert_eq!(a.count_in(PortRange::new(490, 3001).unwrap()), 13);
    }
}
