//! What stands in the way of a question: the kernel's word from the bind trials joined with the socket table.
//!
//! A socket that overlaps is a cause only where the kernel did not bind; where it was not asked the table answers.
//! What a connection is (accepted by a listener that is here, left behind by one that is gone, or going out) is not
//! in the table and told from its neighbours and ports.

use std::net::IpAddr;

use crate::conflict::{Answer, Bind, serves};
use crate::diagnose::{Case, Outcome, Question, Reuse, Trial};
use crate::range::{Reservation, ReservationKind};
use crate::snapshot::{Snapshot, System};
use crate::socket::{Family, OwnerState, Socket, State, Transport};
use crate::wire::moment;

/// What a socket is to its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It waits for peers: a TCP listener, a UDP socket.
    Listener,
    /// TCP, bound, neither listening nor connected.
    Bound,
    /// A connection of a listener that is here; in TIME_WAIT too.
    Accepted,
    /// A connection of a listener that seems to be gone.
    LeftBehind,
    /// In TIME_WAIT, without a listener.
    TimeWait,
    /// Its own system's client: the port is the near end of a connection that goes out.
    Outgoing,
}

/// A socket in the way, and what it is.
#[derive(Clone, Copy, Debug)]
pub struct Obstacle<'a> {
    /// The socket.
    pub socket: &'a Socket,
    /// What it is to the port.
    pub role: Role,
}

/// What the kernel said to a plain bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// It binds.
    Binds,
    /// It refuses, with a code of this name and number.
    Refuses(&'a str, i32),
    /// Not asked.
    Silent,
}

/// Whether the host that was looked at runs Windows.
pub fn is_windows(snapshot: &Snapshot) -> bool {
    snapshot.host.system == System::Windows
}

/// Whether a TCP connection still waits for its program to accept it. Linux gives it to a process only then; one that a
/// process has let go of is in neither of these states any more.
pub fn is_unaccepted(snapshot: &Snapshot, socket: &Socket) -> bool {
    !is_windows(snapshot)
        && socket.owner_state == OwnerState::Nobody
        && socket.transport == Transport::Tcp
        && matches!(socket.state, State::Established | State::CloseWait | State::SynReceived)
}

/// What Windows' System log says of ports running out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Of which transport.
    pub transport: Transport,
    /// Whether it says that no port was left; else that one could not be used again yet.
    pub is_exhaustion: bool,
    /// A line: which event, what it says, how often within the last day, when last.
    pub text: String,
}

/// The events of the source Tcpip about ports, of which there was one within the last day. The counters name them
/// (`Tcpip.4231`), and when the last one was, milliseconds since 1970 (`Tcpip.4231.last_ms`).
pub fn logged_events(snapshot: &Snapshot) -> Vec<Logged> {
    const EVENTS: [(u32, Transport, bool, &str); 4] = [
        (4231, Transport::Tcp, true, "no TCP port was left to give"),
        (
            4227,
            Transport::Tcp,
            false,
            "a connection failed since its port was in TIME_WAIT towards that peer",
        ),
        (4266, Transport::Udp, true, "no UDP port was left to give"),
        (4265, Transport::Udp, true, "no UDP port was left to give"),
    ];
    let told = |(event, transport, is_exhaustion, what): (u32, Transport, bool, &str)| {
        let count = snapshot.counters.get(&format!("Tcpip.{event}")).copied().filter(|count| *count > 0)?;
        let last = snapshot.counters.get(&format!("Tcpip.{event}.last_ms"));
        let last = last.and_then(|last| i64::try_from(*last).ok()).map(moment::text);
        let last = last.map_or_else(String::new, |last| format!(", last at {last}"));
        let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
        let text = format!("event {event} in the System log, {times} within a day{last}: {what}");
        Some(Logged { transport, is_exhaustion, text })
    };
    EVENTS.into_iter().filter_map(told).collect()
}

impl Word<'_> {
    /// Whether the address and port are taken.
    pub fn is_in_use(self) -> bool {
        matches!(self, Self::Refuses("EADDRINUSE" | "WSAEADDRINUSE", _))
    }
}

/// The kernel's word on binding to that address, with those options.
pub fn word<'a>(trials: &'a [Trial], address: IpAddr, reuse: Reuse) -> Word<'a> {
    let asked = trials.iter().find(|t| t.reuse == reuse && !t.inferred && t.address.ip() == address);
    match asked.map(|trial| &trial.outcome) {
        Some(Outcome::Bound) => Word::Binds,
        Some(Outcome::Refused { name, code, .. }) => Word::Refuses(name, *code),
        Some(Outcome::NotTried { .. }) | None => Word::Silent,
    }
}

