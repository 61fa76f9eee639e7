//! Socket handles are Windows': here the descriptors of sockets are among the holders that are found anyway.

use portolan_core::owner::Owner;
use portolan_core::snapshot::Gap;

/// Writes nothing.
pub(crate) fn count(_: &mut [Owner]) -> Vec<Gap> {
    Vec::new()
}
