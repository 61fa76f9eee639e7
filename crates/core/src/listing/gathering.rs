//! What the readers found, put together into one snapshot: sockets of several listings matched with each other,
//! processes by their ids, and what was not understood, or not sent at all, as gaps.
//!
//! Left out on purpose: what only a look at the host itself can tell (counters, firewall, addresses); a snapshot that
//! was put together says so in its gaps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use super::agreement::Agreement;
use super::endpoint::decimal;
use crate::owner::{Holder, Origin, Owner};
use crate::port::PortRange;
use crate::range::{EphemeralRange, Reservation};
use crate::snapshot::{Gap, GapReason, Host, Settings, Snapshot, System};
use crate::socket::{Family, OwnerState, Socket, State, Transport};

/// The most sockets, and the most processes, that are kept.
const MOST_SOCKETS: usize = 4_000_000;
const MOST_PROCESSES: usize = 1_000_000;
/// The most holders of one socket.
const MOST_HOLDERS: usize = 4096;
/// How many sockets of one pair of endpoints are compared to match two listings.
const MOST_ALIKE: usize = 64;
/// How many odd lines of a listing are told one by one.
const TOLD_LINES: usize = 3;
/// Windows' System process, in whose name the kernel holds sockets.
const WINDOWS_KERNEL: u32 = 4;

/// One holding of a socket, as a listing tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holding {
    /// Process id.
    pub(crate) pid: u32,
    /// Name of the process, where it is told.
    pub(crate) name: Option<String>,
    /// Descriptor number, where it is told.
    pub(crate) descriptor: Option<i32>,
}

/// A socket of a listing. `socket.owner_state` counts where there are no holdings.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The socket, without holders and origin.
    pub(crate) socket: Socket,
    /// Who holds it.
    pub(crate) holdings: Vec<Holding>,
    /// What else its row tells.
    pub(crate) origin: Origin,
}

impl Seen {
    /// A socket of which nothing else is told.
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, holdings: Vec::new(), origin: Origin::default() }
    }
}

/// A process, as a list of processes tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its name.
    pub(crate) name: Option<String>,
    /// Services that run in it.
    pub(crate) services: Option<String>,
    /// Its user.
    pub(crate) user: Option<String>,
}

/// What was recognised in a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Name of the file.
    pub file: String,
    /// Name of the format.
    pub format: &'static str,
    /// The line it begins in.
    pub line: usize,
    /// How many rows were read: sockets, processes, ranges.
    pub rows: usize,
    /// How many rows were not understood.
    pub odd: usize,
}

/// Everything that was found so far.
#[derive(Default)]
pub(crate) struct Gathering {
    /// What netsh's listings confirm of each other.
    pub(crate) agreement: Agreement,
    host: Host,
    settings: Settings,
    system: Option<System>,
    sockets: Vec<(Seen, usize)>,
    /// The socket that came last.
    last: usize,
    by_ends: HashMap<(Transport, SocketAddr, SocketAddr), Vec<u32>>,
    processes: BTreeMap<u32, Process>,
    ranges: Vec<EphemeralRange>,
    reservations: Vec<Reservation>,
    reservations_told: BTreeSet<(Transport, Family)>,
    gaps: Vec<Gap>,
    listings: Vec<Listing>,
    left_out: usize,
    changed: usize,
}

impl Gathering {
    /// Begins a listing: what follows is its content.
    pub(crate) fn begin(&mut self, file: &str, format: &'static str, line: usize) {
        self.listings.push(Listing { file: file.to_owned(), format, line, rows: 0, odd: 0 });
    }

    /// The listings so far.
    pub(crate) fn listings(&self) -> &[Listing] {
        &self.listings
    }

    /// A row of the listing was read.
    pub(crate) fn row(&mut self) {
        if let Some(listing) = self.listings.last_mut() {
            listing.rows += 1;
        }
    }

    /// The host's system, as a format proves it. False where another one was proven before.
    pub(crate) fn is_of(&mut self, system: System) -> bool {
        *self.system.get_or_insert(system) == system
    }

    /// The host's system, where a format proved it.
    pub(crate) const fn system(&self) -> Option<System> {
        self.system
    }

    /// The host's name; the first that is told counts, and another one is a gap.
    pub(crate) fn host_name(&mut self, name: &str) {
        if self.host.name.is_empty() {
            name.clone_into(&mut self.host.name);
        } else if !self.host.name.eq_ignore_ascii_case(name) {
            let detail = format!("one listing is of {}, another of {name}", self.host.name);
            self.gap(Gap::new("host", GapReason::Malformed, detail).with_remedy("import each host apart"));
        }
    }

