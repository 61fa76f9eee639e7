//! Tables as data: columns, and a function that writes the cells of a row into an arena.
//!
//! A table of a million sockets is never there as a whole: a format asks for rows a few thousand at a time, and
//! cells lie end to end in one buffer, so that a row costs no allocation.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use crate::text::harmless;

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name in kebab-case: CSV's header as it is, a person's heading in capitals.
    pub(crate) name: &'static str,
    /// Whether cells stand at the right edge, as numbers do.
    pub(crate) right: bool,
    /// Whether its text may be cut where the terminal is too narrow.
    pub(crate) shrinks: bool,
}

impl Column {
    /// A column of words that are never cut.
    pub(crate) const fn words(name: &'static str) -> Self {
        Self { name, right: false, shrinks: false }
    }

    /// A column of numbers.
    pub(crate) const fn numbers(name: &'static str) -> Self {
        Self { name, right: true, shrinks: false }
    }

    /// A column of longer text, cut where the terminal is too narrow.
    pub(crate) const fn prose(name: &'static str) -> Self {
        Self { name, right: false, shrinks: true }
    }
}

/// Writes the cells of one row.
type Fill = Box<dyn Fn(usize, &mut Cells) + Send + Sync>;

/// A table: its columns, how many rows, and what writes the cells of row 0, 1, 2 …
pub(crate) struct Table {
    /// The columns.
    pub(crate) columns: Vec<Column>,
    /// How many rows.
    pub(crate) count: usize,
    fill: Fill,
}

impl Table {
    /// A table whose `fill` ends as many cells for each row as there are columns.
    pub(crate) fn new(
        columns: Vec<Column>,
        count: usize,
        fill: impl Fn(usize, &mut Cells) + Send + Sync + 'static,
    ) -> Self {
        Self { columns, count, fill: Box::new(fill) }
    }

    /// A small table whose cells are there already.
    pub(crate) fn of_rows<const N: usize>(columns: [Column; N], rows: Vec<[String; N]>) -> Self {
        Self::new(columns.to_vec(), rows.len(), move |row, cells| {
            for text in rows.get(row).into_iter().flatten() {
                cells.text(text);
                cells.end();
            }
        })
    }

    /// Writes the cells of some rows after what the arena holds.
    pub(crate) fn render(&self, rows: std::ops::Range<usize>, cells: &mut Cells) {
        for row in rows {
            (self.fill)(row, cells);
            debug_assert_eq!(
                cells.count() % self.columns.len(),
                0,
                "row {row} has too few or too many cells"
            );
        }
    }
}

/// Cells end to end in one buffer. What is written goes to the open cell, until [`Cells::end`].
#[derive(Default)]
pub(crate) struct Cells {
    text: Vec<u8>,
    ends: Vec<u32>,
    foreign: bool,
}

/// The decimal digits of every octet and a dot, the first one lowest, and how many bytes that is.
static OCTETS: [(u32, u32); 256] = octets();

const fn octets() -> [(u32, u32); 256] {
    let mut table = [(0, 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let (hundreds, tens, ones) =
            (b'0' + (octet / 100) as u8, b'0' + (octet / 10 % 10) as u8, b'0' + (octet % 10) as u8);
        table[octet] = match octet {
            0..10 => (u32::from_le_bytes([ones, b'.', 0, 0]), 2),
            10..100 => (u32::from_le_bytes([tens, ones, b'.', 0]), 3),
            _ => (u32::from_le_bytes([hundreds, tens, ones, b'.']), 4),
        };
        octet += 1;
    }
    table
}

impl Cells {
    /// Forgets every cell and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.foreign = false;
    }

    /// How many cells have ended.
    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Whether every cell is ASCII, so that bytes are columns of the terminal.
    pub(crate) fn is_ascii(&self) -> bool {
        !self.foreign
    }

    /// Adds text, made harmless.
    pub(crate) fn text(&mut self, text: &str) {
        self.foreign |= !text.is_ascii();
        self.text.extend_from_slice(harmless(text).as_bytes());
    }

    /// Adds the first bytes of an array. To append all and cut is one store; to append as many as are wanted would
    /// wait until the bytes, just written one by one, have left the processor's store buffer.
    fn first_of<const N: usize>(&mut self, bytes: [u8; N], length: usize) {
        let start = self.text.len();
        self.text.extend_from_slice(&bytes);
        self.text.truncate(start + length);
    }

    /// Adds a number.
    pub(crate) fn number(&mut self, number: u64) {
        if number >= 100_000_000 {
            // Writing to a Vec cannot fail.
            return drop(write!(self.text, "{number}"));
        }
        let (mut digits, mut length, mut rest) = (0_u64, 0, number);
        loop {
            digits = digits << 8 | (u64::from(b'0') + rest % 10);
            length += 1;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.first_of(digits.to_le_bytes(), length);
    }

    fn ipv4(&mut self, address: Ipv4Addr) {
        let (mut digits, mut bits) = (0_u128, 0);
        for octet in address.octets() {
            let (text, length) = OCTETS[usize::from(octet)];
            digits |= u128::from(text) << bits;
            bits += 8 * length;
        }
        self.first_of(digits.to_le_bytes(), bits as usize / 8 - 1);
    }

    /// Adds an address.
    pub(crate) fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.ipv4(v4),
            // Writing to a Vec cannot fail.
            IpAddr::V6(v6) => drop(write!(self.text, "{v6}")),
        }
    }

    /// Adds an endpoint: `10.0.0.1:80`, `[::1]:80`.
    pub(crate) fn endpoint(&mut self, address: IpAddr, port: u16) {
        match address {
            IpAddr::V4(v4) => self.ipv4(v4),
            IpAddr::V6(v6) => drop(write!(self.text, "[{v6}]")),
        }
        self.text.push(b':');
        self.number(port.into());
    }

    /// Ends the open cell.
    pub(crate) fn end(&mut self) {
        // A format clears the arena long before 4 GiB; past it cells would be empty, never wrong.
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
    }

    /// The cells, as text that is valid UTF-8.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let end = end as usize;
            let cell = self.text.get(start..end).unwrap_or_default();
            start = end;
            cell
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses_are_written_as_the_library_writes_them() {
        let mut cells = Cells::default();
        let mut expected = Vec::new();
        for number in [0, 7, 10, 99, 100, 65535, u64::MAX] {
            cells.number(number);
            cells.end();
            expected.push(number.to_string());
        }
        for text in ["0.0.0.0", "9.10.99.100", "255.249.200.1", "::", "::ffff:10.0.0.1", "2001:db8::1"] {
            let address: IpAddr = text.parse().unwrap();
            cells.address(address);
            cells.end();
            cells.endpoint(address, 80);
            cells.end();
            expected.extend([address.to_string(), std::net::SocketAddr::new(address, 80).to_string()]);
        }
        let written: Vec<String> =
            cells.iter().map(|cell| String::from_utf8(cell.to_vec()).unwrap()).collect();
        assert_eq!(written, expected);
    }

    #[test]
    fn every_octet_is_written_right() {
        for octet in 0..=255_u8 {
            let mut cells = Cells::default();
            let address = IpAddr::from([octet, octet, 0, octet]);
            cells.address(address);
            cells.end();
            assert_eq!(cells.iter().next().unwrap(), address.to_string().as_bytes());
        }
    }

    #[test]
    fn foreign_text_is_harmless_in_a_cell() {
        let mut cells = Cells::default();
        cells.text("\x1b[2Jx");
        cells.end();
        assert_eq!(cells.iter().next().unwrap(), b"\\u{1b}[2Jx");
    }
}
