//! The façade: a few typed functions for each system, returning values.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;

pub(crate) use system::bind::{Refusal, SYSTEM, as_user, try_bind};
pub use system::change::place;
pub(crate) use system::change::{effective_uid, observe, perform, private_folder, sweep, sync_folder};
pub(crate) use system::namespace::within;
