//! Who holds sockets: what refers to them, as a walk over all processes found it, and who these processes are.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use portolan_core::owner::{Holder, Origin, Owner};
use portolan_core::snapshot::{Gap, GapReason, Reading};
use portolan_core::socket::{OwnerState, Socket};
use portolan_core::wording::counted;

use super::process::Describer;
use super::remembered;
use super::walk::{Found, Walk};
use crate::OwnerSearch;
use crate::sys::Holdings;

/// Writes into each socket who holds it. `ahead` is a walk that went on while the sockets were listed: sockets that it
/// did not find, such as those made meanwhile, are looked for once more.
pub(super) fn find(
    sockets: &mut [Socket],
    origins: &[Origin],
    search: OwnerSearch,
    ahead: Option<Walk>,
) -> Reading<Holdings> {
    if search == OwnerSearch::None {
        return Reading::default();
    }
    let mut gaps = Vec::new();
    let mut holders = Holders::new(sockets);
    if search == OwnerSearch::Remembered {
        match remembered::holders(&holders.indexes, &mut gaps) {
            Ok(found) => holders.note_at(sockets, found.into_iter()),
            Err(error) => gaps.push(no_processes(&error)),
        }
        let value = holders.assign(sockets);
        note_hidden(sockets, &mut gaps);
        return Reading { value, gaps };
    }
    if let Some(walk) = ahead {
        holders.note(sockets, walk.end(&mut gaps));
    }
    let wanted: HashSet<u32> =
        sockets.iter().filter(|s| s.inode != 0 && s.holder_count == 0).map(|s| s.inode).collect();
    if !wanted.is_empty() {
        gaps.clear();
        match Walk::new(Some(wanted), search) {
            Ok(mut walk) => {
                walk.run(sockets, origins);
                holders.note(sockets, walk.end(&mut gaps));
            }
            Err(error) => gaps.push(no_processes(&error)),
        }
    }
    let value = holders.assign(sockets);
    note_hidden(sockets, &mut gaps);
    Reading { value, gaps }
}

fn no_processes(error: &std::io::Error) -> Gap {
    Gap::new("owners", GapReason::Denied, format!("/proc cannot be read: {error}"))
}

/// Indexes of sockets by their inodes.
pub(super) type Indexes = HashMap<u32, u32, BuildHasherDefault<Spread>>;

/// Who was found to hold which socket.
struct Holders {
    /// Index of the socket with that inode.
    indexes: Indexes,
    /// Indexes of sockets, and what refers to them.
    held: Vec<(u32, Found)>,
}

impl Holders {
    fn new(sockets: &mut [Socket]) -> Self {
        let mut indexes = HashMap::with_capacity_and_hasher(sockets.len(), BuildHasherDefault::default());
        for (index, socket) in (0..).zip(sockets) {
            (socket.first_holder, socket.holder_count) = (0, 0);
            if socket.inode != 0 {
                indexes.insert(socket.inode, index);
            }
        }
        Self { indexes, held: Vec::new() }
    }

    /// Counts in the sockets what was found. What refers to no listed socket is left out.
    fn note(&mut self, sockets: &mut [Socket], found: Vec<Found>) {
        let indexes = std::mem::take(&mut self.indexes);
        let referring = |found: Found| Some((*indexes.get(&found.inode)?, found));
        self.note_at(sockets, found.into_iter().filter_map(referring));
        self.indexes = indexes;
    }

    /// The same, for what refers to sockets at these indexes.
    fn note_at(&mut self, sockets: &mut [Socket], found: impl Iterator<Item = (u32, Found)>) {
        for (index, found) in found {
            let Some(socket) = sockets.get_mut(index as usize) else { continue };
            // The row counts to 65,535; a socket with more holders shows those that were found first.
            if let Some(count) = socket.holder_count.checked_add(1) {
                socket.holder_count = count;
                self.held.push((index, found));
            }
        }
    }

    /// Writes the holders into the sockets, and describes each holding process once.
    fn assign(self, sockets: &mut [Socket]) -> Holdings {
        let mut pids: Vec<u32> = self.held.iter().map(|(_, found)| found.pid).collect();
        pids.dedup();
        pids.sort_unstable();
        pids.dedup();
        // Those of one socket stand together, in the order of the sockets: their places follow from the counts.
        let mut next = 0;
        for socket in &mut *sockets {
            socket.owner_state = match (socket.inode, socket.holder_count) {
                (0, _) => OwnerState::Nobody,
                (_, 0) => OwnerState::Hidden,
                _ => OwnerState::Seen,
            };
            (socket.first_holder, next) = (next, next + u32::from(socket.holder_count));
        }
        let mut holders = vec![Holder { owner: 0, descriptor: -1 }; self.held.len()];
        for (index, Found { pid, descriptor, .. }) in &self.held {
            if let Some(socket) = sockets.get_mut(*index as usize)
                && let Some(place) = holders.get_mut(socket.first_holder as usize)
                && let Ok(owner) = pids.binary_search(pid)
            {
                place.owner = u32::try_from(owner).unwrap_or(u32::MAX);
                place.descriptor = i32::try_from(*descriptor).unwrap_or(-1);
                socket.first_holder += 1;
            }
        }
        for socket in sockets {
            let end = socket.first_holder as usize;
            socket.first_holder -= u32::from(socket.holder_count);
            if socket.holder_count > 1
                && let Some(of_socket) = holders.get_mut(socket.first_holder as usize..end)
            {
                of_socket.sort_unstable_by_key(|holder| (holder.owner, holder.descriptor));
            }
        }
        let mut describer = Describer::new();
        // A process that has ended since leaves its number.
        let describe = |pid| describer.describe(pid).unwrap_or(Owner { pid, ..Owner::default() });
        Holdings { holders, owners: pids.into_iter().map(describe).collect() }
    }
}

/// A hash of inode numbers. The kernel gives them one after the other, so nobody can choose them to collide.
#[derive(Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        // The golden ratio's bits; the table looks at the highest and the lowest ones.
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

/// A socket with an inode and without a visible holder has one all the same.
fn note_hidden(sockets: &[Socket], gaps: &mut Vec<Gap>) {
    let hidden = sockets.iter().filter(|socket| socket.owner_state == OwnerState::Hidden).count();
    if hidden > 0 && gaps.is_empty() {
        let detail = format!(
            "the holders of {} are not in /proc: the kernel itself, a process of another pid namespace, or one that \
             closed the socket meanwhile",
            counted(hidden, "socket")
        );
        gaps.push(Gap::new("owners", GapReason::Unsupported, detail));
    }
}
