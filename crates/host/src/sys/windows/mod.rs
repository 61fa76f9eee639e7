//! Windows: what its IP helper library, its process and service tables, its registry and its netsh say.
//!
//! Functions that some Windows lacks, or Wine, are looked up when the program runs (`library`), so that it starts
//! everywhere. Not everything was run on a real Windows yet; `docs/windows.md` says what only Wine has seen.

mod addresses;
pub(crate) mod bind;
pub(crate) mod bind_buckets;
mod buffer;
pub(super) mod carriers;
pub(crate) mod change;
pub(crate) mod close;
mod command;
pub(crate) mod configured;
pub(crate) mod connecting;
pub(crate) mod console;
pub(super) mod counters;
pub(crate) mod echo;
mod etw;
mod events;
mod features;
pub(super) mod firewall;
pub(crate) mod handover;
pub(super) mod host;
mod kept;
pub(crate) mod keys;
mod library;
pub(crate) mod lines;
pub(crate) mod names;
pub(crate) mod namespace;
pub(crate) mod owners;
mod process;
pub(crate) mod recording;
mod registry;
pub(crate) mod route;
mod service;
pub(crate) mod set_up;
pub(super) mod settings;
pub(super) mod sharing;
pub(crate) mod socket_handles;
pub(crate) mod sockets;
pub(crate) mod start_up;
pub(crate) mod stop;
mod tables;
mod token;
pub(crate) mod trace;
pub(super) mod user;
mod wide;
