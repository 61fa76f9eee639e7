//! What the store takes and how fast it answers, on made-up looks: `measure day|year FILE` prints the size in bytes of
//! the file that it has made, the processor time is the caller's to count, and `measure ask FILE` prints how long the
//! slowest question about a year takes, in milliseconds.
//!
//! A year is of looks 20 minutes apart: its hours are as large as those of looks 5 seconds apart, since they have the
//! least, the mean and the most of every number all the same.

use std::path::Path;
use std::time::Instant;

use portolan_core::record::{Amount, Entry, What};
use portolan_history::{Error, Keep, Options, Query, Recorder, Store};

const OWNERS: u64 = 200;
const DESTINATIONS: u64 = 32;
const LIMITS: u64 = 24;
const START: u64 = 1_767_225_600_000;
const YEAR: u64 = 365 * 86_400_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, file] = &arguments[..] else { return Err("type: measure day|year|ask FILE".into()) };
    let file = Path::new(file);
    match what.as_str() {
        "day" => fill(file, 5000, 86_400_000)?,
        "year" => fill(file, 1_200_000, YEAR)?,
        _ => return Ok(ask(file)?),
    }
    println!("{}", std::fs::metadata(file)?.len());
    Ok(())
}

fn fill(file: &Path, interval_ms: u64, time_ms: u64) -> Result<(), Error> {
    let keep = Keep { bytes: 1 << 40, ..Keep::default() };
    let mut recorder = Recorder::open(file, Options { interval_ms, pid: 1, keep })?;
    let mut host = Host::new();
    for look in 0..time_ms / interval_ms {
        recorder.append(&host.look(START + look * interval_ms))?;
    }
    Ok(())
}

/// A host with busy owners: each look a third of them have another number of sockets, and a fifth of descriptors.
struct Host {
    chance: u64,
    sockets: Vec<u64>,
    handles: Vec<u64>,
    room: Vec<u64>,
}

impl Host {
    fn new() -> Self {
        let sockets = (0..OWNERS).map(|owner| 20_000 / (owner + 1)).collect();
        let handles = (0..OWNERS).map(|owner| 50 + 20_000 / (owner + 1)).collect();
        Self { chance: 1, sockets, handles, room: vec![28_000; DESTINATIONS as usize] }
    }

    fn chance(&mut self, below: u64) -> u64 {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) % below
    }

    fn walk(&mut self, value: u64, one_of: u64) -> u64 {
        if self.chance(one_of) > 0 {
            return value;
        }
        let step = value / 20 + 3;
        (value + self.chance(2 * step + 1)).saturating_sub(step)
    }

    fn look(&mut self, at_ms: u64) -> Entry {
        let mut entry =
            Entry { at_ms, boot: "boot".to_owned(), seen: What::ALL.to_vec(), ..Entry::default() };
        let mut set = |what, name: String, value| entry.amounts.insert((what, name), Amount::exact(value));
        for owner in 0..OWNERS as usize {
            self.sockets[owner] = self.walk(self.sockets[owner], 3);
            self.handles[owner] = self.walk(self.handles[owner], 5);
            let name = format!("program-{owner} (program-{owner}.service)");
            set(What::Descriptors, name.clone(), self.handles[owner]);
            if owner.is_multiple_of(8) {
                set(What::Leak, format!("{name} CLOSE_WAIT"), self.sockets[owner] / 10);
            }
            set(What::Owner, name, self.sockets[owner]);
        }
        for destination in 0..DESTINATIONS as usize {
            self.room[destination] = self.walk(self.room[destination], 2).min(28_232);
            set(What::Destination, format!("10.0.0.5 to 10.1.0.{destination}:443"), self.room[destination]);
        }
        let total: u64 = self.sockets.iter().sum();
        for (part, state) in
            ["LISTEN", "SYN_SENT", "ESTABLISHED", "FIN_WAIT_2", "CLOSE_WAIT", "TIME_WAIT"].iter().enumerate()
        {
            set(What::State, (*state).to_owned(), total / (part as u64 + 1) + at_ms / 5000 % 7);
        }
        set(What::Total, "tcp".to_owned(), total);
        set(What::Total, "udp".to_owned(), total / 50);
        for room in 0..8 {
            set(What::Room, format!("room {room}"), 28_000 - total / (room + 30));
        }
        for limit in 0..LIMITS {
            set(What::Limit, format!("limit {limit}"), total * (limit + 1) + at_ms / 5000 % 3);
        }
        entry
    }
}

fn ask(file: &Path) -> Result<(), Error> {
    let mut slowest = 0;
    for what in What::ALL {
        let start = Instant::now();
        let store = Store::read(file)?;
        let until_ms = store.span()?.map_or(0, |span| span.until_ms + 1);
        let since_ms = until_ms.saturating_sub(YEAR);
        let found = store.series(&Query { since_ms, until_ms, what, most: usize::MAX, points: 400 })?;
        assert!(!found.is_empty(), "there is some of everything");
        slowest = slowest.max(start.elapsed().as_millis());
    }
    println!("{slowest}");
    Ok(())
}
