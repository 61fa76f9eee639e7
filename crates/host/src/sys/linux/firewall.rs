//! What the local firewall lets in.
//!
//! Where its rules could not all be read there are none to show: half of them would mislead about the other half.

use portolan_core::kernel::packet_filter::Ruleset;
use portolan_core::range::FirewallRule;
use portolan_core::snapshot::Reading;

use super::packet_filter;

/// Rules for what comes into this thread's namespace, in the order they are asked; none with a gap where they could
/// not be read whole.
pub(crate) fn firewall() -> Reading<Option<Vec<FirewallRule>>> {
    firewall_of(&packet_filter::rules())
}

/// The same, of rules that were read before.
pub(super) fn firewall_of(rules: &Reading<Ruleset>) -> Reading<Option<Vec<FirewallRule>>> {
    let mut gaps = rules.gaps.clone();
    let rules = rules.value.firewall().into_value(&mut gaps);
    Reading { value: gaps.is_empty().then_some(rules), gaps }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use portolan_core::snapshot::GapReason;
    use portolan_testbed::Namespace;

    use super::*;

    /// Runs a tool inside, which must be installed and succeed.
    fn run(namespace: &Namespace, program: &str, arguments: &[&str]) {
        let status = namespace.run(|| Command::new(program).args(arguments).status());
        let status = status
            .unwrap_or_else(|error| panic!("{program}: {error}; run `apt-get install nftables iptables`"));
        assert!(status.success(), "{program} {}", arguments.join(" "));
    }

    fn inside(namespace: &Namespace) -> Vec<String> {
        let reading = namespace.run(firewall);
        assert_eq!(reading.gaps, []);
        let line = |rule: FirewallRule| {
            let ports = rule.ports.map_or("all".to_owned(), |ports| ports.to_string());
            format!("{} {ports} {}", rule.verdict, rule.text)
        };
        reading.value.unwrap().into_iter().map(line).collect()
    }

    #[test]
    fn a_namespace_without_rules_has_none_and_no_gap() {
        assert_eq!(inside(&Namespace::new()), [""; 0]);
    }

    #[test]
    fn a_rule_of_nftables_that_drops_is_found() {
        let namespace = Namespace::new();
        let rules = "table inet f { chain in { type filter hook input priority 0; policy accept; tcp dport 4000 drop; }; }";
        run(&namespace, "nft", &[rules]);
        let seen = inside(&namespace);
        assert_eq!(seen.len(), 2);
        assert!(seen[0].starts_with("drop 4000 nft inet f in handle "), "{}", seen[0]);
        assert_eq!(seen[1], "accept all nft inet f in: policy accept");
    }

    #[test]
    fn rules_of_both_kinds_of_iptables_are_found() {
        for (tool, shown) in [("iptables-nft", "iptables-nft"), ("iptables-legacy", "iptables-legacy")] {
            let namespace = Namespace::new();
            run(
                &namespace,
                tool,
                &["-A", "INPUT", "-p", "tcp", "-m", "multiport", "--dports", "25,26", "-j", "DROP"],
            );
            let expected =
                format!("drop 25-26 {shown} -t filter -A INPUT -p tcp -m multiport --dports 25,26 -j DROP");
            assert_eq!(inside(&namespace)[0], expected);
        }
    }

    #[test]
    fn a_plain_user_is_told_that_it_takes_root() {
        let namespace = Namespace::new();
        // The capabilities of one thread alone, which ends with the test.
        let reading = namespace.run(|| {
            rustix::thread::set_capabilities(
                None,
                rustix::thread::CapabilitySets {
                    effective: rustix::thread::CapabilitySet::empty(),
                    permitted: rustix::thread::CapabilitySet::empty(),
                    inheritable: rustix::thread::CapabilitySet::empty(),
                },
            )
            .unwrap();
            firewall()
        });
        assert_eq!(reading.value, None);
        assert_eq!(reading.gaps.len(), 1);
        let gap = &reading.gaps[0];
        assert_eq!((gap.what.as_str(), gap.reason), ("firewall", GapReason::Denied));
        assert_eq!(gap.remedy.as_deref(), Some("run as root"));
    }
}