/// The first plain bind that the kernel refused: on which address, the call, the code's name and number.
pub fn refused(trials: &[Trial]) -> Option<(IpAddr, &str, &str, i32)> {
    trials.iter().filter(|trial| trial.reuse == Reuse::Plain).find_map(|trial| match &trial.outcome {
        Outcome::Refused { call, name, code } => {
            Some((trial.address.ip(), call.as_str(), name.as_str(), *code))
        }
        Outcome::Bound | Outcome::NotTried { .. } => None,
    })
}

/// Whether SO_REUSEADDR gets past every refusal of a plain bind, by the kernel's word; none where it was not asked.
pub fn reuse_passes(trials: &[Trial]) -> Option<bool> {
    let is_refused = |trial: &&Trial| matches!(trial.outcome, Outcome::Refused { .. });
    let refused = trials.iter().filter(|trial| trial.reuse == Reuse::Plain).filter(is_refused);
    let words: Vec<Word<'_>> =
        refused.map(|trial| word(trials, trial.address.ip(), Reuse::ReuseAddress)).collect();
    let asked = !words.is_empty() && !words.contains(&Word::Silent);
    asked.then(|| words.iter().all(|word| *word == Word::Binds))
}

/// The sockets in the way of a plain bind, in the order of the table; none where the kernel binds. A socket of which
/// the table cannot tell counts only where the kernel says "in use" and nothing else explains it.
pub fn obstacles<'a>(case: &Case<'a>) -> Vec<Obstacle<'a>> {
    let Some(question) = case.question else { return Vec::new() };
    let neighbours = neighbours(case.snapshot, question);
    let listeners: Vec<&Socket> = neighbours.iter().copied().filter(|socket| socket.is_listening()).collect();
    let causes: Vec<(Bind, Answer)> = unbound(case, question)
        .into_iter()
        .map(|bind| {
            let certain = neighbours.iter().any(|s| bind.beside(s, Reuse::Plain) == Answer::Blocked);
            let in_use = word(case.trials, bind.address, Reuse::Plain).is_in_use();
            (bind, if certain || !in_use { Answer::Blocked } else { Answer::Depends })
        })
        .collect();
    let in_the_way = |s: &&Socket| causes.iter().any(|(bind, told)| bind.beside(s, Reuse::Plain) == *told);
    neighbours
        .into_iter()
        .filter(in_the_way)
        .map(|socket| Obstacle { socket, role: role(socket, &listeners, case.snapshot) })
        .collect()
}

/// The sockets in the way that play one of these roles.
pub fn in_the_way<'a>(case: &Case<'a>, roles: &[Role]) -> Vec<&'a Socket> {
    let wanted = |obstacle: &Obstacle<'_>| roles.contains(&obstacle.role);
    obstacles(case).into_iter().filter(wanted).map(|obstacle| obstacle.socket).collect()
}

/// The binds that a question asks for, on the host that was looked at.
pub fn asked(snapshot: &Snapshot, question: &Question) -> Vec<Bind> {
    Bind::asked(question).into_iter().map(|bind| bind.on(snapshot.host.system)).collect()
}

/// The binds of the question that the kernel did not make.
pub fn unbound(case: &Case<'_>, question: &Question) -> Vec<Bind> {
    let mut binds = asked(case.snapshot, question);
    binds.retain(|bind| word(case.trials, bind.address, Reuse::Plain) != Word::Binds);
    binds
}

/// Every socket of the question's transport and port.
pub fn neighbours<'a>(snapshot: &'a Snapshot, question: &Question) -> Vec<&'a Socket> {
    let Some(port) = question.port else { return Vec::new() };
    let same = |s: &&Socket| s.transport == question.transport && s.local_port == port.number();
    snapshot.sockets.iter().filter(same).collect()
}

fn role(socket: &Socket, listeners: &[&Socket], snapshot: &Snapshot) -> Role {
    let goes_out = socket.state == State::SynSent || seems_outgoing(socket, snapshot);
    match (socket.transport, socket.state) {
        (_, State::Listen | State::Unconnected) => Role::Listener,
        (_, State::Bound) => Role::Bound,
        (Transport::Udp, _) if !goes_out => Role::Listener,
        (Transport::Tcp, _)
            if listeners.iter().any(|listener| serves(listener, socket, snapshot.host.system)) =>
        {
            Role::Accepted
        }
        (_, State::TimeWait) => Role::TimeWait,
        _ if goes_out => Role::Outgoing,
        _ => Role::LeftBehind,
    }
}

