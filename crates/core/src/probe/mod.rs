//! Probing a port of any host: what was found of it, and how long an answer is waited for.

mod round_trip;
mod verdict;

pub use round_trip::{RoundTrip, tries_for};
pub use verdict::{Icmp, IcmpVersion, PortState, Reason, Refusal, Verdict, tcp_refused, udp_refused};