    /// The system's release.
    pub(crate) fn release(&mut self, release: &str) {
        release.clone_into(&mut self.host.release);
    }

    /// Something that could not be seen; the same one counts once.
    pub(crate) fn gap(&mut self, gap: Gap) {
        if !self.gaps.contains(&gap) {
            self.gaps.push(gap);
        }
    }

    /// A line of the listing that is not understood.
    pub(crate) fn odd(&mut self, number: usize, text: &str) {
        let Some(listing) = self.listings.last_mut() else { return };
        listing.odd += 1;
        if listing.odd <= TOLD_LINES {
            let line: String = text.trim().chars().take(60).collect();
            let detail = format!("{} line {number} is not understood: {line}", listing.file);
            self.gap(Gap::new("rows", GapReason::Malformed, detail));
        }
    }

    /// A range that the system gives ports from; a second, other one of the same kind is a gap.
    pub(crate) fn range(&mut self, range: EphemeralRange) {
        self.row();
        let same =
            |other: &&EphemeralRange| (other.transport, other.family) == (range.transport, range.family);
        match self.ranges.iter().find(same) {
            None => self.ranges.push(range),
            Some(other) if *other == range => {}
            Some(other) => {
                let detail =
                    format!("{} in one listing, {} in another; the first is kept", other.range, range.range);
                self.gap(Gap::new(
                    format!("{} range of {}", range.transport, range.family),
                    GapReason::Changed,
                    detail,
                ));
            }
        }
    }

    /// Ports set aside.
    pub(crate) fn reservation(&mut self, reservation: Reservation) {
        self.row();
        if !self.reservations.contains(&reservation) {
            self.reservations.push(reservation);
        }
    }

    /// Says that the reservations of these were sent, be there any or none.
    pub(crate) fn reservations_are_told(&mut self, transports: &[Transport], families: &[Family]) {
        let pairs =
            transports.iter().flat_map(|transport| families.iter().map(|family| (*transport, *family)));
        self.reservations_told.extend(pairs);
    }

    /// A process of a list of processes.
    pub(crate) fn process(&mut self, pid: u32, told: Process) {
        self.row();
        self.learn(pid, told);
    }

    fn learn(&mut self, pid: u32, told: Process) {
        if self.processes.len() >= MOST_PROCESSES && !self.processes.contains_key(&pid) {
            self.left_out += 1;
            return;
        }
        let known = self.processes.entry(pid).or_default();
        // tasklist cuts names at 25 characters: the longer one is the whole one.
        if let Some(name) = told.name
            && known
                .name
                .as_ref()
                .is_none_or(|known| known.len() < name.len() && name.starts_with(known.as_str()))
        {
            known.name = Some(name);
        }
        known.services = known.services.take().or(told.services);
        known.user = known.user.take().or(told.user);
    }

    /// Says whose a process is.
    pub(crate) fn learn_user(&mut self, pid: u32, user: &str) {
        self.learn(pid, Process { user: Some(user.to_owned()), ..Process::default() });
    }

    /// The first port that needs no right to bind (Linux), where it is a number.
    pub(crate) fn unprivileged_port_start(&mut self, value: &str) {
        self.row();
        self.settings.unprivileged_port_start = decimal(value);
    }

    /// The range that connect() shares ports of (Windows); none where that is off.
    pub(crate) fn auto_reuse_range(&mut self, range: Option<PortRange>) {
        self.row();
        self.settings.auto_reuse_range = range;
    }

    /// Says which services a process runs, where no list of processes does.
    pub(crate) fn services(&mut self, pid: u32, services: &str) {
        let known = self.processes.entry(pid).or_default();
        let all = known.services.get_or_insert_default();
        if all.len() < 1024 && !all.split(',').any(|service| service == services) {
            if !all.is_empty() {
                all.push(',');
            }
            all.push_str(services);
        }
    }

    /// A socket. One that another listing showed already is the same: what this row knows more is added to it.
    pub(crate) fn socket(&mut self, mut seen: Seen) {
        self.row();
        for holding in &seen.holdings {
            if let Some(name) = holding.name.clone() {
                self.learn(holding.pid, Process { name: Some(name), ..Process::default() });
            }
        }
        seen.holdings.truncate(MOST_HOLDERS);
        let listing = self.listings.len();
        let socket = &seen.socket;
        let alike = self.by_ends.entry((socket.transport, socket.local(), socket.remote())).or_default();
        let known = alike.iter().take(MOST_ALIKE).copied().find(|index| {
            self.sockets
                .get(*index as usize)
                .is_some_and(|(known, last)| *last < listing && may_be_one(known, &seen))
        });
        if let Some(index) = known
            && let Some((known, last)) = self.sockets.get_mut(index as usize)
        {
            *last = listing;
            self.changed += usize::from(known.socket.state != seen.socket.state);
            unite(known, seen);
            self.last = index as usize;
        } else if self.sockets.len() >= MOST_SOCKETS {
            self.left_out += 1;
        } else {
            self.last = self.sockets.len();
            alike.push(u32::try_from(self.last).unwrap_or(u32::MAX));
            self.sockets.push((seen, listing));
        }
    }

