//! Portolan's core: what a port is, what was seen of it, and what that means.
//!
//! Pure: no I/O, no clock, no randomness, no system conditions, no `unsafe`. Everything here is a value made
//! from values, so it can be tested, fuzzed and run under Miri without a machine around it.
#![forbid(unsafe_code)]

pub mod cause;
pub mod conflict;
pub mod diagnose;
pub mod kernel;
pub mod owner;
pub mod port;
pub mod range;
pub mod remedy;
pub mod snapshot;
pub mod socket;
pub mod wording;
