//! A firewall's rules in one form, whichever tool listed them, and what they mean for ports: which a destination NAT
//! rule carries elsewhere, and which the way in accepts, drops or rejects.
//!
//! Source: nft(8) and iptables(8) for how chains are walked. Left out on purpose: the forward and output hooks and
//! ingress, which do not decide who reaches a local port, and accounting, marks and logging, which decide nothing.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::port::{PortRange, PortSet};
use crate::range::{Carrier, CarrierKind, FirewallRule};
use crate::snapshot::{Gap, GapReason, Reading};
use crate::socket::{Family, Transport};

/// Which packets: everything that is not said may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// One family.
    pub family: Option<Family>,
    /// TCP may match.
    pub tcp: bool,
    /// UDP may match.
    pub udp: bool,
    /// Destination ports.
    pub ports: Option<Vec<PortRange>>,
    /// Destination address.
    pub address: Option<IpAddr>,
    /// Something else decides as well: a source, an interface, a limit, a mark.
    pub narrowed: bool,
    /// Only packets that open no connection from elsewhere: those of known connections, or of the loopback interface.
    pub aside: bool,
}

impl Condition {
    /// Every packet.
    pub const EVERYTHING: Self = Self {
        family: None,
        tcp: true,
        udp: true,
        ports: None,
        address: None,
        narrowed: false,
        aside: false,
    };

    /// Every packet, as far as something not understood lets through.
    pub const NARROWED: Self = Self { narrowed: true, ..Self::EVERYTHING };

    /// Every packet of a transport.
    pub const fn of(transport: Transport) -> Self {
        let tcp = matches!(transport, Transport::Tcp);
        Self { tcp, udp: !tcp, ..Self::EVERYTHING }
    }

    /// What both conditions let through; none when no TCP or UDP packet can match both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Option<Self> {
        fn both<T: Copy + PartialEq>(a: Option<T>, b: Option<T>) -> Option<Option<T>> {
            match (a, b) {
                (Some(a), Some(b)) if a != b => None,
                _ => Some(a.or(b)),
            }
        }
        let ports = match (&self.ports, &other.ports) {
            (Some(a), Some(b)) => {
                let mut set: PortSet = a.iter().copied().collect();
                set.intersect(&b.iter().copied().collect());
                Some(set.ranges())
            }
            (a, b) => a.as_ref().or(b.as_ref()).cloned(),
        };
        let joined = Self {
            family: both(self.family, other.family)?,
            tcp: self.tcp && other.tcp,
            udp: self.udp && other.udp,
            ports,
            address: both(self.address, other.address)?,
            narrowed: self.narrowed || other.narrowed,
            aside: self.aside || other.aside,
        };
        joined.possible().then_some(joined)
    }

    /// Whether any TCP or UDP packet can match.
    pub fn possible(&self) -> bool {
        let family = self.address.map(Family::of);
        (self.tcp || self.udp)
            && self.ports.as_ref().is_none_or(|ports| !ports.is_empty())
            && (family.is_none() || self.family.is_none() || family == self.family)
    }

    /// Whether nothing but transport, port and family decides.
    const fn plain(&self) -> bool {
        !self.narrowed && !self.aside && self.address.is_none()
    }

    /// Whether every TCP and UDP packet (of the family) matches.
    const fn everything(&self) -> bool {
        self.plain() && self.tcp && self.udp && self.ports.is_none()
    }

    /// Transports as rules name them: one, or none for both.
    const fn transport(&self) -> Option<Transport> {
        match (self.tcp, self.udp) {
            (true, false) => Some(Transport::Tcp),
            (false, true) => Some(Transport::Udp),
            _ => None,
        }
    }
}

/// What happens to a packet that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let through by this base chain.
    Accept,
    /// Dropped in silence.
    Drop,
    /// Refused with an answer.
    Reject,
    /// Back to the chain before.
    Return,
    /// Into another chain of the table, and back.
    Jump(String),
    /// Into another chain of the table, not back here.
    Goto(String),
    /// Destination NAT: where to, as far as the rule says.
    Translate(Option<String>),
}

/// One rule: its branches are tried in order (a verdict map has several).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which packets go where.
    pub branches: Vec<(Condition, Verdict)>,
    /// Where it stands and its text.
    pub text: String,
}

