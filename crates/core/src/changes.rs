//! Changes: what opened, closed or came to another state between two looks at one host.
//!
//! Source: Linux gives each socket of a process an inode of its own, and none to what no process has yet or any more
//! (SYN_RECEIVED, orphans, TIME_WAIT); Windows gives none at all. Left out: what opened and closed between the looks,
//! which neither of them saw.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use crate::owner::Holder;
use crate::snapshot::{GapReason, Snapshot};
use crate::socket::{OwnerState, Socket};

/// What changed, as indexes into the sockets of the two looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In the later look, and not in the earlier one.
    pub opened: Vec<u32>,
    /// In the earlier look, and not in the later one.
    pub closed: Vec<u32>,
    /// In both (earlier, later), in another state or with other ends.
    pub changed: Vec<(u32, u32)>,
}

/// What two looks tell together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// What changed between them.
    Changes(Changes),
    /// The later look was interrupted: what it lacks may be there. A later one is to be held against the same earlier.
    Interrupted,
    /// They did not see the same parts of the host: the later one is where to begin anew.
    Anew,
}

/// Holds a look against an earlier one.
pub fn between(earlier: &Snapshot, now: &Snapshot) -> Comparison {
    if is_interrupted(earlier) {
        Comparison::Anew
    } else if is_interrupted(now) {
        Comparison::Interrupted
    } else if lacking(earlier) != lacking(now) {
        Comparison::Anew
    } else {
        Comparison::Changes(paired(&earlier.sockets, &now.sockets))
    }
}

/// Gives sockets whose owners a look did not see those that they had in the earlier one: a process that ends lets go of
/// its descriptors a little before its sockets close. `kept` has the inodes of sockets to which that has just been done;
/// it is done once to each, since what stays open longer may be held by somebody who cannot be seen.
pub fn keep_owners(earlier: &Snapshot, now: &mut Snapshot, kept: &mut HashSet<u32>) {
    let before = std::mem::take(kept);
    let lacks = |socket: &Socket| {
        let inode = socket.inode;
        inode != 0 && socket.owner_state == OwnerState::Hidden && !before.contains(&inode)
    };
    let lacking: HashSet<u32> = now.sockets.iter().filter(|s| lacks(s)).map(|s| s.inode).collect();
    let had = earlier.sockets.iter().filter(|s| s.holder_count > 0 && lacking.contains(&s.inode));
    let had: HashMap<u32, &Socket> = had.map(|socket| (socket.inode, socket)).collect();
    for socket in now.sockets.iter_mut().filter(|socket| lacks(socket)) {
        let Some(then) = had.get(&socket.inode) else { continue };
        let first = now.holders.len();
        for holder in earlier.holders_of(then) {
            let Some(owner) = earlier.owners.get(holder.owner as usize) else { continue };
            let known =
                now.owners.iter().position(|o| (o.pid, o.started_ms) == (owner.pid, owner.started_ms));
            let place = known.unwrap_or(now.owners.len());
            if known.is_none() {
                now.owners.push(owner.clone());
            }
            now.holders.push(Holder { owner: u32::try_from(place).unwrap_or(u32::MAX), ..*holder });
        }
        socket.first_holder = u32::try_from(first).unwrap_or(u32::MAX);
        socket.holder_count = u16::try_from(now.holders.len() - first).unwrap_or(u16::MAX);
        socket.owner_state = then.owner_state;
        kept.insert(socket.inode);
    }
}

/// Gaps that concern sockets themselves and not who holds them.
fn lacking(snapshot: &Snapshot) -> BTreeSet<&str> {
    snapshot.gaps.iter().filter(|gap| gap.what != "owners").map(|gap| gap.what.as_str()).collect()
}

fn is_interrupted(snapshot: &Snapshot) -> bool {
    snapshot.gaps.iter().any(|gap| gap.what != "owners" && gap.reason == GapReason::Changed)
}

