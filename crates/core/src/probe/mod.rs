//! Probes: conversations with servers, without I/O. One protocol a file; its `DOC` is the manual of `explain`.
//!
//! A new protocol is a new file and a line in [`PROBES`]; `probe`, `portqry`, the manual, the schema and fuzzing follow
//! from there. A protocol decides what to say and what an answer means. Whoever drives it (host's `exchange`, a test, a
//! fuzzer) owns sockets, TLS, retransmission, deadlines and the byte budget. What was found of the port itself, and how
//! long an answer is waited for, stands in `verdict.rs` and `round_trip.rs`; what a certificate says, in `security.rs`.

mod amqp;
mod banner;
mod cldap;
mod dns;
mod epmap;
mod ftp;
mod http;
mod http_proxy;
mod identify;
mod ike;
mod imap;
mod kerberos;
mod l2tp;
mod ldap;
mod mdns;
mod memcached;
mod mongodb;
mod mqtt;
mod mysql;
mod netbios;
mod nntp;
mod ntp;
mod pop3;
mod postgresql;
mod quic;
mod radius;
mod rdp;
mod redis;
mod round_trip;
mod security;
mod sip;
mod smb;
mod smtp;
mod snmp;
mod sql_browser;
mod ssdp;
mod ssh;
mod stun;
mod telnet;
mod tftp;
mod tls;
mod verdict;
mod winsock_proxy;

use std::net::{IpAddr, SocketAddr};

use crate::answer::Answer;
use crate::socket::Transport;
use crate::wire::line::unlike;
use crate::wire::{DecodeError, Problem};

pub use identify::{Attempt, Search};
pub use round_trip::{RoundTrip, tries_for};
pub use security::Security;
pub use verdict::{Icmp, IcmpVersion, PortState, Reason, Refusal, Verdict, tcp_refused, udp_refused};

/// The most bytes that are gathered for a session before it is told [`Event::Closed`].
pub const BYTE_BUDGET: usize = 256 * 1024;
/// The most steps of one conversation; then it is given up.
pub const STEP_BUDGET: usize = 4096;

/// What carries a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// Datagrams: boundaries are kept.
    Udp,
    /// A stream.
    Tcp,
    /// A stream that is encrypted from its first byte.
    Tls,
}

impl Via {
    /// The transport below.
    pub const fn transport(self) -> Transport {
        match self {
            Self::Udp => Transport::Udp,
            Self::Tcp | Self::Tls => Transport::Tcp,
        }
    }
}

/// Where a protocol is at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// What carries it there.
    pub via: Via,
    /// Its port.
    pub port: u16,
    /// The name of that port in services files; empty where it has none. The name is asked before the port: who writes
    /// `ldap 1025/tcp` into the file wants LDAP there.
    pub service: &'static str,
}

impl Home {
    /// A home.
    pub const fn new(via: Via, port: u16, service: &'static str) -> Self {
        Self { via, port, service }
    }
}

/// What a person may set for a protocol: `--set community=secret`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name, in kebab-case. What several protocols have in common has the same name in each: `community`, `name`,
    /// `user`, `realm`, `path`.
    pub name: &'static str,
    /// What counts where nobody set it; may be empty.
    pub default: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
}

/// One protocol.
pub struct Protocol {
    /// Its id, in kebab-case, as `--as` takes it and JSON gives it.
    pub id: &'static str,
    /// Other words for it.
    pub aliases: &'static [&'static str],
    /// What it tells, in a few words.
    pub title: &'static str,
    /// Its page of the manual.
    pub doc: &'static str,
    /// What can carry it; the first one of a transport is taken where `--as` forces the protocol on another port.
    pub via: &'static [Via],
    /// Where it is at home.
    pub homes: &'static [Home],
    /// What may be set.
    pub settings: &'static [Setting],
    /// Begins a conversation.
    pub start: fn(&Request) -> Box<dyn Session>,
}

