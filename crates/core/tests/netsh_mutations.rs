//! Broken copies of what netsh prints: each is read as the right ranges or refused, never read as wrong ones.
//!
//! At random bytes are deleted, doubled, swapped and replaced, pieces and lines lost, cut, doubled and swapped; in order,
//! the text ends at each byte, each number loses each of its digits, each digit becomes each other one, each line runs
//! into the next, and rows get lost, one or all. Out of the bargain is what nobody can notice, because what is left is a
//! text that netsh could have printed (`crates/core/src/kernel/netsh.rs` lists it), and of that each is held to what it
//! says then: another digit gives the range with that digit and no other, a lost row all others and no other.
//!
//! A dynamic range whose numbers changed, and a list that lost every row, can be read wrong by themselves; somebody who
//! imports them is told that they stand on one listing alone, which holds for every copy here without exception.

use std::path::Path;

use portolan_core::import::{File, import};
use portolan_core::kernel::netsh::{dynamic_port, excluded_ranges};
use portolan_core::snapshot::Snapshot;
use portolan_core::socket::Family;

/// The length of a row without its mark: two columns and the line's end.
const ROW: usize = 24;

/// Recordings whose name begins so, with their content.
fn recordings(prefix: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/windows");
    let mut found: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap()))
        .filter(|(name, _)| name.starts_with(prefix))
        .collect();
    found.sort();
    assert!(found.len() >= 7, "{}", found.len());
    found
}

/// Numbers that look random and are the same in each run (xorshift, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// What a text says, as far as someone can notice: its digits and stars, but in order.
fn says(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| byte.is_ascii_digit() || *byte == b'*').collect()
}

/// Broken copies of a text, each with the name of what was done.
fn broken(text: &[u8], numbers: &mut Numbers) -> Vec<(String, Vec<u8>)> {
    let mut copies = Vec::new();
    for _ in 0..400 {
        let at = numbers.below(text.len() - 1);
        let mut copy = text.to_vec();
        let what = match numbers.below(8) {
            0 => {
                copy.remove(at);
                "deleted"
            }
            1 => {
                copy.insert(at, text[at]);
                "doubled"
            }
            2 => {
                copy.swap(at, at + 1);
                "swapped"
            }
            3 => {
                copy[at] = b'a' + numbers.below(26) as u8;
                "letter"
            }
            4 => {
                copy[at] = [0, b' ', b'\t', b'-', b':', b'*', b'\n', 0xff][numbers.below(8)];
                "sign"
            }
            5 => {
                copy[at] ^= 1 << numbers.below(8);
                "bit"
            }
            6 => {
                let end = (at + 1 + numbers.below(40)).min(text.len());
                copy.drain(at..end);
                "piece lost"
            }
            _ => {
                let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
                let (one, other) = (numbers.below(lines.len()), numbers.below(lines.len()));
                let mut lines = lines;
                match numbers.below(3) {
                    0 => lines.swap(one, other),
                    1 => lines.insert(one, lines[other]),
                    _ => lines[one] = &lines[one][..lines[one].len() / 2],
                }
                copy = lines.concat();
                "line"
            }
        };
        copies.push((format!("{what} at {at}"), copy));
    }
    copies.extend((0..text.len()).map(|end| (format!("cut at {end}"), text[..end].to_vec())));
    copies
}

