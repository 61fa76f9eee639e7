//! What the local firewall lets in: not read on Windows yet.

use portolan_core::range::FirewallRule;
use portolan_core::snapshot::{Gap, GapReason, Reading};

/// No rules, with a gap.
pub(crate) fn firewall() -> Reading<Option<Vec<FirewallRule>>> {
    let gap = Gap::new("firewall", GapReason::Unsupported, "the rules of Windows' firewall are not read yet")
        .with_remedy("netsh advfirewall firewall show rule name=all dir=in");
    Reading { value: None, gaps: vec![gap] }
}
