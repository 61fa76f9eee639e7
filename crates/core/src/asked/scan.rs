//! Walking through a line of foreign text: numbers with what stands around them, and the words before a place.
//! Windows are bounded, so that a long line costs linear time.

use std::net::{IpAddr, Ipv4Addr};

/// How much before and after a number is looked at, in bytes.
const WINDOW: usize = 160;

/// A run of ASCII digits in a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number<'a> {
    /// Its value; saturated for absurdly long ones.
    pub(super) value: u32,
    /// At most [`WINDOW`] bytes before it.
    pub(super) before: &'a str,
    /// At most [`WINDOW`] bytes after it.
    pub(super) after: &'a str,
    /// Whether it begins with a zero that is not all of it: a time or an id.
    padded: bool,
}

impl Number<'_> {
    /// Whether it stands alone: no part of a word, of a dotted or of a padded number.
    pub(super) fn stands_alone(&self) -> bool {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut next = self.after.chars();
        let fraction = match next.next() {
            Some('.') => next.next().is_some_and(|c| c.is_ascii_digit()),
            Some(c) => word(c),
            None => false,
        };
        !(self.padded || fraction || self.before.ends_with(|c| word(c) || c == '.'))
    }
}

/// The numbers of a line, from left to right.
pub(super) fn numbers(line: &str) -> impl Iterator<Item = Number<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = line.get(from..)?;
        let start = from + rest.find(|c: char| c.is_ascii_digit())?;
        let digits = line.get(start..)?;
        let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let digits = digits.get(..length)?;
        from = start + length;
        Some(Number {
            value: digits.parse().unwrap_or(u32::MAX),
            before: tail(line.get(..start)?),
            after: head(line.get(from..)?),
            padded: length > 1 && digits.starts_with('0'),
        })
    })
}

/// The last [`WINDOW`] bytes or a few more, so that no character is cut.
fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(WINDOW);
    (0..4).find_map(|back| text.get(from.saturating_sub(back)..)).unwrap_or(text)
}

/// The first [`WINDOW`] bytes or a few more.
fn head(text: &str) -> &str {
    (0..4).find_map(|more| text.get(..WINDOW + more)).unwrap_or(text)
}

/// Splits off the host at the end: letters, digits and what else a name or an address is made of.
pub(super) fn split_host(before: &str) -> (&str, &str) {
    let part = |c: char| c.is_ascii_alphanumeric() || "._-%:*+".contains(c);
    let host = before.trim_end_matches(part).len();
    before.split_at(host)
}

/// The last word, in lower case, and what stands before it.
pub(super) fn last_word(before: &str) -> (&str, String) {
    let (rest, word) = before.split_at(before.trim_end_matches(|c: char| c.is_ascii_alphanumeric()).len());
    (rest, word.to_ascii_lowercase())
}

/// An address as texts have it: without its zone, and IPv4 where it is mapped into IPv6.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let text = text.split_once('%').map_or(text, |(address, _)| address);
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// The IPv4 address after the last colon of `tcp:127.0.0.1` or `0.0.0.0:8080:172.17.0.2`.
pub(super) fn last_ipv4(text: &str) -> Option<IpAddr> {
    text.rsplit_once(':')?.1.parse::<Ipv4Addr>().ok().map(IpAddr::from)
}
