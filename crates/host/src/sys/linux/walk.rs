//! One pass over the descriptors of every visible process, shared among threads: which of them are sockets.
//!
//! Leaves out on purpose: threads with a descriptor table of their own (unshare(CLONE_FILES) in a thread), sockets
//! on their way through a unix socket (SCM_RIGHTS), sockets that io_uring alone holds.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::{fs, thread};

use portolan_core::kernel::proc_fd;
use portolan_core::owner::Origin;
use portolan_core::snapshot::{Gap, GapReason};
use portolan_core::socket::Socket;

use super::descriptors::{Descriptors, Unreadable};
use super::file_iterator::FileIterator;
use crate::OwnerSearch;

/// More threads than this do not help: they wait for each other in the kernel.
const MOST_THREADS: usize = 8;
/// Where links are read, a process is shared out among the threads, so many descriptors at a time.
const SHARE: u32 = 1024;
/// A process with as many descriptors is put off until it is known whether the iterator is worth its start.
const MANY: u32 = 64;
/// With as many descriptors in such processes, to load the iterator (some 8 ms) takes less than it saves.
const WORTH_ITERATING: u64 = 16 * 1024;
/// How many of their lowest descriptors are searched first, where one holder is enough.
const LOW: u32 = 64;

/// Every process that /proc shows.
fn processes() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        pids.extend(proc_fd::number(entry?.file_name().as_encoded_bytes()));
    }
    Ok(pids)
}

/// A process, or a range of its descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Share {
    /// With how many descriptors it had.
    Whole(u32, u32),
    Part(u32, Range<u32>),
}

/// A descriptor that refers to the socket with that inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) inode: u32,
    pub(super) pid: u32,
    pub(super) descriptor: u32,
}

/// What came of a walk that left processes out.
pub(super) struct Searched {
    pub(super) found: Vec<Found>,
    pub(super) counts: HashMap<u32, u32>,
    pub(super) unchanged: HashSet<u32>,
}

/// One pass over the processes, which any number of threads do together.
pub(super) struct Walk {
    /// Inodes of the wanted sockets; none for all, when it is not known yet which there are.
    wanted: Option<HashSet<u32>>,
    /// The wanted inodes that are still to be found, where one holder of each is enough.
    outstanding: Option<Mutex<HashSet<u32>>>,
    done: AtomicBool,
    pids: Vec<u32>,
    /// Index of the process that is next.
    next: AtomicUsize,
    /// How many threads may still add shares.
    visiting: AtomicUsize,
    /// What is left to do of processes with many descriptors.
    shares: Mutex<Vec<Share>>,
    /// Descriptors of the processes that have many, so far.
    many: AtomicU64,
    found: Mutex<Vec<Found>>,
    /// Processes with many descriptors that are left out as long as they have so many.
    unchanged: HashMap<u32, u32>,
    /// How many descriptors the processes have that have many.
    counts: Mutex<HashMap<u32, u32>>,
    unreadable: Mutex<Vec<(u32, Unreadable)>>,
}

impl Walk {
    /// A walk that looks for the holders of those inodes; without them, of every socket.
    pub(super) fn new(wanted: Option<HashSet<u32>>, search: OwnerSearch) -> io::Result<Self> {
        let first = search == OwnerSearch::First;
        let outstanding = wanted.clone().filter(|_| first).map(Mutex::new);
        Ok(Self {
            wanted,
            outstanding,
            done: AtomicBool::new(false),
            pids: processes()?,
            next: AtomicUsize::new(0),
            visiting: AtomicUsize::new(0),
            shares: Mutex::default(),
            many: AtomicU64::new(0),
            found: Mutex::default(),
            unchanged: HashMap::new(),
            counts: Mutex::default(),
            unreadable: Mutex::default(),
        })
    }

    /// A walk that can begin before the sockets are known, where all of them are wanted anyway.
    pub(super) fn ahead() -> Option<Self> {
        Self::new(None, OwnerSearch::All).ok()
    }

    /// A walk for the holders of every socket that leaves these processes out, as long as they have so many descriptors.
    pub(super) fn but_for(unchanged: HashMap<u32, u32>) -> io::Result<Self> {
        Ok(Self { unchanged, ..Self::new(None, OwnerSearch::All)? })
    }

