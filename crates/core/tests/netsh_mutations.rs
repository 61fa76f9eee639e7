//! Broken copies of what netsh prints: each is read as the right ranges or refused, never read as wrong ones.
//!
//! Bytes are deleted, doubled, swapped and replaced, lines lost, cut, doubled and swapped, and the text ends at each
//! byte. Out of the bargain is what nobody can notice, because what is left is a text that netsh could have printed:
//! `crates/core/src/kernel/netsh.rs` lists it.

use std::path::Path;

use portolan_core::kernel::netsh::{dynamic_port, excluded_ranges};

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
                    let row_lost = ranges.len() < whole.len()
                        && (what.starts_with("piece") || ranges.iter().all(|row| whole.contains(row)))
                        && !what.starts_with("cut");
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
