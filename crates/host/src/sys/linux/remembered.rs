//! Who held which socket at the last look, for whoever looks again and again: a process with many descriptors is not
//! searched anew as long as it has as many as before and all its sockets are still there.
//!
//! Likewise bound sockets, for which the kernel goes through all of its own once more, are not looked for with each look
//! as long as there are none.
//!
//! Leaves out on purpose: who else got hold of a socket that is known (through fork() or SCM_RIGHTS) since the last
//! search of everything, which is at most [`LASTS`] ago. A new socket whose holder had closed something else meanwhile
//! is found with the next look.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use portolan_core::snapshot::Gap;

use super::owners::Indexes;
use super::walk::{Found, Searched, Walk, locked};
use crate::Namespace;

/// After this long everything is searched anew.
const LASTS: Duration = Duration::from_secs(60);

/// Where there were no bound sockets, they are looked for after this long: five looks of six go without, every 5 s.
const NO_BOUND_LASTS: Duration = Duration::from_secs(29);

/// Whether bound sockets of that namespace are to be looked for.
pub(super) fn wants_bound(namespace: &Namespace) -> bool {
    let none = locked(&NO_BOUND);
    none.as_ref().is_none_or(|(of, since)| of != namespace || since.elapsed() >= NO_BOUND_LASTS)
}

/// Notes whether there were any.
pub(super) fn note_bound(namespace: &Namespace, any: bool) {
    *locked(&NO_BOUND) = (!any).then(|| (namespace.clone(), Instant::now()));
}

static NO_BOUND: Mutex<Option<(Namespace, Instant)>> = Mutex::new(None);

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

/// Who holds the listed sockets, each with the index of its socket; `listed` has these by their inodes.
pub(super) fn holders(listed: &Indexes, gaps: &mut Vec<Gap>) -> io::Result<Vec<(u32, Found)>> {
    static MEMORY: Mutex<Option<Memory>> = Mutex::new(None);
    let mut kept = locked(&MEMORY);
    let mut memory = kept.take().unwrap_or_default();
    if memory.whole.is_none_or(|whole| whole.elapsed() >= LASTS) {
        memory = Memory::default();
    }
    let mut found = memory.compare(listed);
    if !found.missing.is_empty() || memory.whole.is_none() {
        memory.search(&found)?;
        found = memory.compare(listed);
    }
    gaps.extend(memory.gaps.iter().cloned());
    *kept = Some(memory);
    Ok(found.holders)
}

/// What the memory says of the listed sockets.
#[derive(Debug, Default)]
struct Compared {
    holders: Vec<(u32, Found)>,
    /// Processes that had a listed socket which is not listed any more.
    lost: HashSet<u32>,
    /// Listed sockets without a known holder.
    missing: HashSet<u32>,
}

impl Memory {
    fn compare(&mut self, listed: &Indexes) -> Compared {
        let mut compared = Compared { holders: Vec::with_capacity(self.held.len()), ..Compared::default() };
        let mut has_holder = vec![false; listed.len()];
        for (found, was_listed) in &mut self.held {
            let index = listed.get(&found.inode).copied();
            if let Some(index) = index {
                compared.holders.push((index, *found));
                if let Some(has_holder) = has_holder.get_mut(index as usize) {
                    *has_holder = true;
                }
            } else if *was_listed {
                compared.lost.insert(found.pid);
            }
            *was_listed = index.is_some();
        }
        let is_missing = |index: u32| !has_holder.get(index as usize).is_some_and(|has_holder| *has_holder);
        compared.missing =
            listed.iter().filter(|(_, index)| is_missing(**index)).map(|(inode, _)| *inode).collect();
        compared
    }

