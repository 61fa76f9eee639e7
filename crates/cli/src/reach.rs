//! How far a port is reachable: by the addresses its sockets are bound to, and by the local firewall.

use std::net::IpAddr;

use portolan_core::snapshot::Snapshot;
use portolan_core::socket::Transport;
use schemars::JsonSchema;
use serde::Serialize;

/// From where a port can be reached, by the addresses it is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reach {
    /// Only from this machine.
    Loopback,
    /// Through certain addresses.
    Address,
    /// Through every address.
    All,
}

impl Reach {
    /// The reach of sockets bound to these addresses; none without a socket.
    pub(crate) fn of(addresses: &[IpAddr]) -> Option<Self> {
        addresses
            .iter()
            .map(|address| match address.to_canonical() {
                address if address.is_unspecified() => Self::All,
                address if address.is_loopback() => Self::Loopback,
                _ => Self::Address,
            })
            .max()
    }

    /// The reach as a word in a table.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Address => "one address",
            Self::All => "all",
        }
    }

    /// The reach as a sentence's end: "reachable …".
    pub(crate) const fn phrase(self) -> &'static str {
        match self {
            Self::Loopback => "from this machine only",
            Self::Address => "through that address",
            Self::All => "through every address of this machine",
        }
    }
}

/// What the local firewall does with traffic that comes in for a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Filter {
    /// Lets it in.
    Accept,
    /// Drops it in silence.
    Drop,
    /// Refuses it with an answer.
    Reject,
    /// It depends on the sender or on more than transport and port.
    Depends,
    /// Its rules were not read.
    NotRead,
}

/// The local firewall's word on a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Firewall {
    /// What it does.
    pub(crate) verdict: Filter,
    /// The rules that say so, as a person would look them up.
    pub(crate) rules: Vec<String>,
}

impl Firewall {
    /// What the rules of a snapshot do with a port. Rules of several chains stand in one list here, and an accept in
    /// one chain does not save from a drop in another: where verdicts differ, the answer is that it depends.
    pub(crate) fn of(snapshot: &Snapshot, transport: Transport, port: u16) -> Self {
        let Some(rules) = &snapshot.firewall else {
            return Self { verdict: Filter::NotRead, rules: Vec::new() };
        };
        let concerned: Vec<_> = rules
            .iter()
            .filter(|rule| rule.transport.is_none_or(|t| t == transport))
            .filter(|rule| rule.ports.is_none_or(|ports| ports.contains(port)))
            .collect();
        let verdict = match concerned.first() {
            _ if concerned.iter().all(|rule| rule.verdict == "accept") => Filter::Accept,
            // A rule of one family leaves the other's traffic to the rules behind it.
            Some(first) if !first.unconditional || first.family.is_some() => Filter::Depends,
            Some(first) if first.verdict == "drop" => Filter::Drop,
            Some(first) if first.verdict == "reject" => Filter::Reject,
            _ => Filter::Depends,
        };
        Self { verdict, rules: concerned.iter().map(|rule| rule.text.clone()).collect() }
    }

    /// The verdict as a sentence.
    pub(crate) const fn phrase(&self) -> &'static str {
        match self.verdict {
            Filter::Accept => "the local firewall lets it in",
            Filter::Drop => "the local firewall drops it",
            Filter::Reject => "the local firewall rejects it",
            Filter::Depends => "the local firewall lets some of it in, by these rules",
            Filter::NotRead => "the local firewall was not read",
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::port::PortRange;
    use portolan_core::range::FirewallRule;

    use super::*;

    fn rule(ports: Option<(u16, u16)>, verdict: &str, unconditional: bool) -> FirewallRule {
        FirewallRule {
            transport: ports.map(|_| Transport::Tcp),
            family: None,
            ports: ports.map(|range| PortRange::try_from(range).unwrap()),
            verdict: verdict.into(),
            unconditional,
            text: format!("input {verdict}"),
        }
    }

    #[test]
    fn the_widest_address_decides_the_reach() {
        let addresses = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<IpAddr>>();
        for (texts, expected) in [
            (&["127.0.0.1", "::1"][..], Some(Reach::Loopback)),
            (&["127.0.0.1", "10.0.0.5"], Some(Reach::Address)),
            (&["10.0.0.5", "::"], Some(Reach::All)),
            (&["::ffff:127.0.0.1"], Some(Reach::Loopback)),
            (&[], None),
        ] {
            assert_eq!(Reach::of(&addresses(texts)), expected, "{texts:?}");
        }
    }

    #[test]
    fn a_firewall_is_believed_only_where_its_rules_agree() {
        let verdict = |rules: Option<Vec<FirewallRule>>, port| {
            Firewall::of(&Snapshot { firewall: rules, ..Snapshot::default() }, Transport::Tcp, port).verdict
        };
        let open_22 = || Some(vec![rule(Some((22, 22)), "accept", true), rule(None, "drop", true)]);
        assert_eq!(verdict(None, 22), Filter::NotRead);
        assert_eq!(verdict(Some(Vec::new()), 22), Filter::Accept);
        assert_eq!(verdict(open_22(), 80), Filter::Drop);
        assert_eq!(verdict(open_22(), 22), Filter::Depends);
        assert_eq!(verdict(Some(vec![rule(None, "drop", false)]), 22), Filter::Depends);
    }
}