/// Where a base chain is called from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// Filters before routing.
    Prerouting,
    /// Filters for this host.
    Input,
    /// Translates addresses, of packets from elsewhere or from this host.
    Nat,
}

/// A chain. Without a hook it is only jumped to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Of a base chain: where from.
    pub hook: Option<Hook>,
    /// Of a base chain: order among those of one hook.
    pub priority: i64,
    /// Of a base chain: what becomes of the rest, with the text that says so.
    pub policy: Option<(Verdict, String)>,
    /// Its family, or none for both.
    pub family: Option<Family>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// All tables: chains by table (`ip nat`) and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The chains.
    pub chains: BTreeMap<(String, String), Chain>,
}

/// Jumps that are followed; the kernel allows 16.
const DEPTH: u32 = 16;
/// Rules that are looked at, and results that are kept, before a listing counts as too large.
const STEPS: u32 = 400_000;
const RESULTS: usize = 65_536;

impl Ruleset {
    /// Takes over the tables of another listing; those it has replace the same tables here.
    pub fn replace(&mut self, other: Self) {
        self.chains.retain(|(table, _), _| !other.chains.keys().any(|(theirs, _)| theirs == table));
        self.chains.extend(other.chains);
    }

    /// Ports that destination NAT carries elsewhere, each rule once.
    pub fn carriers(&self) -> Reading<Vec<Carrier>> {
        let (mut carriers, mut known) = (Vec::new(), HashSet::new());
        let mut whole = true;
        for (key, chain) in self.base_chains(|hook| hook == Hook::Nat) {
            whole &= self.walk(key, chain, &mut |condition, verdict, rule| {
                if let Verdict::Translate(to) = verdict {
                    for carrier in carriers_of(condition, to.as_ref(), &rule.text) {
                        let identity = (carrier.transport, carrier.address, carrier.ports);
                        if known.insert((identity, carrier.name.clone(), carrier.to.clone())) {
                            carriers.push(carrier);
                        }
                    }
                }
                carriers.len() < RESULTS
            });
        }
        Reading { value: carriers, gaps: too_large(whole, "DNAT rules") }
    }

    /// What decides about new connections from elsewhere to this host's ports, in the order it is asked: for a port
    /// the first rule that names it or all ports counts. Where several base chains decide, one chain's accept is not
    /// the last word, so it is no longer `unconditional`, nor is what that chain refuses after it.
    pub fn firewall(&self) -> Reading<Vec<FirewallRule>> {
        let mut chains: Vec<(Option<Family>, Vec<FirewallRule>)> = Vec::new();
        let mut whole = true;
        for (key, chain) in self.base_chains(|hook| hook != Hook::Nat) {
            let mut rules = Vec::new();
            let mut open = true;
            whole &= self.walk(key, chain, &mut |condition, verdict, rule| {
                let name = match verdict {
                    Verdict::Accept => "accept",
                    Verdict::Drop => "drop",
                    Verdict::Reject => "reject",
                    _ => return true,
                };
                if !condition.aside && open {
                    rules.extend(rules_of(condition, name, &rule.text));
                    open = !condition.everything();
                }
                rules.len() < RESULTS
            });
            let accepting = matches!(chain.policy, Some((Verdict::Accept, _)) | None);
            if let (Some((verdict, text)), true) = (&chain.policy, open && !(accepting && rules.is_empty())) {
                let name = if *verdict == Verdict::Accept { "accept" } else { "drop" };
                let condition = Condition { family: chain.family, ..Condition::EVERYTHING };
                rules.extend(rules_of(&condition, name, text));
            }
            if !rules.is_empty() {
                chains.push((chain.family, rules));
            }
        }
        Reading { value: in_sequence(chains), gaps: too_large(whole, "firewall") }
    }

    fn base_chains(&self, wanted: impl Fn(Hook) -> bool) -> Vec<(&(String, String), &Chain)> {
        let mut chains: Vec<_> =
            self.chains.iter().filter(|(_, chain)| chain.hook.is_some_and(&wanted)).collect();
        chains.sort_by_key(|(_, chain)| (chain.hook, chain.priority));
        chains
    }

