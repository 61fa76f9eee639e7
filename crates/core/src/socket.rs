//! Sockets: transport, family, state, endpoints, and the compact row that a snapshot keeps of each.
//!
//! Source: RFC 9293 section 3.3.2 (state names); `BOUND` is Linux's state bit 13 and Windows' "Bound";
//! `UNCONNECTED` is a UDP socket without a peer (Linux: TCP_CLOSE in a UDP row).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Transport {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

impl Transport {
    /// Both, in the order they are shown.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// `tcp` or `udp`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(format!("'{text}' is no transport; use tcp or udp")),
        }
    }
}

/// Address family of a socket; a dual-stack IPv6 socket is `Ipv6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Family {
    /// AF_INET.
    Ipv4,
    /// AF_INET6.
    Ipv6,
}

impl Family {
    /// Both, in the order they are shown.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// `ipv4` or `ipv6`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// State of a socket, by RFC 9293's names, with `BOUND` and UDP's `UNCONNECTED` beside them.
/// A connected UDP socket is `ESTABLISHED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are RFC 9293's")]
pub enum State {
    Listen,
    SynSent,
    SynReceived,
    Established,
    #[serde(rename = "FIN_WAIT_1")]
    FinWait1,
    #[serde(rename = "FIN_WAIT_2")]
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
    /// TCP: bound, neither listening nor connected.
    Bound,
    /// UDP without a peer.
    Unconnected,
}

impl State {
    /// Every state, in the order of a connection's life.
    pub const ALL: [Self; 13] = [
        Self::Listen,
        Self::Bound,
        Self::Unconnected,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
        Self::Closed,
    ];

    /// RFC 9293's name with underscores, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN_SENT",
            Self::SynReceived => "SYN_RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN_WAIT_1",
            Self::FinWait2 => "FIN_WAIT_2",
            Self::CloseWait => "CLOSE_WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
            Self::Closed => "CLOSED",
            Self::Bound => "BOUND",
            Self::Unconnected => "UNCONNECTED",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for State {
    type Err = String;

    /// Any common spelling: RFC 9293's, ss', netstat's (`LISTENING`, `ESTAB`, `time-wait`, `FIN_WAIT1`, `UNCONN`).
    fn from_str(text: &str) -> Result<Self, String> {
        let plain: String = text
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(20)
            .collect::<String>()
            .to_ascii_uppercase();
        let state = match plain.as_str() {
            "LISTENING" => Some(Self::Listen),
            "ESTAB" => Some(Self::Established),
            "SYNRECV" | "SYNRCVD" => Some(Self::SynReceived),
            "UNCONN" => Some(Self::Unconnected),
            "CLOSE" => Some(Self::Closed),
            "TIMEWAIT" => Some(Self::TimeWait),
            _ => Self::ALL.into_iter().find(|state| state.name().replace('_', "") == plain),
        };
        state.ok_or_else(|| {
            let names: Vec<_> =
                Self::ALL.iter().map(|s| s.name().to_ascii_lowercase().replace('_', "-")).collect();
            format!("'{text}' is no state; use one of {}", names.join(", "))
        })
    }
}

/// Who holds a socket, as far as was seen.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum OwnerState {
    /// Nobody looked: no rule may take this for "nobody".
    #[default]
    NotAsked,
    /// At least one holding process was seen.
    Seen,
    /// Proven to be without a process: a TIME_WAIT, an orphan that the kernel finishes.
    Nobody,
    /// The kernel itself holds it (NFS, a VPN, Windows' http.sys).
    Kernel,
    /// Somebody holds it, and could not be seen: another user's process, another pid namespace.
    Hidden,
}

/// Options of a socket that the system shows, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SocketOptions(pub u8);

impl SocketOptions {
    /// IPV6_V6ONLY: takes no IPv4 traffic.
    pub const V6_ONLY: u8 = 1;
    /// IP_BIND_ADDRESS_NO_PORT: the port was left to connect().
    pub const BIND_ADDRESS_NO_PORT: u8 = 2;
    /// IP_TRANSPARENT.
    pub const TRANSPARENT: u8 = 4;
    /// IP_FREEBIND.
    pub const FREEBIND: u8 = 8;
    /// Of a TIME_WAIT: its connection had TCP timestamps (RFC 7323), so that `tcp_tw_reuse` holds for it.
    pub const TIMESTAMPS: u8 = 16;
    /// Whether it had them was read: without it a clear `TIMESTAMPS` means "not known".
    pub const TIMESTAMPS_READ: u8 = 32;
    /// Options were read at all: without it a clear bit means "not known".
    pub const KNOWN: u8 = 128;

    /// Whether that bit is set.
    pub const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

/// One TCP connection, so that exactly it is closed and never a later one between the same endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its local endpoint.
    pub local: SocketAddr,
    /// Its remote endpoint.
    pub remote: SocketAddr,
    /// Index of the interface it is bound to; 0 for none.
    pub interface: u32,
    /// The system's own number for the socket, never given twice in one boot.
    pub cookie: u64,
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}", self.local, self.remote)
    }
}

