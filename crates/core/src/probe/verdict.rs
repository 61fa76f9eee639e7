//! The verdict on a probed port: its state, the reason, the round trip, the tries; and what a refusal means for it.
//!
//! Source: RFC 9293 section 3.10.7.3 (answers to a SYN), RFC 792 and the IANA registry of ICMP parameters, RFC 4443
//! section 3.1, RFC 1812 section 5.2.7.1 and RFC 1122 section 3.2.2.1 (who sends which code). Left out on purpose: what
//! speaks on the port, which is a probe's answer.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a port is, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PortState {
    /// Somebody listens and answers.
    Open,
    /// The host itself says that nobody listens.
    Closed,
    /// Something on the way, or on the host, keeps the question or the answer back: silence, or a refusal in the
    /// network's name.
    Filtered,
    /// UDP: silence, which an open port that did not understand and a filter have in common.
    #[serde(rename = "open|filtered")]
    OpenFiltered,
    /// No way leads to the host.
    Unreachable,
    /// Nothing can be told: the question could not be sent, or an answer may have been kept back by the limit that
    /// hosts and routers set on their ICMP errors.
    Undecided,
}

impl PortState {
    /// Every state, the most telling first.
    pub const ALL: [Self; 6] =
        [Self::Open, Self::OpenFiltered, Self::Closed, Self::Filtered, Self::Unreachable, Self::Undecided];

    /// Its word, as in output.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Filtered => "filtered",
            Self::OpenFiltered => "open|filtered",
            Self::Unreachable => "unreachable",
            Self::Undecided => "undecided",
        }
    }
}

/// Which ICMP: their numbers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IcmpVersion {
    /// RFC 792.
    V4,
    /// RFC 4443.
    V6,
}

/// An ICMP error, and who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Icmp {
    /// Which numbers these are.
    #[serde(rename = "icmp_version")]
    pub version: IcmpVersion,
    /// Type: 3 (IPv4) and 1 (IPv6) are "destination unreachable".
    #[serde(rename = "icmp_type")]
    pub kind: u8,
    /// Code.
    #[serde(rename = "icmp_code")]
    pub code: u8,
    /// The host or router that sent it; none where the system did not keep it.
    pub from: Option<IpAddr>,
}

impl Icmp {
    /// What its type and code say, in words; "type T code C" of those that no path sends back about a port.
    pub fn meaning(&self) -> String {
        let words = match (self.version, self.kind, self.code) {
            (IcmpVersion::V4, 3, 0) => "network unreachable",
            (IcmpVersion::V4, 3, 1) => "host unreachable",
            (IcmpVersion::V4, 3, 2) => "protocol unreachable",
            (IcmpVersion::V4, 3, 3) | (IcmpVersion::V6, 1, 4) => "port unreachable",
            (IcmpVersion::V4, 3, 4) => "fragmentation needed",
            (IcmpVersion::V4, 3, 5) => "source route failed",
            (IcmpVersion::V4, 3, 6) => "network unknown",
            (IcmpVersion::V4, 3, 7) => "host unknown",
            (IcmpVersion::V4, 3, 9) => "network prohibited",
            (IcmpVersion::V4, 3, 10) => "host prohibited",
            (IcmpVersion::V4, 3, 11) => "network unreachable for this service",
            (IcmpVersion::V4, 3, 12) => "host unreachable for this service",
            (IcmpVersion::V4, 3, 13) | (IcmpVersion::V6, 1, 1) => "administratively prohibited",
            (IcmpVersion::V4, 11, 0) | (IcmpVersion::V6, 3, 0) => "hop limit exceeded on the way",
            (IcmpVersion::V6, 1, 0) => "no route to destination",
            (IcmpVersion::V6, 1, 2) => "beyond the scope of the source address",
            (IcmpVersion::V6, 1, 3) => "address unreachable",
            (IcmpVersion::V6, 1, 5) => "source address failed the policy",
            (IcmpVersion::V6, 1, 6) => "route rejected",
            (IcmpVersion::V6, 4, 1) => "next header unknown",
            _ => return format!("ICMP type {} code {}", self.kind, self.code),
        };
        words.to_owned()
    }

    /// Whether it says that nobody holds the port. Of UDP that is the host's own word.
    pub const fn is_port_unreachable(&self) -> bool {
        matches!((self.version, self.kind, self.code), (IcmpVersion::V4, 3, 3) | (IcmpVersion::V6, 1, 4))
    }