#[test]
fn every_recording_is_read_as_it_is() {
    for (name, text) in recordings("excludedportrange") {
        let ranges = excluded_ranges(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let shown: Vec<String> = ranges
            .iter()
            .map(|row| format!("{}{}", row.range, if row.administered { "*" } else { "" }))
            .collect();
        let expected = match name.as_str() {
            "excludedportrange-en.txt" => {
                "1031-1130 1131-1230 1231-1330 1331-1430 1431-1530 1561-1660 2363-2462 2463-2562 2563-2662 \
                 2663-2762 2763-2862 2863-2962 5357 50000-50099* 55500-55599"
            }
            "excludedportrange-en-hyperv.txt" => {
                "5357 9800 9801 49671-49770 49871-49970 50000-50059* 61117-61216 61220-61319 61902-62001"
            }
            _ => "5357 49671-49770 49871-49970 50000-50059* 61117-61216",
        };
        assert_eq!(shown.join(" "), expected, "{name}");
    }
    for (name, text) in recordings("dynamicport") {
        let range = dynamic_port(&text).unwrap_or_else(|error| panic!("{name}: {error}")).to_string();
        let expected = match name.as_str() {
            "dynamicport-de-cp850.txt" => "1024-15000",
            "dynamicport-ru-cp866.txt" => "10000-65534",
            _ => "49152-65535",
        };
        assert_eq!(range, expected, "{name}");
    }
}

#[test]
fn a_broken_list_of_excluded_ranges_is_right_or_refused() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut right, mut refused) = (0, 0);
    for (name, text) in recordings("excludedportrange") {
        let whole = excluded_ranges(&text).unwrap();
        for (what, copy) in broken(&text, &mut numbers) {
            match excluded_ranges(&copy) {
                Err(_) => refused += 1,
                Ok(ranges) if ranges == whole => right += 1,
                Ok(ranges) => {
                    let digits_changed = copy.len() == text.len() && says(&copy) != says(&text);
                    let star_lost = ranges.iter().map(|row| row.range).eq(whole.iter().map(|row| row.range))
                        && copy.len() == text.len();
                    // A piece as long as a row may go from inside of one row to the same place of another.
                    let row_lost = ranges.len() < whole.len()
                        && match what.starts_with("piece") {
                            true => text.len() - copy.len() >= ROW,
                            false => ranges.iter().all(|row| whole.contains(row)) && !what.starts_with("cut"),
                        };
                    assert!(digits_changed || star_lost || row_lost, "{name}, {what}: {ranges:?}");
                }
            }
        }
    }
    assert!(right > 300 && refused > 3000, "{right} right, {refused} refused");
}

#[test]
fn a_broken_dynamic_range_is_right_or_refused() {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let (mut right, mut refused) = (0, 0);
    for (name, text) in recordings("dynamicport") {
        let whole = dynamic_port(&text).unwrap();
        for (what, copy) in broken(&text, &mut numbers) {
            match dynamic_port(&copy) {
                Err(_) => refused += 1,
                Ok(range) if range == whole => right += 1,
                // Out of the bargain: other digits than netsh printed, or the same in another order.
                Ok(range) => {
                    assert!(says(&copy) != says(&text) && !what.starts_with("cut"), "{name}, {what}: {range}")
                }
            }
        }
    }
    assert!(right > 300 && refused > 1000, "{right} right, {refused} refused");
}

/// A text in its code units, and how they become bytes.
struct Units {
    units: Vec<u16>,
    bytes: fn(u16) -> Vec<u8>,
}

impl Units {
    fn of(text: &[u8]) -> Self {
        let pairs =
            |join: fn([u8; 2]) -> u16| text.chunks_exact(2).map(|pair| join([pair[0], pair[1]])).collect();
        // Without a mark only zero bytes tell that it is UTF-16.
        match text {
            [0xff, 0xfe, ..] => {
                Self { units: pairs(u16::from_le_bytes), bytes: |unit| unit.to_le_bytes().into() }
            }
            [0xfe, 0xff, ..] => {
                Self { units: pairs(u16::from_be_bytes), bytes: |unit| unit.to_be_bytes().into() }
            }
            _ => {
                Self { units: text.iter().copied().map(u16::from).collect(), bytes: |unit| vec![unit as u8] }
            }
        }
    }

    fn digits(&self) -> Vec<usize> {
        (0..self.units.len()).filter(|at| digit(self.units[*at]).is_some()).collect()
    }

    fn with(&self, change: impl FnOnce(&mut Vec<u16>)) -> Vec<u8> {
        let mut units = self.units.clone();
        change(&mut units);
        units.into_iter().flat_map(self.bytes).collect()
    }

    /// Where each line begins, and ends behind its line feed.
    fn lines(&self) -> Vec<(usize, usize)> {
        let feeds = self.units.iter().enumerate().filter(|(_, unit)| **unit == u16::from(b'\n'));
        let ends: Vec<usize> = feeds.map(|(at, _)| at + 1).collect();
        std::iter::once(0).chain(ends.iter().copied()).zip(ends.iter().copied()).collect()
    }

    /// The numbers of the text in order, with the digit at `changed` replaced.
    fn numbers(&self, changed: usize, by: u32) -> Vec<u32> {
        let mut numbers = Vec::new();
        let mut inside = false;
        for (at, unit) in self.units.iter().enumerate() {
            let found = digit(*unit).map(|own| if at == changed { by } else { own });
            if let Some(found) = found {
                match numbers.last_mut().filter(|_| inside) {
                    Some(number) => *number = *number * 10 + found,
                    None => numbers.push(found),
                }
            }
            inside = found.is_some();
        }
        numbers
    }
}