    /// Calls `visit` for each branch that a packet can come to, jumps followed; it says whether to go on. False when
    /// not all could be visited.
    fn walk(
        &self,
        key: &(String, String),
        chain: &Chain,
        visit: &mut dyn FnMut(&Condition, &Verdict, &Rule) -> bool,
    ) -> bool {
        let mut walk = Walk { ruleset: self, table: &key.0, visit, steps: STEPS, whole: true };
        walk.chain(chain, Condition { family: chain.family, ..Condition::EVERYTHING }, 0);
        walk.whole
    }
}

struct Walk<'a, 'v> {
    ruleset: &'a Ruleset,
    table: &'a str,
    visit: &'v mut dyn FnMut(&Condition, &Verdict, &Rule) -> bool,
    steps: u32,
    whole: bool,
}

impl Walk<'_, '_> {
    fn chain(&mut self, chain: &Chain, mut reaching: Condition, depth: u32) {
        for rule in &chain.rules {
            for (condition, verdict) in &rule.branches {
                let Some(condition) = reaching.and(condition) else { continue };
                self.steps = self.steps.saturating_sub(1);
                self.whole &= self.steps > 0 && depth <= DEPTH;
                if !self.whole {
                    return;
                }
                let leaves = matches!(verdict, Verdict::Return | Verdict::Goto(_));
                match verdict {
                    Verdict::Return => {}
                    Verdict::Jump(target) | Verdict::Goto(target) => {
                        let key = (self.table.to_owned(), target.clone());
                        if let Some(target) = self.ruleset.chains.get(&key) {
                            self.chain(target, condition.clone(), depth + 1);
                        }
                    }
                    _ => self.whole &= (self.visit)(&condition, verdict, rule),
                }
                if leaves && condition == reaching {
                    return;
                }
                // What follows is only for the packets that did not leave.
                reaching.narrowed |= leaves && !condition.aside;
            }
        }
    }
}

fn too_large(whole: bool, what: &str) -> Vec<Gap> {
    if whole {
        return Vec::new();
    }
    let detail = "the rules branch into more paths than are followed; those after them are not shown";
    vec![Gap::new(what, GapReason::TooLarge, detail).with_remedy("nft list ruleset")]
}

fn carriers_of<'a>(
    condition: &'a Condition,
    to: Option<&'a String>,
    text: &'a str,
) -> impl Iterator<Item = Carrier> + 'a {
    let any = condition.family.map(|family| match family {
        Family::Ipv4 => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    });
    let transports = [(condition.tcp, Transport::Tcp), (condition.udp, Transport::Udp)];
    let ports = condition.ports.as_deref().unwrap_or(&[PortRange::ALL]);
    transports.into_iter().filter(|(matches, _)| *matches).flat_map(move |(_, transport)| {
        ports.iter().map(move |ports| Carrier {
            kind: CarrierKind::DnatRule,
            transport,
            address: condition.address.or(any),
            ports: *ports,
            name: text.to_owned(),
            to: to.cloned(),
        })
    })
}

fn rules_of<'a>(
    condition: &'a Condition,
    verdict: &'a str,
    text: &'a str,
) -> impl Iterator<Item = FirewallRule> + 'a {
    let rule = move |ports: Option<PortRange>| FirewallRule {
        family: condition.family.or(condition.address.map(Family::of)),
        transport: condition.transport(),
        ports,
        verdict: verdict.to_owned(),
        unconditional: condition.plain(),
        text: text.to_owned(),
    };
    let named = condition.ports.iter().flatten().map(move |range| rule(Some(*range)));
    named.chain(condition.ports.is_none().then(|| rule(None)))
}

/// The rules of several base chains as one list.
fn in_sequence(chains: Vec<(Option<Family>, Vec<FirewallRule>)>) -> Vec<FirewallRule> {
    let families: Vec<Option<Family>> = chains.iter().map(|(family, _)| *family).collect();
    let mut all = Vec::new();
    for (at, (family, mut rules)) in chains.into_iter().enumerate() {
        let meets = |other: &Option<Family>| other.is_none() || family.is_none() || *other == family;
        if families[at + 1..].iter().any(meets) {
            rules.retain(|rule| {
                rule.verdict != "accept"
                    || rule.ports.is_some()
                    || rule.transport.is_some()
                    || !rule.unconditional
            });
            let mut after_accept = false;
            for rule in &mut rules {
                after_accept |= rule.verdict == "accept";
                rule.unconditional &= !after_accept;
            }
        }
        all.append(&mut rules);
    }
    all
}
