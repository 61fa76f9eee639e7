//! The façade: a few typed functions for each system, returning values.
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;

pub use system::change::place;
pub(crate) use system::change::{effective_uid, observe, perform, private_folder, sweep, sync_folder};

/// Whether what a step did can be looked at afterwards.
pub(crate) fn can_read_back(action: &portolan_core::change::Action) -> bool {
    use portolan_core::change::Action;
    matches!(action, Action::SetRange { .. } | Action::Reserve { .. } | Action::Unreserve { .. })
}
