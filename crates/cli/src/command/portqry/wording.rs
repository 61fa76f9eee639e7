//! PortQry's words for a verdict, and its exit codes.
//!
//! Source: Microsoft's article "Using the PortQry command-line tool" (what is LISTENING, NOT LISTENING, FILTERED; the exit
//! codes of `-q`); captures of versions 1 and 2. 99, for what could not be asked at all, is
//! not in the article: PortQryUI is remembered to show it ("return code 0x00000063"), and 0 to 2 mean something else.

use portolan_core::kernel::services::Services;
use portolan_core::probe::{PortState, Reason, Verdict};
use portolan_core::socket::Transport;

/// Typed wrong, an unknown host, a log that cannot be written.
pub(super) const NOT_ASKED: u8 = 99;

/// What PortQry says of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Listening,
    NotListening,
    Filtered,
    /// UDP: silence.
    ListeningOrFiltered,
}

impl Status {
    /// The status of a verdict. A refusal on the way counts as PortQry counts it: any ICMP "unreachable" is NOT LISTENING.
    pub(super) const fn of(transport: Transport, verdict: &Verdict) -> Self {
        match (verdict.state, &verdict.reason, transport) {
            (PortState::Open, _, _) => Self::Listening,
            (PortState::Closed | PortState::Unreachable, _, _)
            | (PortState::Filtered, Reason::Icmp(_), _) => Self::NotListening,
            (PortState::OpenFiltered, _, _) | (_, _, Transport::Udp) => Self::ListeningOrFiltered,
            (PortState::Filtered | PortState::Undecided, _, Transport::Tcp) => Self::Filtered,
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Listening => "LISTENING",
            Self::NotListening => "NOT LISTENING",
            Self::Filtered => "FILTERED",
            Self::ListeningOrFiltered => "LISTENING or FILTERED",
        }
    }

    /// The exit code.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Listening => 0,
            Self::NotListening => 1,
            Self::Filtered | Self::ListeningOrFiltered => 2,
        }
    }
}

/// `TCP`, `UDP`.
pub(super) const fn shouted(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    }
}

/// `TCP port 80 (http service): LISTENING`.
pub(super) fn status_line(services: &Services, transport: Transport, port: u16, status: Status) -> String {
    let service = services.name(transport, port).unwrap_or("unknown");
    format!("{} port {port} ({service} service): {}", shouted(transport), status.word())
}

/// Why nothing could be asked of a port, where this system itself refused.
pub(super) fn not_sent(verdict: &Verdict) -> Option<i32> {
    match verdict.reason {
        Reason::System { code } => Some(code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::probe::{Icmp, IcmpVersion};

    use super::*;

    fn verdict(state: PortState, reason: Reason) -> Verdict {
        Verdict { state, reason, round_trip: None, tries: 1 }
    }

    #[test]
    fn every_verdict_has_portqrys_word_and_code() {
        let icmp = Reason::Icmp(Icmp { version: IcmpVersion::V4, kind: 3, code: 13, from: None });
        for (transport, state, reason, word, code) in [
            (Transport::Tcp, PortState::Open, Reason::SynAck, "LISTENING", 0),
            (Transport::Udp, PortState::Open, Reason::Answer, "LISTENING", 0),
            (Transport::Tcp, PortState::Closed, Reason::Reset, "NOT LISTENING", 1),
            (Transport::Udp, PortState::Closed, icmp, "NOT LISTENING", 1),
            (Transport::Tcp, PortState::Filtered, icmp, "NOT LISTENING", 1),
            (Transport::Udp, PortState::Filtered, icmp, "NOT LISTENING", 1),
            (Transport::Tcp, PortState::Unreachable, icmp, "NOT LISTENING", 1),
            (Transport::Tcp, PortState::Filtered, Reason::Timeout, "FILTERED", 2),
            (Transport::Udp, PortState::OpenFiltered, Reason::Timeout, "LISTENING or FILTERED", 2),
            (Transport::Udp, PortState::Undecided, Reason::Timeout, "LISTENING or FILTERED", 2),
            (Transport::Tcp, PortState::Undecided, Reason::Timeout, "FILTERED", 2),
        ] {
            let status = Status::of(transport, &verdict(state, reason));
            assert_eq!((status.word(), status.code()), (word, code), "{transport} {state:?} {reason:?}");
        }
    }

    #[test]
    fn a_port_has_the_services_files_name() {
        let services = Services::parse("http 80/tcp www");
        let line = |transport| status_line(&services, transport, 80, Status::Listening);
        assert_eq!(line(Transport::Tcp), "TCP port 80 (http service): LISTENING");
        assert_eq!(line(Transport::Udp), "UDP port 80 (unknown service): LISTENING");
    }
}
