//! Every socket of a network namespace: by NETLINK_SOCK_DIAG, and where that is refused (seccomp, gVisor, a missing
//! module) by /proc/net, with a gap that says what this source lacks.
//!
//! Leaves out on purpose: raw, unix, SCTP and MPTCP sockets (an MPTCP connection shows as its TCP subflows).

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::thread;

use portolan_core::kernel::inet_diag::{Query, Row, Table};
use portolan_core::kernel::proc_net;
use portolan_core::port::PortSet;
use portolan_core::snapshot::{Gap, GapReason, Reading};
use portolan_core::socket::{Family, Socket, State, Transport};
use portolan_core::wire::DecodeError;
use rustix::io::Errno;

use super::netlink::{Listed, Refusal, SockDiag};
use super::origins::{Key, Origins};
use super::walk::Walk;
use super::{kernel, namespace, owners, remembered, tcp_iterator};
use crate::sys::Sockets;
use crate::{Error, OwnerSearch, SocketFilter};

/// How often a list is asked for anew when it was interrupted.
const ATTEMPTS: u32 = 4;
/// The kernel that began to show bound sockets.
const SHOWS_BOUND: (u32, u32) = (6, 8);

/// The sockets that the filter lets through, and their holders.
pub(crate) fn read(
    namespace: &crate::Namespace,
    filter: &SocketFilter,
    search: OwnerSearch,
) -> Result<Reading<Sockets>, Error> {
    read_by(namespace, filter, search, Way::Rows)
}

/// All sockets, for whoever counts them: where the system allows it without queues, options, and timers but TIME_WAIT's,
/// and with the ports that were bound explicitly; none of these where they were not read.
pub(crate) fn count(namespace: &crate::Namespace, search: OwnerSearch) -> Result<Reading<Sockets>, Error> {
    read_by(namespace, &SocketFilter::default(), search, Way::Iterator)
}

/// How TCP sockets are listed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By rows of sock_diag.
    Rows,
    /// By the BPF iterator where there is one.
    Iterator,
}

fn read_by(
    namespace: &crate::Namespace,
    filter: &SocketFilter,
    search: OwnerSearch,
    way: Way,
) -> Result<Reading<Sockets>, Error> {
    // To list every TCP socket takes as long as to walk over all processes: both go on at once.
    let long = filter.transport != Some(Transport::Udp) && filter.local_ports.is_none();
    let ahead = if long && search == OwnerSearch::All { Walk::ahead() } else { None };
    let remembered = search == OwnerSearch::Remembered;
    let without_bound = remembered && !remembered::wants_bound(namespace);
    let (mut sockets, origins, burnt, mut gaps) = namespace::within(namespace, || {
        let mut reader = read_lists(filter, ahead.as_ref(), way, without_bound);
        if !reader.refused.is_empty() {
            reader.fall_back()?;
        }
        reader.note_missing_bound();
        let Reader { conversation, sockets, origins, burnt, gaps, .. } = reader;
        Ok((sockets, origins.describe(conversation.as_ref().ok()), burnt, gaps))
    })??;
    if remembered && !without_bound {
        remembered::note_bound(namespace, sockets.iter().any(|socket| socket.state == State::Bound));
    }
    let holdings = owners::find(&mut sockets, &origins, search, ahead).into_value(&mut gaps);
    Ok(Reading { value: Sockets { sockets, origins, burnt, holdings }, gaps })
}

/// Reads every list that the filter asks for. To find bound sockets the kernel goes through all TCP sockets once
/// more, which takes half as long as all the rest: that and UDP are read on a second thread. Who is done helps to walk.
fn read_lists<'a>(
    filter: &'a SocketFilter,
    ahead: Option<&Walk>,
    way: Way,
    without_bound: bool,
) -> Reader<'a> {
    let states: Vec<State> =
        State::ALL.into_iter().filter(|s| filter.states.is_empty() || filter.states.contains(s)).collect();
    let (bound, others): (Vec<_>, Vec<_>) = states.iter().partition(|state| **state == State::Bound);
    let tcp = filter.family.map_or(Table::Tcp, Table::TcpOf);
    let mut first = vec![(tcp, &others)];
    let mut second = if without_bound { Vec::new() } else { vec![(tcp, &bound)] };
    second.extend(Family::ALL.map(|family| (Table::UdpOf(family), &states)));
    for lists in [&mut first, &mut second] {
        lists.retain(|(table, states)| {
            filter.transport.is_none_or(|t| t == table.transport())
                && filter.family.is_none_or(|f| table.families().contains(&f))
                && Query { table: *table, states, local_ports: None }.encode(0).is_some()
        });
    }
    let lists = |lists: &[(Table, &Vec<State>)]| {
        let mut reader = Reader::new(filter);
        lists.iter().for_each(|(table, states)| reader.list_or_note(*table, states));
        reader
    };
    let first_lists = || {
        let mut reader = Reader::new(filter);
        if way == Way::Rows || !reader.iterate() {
            first.iter().for_each(|(table, states)| reader.list_or_note(*table, states));
        }
        reader
    };
    if ahead.is_none() && (first.is_empty() || second.is_empty()) {
        return lists(if first.is_empty() { &second } else { &first });
    }
    let help = || {
        if let Some(walk) = ahead {
            walk.work();
        }
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let reader = lists(&second);
            help();
            reader
        });
        if ahead.is_some() {
            for _ in 2..Walk::threads() {
                scope.spawn(help);
            }
        }
        let mut reader = first_lists();
        help();
        reader.merge(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        reader
    })
}