/// Pairs the same sockets of both, the surest likeness first; what is left alone has opened or closed.
fn paired(earlier: &[Socket], now: &[Socket]) -> Changes {
    let mut pairing = Pairing {
        then: (0..).zip(earlier).map(|(index, _)| index).collect(),
        now: (0..).zip(now).map(|(index, _)| index).collect(),
        changed: Vec::new(),
    };
    let any = |_: &Socket, _: &Socket| true;
    pairing.pair(earlier, now, |s| Some((s.transport, s.inode, s.state, s.local(), s.remote())), any);
    pairing.pair(earlier, now, |s| Some((s.transport, s.inode, s.local(), s.remote())), any);
    // The kernel gives an inode anew only after 2^32 others: the same one is the same socket.
    pairing.pair(earlier, now, |s| (s.inode != 0).then_some((s.transport, s.inode)), any);
    // A connection comes to its inode with accept(), and loses it with close().
    let ends = |s: &Socket| (s.remote_port != 0).then(|| (s.transport, s.local(), s.remote()));
    pairing.pair(earlier, now, ends, |then, now| (then.inode == 0) != (now.inode == 0));
    pairing.changed.sort_unstable_by_key(|(_, later)| *later);
    Changes { opened: pairing.now, closed: pairing.then, changed: pairing.changed }
}

/// Sockets that have no partner yet, and those found in another state.
struct Pairing {
    then: Vec<u32>,
    now: Vec<u32>,
    changed: Vec<(u32, u32)>,
}

