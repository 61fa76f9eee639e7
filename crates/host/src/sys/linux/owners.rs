//! Who holds sockets: one pass over the descriptors of every visible process, shared among threads.
//!
//! Leaves out on purpose: threads with a descriptor table of their own (unshare(CLONE_FILES) in a thread), sockets
//! on their way through a unix socket (SCM_RIGHTS), sockets that io_uring alone holds.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, thread};

use portolan_core::kernel::proc_fd;
use portolan_core::owner::{Holder, Origin, Owner};
use portolan_core::snapshot::{Gap, GapReason, Reading};
use portolan_core::socket::{OwnerState, Socket};

use super::descriptors::{Descriptors, Unreadable};
use super::file_iterator::FileIterator;
use super::process::Describer;
use crate::OwnerSearch;
use crate::sys::Holdings;

/// More threads than this do not help: they wait for each other in the kernel.
const MOST_THREADS: usize = 8;
/// A process with more descriptors than twice this is shared out among the threads, so many at a time.
const SHARE: u32 = 1024;
/// With as many descriptors in large processes, to load the iterator (some 8 ms) takes less than it saves.
const WORTH_ITERATING: u64 = 16 * 1024;
/// How many of their lowest descriptors are searched first, where one holder is enough.
const LOW: u32 = 64;

/// Writes into each socket who holds it.
pub(crate) fn find(sockets: &mut [Socket], origins: &[Origin], search: OwnerSearch) -> Reading<Holdings> {
    if search == OwnerSearch::None {
        return Reading::default();
    }
    let mut gaps = Vec::new();
    let found = match processes() {
        Ok(pids) => {
            let mut walk = Walk::new(sockets, search);
            let found = walk.run(pids, sockets, origins);
            walk.note_unreadable(&mut gaps);
            found
        }
        Err(error) => {
            gaps.push(Gap::new("owners", GapReason::Denied, format!("/proc cannot be read: {error}")));
            Vec::new()
        }
    };
    let value = assign(sockets, found);
    note_hidden(sockets, &mut gaps);
    Reading { value, gaps }
}

/// Every process that /proc shows.
fn processes() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        pids.extend(proc_fd::number(entry?.file_name().as_encoded_bytes()));
    }
    Ok(pids)
}

/// A process and a range of its descriptors.
type Share = (u32, Range<u32>);

/// A descriptor that refers to a wanted socket, which is an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    socket: u32,
    pid: u32,
    descriptor: u32,
}

/// One pass over the processes.
struct Walk {
    /// Inodes of the wanted sockets, with their indexes.
    wanted: HashMap<u32, u32>,
    /// Which sockets were found, where one holder is enough; else empty.
    seen: Vec<AtomicBool>,
    /// How many sockets are still to be found, where one holder is enough.
    outstanding: AtomicUsize,
    /// Processes that are shared out, with the number of their descriptors.
    large: Mutex<Vec<(u32, u32)>>,
    unreadable: Mutex<Vec<(u32, Unreadable)>>,
    threads: usize,
}

impl Walk {
    fn new(sockets: &[Socket], search: OwnerSearch) -> Self {
        let mut wanted = HashMap::with_capacity(sockets.len());
        wanted.extend((0..).zip(sockets).filter(|(_, s)| s.inode != 0).map(|(index, s)| (s.inode, index)));
        let first = search == OwnerSearch::First;
        Self {
            seen: (0..if first { sockets.len() } else { 0 }).map(|_| AtomicBool::new(false)).collect(),
            outstanding: AtomicUsize::new(if first { wanted.len() } else { usize::MAX }),
            wanted,
            large: Mutex::default(),
            unreadable: Mutex::default(),
            threads: thread::available_parallelism().map_or(1, |n| n.get().min(MOST_THREADS)),
        }
    }

    fn run(&mut self, mut pids: Vec<u32>, sockets: &[Socket], origins: &[Origin]) -> Vec<Found> {
        let mut found = Vec::new();
        if self.wanted.is_empty() {
            return found;
        }
        if !self.seen.is_empty() {
            let likely = likely_first(&mut pids, sockets, origins);
            for pid in pids.iter().take(likely) {
                self.search(*pid, 0..LOW, &mut found);
            }
        }
        found.extend(self.on_threads(&pids, |pid, found| self.visit(*pid, found)));
        let large = std::mem::take(&mut *locked(&self.large));
        match self.iterator_for(&large) {
            Some(iterator) => {
                found.extend(self.on_threads(&large, |(pid, _), found| self.iterate(&iterator, *pid, found)));
            }
            None => {
                let shares = shares(&large);
                let search = |(pid, range): &Share, found: &mut _| self.search(*pid, range.clone(), found);
                found.extend(self.on_threads(&shares, search));
            }
        }
        found
    }

