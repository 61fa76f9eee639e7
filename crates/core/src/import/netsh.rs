//! `netsh … show excludedportrange` and `… show dynamicport`, alone or in a pasted session.
//!
//! Source: [`crate::kernel::netsh`] decodes them; this file finds them, and finds out of which transport and family they
//! are: by the command that was typed, the heading, or the file's name.
//! What `store=persistent` lists holds after the next start: it confirms what holds now, or contradicts it.
//! Left out on purpose: what is kept and not in force, which a snapshot has no place for.

use super::{Format, Gathering, Place};
use crate::kernel::malformed::Malformed;
use crate::kernel::netsh;
use crate::listing::Line;
use crate::listing::agreement::Table;
use crate::range::{EphemeralRange, Reservation, ReservationKind};
use crate::snapshot::{Gap, GapReason, System};
use crate::socket::{Family, Transport};

pub(super) const EXCLUDED: Format = Format {
    name: "netsh show excludedportrange",
    system: Some(System::Windows),
    begins: |place| begins(place, "excludedportrange", 2),
    read: read_excluded,
};

pub(super) const DYNAMIC: Format = Format {
    name: "netsh show dynamicport",
    system: Some(System::Windows),
    begins: |place| begins(place, "dynamicport", 1),
    read: read_dynamic,
};

/// A listing begins behind the command that asks for it, or else with a line of dashes in so many groups that has
/// numbers or netsh's note below.
fn begins(place: &Place<'_>, subcommand: &str, groups: usize) -> bool {
    if is_answer(place) {
        return place.typed(subcommand) && place.lines.iter().any(|line| !line.is_blank());
    }
    let below = place.lines.iter().skip(1).find(|line| !line.is_blank()).map_or("", |line| line.text.trim());
    is_dashes(place.here(), groups)
        && match groups {
            1 => below.rsplit_once(':').is_some_and(|(_, value)| has_digit(value)),
            _ => {
                has_digit(below) && below.split_ascii_whitespace().all(|word| word == "*" || has_digit(word))
                    || below.starts_with('*')
            }
        }
}

/// Whether the text here is what a netsh answered that was typed right before.
fn is_answer(place: &Place<'_>) -> bool {
    place.starts && place.typed("netsh") && place.typed("show")
}