    /// Whether it says that something was forbidden or not offered, as filters do, and not that a way is missing.
    pub const fn is_prohibition(&self) -> bool {
        match self.version {
            IcmpVersion::V4 => self.kind == 3 && matches!(self.code, 2 | 3 | 9 | 10 | 13),
            IcmpVersion::V6 => {
                matches!((self.kind, self.code), (1, 1 | 4 | 5 | 6) | (4, 1))
            }
        }
    }
}

/// Why a port is thought to be in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// TCP: the connection came about.
    SynAck,
    /// TCP: a reset came back.
    Reset,
    /// UDP: an answer came back.
    Answer,
    /// No answer to any try.
    Timeout,
    /// An ICMP error came back.
    Icmp(Icmp),
    /// No answer, while others of the same destination or router came back as ICMP errors, which are sent at a
    /// limited rate: this one may have been held back.
    LimitedIcmp(Icmp),
    /// TCP: a port of this machine that nobody holds, so that a connection to it was given that very port as its own
    /// end, several times.
    MetItself,
    /// This system refused by itself: no route, a prohibiting route, a local policy.
    System {
        /// The system's error code.
        code: i32,
    },
}

impl Reason {
    /// The word of its kind, as in output.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::SynAck => "syn-ack",
            Self::Reset => "reset",
            Self::Answer => "answer",
            Self::Timeout => "timeout",
            Self::Icmp(_) => "icmp",
            Self::LimitedIcmp(_) => "limited-icmp",
            Self::MetItself => "met-itself",
            Self::System { .. } => "system",
        }
    }

    /// The ICMP error that it rests on.
    pub const fn icmp(&self) -> Option<&Icmp> {
        match self {
            Self::Icmp(icmp) | Self::LimitedIcmp(icmp) => Some(icmp),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = |icmp: &Icmp| icmp.from.map_or_else(String::new, |from| format!(" from {from}"));
        match self {
            Self::SynAck | Self::Reset | Self::Answer | Self::Timeout => f.write_str(self.word()),
            Self::Icmp(icmp) => write!(f, "{}{}", icmp.meaning(), from(icmp)),
            Self::LimitedIcmp(icmp) => write!(f, "timeout, but ICMP errors{} are limited", from(icmp)),
            Self::MetItself => f.write_str("only connections of our own were met there"),
            Self::System { code } => write!(f, "refused by this system (code {code})"),
        }
    }
}

/// What was found of one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The state.
    pub state: PortState,
    /// Why.
    pub reason: Reason,
    /// From the question that was answered to its answer; none without one.
    pub round_trip: Option<Duration>,
    /// How often the question was sent.
    pub tries: u16,
}

/// What a system says of a try that was refused, in every system's words alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// ECONNREFUSED, WSAECONNREFUSED: a reset, or a port-unreachable.
    Refused,
    /// ETIMEDOUT, WSAETIMEDOUT: the system itself gave up.
    TimedOut,
    /// EHOSTUNREACH, ENETUNREACH, ENETDOWN, ENONET and what Winsock calls so; EACCES and EINVAL of a route that
    /// prohibits or swallows.
    NoWay,
    /// Anything else.
    Other,
}

/// State and reason of a refused TCP connection; `icmp` is the error that came with it, where one did.
pub const fn tcp_refused(refusal: Refusal, code: i32, icmp: Option<Icmp>) -> (PortState, Reason) {
    match (icmp, refusal) {
        // A host answers a SYN for a port that nobody holds with a reset: whoever sends ICMP about it filters.
        (Some(icmp), _) if icmp.is_prohibition() => (PortState::Filtered, Reason::Icmp(icmp)),
        (Some(icmp), _) => (PortState::Unreachable, Reason::Icmp(icmp)),
        (None, Refusal::Refused) => (PortState::Closed, Reason::Reset),
        (None, Refusal::TimedOut) => (PortState::Filtered, Reason::Timeout),
        (None, Refusal::NoWay) => (PortState::Unreachable, Reason::System { code }),
        (None, Refusal::Other) => (PortState::Undecided, Reason::System { code }),
    }
}

