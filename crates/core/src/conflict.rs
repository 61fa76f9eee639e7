//! Which sockets stand in the way of a bind: the kernel's rule, told from the socket table.
//!
//! Source: Linux `inet_bind_conflict`, `inet_rcv_saddr_equal` and `ipv6_rcv_saddr_equal` in
//! `net/ipv4/inet_connection_sock.c`, `udp_lib_lport_inuse` in `net/ipv4/udp.c`; held against a real kernel by the
//! host's test `bind_trial`. Windows: Microsoft's tables on the pages "Using SO_REUSEADDR and SO_EXCLUSIVEADDRUSE" and
//! "Sharing Transport Addresses": the wildcard and a specific address do not hinder each other unless the first holder
//! set SO_EXCLUSIVEADDRUSE or belongs to another user, and ended connections hinder nobody but after such a holder.
//!
//! Options of a socket (SO_REUSEADDR, SO_REUSEPORT, SO_EXCLUSIVEADDRUSE) are not in the table, so where they decide
//! the answer is [`Answer::Depends`]. A bind to one interface (SO_BINDTODEVICE) is left out: nothing asks for one,
//! and a socket on one interface still stands in the way of a bind to all of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::diagnose::{Question, Reuse};
use crate::snapshot::System;
use crate::socket::{Family, Socket, SocketOptions, State, Transport};

/// A bind that is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    /// TCP or UDP.
    pub transport: Transport,
    /// Where; the wildcard of a family for all its addresses.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// IPV6_V6ONLY; the kernel sets it by itself for each IPv6 address but `::` and the mapped ones.
    pub v6_only: bool,
    /// Whose kernel answers.
    pub system: System,
}

/// What the table says of a bind beside one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// The socket is not in the way.
    Free,
    /// It depends on options of the socket that the system does not show.
    Depends,
    /// The bind fails.
    Blocked,
}

impl Bind {
    /// A bind as programs make it on Linux (elsewhere: [`Bind::on`]): dual-stack where the address is `::`.
    pub fn new(transport: Transport, address: IpAddr, port: u16) -> Self {
        let v6_only = match address {
            IpAddr::V4(_) => false,
            IpAddr::V6(v6) => !v6.is_unspecified() && v6.to_ipv4_mapped().is_none(),
        };
        Self { transport, address, port, v6_only, system: System::Linux }
    }

    /// The same bind, asked of that system.
    #[must_use]
    pub fn on(self, system: System) -> Self {
        Self { system, ..self }
    }

    /// What a question asks for: 0.0.0.0 and dual-stack `[::]` where it names no address, nothing without a port.
    pub fn asked(question: &Question) -> Vec<Self> {
        let Some(port) = question.port else { return Vec::new() };
        addresses(question)
            .into_iter()
            .map(|address| Self::new(question.transport, address, port.number()))
            .collect()
    }

    /// What the kernel answers to this bind, made with those options, while that socket is there.
    pub fn beside(&self, socket: &Socket, reuse: Reuse) -> Answer {
        if socket.transport != self.transport || socket.local_port != self.port || !holds_its_port(socket) {
            return Answer::Free;
        }
        let same = self.meets(socket);
        if self.system == System::Windows {
            return self.beside_on_windows(socket, same, reuse);
        }
        let shared = match reuse {
            Reuse::Plain => Answer::Blocked,
            Reuse::ReuseAddress if socket.state == State::Listen => Answer::Blocked,
            Reuse::ReuseAddress => Answer::Depends,
        };
        same.min(shared)
    }

    /// Windows' answer, given whether the addresses have one in common.
    fn beside_on_windows(&self, socket: &Socket, same: Answer, reuse: Reuse) -> Answer {
        let peerless = matches!(socket.state, State::Listen | State::Bound | State::Unconnected);
        let told = match (self.address.is_unspecified(), socket.is_wildcard()) {
            _ if !peerless => Answer::Depends,
            (true, false) => Answer::Free,
            (false, true) => Answer::Depends,
            _ if reuse == Reuse::Plain => Answer::Blocked,
            // It takes the port over if the holder allowed that by setting the option itself.
            _ => Answer::Depends,
        };
        same.min(told)
    }

