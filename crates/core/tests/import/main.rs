//! Listings that others send become snapshots: recordings of real tools, texts after their pattern, and broken ones.

mod hostile;
mod linux;
mod windows;

use std::fmt::Write as _;
use std::path::Path;

use portolan_core::import::{File, ImportError, Imported, import};
use portolan_core::snapshot::{Gap, Snapshot};
use portolan_core::socket::{OwnerState, Socket};

/// What a recording holds.
#[track_caller]
fn recording(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Imports recordings.
#[track_caller]
fn recordings(names: &[&str]) -> Imported {
    let contents: Vec<Vec<u8>> = names.iter().map(|name| recording(name)).collect();
    let files: Vec<File<'_>> = names
        .iter()
        .zip(&contents)
        .map(|(name, bytes)| File { name: name.rsplit('/').next().unwrap(), bytes })
        .collect();
    import(&files, 1_800_000_000_000).unwrap_or_else(|error| panic!("{names:?}: {error}"))
}

/// Imports one text.
fn text(text: &str) -> Result<Imported, ImportError> {
    import(&[File { name: "pasted.txt", bytes: text.as_bytes() }], 0)
}

/// Every socket on a line: transport, state, endpoints, holders.
fn shown(snapshot: &Snapshot) -> Vec<String> {
    snapshot.sockets.iter().map(|socket| line(snapshot, socket)).collect()
}

fn line(snapshot: &Snapshot, socket: &Socket) -> String {
    let mut line = format!("{} {} {}", socket.transport, socket.state, socket.local());
    if socket.remote_port != 0 {
        write!(line, " {}", socket.remote()).unwrap();
    }
    match socket.owner_state {
        OwnerState::Seen => {}
        other => write!(line, " {other:?}").unwrap(),
    }
    for owner in snapshot.owners_of(socket) {
        write!(line, " {}", owner.pid).unwrap();
        if !owner.name.is_empty() {
            write!(line, "/{}", owner.name).unwrap();
        }
        if let Some(unit) = &owner.unit {
            write!(line, "={unit}").unwrap();
        }
    }
    line
}

/// The gap about something.
#[track_caller]
fn gap<'a>(snapshot: &'a Snapshot, what: &str) -> &'a Gap {
    let found = snapshot.gaps.iter().find(|gap| gap.what == what);
    found.unwrap_or_else(|| panic!("no gap about {what}: {:?}", snapshot.gaps))
}

fn has_gap(snapshot: &Snapshot, what: &str) -> bool {
    snapshot.gaps.iter().any(|gap| gap.what == what)
}