impl Pairing {
    /// Pairs sockets of the same key that fit together, those alike in their order.
    fn pair<K: Eq + Hash>(
        &mut self,
        earlier: &[Socket],
        now: &[Socket],
        key: impl Fn(&Socket) -> Option<K>,
        fits: impl Fn(&Socket, &Socket) -> bool,
    ) {
        let mut places: HashMap<K, Vec<u32>> = HashMap::new();
        for index in self.then.iter().rev() {
            if let Some(key) = earlier.get(*index as usize).and_then(&key) {
                places.entry(key).or_default().push(*index);
            }
        }
        let mut gone = BTreeSet::new();
        let mut left = Vec::new();
        for later in std::mem::take(&mut self.now) {
            let Some(socket) = now.get(later as usize) else { continue };
            let partner = key(socket).and_then(|key| {
                let candidates = places.get_mut(&key)?;
                let place = candidates.iter().rposition(|index| fits(&earlier[*index as usize], socket))?;
                Some(candidates.remove(place))
            });
            let Some(partner) = partner else {
                left.push(later);
                continue;
            };
            gone.insert(partner);
            let before = &earlier[partner as usize];
            let is_same = (before.state, before.local(), before.remote())
                == (socket.state, socket.local(), socket.remote());
            if !is_same {
                self.changed.push((partner, later));
            }
        }
        self.now = left;
        self.then.retain(|index| !gone.contains(index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::Owner;
    use crate::snapshot::Gap;
    use crate::socket::{State, Transport};

    fn socket(state: State, local: &str, remote: &str, inode: u32) -> Socket {
        let [local, remote] = [local, remote].map(|text| text.parse().unwrap());
        let mut socket = Socket::new(Transport::Tcp, state, local, remote);
        socket.inode = inode;
        socket
    }

    const NOBODY: &str = "0.0.0.0:0";
    const PEER: &str = "10.0.0.9:5000";
    const HERE: &str = "10.0.0.1:80";

    fn changes(earlier: &[Socket], now: &[Socket]) -> (Vec<u32>, Vec<u32>, Vec<(u32, u32)>) {
        let Changes { opened, closed, changed } = paired(earlier, now);
        (opened, closed, changed)
    }

    #[test]
    fn what_is_in_one_look_alone_has_opened_or_closed() {
        let stays = socket(State::Listen, HERE, NOBODY, 7);
        let goes = socket(State::Listen, "0.0.0.0:81", NOBODY, 8);
        let comes = socket(State::Established, HERE, PEER, 9);
        assert_eq!(changes(&[goes, stays], &[stays, comes]), (vec![1], vec![0], vec![]));
        assert_eq!(changes(&[stays], &[stays]), (vec![], vec![], vec![]));
        assert_eq!(changes(&[], &[]), (vec![], vec![], vec![]));
    }

    #[test]
    fn a_new_state_is_a_change_and_neither_opened_nor_closed() {
        for (before, after) in [
            (socket(State::SynSent, HERE, PEER, 7), socket(State::Established, HERE, PEER, 7)),
            // accept() gives it its inode, close() takes it.
            (socket(State::SynReceived, HERE, PEER, 0), socket(State::Established, HERE, PEER, 7)),
            (socket(State::Established, HERE, PEER, 7), socket(State::TimeWait, HERE, PEER, 0)),
            (socket(State::FinWait2, HERE, PEER, 0), socket(State::TimeWait, HERE, PEER, 0)),
            // connect() chooses the local address.
            (socket(State::Bound, "0.0.0.0:80", NOBODY, 7), socket(State::SynSent, HERE, PEER, 7)),
        ] {
            assert_eq!(changes(&[before], &[after]), (vec![], vec![], vec![(0, 0)]), "{before:?}");
        }
    }

    #[test]
    fn another_socket_at_the_same_ends_is_another_one() {
        let first = socket(State::Established, HERE, PEER, 7);
        let second = socket(State::Established, HERE, PEER, 8);
        assert_eq!(changes(&[first], &[second]), (vec![0], vec![0], vec![]));
        let [first, second] = [7, 8].map(|inode| socket(State::Listen, HERE, NOBODY, inode));
        assert_eq!(changes(&[first], &[second]), (vec![0], vec![0], vec![]));
    }

    #[test]
    fn accept_alone_is_no_change() {
        let waiting = socket(State::Established, HERE, PEER, 0);
        let accepted = socket(State::Established, HERE, PEER, 7);
        assert_eq!(changes(&[waiting], &[accepted]), (vec![], vec![], vec![]));
    }

    #[test]
    fn sockets_that_are_alike_are_counted() {
        // Windows: no inodes, and several sockets may share one end.
        let alike = socket(State::Listen, HERE, NOBODY, 0);
        assert_eq!(changes(&[alike; 3], &[alike; 2]), (vec![], vec![2], vec![]));
        assert_eq!(changes(&[alike; 2], &[alike; 3]), (vec![2], vec![], vec![]));
    }

    #[test]
    fn a_socket_whose_process_is_just_ending_keeps_its_owner_for_one_look() {
        let owner = |pid| Owner { pid, started_ms: Some(1), ..Owner::default() };
        let look = |inode, owners: &[Owner], holder: Option<u32>| {
            let mut socket = socket(State::Listen, HERE, NOBODY, inode);
            socket.owner_state = if holder.is_some() { OwnerState::Seen } else { OwnerState::Hidden };
            socket.holder_count = u16::from(holder.is_some());
            let holders = holder.map(|owner| Holder { owner, descriptor: 3 }).into_iter().collect();
            Snapshot { sockets: vec![socket], owners: owners.to_vec(), holders, ..Snapshot::default() }
        };
        let pids = |seen: &Snapshot| -> Vec<u32> {
            seen.owners_of(&seen.sockets[0]).iter().map(|owner| owner.pid).collect()
        };
        let mut kept = HashSet::new();
        let earlier = look(7, &[owner(10), owner(11)], Some(1));
        let mut ending = look(7, &[owner(10)], None);
        keep_owners(&earlier, &mut ending, &mut kept);
        assert_eq!((pids(&ending), ending.sockets[0].owner_state), (vec![11], OwnerState::Seen));
        // It stayed: somebody holds it who is not seen.
        let mut later = look(7, &[], None);
        keep_owners(&ending, &mut later, &mut kept);
        assert_eq!((pids(&later), later.sockets[0].owner_state), (vec![], OwnerState::Hidden));
        // Another socket, or one whose owner is seen, is none of that.
        for (mut now, pid) in [(look(8, &[], None), vec![]), (look(7, &[owner(12)], Some(0)), vec![12])] {
            keep_owners(&earlier, &mut now, &mut kept);
            assert_eq!((pids(&now), kept.len()), (pid, 0));
        }
    }

    #[test]
    fn an_interrupted_look_closes_nothing() {
        let whole = Snapshot { sockets: vec![socket(State::Listen, HERE, NOBODY, 7)], ..Snapshot::default() };
        let gap =
            |what: &str, reason| Snapshot { gaps: vec![Gap::new(what, reason, "…")], ..whole.clone() };
        let empty = |look: Snapshot| Snapshot { sockets: Vec::new(), ..look };
        let interrupted = empty(gap("tcp ipv4 sockets", GapReason::Changed));
        assert_eq!(between(&whole, &interrupted), Comparison::Interrupted);
        assert_eq!(between(&interrupted, &whole), Comparison::Anew);
        // Another look, that may see less than the one before, or more.
        let less = gap("bound sockets", GapReason::Denied);
        assert_eq!(between(&whole, &empty(less.clone())), Comparison::Anew);
        assert_eq!(between(&less, &whole), Comparison::Anew);
        assert_eq!(between(&less, &less), Comparison::Changes(Changes::default()));
        // Who holds them is another matter.
        let unowned = gap("owners", GapReason::Changed);
        assert_eq!(between(&whole, &unowned), Comparison::Changes(Changes::default()));
    }
}
