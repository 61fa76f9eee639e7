//! Linux has one ephemeral range, whose ports several destinations share: nothing is set aside for that.

use portolan_core::port::PortRange;
use portolan_core::snapshot::Reading;

/// The range that TCP connect() draws from besides the ephemeral one: none.
pub(crate) const fn auto_reuse() -> Reading<Option<PortRange>> {
    Reading::whole(None)
}
