//! Windows has nothing of the kind: a port in use there serves no other destination.

use portolan_core::port::PortRange;
use portolan_core::snapshot::Reading;

use crate::sys::Buckets;

/// None, and nothing is missing.
pub(crate) fn read(_range: PortRange) -> Reading<Option<Buckets>> {
    Reading::whole(None)
}
