//! A target of a sweep on its way to its verdict: what was tried, and what came of it so far.

use std::net::SocketAddr;
use std::time::Instant;

/// A target on its way to its verdict.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) index: u64,
    pub(super) target: SocketAddr,
    pub(super) tries: u16,
    pub(super) met_itself: u8,
    pub(super) met_others: u8,
    /// How often it was asked alone, for the sake of an ICMP limit.
    pub(super) asked_alone: u8,
    /// The system must not repeat the question: a repeat would use up the answer's leave.
    pub(super) once: bool,
    pub(super) no_room_since: Option<Instant>,
}

impl Pair {
    pub(super) const fn new(index: u64, target: SocketAddr) -> Self {
        Self {
            index,
            target,
            tries: 0,
            met_itself: 0,
            met_others: 0,
            asked_alone: 0,
            once: false,
            no_room_since: None,
        }
    }
}