fn digit(unit: u16) -> Option<u32> {
    char::from_u32(unit.into()).and_then(|unit| unit.to_digit(10))
}

/// Copies with one digit replaced: each digit by each other one, with the numbers that stand there then.
fn with_other_digits(text: &Units) -> impl Iterator<Item = (Vec<u8>, Vec<u32>)> + '_ {
    text.digits().into_iter().flat_map(move |at| {
        (0..10)
            .filter(move |by| digit(text.units[at]) != Some(*by))
            .map(move |by| (text.with(|units| units[at] = u16::from(b'0') + by as u16), text.numbers(at, by)))
    })
}

#[test]
fn another_digit_gives_the_range_with_that_digit_or_none() {
    for (name, recording) in recordings("excludedportrange") {
        let whole = excluded_ranges(&recording).unwrap();
        let mut copies = 0;
        for (copy, numbers) in with_other_digits(&Units::of(&recording)) {
            copies += 1;
            let Ok(ranges) = excluded_ranges(&copy) else { continue };
            let read: Vec<u32> =
                ranges.iter().flat_map(|row| [row.range.first().into(), row.range.last().into()]).collect();
            assert_eq!(read, numbers, "{name}");
            assert!(numbers.chunks(2).all(|pair| pair[0] <= pair[1]), "{name}");
            assert!(ranges.iter().map(|row| row.administered).eq(whole.iter().map(|row| row.administered)));
        }
        assert!(copies >= 100, "{name}: {copies}");
    }
    for (name, recording) in recordings("dynamicport") {
        for (copy, numbers) in with_other_digits(&Units::of(&recording)) {
            let Ok(range) = dynamic_port(&copy) else { continue };
            assert_eq!([range.first().into(), range.count()], numbers[..], "{name}");
        }
    }
}

#[test]
fn a_list_with_a_number_that_lost_a_digit_or_a_line_that_ran_into_the_next_is_refused() {
    for (name, recording) in recordings("excludedportrange") {
        let text = Units::of(&recording);
        for at in text.digits() {
            let copy = text.with(|units| _ = units.remove(at));
            assert!(excluded_ranges(&copy).is_err(), "{name}: without the digit at {at}");
        }
        let is_row = |(from, to): &(usize, usize)| text.digits().iter().any(|at| (from..to).contains(&at));
        let rows: Vec<(usize, usize)> = text.lines().into_iter().filter(is_row).collect();
        for (_, to) in &rows[..rows.len() - 1] {
            let copy = text.with(|units| drop(units.drain(to - 2..*to)));
            assert!(excluded_ranges(&copy).is_err(), "{name}: merged at {to}");
        }
    }
}

#[test]
fn a_list_that_lost_rows_has_all_others_and_no_other() {
    for (name, recording) in recordings("excludedportrange") {
        let whole = excluded_ranges(&recording).unwrap();
        let text = Units::of(&recording);
        let is_row = |(from, to): &(usize, usize)| text.digits().iter().any(|at| (from..to).contains(&at));
        let rows: Vec<(usize, usize)> = text.lines().into_iter().filter(is_row).collect();
        assert_eq!(rows.len(), whole.len());
        for (index, (from, to)) in rows.iter().enumerate() {
            let copy = text.with(|units| drop(units.drain(from..to)));
            let mut left = whole.clone();
            left.remove(index);
            assert!(excluded_ranges(&copy).is_ok_and(|ranges| ranges == left), "{name}: without row {index}");
        }
        // Nothing in it tells this from a machine where nothing is excluded, but for what else was sent.
        let none = text.with(|units| drop(units.drain(rows[0].0..rows[rows.len() - 1].1)));
        assert!(excluded_ranges(&none).is_ok_and(|ranges| ranges.is_empty()), "{name}");
        let (lost, other) = (("ipv4.txt", &none[..]), ("ipv6.txt", &recording[..]));
        let lost_alone = sent(&[lost]).unwrap();
        assert!(alone(&lost_alone, "no port is excluded of "), "{name}");
        assert!(alone(&sent(&[lost, other]).unwrap(), "no port is excluded of "), "{name}");
        assert!(!alone(&sent(&[other]).unwrap(), ""), "{name}");
        let kept = sent(&[lost, ("ipv4-persistent.txt", &recording)]).unwrap();
        assert!(
            kept.gaps.iter().any(|gap| gap.detail.contains("is kept over restarts, and missing")),
            "{name}"
        );
        for agreeing in ["ipv6.txt", "ipv4-persistent.txt"] {
            assert!(!alone(&sent(&[lost, (agreeing, &none)]).unwrap(), ""), "{name}");
        }
    }
}

