//! Linux has one ephemeral range, whose ports several destinations share: nothing is set aside for that, nor for guests.

use std::collections::BTreeMap;

use portolan_core::port::PortRange;
use portolan_core::snapshot::Reading;

/// The range that TCP connect() draws from besides the ephemeral one: none.
pub(crate) const fn auto_reuse() -> Reading<Option<PortRange>> {
    Reading::whole(None)
}

/// What WinNAT keeps: nothing here.
pub(crate) const fn winnat(_: bool) -> Reading<BTreeMap<String, u64>> {
    Reading::whole(BTreeMap::new())
}
