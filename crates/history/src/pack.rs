//! Numbers as bytes: a look as what changed since the one before, a roll-up as least, sum and most.
//!
//! Integers are LEB128 varints. Names are numbers that rise within a row, so their differences are small.
//!
//! ```text
//! look    = head: seen << 1 | whole, { name difference << 2 | kind, amount }
//! kind    = 0 exact: zigzag(least - least before)
//!           1 a range: zigzag(least - least before), most - least
//!           2 gone: nothing
//! roll-up = looks, { name difference << 2 | constant << 1 | throughout, unless throughout: looks with it,
//!           least, unless constant: most - least, twice the sum - 2 * looks with it * least }
//! ```
//!
//! A range counts with the middle between its ends. Files may come from elsewhere: what does not decode is an error.

use std::collections::BTreeMap;

use portolan_core::record::{Amount, What};
use portolan_core::wire::{DecodeError, Problem, Reader};

/// The numbers of a look, by their names.
pub(crate) type Numbers = BTreeMap<u32, Amount>;

/// Which kinds were looked at: a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen(u64);

impl Seen {
    pub(crate) fn of(seen: &[What]) -> Self {
        Self(seen.iter().fold(0, |bits, what| bits | 1 << *what as u32))
    }

    pub(crate) const fn has(self, what: What) -> bool {
        self.0 >> what as u32 & 1 == 1
    }
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take(reader: &mut Reader<'_>, field: &'static str) -> Result<u64, DecodeError> {
    let offset = reader.offset();
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = reader.u8(field)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Reader::error_at(offset, field, Problem::Value(u64::MAX)))
}

/// The next name of a row, after the one before.
fn name(before: Option<u32>, difference: u64, offset: usize) -> Result<u32, DecodeError> {
    let first = before.map_or(0, |before| u64::from(before) + 1);
    let name = first.checked_add(difference).and_then(|name| u32::try_from(name).ok());
    name.ok_or(Reader::error_at(offset, "name", Problem::Value(u64::MAX)))
}

fn put_name(out: &mut Vec<u8>, before: &mut Option<u32>, name: u32, flags: u64) {
    let first = before.map_or(0, |before| u64::from(before) + 1);
    put(out, u64::from(name).saturating_sub(first) << 2 | flags);
    *before = Some(name);
}

const fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// A look: whole, or as what changed since the one before.
pub(crate) fn look(before: Option<&Numbers>, now: &Numbers, seen: Seen) -> Vec<u8> {
    let nothing = Numbers::new();
    let mut out = Vec::new();
    put(&mut out, seen.0 << 1 | u64::from(before.is_none()));
    let before = before.unwrap_or(&nothing);
    let mut last = None;
    let (mut old, mut new) = (before.iter().peekable(), now.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (None, None) => return out,
            (Some((name, _)), next) if next.is_none_or(|(other, _)| name < other) => {
                put_name(&mut out, &mut last, **name, 2);
                old.next();
            }
            (then, Some((name, amount))) => {
                let then = then.filter(|(other, _)| other == name).map(|(_, amount)| **amount);
                if then != Some(**amount) {
                    put_name(&mut out, &mut last, **name, u64::from(amount.min != amount.max));
                    let least = then.unwrap_or_default().min;
                    put(&mut out, zigzag(amount.min.wrapping_sub(least) as i64));
                    if amount.min != amount.max {
                        put(&mut out, amount.max.saturating_sub(amount.min));
                    }
                }
                if then.is_some() {
                    old.next();
                }
                new.next();
            }
            (Some(_), None) => return out,
        }
    }
}

