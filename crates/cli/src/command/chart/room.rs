//! The room left in the ephemeral range: its ports, those in use by anything, those kept out of it.
//!
//! A port in use towards one destination can still be given towards another: this is the room that `bind(0)` has, and
//! the least that a new destination has. Room by destination comes with `budget`.

use portolan_core::port::{PortRange, PortSet};
use portolan_core::snapshot::Snapshot;
use portolan_core::socket::{Family, State, Transport};
use schemars::JsonSchema;
use serde::Serialize;

use crate::report::{Line, Tone};
use crate::text::{counted, grouped};

/// The room left in one ephemeral range.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Room {
    /// The transport it is for.
    transport: Transport,
    /// The families that share it.
    families: Vec<Family>,
    /// First and last port.
    range: PortRange,
    /// How many ports it has.
    ports: u32,
    /// Of these, how many are reserved and so never given.
    reserved: u32,
    /// Of the rest, how many a socket of that transport uses.
    used: u32,
    /// How many TIME_WAIT sockets lie in it.
    time_wait: u64,
    /// How many nothing uses.
    left: u32,
}

/// The room in each range, for each transport: families of one range share it.
pub(super) fn of(snapshot: &Snapshot) -> Vec<Room> {
    let mut rooms: Vec<Room> = Vec::new();
    for range in &snapshot.ranges {
        let same = |room: &&mut Room| room.transport == range.transport && room.range == range.range;
        match rooms.iter_mut().find(same) {
            Some(room) => room.families.push(range.family),
            None => rooms.push(Room {
                transport: range.transport,
                families: vec![range.family],
                range: range.range,
                ports: range.range.count(),
                reserved: 0,
                used: 0,
                time_wait: 0,
                left: 0,
            }),
        }
    }
    rooms.sort_by_key(|room| (room.transport, room.families.first().copied()));
    rooms.iter_mut().for_each(|room| room.count(snapshot));
    rooms
}

impl Room {
    fn count(&mut self, snapshot: &Snapshot) {
        let concerns = |family: Option<Family>| family.is_none_or(|family| self.families.contains(&family));
        let reserved: PortSet = snapshot
            .reservations
            .iter()
            .filter(|r| r.transport.is_none_or(|transport| transport == self.transport) && concerns(r.family))
            .map(|reservation| reservation.range)
            .collect();
        let mut used = PortSet::new();
        let mut time_wait = 0;
        for socket in &snapshot.sockets {
            if socket.transport == self.transport && concerns(Some(socket.family)) {
                used.insert(socket.local_port);
                time_wait +=
                    u64::from(socket.state == State::TimeWait && self.range.contains(socket.local_port));
            }
        }
        used.subtract(&reserved);
        self.reserved = reserved.count_in(self.range);
        self.used = used.count_in(self.range);
        self.time_wait = time_wait;
        self.left = self.ports - self.reserved - self.used;
    }

    /// The room in a sentence, warm where little is left.
    pub(super) fn line(&self) -> Line {
        let tone = match u64::from(self.left) * 100 / u64::from(self.ports) {
            0..5 => Tone::Bad,
            5..20 => Tone::Warning,
            _ => Tone::Strong,
        };
        let families = match &self.families[..] {
            [one] => format!(" {one}"),
            _ => String::new(),
        };
        let mut told = vec![format!("{} in use", grouped(self.used.into()))];
        if self.reserved > 0 {
            told.push(format!("{} reserved", grouped(self.reserved.into())));
        }
        if self.time_wait > 0 {
            told.push(format!("{} in TIME_WAIT", counted(self.time_wait, "socket")));
        }
        Line::new()
            .plain(format!("{}{families}   ", self.transport))
            .and(tone, grouped(self.left.into()))
            .plain(format!(" of {} ports of {}: {}", grouped(self.ports.into()), self.range, told.join(", ")))
    }
}