    /// The faster way into large processes, where it is worth its start and may be had.
    fn iterator_for(&self, large: &[(u32, u32)]) -> Option<FileIterator> {
        let total: u64 = large.iter().map(|(_, count)| u64::from(*count)).sum();
        if total < WORTH_ITERATING || !self.seen.is_empty() { None } else { FileIterator::load() }
    }

    /// Searches a process by the iterator, and where that fails by its links.
    fn iterate(&self, iterator: &FileIterator, pid: u32, found: &mut Vec<Found>) {
        let before = found.len();
        let result = iterator.sockets(pid, |descriptor, inode| {
            if let Some(&socket) = self.wanted.get(&inode) {
                found.push(Found { socket, pid, descriptor });
            }
        });
        if result.is_err() {
            found.truncate(before);
            self.search(pid, 0..u32::MAX, found);
        }
    }

    /// Does that with each item, on as many threads as help; each thread takes the next item when it is done.
    fn on_threads<T: Sync>(&self, items: &[T], act: impl Fn(&T, &mut Vec<Found>) + Sync) -> Vec<Found> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut found = Vec::new();
            while !self.is_done()
                && let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed))
            {
                act(item, &mut found);
            }
            found
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..self.threads.min(items.len())).map(|_| scope.spawn(work)).collect();
            let mut found = work();
            for other in others {
                found.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            found
        })
    }

    fn is_done(&self) -> bool {
        self.outstanding.load(Ordering::Relaxed) == 0
    }

    /// Searches a process, or puts it off to be shared out.
    fn visit(&self, pid: u32, found: &mut Vec<Found>) {
        match Descriptors::of(pid) {
            Ok(descriptors) => {
                let count = descriptors.count();
                if self.threads > 1 && count > 2 * SHARE {
                    locked(&self.large).push((pid, count));
                } else {
                    self.search_open(pid, &descriptors, 0..u32::MAX, found);
                }
            }
            Err(why) => self.note(pid, why),
        }
    }

    fn search(&self, pid: u32, range: Range<u32>, found: &mut Vec<Found>) {
        match Descriptors::of(pid) {
            Ok(descriptors) => self.search_open(pid, &descriptors, range, found),
            Err(why) => self.note(pid, why),
        }
    }

    fn search_open(&self, pid: u32, descriptors: &Descriptors, range: Range<u32>, found: &mut Vec<Found>) {
        let result = descriptors.sockets(range, descriptors.count(), |descriptor, inode| {
            let Some(&socket) = self.wanted.get(&inode) else { return ControlFlow::Continue(()) };
            found.push(Found { socket, pid, descriptor });
            if let Some(seen) = self.seen.get(socket as usize)
                && !seen.swap(true, Ordering::Relaxed)
                && self.outstanding.fetch_sub(1, Ordering::Relaxed) == 1
            {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        if let Err(why) = result {
            self.note(pid, why);
        }
    }

    fn note(&self, pid: u32, why: Unreadable) {
        if why != Unreadable::Gone {
            locked(&self.unreadable).push((pid, why));
        }
    }

    /// One gap for all processes whose descriptors could not be read. Kernel threads have none.
    fn note_unreadable(&self, gaps: &mut Vec<Gap>) {
        let unreadable = locked(&self.unreadable);
        let denied: HashSet<u32> = unreadable
            .iter()
            .filter(|(pid, why)| *why == Unreadable::Denied && !is_kernel_thread(*pid))
            .map(|(pid, _)| *pid)
            .collect();
        if !denied.is_empty() {
            let detail = match denied.len() {
                1 => "the descriptors of 1 process are not visible".to_owned(),
                count => format!("the descriptors of {count} processes are not visible"),
            };
            let remedy = if rustix::process::geteuid().is_root() {
                "run with every capability, outside of containers (a process with more than ours is closed to us)"
            } else {
                "run as root"
            };
            gaps.push(Gap::new("owners", GapReason::Denied, detail).with_remedy(remedy));
        }
        let failed = unreadable.iter().find_map(|(pid, why)| match why {
            Unreadable::Failed(error) => Some((pid, io::Error::from(*error))),
            Unreadable::Gone | Unreadable::Denied => None,
        });
        if let Some((pid, error)) = failed {
            let detail =
                format!("the descriptors of process {pid}, and maybe of others, cannot be read: {error}");
            gaps.push(Gap::new("owners", GapReason::Changed, detail).with_remedy("ask again"));
        }
    }
}

/// A thread that panicked is joined and panics here too, so a poisoned lock is never seen.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_kernel_thread(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/stat")).is_ok_and(|stat| proc_fd::is_kernel_thread(&stat))
}

/// Shares of large processes. Those of one process stand apart, so that threads do not meet in its directory; the
/// last one has no end, since descriptors may be sparse.
fn shares(large: &[(u32, u32)]) -> Vec<Share> {
    let most = large.iter().map(|(_, count)| count / SHARE).max().unwrap_or_default();
    (0..most)
        .flat_map(|share| large.iter().map(move |(pid, count)| (share, *pid, count / SHARE)))
        .filter(|(share, _, shares)| share < shares)
        .map(|(share, pid, shares)| {
            let end = if share + 1 == shares { u32::MAX } else { (share + 1) * SHARE };
            (pid, share * SHARE..end)
        })
        .collect()
}

/// Puts likely holders first: those in the cgroup, then those of the user that the kernel names for the sockets.
/// Gives back how many they are.
fn likely_first(pids: &mut [u32], sockets: &[Socket], origins: &[Origin]) -> usize {
    let used: HashSet<u32> = sockets.iter().map(|socket| socket.origin).collect();
    let origins = || used.iter().filter_map(|index| origins.get(*index as usize));
    let uids: HashSet<u32> = origins().filter_map(|origin| origin.uid).collect();
    let members: HashSet<u32> = origins()
        .filter_map(|origin| fs::read(format!("/sys/fs/cgroup{}/cgroup.procs", origin.cgroup.as_ref()?)).ok())
        .flat_map(|list| list.split(|byte| *byte == b'\n').filter_map(proc_fd::number).collect::<Vec<_>>())
        .collect();
    let of_user = |pid| fs::metadata(format!("/proc/{pid}")).is_ok_and(|entry| uids.contains(&entry.uid()));
    let unlikely = |pid: &u32| match (members.contains(pid), of_user(*pid)) {
        (true, true) => 0,
        (true, false) => 1,
        (false, true) => 2,
        (false, false) => 3,
    };
    pids.sort_by_cached_key(unlikely);
    pids.partition_point(|pid| unlikely(pid) < 3)
}

/// Writes the holders into the sockets, and describes each holding process once.
fn assign(sockets: &mut [Socket], mut found: Vec<Found>) -> Holdings {
    let mut pids: Vec<u32> = Vec::new();
    for Found { pid, .. } in &found {
        if pids.last() != Some(pid) {
            pids.push(*pid);
        }
    }
    pids.sort_unstable();
    pids.dedup();
    found.sort_unstable();
    found.dedup();
    for socket in &mut *sockets {
        socket.owner_state = if socket.inode == 0 { OwnerState::Nobody } else { OwnerState::Hidden };
    }
    let mut holders = Vec::with_capacity(found.len());
    for Found { socket, pid, descriptor } in found {
        let Some(socket) = sockets.get_mut(socket as usize) else { continue };
        if socket.holder_count == 0 {
            socket.first_holder = u32::try_from(holders.len()).unwrap_or(u32::MAX);
            socket.owner_state = OwnerState::Seen;
        }
        // The row counts to 65,535; a socket with more holders shows the first ones.
        if let (Some(count), Ok(owner)) = (socket.holder_count.checked_add(1), pids.binary_search(&pid)) {
            socket.holder_count = count;
            let owner = u32::try_from(owner).unwrap_or(u32::MAX);
            holders.push(Holder { owner, descriptor: i32::try_from(descriptor).unwrap_or(-1) });
        }
    }
    let mut describer = Describer::new();
    // A process that has ended since leaves its number.
    let describe = |pid| describer.describe(pid).unwrap_or(Owner { pid, ..Owner::default() });
    Holdings { holders, owners: pids.into_iter().map(describe).collect() }
}

/// A socket with an inode and without a visible holder has one all the same.
fn note_hidden(sockets: &[Socket], gaps: &mut Vec<Gap>) {
    let hidden = sockets.iter().filter(|socket| socket.owner_state == OwnerState::Hidden).count();
    if hidden > 0 && gaps.is_empty() {
        let detail = format!(
            "the holders of {hidden} sockets are not in /proc: the kernel itself, a process of another pid namespace, \
             or one that closed the socket meanwhile"
        );
        gaps.push(Gap::new("owners", GapReason::Unsupported, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_every_descriptor_once() {
        let shares = shares(&[(7, 2 * SHARE + 1), (8, 5 * SHARE)]);
        for pid in [7, 8] {
            let mut ranges: Vec<_> = shares.iter().filter(|s| s.0 == pid).map(|s| s.1.clone()).collect();
            ranges.sort_by_key(|range| range.start);
            assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, u32::MAX));
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
        assert_eq!(shares.iter().map(|share| share.0).take(4).collect::<Vec<_>>(), [7, 8, 7, 8]);
    }
}
