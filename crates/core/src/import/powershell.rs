//! `Get-NetTCPConnection` and `Get-NetUDPEndpoint`, as a table, as a list, or through `Export-Csv`.
//!
//! Source: Microsoft's pages on the NetTCPIP module, `MSFT_NetTCPConnection`. Names of properties and states are English
//! in every display language. Columns are found by their names, so that `Select-Object` may leave some out or add names
//! of processes.
//! Left out on purpose: when a connection was made, which a snapshot does not keep.

use std::net::IpAddr;

use super::{Format, Gathering, Place};
use crate::listing::columns::{cells, property, underlined, values};
use crate::listing::endpoint::{any_of, decimal, zone_of};
use crate::listing::gathering::{Holding, Seen};
use crate::listing::state::{state, state_by_number, without_holder};
use crate::owner::Origin;
use crate::snapshot::System;
use crate::socket::{Family, Socket, State, Transport};

pub(super) const CSV: Format = Format {
    name: "Get-NetTCPConnection | Export-Csv",
    system: Some(System::Windows),
    begins: |place| csv_columns(place.here()).is_some(),
    read: read_csv,
};

pub(super) const TABLE: Format = Format {
    name: "Get-NetTCPConnection",
    system: Some(System::Windows),
    begins: |place| table_columns(place).is_some(),
    read: read_table,
};

pub(super) const LIST: Format = Format {
    name: "Get-NetTCPConnection | Format-List",
    system: Some(System::Windows),
    begins: |place| property(place.here()).is_some_and(|(name, _)| name == "LocalAddress"),
    read: read_list,
};

/// The columns that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    LocalAddress,
    LocalPort,
    RemoteAddress,
    RemotePort,
    State,
    Pid,
    Name,
}

impl Column {
    fn of(name: &str) -> Option<Self> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "localaddress" => Self::LocalAddress,
            "localport" => Self::LocalPort,
            "remoteaddress" => Self::RemoteAddress,
            "remoteport" => Self::RemotePort,
            "state" => Self::State,
            "owningprocess" | "processid" | "pid" => Self::Pid,
            "processname" | "process" => Self::Name,
            _ => return None,
        })
    }
}

/// Which column stands where; none unless an address and a port are there.
fn columns<'a>(names: impl Iterator<Item = &'a str>) -> Option<Vec<Option<Column>>> {
    let columns: Vec<Option<Column>> = names.map(Column::of).collect();
    let has = |column| columns.contains(&Some(column));
    (has(Column::LocalAddress) && has(Column::LocalPort)).then_some(columns)
}

/// One row: what stands in each column that is read.
#[derive(Default)]
struct Row<'a> {
    found: Vec<(Column, &'a str)>,
    /// Whether there is a column for the process.
    has_owner: bool,
    /// Whether it is of a connection: a table of endpoints has no state and no peer.
    is_tcp: bool,
}

impl<'a> Row<'a> {
    fn new(columns: &[Option<Column>], cells: impl Iterator<Item = &'a str>) -> Self {
        let found: Vec<_> = columns
            .iter()
            .zip(cells)
            .filter_map(|(column, cell)| column.map(|column| (column, cell.trim())))
            .collect();
        let has = |column| columns.contains(&Some(column));
        Self { found, has_owner: has(Column::Pid), is_tcp: has(Column::State) || has(Column::RemotePort) }
    }