    /// One more holding of the socket that came last, for listings that give a socket several lines.
    pub(crate) fn holding_of_last(&mut self, holding: Holding) {
        if let Some(name) = holding.name.clone() {
            self.learn(holding.pid, Process { name: Some(name), ..Process::default() });
        }
        if let Some((seen, _)) = self.sockets.get_mut(self.last)
            && seen.holdings.len() < MOST_HOLDERS
        {
            seen.holdings.push(holding);
        }
    }

    /// The snapshot of all this, with what was recognised.
    pub(crate) fn finish(mut self, taken_ms: u64) -> (Snapshot, Vec<Listing>) {
        self.settle_orphans();
        self.count_what_was_not_told();
        self.agreement.mark(&mut self.reservations);
        self.agreement.gaps(&self.ranges, &self.reservations).into_iter().for_each(|gap| self.gap(gap));
        self.host.system = self.system.unwrap_or_default();
        self.reservations.sort_by_key(|reservation| reservation.range);
        let mut snapshot = Snapshot {
            taken_ms,
            host: self.host,
            settings: self.settings,
            ranges: self.ranges,
            reservations: self.reservations,
            gaps: self.gaps,
            origins: vec![Origin::default()],
            ..Snapshot::default()
        };
        let pids: BTreeSet<u32> = self
            .sockets
            .iter()
            .flat_map(|(seen, _)| seen.holdings.iter().map(|holding| holding.pid))
            .collect();
        let index: HashMap<u32, u32> = pids.iter().zip(0..).map(|(pid, index)| (*pid, index)).collect();
        snapshot.owners = pids.iter().map(|pid| owner(*pid, self.processes.remove(pid))).collect();
        let mut origins: HashMap<Origin, u32> = HashMap::from([(Origin::default(), 0)]);
        for (Seen { mut socket, mut holdings, origin }, _) in self.sockets {
            socket.origin = *origins.entry(origin).or_insert_with_key(|origin| {
                snapshot.origins.push(origin.clone());
                u32::try_from(snapshot.origins.len() - 1).unwrap_or_default()
            });
            let kernel = snapshot.host.system == System::Windows
                && holdings.iter().any(|holding| holding.pid == WINDOWS_KERNEL);
            holdings.sort_by_key(|holding| (holding.pid, holding.descriptor));
            socket.owner_state = match holdings.is_empty() {
                true => socket.owner_state,
                false if kernel => OwnerState::Kernel,
                false => OwnerState::Seen,
            };
            socket.first_holder = u32::try_from(snapshot.holders.len()).unwrap_or(u32::MAX);
            socket.holder_count = u16::try_from(holdings.len()).unwrap_or(u16::MAX);
            snapshot.holders.extend(holdings.into_iter().filter_map(|holding| {
                Some(Holder {
                    owner: *index.get(&holding.pid)?,
                    descriptor: holding.descriptor.unwrap_or(-1),
                })
            }));
            snapshot.sockets.push(socket);
        }
        (snapshot, self.listings)
    }

    /// Connections that the kernel ends, or begins, by itself have no process. Where every other socket shows its
    /// holder, whoever made the listings saw all, and what is left are those.
    fn settle_orphans(&mut self) {
        let by_kernel = |state| {
            matches!(
                state,
                State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck | State::SynReceived
            )
        };
        let hidden = |seen: &Seen| seen.holdings.is_empty() && seen.socket.owner_state == OwnerState::Hidden;
        let all_else_seen =
            self.sockets.iter().all(|(seen, _)| !hidden(seen) || by_kernel(seen.socket.state))
                && self.sockets.iter().any(|(seen, _)| !seen.holdings.is_empty());
        if all_else_seen {
            for (seen, _) in &mut self.sockets {
                if hidden(seen) {
                    seen.socket.owner_state = OwnerState::Nobody;
                }
            }
        }
    }