/// Every protocol. Where several are at home on one port, the first counts.
pub static PROBES: &[&Protocol] = &[
    &dns::PROTOCOL,
    &http::PROTOCOL,
    &http::HTTPS,
    &http_proxy::PROTOCOL,
    &smtp::PROTOCOL,
    &pop3::PROTOCOL,
    &imap::PROTOCOL,
    &nntp::PROTOCOL,
    &ftp::PROTOCOL,
    &ssh::PROTOCOL,
    &telnet::PROTOCOL,
    &quic::PROTOCOL,
    &sip::PROTOCOL,
    &stun::PROTOCOL,
    &mdns::PROTOCOL,
    &ssdp::PROTOCOL,
    &postgresql::PROTOCOL,
    &mysql::PROTOCOL,
    &redis::PROTOCOL,
    &memcached::PROTOCOL,
    &mongodb::PROTOCOL,
    &mqtt::PROTOCOL,
    &amqp::PROTOCOL,
    &tls::PROTOCOL,
    &ldap::PROTOCOL,
    &cldap::PROTOCOL,
    &epmap::PROTOCOL,
    &kerberos::PROTOCOL,
    &netbios::PROTOCOL,
    &ntp::PROTOCOL,
    &snmp::PROTOCOL,
    &sql_browser::PROTOCOL,
    &tftp::PROTOCOL,
    &radius::PROTOCOL,
    &ike::PROTOCOL,
    &l2tp::PROTOCOL,
    &rdp::PROTOCOL,
    &smb::PROTOCOL,
    &winsock_proxy::PROTOCOL,
    &banner::PROTOCOL,
];

/// What a conversation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The host as it was asked for: a name or an address.
    pub host: String,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// What carries the conversation at its start.
    pub via: Via,
    /// What was set, by name: of the settings that the protocol lists.
    pub settings: Vec<(String, String)>,
    /// Unpredictable bytes, other ones for each conversation.
    pub seed: [u8; 32],
    /// The time of day, in milliseconds since 1970 (UTC).
    pub now_ms: u64,
}

impl Request {
    /// A setting: what was set, or the protocol's default; empty where the protocol lists none of that name.
    pub fn setting(&self, protocol: &Protocol, name: &str) -> String {
        let set = self.settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let default = || protocol.settings.iter().find(|s| s.name == name).map_or("", |s| s.default);
        set.unwrap_or_else(|| default().to_owned())
    }

    /// Numbers for transaction ids and nonces. The same `purpose` gives the same bytes.
    pub fn random<const N: usize>(&self, purpose: &str) -> [u8; N] {
        // SplitMix64 over the seed's words: it spreads the seed's own unpredictability, and adds none.
        let (words, _) = self.seed.as_chunks::<8>();
        let mix = |state: u64| {
            let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            state ^ (state >> 31)
        };
        let absorb =
            |state: u64, word: u64| mix(state.wrapping_add(word).wrapping_add(0x9e37_79b9_7f4a_7c15));
        let state = purpose.bytes().map(u64::from).fold(0, absorb);
        let mut bytes = [0; N];
        for (count, chunk) in (0_u64..).zip(bytes.chunks_mut(8)) {
            let word = words.iter().map(|word| u64::from_be_bytes(*word)).fold(absorb(state, count), absorb);
            chunk.copy_from_slice(word.to_be_bytes().split_at(chunk.len()).0);
        }
        bytes
    }
}

/// What happened on the line.
///
/// `data` of a stream is *everything* that came since the session last answered with anything but [`Step::More`]: a
/// session decodes it from its start and says `More` until it has enough. `data` of UDP is one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Bytes came. UDP: from whatever address and port; a session passes over (`More`) what is not for it.
    Bytes {
        /// Who sent them.
        from: SocketAddr,
        /// What.
        data: &'a [u8],
    },
    /// Nothing more will come: the other end closed, or the byte budget is used up. `data` as gathered so far.
    Closed {
        /// What was gathered; empty for UDP.
        data: &'a [u8],
    },
    /// Nothing came in the time allowed, and over UDP what was sent was repeated as often as was asked for. `More`
    /// waits on, up to the conversation's deadline. `data` as gathered so far.
    Silence {
        /// What was gathered; empty for UDP.
        data: &'a [u8],
    },
    /// A line that [`Step::Reconnect`], [`Step::StartTls`] or [`Via::Tls`] asked for did not come about.
    NoLine {
        /// Why, for people: refused, no answer, the TLS alert.
        reason: &'a str,
    },
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Send this (UDP: one datagram, repeated while nobody answers) and wait for what comes. What was gathered counts
    /// as read.
    Send(Vec<u8>),
    /// Wait for more; what was gathered stays.
    More,
    /// Encrypt this stream now; [`Session::secured`] follows.
    StartTls,
    /// Hang up and open another line to the same address; [`Session::hello`] follows.
    Reconnect {
        /// What carries it.
        via: Via,
        /// The port.
        port: u16,
    },
    /// The server speaks the protocol: what it told.
    Done(Answer),
    /// It does not, or broke off: why, for people, in a few words.
    Failed(String),
}

