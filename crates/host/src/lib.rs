//! Portolan's host: every effect on this machine and the network.
//!
//! The only crate with `unsafe` and with system conditions. [`sys`] is a typed façade of a few functions that
//! return values; nothing above it knows a system.

pub mod apply;
pub mod bind;
pub mod connect;
mod error;
pub mod exchange;
pub mod hold;
pub mod journal;
mod look;
pub mod probe;
pub mod recording;
pub mod sweep;
pub mod sys;
pub mod way;

pub use error::Error;
pub use look::{Look, Namespace, OwnerSearch, Sections, SocketFilter, look};