    /// Whether the addresses have one in common with those of a socket, whatever its options.
    pub fn covers(&self, socket: &Socket) -> bool {
        socket.transport == self.transport
            && socket.local_port == self.port
            && holds_its_port(socket)
            && self.meets(socket) == Answer::Blocked
    }

    /// Whether the addresses have one in common, as the kernel compares them.
    fn meets(&self, socket: &Socket) -> Answer {
        let theirs_v6_only = match self.system {
            System::Linux => v6_only(socket),
            // Windows lists a dual-stack socket twice: its IPv4 half has a row of its own.
            System::Windows => Some(true),
        };
        let theirs = Reach::of(socket.local_address(), theirs_v6_only);
        let ours = Reach::of(self.address, Some(self.v6_only));
        let meet = match (ours, theirs) {
            (Reach::V4(a), Reach::V4(b)) => a == b || a.is_unspecified() || b.is_unspecified(),
            (Reach::V6(a), Reach::V6(b)) => a == b,
            (Reach::V6(_), Reach::AllV6 { .. })
            | (Reach::AllV6 { .. }, Reach::V6(_) | Reach::AllV6 { .. }) => true,
            (Reach::V4(_), Reach::AllV6 { v6_only }) | (Reach::AllV6 { v6_only }, Reach::V4(_)) => {
                v6_only != Some(true)
            }
            (Reach::V6(_), Reach::V4(_)) => false,
            // The kernel lets 0.0.0.0 fail beside an IPv6 connection whose socket was not made v6-only, and does
            // not show that option of a connection.
            (Reach::V4(a), Reach::V6(_)) => {
                if a.is_unspecified() && theirs_v6_only.is_none() {
                    return Answer::Depends;
                }
                a.is_unspecified() && theirs_v6_only == Some(false)
            }
        };
        if meet { Answer::Blocked } else { Answer::Free }
    }
}

/// Which addresses a socket takes traffic for. A mapped address is IPv4's.
#[derive(Clone, Copy)]
enum Reach {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    AllV6 { v6_only: Option<bool> },
}

impl Reach {
    fn of(address: IpAddr, v6_only: Option<bool>) -> Self {
        match address {
            IpAddr::V4(v4) => Self::V4(v4),
            IpAddr::V6(v6) if v6.is_unspecified() => Self::AllV6 { v6_only },
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(Self::V6(v6), Self::V4),
        }
    }
}

/// IPV6_V6ONLY of a socket; none where the system does not show it. Linux shows it of sockets without a peer.
fn v6_only(socket: &Socket) -> Option<bool> {
    if socket.options.has(SocketOptions::V6_ONLY) {
        Some(true)
    } else if matches!(socket.state, State::Listen | State::Bound | State::Unconnected) {
        Some(!socket.is_wildcard())
    } else {
        None
    }
}

/// Whether the kernel keeps the port for this socket: a connection request that is not yet accepted has none of its
/// own, and a closed one has given it back.
fn holds_its_port(socket: &Socket) -> bool {
    !matches!(socket.state, State::SynReceived | State::Closed)
}

/// The addresses that a question asks about.
pub fn addresses(question: &Question) -> Vec<IpAddr> {
    match question.address {
        Some(address) => vec![address],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    }
}

/// The bind that a socket without a peer was made by.
fn bind_of(socket: &Socket, system: System) -> Bind {
    Bind {
        transport: socket.transport,
        address: socket.local_address(),
        port: socket.local_port,
        v6_only: system == System::Windows || v6_only(socket).unwrap_or(false),
        system,
    }
}

/// Whether two sockets without peers have an address and port in common.
pub fn overlap(a: &Socket, b: &Socket, system: System) -> bool {
    bind_of(a, system).covers(b)
}

/// Whether `listener` takes what is sent to the local end of `connection`: then that is one of its connections.
pub fn serves(listener: &Socket, connection: &Socket, system: System) -> bool {
    let family = listener.family == connection.family || listener.family == Family::Ipv6;
    listener.is_listening() && family && overlap(listener, connection, system)
}