    fn cell(&self, column: Column) -> &'a str {
        self.found.iter().find(|(known, _)| *known == column).map_or("", |(_, cell)| cell)
    }

    /// The socket of the row; none where an address was cut or something is not a number.
    fn seen(&self) -> Option<Seen> {
        let (local, zone) = address(self.cell(Column::LocalAddress))?;
        let port = decimal(self.cell(Column::LocalPort))?;
        let (remote, remote_port, state) = if self.is_tcp {
            let word = self.cell(Column::State);
            let remote = match self.cell(Column::RemoteAddress) {
                "" => any_of(local),
                remote => address(remote)?.0,
            };
            let remote_port = match self.cell(Column::RemotePort) {
                "" => 0,
                port => decimal(port)?,
            };
            (remote, remote_port, state(word).or_else(|| state_by_number(word))?)
        } else {
            (any_of(local), 0, State::Unconnected)
        };
        if Family::of(local) != Family::of(remote) {
            return None;
        }
        let transport = if self.is_tcp { Transport::Tcp } else { Transport::Udp };
        let mut socket = Socket::new(transport, state, (local, port).into(), (remote, remote_port).into());
        let pid: Option<u32> = match self.cell(Column::Pid) {
            "" => None,
            pid => Some(decimal(pid)?),
        };
        let holder =
            pid.filter(|pid| *pid != 0).map(|pid| Holding { pid, name: self.name(), descriptor: None });
        if holder.is_none() && self.has_owner {
            socket.owner_state = without_holder(state);
        }
        let origin = Origin { interface: zone.map(str::to_owned), ..Origin::default() };
        Some(Seen { socket, holdings: holder.into_iter().collect(), origin })
    }

    /// Name of the process; PowerShell leaves the `.exe` out.
    fn name(&self) -> Option<String> {
        let name: String = self.cell(Column::Name).chars().take(256).collect();
        (!name.is_empty()).then_some(name)
    }

    fn take(&self, number: usize, line: &str, gathering: &mut Gathering) {
        match self.seen() {
            Some(seen) => gathering.socket(seen),
            None => gathering.odd(number, line),
        }
    }
}

fn address(text: &str) -> Option<(IpAddr, Option<&str>)> {
    let (host, zone) = zone_of(text)?;
    Some((host.parse().ok()?, zone))
}

/// The separator and the columns of a heading.
fn csv_columns(line: &str) -> Option<(char, Vec<Option<Column>>)> {
    [',', ';', '\t'].into_iter().find_map(|separator| {
        let names = values(line.trim(), separator)?;
        Some((separator, columns(names.iter().map(String::as_str))?))
    })
}

fn read_csv(place: &Place<'_>, gathering: &mut Gathering) -> usize {
    let Some((separator, columns)) = csv_columns(place.here()) else { return 0 };
    let rows = place.lines.iter().skip(1).take_while(|line| !line.is_blank());
    let mut count = 1;
    for line in rows {
        count += 1;
        match values(line.text.trim(), separator).filter(|cells| cells.len() == columns.len()) {
            Some(cells) => {
                Row::new(&columns, cells.iter().map(String::as_str)).take(line.number, line.text, gathering);
            }
            None => gathering.odd(line.number, line.text),
        }
    }
    count
}

/// Where the columns of a table begin, which they are, and how many lines its heading has: in a narrow console long
/// names go on in the next line.
fn table_columns(place: &Place<'_>) -> Option<(Vec<usize>, Vec<Option<Column>>, usize)> {
    if !place.here().trim_start().starts_with("Local") {
        return None;
    }
    let (at, starts) = place
        .lines
        .iter()
        .enumerate()
        .take(4)
        .skip(1)
        .find_map(|(at, line)| Some((at, underlined(line.text, '-')?)))?;
    let names: Vec<String> =
        place.lines[..at].iter().fold(vec![String::new(); starts.len()], |mut names, line| {
            names.iter_mut().zip(cells(line.text, &starts)).for_each(|(name, cell)| name.push_str(cell));
            names
        });
    let columns = columns(names.iter().map(String::as_str))?;
    Some((starts, columns, at + 1))
}

fn read_table(place: &Place<'_>, gathering: &mut Gathering) -> usize {
    let Some((starts, columns, heading)) = table_columns(place) else { return 0 };
    let rows = place.lines.iter().skip(heading).take_while(|line| !line.is_blank());
    let mut count = heading;
    for line in rows {
        count += 1;
        Row::new(&columns, cells(line.text, &starts).into_iter()).take(line.number, line.text, gathering);
    }
    count
}

fn read_list(place: &Place<'_>, gathering: &mut Gathering) -> usize {
    let mut at = 0;
    while let Some(line) = place.lines.get(at) {
        if line.is_blank() {
            let next = place.lines[at..].iter().find(|line| !line.is_blank());
            if next.is_none_or(|next| property(next.text).is_none()) {
                break;
            }
            at += 1;
            continue;
        }
        let record = place.lines[at..].iter().take_while(|line| !line.is_blank());
        let properties: Vec<(&str, &str)> = record.clone().filter_map(|line| property(line.text)).collect();
        if properties.is_empty() {
            break;
        }
        let columns: Vec<Option<Column>> = properties.iter().map(|(name, _)| Column::of(name)).collect();
        Row::new(&columns, properties.iter().map(|(_, value)| *value)).take(
            line.number,
            line.text,
            gathering,
        );
        at += record.count();
    }
    at
}
