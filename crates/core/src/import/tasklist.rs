//! `tasklist`, `tasklist /svc` and `tasklist /v`, as a table or `/fo csv`: names and services of processes.
//!
//! Source: Microsoft's page on tasklist. Columns are found by the line of `=` below the heading, or by their order; the
//! word for "none" is what stands behind process 0, which has no service.
//! Left out on purpose: sessions, memory, `/m`, `/fo list`.

use super::{Format, Gathering, Place};
use crate::listing::columns::{cells, underlined, values};
use crate::listing::endpoint::decimal;
use crate::listing::gathering::Process;
use crate::snapshot::System;

pub(super) const TABLE: Format = Format {
    name: "tasklist",
    system: Some(System::Windows),
    begins: |place| underlined(place.here(), '=').is_some_and(|starts| starts.len() >= 3),
    read: read_table,
};

pub(super) const CSV: Format = Format {
    name: "tasklist /fo csv",
    system: Some(System::Windows),
    begins: |place| {
        let is_first = |line: &str| {
            csv(line).is_some_and(|row| row.pid.is_some_and(|_| row.is_program()) || row.is_heading())
        };
        is_first(place.here())
    },
    read: read_csv,
};

/// The most services of one process that are kept, in bytes.
const LONGEST_SERVICES: usize = 4096;

/// One row.
struct Row {
    name: String,
    /// Process id; none in a heading.
    pid: Option<u32>,
    second: String,
    services: Option<String>,
    user: Option<String>,
    number: usize,
}

impl Row {
    fn is_program(&self) -> bool {
        let name = self.name.to_ascii_lowercase();
        name.ends_with(".exe") || self.pid == Some(0) || self.pid == Some(4)
    }

    fn is_heading(&self) -> bool {
        self.pid.is_none() && self.second == "PID"
    }
}

/// Hands the rows on, without the word that stands for "none".
fn give(rows: Vec<Row>, gathering: &mut Gathering) {
    let idle = rows.iter().find(|row| row.pid == Some(0));
    let none =
        idle.and_then(|row| row.services.clone().or(row.user.clone())).unwrap_or_else(|| "N/A".to_owned());
    let told = |text: Option<String>| text.filter(|text| !text.is_empty() && *text != none && text != "N/A");
    for row in rows {
        match row.pid {
            Some(pid) => {
                // Joined without blanks, as everywhere in a snapshot.
                let services = told(row.services).map(|services| services.replace(", ", ","));
                gathering.process(pid, Process { name: Some(row.name), services, user: told(row.user) });
            }
            None => gathering.odd(row.number, &row.name),
        }
    }
}

fn read_table(place: &Place<'_>, gathering: &mut Gathering) -> usize {
    let Some(starts) = underlined(place.here(), '=') else { return 0 };
    // /svc has three columns, /v nine with the user in the seventh.
    let (services_at, user_at) = match starts.len() {
        3 => (Some(2), None),
        9 => (None, Some(6)),
        _ => (None, None),
    };
    let mut rows: Vec<Row> = Vec::new();
    let mut count = 1;
    for line in place.lines.iter().skip(1).take_while(|line| !line.is_blank()) {
        count += 1;
        let cells = cells(line.text, &starts);
        let cell = |at: Option<usize>| at.and_then(|at| cells.get(at)).map(|cell| (*cell).to_owned());
        let [name, second, ..] = cells[..] else { continue };
        match rows.last_mut() {
            // Services that did not fit go on in the next line.
            Some(Row { services: Some(services), .. }) if name.is_empty() && second.is_empty() => {
                if services.len() < LONGEST_SERVICES {
                    services.push_str(if services.ends_with(',') { " " } else { "" });
                    services.push_str(&cell(services_at).unwrap_or_default());
                }
            }
            _ => rows.push(Row {
                name: if second.is_empty() { line.text.trim() } else { name }.to_owned(),
                pid: decimal(second),
                second: second.to_owned(),
                services: cell(services_at),
                user: cell(user_at),
                number: line.number,
            }),
        }
    }
    give(rows, gathering);
    count
}

/// A row of `/fo csv`: three values with services, five, or nine with the user.
fn csv(line: &str) -> Option<Row> {
    let line = line.trim();
    let cells = values(line, ',').filter(|_| line.starts_with('"'))?;
    let (services, user) = match &cells[..] {
        [_, _, services] => (Some(services.clone()), None),
        [_, _, _, _, _] => (None, None),
        [_, _, _, _, _, _, user, _, _] => (None, Some(user.clone())),
        _ => return None,
    };
    let pid = decimal(&cells[1]);
    Some(Row { name: cells[0].clone(), pid, second: cells[1].clone(), services, user, number: 0 })
}

fn read_csv(place: &Place<'_>, gathering: &mut Gathering) -> usize {
    let mut rows: Vec<Row> = Vec::new();
    let mut count = 0;
    for line in place.lines.iter().take_while(|line| line.text.trim_start().starts_with('"')) {
        count += 1;
        match csv(line.text) {
            Some(row) if row.is_heading() => {}
            Some(row) => rows.push(Row { number: line.number, ..row }),
            None => gathering.odd(line.number, line.text),
        }
    }
    give(rows, gathering);
    count
}