/// What /proc/net has a file of.
type Part = (Transport, Family);

fn parts(table: Table) -> impl Iterator<Item = Part> {
    table.families().iter().map(move |family| (table.transport(), *family))
}

/// What was read so far.
struct Reader<'a> {
    filter: &'a SocketFilter,
    conversation: Result<SockDiag, Errno>,
    sockets: Vec<Socket>,
    origins: Origins,
    burnt: Option<PortSet>,
    gaps: Vec<Gap>,
    /// Lists that the kernel did not give.
    refused: Vec<(Table, Refusal)>,
}

impl<'a> Reader<'a> {
    fn new(filter: &'a SocketFilter) -> Self {
        Self {
            filter,
            conversation: SockDiag::open(),
            sockets: Vec::new(),
            origins: Origins::default(),
            burnt: None,
            gaps: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn merge(&mut self, other: Self) {
        let indexes = self.origins.merge(&other.origins);
        let mut bound: HashSet<u32> =
            other.sockets.iter().filter(|s| s.state == State::Bound).map(|s| s.inode).collect();
        if !bound.is_empty() {
            // A socket that was connected between the two lists stands in both: the later state holds.
            let connected: HashSet<u32> = self.sockets.iter().map(|s| s.inode).collect();
            bound.retain(|inode| !connected.contains(inode));
        }
        let kept = other.sockets.into_iter().filter(|s| s.state != State::Bound || bound.contains(&s.inode));
        self.sockets.extend(kept.map(|mut socket| {
            socket.origin = indexes.get(socket.origin as usize).copied().unwrap_or_default();
            socket
        }));
        self.gaps.extend(other.gaps);
        self.refused.extend(other.refused);
    }

    /// Lists TCP sockets by the iterator, all but bound ones; whether that went well.
    fn iterate(&mut self) -> bool {
        let Self { filter, sockets, origins, .. } = self;
        let mut burnt = PortSet::new();
        let read = tcp_iterator::read(|listed| {
            if listed.burnt {
                burnt.insert(listed.row.socket.local_port);
            }
            keep(filter, listed.row, sockets, origins);
        });
        let went_well = read.is_ok();
        match went_well {
            true => self.burnt = Some(burnt),
            // Whoever wants to know what the buckets say asks again, and is told why not.
            false => sockets.clear(),
        }
        went_well
    }

    fn list_or_note(&mut self, table: Table, states: &[State]) {
        let before = self.sockets.len();
        if let Err(refusal) = self.list(table, states) {
            self.sockets.truncate(before);
            self.refused.push((table, refusal));
        }
    }

    fn list(&mut self, table: Table, states: &[State]) -> Result<(), Refusal> {
        let Self { filter, conversation, sockets, origins, .. } = self;
        let conversation = conversation.as_mut().map_err(|error| Refusal::System(*error))?;
        let query = Query { table, states, local_ports: filter.local_ports.as_ref() };
        let before = sockets.len();
        let mut listed = Listed::default();
        for _ in 0..ATTEMPTS {
            sockets.truncate(before);
            listed = conversation.list(&query, |row| keep(filter, row, sockets, origins))?;
            if !listed.interrupted {
                break;
            }
        }
        let what = format!("{} sockets", table.transport());
        if listed.interrupted {
            let detail =
                format!("the list changed {ATTEMPTS} times while it was read: rows may lack or stand twice");
            self.gaps.push(Gap::new(&what, GapReason::Changed, detail).with_remedy("ask again"));
        }
        if let Some((count, error)) = listed.malformed {
            self.gaps.push(not_understood(what, count, error));
        }
        Ok(())
    }

    /// Reads by /proc/net what sock_diag refused.
    fn fall_back(&mut self) -> Result<(), Error> {
        let why = self.refused.first().map(|(_, refusal)| refusal.to_string()).unwrap_or_default();
        let parts: BTreeSet<Part> = self.refused.iter().flat_map(|(table, _)| parts(*table)).collect();
        // Each part comes from one source as a whole, so that no socket stands twice.
        self.sockets.retain(|socket| !parts.contains(&(socket.transport, socket.family)));
        let mut unread = Vec::new();
        for (transport, family) in &parts {
            if let Err(error) = self.read_proc_net(*transport, *family) {
                unread.push((format!("{transport} {family} sockets"), error));
            }
        }
        if unread.len() == parts.len()
            && self.sockets.is_empty()
            && let Some((_, source)) = unread.pop()
        {
            return Err(Error::new(
                format!("read sockets by NETLINK_SOCK_DIAG ({why}) or /proc/net"),
                source,
            ));
        }
        for (what, error) in unread {
            let detail = format!("neither NETLINK_SOCK_DIAG ({why}) nor /proc/net ({error}) shows them");
            self.gaps.push(Gap::new(what, GapReason::Denied, detail));
        }
        let parts: Vec<String> = parts.iter().map(|(t, f)| format!("{t} {f}")).collect();
        let detail = format!(
            "NETLINK_SOCK_DIAG is refused ({why}); /proc/net, read instead for {}, does not have them",
            parts.join(", ")
        );
        self.gaps.push(Gap::new("bound sockets, socket options, cgroups", GapReason::Unsupported, detail));
        Ok(())
    }

    fn read_proc_net(&mut self, transport: Transport, family: Family) -> io::Result<()> {
        let suffix = if family == Family::Ipv6 { "6" } else { "" };
        // thread-self: this thread alone may have entered another namespace.
        let text = match std::fs::read(format!("/proc/thread-self/net/{transport}{suffix}")) {
            // A kernel without IPv6 has no such file, and no such sockets.
            Err(error) if error.kind() == io::ErrorKind::NotFound && family == Family::Ipv6 => return Ok(()),
            other => other?,
        };
        let mut malformed: Option<(u64, DecodeError)> = None;
        for row in proc_net::rows(transport, family, &text) {
            match row {
                Ok((socket, uid)) => {
                    let row = Row { socket, uid, cgroup: None, interface: 0, cookie: 0 };
                    keep(self.filter, row, &mut self.sockets, &mut self.origins);
                }
                Err(error) => malformed.get_or_insert((0, error)).0 += 1,
            }
        }
        if let Some((count, error)) = malformed {
            self.gaps.push(not_understood(format!("{transport} sockets"), count, error));
        }
        Ok(())
    }

    /// Older kernels leave bound sockets out without a word. Where /proc/net was read, its own gap says so.
    fn note_missing_bound(&mut self) {
        let filter = self.filter;
        let asked = (filter.states.is_empty() || filter.states.contains(&State::Bound))
            && filter.transport != Some(Transport::Udp)
            && self.refused.is_empty();
        let release = kernel::release();
        let old = kernel::version(&release).is_some_and(|version| version < SHOWS_BOUND);
        if asked && old && self.sockets.iter().all(|socket| socket.state != State::Bound) {
            let (major, minor) = SHOWS_BOUND;
            let detail = format!(
                "this kernel ({release}) does not show TCP sockets that are bound but neither listen nor are connected"
            );
            let remedy = format!("kernel {major}.{minor} or later shows them");
            self.gaps.push(Gap::new("bound sockets", GapReason::Unsupported, detail).with_remedy(remedy));
        }
    }
}

fn keep(filter: &SocketFilter, row: Row, sockets: &mut Vec<Socket>, origins: &mut Origins) {
    if filter.accepts(&row.socket) {
        let mut socket = row.socket;
        socket.origin = origins.index(Key { uid: row.uid, cgroup: row.cgroup, interface: row.interface });
        sockets.push(socket);
    }
}

fn not_understood(what: String, count: u64, error: DecodeError) -> Gap {
    Gap::new(what, GapReason::Malformed, format!("{count} rows were not understood; of the first: {error}"))
}

#[cfg(test)]
mod tests {
    use portolan_testbed::{Held, Namespace};

    use super::*;

    #[test]
    fn where_netlink_is_refused_proc_net_shows_the_same_but_for_what_its_gap_names() {
        let namespace = Namespace::new();
        let words = "connections 127.0.0.1:0 --count 3 connections [::1]:0 tcp-listen [::]:7000 udp 127.0.0.1:7001 \
                     udp [::1]:7002 --connect [::1]:7003 time-wait 127.0.0.1:7004 tcp-bound 127.0.0.1:7005";
        let _held = Held::new(&namespace, words);
        let rows = |reader: &Reader<'_>| {
            let key = |s: &Socket| (s.transport, s.state, s.local(), s.remote(), s.inode);
            let shown = reader.sockets.iter().filter(|socket| socket.state != State::Bound);
            shown.map(key).collect::<BTreeSet<_>>()
        };
        let filter = SocketFilter::default();
        namespace.run(|| {
            let by_netlink = read_lists(&filter, None, Way::Rows, false);
            let mut refused = Reader { conversation: Err(Errno::PERM), ..Reader::new(&filter) };
            for table in [Table::Tcp, Table::UdpOf(Family::Ipv4), Table::UdpOf(Family::Ipv6)] {
                refused.list_or_note(table, &State::ALL);
            }
            assert!(refused.sockets.is_empty());
            refused.fall_back().unwrap();
            assert_eq!(rows(&refused), rows(&by_netlink));
            assert_eq!(by_netlink.sockets.len(), refused.sockets.len() + 1, "the bound socket");
            let [gap] = &refused.gaps[..] else { panic!("{:?}", refused.gaps) };
            assert_eq!(gap.reason, GapReason::Unsupported);
            assert!(gap.detail.contains("Operation not permitted"), "{}", gap.detail);
        });
    }
}