/// One socket, 68 bytes. Text of its owners and its origin stands once, in the snapshot, and is referred to by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    local: [u8; 16],
    remote: [u8; 16],
    /// Local port, host order; 0 for none.
    pub local_port: u16,
    /// Remote port, host order; 0 for none.
    pub remote_port: u16,
    /// Inode in sockfs; 0 for sockets without one (TIME_WAIT, orphans, Windows).
    pub inode: u32,
    /// Index into [`crate::snapshot::Snapshot::origins`]: uid, cgroup, interface.
    pub origin: u32,
    /// Bytes that wait to be read; of a listener the connections that wait to be accepted.
    pub receive_queue: u32,
    /// Bytes not yet acknowledged; of a listener the length that the accept queue may reach.
    pub send_queue: u32,
    /// Milliseconds left of the timer that runs (of TIME_WAIT: until the port is let go); 0 for none.
    pub timer_ms: u32,
    /// First index into [`crate::snapshot::Snapshot::holders`].
    pub first_holder: u32,
    /// How many holders follow from there.
    pub holder_count: u16,
    /// TCP or UDP.
    pub transport: Transport,
    /// Address family.
    pub family: Family,
    /// State.
    pub state: State,
    /// Options.
    pub options: SocketOptions,
    /// Whether holders were looked for and seen.
    pub owner_state: OwnerState,
}

/// An address as 16 bytes: IPv6's own, or IPv4's in the first four.
const fn packed(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(v6) => v6.octets(),
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
    }
}

impl Socket {
    /// A socket of these endpoints, which must be of one family; the rest at its defaults.
    pub fn new(transport: Transport, state: State, local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            local: packed(local.ip()),
            remote: packed(remote.ip()),
            local_port: local.port(),
            remote_port: remote.port(),
            inode: 0,
            origin: 0,
            receive_queue: 0,
            send_queue: 0,
            timer_ms: 0,
            first_holder: 0,
            holder_count: 0,
            transport,
            family: Family::of(local.ip()),
            state,
            options: SocketOptions::default(),
            owner_state: OwnerState::NotAsked,
        }
    }

    /// A socket without a peer.
    pub fn unconnected(transport: Transport, state: State, local: SocketAddr) -> Self {
        let any: IpAddr = match local.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self::new(transport, state, local, SocketAddr::new(any, 0))
    }

    /// A socket straight from a kernel row: addresses as 16 bytes (IPv4 in the first four), ports in host order.
    pub fn from_kernel(
        (transport, family, state): (Transport, Family, State),
        (local, local_port): ([u8; 16], u16),
        (remote, remote_port): ([u8; 16], u16),
    ) -> Self {
        let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        Self { local, remote, local_port, remote_port, family, ..Self::new(transport, state, any, any) }
    }

    fn unpacked(&self, bytes: [u8; 16]) -> IpAddr {
        match self.family {
            Family::Ipv4 => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
            Family::Ipv6 => Ipv6Addr::from(bytes).into(),
        }
    }

    /// Local address, of the socket's own family (an IPv4 peer of a dual-stack socket stays `::ffff:a.b.c.d`).
    pub fn local_address(&self) -> IpAddr {
        self.unpacked(self.local)
    }

    /// Remote address; unspecified when there is no peer.
    pub fn remote_address(&self) -> IpAddr {
        self.unpacked(self.remote)
    }

    /// Local endpoint.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local_address(), self.local_port)
    }

    /// Remote endpoint.
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote_address(), self.remote_port)
    }

    /// Whether it waits for peers: a TCP listener, or an unconnected UDP socket with a port.
    pub fn is_listening(&self) -> bool {
        match self.transport {
            Transport::Tcp => self.state == State::Listen,
            Transport::Udp => self.state == State::Unconnected && self.local_port != 0,
        }
    }

    /// Whether it holds its local port for itself: it waits for peers, or is bound and may yet do so.
    pub fn is_holding(&self) -> bool {
        self.is_listening() || self.state == State::Bound
    }

    /// Whether its local address is the wildcard of its family.
    pub fn is_wildcard(&self) -> bool {
        self.local_address().is_unspecified()
    }

    /// Whether it takes IPv4 traffic too: an IPv6 wildcard that is not known to be v6-only.
    pub fn is_dual_stack(&self) -> bool {
        self.family == Family::Ipv6 && self.is_wildcard() && !self.options.has(SocketOptions::V6_ONLY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_stays_small() {
        assert!(size_of::<Socket>() <= 68, "{} bytes", size_of::<Socket>());
    }

    #[test]
    fn states_are_known_by_every_common_spelling() {
        for (text, state) in [
            ("LISTEN", State::Listen),
            ("listening", State::Listen),
            ("estab", State::Established),
            ("time-wait", State::TimeWait),
            ("TimeWait", State::TimeWait),
            ("FIN_WAIT1", State::FinWait1),
            ("fin-wait-2", State::FinWait2),
            ("SYN_RECV", State::SynReceived),
            ("UNCONN", State::Unconnected),
        ] {
            assert_eq!(text.parse::<State>().unwrap(), state);
        }
        assert!(
            "sleeping"
                .parse::<State>()
                .unwrap_err()
                .starts_with("'sleeping' is no state; use one of listen, bound")
        );
    }

    #[test]
    fn addresses_survive_packing() {
        for text in ["10.1.2.3:80", "[2001:db8::1]:443", "[::ffff:10.0.0.1]:5"] {
            let address: SocketAddr = text.parse().unwrap();
            let socket = Socket::unconnected(Transport::Tcp, State::Listen, address);
            assert_eq!(socket.local(), address);
        }
    }
}