    fn wants(&self, inode: u32) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&inode))
    }

    /// How many threads help.
    pub(super) fn threads() -> usize {
        thread::available_parallelism().map_or(1, |n| n.get().min(MOST_THREADS))
    }

    /// Does all of it, likely holders of these sockets first where one holder is enough.
    pub(super) fn run(&mut self, sockets: &[Socket], origins: &[Origin]) {
        if self.outstanding.is_some() {
            let likely = likely_first(&mut self.pids, sockets, origins);
            let mut found = Vec::new();
            for pid in self.pids.iter().take(likely) {
                self.search(*pid, 0..LOW, &mut found);
            }
            locked(&self.found).append(&mut found);
        }
        thread::scope(|scope| {
            for _ in 1..Self::threads().min(self.pids.len()) {
                scope.spawn(|| self.work());
            }
            self.work();
        });
    }

    /// Does a part of the work, until none is left to take.
    pub(super) fn work(&self) {
        let mut found = Vec::new();
        self.visiting.fetch_add(1, Ordering::SeqCst);
        while !self.is_done()
            && let Some(pid) = self.pids.get(self.next.fetch_add(1, Ordering::Relaxed))
        {
            self.visit(*pid, &mut found);
        }
        self.visiting.fetch_sub(1, Ordering::SeqCst);
        while !self.is_done() {
            // Read before the shares: whoever is not visiting any more has added all of its shares.
            let visiting = self.visiting.load(Ordering::SeqCst);
            match self.next_share() {
                Some(Share::Whole(pid, _)) => self.iterate(pid, &mut found),
                Some(Share::Part(pid, range)) => self.search(pid, range, &mut found),
                None if visiting > 0 => thread::yield_now(),
                None => break,
            }
        }
        locked(&self.found).append(&mut found);
    }

    /// What is next of the processes that were put off: all of one where the iterator is there for it, else a part.
    fn next_share(&self) -> Option<Share> {
        let mut shares = locked(&self.shares);
        if let Some(Share::Whole(pid, count)) = shares.last()
            && self.iterator().is_none()
        {
            let parts = parts(*pid, *count);
            shares.pop();
            shares.extend(parts);
        }
        shares.pop()
    }

    /// What was found, and what could not be read.
    pub(super) fn end(self, gaps: &mut Vec<Gap>) -> Vec<Found> {
        self.note_unreadable(gaps);
        let mut found = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        if self.outstanding.is_some() {
            // Low descriptors of likely holders were searched twice.
            found.sort_unstable();
            found.dedup();
        }
        found
    }

    /// What was found, how many descriptors processes with many have, and which of these were left out.
    pub(super) fn end_with_counts(mut self, gaps: &mut Vec<Gap>) -> Searched {
        let counts = std::mem::take(&mut self.counts).into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut unchanged = std::mem::take(&mut self.unchanged);
        unchanged.retain(|pid, count| counts.get(pid) == Some(count));
        Searched { found: self.end(gaps), counts, unchanged: unchanged.into_keys().collect() }
    }

    /// The faster way into processes with many descriptors, where it is worth its start and may be had.
    fn iterator(&self) -> Option<&FileIterator> {
        // Loaded once, however often a program looks.
        static ITERATOR: OnceLock<Option<FileIterator>> = OnceLock::new();
        if self.outstanding.is_some() {
            return None;
        }
        match self.many.load(Ordering::Relaxed) < WORTH_ITERATING {
            true => ITERATOR.get()?.as_ref(),
            false => ITERATOR.get_or_init(FileIterator::load).as_ref(),
        }
    }

    /// Searches a process by the iterator, and where that fails by its links.
    fn iterate(&self, pid: u32, found: &mut Vec<Found>) {
        let before = found.len();
        let keep = |descriptor, inode| {
            if self.wants(inode) {
                found.push(Found { inode, pid, descriptor });
            }
        };
        if self.iterator().is_none_or(|iterator| iterator.sockets(pid, keep).is_err()) {
            found.truncate(before);
            self.search(pid, 0..u32::MAX, found);
        }
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// Searches a process, or puts it off to be shared out.
    fn visit(&self, pid: u32, found: &mut Vec<Found>) {
        match Descriptors::of(pid) {
            Ok(descriptors) => {
                let count = descriptors.count();
                if count >= MANY {
                    locked(&self.counts).insert(pid, count);
                    if self.unchanged.get(&pid) == Some(&count) {
                        return;
                    }
                    self.many.fetch_add(count.into(), Ordering::Relaxed);
                    locked(&self.shares).push(Share::Whole(pid, count));
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
            if self.wants(inode) {
                found.push(Found { inode, pid, descriptor });
                if let Some(outstanding) = &self.outstanding {
                    let mut outstanding = locked(outstanding);
                    outstanding.remove(&inode);
                    if outstanding.is_empty() {
                        self.done.store(true, Ordering::Relaxed);
                        return ControlFlow::Break(());
                    }
                }
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
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_kernel_thread(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/stat")).is_ok_and(|stat| proc_fd::is_kernel_thread(&stat))
}

/// The shares of a process; the last one has no end, since descriptors may be sparse.
fn parts(pid: u32, count: u32) -> Vec<Share> {
    let shares = (count / SHARE).max(1);
    let end = |share| if share + 1 == shares { u32::MAX } else { (share + 1) * SHARE };
    (0..shares).map(|share| Share::Part(pid, share * SHARE..end(share))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_every_descriptor_once() {
        for count in [MANY, 2 * SHARE + 1, 5 * SHARE] {
            let parts = parts(7, count);
            let ranges: Vec<_> = parts
                .iter()
                .map(|share| match share {
                    Share::Part(7, range) => range.clone(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(ranges.len(), (count / SHARE).max(1) as usize);
            assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, u32::MAX));
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }
}
