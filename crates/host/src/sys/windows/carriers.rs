//! What takes a port's traffic on behalf of another: port-proxy rules, and URLs of the HTTP driver.

use portolan_core::range::{Carrier, FirewallRule};
use portolan_core::snapshot::Reading;

use super::firewall::firewall;

/// Carriers of this host.
pub(crate) fn carriers() -> Reading<Vec<Carrier>> {
    Reading::default()
}

/// Carriers and what the firewall lets in.
pub(crate) fn carriers_and_firewall() -> (Reading<Vec<Carrier>>, Reading<Option<Vec<FirewallRule>>>) {
    (carriers(), firewall())
}
