//! What a recorder looks at, and how the room developed over its last looks.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use portolan_core::census::Census;
use portolan_core::diagnose::{Case, RoomTrend, diagnose_room};
use portolan_core::record::{DESTINATIONS, Entry};
use portolan_core::room::RoomFor;
use portolan_core::snapshot::Snapshot;
use portolan_core::trend::{self, Sample};
use portolan_host::{Look, Namespace, OwnerSearch, Sections, SocketFilter};

use super::pool::Pool;
use crate::source::Session;

/// A trend is told from so many looks at most, and anew after a tenth of them.
const SAMPLES: usize = 120;

/// Looks, one after another.
pub(super) struct Looks<'a> {
    session: &'a Session,
    look: Look,
    /// How much room there was towards each destination, and for the other calls.
    room: HashMap<RoomFor, VecDeque<Sample>>,
    trends: Vec<RoomTrend>,
    looks: usize,
    pool: Pool,
}

impl<'a> Looks<'a> {
    pub(super) fn new(session: &'a Session, no_owners: bool) -> Self {
        let look = Look {
            sockets: Some(SocketFilter::default()),
            owners: if no_owners { OwnerSearch::None } else { OwnerSearch::Remembered },
            counting: true,
            sections: Sections { settings: true, buckets: true, counters: true, ..Sections::default() },
            namespace: Namespace::Own,
        };
        let (room, trends, pool) = (HashMap::new(), Vec::new(), Pool::default());
        Self { session, look, room, trends, looks: 0, pool }
    }

    /// Looks once.
    pub(super) fn look(&mut self) -> Result<Entry> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let asks = self.pool.is_due(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let look = Look { sections: Sections { winnat: asks, ..self.look.sections }, ..self.look.clone() };
        let mut snapshot = Arc::unwrap_or_clone(self.session.see(look)?);
        self.pool.follow(&mut snapshot, asks);
        let census = Census::of(&snapshot, DESTINATIONS);
        self.follow(&snapshot, &census);
        let case = Case { trends: &self.trends, ..Case::host(&snapshot, &census) };
        Ok(Entry::new(&snapshot, &census, &diagnose_room(&case)))
    }

    /// Follows the room of the destinations that have least and of the other calls, and tells its trends from time to
    /// time.
    fn follow(&mut self, snapshot: &Snapshot, census: &Census) {
        self.looks += 1;
        for (room, left) in census.rooms() {
            let samples = self.room.entry(room).or_default();
            // A clock that went back leaves samples of which no slope can be told.
            if samples.back().is_some_and(|last| last.at_ms >= snapshot.taken_ms) {
                samples.clear();
            }
            if samples.len() == SAMPLES {
                samples.pop_front();
            }
            let value = f64::from(left.room.max);
            samples.push_back(Sample { at_ms: snapshot.taken_ms, value });
        }
        // Whoever is not among the worst any more is not followed any more.
        self.room.retain(|_, samples| samples.back().is_some_and(|last| last.at_ms == snapshot.taken_ms));
        if self.looks.is_multiple_of(SAMPLES / 10) {
            let steady = |(room, samples): (&RoomFor, &VecDeque<Sample>)| {
                let samples: Vec<Sample> = samples.iter().copied().collect();
                Some(RoomTrend { room: *room, slope: trend::slope(&samples)? })
            };
            self.trends = self.room.iter().filter_map(steady).collect();
        }
    }
}