    /// Searches the processes that changed, and all of them where that did not find a socket at the last look either.
    fn search(&mut self, compared: &Compared) -> io::Result<()> {
        let mut unchanged = std::mem::take(&mut self.counts);
        unchanged.retain(|pid, _| !compared.lost.contains(pid));
        let is_stuck = |inode| self.waiting.contains(inode) && !self.given_up.contains(inode);
        if compared.missing.iter().any(is_stuck) {
            unchanged.clear();
        }
        let is_whole = unchanged.is_empty();
        let mut walk = Walk::but_for(unchanged)?;
        walk.run(&[], &[]);
        self.gaps.clear();
        let Searched { found, counts, unchanged } = walk.end_with_counts(&mut self.gaps);
        self.held.retain(|(found, _)| unchanged.contains(&found.pid));
        self.counts = counts;
        self.waiting.clone_from(&compared.missing);
        for found in found {
            self.waiting.remove(&found.inode);
            self.held.push((found, false));
        }
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

    use portolan_testbed::Held;

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
        let namespace = portolan_testbed::Namespace::new();
        let held = Held::new(&namespace, "tcp-listen 127.0.0.1:0 --count 100");
        // Where no process but the searched one has many descriptors, each search is one of everything.
        let _other = Held::new(&namespace, "tcp-listen 127.0.0.1:0 --count 100");
        let mut memory = Memory::default();
        let missing = |inode| Compared { missing: HashSet::from([inode]), ..Compared::default() };
        memory.search(&Compared::default()).unwrap();
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
        memory.search(&missing(2)).unwrap();
        assert_eq!(pids(&memory, 1), [held.pid()]);
        assert_eq!(memory.waiting, HashSet::from([2]));
        let listed: Indexes = [(own[0], 0)].into_iter().collect();
        assert_eq!(memory.compare(&listed).lost, HashSet::new());
        let lost = memory.compare(&Indexes::default()).lost;
        assert_eq!(lost, HashSet::from([held.pid()]));
        memory.search(&Compared { lost, ..missing(3) }).unwrap();
        assert_eq!(pids(&memory, 1), [0; 0], "a listed socket is gone: its holder is searched anew");
        assert_eq!(pids(&memory, own[0]), [held.pid()]);
        // The same one is missing once more: everything is searched, and never again for its sake.
        memory.held.push((mark, false));
        memory.search(&missing(3)).unwrap();
        assert_eq!((pids(&memory, 1), &memory.given_up), (Vec::new(), &HashSet::from([3])));
        memory.held.push((mark, false));
        memory.search(&missing(3)).unwrap();
        assert_eq!(pids(&memory, 1), [held.pid()]);
        // More descriptors than before.
        *memory.counts.get_mut(&held.pid()).unwrap() -= 1;
        memory.search(&missing(4)).unwrap();
        assert_eq!(pids(&memory, 1), [0; 0]);
    }

    #[test]
    fn bound_sockets_are_looked_for_again_while_there_are_any_and_in_another_namespace() {
        let (own, other) = (Namespace::Own, Namespace::Of(1));
        note_bound(&own, true);
        assert!(wants_bound(&own));
        note_bound(&own, false);
        assert!(!wants_bound(&own) && wants_bound(&other));
        *locked(&NO_BOUND) = Instant::now().checked_sub(NO_BOUND_LASTS).map(|since| (own.clone(), since));
        assert!(wants_bound(&own));
    }

    #[test]
    fn who_opened_a_socket_since_is_found_and_who_closed_one_is_forgotten() {
        let namespace = portolan_testbed::Namespace::new();
        let bind = || namespace.run(|| UdpSocket::bind("127.0.0.1:0").unwrap());
        let (first, second) = (bind(), bind());
        let look = |sockets: &[&UdpSocket]| {
            let inodes: HashSet<u32> = sockets.iter().map(|socket| inode(socket)).collect();
            let indexes: Indexes = inodes.iter().copied().zip(0..).collect();
            let found = holders(&indexes, &mut Vec::new()).unwrap();
            assert!(found.iter().all(|(index, found)| indexes[&found.inode] == *index));
            let pid = std::process::id();
            let own = found.iter().filter(|(_, found)| found.pid == pid).map(|(_, found)| found.inode);
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