    /// Gaps that are known only at the end.
    fn count_what_was_not_told(&mut self) {
        let odd: Vec<String> = self
            .listings
            .iter()
            .filter(|listing| listing.odd > TOLD_LINES)
            .map(|listing| {
                format!("{}: {} more rows are not understood", listing.file, listing.odd - TOLD_LINES)
            })
            .collect();
        for detail in odd {
            self.gap(Gap::new("rows", GapReason::Malformed, detail));
        }
        if self.left_out > 0 {
            let detail = format!("{} rows beyond the most that are kept were left out", self.left_out);
            self.gap(Gap::new("rows", GapReason::TooLarge, detail));
        }
        if self.changed > 0 {
            let detail = format!(
                "{} sockets are in one state in one listing and in another in the next; the first is kept",
                self.changed
            );
            self.gap(Gap::new("sockets", GapReason::Changed, detail));
        }
        let hidden = |(seen, _): &&(Seen, usize)| {
            seen.holdings.is_empty() && seen.socket.owner_state == OwnerState::Hidden
        };
        let hidden = self.sockets.iter().filter(hidden).count();
        if hidden > 0 {
            let detail = format!("the listing does not show who holds {hidden} of the sockets");
            let remedy = "ask for the listing again, made as root or administrator";
            self.gap(Gap::new("owners", GapReason::Denied, detail).with_remedy(remedy));
        }
    }

    /// What a snapshot should have and nobody sent.
    pub(crate) fn missing(&self) -> Missing {
        let held: BTreeSet<u32> = self
            .sockets
            .iter()
            .flat_map(|(seen, _)| seen.holdings.iter().map(|holding| holding.pid))
            .collect();
        let named = |pid: &&u32| self.processes.get(pid).is_some_and(|process| process.name.is_some());
        let asked = |(seen, _): &(Seen, usize)| {
            !seen.holdings.is_empty() || seen.socket.owner_state != OwnerState::NotAsked
        };
        let pairs =
            || Transport::ALL.into_iter().flat_map(|transport| Family::ALL.map(|family| (transport, family)));
        let has_range = |pair: &(Transport, Family)| {
            self.ranges.iter().any(|range| (range.transport, range.family) == *pair)
        };
        Missing {
            ranges: pairs().filter(|pair| !has_range(pair)).collect(),
            reservations: pairs().filter(|pair| !self.reservations_told.contains(pair)).collect(),
            sockets: self.sockets.is_empty(),
            owners: !self.sockets.iter().any(asked),
            unnamed: held.len() - held.iter().filter(named).count(),
        }
    }
}

/// What nobody sent.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    /// Transports and families whose range was not sent.
    pub(crate) ranges: Vec<(Transport, Family)>,
    /// Transports and families whose reservations were not sent.
    pub(crate) reservations: Vec<(Transport, Family)>,
    /// Sockets at all.
    pub(crate) sockets: bool,
    /// Owners of any socket.
    pub(crate) owners: bool,
    /// How many processes are known by their id alone.
    pub(crate) unnamed: usize,
}

/// Whether two rows of two listings can be the same socket: their holders do not contradict each other.
fn may_be_one(known: &Seen, seen: &Seen) -> bool {
    known.holdings.is_empty()
        || seen.holdings.is_empty()
        || known.holdings.iter().any(|one| seen.holdings.iter().any(|other| one.pid == other.pid))
}

/// Adds what a second row of a socket knows more.
fn unite(known: &mut Seen, seen: Seen) {
    for holding in seen.holdings {
        let same = |one: &&mut Holding| {
            one.pid == holding.pid
                && (one.descriptor.is_none()
                    || holding.descriptor.is_none()
                    || one.descriptor == holding.descriptor)
        };
        if let Some(one) = known.holdings.iter_mut().find(same) {
            one.descriptor = one.descriptor.or(holding.descriptor);
        } else if known.holdings.len() < MOST_HOLDERS {
            known.holdings.push(holding);
        }
    }
    let (old, new) = (&mut known.socket, &seen.socket);
    if matches!(old.owner_state, OwnerState::NotAsked) {
        old.owner_state = new.owner_state;
    }
    for (old, new) in [
        (&mut old.inode, new.inode),
        (&mut old.receive_queue, new.receive_queue),
        (&mut old.send_queue, new.send_queue),
        (&mut old.timer_ms, new.timer_ms),
    ] {
        if *old == 0 {
            *old = new;
        }
    }
    old.options.0 |= new.options.0;
    known.origin.uid = known.origin.uid.or(seen.origin.uid);
    known.origin.interface = known.origin.interface.take().or(seen.origin.interface);
}

fn owner(pid: u32, process: Option<Process>) -> Owner {
    let Process { name, services, user } = process.unwrap_or_default();
    Owner { pid, name: name.unwrap_or_default(), unit: services, user, ..Owner::default() }
}