fn is_dashes(line: &str, groups: usize) -> bool {
    let words = line.split_ascii_whitespace();
    words.clone().count() == groups && words.flat_map(str::bytes).all(|byte| byte == b'-')
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

/// What one listing is of.
struct Subject {
    transport: Option<Transport>,
    family: Option<Family>,
}

impl Subject {
    /// The heading names the transport, the command or the file's name the family.
    fn of(place: &Place<'_>, output: &str) -> Self {
        let file = |word: &str| place.file.to_ascii_lowercase().contains(word);
        let only = |names: [&str; 2], named: &dyn Fn(&str) -> bool| match names.map(named) {
            [true, false] => Some(0),
            [false, true] => Some(1),
            _ => None,
        };
        let one = |names: [&str; 2]| only(names, &|name| place.typed(name)).or_else(|| only(names, &file));
        let transport = netsh::transport(output.as_bytes())
            .or_else(|| one(Transport::ALL.map(Transport::name)).map(|index| Transport::ALL[index]));
        Self { transport, family: one(Family::ALL.map(Family::name)).map(|index| Family::ALL[index]) }
    }

    fn transports(&self) -> Vec<Transport> {
        self.transport.map_or(Transport::ALL.to_vec(), |transport| vec![transport])
    }

    fn families(&self) -> Vec<Family> {
        self.family.map_or(Family::ALL.to_vec(), |family| vec![family])
    }

    /// The table that the listing is of.
    fn table(&self, place: &Place<'_>) -> Table {
        let persistent = place.typed("persistent") || place.file.to_ascii_lowercase().contains("persistent");
        Table { transport: self.transport, family: self.family, persistent }
    }

    /// Tells what had to be assumed.
    fn tell(&self, what: &str, place: &Place<'_>, subcommand: &str, gathering: &mut Gathering) {
        let unknown = match (self.transport, self.family) {
            (Some(_), Some(_)) => return,
            (None, Some(_)) => "of TCP or of UDP",
            (Some(_), None) => "of IPv4 or of IPv6",
            (None, None) => "of which transport and family",
        };
        let detail = format!("{}: the text does not tell {unknown} they are; taken for both", place.file);
        let remedy = format!("send the command with its output: netsh int ipv4 show {subcommand} tcp");
        gathering.gap(Gap::new(what, GapReason::Malformed, detail).with_remedy(remedy));
    }
}

/// The text of a listing up to its last line, and how many lines it has: where the command is known everything up to
/// there or to the next prompt, else the heading above and what looks like the table below.
fn extent(
    place: &Place<'_>,
    belongs: impl Fn(&str) -> bool,
    last: impl Fn(&[Line<'_>]) -> Option<usize>,
) -> (String, usize) {
    let answer = is_answer(place);
    let below = place.lines.iter().skip(1).take_while(|line| belongs(line.text.trim())).count() + 1;
    let limit = if answer { place.lines.len() } else { below };
    let lines = &place.lines[..limit.min(place.lines.len())];
    let count = last(lines).map_or(lines.len(), |last| last + 1);
    let above = if answer { &[] } else { super::heading(place.above) };
    let mut text = String::new();
    for line in above.iter().chain(&lines[..count]) {
        text.push_str(line.text);
        if line.ended {
            text.push('\n');
        }
    }
    (text, count)
}

/// The note that ends a list of excluded ranges.
fn note(lines: &[Line<'_>]) -> Option<usize> {
    lines.iter().position(|line| line.text.trim_start().starts_with('*') && !has_digit(line.text))
}

/// The last line with a number of a dynamic range that a blank line follows.
fn last_number(lines: &[Line<'_>]) -> Option<usize> {
    let pairs = lines.windows(2);
    pairs
        .into_iter()
        .position(|pair| pair[0].text.contains(':') && has_digit(pair[0].text) && pair[1].is_blank())
}

fn unreadable(what: &str, place: &Place<'_>, error: &Malformed, gathering: &mut Gathering) {
    let line = place.lines.first().map_or(0, |line| line.number);
    let detail = format!("{} line {line}: {error}", place.file);
    let remedy = "ask for the whole output, from the command to the next prompt";
    gathering.gap(Gap::new(what, GapReason::Malformed, detail).with_remedy(remedy));
}

fn read_excluded(place: &Place<'_>, gathering: &mut Gathering) -> usize {
    let row = |text: &str| text.is_empty() || text.starts_with('*') || has_digit(text);
    let (text, count) = extent(place, row, note);
    match netsh::excluded_ranges(text.as_bytes()) {
        Err(error) => unreadable("reservations", place, &error, gathering),
        Ok(excluded) => {
            let subject = Subject::of(place, &text);
            let table = subject.table(place);
            gathering.agreement.excluded(table, excluded.iter().map(|row| row.range));
            if table.persistent {
                excluded.iter().for_each(|_| gathering.row());
                return count;
            }
            subject.tell("reservations", place, "excludedportrange", gathering);
            gathering.reservations_are_told(&subject.transports(), &subject.families());
            for netsh::Excluded { range, administered } in excluded {
                let kind = if administered { ReservationKind::Administered } else { ReservationKind::System };
                let Subject { transport, family } = subject;
                gathering.reservation(Reservation { range, transport, family, kind, by: None });
            }
        }
    }
    count
}

fn read_dynamic(place: &Place<'_>, gathering: &mut Gathering) -> usize {
    let (text, count) = extent(place, |text| text.contains(':'), last_number);
    match netsh::dynamic_port(text.as_bytes()) {
        Err(error) => unreadable("ranges", place, &error, gathering),
        Ok(range) => {
            let subject = Subject::of(place, &text);
            let table = subject.table(place);
            gathering.agreement.range(table, range);
            if table.persistent {
                gathering.row();
                return count;
            }
            subject.tell("ranges", place, "dynamicport", gathering);
            for transport in subject.transports() {
                for family in subject.families() {
                    gathering.range(EphemeralRange { transport, family, range });
                }
            }
        }
    }
    count
}