/// What comes of texts that somebody sends; none where nothing in one of them is recognised, which is told.
fn sent(files: &[(&str, &[u8])]) -> Option<Snapshot> {
    let files: Vec<File<'_>> = files.iter().map(|(name, bytes)| File { name, bytes }).collect();
    import(&files, 1).ok().map(|imported| imported.snapshot)
}

/// Whether it is told that something stands on one listing alone.
fn alone(snapshot: &Snapshot, what: &str) -> bool {
    let told = |detail: &str| detail.contains(what) && detail.contains("stands on one listing alone");
    snapshot.gaps.iter().any(|gap| told(&gap.detail) && gap.remedy.is_some())
}

#[test]
fn a_dynamic_range_that_lost_a_digit_or_a_line_is_refused_or_known_to_stand_alone() {
    let (mut copies, mut taken) = (0, 0);
    for (name, recording) in recordings("dynamicport") {
        let text = Units::of(&recording);
        for at in text.digits() {
            copies += 1;
            let copy = text.with(|units| _ = units.remove(at));
            let Ok(range) = dynamic_port(&copy) else { continue };
            taken += 1;
            assert!(
                alone(&sent(&[("a.txt", &copy)]).unwrap(), &format!("range {range} of ")),
                "{name}: {range}"
            );
        }
        let is_row = |(from, to): &(usize, usize)| text.digits().iter().any(|at| (from..to).contains(&at));
        for (from, to) in text.lines().into_iter().filter(is_row) {
            assert!(dynamic_port(&text.with(|units| drop(units.drain(from..to)))).is_err(), "{name}");
            let merged = dynamic_port(&text.with(|units| drop(units.drain(to - 2..to))));
            assert!(merged.is_err() || merged == dynamic_port(&recording), "{name}");
        }
    }
    assert!(taken > 60 && taken < copies, "{taken} of {copies}");
}

#[test]
fn a_broken_dynamic_range_that_is_sent_is_right_or_told() {
    let mut numbers = Numbers(0x6a09_e667_f3bc_c908);
    let (mut right, mut refused, mut told) = (0, 0, 0);
    for (name, recording) in recordings("dynamicport") {
        let whole = dynamic_port(&recording).unwrap();
        let text = Units::of(&recording);
        let lost = text.digits().into_iter().map(|at| text.with(|units| _ = units.remove(at)));
        let other = with_other_digits(&text).map(|(copy, _)| copy);
        let random = broken(&recording, &mut numbers).into_iter().map(|(_, copy)| copy);
        for copy in lost.chain(other).chain(random) {
            let Some(snapshot) = sent(&[("ipv4.txt", &copy), ("ipv6.txt", &recording)]) else {
                refused += 1;
                continue;
            };
            let of =
                |family: Family| snapshot.ranges.iter().find(|range| range.family == family).map(|r| r.range);
            assert_eq!(of(Family::Ipv6), Some(whole), "{name}");
            match of(Family::Ipv4) {
                None => refused += 1,
                Some(range) if range == whole => {
                    right += 1;
                    assert!(!alone(&snapshot, ""), "{name}: two listings have it");
                }
                Some(range) => {
                    told += 1;
                    assert!(
                        alone(&snapshot, &format!("range {range} of")),
                        "{name}: {range}: {:?}",
                        snapshot.gaps
                    );
                }
            }
        }
    }
    assert!(right > 1000 && refused > 1000 && told > 200, "{right} right, {refused} refused, {told} told");
}

#[test]
fn the_ordinary_range_and_one_that_two_listings_have_are_not_told() {
    for (name, recording) in recordings("dynamicport") {
        let range = dynamic_port(&recording).unwrap();
        let snapshot = sent(&[("ipv4.txt", &recording)]).unwrap();
        assert_eq!(alone(&snapshot, ""), range.first() != 49152, "{name}");
        let twice = sent(&[("ipv4.txt", &recording), ("ipv4 again.txt", &recording)]).unwrap();
        assert_eq!(alone(&twice, ""), range.first() != 49152, "{name}: the same table twice");
        for other in ["ipv6.txt", "ipv4-persistent.txt"] {
            assert!(!alone(&sent(&[("ipv4.txt", &recording), (other, &recording)]).unwrap(), ""), "{name}");
        }
    }
}