/// What a look has of wanted names, put into the numbers of the one before; what was seen. `has_before`: whether these
/// are of the one before it. False where it is not whole and they are not: then nothing is known until a whole one.
pub(crate) fn apply(
    data: &[u8],
    numbers: &mut Numbers,
    has_before: bool,
    wanted: impl Fn(u32) -> bool,
) -> Result<Option<Seen>, DecodeError> {
    let mut reader = Reader::new(data);
    let head = take(&mut reader, "head")?;
    match (head & 1 == 1, has_before) {
        (true, _) => numbers.clear(),
        (false, true) => {}
        (false, false) => return Ok(None),
    }
    let mut last = None;
    while !reader.is_empty() {
        let offset = reader.offset();
        let place = take(&mut reader, "name")?;
        let id = name(last, place >> 2, offset)?;
        last = Some(id);
        let kind = place & 3;
        if kind == 2 {
            numbers.remove(&id);
            continue;
        }
        let difference = unzigzag(take(&mut reader, "least")?);
        let more = if kind == 1 { take(&mut reader, "most")? } else { 0 };
        if wanted(id) {
            let least = numbers.get(&id).map_or(0, |amount| amount.min).wrapping_add(difference as u64);
            numbers.insert(id, Amount { min: least, max: least.saturating_add(more) });
        }
    }
    Ok(Some(Seen(head >> 1)))
}

/// One number over a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// How many looks had it.
    pub(crate) looks: u64,
    /// The least.
    pub(crate) min: u64,
    /// The most.
    pub(crate) max: u64,
    /// Twice the sum, so that the middle of a range is a whole number.
    pub(crate) twice: u64,
}

impl From<Amount> for Stretch {
    fn from(amount: Amount) -> Self {
        let Amount { min, max } = amount;
        Self { looks: 1, min, max, twice: min.saturating_add(max) }
    }
}

impl Stretch {
    pub(crate) fn add(&mut self, other: Self) {
        self.looks = self.looks.saturating_add(other.looks);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.twice = self.twice.saturating_add(other.twice);
    }

    fn floor(&self) -> u64 {
        self.min.saturating_mul(self.looks).saturating_mul(2)
    }
}

/// Every number of a kind over a stretch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rolled {
    /// How many looks there were.
    pub(crate) looks: u64,
    /// The numbers, by their names.
    pub(crate) of: BTreeMap<u32, Stretch>,
}

impl Rolled {
    /// One more look with a number.
    pub(crate) fn add(&mut self, name: u32, stretch: Stretch) {
        self.of.entry(name).and_modify(|own| own.add(stretch)).or_insert(stretch);
    }

    /// What another stretch has.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.looks = self.looks.saturating_add(other.looks);
        other.of.iter().for_each(|(name, stretch)| self.add(*name, *stretch));
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + 8 * self.of.len());
        put(&mut out, self.looks);
        let mut last = None;
        for (name, stretch) in &self.of {
            let throughout = stretch.looks == self.looks;
            let constant = stretch.min == stretch.max;
            put_name(&mut out, &mut last, *name, u64::from(constant) << 1 | u64::from(throughout));
            if !throughout {
                put(&mut out, stretch.looks);
            }
            put(&mut out, stretch.min);
            if !constant {
                put(&mut out, stretch.max - stretch.min);
                put(&mut out, stretch.twice.saturating_sub(stretch.floor()));
            }
        }
        out
    }

    /// Gives each number to `take`; how many looks there were.
    pub(crate) fn read(data: &[u8], mut found: impl FnMut(u32, Stretch)) -> Result<u64, DecodeError> {
        let mut reader = Reader::new(data);
        let all = take(&mut reader, "looks")?;
        let mut last = None;
        while !reader.is_empty() {
            let offset = reader.offset();
            let place = take(&mut reader, "name")?;
            let id = name(last, place >> 2, offset)?;
            last = Some(id);
            let looks = if place & 1 == 1 { all } else { take(&mut reader, "looks with it")? };
            let min = take(&mut reader, "least")?;
            let mut stretch = Stretch { looks, min, max: min, twice: 0 };
            stretch.twice = stretch.floor();
            if place & 2 == 0 {
                stretch.max = min.saturating_add(take(&mut reader, "most")?);
                stretch.twice = stretch.twice.saturating_add(take(&mut reader, "sum")?);
            }
            found(id, stretch);
        }
        Ok(all)
    }

    pub(crate) fn unpack(data: &[u8]) -> Result<Self, DecodeError> {
        let mut of = BTreeMap::new();
        let looks = Self::read(data, |name, stretch| {
            of.insert(name, stretch);
        })?;
        Ok(Self { looks, of })
    }
}

#[cfg(test)]
mod tests;
