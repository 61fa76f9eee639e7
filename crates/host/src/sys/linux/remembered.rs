//! Who held which socket at the last look, for whoever looks again and again: a process with many descriptors is not
//! searched anew as long as it has as many as before and all its sockets are still there.
//!
//! Leaves out on purpose: who else got hold of a socket that is known (through fork() or SCM_RIGHTS) since the last
//! search of everything, which is at most [`LASTS`] ago. A new socket whose holder had closed something else meanwhile
//! is found with the next look.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use portolan_core::snapshot::Gap;

use super::walk::{Found, Searched, Walk, locked};

/// After this long everything is searched anew.
const LASTS: Duration = Duration::from_secs(60);

/// What the last look found.
#[derive(Debug, Default)]
struct Memory {
    /// When everything was searched last.
    whole: Option<Instant>,
    /// Every socket of every process, with whether it was listed at the last look.
    held: Vec<(Found, bool)>,
    /// How many descriptors the processes had that have many.
    counts: HashMap<u32, u32>,
    /// Listed sockets whose holder was not found at the last look.
    waiting: HashSet<u32>,
    /// Listed sockets whose holder a search of everything did not find: it is not repeated for them.
    given_up: HashSet<u32>,
    /// What the last search could not read.
    gaps: Vec<Gap>,
}

/// The holders of the listed sockets, and of others. `is_listed` tells whether a socket is; `inodes` are the listed ones.
pub(super) fn holders(
    inodes: impl Iterator<Item = u32>,
    is_listed: impl Fn(u32) -> bool,
    gaps: &mut Vec<Gap>,
) -> io::Result<Vec<Found>> {
    static MEMORY: Mutex<Option<Memory>> = Mutex::new(None);
    let mut kept = locked(&MEMORY);
    let mut memory = kept.take().unwrap_or_default();
    if memory.whole.is_none_or(|whole| whole.elapsed() >= LASTS) {
        memory = Memory::default();
    }
    let known: HashSet<u32> = memory.held.iter().map(|(found, _)| found.inode).collect();
    let missing: HashSet<u32> = inodes.filter(|inode| !known.contains(inode)).collect();
    if !missing.is_empty() || memory.whole.is_none() {
        memory.search(&missing, &is_listed)?;
    }
    gaps.extend(memory.gaps.iter().cloned());
    for (found, listed) in &mut memory.held {
        *listed = is_listed(found.inode);
    }
    let found = memory.held.iter().filter(|(_, listed)| *listed).map(|(found, _)| *found).collect();
    *kept = Some(memory);
    Ok(found)
}

impl Memory {
    /// Searches the processes that changed, and all of them where that did not find a socket at the last look either.
    fn search(&mut self, missing: &HashSet<u32>, is_listed: impl Fn(u32) -> bool) -> io::Result<()> {
        let mut unchanged = std::mem::take(&mut self.counts);
        for (found, listed) in &self.held {
            if *listed && !is_listed(found.inode) {
                unchanged.remove(&found.pid);
            }
        }
        let is_stuck =
            missing.iter().any(|inode| self.waiting.contains(inode) && !self.given_up.contains(inode));
        if is_stuck {
            unchanged.clear();
        }
        let is_whole = unchanged.is_empty();
        let mut walk = Walk::but_for(unchanged)?;
        walk.run(&[], &[]);
        self.gaps.clear();
        let Searched { found, counts, unchanged } = walk.end_with_counts(&mut self.gaps);
        self.held.retain(|(found, _)| unchanged.contains(&found.pid));
        self.held.extend(found.into_iter().map(|found| (found, false)));
        self.counts = counts;
        let found: HashSet<u32> = self.held.iter().map(|(found, _)| found.inode).collect();
        self.waiting = missing.difference(&found).copied().collect();
        if is_whole {
            self.whole = Some(Instant::now());
            self.given_up = self.waiting.clone();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    use portolan_testbed::{Held, Namespace};

    use super::*;

    fn inode(socket: &UdpSocket) -> u32 {
        let file = std::fs::File::from(socket.as_fd().try_clone_to_owned().unwrap());
        file.metadata().unwrap().ino().try_into().unwrap()
    }

    fn pids(memory: &Memory, inode: u32) -> Vec<u32> {
        memory.held.iter().filter(|(found, _)| found.inode == inode).map(|(found, _)| found.pid).collect()
    }

    #[test]
    fn a_process_is_searched_anew_once_it_has_other_descriptors_or_lost_a_listed_socket() {
        let namespace = Namespace::new();
        let held = Held::new(&namespace, "tcp-listen 127.0.0.1:0 --count 100");
        let mut memory = Memory::default();
        memory.search(&HashSet::new(), |_| true).unwrap();
        assert!(memory.whole.is_some());
        let own: Vec<u32> = memory
            .held
            .iter()
            .filter(|(found, _)| found.pid == held.pid())
            .map(|(found, _)| found.inode)
            .collect();
        assert!(own.len() >= 100 && memory.counts[&held.pid()] >= 100, "{own:?}");
        // What stands in the memory alone tells whether it was searched again.
        let mark = Found { inode: 1, pid: held.pid(), descriptor: 1 };
        memory.held.push((mark, false));
        memory.search(&HashSet::from([2]), |_| true).unwrap();
        assert_eq!(pids(&memory, 1), [held.pid()]);
        assert_eq!(memory.waiting, HashSet::from([2]));
        memory.held.iter_mut().for_each(|(found, listed)| *listed = found.inode == own[0]);
        memory.search(&HashSet::from([3]), |inode| inode != own[0]).unwrap();
        assert_eq!(pids(&memory, 1), [0; 0], "a listed socket is gone: its holder is searched anew");
        assert_eq!(pids(&memory, own[0]), [held.pid()]);
        // The same one is missing once more: everything is searched, and never again for its sake.
        memory.held.push((mark, false));
        memory.search(&HashSet::from([3]), |_| true).unwrap();
        assert_eq!((pids(&memory, 1), &memory.given_up), (Vec::new(), &HashSet::from([3])));
        memory.held.push((mark, false));
        memory.search(&HashSet::from([3]), |_| true).unwrap();
        assert_eq!(pids(&memory, 1), [held.pid()]);
        // More descriptors than before.
        *memory.counts.get_mut(&held.pid()).unwrap() -= 1;
        memory.search(&HashSet::from([4]), |_| true).unwrap();
        assert_eq!(pids(&memory, 1), [0; 0]);
    }

    #[test]
    fn who_opened_a_socket_since_is_found_and_who_closed_one_is_forgotten() {
        let namespace = Namespace::new();
        let bind = || namespace.run(|| UdpSocket::bind("127.0.0.1:0").unwrap());
        let (first, second) = (bind(), bind());
        let look = |sockets: &[&UdpSocket]| {
            let inodes: HashSet<u32> = sockets.iter().map(|socket| inode(socket)).collect();
            let found =
                holders(inodes.iter().copied(), |inode| inodes.contains(&inode), &mut Vec::new()).unwrap();
            let pid = std::process::id();
            let own = found.iter().filter(|found| found.pid == pid).map(|found| found.inode);
            // A test beside this one may hold a copy for a moment.
            let own: HashSet<u32> = own.collect();
            own == inodes
        };
        assert!(look(&[&first, &second]));
        let third = bind();
        assert!(look(&[&first, &second, &third]));
        drop(second);
        let fourth = bind();
        // At the latest with the second look, whatever else this process opens and closes meanwhile.
        look(&[&first, &third, &fourth]);
        assert!(look(&[&first, &third, &fourth]));
    }
}
