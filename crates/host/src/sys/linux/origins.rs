//! Where sockets come from: user, cgroup and interface, each combination once for all its sockets.

use std::collections::HashMap;

use portolan_core::owner::Origin;

use super::netlink::SockDiag;
use super::process::Describer;

/// What many sockets have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// User id.
    pub uid: Option<u32>,
    /// cgroup v2 id.
    pub cgroup: Option<u64>,
    /// Index of the interface, 0 for none.
    pub interface: u32,
}

/// Each origin once, by its index.
#[derive(Default)]
pub(super) struct Origins {
    keys: Vec<Key>,
    indexes: HashMap<Key, u32>,
    last: Option<(Key, u32)>,
}

impl Origins {
    /// The index of an origin, new or known.
    pub(super) fn index(&mut self, key: Key) -> u32 {
        // Neighbours in the list mostly have one origin.
        if let Some((last, index)) = self.last
            && last == key
        {
            return index;
        }
        let next = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        let index = *self.indexes.entry(key).or_insert(next);
        if index == next {
            self.keys.push(key);
        }
        self.last = Some((key, index));
        index
    }

    /// The indexes that the origins of `other` have here, in their order.
    pub(super) fn merge(&mut self, other: &Self) -> Vec<u32> {
        other.keys.iter().map(|key| self.index(*key)).collect()
    }

    /// Names cgroups and, through any socket of the namespace, interfaces.
    pub(super) fn describe(self, interfaces: Option<&SockDiag>) -> Vec<Origin> {
        let mut describer = Describer::new();
        let describe = |key: Key| {
            let (cgroup, unit, container) = key.cgroup.map_or((None, None, None), |id| describer.origin(id));
            let interface = interfaces.filter(|_| key.interface != 0).map(|socket| {
                rustix::net::netdevice::index_to_name(socket, key.interface)
                    .unwrap_or_else(|_| format!("#{}", key.interface))
            });
            Origin { uid: key.uid, cgroup, unit, container, interface }
        };
        self.keys.into_iter().map(describe).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_stands_once() {
        let mut origins = Origins::default();
        let (a, b) = (
            Key { uid: None, cgroup: None, interface: 0 },
            Key { uid: Some(0), cgroup: Some(1), interface: 0 },
        );
        assert_eq!([a, b, b, a, b].map(|key| origins.index(key)), [0, 1, 1, 0, 1]);
        assert_eq!(origins.keys.len(), 2);
        let mut others = Origins::default();
        others.index(b);
        assert_eq!(origins.merge(&others), [1]);
    }
}
