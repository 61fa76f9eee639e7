//! Portolan's core: what a port is, what was seen of it, and what that means.
//!
//! Pure: no I/O, no clock, no randomness, no system conditions, no `unsafe`. Everything here is a value made
//! from values, so it can be tested, fuzzed and run under Miri without a machine around it.
#![forbid(unsafe_code)]

pub mod answer;
pub mod asked;
pub mod cause;
pub mod census;
pub mod change;
pub mod changes;
pub mod conflict;
pub mod course;
pub mod diagnose;
pub mod excluded;
pub mod import;
pub mod kernel;
pub mod leak;
pub mod limits;
mod listing;
pub mod owner;
pub mod pick;
pub mod popular;
pub mod port;
pub mod probe;
pub mod profile;
pub mod range;
pub mod record;
pub mod rehearsal;
pub mod remedy;
pub mod room;
pub mod series;
pub mod snapshot;
pub mod snapshot_file;
pub mod socket;
pub mod text;
pub mod trace;
pub mod trend;
pub mod wire;
pub mod wording;