/// State and reason of a refused datagram to `target`; `icmp` is the error that came back, where one did.
pub fn udp_refused(target: IpAddr, refusal: Refusal, code: i32, icmp: Option<Icmp>) -> (PortState, Reason) {
    match icmp {
        // Another host's port-unreachable is a filter's, unless the sender is not known.
        Some(icmp) if icmp.is_port_unreachable() && icmp.from.is_none_or(|from| from == target) => {
            (PortState::Closed, Reason::Icmp(icmp))
        }
        None if refusal == Refusal::Refused => (PortState::Closed, Reason::System { code }),
        None if refusal == Refusal::TimedOut => (PortState::OpenFiltered, Reason::Timeout),
        icmp => tcp_refused(refusal, code, icmp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 254));

    fn v4(code: u8, from: IpAddr) -> Option<Icmp> {
        Some(Icmp { version: IcmpVersion::V4, kind: 3, code, from: Some(from) })
    }

    fn v6(code: u8) -> Option<Icmp> {
        Some(Icmp { version: IcmpVersion::V6, kind: 1, code, from: None })
    }

    #[test]
    fn a_reset_is_a_closed_port_and_a_port_unreachable_for_tcp_a_filter() {
        assert_eq!(tcp_refused(Refusal::Refused, 111, None), (PortState::Closed, Reason::Reset));
        assert_eq!(tcp_refused(Refusal::Refused, 111, v4(3, HOST)).0, PortState::Filtered);
        assert_eq!(tcp_refused(Refusal::Refused, 111, v6(4)).0, PortState::Filtered);
    }

    #[test]
    fn prohibitions_filter_and_missing_ways_are_unreachable() {
        for code in [2, 9, 10, 13] {
            assert_eq!(tcp_refused(Refusal::NoWay, 113, v4(code, ROUTER)).0, PortState::Filtered, "{code}");
        }
        for code in [0, 1, 5, 6, 7, 11, 12] {
            assert_eq!(
                tcp_refused(Refusal::NoWay, 113, v4(code, ROUTER)).0,
                PortState::Unreachable,
                "{code}"
            );
        }
        for (code, state) in [
            (0, PortState::Unreachable),
            (1, PortState::Filtered),
            (2, PortState::Unreachable),
            (3, PortState::Unreachable),
            (5, PortState::Filtered),
            (6, PortState::Filtered),
        ] {
            assert_eq!(tcp_refused(Refusal::NoWay, 113, v6(code)).0, state, "{code}");
        }
        let local = (PortState::Unreachable, Reason::System { code: 101 });
        assert_eq!(tcp_refused(Refusal::NoWay, 101, None), local);
        assert_eq!(tcp_refused(Refusal::Other, 1, None).0, PortState::Undecided);
    }

    #[test]
    fn of_udp_the_hosts_own_port_unreachable_is_closed_and_a_routers_is_a_filter() {
        assert_eq!(udp_refused(HOST, Refusal::Refused, 111, v4(3, HOST)).0, PortState::Closed);
        assert_eq!(udp_refused(HOST, Refusal::Refused, 111, v4(3, ROUTER)).0, PortState::Filtered);
        assert_eq!(udp_refused(HOST, Refusal::Refused, 111, v6(4)).0, PortState::Closed);
        assert_eq!(udp_refused(HOST, Refusal::Refused, 111, None).0, PortState::Closed);
        assert_eq!(udp_refused(HOST, Refusal::NoWay, 113, v4(13, HOST)).0, PortState::Filtered);
        assert_eq!(udp_refused(HOST, Refusal::NoWay, 113, v4(1, ROUTER)).0, PortState::Unreachable);
    }

    #[test]
    fn a_state_is_written_as_its_word() {
        for state in PortState::ALL {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{}\"", state.word()));
        }
    }

    #[test]
    fn a_reason_is_one_flat_object() {
        let written = serde_json::to_string(&Reason::Icmp(v4(13, ROUTER).unwrap())).unwrap();
        let expected =
            r#"{"kind":"icmp","icmp_version":"v4","icmp_type":3,"icmp_code":13,"from":"192.0.2.254"}"#;
        assert_eq!(written, expected);
        assert_eq!(serde_json::to_string(&Reason::SynAck).unwrap(), r#"{"kind":"syn-ack"}"#);
    }

    #[test]
    fn a_reason_names_the_sender() {
        let reason = Reason::Icmp(v4(13, ROUTER).unwrap());
        assert_eq!(reason.to_string(), "administratively prohibited from 192.0.2.254");
        let unknown = Icmp { version: IcmpVersion::V4, kind: 12, code: 9, from: None };
        assert_eq!(Reason::Icmp(unknown).to_string(), "ICMP type 12 code 9");
    }
}
