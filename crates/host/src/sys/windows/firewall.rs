//! What the local firewall lets in, as its registry keeps it: the rules of this machine and those of its group policy.
//!
//! Source: `SharedAccess\Parameters\FirewallPolicy`, and `Policies\Microsoft\WindowsFirewall`, whose settings go
//! before the machine's own ([MS-GPFAS]). A Windows has hundreds of rules: none at all is a gap.

use std::io;

use portolan_core::kernel::windows_firewall::{Profile, incoming};
use portolan_core::range::FirewallRule;
use portolan_core::snapshot::{Gap, GapReason, Reading};

use super::registry;

const MACHINE: &str = r"SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy";
const POLICY: &str = r"SOFTWARE\Policies\Microsoft\WindowsFirewall";
/// The private profile has kept the name that it had before there were three.
const PROFILES: [&str; 3] = ["DomainProfile", "PublicProfile", "StandardProfile"];

/// Rules for what comes in, in the order they are asked; none with a gap where they could not be read whole.
pub(crate) fn firewall() -> Reading<Option<Vec<FirewallRule>>> {
    match read() {
        Ok(rules) => Reading::whole(Some(rules)),
        Err((reason, detail)) => {
            let gap = Gap::new("firewall", reason, detail)
                .with_remedy("netsh advfirewall firewall show rule name=all dir=in");
            Reading { value: None, gaps: vec![gap] }
        }
    }
}

fn read() -> Result<Vec<FirewallRule>, (GapReason, String)> {
    let denied = |error: io::Error| (GapReason::Denied, format!("the registry's firewall rules: {error}"));
    let mut rules = Vec::new();
    for key in [MACHINE, POLICY] {
        rules.extend(registry::named_texts(&format!(r"{key}\FirewallRules")).map_err(denied)?);
    }
    if rules.is_empty() {
        return Err((GapReason::Unsupported, "the registry has no firewall rules".to_owned()));
    }
    let profiles =
        PROFILES.iter().map(|name| profile(name)).collect::<io::Result<Vec<_>>>().map_err(denied)?;
    incoming(&rules, &profiles).map_err(|error| (GapReason::Malformed, error.to_string()))
}

/// Where nothing is set the firewall is on and blocks.
fn profile(name: &str) -> io::Result<Profile> {
    let setting = |value: &str| -> io::Result<bool> {
        for key in [POLICY, MACHINE] {
            if let Some(number) = registry::number(&format!(r"{key}\{name}"), value)? {
                return Ok(number != 0);
            }
        }
        Ok(true)
    };
    Ok(Profile { on: setting("EnableFirewall")?, blocks: setting("DefaultInboundAction")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_or_their_absence_is_a_gap() {
        let Reading { value, gaps } = firewall();
        assert_eq!(value.is_none(), gaps.len() == 1, "{value:?} {gaps:?}");
    }
}
