//! Linux: what its kernel says by netlink, /proc and /sys.

pub(crate) mod bind;
pub(crate) mod change;
mod descriptors;
pub(crate) mod namespace;
mod netlink;
mod origins;
pub(crate) mod owners;
mod process;
pub(crate) mod sockets;
pub(crate) mod stop;
