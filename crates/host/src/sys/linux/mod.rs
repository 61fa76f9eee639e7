//! Linux: what its kernel says by netlink, /proc and /sys, and what its tools say of the firewall and of systemd.

mod addresses;
pub(crate) mod bind;
pub(super) mod carriers;
pub(crate) mod change;
pub(crate) mod close;
mod command;
pub(crate) mod connecting;
pub(super) mod counters;
mod descriptors;
pub(crate) mod error_queue;
mod file;
mod file_iterator;
pub(super) mod firewall;
pub(crate) mod handover;
pub(super) mod host;
mod kernel;
pub(crate) mod namespace;
mod netlink;
mod origins;
pub(crate) mod own_file;
pub(crate) mod owners;
mod packet_filter;
mod process;
pub(super) mod settings;
pub(crate) mod sockets;
pub(crate) mod stop;
pub(super) mod user;