impl Step {
    /// A step, or why not: what cannot be decoded is told with its field.
    pub fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }

    /// The step that decoding a datagram gave; what is malformed or cut is a failure.
    pub fn of_datagram(decoded: Result<Self, DecodeError>) -> Self {
        decoded.unwrap_or_else(|error| Self::Failed(error.to_string()))
    }

    /// The step that decoding a stream's bytes gave; what is cut waits for more.
    pub fn of_stream(decoded: Result<Self, DecodeError>) -> Self {
        match decoded {
            Ok(step) => step,
            Err(DecodeError { problem: Problem::Truncated, .. }) => Self::More,
            Err(error) => Self::Failed(error.to_string()),
        }
    }

    /// As [`Step::of_stream`], for a line on which another protocol may well be spoken: what came instead is shown.
    pub fn of_line(decoded: Result<Self, DecodeError>, protocol: &str, data: &[u8]) -> Self {
        match decoded {
            Err(DecodeError { problem: Problem::Value(_), .. }) => Self::Failed(unlike(protocol, data)),
            decoded => Self::of_stream(decoded),
        }
    }
}

/// One conversation.
pub trait Session: Send {
    /// The line is up: what to say first. Again after each [`Step::Reconnect`].
    fn hello(&mut self) -> Step;

    /// The line is up and encrypted: after the handshake of [`Via::Tls`], and after [`Step::StartTls`].
    fn secured(&mut self, security: &Security) -> Step {
        let _ = security;
        self.hello()
    }

    /// Something happened.
    fn on(&mut self, event: Event<'_>) -> Step;
}

/// The protocol of an id or alias.
pub fn protocol(name: &str) -> Option<&'static Protocol> {
    let name = name.to_ascii_lowercase();
    PROBES.iter().copied().find(|protocol| protocol.id == name || protocol.aliases.contains(&name.as_str()))
}

/// The protocol for a port, and what carries it: by the name that the services file gives the port, then by our table.
pub fn at_home(transport: Transport, port: u16, service: Option<&str>) -> Option<(&'static Protocol, Via)> {
    let homes = || {
        PROBES
            .iter()
            .flat_map(|protocol| protocol.homes.iter().map(move |home| (*protocol, home)))
            .filter(|(_, home)| home.via.transport() == transport)
    };
    let named = service
        .filter(|service| !service.is_empty())
        .and_then(|service| homes().find(|(_, home)| home.service.eq_ignore_ascii_case(service)));
    let found = named.or_else(|| homes().find(|(_, home)| home.port == port))?;
    Some((found.0, found.1.via))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_protocol_has_its_own_name_a_page_and_a_way_to_be_carried() {
        let mut names = BTreeSet::new();
        for protocol in PROBES {
            for name in std::iter::once(&protocol.id).chain(protocol.aliases) {
                assert!(names.insert(*name), "{name} stands twice");
                assert!(
                    name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                    "{name}"
                );
            }
            let (id, doc) = (protocol.id, protocol.doc);
            assert!(doc.len() > 200 && doc.ends_with('\n') && !protocol.title.ends_with('.'), "{id}'s texts");
            assert!(doc.lines().all(|line| line.chars().count() <= 116), "{id}'s page is too wide");
            assert!(!protocol.via.is_empty(), "{id} can be carried by nothing");
            assert!(
                protocol.homes.iter().all(|home| protocol.via.contains(&home.via) && home.port > 0),
                "{id}"
            );
        }
    }

    #[test]
    fn the_services_file_names_a_port_before_our_table_does() {
        let id = |transport, port, service| at_home(transport, port, service).map(|(p, via)| (p.id, via));
        assert_eq!(id(Transport::Udp, 53, Some("domain")), Some(("dns", Via::Udp)));
        assert_eq!(id(Transport::Tcp, 1053, Some("domain")), Some(("dns", Via::Tcp)));
        assert_eq!(id(Transport::Tcp, 53, None), Some(("dns", Via::Tcp)));
        assert_eq!(id(Transport::Tcp, 53, Some("no-such-service")), Some(("dns", Via::Tcp)));
        assert_eq!(id(Transport::Tcp, 1, Some("")), None);
        assert_eq!(protocol("DNS").map(|protocol| protocol.id), Some("dns"));
    }

    #[test]
    fn random_bytes_differ_by_seed_and_purpose_and_are_the_same_again() {
        let request = crate::rehearsal::request(&dns::PROTOCOL, Via::Udp);
        let other = Request { seed: [8; 32], ..request.clone() };
        assert_eq!(request.random::<20>("id"), request.random::<20>("id"));
        assert_ne!(request.random::<20>("id"), request.random::<20>("nonce"));
        assert_ne!(request.random::<20>("id"), other.random::<20>("id"));
        assert_ne!(request.random::<16>("id")[..8], request.random::<16>("id")[8..]);
    }
}