/// Whether the near port looks given by the system and the far one does not.
fn seems_outgoing(socket: &Socket, snapshot: &Snapshot) -> bool {
    let given = |port| {
        snapshot.range_of(socket.transport, socket.family).is_some_and(|range| range.range.contains(port))
    };
    socket.remote_port != 0 && given(socket.local_port) && !given(socket.remote_port)
}

/// Where the port lies below what users without rights may bind: the first port that they may.
pub fn privileged_below(snapshot: &Snapshot, port: u16) -> Option<u32> {
    snapshot.settings.unprivileged_port_start.filter(|start| u32::from(port) < *start)
}

/// Whether the one who asks may bind privileged ports: by the capability of the one who looked, for another user by
/// being root.
pub fn may_bind_privileged(snapshot: &Snapshot, question: &Question) -> bool {
    match question.uid {
        Some(uid) if Some(uid) != snapshot.host.uid => uid == 0 && snapshot.host.may_bind_privileged,
        _ => snapshot.host.may_bind_privileged,
    }
}

/// The user id of the one who asks.
pub fn asker(snapshot: &Snapshot, question: &Question) -> Option<u32> {
    question.uid.or(snapshot.host.uid)
}

/// The reservation of that kind which covers the question's port, for one of its families.
pub fn reservation<'a>(
    snapshot: &'a Snapshot,
    question: &Question,
    kind: ReservationKind,
) -> Option<&'a Reservation> {
    let port = question.port?.number();
    let covering = |family: &Family| {
        snapshot
            .reservations_of(question.transport, *family, port)
            .find(|reservation| reservation.kind == kind)
    };
    question.families().iter().find_map(covering)
}

/// Whether Windows denied access to one of the question's addresses.
pub fn is_denied(case: &Case<'_>) -> bool {
    matches!(refused(case.trials), Some((_, "bind", "WSAEACCES", _)))
}

/// Windows: the sockets beside which a bind was denied access, and whether each is another user's, as far as known.
/// Nothing where the port is set aside: that explains the refusal.
pub fn denied_beside<'a>(case: &Case<'a>) -> Vec<(&'a Socket, Option<bool>)> {
    let Some(question) = case.question else { return Vec::new() };
    if reservation(case.snapshot, question, ReservationKind::System).is_some() {
        return Vec::new();
    }
    let mut binds = asked(case.snapshot, question);
    binds.retain(|b| matches!(word(case.trials, b.address, Reuse::Plain), Word::Refuses("WSAEACCES", _)));
    let holds = |s: &&Socket| matches!(s.state, State::Listen | State::Bound | State::Unconnected);
    let beside = |s: &&Socket| binds.iter().any(|bind| bind.covers(s));
    let other = |socket: &Socket| {
        let owners = case.snapshot.owners_of(socket);
        let holder = owners.iter().find_map(|owner| owner.user.as_ref())?;
        Some(!holder.eq_ignore_ascii_case(case.snapshot.host.user.as_ref()?))
    };
    let neighbours = neighbours(case.snapshot, question).into_iter();
    neighbours.filter(holds).filter(beside).map(|socket| (socket, other(socket))).collect()
}

/// Windows: who has the port on an address that a bind to `bind` would share, where options and users decide. The
/// wildcard beside a specific address, and the other way round.
pub fn beside_each_other<'a>(case: &Case<'a>, bind: &Bind) -> Vec<&'a Socket> {
    let Some(question) = case.question.filter(|_| is_windows(case.snapshot)) else { return Vec::new() };
    let apart =
        |s: &&Socket| s.is_listening() && bind.covers(s) && s.is_wildcard() != bind.address.is_unspecified();
    neighbours(case.snapshot, question).into_iter().filter(apart).collect()
}

/// Whether a port is set aside in that way, for one of these families.
pub fn is_reserved(
    snapshot: &Snapshot,
    transport: Transport,
    families: &[Family],
    port: u16,
    kind: ReservationKind,
) -> bool {
    let kept = |family: &Family| snapshot.reservations_of(transport, *family, port).any(|r| r.kind == kind);
    families.iter().any(kept)
}
